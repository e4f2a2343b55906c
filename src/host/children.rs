//! The children of a keeper: everything that its session made ends up below it.

use std::io;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use rustix::process::WaitOptions;

use crate::api::record::Exit;

/// What there is to reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// This child has ended; its pid may be used again from now on.
    Ended(i32, Exit),
    /// There are children, and none has ended.
    Alive,
    /// There are no children. Orphans become children of a subreaper, so this proves that nothing that
    /// descends from us lives.
    None,
}

/// Reaps one child, whichever has ended. For a program whose every child is its own to reap.
pub fn reap() -> io::Result<Reaped> {
    loop {
        return match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(None) => Ok(Reaped::Alive),
            Ok(Some((pid, status))) => {
                let exit = status.exit_status().map(Exit::Code);
                match exit.or_else(|| status.terminating_signal().map(Exit::Signal)) {
                    Some(exit) => Ok(Reaped::Ended(pid.as_raw_nonzero().get(), exit)),
                    // Stopped or traced: not asked for, and no end.
                    None => continue,
                }
            }
            Err(rustix::io::Errno::CHILD) => Ok(Reaped::None),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// What reaped children used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time, user and system, in microseconds.
    pub cpu_micros: u64,
    /// Largest resident set of one of them, in KiB.
    pub max_rss_kib: u64,
}

/// What all reaped children used, and theirs.
pub fn usage() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Usage::default();
    };
    let cpu = usage.user_time().num_microseconds().saturating_add(usage.system_time().num_microseconds());
    Usage {
        cpu_micros: u64::try_from(cpu).unwrap_or(0),
        max_rss_kib: u64::try_from(usage.max_rss()).unwrap_or(0),
    }
}
