//! Processes by pidfd: what is signalled or waited for is the process that was meant, never a later one with
//! its pid.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid},
};

use crate::api::record::{Exit, ProcessId};

/// A process that is held on to: its pid may be used again, this handle still means the first one.
#[derive(Debug)]
pub struct Process {
    fd: OwnedFd,
    id: ProcessId,
}

/// The identity of `pid` now. `NotFound` where no such process is visible.
pub fn identify(pid: i32) -> io::Result<ProcessId> {
    let stat = procfs::process::Process::new(pid).and_then(|p| p.stat()).map_err(proc_error)?;
    Ok(ProcessId { pid, start_time: stat.starttime })
}

/// What procfs says went wrong, as the system's own kind of error.
pub fn proc_error(error: procfs::ProcError) -> io::Error {
    match error {
        procfs::ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        procfs::ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        procfs::ProcError::Io(error, _) => match error.raw_os_error() {
            // A process that goes while its files are read.
            Some(nix::libc::ESRCH) => io::ErrorKind::NotFound.into(),
            _ => error,
        },
        other => io::Error::other(other.to_string()),
    }
}

impl Process {
    /// Holds on to the process that is `pid` now.
    pub fn open(pid: i32) -> io::Result<Self> {
        let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
        // Read after the descriptor is held: a start time read before it could be a predecessor's.
        Ok(Self { fd, id: identify(pid)? })
    }

    /// The process behind a pidfd, which is, or was, `pid`.
    pub fn of(fd: OwnedFd, pid: i32) -> io::Result<Self> {
        Ok(Self { fd, id: identify(pid)? })
    }

    /// Holds on to `id`, or says `None` where that process is gone, whoever has its pid now.
    pub fn find(id: ProcessId) -> io::Result<Option<Self>> {
        match Self::open(id.pid) {
            Ok(process) => Ok((process.id == id).then_some(process)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Which process this is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The user that it runs as; `None` where it has become several at once, as a program does that changes users. An
    /// error where it is gone.
    pub fn user(&self) -> io::Result<Option<u32>> {
        let status =
            procfs::process::Process::new(self.id.pid).and_then(|p| p.status()).map_err(proc_error)?;
        self.is_itself()?;
        let same = status.ruid == status.euid && status.euid == status.suid;
        Ok(same.then_some(status.ruid))
    }

    /// Whether it was stopped, as by ctrl-z in its shell: it hears of no signal but SIGKILL before it goes on.
    pub fn is_stopped(&self) -> io::Result<bool> {
        let stat = procfs::process::Process::new(self.id.pid).and_then(|p| p.stat()).map_err(proc_error)?;
        self.is_itself()?;
        Ok(matches!(stat.state, 'T' | 't'))
    }

    /// Where it works.
    pub fn working_dir(&self) -> io::Result<PathBuf> {
        let path = std::fs::read_link(format!("/proc/{}/cwd", self.id.pid))?;
        self.is_itself()?;
        Ok(path)
    }

    /// What was read by its pid was its own.
    fn is_itself(&self) -> io::Result<()> {
        if identify(self.id.pid)? == self.id { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Sends a signal by number. A process that is gone is no error: there was nobody to signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it has ended (a zombie has).
    pub fn has_ended(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }

    /// Takes the exit of a child that has ended; `None` where it has not, or is not a child of ours.
    pub fn reap(&self) -> io::Result<Option<Exit>> {
        let status =
            match waitid(WaitId::PidFd(self.fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(status) => status,
                Err(rustix::io::Errno::CHILD) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        Ok(status.and_then(|status| {
            let code = status.exit_status().map(Exit::Code);
            code.or_else(|| status.terminating_signal().map(Exit::Signal))
        }))
    }
}

impl AsFd for Process {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Whether an error says that there is no such process.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_handle_means_the_process_it_was_opened_for() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let process = Process::open(child.id().cast_signed()).unwrap();
        assert!(!process.has_ended().unwrap());
        let stranger = ProcessId { start_time: process.id().start_time + 1, ..process.id() };
        assert!(Process::find(stranger).unwrap().is_none(), "the pid alone is no identity");

        process.signal(9).unwrap();
        let exit = loop {
            if let Some(exit) = process.reap().unwrap() {
                break exit;
            }
        };
        assert_eq!(exit, Exit::Signal(9));
        assert!(Process::find(process.id()).unwrap().is_none());
        process.signal(9).unwrap();
        let _ = child.try_wait();
    }
}
