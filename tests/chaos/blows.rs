//! What is done to processes, each known by its descriptor: nobody else is ever hit.

use std::{os::fd::OwnedFd, time::Instant};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::harness::{Seen, start_time};

/// A process that is held on to.
#[derive(Debug)]
pub struct Target(OwnedFd);

impl Target {
    /// `None`: it is gone.
    pub fn of(pid: i32, born: u64) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // Opened first: whoever has the pid now has it as long as the handle is open.
        (start_time(pid) == Some(born)).then_some(Self(handle))
    }

    pub fn seen(seen: &Seen) -> Option<Self> {
        Self::of(seen.pid, seen.born)
    }

    /// Sends a signal; one that is gone is no failure.
    pub fn send(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// SIGKILL, and waits for the end.
    pub fn end(&self) {
        self.send(Signal::KILL);
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit));
    }
}

/// A process that is stopped by SIGSTOP, and goes on when this is dropped.
#[derive(Debug)]
pub struct Held {
    target: Target,
    /// Whose it is; empty: the daemon's.
    pub name: String,
    pub until: Instant,
}

impl Held {
    pub fn new(target: Target, name: &str, until: Instant) -> Self {
        target.send(Signal::STOP);
        Self { target, name: name.to_owned(), until }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.target.send(Signal::CONT);
    }
}
