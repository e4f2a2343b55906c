//! `atm resume`: lifts a suspension.

use super::{
    context::Context,
    error::CliResult,
    outcome,
    select::Targets,
    steer::{Patience, Verb, steer},
};

const AFTER: &str = "\
Examples:
  atm resume fix-login";

/// Arguments of `atm resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    patience: Patience,
}

const VERB: Verb = Verb { method: "resume", judge: outcome::resumed, gone_is_done: false, ends: false };

/// Ends well when every session runs, or is as it would be without the suspension.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    steer(context, &mut client, VERB, &args.targets, &args.patience)
}
