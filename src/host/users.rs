//! Users as the system's name service knows them, and becoming one.

use std::{ffi::CString, io};

use nix::unistd::{
    Gid, Uid, User, getgrouplist, getgroups, getresgid, getresuid, initgroups, setresgid, setresuid,
};
use rustix::{
    io::Errno,
    thread::{CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities},
};

/// A user of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its name.
    pub name: String,
    /// Its home directory.
    pub home: String,
    /// Its login shell.
    pub shell: String,
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            name: user.name,
            home: user.dir.to_string_lossy().into_owned(),
            shell: user.shell.to_string_lossy().into_owned(),
        }
    }
}

/// The user with this number, if there is one. Asks the name service, which may take for ever.
pub fn by_uid(uid: u32) -> io::Result<Option<Account>> {
    Ok(User::from_uid(Uid::from_raw(uid))?.map(Account::from))
}

/// The user with this name, if there is one. Asks the name service, which may take for ever.
pub fn by_name(name: &str) -> io::Result<Option<Account>> {
    Ok(User::from_name(name)?.map(Account::from))
}

/// Our effective user and group.
pub fn own() -> (u32, u32) {
    (Uid::effective().as_raw(), Gid::effective().as_raw())
}

/// Becomes `account`, for good: groups, group, user, and none of it comes back. Where we are that user
/// already nothing changes.
pub fn become_user(account: &Account) -> io::Result<()> {
    if own().0 == account.uid {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    initgroups(&CString::new(account.name.as_str())?, gid)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    if account.uid != 0 {
        drop_capabilities()?;
    }
    // A call that succeeds and does nothing has been a way to root before.
    let (users, groups) = (getresuid()?, getresgid()?);
    let all = [users.real, users.effective, users.saved].iter().all(|id| *id == uid)
        && [groups.real, groups.effective, groups.saved].iter().all(|id| *id == gid)
        && (account.gid == 0 || !getgroups()?.contains(&Gid::from_raw(0)) || is_in_root_group(account));
    if !all || (account.uid != 0 && setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok()) {
        return Err(io::Error::other("the system kept privileges that were given up"));
    }
    Ok(())
}

/// Gives up every capability, in each set from which a program that is executed could have one again. The change of user
/// leaves those that may be inherited, and with some settings of the process (`capabilities(7)`) all.
fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // There are none to a kernel that does not know them.
    match clear_ambient_capability_set() {
        Err(Errno::INVAL) => Ok(()),
        cleared => Ok(cleared?),
    }
}

/// The numbers of all groups of `account`. Asks the name service, which may take for ever.
pub fn groups_of(account: &Account) -> io::Result<Vec<u32>> {
    let groups = getgrouplist(&CString::new(account.name.as_str())?, Gid::from_raw(account.gid))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

/// Whether the group database itself puts the user into group 0.
fn is_in_root_group(account: &Account) -> bool {
    nix::unistd::Group::from_gid(Gid::from_raw(0))
        .ok()
        .flatten()
        .is_some_and(|group| group.mem.contains(&account.name))
}
