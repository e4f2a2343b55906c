//! Whose a process is: the peer of a connection, its ancestors, its group.

use std::{io, os::fd::AsFd, path::Path};

use nix::sys::socket::{getsockopt, sockopt};

use super::{ancestors, process::Process};
use crate::api::record::ProcessId;

/// The process that connected to this socket, held on to. `NotFound` where it has ended: whoever has its pid now is
/// somebody else.
pub fn peer(connection: impl AsFd) -> io::Result<Process> {
    let pid = getsockopt(&connection, sockopt::PeerCredentials)?.pid();
    let process = match getsockopt(&connection, sockopt::PeerPidfd) {
        // Kept by the kernel since the peer connected, so it is the peer whatever became of its pid.
        Ok(pidfd) => Process::of(pidfd, pid)?,
        // Before Linux 6.5. Then whoever has the pid while the connection stands has to do.
        Err(nix::errno::Errno::ENOPROTOOPT) => Process::open(pid)?,
        Err(nix::errno::Errno::ESRCH | nix::errno::Errno::EINVAL) => {
            return Err(io::ErrorKind::NotFound.into());
        }
        Err(error) => return Err(error.into()),
    };
    // It lived after its identity was read: so that was its own.
    if process.has_ended()? { Err(io::ErrorKind::NotFound.into()) } else { Ok(process) }
}

/// `process` and its ancestors, the nearest first.
pub fn ancestry(process: &Process) -> Vec<ProcessId> {
    let chain = ancestors::of(process.id().pid).ok();
    let own = chain.filter(|chain| chain.first() == Some(&process.id()));
    own.unwrap_or_else(|| vec![process.id()])
}

/// The name of the group right below `parent` that the process is in, or in a group below that. For a process that is
/// held on to: the answer is worth something only if it lives afterwards.
pub fn group_below(pid: i32, parent: &Path) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // The highest group above `parent` is where the hierarchy is mounted.
    let root = parent.ancestors().filter(|group| group.join("cgroup.procs").exists()).last()?;
    let path = root.join(own);
    let below = path.strip_prefix(parent).ok()?;
    below.components().next().and_then(|group| group.as_os_str().to_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::identify;
    use std::{
        io::{BufRead, BufReader},
        os::unix::net::{UnixListener, UnixStream},
        process::{Command, Stdio},
    };

    #[test]
    fn the_way_up_leads_through_every_parent() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'sleep 1000 & echo $!; wait' & wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let sleeper = Process::open(line.trim().parse().unwrap()).unwrap();
        let way = ancestry(&sleeper);
        let ours = identify(std::process::id().cast_signed()).unwrap();
        let place = |pid: u32| way.iter().position(|id| id.pid == pid.cast_signed());
        assert_eq!(way[0], sleeper.id());
        assert_eq!((place(shell.id()), way.get(3)), (Some(2), Some(&ours)), "{way:?}");
        // From the top: a shell whose child is killed ends by itself, and would not be there to be killed.
        for id in way.iter().take(3).rev() {
            Process::find(*id).unwrap().unwrap().signal(9).unwrap();
        }
        shell.wait().unwrap();
    }

    #[test]
    fn a_peer_is_who_connected_or_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let ours = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(peer(&accepted).unwrap().id().pid, std::process::id().cast_signed());
        drop(ours);
        let connect = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])";
        let Ok(mut child) = Command::new("python3").args(["-c", connect]).arg(&path).spawn() else { return };
        let (accepted, _) = listener.accept().unwrap();
        child.wait().unwrap();
        assert_eq!(peer(&accepted).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// Takes root and a cgroup2 hierarchy.
    #[test]
    fn the_group_of_a_process_has_its_sessions_name() {
        use crate::host::cgroup::Group;
        let name = format!("atm-test-{}-lineage", std::process::id());
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists());
        let Some(parent) = root.and_then(|root| Group::create(root, &name).ok()) else {
            eprintln!("skipped: no cgroup2 hierarchy that can be written");
            return;
        };
        let session = Group::create(parent.path(), "s-web").unwrap();
        let below = Group::create(session.path(), "own").unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        let added = below.add(pid);
        let told = group_below(pid, parent.path());
        let elsewhere = group_below(pid, &parent.path().join("s-other"));
        child.kill().unwrap();
        child.wait().unwrap();
        while parent.remove().is_err() {
            std::thread::yield_now(); // until the kernel has let go of the child
        }
        added.unwrap();
        assert_eq!((told.as_deref(), elsewhere), (Some("s-web"), None));
    }

    #[test]
    fn a_group_is_told_only_below_the_one_that_is_asked_about() {
        let own = std::process::id().cast_signed();
        assert_eq!(group_below(own, Path::new("/sys/fs/cgroup/atm-no-such-group")), None);
    }
}
