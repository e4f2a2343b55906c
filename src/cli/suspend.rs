//! `atm suspend`: keeps sessions from running until `atm resume`, whatever becomes of their files.

use super::{
    context::Context,
    error::CliResult,
    outcome,
    select::Targets,
    steer::{Patience, Verb, steer},
};

const AFTER: &str = "\
Examples:
  atm suspend fix-login";

/// Arguments of `atm suspend`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    patience: Patience,
}

const VERB: Verb = Verb { method: "suspend", judge: outcome::suspended, gone_is_done: true, ends: true };

/// Ends well when no session has a process.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    steer(context, &mut client, VERB, &args.targets, &args.patience)
}
