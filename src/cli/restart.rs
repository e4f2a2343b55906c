//! `atm restart`: ends the run and begins another.

use super::{
    context::Context,
    error::CliResult,
    outcome,
    select::Targets,
    steer::{Patience, Verb, steer},
};

const AFTER: &str = "\
Examples:
  atm restart fix-login
  atm restart --all --no-wait";

/// Arguments of `atm restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    patience: Patience,
}

const VERB: Verb = Verb { method: "restart", judge: outcome::restarted, gone_is_done: false, ends: false };

/// Ends well when every session has a new run.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    steer(context, &mut client, VERB, &args.targets, &args.patience)
}
