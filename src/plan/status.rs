//! What people see of a session: its phase, one word why, and one sentence. Derived, never stored.
//!
//! The sentences name no span that runs (what `nextStartAt` says as a time): a status that only grew older is
//! the same status, and watchers hear of changes alone.

use super::{
    Desired, Done, Ended, History, Observed, Session, Verdict, Wait, Wanted, budget,
    restart::{self, Want},
    session::{After, Replacement, Step, replacement},
};
use crate::api::{
    cause::{Actor, Cause, StopReason},
    config::Config,
    diagnose::escape,
    quantity::Size,
    record::Exit,
    spec::StopSignal,
    status::{Phase, Reason},
    time::Moment,
};

/// A phase, its reason and its sentence.
pub type Derived = (Phase, Reason, String);

/// What people see of `session`, given the last verdict on it, if there is one yet.
///
/// What the session itself decides (a will, the last end, the back-off) is taken from the session and not from the
/// verdict, so that an answer to `atm stop` or an exit never shows a phase of before.
pub fn derive(session: &Session, verdict: Option<&Verdict>, now: Moment) -> Derived {
    match (&session.observed, verdict) {
        (Observed::Absent, _) => absent(session, verdict, now),
        (Observed::Stopping { cause, unkillable: true, .. }, _) => {
            (Phase::Stopping, Reason::Unkillable, format!("{}, but outlives SIGKILL", why(cause)))
        }
        (Observed::Stopping { cause, unkillable: false, .. }, _)
        | (Observed::Starting { .. } | Observed::Running(_), Some(Verdict::Stop(cause))) => {
            (Phase::Stopping, cause.reason.into(), why(cause))
        }
        (Observed::Starting { .. }, Some(Verdict::Run(_) | Verdict::Wait(_) | Verdict::Done(_)) | None) => {
            (Phase::Pending, Reason::Starting, "its process is being made".to_owned())
        }
        (Observed::Unknown { why, .. }, _) => {
            let message = format!("its keeper does not answer ({}); nothing is done to it", escape(why));
            (Phase::Running, Reason::Unknown, message)
        }
        (Observed::Running(run), Some(Verdict::Run(_) | Verdict::Wait(_) | Verdict::Done(_)) | None) => {
            if let Desired::Registered(guest) = &session.desired
                && guest.is_stale(now)
            {
                let message = "lives, and gave no sign for longer than `staleAfter`; nothing is done to it";
                return (Phase::Running, Reason::Stale, message.to_owned());
            }
            let replaced = match &session.desired {
                Desired::Spec(wanted) => replacement(session, wanted, run, now),
                Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
                    Replacement::None
                }
            };
            match replaced {
                Replacement::None => (Phase::Running, Reason::Started, String::new()),
                Replacement::Now(cause) => (Phase::Running, Reason::RestartPending, why(&cause)),
                Replacement::Later { after, .. } => {
                    (Phase::Running, Reason::RestartPending, restart_after(after).to_owned())
                }
            }
        }
    }
}

fn restart_after(after: After) -> &'static str {
    match after {
        After::Turn => "its spec changed; restarts at the end of its turn, or now by `atm restart`",
        After::Person => {
            "its spec changed; restarts when no person is waited for or attached, or now by `atm restart`"
        }
        After::Quiet => {
            "its spec changed; restarts after 10 s without output or input, or now by `atm restart`"
        }
        After::Request => "its spec changed, and says `onChange: Manual`; restarts by `atm restart`",
    }
}

/// Why a session does not run that has no process.
fn absent(session: &Session, verdict: Option<&Verdict>, now: Moment) -> Derived {
    let wanted = match &session.desired {
        Desired::Gone | Desired::Registered(_) => return done(&Done::Gone, &session.history),
        Desired::NeverGood => return waits(&Wait::InvalidSpec, &session.history),
        Desired::Unseen => return waits(&Wait::SpecUnseen, &session.history),
        Desired::Spec(wanted) => wanted,
    };
    match (restart::next(wanted, &session.history, now), verdict) {
        (Want::Done(reason), _) => done(&reason, &session.history),
        (
            Want::Run | Want::Wait(_),
            Some(Verdict::Wait(wait @ Wait::Shutdown)),
        )
        // What others have is the fleet's to say.
        | (
            Want::Run,
            Some(Verdict::Wait(
                wait @ (Wait::MaxSessions { .. } | Wait::IdentityTaken { .. } | Wait::MemoryBudget { .. }),
            )),
        ) => waits(wait, &session.history),
        (Want::Wait(wait), _) => waits(&wait, &session.history),
        (
            Want::Run,
            None
            | Some(
                Verdict::Run(_)
                | Verdict::Stop(_)
                | Verdict::Done(_)
                | Verdict::Wait(
                    Wait::BackOff { .. }
                    | Wait::HostError { .. }
                    | Wait::Relieved { .. }
                    | Wait::InvalidSpec
                    | Wait::SpecUnseen,
                ),
            ),
        ) => (Phase::Pending, Reason::Starting, "is about to start".to_owned()),
    }
}

fn waits(wait: &Wait, history: &History) -> Derived {
    let last = || history.last.as_ref().map_or_else(|| "nothing ran yet".to_owned(), end);
    let (reason, message) = match wait {
        Wait::MaxSessions { limit } => {
            let limit = format!("Maximum {limit} sessions supported. Destroy a session to create a new one.");
            (Reason::MaxSessions, limit)
        }
        Wait::IdentityTaken { by, identity } => {
            (Reason::IdentityTaken, format!("identity `{}` is taken by session `{by}`", escape(identity)))
        }
        Wait::BackOff { .. } => {
            let (how, count) = match history.failures {
                0 => ("ended soon after its start", history.ends),
                failures => ("failed", failures),
            };
            let count = if count > 1 { format!(" {count} times in a row") } else { String::new() };
            (Reason::BackOff, format!("{how}{count}, last: {}; waits before the next try", last()))
        }
        Wait::Relieved { .. } => {
            let message =
                format!("{}; comes back after a minute at the earliest, when there is room", last());
            (Reason::MemoryBudget, message)
        }
        Wait::MemoryBudget { limit, needed } => {
            let limit = Size(*limit).human();
            let message = match needed {
                0 => format!("starts when less than 90 % of maxMemory ({limit}) is in use"),
                needed => {
                    let needed = Size(*needed).human();
                    format!(
                        "starts when the {needed} that it used last fit below 90 % of maxMemory ({limit})"
                    )
                }
            };
            (Reason::MemoryBudget, message)
        }
        Wait::HostError { .. } => (Reason::HostError, format!("{}; tried again soon", last())),
        Wait::SpecUnseen => {
            (Reason::SpecUnseen, "its spec file has not been seen since the daemon was started".to_owned())
        }
        Wait::InvalidSpec => {
            (Reason::InvalidSpec, "its spec was never good; `atm validate` says what is wrong".to_owned())
        }
        Wait::Shutdown => (Reason::Shutdown, "the daemon is ending its sessions".to_owned()),
    };
    (Phase::Pending, reason, message)
}

fn done(done: &Done, history: &History) -> Derived {
    match done {
        Done::Succeeded => {
            (Phase::Succeeded, Reason::Completed, history.last.as_ref().map_or_else(String::new, end))
        }
        Done::Failed => {
            let Some(last) = &history.last else {
                return (Phase::Failed, Reason::Error, "its end was not seen".to_owned());
            };
            let message = format!("{}; `restartPolicy: Never` does not start it again", end(last));
            (Phase::Failed, failure(last), message)
        }
        Done::Evicted(cause) => {
            let message = format!("{}; `atm start` or a changed spec brings it back", why(cause));
            (Phase::Evicted, cause.reason.into(), message)
        }
        Done::Stopped(by) => {
            let message = format!("stopped by {}; `atm start` starts it again", person(*by));
            (Phase::Suspended, Reason::Stopped, message)
        }
        Done::Suspended(Some(by)) => {
            let message = format!("suspended by {}; `atm resume` lifts it", person(*by));
            (Phase::Suspended, Reason::Suspended, message)
        }
        Done::Suspended(None) => {
            (Phase::Suspended, Reason::Suspended, "its spec says `suspend: true`".to_owned())
        }
        Done::Gone => (Phase::Suspended, Reason::SpecRemoved, "its spec file was removed".to_owned()),
    }
}

/// The word for a failed end.
fn failure(last: &Ended) -> Reason {
    match (&last.cause, &last.start_error, last.interrupted, last.exit) {
        (Some(cause), _, _, _) => cause.reason.into(),
        (None, Some(_), _, _) => Reason::CannotStart,
        (None, None, true, _) => Reason::Interrupted,
        (None, None, false, Some(Exit::Signal(_))) => Reason::Signaled,
        (None, None, false, Some(Exit::Code(_)) | None) => Reason::Error,
    }
}

/// How a run ended, in words.
fn end(last: &Ended) -> String {
    match (&last.cause, &last.start_error, last.interrupted, last.exit) {
        (Some(cause), _, _, _) => why(cause),
        (None, Some(error), _, _) => escape(&error.to_string()),
        (None, None, true, _) => "the machine went down while it ran".to_owned(),
        (None, None, false, Some(exit)) => told(exit),
        (None, None, false, None) => "its end was not seen".to_owned(),
    }
}

/// `exit status 3`, `ended by SIGKILL`.
fn told(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit status {code}"),
        Exit::Signal(number) => {
            let name = StopSignal(number).to_string();
            let named = name.starts_with(|first: char| first.is_ascii_alphabetic());
            if named { format!("ended by SIG{name}") } else { format!("ended by signal {number}") }
        }
    }
}

/// The sentence of a cause, and who asked.
fn why(cause: &Cause) -> String {
    let said = if cause.message.is_empty() { cause.reason.to_string() } else { escape(&cause.message) };
    match cause.by {
        Some(by) => format!("{said}, asked for by {}", person(by)),
        None => said,
    }
}

fn person(by: Actor) -> String {
    format!("user id {}", by.uid)
}

/// What a reconcile would do with `session`, why, and when time alone changes that: a row of `atm plan`.
///
/// The action is one of `Start`, `Stop`, `Restart`, `Update`, `Wait` and `None`.
pub fn explain(
    session: &Session,
    verdict: &Verdict,
    step: &Step,
    config: &Config,
    now: Moment,
) -> (&'static str, String, Option<Moment>) {
    match step {
        Step::Start => ("Start", why_start(session), None),
        Step::Terminate { cause, .. } => {
            let again = matches!(cause.reason, StopReason::SpecChanged | StopReason::ClientRestart);
            (if again { "Restart" } else { "Stop" }, why(cause), None)
        }
        Step::Update => ("Update", "its spec changed in what applies live".to_owned(), None),
        Step::Rest { until } => {
            let (phase, reason, message) = derive(session, Some(verdict), now);
            let waits = matches!(
                (phase, reason),
                (Phase::Pending | Phase::Stopping, _) | (_, Reason::RestartPending)
            );
            if !message.is_empty() {
                return (if waits { "Wait" } else { "None" }, message, until.or(verdict.changes_at()));
            }
            let (message, at) = outlook(session, config, now);
            ("None", message, at)
        }
    }
}

/// What becomes of a session that runs, if nothing happens: the budget that ends it first, and when.
fn outlook(session: &Session, config: &Config, now: Moment) -> (String, Option<Moment>) {
    if let Desired::Registered(guest) = &session.desired {
        return ("a person started it: it is watched, and no rule ends it".to_owned(), guest.stale_at(now));
    }
    let (Observed::Running(run), Desired::Spec(wanted)) = (&session.observed, &session.desired) else {
        return ("runs as its spec says".to_owned(), None);
    };
    let idle = budget::idle_until(&wanted.spec, run);
    let age = budget::breaks_at(&wanted.spec, run, config, now);
    match (idle, age) {
        (Some(idle), age) if age.is_none_or(|age| idle < age) => {
            ("runs; ends as IdleTimeout then, if it stays idle".to_owned(), Some(idle))
        }
        (_, Some(age)) if budget::finishes_its_turn(&wanted.spec, run, now) => (
            "over its age, finishes its turn; ends as MaxAgeExceeded then at the latest".to_owned(),
            Some(age),
        ),
        (_, Some(age)) => ("runs; ends as MaxAgeExceeded then".to_owned(), Some(age)),
        (_, None) => ("runs as its spec says".to_owned(), None),
    }
}

fn why_start(session: &Session) -> String {
    let changed = |wanted: &Wanted, last: &Ended| wanted.generation > last.generation;
    match (&session.history.last, &session.desired) {
        (None, _) => "it was not started yet".to_owned(),
        (Some(_), _) if session.history.start_requested => "a person asked for it".to_owned(),
        (Some(last), Desired::Spec(wanted)) if changed(wanted, last) => "its spec changed".to_owned(),
        (Some(last), _) => format!("its last run is over: {}", end(last)),
    }
}

#[cfg(test)]
mod tests;
