//! Waiting for descriptors.

use std::{io, os::fd::BorrowedFd, time::Duration};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// A read tells something: bytes, the end or an error.
    pub read: bool,
    /// A write can go on.
    pub write: bool,
}

/// Waits until one of `watched` (for reading, and where told for writing) is ready, for at most `patience`.
/// Returns one answer for each, in order; an interruption is an answer with nothing ready.
pub fn wait(watched: &[(BorrowedFd, bool)], patience: Option<Duration>) -> io::Result<Vec<Ready>> {
    let flags = |write| {
        if write {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        }
    };
    let mut fds: Vec<PollFd> = watched
        .iter()
        .map(|(fd, write)| PollFd::from_borrowed_fd(*fd, flags(*write)))
        .collect();
    let patience = patience.map(|patience| Timespec {
        tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    });
    match poll(&mut fds, patience.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let end = PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let ready = |fd: &PollFd| Ready {
        read: fd.revents().intersects(end),
        write: fd
            .revents()
            .intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP),
    };
    Ok(fds.iter().map(ready).collect())
}
