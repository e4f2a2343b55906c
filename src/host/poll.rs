//! Waiting for descriptors, and reading what came.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use rustix::buffer::spare_capacity;
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
        if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    };
    let mut fds: Vec<PollFd> =
        watched.iter().map(|(fd, write)| PollFd::from_borrowed_fd(*fd, flags(*write))).collect();
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
        write: fd.revents().intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP),
    };
    Ok(fds.iter().map(ready).collect())
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// So many bytes more.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// Nobody can write any more.
    End,
}

/// Reads once, behind what `into` holds and into the room that it has: room that was never used is never
/// touched, which keeps a large buffer free of charge. The end of a terminal is an error (EIO), that of a pipe
/// or a socket is no bytes: both are the end.
pub fn read(from: impl AsFd, into: &mut Vec<u8>) -> io::Result<Got> {
    loop {
        return match rustix::io::read(&from, spare_capacity(into)) {
            Ok(0) | Err(rustix::io::Errno::IO) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(rustix::io::Errno::AGAIN) => Ok(Got::Nothing),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Writes once, without waiting. `WouldBlock`: nothing is taken at the moment.
pub fn write(to: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        return match rustix::io::write(&to, bytes) {
            Err(rustix::io::Errno::INTR) => continue,
            written => Ok(written?),
        };
    }
}
