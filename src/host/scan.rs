//! One look at all processes of the machine: for what a keeper that died left behind, and for keepers whose
//! files were removed under them.
//!
//! It costs some ten microseconds a process, so it is done at start and after a loss, never as a routine.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use procfs::process::Process;

use super::process::proc_error;
use crate::api::{
    name::{InstanceId, RunId},
    record::{ENV_INSTANCE, ENV_RUN_ID, ENV_SESSION, ProcessId},
};

/// A process that carries an instance's marker in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Which process.
    pub id: ProcessId,
    /// Which run it belongs to.
    pub run_id: RunId,
    /// The session's name, as the marker says.
    pub session: String,
    /// Whether it is a keeper: called as one, and not by one, for what a keeper runs is a session.
    pub is_keeper: bool,
    parent: i32,
}

/// The processes of the machine that we may look into, as of one look.
#[derive(Debug, Default)]
pub struct Scan {
    marked: Vec<Marked>,
    children: BTreeMap<i32, Vec<ProcessId>>,
    alive: BTreeSet<ProcessId>,
}

impl Scan {
    /// Looks at every process. Those that may not be read are unknown: they are not in the answer, and that
    /// is no proof that they do not exist.
    pub fn take(instance: InstanceId) -> io::Result<Self> {
        let mut scan = Self::default();
        for process in procfs::process::all_processes().map_err(proc_error)? {
            // A process that goes while it is looked at is gone: nothing to say about it.
            let Ok(process) = process else { continue };
            let Ok(stat) = process.stat() else { continue };
            if matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1 {
                continue;
            }
            let id = ProcessId { pid: stat.pid, start_time: stat.starttime };
            scan.alive.insert(id);
            scan.children.entry(stat.ppid).or_default().push(id);
            if let Some(marked) = read_marker(&process, id, stat.ppid, instance) {
                scan.marked.push(marked);
            }
        }
        // A session may be called like a keeper, and a keeper's child is, until it executes its command.
        let called: BTreeSet<i32> = scan.keepers().map(|keeper| keeper.id.pid).collect();
        for marked in &mut scan.marked {
            marked.is_keeper &= !called.contains(&marked.parent);
        }
        Ok(scan)
    }

    /// Keepers of the instance.
    pub fn keepers(&self) -> impl Iterator<Item = &Marked> {
        self.marked.iter().filter(|marked| marked.is_keeper)
    }

    /// All that carries the instance's marker.
    pub fn marked(&self) -> impl Iterator<Item = &Marked> {
        self.marked.iter()
    }

    /// What belongs to `run_id` and still lives: marked processes, the `known` ones, and the descendants of
    /// both. Its keeper is not among them.
    pub fn members(&self, run_id: RunId, known: impl IntoIterator<Item = ProcessId>) -> Vec<ProcessId> {
        let marked = self.marked.iter().filter(|m| m.run_id == run_id && !m.is_keeper).map(|m| m.id);
        let mut found: BTreeSet<ProcessId> =
            known.into_iter().filter(|id| self.alive.contains(id)).chain(marked).collect();
        let mut queue: Vec<ProcessId> = found.iter().copied().collect();
        while let Some(parent) = queue.pop() {
            for child in self.children.get(&parent.pid).into_iter().flatten() {
                if found.insert(*child) {
                    queue.push(*child);
                }
            }
        }
        found.into_iter().collect()
    }
}

fn read_marker(process: &Process, id: ProcessId, parent: i32, instance: InstanceId) -> Option<Marked> {
    let environ = process.environ().ok()?;
    let value = |name: &str| environ.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str());
    if value(ENV_INSTANCE)?.parse() != Ok(instance) {
        return None;
    }
    let session = value(ENV_SESSION).unwrap_or_default().to_owned();
    // `atm keeper RUNTIME NAME`
    let is_keeper = process.cmdline().is_ok_and(
        |argv| matches!(argv.as_slice(), [_, role, _, name] if role == "keeper" && *name == session),
    );
    Some(Marked { id, run_id: value(ENV_RUN_ID)?.parse().ok()?, session, is_keeper, parent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn what_carries_the_marker_is_found_with_its_descendants() {
        let (instance, run_id) = (InstanceId::generate(), RunId::generate());
        let mut marked = Command::new("sh")
            .args(["-c", "env -i sleep 1000 & echo; wait"])
            .env(ENV_INSTANCE, instance.to_string())
            .env(ENV_RUN_ID, run_id.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(marked.stdout.take().unwrap()), &mut line).unwrap();

        let members = Scan::take(instance).unwrap().members(run_id, []);
        let pids: Vec<i32> = members.iter().map(|id| id.pid).collect();
        for id in &members {
            super::super::process::Process::find(*id).unwrap().unwrap().signal(9).unwrap();
        }
        marked.wait().unwrap();
        assert!(pids.contains(&marked.id().cast_signed()), "the marked one");
        assert_eq!(pids.len(), 2, "and its child, which cleared its environment");
        assert!(Scan::take(InstanceId::generate()).unwrap().members(run_id, []).is_empty());
    }
}
