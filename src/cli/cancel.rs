//! `atm cancel`: interrupts the turn that an agent is in, and no later one.

use super::{
    context::Context,
    error::{CliError, CliResult, Kind},
    select::Targets,
    steer::resolve,
};
use crate::api::{
    control::ErrorKind,
    hook::{CancelOutcome, CancelParams, CancelResult},
};

const AFTER: &str = "\
The agent is interrupted as by a person at its terminal, by escape or ctrl-c; one without a terminal is sent SIGINT.
The session goes on. With --turn only that turn is meant: if it is over, nothing is done. `atm describe` has its number.

Examples:
  atm cancel fix-login
  atm cancel fix-login --turn 7
  atm cancel --all";

/// Arguments of `atm cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Only the turn with this number
    #[arg(long, value_name = "NUMBER")]
    turn: Option<u64>,
}

/// Ends well when no session is in the turn that was meant, or it was interrupted.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    let mut errors = Vec::new();
    let names = resolve(context, &mut client, &args.targets, &mut errors)?;
    if args.turn.is_some() && names.len() > 1 {
        return Err(CliError::new(Kind::Usage, "--turn goes with one session: each counts its own turns"));
    }
    for name in names {
        let params = CancelParams { name: name.clone(), run_id: None, turn: args.turn };
        match client.call::<CancelResult>("cancel", &params) {
            Ok(result) => {
                let turn = result.session.status.turn.as_ref();
                context
                    .out
                    .line(&format!("{name} {}", told(result.outcome, args.turn, turn.map(|t| t.number))))?;
            }
            Err(error) if error.kind() == Some(ErrorKind::NoSuchSession) => {
                errors.push(context.no_such_session(&mut client, &name));
            }
            Err(error) => {
                let error = CliError::from(error);
                errors.push(CliError { message: format!("`{name}`: {}", error.message), ..error });
            }
        }
    }
    CliError::gather(errors)
}

fn told(outcome: CancelOutcome, asked: Option<u64>, last: Option<u64>) -> String {
    let turn = asked.or(last).map_or_else(String::new, |number| format!(" {number}"));
    match outcome {
        CancelOutcome::Interrupted => format!("turn{turn} interrupted"),
        CancelOutcome::NoTurn => match last {
            Some(last) => format!("is in no turn (turn {last} is over): nothing to cancel"),
            None => "is in no turn: nothing to cancel".to_owned(),
        },
        CancelOutcome::Stale => {
            let now = last.map_or_else(String::new, |last| format!(", the last one is {last}"));
            format!("is not in turn{turn}{now}: nothing was done")
        }
        CancelOutcome::TooLate => format!("turn{turn} ended by itself: nothing was done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_said() {
        for (outcome, asked, last, expected) in [
            (CancelOutcome::Interrupted, None, Some(3), "turn 3 interrupted"),
            (CancelOutcome::NoTurn, None, None, "is in no turn: nothing to cancel"),
            (CancelOutcome::NoTurn, None, Some(3), "is in no turn (turn 3 is over): nothing to cancel"),
            (CancelOutcome::Stale, Some(2), Some(3), "is not in turn 2, the last one is 3: nothing was done"),
            (CancelOutcome::TooLate, Some(3), Some(4), "turn 3 ended by itself: nothing was done"),
        ] {
            assert_eq!(told(outcome, asked, last), expected);
        }
    }
}
