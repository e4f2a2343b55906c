//! The processes above one process: who started it.

use std::{fs::File, io, io::Read};

use procfs::process::Process;

use super::process::proc_error;
use crate::api::record::ProcessId;

/// No walk is longer. Agents run hooks by a shell or two; nobody nests further for a good reason.
const MOST: usize = 64;

/// So much of a command line is read, in bytes: what is executed stands at its begin.
const LONGEST: u64 = 4096;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Which process.
    pub id: ProcessId,
    /// Its name, as the kernel has it: at most 15 bytes, and what the process says.
    pub comm: String,
    /// Its arguments, as far as they were read; empty where they cannot be.
    pub argv: Vec<String>,
}

/// `pid` and those above it, nearest first; at most 64. `NotFound` where there is no such process.
///
/// It ends where a link cannot be proven: a parent that ended meanwhile, and whose pid may be another's. Reads what the
/// kernel itself keeps, and so waits for no process.
pub fn of(pid: i32) -> io::Result<Vec<ProcessId>> {
    Ok(walk(pid)?.into_iter().map(|(id, _)| id).collect())
}

/// The same with what each executes. That is in the memory of the process: one that hangs in the kernel may hold the
/// reader up, so this is for a thread of its own.
pub fn described(pid: i32) -> io::Result<Vec<Ancestor>> {
    let told =
        |(id, comm): (ProcessId, String)| Ancestor { id, comm, argv: argv(id.pid).unwrap_or_default() };
    Ok(walk(pid)?.into_iter().map(told).collect())
}

fn walk(pid: i32) -> io::Result<Vec<(ProcessId, String)>> {
    let read = |pid| Process::new(pid).and_then(|process| process.stat()).map_err(proc_error);
    let mut chain = Vec::new();
    let mut stat = read(pid)?;
    loop {
        let (parent, born) = (stat.ppid, stat.starttime);
        chain.push((ProcessId { pid: stat.pid, start_time: born }, stat.comm));
        if parent <= 0 || chain.len() >= MOST {
            return Ok(chain);
        }
        let Ok(above) = read(parent) else { return Ok(chain) };
        // A child of it still, and the same child: so the parent was not replaced while it was read.
        if !read(stat.pid).is_ok_and(|still| still.starttime == born && still.ppid == parent) {
            return Ok(chain);
        }
        stat = above;
    }
}

fn argv(pid: i32) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))?.take(LONGEST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_end_matches('\0').split('\0').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::monotonic;
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };

    #[test]
    fn the_chain_goes_from_a_process_over_its_parent_outwards() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id().cast_signed();
        let chain = described(pid).unwrap();
        let ids = of(pid).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(chain.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
        assert_eq!(ids[1].pid, std::process::id().cast_signed());
        assert_eq!(chain[1].id.pid, std::process::id().cast_signed());
        let started = chain.windows(2).all(|pair| pair[1].id.start_time <= pair[0].id.start_time);
        assert!(started && chain.len() <= MOST);
        assert_eq!(of(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_executed_is_told() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let executed = || described(child.id().cast_signed()).unwrap()[0].clone();
        let (until, mut told) = (monotonic().saturating_add(Duration::from_secs(60)), executed());
        // Between the fork and the execution it is called as its parent is; in the midst of that it has no arguments.
        while (told.comm.as_str(), told.argv.len()) != ("sleep", 2) && monotonic() < until {
            told = executed();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((told.comm.as_str(), told.argv), ("sleep", vec!["sleep".to_owned(), "1000".to_owned()]));
    }
}
