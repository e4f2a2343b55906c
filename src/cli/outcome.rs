//! What a verb waits for, as a function of the session before and now.
//!
//! A watcher sees states, some of them from before the verb took effect. So a bad state counts against a verb
//! only where it is news: another run, or the same phase entered anew.

use super::error::{CliError, Kind};
use crate::api::status::{ExitView, Phase, Reason, SessionView};

/// How far a verb got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not there yet.
    Waiting,
    /// What was asked for; the words after the session's name.
    Done(String),
    /// It will not come, or not soon.
    Failed(CliError),
}

/// What a verb waits for.
pub type Judge = fn(before: &SessionView, now: &SessionView) -> Outcome;

/// Whether a session has, or is about to have, or still has a process.
pub fn is_live(session: &SessionView) -> bool {
    match session.status.phase {
        Phase::Running | Phase::Stopping => true,
        Phase::Pending => session.status.reason == Reason::Starting,
        Phase::Succeeded | Phase::Failed | Phase::Evicted | Phase::Suspended => false,
    }
}

fn is_news(before: &SessionView, now: &SessionView) -> bool {
    let key = |session: &SessionView| {
        let status = &session.status;
        (session.run_id, status.phase, status.since, status.restarts, status.next_start_at)
    };
    key(before) != key(now)
}

/// Running, or already through.
pub fn started(before: &SessionView, now: &SessionView) -> Outcome {
    match now.status.phase {
        Phase::Running => Outcome::Done(running(now)),
        Phase::Stopping => Outcome::Waiting,
        Phase::Pending => pending(before, now),
        Phase::Suspended if now.status.reason == Reason::Suspended => {
            let name = &now.name;
            Outcome::Failed(
                CliError::failed(format!("`{name}` is suspended{}", told(now))).hint(format!(
                    "`atm resume {name}`; `suspend: true` in its file must go: `atm edit {name}`"
                )),
            )
        }
        _ if !is_news(before, now) => Outcome::Waiting,
        Phase::Succeeded => Outcome::Done(format!("ran and succeeded{}", exit_words(now))),
        // What a start finds before it is taken up: the will that it lifts.
        Phase::Suspended if before.status.phase != Phase::Suspended => not_running(now, Kind::Failed),
        Phase::Suspended => Outcome::Waiting,
        Phase::Failed | Phase::Evicted => not_running(now, Kind::Failed),
    }
}

fn pending(before: &SessionView, now: &SessionView) -> Outcome {
    match now.status.reason {
        Reason::MaxSessions | Reason::MemoryBudget | Reason::IdentityTaken => not_running(now, Kind::Limit),
        Reason::InvalidSpec => not_running(now, Kind::Invalid),
        Reason::Shutdown => not_running(now, Kind::Unreachable),
        Reason::BackOff | Reason::HostError if is_news(before, now) => not_running(now, Kind::Failed),
        _ => Outcome::Waiting,
    }
}

/// Another run than before, or the first.
pub fn restarted(before: &SessionView, now: &SessionView) -> Outcome {
    if before.run_id.is_some() && before.run_id == now.run_id && now.status.phase == Phase::Running {
        return Outcome::Waiting;
    }
    started(before, now)
}

/// Without a process.
pub fn stopped(_before: &SessionView, now: &SessionView) -> Outcome {
    if now.status.phase == Phase::Stopping && now.status.reason == Reason::Unkillable {
        return Outcome::Failed(
            CliError::failed(format!("`{}` does not end{}", now.name, told(now)))
                .hint(format!("see what holds it: `atm describe {}`", now.name)),
        );
    }
    if is_live(now) {
        return Outcome::Waiting;
    }
    Outcome::Done(match now.status.phase {
        Phase::Succeeded => "had ended".to_owned(),
        _ => "stopped".to_owned(),
    })
}

/// Without a process, and not to have one.
pub fn suspended(before: &SessionView, now: &SessionView) -> Outcome {
    match now.status.phase {
        Phase::Suspended => Outcome::Done("suspended".to_owned()),
        Phase::Pending => Outcome::Waiting,
        _ => match stopped(before, now) {
            Outcome::Done(_) if is_news(before, now) => Outcome::Done("suspended".to_owned()),
            Outcome::Done(_) => Outcome::Waiting,
            other => other,
        },
    }
}

/// Not suspended any more: running, or as it would be without the suspension.
pub fn resumed(before: &SessionView, now: &SessionView) -> Outcome {
    let name = &now.name;
    match (now.status.phase, now.status.reason) {
        (Phase::Suspended, Reason::Stopped) => {
            Outcome::Done(format!("resumed, and stays stopped: `atm start {name}` runs it"))
        }
        (Phase::Suspended, _) if now.spec.as_ref().is_some_and(|spec| spec.suspend) => Outcome::Failed(
            CliError::failed(format!("`{name}` is suspended by `suspend: true` in its file"))
                .hint(format!("`atm edit {name}`")),
        ),
        (Phase::Suspended, _) => Outcome::Waiting,
        (Phase::Succeeded, _) => Outcome::Done("resumed; it had succeeded and does not run again".to_owned()),
        _ => started(before, now),
    }
}

/// `running (pid 42)`.
pub fn running(now: &SessionView) -> String {
    match now.status.pid {
        Some(pid) => format!("running (pid {pid})"),
        None => "running".to_owned(),
    }
}

fn not_running(now: &SessionView, kind: Kind) -> Outcome {
    let name = &now.name;
    let status = &now.status;
    let error = CliError::new(
        kind,
        format!(
            "`{name}` is not running: {}, {}{}{}",
            status.phase,
            status.reason,
            exit_words(now),
            told(now)
        ),
    );
    Outcome::Failed(match kind {
        Kind::Limit => error.hint(format!(
            "it starts as soon as there is room; see `atm get`, or wait: `atm wait {name} --for Running`"
        )),
        Kind::Invalid => error.hint(format!("`atm edit {name}`")),
        Kind::Unreachable => error.hint("try again when the daemon is back: `atm status`"),
        _ => error.hint(format!("see `atm describe {name}` and `atm logs {name}`")),
    })
}

/// `: ` and the sentence, where there is one.
fn told(now: &SessionView) -> String {
    match now.status.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    }
}

/// ` (exit status 3)`, where there was an exit.
fn exit_words(now: &SessionView) -> String {
    now.status.exit.and_then(exit).map_or_else(String::new, |words| format!(" ({words})"))
}

/// `exit status 3`, `signal KILL`.
pub fn exit(exit: ExitView) -> Option<String> {
    match (exit.code, exit.signal) {
        (Some(code), _) => Some(format!("exit status {code}")),
        (None, Some(signal)) => Some(format!("signal {}", crate::api::spec::StopSignal(signal))),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
