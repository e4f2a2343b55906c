//! `atm start`: runs what is stopped, evicted, ended or waiting.

use super::{
    context::Context,
    error::CliResult,
    outcome,
    select::Targets,
    steer::{Patience, Verb, steer},
};

const AFTER: &str = "\
Examples:
  atm start fix-login
  atm start -l team=web --timeout 5m";

/// Arguments of `atm start`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    patience: Patience,
}

const VERB: Verb = Verb { method: "start", judge: outcome::started, gone_is_done: false, ends: false };

/// Ends well when every session runs (or has already succeeded).
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    steer(context, &mut client, VERB, &args.targets, &args.patience)
}
