//! `atm stop`: ends sessions, and keeps them from running until `atm start`. With the daemon down it goes to
//! the keepers, whose exit records tell the daemon later.

use super::{
    context::Context,
    error::{CliResult, Kind},
    offline, outcome,
    select::Targets,
    steer::{Patience, Verb, steer},
};

const AFTER: &str = "\
Examples:
  atm stop fix-login
  atm stop -l team=web
  atm stop --all --no-wait";

/// Arguments of `atm stop`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    patience: Patience,
}

const VERB: Verb = Verb { method: "stop", judge: outcome::stopped, gone_is_done: true, ends: true };

/// Ends well when no session has a process.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    match context.connect() {
        Ok(mut client) => steer(context, &mut client, VERB, &args.targets, &args.patience),
        Err(down) if down.kind == Kind::Unreachable => {
            offline::end(context, &down, offline::How::Stop, &args.targets, &args.patience)
        }
        Err(error) => Err(error),
    }
}
