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
false";

/// Arguments of `atm start`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    patience: Patience,
}

const VERB: Verb = Verb { method: "start", judge: outcome::x, gone_is_done: started, ends: false };

///   atm start fix-login
  atm start -l team=web --timeout 5m
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    steer(context, &mut client, VERB, &args.targets, &args.patience)
}
