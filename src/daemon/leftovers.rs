//! What a dead keeper left running: found by every sign there is, and ended.

use std::{io, path::Path, time::Duration};

use crate::{
    api::{
        name::InstanceId,
        record::{ProcessId, Record},
        time::Moment,
    },
    host::{cgroup, clock, lock, process::Process, scan::Scan, signals as signal, wait},
};

/// How long one try goes on before what is left counts as unkillable.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Ends everything of the run in `record` whose keeper is gone. The answer is what still lives after
/// `patience`; empty: the name is free.
///
/// Blocks. The name's lock is held meanwhile, so that nobody starts it.
pub fn end(
    lock_path: &Path,
    instance: InstanceId,
    record: &Record,
    patience: Duration,
) -> io::Result<Vec<ProcessId>> {
    let Some(_held) = lock::try_take(lock_path)? else {
        // Somebody holds the name after all: whoever it is sees to its own processes.
        return Err(io::Error::other("its lock is held"));
    };
    let begun = clock::monotonic();
    let deadline = begun.checked_add(patience).unwrap_or(begun);
    let known: Vec<ProcessId> = record.members.iter().copied().chain([record.child]).collect();
    let mut quiet_looks = 0;
    loop {
        if let Some(group) = &record.group {
            cgroup::kill(group)?;
        }
        let left = sweep(instance, record, &known)?;
        let populated = record.group.as_deref().is_some_and(|group| cgroup::is_populated(group).unwrap_or(false));
        // A process that forks while it is looked for can be missed once; two empty looks in a row are
        // taken for the truth.
        quiet_looks = if left.is_empty() && !populated { quiet_looks + 1 } else { 0 };
        if quiet_looks == 2 {
            if let Some(group) = &record.group {
                cgroup::remove(group)?;
            }
            return Ok(Vec::new());
        }
        if is_past(deadline) {
            return Ok(left);
        }
        wait::for_any_to_end(&left, Duration::from_millis(20))?;
    }
}

fn is_past(deadline: Moment) -> bool {
    clock::monotonic() >= deadline
}

/// Sends SIGKILL to what can be found, and says what that was.
fn sweep(instance: InstanceId, record: &Record, known: &[ProcessId]) -> io::Result<Vec<ProcessId>> {
    let members = Scan::take(instance)?.members(record.intent.run_id, known.iter().copied());
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
