//! The wiring: sources of triggers, the store, reconcilers, the server.

use std::{path::PathBuf, process::ExitCode};

use crate::api::control::Directories;

/// How a daemon is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where it works.
    pub directories: Directories,
    /// For the machine: sessions run as the owners of their specs.
    pub system: bool,
    /// Its socket; absent: in the runtime directory.
    pub socket: Option<PathBuf>,
    /// Where sessions' cgroups are made; absent: where it was started.
    pub cgroup: Option<PathBuf>,
}

/// Runs the daemon until it is told to end.
pub fn main(_options: Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no daemon")
}
