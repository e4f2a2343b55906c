//! `atm uninstall`: the daemon stopped, with its sessions, and what `atm install` wrote taken away.

use std::{fs, path::PathBuf};

use super::{
    context::Context,
    dirs::{self, Mode},
    error::CliResult,
    install::{Steps, layout},
};

const AFTER: &str = "\
Sessions are ended. Specs, a config that was changed, results and output stay: they are yours.

Examples:
  atm uninstall --dry-run
  sudo atm uninstall";

/// Arguments of `atm uninstall`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Directory with bin, lib and share [default: /usr/local; with --user: ~/.local]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    prefix: Option<PathBuf>,
}

/// Ends well when nothing of it is left but what is a person's.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let layout = layout(args.prefix.as_deref(), args.dry_run, context)?;
    let directories = dirs::table(layout.mode, &context.environment)?;
    let mut steps = Steps { context, dry: args.dry_run, changed: false };
    let user: &[&str] = if layout.mode == Mode::User { &["--user"] } else { &[] };
    // It may be gone already; then there is nothing to stop.
    steps
        .try_command(&[&["systemctl"], user, &["disable", "--now", "atm.service", "atm.socket"]].concat())?;
    for file in layout.files()? {
        let there = fs::read(&file.path).ok();
        if file.is_config && there.is_some_and(|there| there != file.bytes) {
            steps.keep(&file.path, "it was changed")?;
        } else {
            steps.remove(&file.path)?;
        }
    }
    steps.remove(&layout.program())?;
    for directory in [directories.sessions, directories.state, directories.log] {
        if directory.exists() {
            steps.keep(&directory, "it is yours")?;
        }
    }
    if layout.mode == Mode::System {
        steps.try_command(&["journalctl", "--update-catalog"])?;
    }
    steps.systemctl(layout.mode, &["daemon-reload"])
}
