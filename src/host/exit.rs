//! Waiting for the end of a process in an event loop.

use std::io;

use tokio::io::{Interest, unix::AsyncFd};

use super::process::Process;

/// A process whose end can be awaited.
#[derive(Debug)]
pub struct ExitWatch(AsyncFd<Process>);

impl ExitWatch {
    /// Registers `process` with the event loop that runs.
    pub fn new(process: Process) -> io::Result<Self> {
        // SAFETY: a `Process` owns its pidfd from its making to its drop, gives out no way to close or replace
        // it, and answers the same descriptor each time; `AsyncFd` owns the `Process` and deregisters first.
        let watched = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
        Ok(Self(watched?))
    }

    /// Waits until it has ended. It is not reaped by that.
    pub async fn ended(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        self.0.get_ref()
    }
}
