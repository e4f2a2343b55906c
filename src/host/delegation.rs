//! Whether a cgroup was given to us to make groups in, and what may be done in it.
//!
//! Below the unit's group the daemon and its keepers are in `daemon`, and each session in `sessions/s-NAME`: so a
//! unit's tree shows each session by name, and what is done to sessions never touches a keeper.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::cgroup::Group;

/// Set by systemd on the group of a unit with `Delegate=`; the second is what older ones set, for root only.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// The group of the daemon and its keepers, as in `DelegateSubgroup=`.
const DAEMON: &str = "daemon";
const SESSIONS: &str = "sessions";

/// What sessions' groups are limited by, where they can be.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Where sessions' groups are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// The directory.
    pub path: PathBuf,
    /// Controllers that each group in it has.
    pub controllers: Vec<&'static str>,
}

/// Makes ready the directory for sessions' groups, where the daemon's own cgroup was delegated to it. Only for a
/// process that systemd started as a service: another one shares its group with others.
///
/// A daemon that was started in the unit's group itself moves to its subgroup, and enables no controller: with one,
/// the kernel keeps processes out of the unit's group, and systemd before 254 starts the next daemon there
/// (`219/CGROUP`). One that was started in the subgroup (`DelegateSubgroup=`) enables what there is.
pub fn sessions() -> Option<Sessions> {
    let own = own_group()?;
    if is_delegated(&own) {
        // Refused or not, sessions have groups of their own; only the tree is less tidy then.
        let _ = Group::create(&own, DAEMON).and_then(|daemon| daemon.add(std::process::id().cast_signed()));
        return make(&own, false);
    }
    let unit = own.parent().filter(|parent| own.ends_with(DAEMON) && is_delegated(parent))?;
    make(unit, true)
}

fn make(unit: &Path, in_subgroup: bool) -> Option<Sessions> {
    let path = unit.join(SESSIONS);
    match fs::create_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
        Ok(()) | Err(_) => {}
    }
    let controllers = if in_subgroup { hand_down(unit, &path) } else { Vec::new() };
    Some(Sessions { path, controllers })
}

/// Enables for the groups in `sessions` what `unit` was given. One by one: a controller that is refused takes none
/// of the others with it.
fn hand_down(unit: &Path, sessions: &Path) -> Vec<&'static str> {
    let given = fs::read_to_string(unit.join("cgroup.controllers")).unwrap_or_default();
    let enable =
        |group: &Path, name: &str| fs::write(group.join("cgroup.subtree_control"), format!("+{name}"));
    let enabled = |name: &&'static str| {
        given.split_whitespace().any(|other| other == *name)
            && enable(unit, name).and_then(|()| enable(sessions, name)).is_ok()
    };
    CONTROLLERS.into_iter().filter(enabled).collect()
}

/// The unit that this process was started as, by its group's path: the last part that names a service.
pub fn own_unit() -> Option<String> {
    let path = own_path()?;
    let service = |part: &&str| part.strip_suffix(".service").is_some_and(|name| !name.is_empty());
    path.split('/').rfind(service).map(str::to_owned)
}

fn is_delegated(group: &Path) -> bool {
    is_users_own(group)
        || MARKS.iter().any(|mark| {
            let mut value = [0; 8];
            rustix::fs::getxattr(group, *mark, &mut value)
                .is_ok_and(|length| value.get(..length) == Some(b"1"))
        })
}

/// A user's manager marks nothing, as all of its groups are the user's. So there the group of a service counts; the
/// daemon warns where the unit does not say `Delegate=yes`.
fn is_users_own(group: &Path) -> bool {
    std::env::var_os("MANAGERPID").is_some()
        && group.extension().is_some_and(|kind| kind == "service")
        && fs::metadata(group).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
}

/// The path of this process's cgroup in the unified hierarchy, as this process's cgroup namespace shows it.
fn own_path() -> Option<String> {
    let groups = procfs::process::Process::myself().ok()?.cgroups().ok()?;
    groups.into_iter().find(|group| group.hierarchy == 0).map(|group| group.pathname)
}

/// The directory of this process's cgroup, in the unified hierarchy.
fn own_group() -> Option<PathBuf> {
    let path = own_path()?;
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    let mut unified = mounts.into_iter().filter(|mount| mount.fs_type == "cgroup2");
    // One mount may be hidden under another: only what is seen counts.
    unified.find_map(|mount| {
        let group = mount.mount_point.join(path.trim_start_matches('/'));
        Group::open(&group).is_ok().then_some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_handed_down_only_where_the_unit_may_have_no_process_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        let direct = make(dir.path(), false).unwrap();
        assert_eq!(direct.controllers, Vec::<&str>::new());
        assert!(!dir.path().join("cgroup.subtree_control").exists());
        let below = make(dir.path(), true).unwrap();
        assert_eq!(below.controllers, ["memory", "pids", "cpu"]);
        assert_eq!(below.path, direct.path);
        fs::write(dir.path().join("cgroup.controllers"), "hugetlb\n").unwrap();
        assert_eq!(make(dir.path(), true).unwrap().controllers, Vec::<&str>::new());
    }
}
