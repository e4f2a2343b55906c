//! Doing something with the rights of another user, on this thread alone, and coming back.
//!
//! So the kernel decides what that user may see and change: no check of ours has to foresee what links and mounts a
//! user may put in the way. The real user stays our own, so the user gets no hold on us by it.

use std::{fs, io};

use rustix::{
    fs::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{
    files,
    process::identify,
    users::{self, Account},
};
use crate::api::record::ProcessId;

/// Longest `status` of a process: mostly its groups, of which there are at most 65536.
const LONGEST_STATUS: u64 = 1 << 20;

/// The rights of a user to files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Who.
    pub uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Rights {
    /// The groups, as the kernel tells them.
    pub(crate) fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Those of this process, as it has them now.
    ///
    /// # Errors
    /// `NotFound` where that process is gone.
    pub fn of_process(id: ProcessId) -> io::Result<Self> {
        let text = files::read_limited(format!("/proc/{}/status", id.pid).as_ref(), LONGEST_STATUS)?;
        // Read before: of a later process with its pid they would be somebody else's.
        if identify(id.pid)? != id {
            return Err(io::ErrorKind::NotFound.into());
        }
        parse(&String::from_utf8_lossy(&text)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Those that a new login of this account would have. Asks the name service, which may take for ever.
    pub fn of_account(account: &Account) -> io::Result<Self> {
        let groups = users::groups_of(account)?;
        Ok(Self { uid: account.uid, gid: account.gid, groups })
    }
}

/// The numbers that files are opened by: the last of four.
pub(crate) fn parse(status: &str) -> Option<Rights> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let last = |name| field(name)?.split_whitespace().nth(3)?.parse().ok();
    let groups =
        field("Groups")?.split_whitespace().map(|group| group.parse().ok()).collect::<Option<_>>()?;
    Some(Rights { uid: last("Uid")?, gid: last("Gid")?, groups })
}

/// Does `act` with these rights. Where they are our own nothing is changed.
///
/// Should ours not come back, the process ends at once: nothing may go on with rights that it does not know of. No session
/// depends on it.
///
/// # Errors
/// Where they cannot be taken on.
pub fn with_rights<T>(rights: &Rights, act: impl FnOnce() -> T) -> io::Result<T> {
    let (uid, gid) = users::own();
    if rights.uid == uid {
        return Ok(act());
    }
    let own_groups = groups_of_this_thread()?;
    let raw = |groups: &[u32]| groups.iter().map(|group| Gid::from_raw(*group)).collect::<Vec<_>>();
    // The user last: with another one nothing else may be changed. And first of all on the way back.
    let taken = set_thread_groups(&raw(&rights.groups))
        .and_then(|()| set_thread_res_gid(None, Gid::from_raw(rights.gid), None))
        .and_then(|()| set_thread_res_uid(None, Uid::from_raw(rights.uid), None));
    let done = taken.map(|()| act());
    let back = set_thread_res_uid(None, Uid::from_raw(uid), None)
        .and_then(|()| set_thread_res_gid(None, Gid::from_raw(gid), None))
        // Where they could not be changed they are as they were.
        .and_then(|()| if done.is_ok() { set_thread_groups(&raw(&own_groups)) } else { Ok(()) });
    if back.is_err() {
        std::process::abort();
    }
    Ok(done?)
}

fn groups_of_this_thread() -> io::Result<Vec<u32>> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    parse(&status).map(|rights| rights.groups).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn rights_are_read_as_the_kernel_tells_them() {
        let status =
            "Name:\tUid: 7\nUid:\t0\t1\t2\t1000\nGid:\t0\t0\t0\t100\nFDSize:\t64\nGroups:\t4 27 100 \n";
        assert_eq!(parse(status), Some(Rights { uid: 1000, gid: 100, groups: vec![4, 27, 100] }));
        assert_eq!(parse("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t\n").unwrap().groups, [0; 0]);
        assert_eq!(parse("Uid:\t0\n"), None);
        let here = identify(std::process::id().cast_signed()).unwrap();
        assert_eq!(Rights::of_process(here).unwrap().uid, users::own().0);
        let gone = ProcessId { start_time: 1, ..here };
        assert_eq!(Rights::of_process(gone).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_kernel_refuses_what_the_user_may_not_and_ours_come_back() {
        if users::own().0 != 0 {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let before = groups_of_this_thread().unwrap();
        let nobody = Rights { uid: 65534, gid: 65534, groups: vec![54321] };
        let (read, groups) =
            with_rights(&nobody, || (fs::read(dir.path().join("secret")), groups_of_this_thread().unwrap()))
                .unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(groups, [54321]);
        assert_eq!(groups_of_this_thread().unwrap(), before);
        fs::write(dir.path().join("ours"), "x").unwrap();
        assert_eq!(fs::metadata(dir.path().join("ours")).unwrap().uid(), 0);
    }
}
