//! The processes below one process.
//!
//! `/proc/PID/task/TID/children` is not exact while processes come and go. A caller that must reach all of
//! them looks again until there is none: below a subreaper nothing can hide for long.

use std::{collections::BTreeSet, io};

use procfs::process::{Process as Entry, Stat, all_processes};
use rustix::process::{Pid, kill_process};

use super::process::{Process, proc_error};
use crate::api::record::ProcessId;

/// No walk is longer: a tree that outgrows it is taken in several.
const MOST: usize = 1 << 16;

fn stat(pid: i32) -> Option<Stat> {
    Entry::new(pid).ok()?.stat().ok()
}

fn is_dead(stat: &Stat) -> bool {
    // A zombie leader whose other threads live is alive: its process has not ended.
    stat.state == 'X' || (stat.state == 'Z' && stat.num_threads <= 1)
}

/// Children of all threads of `pid`.
fn children(pid: i32) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for task in Entry::new(pid).and_then(|entry| entry.tasks()).map_err(proc_error)?.flatten() {
        match task.children() {
            Ok(pids) => found.extend(pids.into_iter().filter_map(|pid| i32::try_from(pid).ok())),
            Err(procfs::ProcError::NotFound(_)) if task.stat().is_ok() => return children_by_scan(pid),
            Err(_) => {} // the thread has ended
        }
    }
    Ok(found)
}

/// The same where the kernel has no such file.
fn children_by_scan(pid: i32) -> io::Result<Vec<i32>> {
    let stats = all_processes().map_err(proc_error)?.flatten().filter_map(|entry| entry.stat().ok());
    Ok(stats.filter(|stat| stat.ppid == pid).map(|stat| stat.pid).collect())
}

/// Children of ours that have not been reaped, dead or alive.
pub fn own_children() -> io::Result<Vec<i32>> {
    children(rustix::process::getpid().as_raw_nonzero().get())
}

/// All processes below ours that have not ended, parents before their children, each with its identity.
///
/// A pid that is not provably below us (its parent ended and was replaced while we looked) is left out; the
/// next look finds it, or another parent for it.
pub fn descendants() -> io::Result<Vec<ProcessId>> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut seen = BTreeSet::from([own]);
    let mut alive = Vec::new();
    let mut queue: Vec<(i32, Option<u64>)> = vec![(own, None)];
    let mut next = 0;
    while let Some(&(parent, identity)) = queue.get(next) {
        next += 1;
        let Ok(pids) = children(parent) else { continue };
        let found: Vec<Stat> = pids.into_iter().filter_map(stat).collect();
        // Read after the children: if the parent is still itself, they were its children.
        let certain = identity.is_none_or(|start| stat(parent).is_some_and(|now| now.starttime == start));
        for child in found {
            let ours = child.ppid == own || (certain && child.ppid == parent);
            if !ours || seen.len() >= MOST || !seen.insert(child.pid) {
                continue;
            }
            queue.push((child.pid, Some(child.starttime)));
            if !is_dead(&child) {
                alive.push(ProcessId { pid: child.pid, start_time: child.starttime });
            }
        }
    }
    Ok(alive)
}

/// Sends `signal` to each that is still the process it was. Processes of others refuse: they are left to the
/// next look. Returns how many could be signalled.
pub fn signal(members: &[ProcessId], signal: i32) -> usize {
    let sent = |id: &&ProcessId| {
        Process::find(**id).ok().flatten().is_some_and(|process| process.signal(signal).is_ok())
    };
    members.iter().filter(sent).count()
}

/// Sends `signal` to the process group that the child `leader` leads. For a child that was not reaped: until then no
/// other group can have its number.
pub fn signal_group(leader: i32, signal: i32) -> io::Result<()> {
    let leader = Pid::from_raw(leader).ok_or(io::ErrorKind::InvalidInput)?;
    let signal = rustix::process::Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process_group(leader, signal)?)
}

/// Sends SIGKILL to our children by pid, which is safe for children alone: theirs is not used again before we
/// reap. Faster than a look at identities, as a chain that forks and exits must be outrun. Returns their pids.
pub fn kill_own_children() -> io::Result<Vec<i32>> {
    let pids = own_children()?;
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, rustix::process::Signal::KILL); // refused for another user's: see `signal`
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn children_and_theirs_are_found_and_signalled() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line)
            .unwrap();
        let (parent, child) = (shell.id().cast_signed(), line.trim().parse::<i32>().unwrap());
        let all = descendants().unwrap();
        let place = |pid: i32| all.iter().position(|id| id.pid == pid);
        assert!(place(parent).unwrap() < place(child).unwrap());
        let both: Vec<_> = all.iter().filter(|id| [parent, child].contains(&id.pid)).copied().collect();
        let stranger = ProcessId { start_time: both[0].start_time + 1, ..both[0] };
        assert_eq!(signal(&[stranger], 9), 0);
        assert_eq!(signal(&both, 9), 2);
        shell.wait().unwrap();
    }
}
