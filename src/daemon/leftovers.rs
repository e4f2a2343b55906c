//! What a dead keeper left running: found by every sign there is, and ended.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    api::{
        name::{InstanceId, RunId},
        record::ProcessId,
        time::Moment,
    },
    host::{cgroup::Group, clock, lock, poll, process::Process, scan::Scan, signals as signal},
};

/// How long one try goes on before what is left counts as unkillable.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How to know what belongs to a run whose keeper is gone.
#[derive(Debug)]
pub struct Remains {
    /// Marked with this in their environment.
    pub run_id: RunId,
    /// Seen by somebody while the keeper lived; or orphans that came to the daemon from keepers that died, this
    /// one or another: all of them are to end.
    pub known: Vec<ProcessId>,
    /// Its own cgroup, where it had one.
    pub group: Option<PathBuf>,
}

/// Ends everything of a run whose keeper is gone. The answer is what still lives after
/// `patience`; empty: the name is free.
///
/// Blocks. The name's lock is held meanwhile, so that nobody starts it.
pub fn end(
    lock_path: &Path,
    instance: InstanceId,
    remains: &Remains,
    patience: Duration,
) -> io::Result<Vec<ProcessId>> {
    let Some(_held) = lock::try_take(lock_path)? else {
        // Somebody holds the name after all: whoever it is sees to its own processes.
        return Err(io::Error::other("its lock is held"));
    };
    let begun = clock::monotonic();
    let deadline = begun.checked_add(patience).unwrap_or(begun);
    // A group that is not there any more holds nobody.
    let group = remains.group.as_deref().and_then(|path| Group::open(path).ok());
    let mut quiet_looks = 0;
    loop {
        if let Some(group) = &group {
            group.kill()?;
        }
        let left = sweep(instance, remains)?;
        let populated = group.as_ref().is_some_and(|group| group.is_populated().unwrap_or(false));
        // A process that forks while it is looked for can be missed once; two empty looks in a row are
        // taken for the truth.
        quiet_looks = if left.is_empty() && !populated { quiet_looks + 1 } else { 0 };
        if quiet_looks == 2 {
            if let Some(group) = &group {
                group.remove()?;
            }
            return Ok(Vec::new());
        }
        if is_past(deadline) {
            return Ok(left);
        }
        wait_for_end(&left)?;
    }
}

/// Waits until one of `left` has ended, but not long: what is not visible yet must be looked for again.
fn wait_for_end(left: &[ProcessId]) -> io::Result<()> {
    let held: Vec<Process> = left.iter().filter_map(|id| Process::find(*id).ok().flatten()).collect();
    let watched: Vec<_> = held.iter().map(|process| (process.as_fd(), poll::Interest::READ)).collect();
    poll::wait(&watched, Some(Duration::from_millis(20))).map(drop)
}

fn is_past(deadline: Moment) -> bool {
    clock::monotonic() >= deadline
}

/// Sends SIGKILL to what can be found, and says what that was.
fn sweep(instance: InstanceId, remains: &Remains) -> io::Result<Vec<ProcessId>> {
    let members = Scan::take(instance)?.members(remains.run_id, remains.known.iter().copied());
    for member in &members {
        match Process::find(*member) {
            Ok(Some(process)) => process.signal(signal::KILL).or_else(ignore_foreign)?,
            Ok(None) => {}
            Err(error) => ignore_foreign(error)?,
        }
    }
    Ok(members)
}

/// A process that changed its user cannot be signalled in user mode; it is told as what is left.
fn ignore_foreign(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) }
}
