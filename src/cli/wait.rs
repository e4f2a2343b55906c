//! `atm wait`: until sessions are in a phase.

use super::{
    client::after,
    complete,
    context::Context,
    error::{CliError, CliResult, Kind},
    watch::{Change, Watch, WhenFull},
};
use crate::api::{name::SessionName, quantity::Dur, status::Phase, status::SessionView};

const AFTER: &str = "\
Phases: Pending, Running, Stopping, Succeeded, Failed, Evicted, Suspended; and Deleted.

Examples:
  atm wait tests --for Succeeded --timeout 30m && echo done
  atm wait fix-login --for running";

/// Arguments of `atm wait`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Names of sessions
    #[arg(required = true, value_name = "NAME", add = complete::sessions())]
    names: Vec<SessionName>,
    /// What to wait for
    #[arg(long = "for", value_name = "PHASE", value_parser = goal)]
    goal: Goal,
    /// Wait at most this long: 30s, 5m [default: for ever]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Dur>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Phase(Phase),
    Deleted,
}

fn goal(text: &str) -> Result<Goal, String> {
    if text.eq_ignore_ascii_case("deleted") {
        return Ok(Goal::Deleted);
    }
    Phase::ALL
        .into_iter()
        .find(|phase| phase.to_string().eq_ignore_ascii_case(text))
        .map(Goal::Phase)
        .ok_or_else(|| {
            "expected Pending, Running, Stopping, Succeeded, Failed, Evicted, Suspended or Deleted".into()
        })
}

/// Ends well when every session was seen in the phase, each at its own time.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    let names = super::select::distinct(&args.names);
    let deadline = args.timeout.and_then(|Dur(limit)| after(limit));
    let (sessions, mut watch) = Watch::open(&client, &names, WhenFull::Poll)?;
    let mut errors = Vec::new();
    let mut open: Vec<(SessionName, Option<SessionView>)> = Vec::new();
    for name in names {
        match sessions.iter().find(|session| session.name == name) {
            Some(session) if is_met(args.goal, session) => reached(context, session)?,
            Some(session) => open.push((name, Some(session.clone()))),
            None if args.goal == Goal::Deleted => context.out.line(&format!("{name} deleted"))?,
            None => errors.push(context.no_such_session(&mut client, &name)),
        }
    }
    context.out.flush()?;
    while !open.is_empty() {
        match watch.next(deadline)? {
            Some(Change::Now(session)) => {
                let Some(at) = open.iter().position(|(name, _)| *name == session.name) else {
                    continue;
                };
                if is_met(args.goal, &session) {
                    reached(context, &session)?;
                    open.swap_remove(at);
                } else if let Some((_, last)) = open.get_mut(at) {
                    *last = Some(*session);
                }
            }
            Some(Change::Gone(name)) => {
                let Some(at) = open.iter().position(|(open, _)| *open == name) else {
                    continue;
                };
                open.swap_remove(at);
                if args.goal == Goal::Deleted {
                    context.out.line(&format!("{name} deleted"))?;
                } else {
                    errors
                        .push(CliError::new(Kind::NoSuchSession, format!("`{name}` was removed meanwhile")));
                }
            }
            None => break,
        }
        context.out.flush()?;
    }
    errors.extend(open.into_iter().map(|(name, last)| {
        let state =
            last.map(|last| format!("{} ({})", last.status.phase, last.status.reason)).unwrap_or_default();
        CliError::failed(format!("`{name}` is {state}, and the time is over"))
            .hint(format!("see `atm describe {name}`"))
    }));
    CliError::gather(errors)
}

fn is_met(goal: Goal, session: &SessionView) -> bool {
    goal == Goal::Phase(session.status.phase)
}

fn reached(context: &mut Context, session: &SessionView) -> CliResult {
    context.out.line(&format!("{} {}", session.name, session.status.phase))
}
