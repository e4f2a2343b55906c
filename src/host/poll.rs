//! Waiting for descriptors, and reading what came.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clock::monotonic;

/// What a descriptor is waited for.
///
/// Only for what will then be done: poll answers at once, again and again, while there is something to be read that
/// nobody reads. A terminal that was opened for writing is readable too, when somebody types at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Until a read tells something.
    pub read: bool,
    /// Until a write can go on.
    pub write: bool,
}

impl Interest {
    /// For reading alone.
    pub const READ: Self = Self { read: true, write: false };
    /// For writing alone.
    pub const WRITE: Self = Self { read: false, write: true };

    fn flags(self) -> PollFlags {
        let read = if self.read { PollFlags::IN } else { PollFlags::empty() };
        let write = if self.write { PollFlags::OUT } else { PollFlags::empty() };
        read | write
    }
}

/// What a descriptor is ready for, of what it was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// A read tells something: bytes, the end or an error.
    pub read: bool,
    /// A write can go on.
    pub write: bool,
}

/// Waits until one of `watched` is ready for what it is waited for, for at most `patience`. One that is waited for
/// nothing is not looked at: its end would be told for ever. Returns one answer for each, in order; an interruption
/// is an answer with nothing ready.
pub fn wait(watched: &[(BorrowedFd, Interest)], patience: Option<Duration>) -> io::Result<Vec<Ready>> {
    let is_meant = |interest: Interest| interest.read || interest.write;
    let meant = watched.iter().filter(|(_, interest)| is_meant(*interest));
    let mut fds: Vec<PollFd> =
        meant.map(|(fd, interest)| PollFd::from_borrowed_fd(*fd, interest.flags())).collect();
    let patience = patience.map(|patience| Timespec {
        tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    });
    match poll(&mut fds, patience.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let end = PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let broken = PollFlags::OUT | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let mut events = fds.iter().map(PollFd::revents);
    let ready = |(_, interest): &(BorrowedFd, Interest)| {
        let events = if is_meant(*interest) { events.next() } else { None };
        let events = events.unwrap_or(PollFlags::empty());
        Ready {
            read: interest.read && events.intersects(end),
            write: interest.write && events.intersects(broken),
        }
    };
    Ok(watched.iter().map(ready).collect())
}

/// Waits until a write to `to` can go on, or fails, for at most `patience`. Says whether it came to that.
pub fn writable(to: BorrowedFd, patience: Duration) -> io::Result<bool> {
    let until = monotonic().saturating_add(patience);
    loop {
        let left = until.since(monotonic());
        let ready = wait(&[(to, Interest::WRITE)], Some(left))?;
        if ready.iter().any(|ready| ready.write) {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::net::UnixStream};

    const MOMENT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    /// A socket that has something to be read and takes no more.
    fn full() -> (UnixStream, UnixStream) {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 4 << 10]).is_ok() {}
        theirs.write_all(b"waits").unwrap();
        (ours, theirs)
    }

    #[test]
    fn nothing_is_told_that_was_not_asked() {
        let (ours, mut theirs) = full();
        let (fd, none) = (ours.as_fd(), Interest { read: false, write: false });
        let begun = monotonic();
        assert_eq!(wait(&[(fd, Interest::WRITE)], Some(MOMENT)).unwrap(), [Ready::default()]);
        assert!(monotonic().since(begun) >= MOMENT, "not woken by what it did not wait for");
        let read = Ready { read: true, write: false };
        let both = Interest { read: true, write: true };
        let all = [(fd, none), (fd, both), (fd, none), (fd, Interest::READ)];
        assert_eq!(wait(&all, Some(LONG)).unwrap(), [Ready::default(), read, Ready::default(), read]);
        drain(&mut theirs);
        assert_eq!(wait(&[(fd, Interest::WRITE)], Some(LONG)).unwrap(), [Ready { read: false, write: true }]);
        drop(theirs);
        // The end, which is told whatever was asked.
        assert_eq!(wait(&[(fd, none)], Some(MOMENT)).unwrap(), [Ready::default()]);
        assert_eq!(wait(&[(fd, Interest::READ)], Some(LONG)).unwrap(), [read]);
    }

    #[test]
    fn a_write_is_waited_for_whatever_there_is_to_read() {
        let (ours, mut theirs) = full();
        assert!(!writable(ours.as_fd(), MOMENT).unwrap());
        drain(&mut theirs);
        assert!(writable(ours.as_fd(), LONG).unwrap());
    }

    fn drain(from: &mut UnixStream) {
        from.set_nonblocking(true).unwrap();
        let mut taken = Vec::with_capacity(64 << 10);
        while let Ok(Got::Bytes(_)) = read(&*from, &mut taken) {
            taken.clear();
        }
    }
}
