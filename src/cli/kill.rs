//! `atm kill`: ends sessions with SIGKILL now, or sends every process of them a signal. With the daemon down
//! it goes to the keepers.

use super::{
    context::Context,
    error::{CliResult, Kind},
    offline,
    outcome::{self, Outcome},
    select::Targets,
    steer::{Patience, Verb, steer_with},
};
use crate::api::{control::KillParams, spec::StopSignal};

const AFTER: &str = "\
Examples:
  atm kill fix-login            end it now, without its grace; it stays down until `atm start`
  atm kill -s INT fix-login     send a signal, and no more";

/// Arguments of `atm kill`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Only send this signal to every process: INT, HUP, USR1, 10…
    #[arg(short, long)]
    signal: Option<StopSignal>,
    #[command(flatten)]
    patience: Patience,
}

/// A signal is done when it is sent; an end when no session has a process.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let signal = args.signal.map(|StopSignal(number)| number);
    let verb = Verb {
        method: "kill",
        judge: if signal.is_some() { |_, _| Outcome::Done("signalled".to_owned()) } else { outcome::stopped },
        gone_is_done: true,
        ends: true,
    };
    match context.connect() {
        Ok(mut client) => steer_with(context, &mut client, verb, &args.targets, &args.patience, |name| {
            serde_json::to_value(KillParams { name: name.clone(), signal, run_id: None })
        }),
        Err(down) if down.kind == Kind::Unreachable => {
            let how = signal.map_or(offline::How::Kill, offline::How::Signal);
            offline::end(context, &down, how, &args.targets, &args.patience)
        }
        Err(error) => Err(error),
    }
}
