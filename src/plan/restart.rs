//! What follows the end of a run: whether the session wants to run again, and when.
//!
//! Three moments, three functions: [`after_end`] counts an end, [`next`] says what the session wants now, [`begun`]
//! closes the requests that a new run meets. The counts live in [`History`], so they survive the daemon, and a
//! crash loop is not reset by a daemon that crashes too.

use std::time::Duration;

use super::{Done, Ended, History, Wait, Wanted, Will};
use crate::api::{
    cause::StopReason,
    record::{Exit, StartError},
    spec::{Backoff, RestartPolicy},
    time::Moment,
};

/// First wait after a start for which the machine was short of something; doubled up to [`HOST_MAX`].
const HOST_INITIAL: Duration = Duration::from_millis(100);
/// Longest wait after a start for which the machine was short of something.
const HOST_MAX: Duration = Duration::from_secs(10);
/// A session that was ended to relieve the memory of all does not come back earlier: the others are still growing.
const RELIEF: Duration = Duration::from_secs(60);
/// A wait is made longer or shorter by up to this part, so that what failed together does not start together.
const JITTER: f64 = 0.1;

/// What kind of end a run had: all that decides what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with success.
    Clean,
    /// By itself or by its own fault, without success.
    Failed,
    /// It never began: the machine was short of something.
    HostTrouble,
    /// The machine went down under it.
    Interrupted,
    /// Its agent did not take up the conversation that it was to continue.
    Refused,
    /// It was stopped, and that was no fault of its own. However its processes took the signal, the end is as asked.
    Asked(StopReason),
}

impl Ended {
    /// What kind of end this was.
    pub fn kind(&self) -> End {
        match self.cause.as_ref().map(|cause| cause.reason) {
            Some(StopReason::KeeperLost | StopReason::SessionMemory | StopReason::ProcessLimit) => {
                End::Failed
            }
            Some(reason) => End::Asked(reason),
            None => match (&self.start_error, self.interrupted, self.exit) {
                (Some(StartError::Host { transient: true, .. }), _, _) => End::HostTrouble,
                (None, true, _) => End::Interrupted,
                (None, false, _) if self.refused => End::Refused,
                (None, false, Some(Exit::Code(0))) => End::Clean,
                (Some(_), _, _) | (None, false, Some(Exit::Code(_) | Exit::Signal(_)) | None) => End::Failed,
            },
        }
    }
}

/// The history with `ended` counted. `jitter` is a random number from -1 to 1; `now` is when the end was seen.
///
/// A run of `resetAfter` makes what came before moot, and so does a changed spec. Ends that a person or a spec
/// asked for start the count anew; ends by a rule (a budget, a shutdown) neither count nor forgive.
pub fn after_end(
    history: &History,
    ended: Ended,
    policy: RestartPolicy,
    backoff: &Backoff,
    now: Moment,
    jitter: f64,
) -> History {
    let kind = ended.kind();
    let long = ended.ran >= backoff.reset_after.0;
    let changed = history.last.as_ref().is_some_and(|last| last.generation != ended.generation);
    let (failures, ends, host_errors) =
        if long || changed { (0, 0, 0) } else { (history.failures, history.ends, history.host_errors) };
    let again = restarts(policy, kind);

    let mut next = History {
        failures,
        ends,
        host_errors: 0,
        restarts: history.restarts,
        not_before: None,
        last: Some(ended),
        start_requested: history.start_requested,
        restart_requested: history.restart_requested,
        cleanup_requested: None,
    };
    let mut delay = Duration::ZERO;
    match kind {
        End::Failed => {
            next.failures = failures.saturating_add(1);
            next.ends = ends.saturating_add(1);
            delay = ladder(backoff.initial.0, backoff.max.0, next.ends);
        }
        End::Clean => {
            next.failures = 0;
            next.ends = 0;
            if again && !long {
                next.ends = ends.saturating_add(1);
                delay = ladder(backoff.initial.0, backoff.max.0, next.ends);
            }
        }
        End::HostTrouble => {
            next.host_errors = host_errors.saturating_add(1);
            delay = ladder(HOST_INITIAL, HOST_MAX, next.host_errors);
        }
        // Neither waits nor counts: what follows is a fresh start, and that one's end counts.
        End::Interrupted | End::Refused => {}
        End::Asked(reason) => {
            if forgives(reason) {
                next.failures = 0;
                next.ends = 0;
            }
            if reason == StopReason::MemoryPressure {
                next.not_before = now.checked_add(RELIEF);
            }
        }
    }
    if again && !matches!(kind, End::HostTrouble) {
        next.restarts = next.restarts.saturating_add(1);
    }
    if again && !delay.is_zero() {
        next.not_before = Some(now.saturating_add(spread(delay, jitter)));
    }
    next
}

/// The history of a session whose new run begins: what was asked for is met, what was waited for is over.
///
/// To be called when [`Step::Start`](super::session::Step::Start) is carried out, also where the start then
/// fails: a request asks for one start, not for one after the other.
pub fn begun(history: &History) -> History {
    History {
        not_before: None,
        start_requested: false,
        restart_requested: None,
        cleanup_requested: None,
        ..history.clone()
    }
}

/// Whether `policy` starts a session again that ended by itself.
fn restarts(policy: RestartPolicy, kind: End) -> bool {
    match (kind, policy) {
        (
            End::HostTrouble | End::Refused,
            RestartPolicy::Always | RestartPolicy::OnFailure | RestartPolicy::Never,
        )
        | (End::Failed | End::Interrupted, RestartPolicy::Always | RestartPolicy::OnFailure)
        | (End::Clean, RestartPolicy::Always) => true,
        (End::Failed | End::Interrupted, RestartPolicy::Never)
        | (End::Clean, RestartPolicy::OnFailure | RestartPolicy::Never)
        | (End::Asked(_), RestartPolicy::Always | RestartPolicy::OnFailure | RestartPolicy::Never) => false,
    }
}

/// Whether a stop for this reason makes earlier failures moot: it came from a person or from a changed file.
fn forgives(reason: StopReason) -> bool {
    match reason {
        StopReason::SpecChanged
        | StopReason::ClientRestart
        | StopReason::SpecRemoved
        | StopReason::ClientStop
        | StopReason::ClientKill
        | StopReason::Suspended => true,
        StopReason::IdleTimeout
        | StopReason::MaxAgeExceeded
        | StopReason::SessionMemory
        | StopReason::MemoryPressure
        | StopReason::MaxSessions
        | StopReason::SlotTaken
        | StopReason::ProcessLimit
        | StopReason::Shutdown
        | StopReason::KeeperLost => false,
    }
}

/// `initial`·2ⁿ up to `max`, where the first of `count` ends has n = 0.
fn ladder(initial: Duration, max: Duration, count: u32) -> Duration {
    initial.saturating_mul(1 << count.saturating_sub(1).min(31)).min(max)
}

fn spread(delay: Duration, jitter: f64) -> Duration {
    let factor = 1.0 + JITTER * jitter.clamp(-1.0, 1.0);
    // Out of range or not a number: as well without.
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
}

/// What a session that does not live wants, as far as it alone is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// To run now, if there is room.
    Run,
    /// To run, but not yet.
    Wait(Wait),
    /// Not to run.
    Done(Done),
}

/// What a session that does not live wants at `now`, given its last end.
///
/// In this order: what a person or the file forbids; what a person or a change asks for; what follows the end.
pub fn next(wanted: &Wanted, history: &History, now: Moment) -> Want {
    match wanted.will {
        Will::Suspended { by } => return Want::Done(Done::Suspended(Some(by))),
        Will::AsDeclared | Will::Stopped { .. } if wanted.spec.suspend => {
            return Want::Done(Done::Suspended(None));
        }
        Will::Stopped { by, .. } => return Want::Done(Done::Stopped(by)),
        Will::AsDeclared => {}
    }
    let Some(last) = &history.last else {
        return Want::Run;
    };
    if history.is_asked_for() || changed_since(wanted, last) {
        return Want::Run;
    }
    let policy = wanted.spec.restart_policy;
    let kind = last.kind();
    match kind {
        End::HostTrouble => match pending(history, wanted, now) {
            Some(until) => Want::Wait(Wait::HostError { until }),
            None => Want::Run,
        },
        End::Clean | End::Failed | End::Interrupted | End::Refused if restarts(policy, kind) => {
            match pending(history, wanted, now) {
                Some(until) => Want::Wait(Wait::BackOff { until }),
                None => Want::Run,
            }
        }
        End::Clean => Want::Done(Done::Succeeded),
        End::Failed | End::Interrupted | End::Refused => Want::Done(match &last.cause {
            Some(cause) if cause.reason == StopReason::SessionMemory => Done::Evicted(cause.clone()),
            _ => Done::Failed,
        }),
        End::Asked(StopReason::MemoryPressure) => match pending(history, wanted, now) {
            Some(until) => Want::Wait(Wait::Relieved { until }),
            None => Want::Run,
        },
        End::Asked(reason) => match (after_stop(reason, policy), &last.cause) {
            (AfterStop::Evicted, Some(cause)) => Want::Done(Done::Evicted(cause.clone())),
            (AfterStop::Evicted, None) | (AfterStop::Again, _) => Want::Run,
        },
    }
}

/// Whether the spec means something else than what the run that ended was about.
fn changed_since(wanted: &Wanted, last: &Ended) -> bool {
    wanted.generation > last.generation || last.launch.as_ref().is_some_and(|launch| *launch != wanted.launch)
}

/// What follows a stop that was no fault of the session's, once nothing forbids a run.
enum AfterStop {
    Again,
    Evicted,
}

fn after_stop(reason: StopReason, policy: RestartPolicy) -> AfterStop {
    match reason {
        StopReason::IdleTimeout | StopReason::SlotTaken => AfterStop::Evicted,
        StopReason::MaxAgeExceeded if policy == RestartPolicy::Never => AfterStop::Evicted,
        StopReason::MaxAgeExceeded
        | StopReason::SpecChanged
        | StopReason::ClientRestart
        // The victim of a shared budget comes back when there is room again.
        | StopReason::MemoryPressure
        | StopReason::MaxSessions
        // The daemon runs again.
        | StopReason::Shutdown
        // The file is back.
        | StopReason::SpecRemoved
        // A will that no longer stands was lifted.
        | StopReason::ClientStop
        | StopReason::ClientKill
        | StopReason::Suspended
        // Failures, not requests: their policy was asked before.
        | StopReason::SessionMemory
        | StopReason::ProcessLimit
        | StopReason::KeeperLost => AfterStop::Again,
    }
}

/// When the wait before the next try is over, if it is not.
fn pending(history: &History, wanted: &Wanted, now: Moment) -> Option<Moment> {
    let until = history.not_before.filter(|until| *until > now)?;
    // Longer than any wait that could have been set: a date of another boot's clock. Better one start too
    // early than a session that waits for last month's uptime to be reached again.
    let longest = spread(wanted.spec.backoff.max.0.max(HOST_MAX).max(RELIEF), 1.0);
    let plausible = now.checked_add(longest).is_none_or(|latest| until <= latest);
    plausible.then_some(until)
}

#[cfg(test)]
mod tests;
