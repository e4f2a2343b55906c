//! Whether a cgroup was given to us to make groups in.

use std::path::{Path, PathBuf};

/// Set by systemd on the group of a unit with `Delegate=`; the second is what older ones set, for root only.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// The directory for sessions' groups, made if need be, where the daemon's own cgroup was delegated to it.
///
/// The daemon is in the unit's group itself, or in its subgroup `daemon` (`DelegateSubgroup=`).
pub fn sessions() -> Option<PathBuf> {
    let own = own_group()?;
    let unit = if is_delegated(&own) {
        own
    } else {
        own.parent().filter(|parent| own.ends_with("daemon") && is_delegated(parent))?.to_owned()
    };
    let sessions = unit.join("sessions");
    match std::fs::create_dir(&sessions) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => None,
        Ok(()) | Err(_) => Some(sessions),
    }
}

fn is_delegated(group: &Path) -> bool {
    MARKS.iter().any(|mark| {
        let mut value = [0; 8];
        rustix::fs::getxattr(group, *mark, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// The directory of this process's cgroup, in the unified hierarchy.
fn own_group() -> Option<PathBuf> {
    let process = procfs::process::Process::myself().ok()?;
    let groups = process.cgroups().ok()?;
    let path = groups.into_iter().find(|group| group.hierarchy == 0)?.pathname;
    let mounts = process.mountinfo().ok()?;
    let mount = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2")?;
    Some(mount.mount_point.join(path.trim_start_matches('/')))
}
