//! `atm daemon`: where it works, from flags, systemd and the table; the rest is the daemon's.

use std::{path::PathBuf, process::ExitCode};

use super::{
    context::Context,
    dirs::{self, Mode},
    error::{CliError, CliResult, Kind},
};
use crate::daemon::{self, Options, StartupError};

const AFTER: &str = "\
It stays in the foreground and logs to the journal under systemd, to stderr otherwise (ATM_LOG filters).
Ctrl-C ends its sessions; SIGKILL, a crash or an upgrade does not: the next daemon takes them over.

Examples:
  atm daemon
  atm daemon --sessions-dir ./sessions.d --runtime-dir /tmp/try";

/// Arguments of `atm daemon`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Make sessions' cgroups below this directory [default: as a service, its own, if delegated]
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    cgroup: Option<PathBuf>,
}

/// Runs until the daemon ends. Another daemon on the same directories: 75.
pub fn run(args: &Args, context: &mut Context) -> CliResult<ExitCode> {
    let (mode, directories) = context.places.for_daemon(&context.environment)?;
    dirs::make_fallback(&directories.runtime, &context.environment)?;
    let options = Options {
        directories,
        system: mode == Mode::System,
        socket: context.places.socket.clone(),
        cgroup: args.cgroup.clone(),
    };
    daemon::main(&options).map_err(|error| match error {
        StartupError::AlreadyRunning { .. } => CliError::new(Kind::Limit, error.to_string()).hint(
            "`atm status` shows what it does; stop that one first, or give this one directories of its own",
        ),
        StartupError::Host { action, path, source } => {
            CliError::io(format_args!("cannot {action} {}", path.display()), &source)
        }
    })
}
