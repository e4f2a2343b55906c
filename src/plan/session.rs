//! The next move of one session, given its verdict.

use std::time::Duration;

use super::{
    Desired, Grant, Observed, Run, Session, Verdict, Wanted, Will, activity,
    eviction::Loss,
    restart::{self, Want},
};
use crate::api::{
    cause::{Cause, StopReason},
    spec::OnChange,
    time::Moment,
};

/// From SIGKILL to "this does not end": the pause before a session is looked at again for that.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);

/// Between the looks at whether that is so.
const UNKILLABLE_PAUSE: Duration = Duration::from_secs(1);

/// What to do with one session now. One reconcile does one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start a run with the spec in force.
    Start,
    /// Ask its keeper to end it. The keeper sees to grace and SIGKILL by itself.
    Terminate {
        /// Recorded before the first signal. Where a stop is in progress its first cause stays.
        cause: Cause,
        /// With SIGKILL, without a grace.
        now: bool,
    },
    /// Tell its keeper the spec in force, for what applies live.
    Update,
    /// Nothing.
    Rest {
        /// Before this time, if ever.
        until: Option<Moment>,
    },
}

/// Why a run is to be replaced by another one, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// It is not.
    None,
    /// Now.
    Now(Cause),
    /// Its spec changed, but a better moment is waited for.
    Later {
        /// What is waited for.
        after: After,
        /// When that is over, as far as time decides it.
        until: Option<Moment>,
    },
}

/// What a changed spec waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The end of its turn.
    Turn,
    /// The answer of a person, or that the person who is attached leaves.
    Person,
    /// Ten seconds without output or input.
    Quiet,
    /// `atm restart`.
    Request,
}

const REST: Step = Step::Rest { until: None };

/// What to do with `session` now that `verdict` was given.
///
/// The verdict may be older than the session: whoever acts on both reads the session last. So a pair that does not
/// fit is a verdict that is out of date, and the answer is to rest until it was given anew.
#[expect(clippy::match_same_arms, reason = "each pair that rests does so for a reason of its own")]
pub fn step(session: &Session, verdict: &Verdict, now: Moment) -> Step {
    if let Desired::Registered(guest) = &session.desired {
        // Whatever is decided, and however it looks: it is a person's own.
        return Step::Rest { until: guest.stale_at(now) };
    }
    match (verdict, &session.observed) {
        (Verdict::Run(grant), Observed::Absent) => start(session, *grant, now),
        (Verdict::Run(_), Observed::Running(run)) => keep(session, run, now),
        // It was asked to run again before it was gone: it ends first.
        (
            Verdict::Run(_) | Verdict::Stop(_) | Verdict::Wait(_) | Verdict::Done(_),
            Observed::Stopping { cause, kill_at, unkillable, .. },
        ) => hurry(session, cause, *kill_at, *unkillable, now),
        (Verdict::Stop(cause), Observed::Starting { .. } | Observed::Running(_)) => {
            let now = cause.reason == StopReason::ClientKill;
            Step::Terminate { cause: cause.clone(), now }
        }
        // Its keeper reports by itself.
        (Verdict::Run(_), Observed::Starting { .. }) => REST,
        // Never signalled: what does not answer is not known to be what we think it is.
        (
            Verdict::Run(_) | Verdict::Stop(_) | Verdict::Wait(_) | Verdict::Done(_),
            Observed::Unknown { .. },
        ) => REST,
        // It is gone already.
        (Verdict::Stop(_), Observed::Absent) => REST,
        // The time that ends a wait is the fleet's: there it becomes a slot.
        (Verdict::Wait(_) | Verdict::Done(_), Observed::Absent) => REST,
        // It came to life after the verdict.
        (Verdict::Wait(_) | Verdict::Done(_), Observed::Starting { .. } | Observed::Running(_)) => REST,
    }
}

/// Starts it, unless the slot was given for an earlier run or spec, or it does not want it any more.
fn start(session: &Session, grant: Grant, now: Moment) -> Step {
    if grant != Grant::of(session) {
        return REST;
    }
    match &session.desired {
        Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => REST,
        Desired::Spec(wanted) => match restart::next(wanted, &session.history, now) {
            Want::Run => Step::Start,
            Want::Wait(_) | Want::Done(_) => REST,
        },
    }
}

/// Keeps it running, with what its spec says now.
fn keep(session: &Session, run: &Run, now: Moment) -> Step {
    let Desired::Spec(wanted) = &session.desired else {
        return REST;
    };
    // Before a stop for a changed command: the grace and the signal of that stop may have changed with it.
    if wanted.generation != run.generation {
        return Step::Update;
    }
    match replacement(session, wanted, run, now) {
        Replacement::None => REST,
        Replacement::Now(cause) => Step::Terminate { cause, now: false },
        Replacement::Later { until, .. } => Step::Rest { until },
    }
}

/// Lets a stop in progress go on; a person's kill cuts its grace short.
fn hurry(session: &Session, cause: &Cause, kill_at: Moment, unkillable: bool, now: Moment) -> Step {
    if let Desired::Spec(Wanted { will: Will::Stopped { by, now: true }, .. }) = &session.desired
        && cause.reason != StopReason::ClientKill
        && kill_at > now
    {
        return Step::Terminate {
            cause: Cause::asked(StopReason::ClientKill, *by, "killed by `atm kill`"),
            now: true,
        };
    }
    if unkillable {
        return REST;
    }
    // The keeper counts from its own first SIGKILL, which is a little later: one look would come too soon.
    let until = kill_at
        .checked_add(UNKILLABLE_AFTER)
        .and_then(|first| if first > now { Some(first) } else { now.checked_add(UNKILLABLE_PAUSE) });
    Step::Rest { until }
}

/// Whether and when `run` is to be replaced by a run of what is wanted now.
pub fn replacement(session: &Session, wanted: &Wanted, run: &Run, now: Moment) -> Replacement {
    if let Some(request) = session.history.restart_requested
        && request.run_id == run.run_id
    {
        let cause = Cause::asked(StopReason::ClientRestart, request.by, "restarted by `atm restart`");
        return Replacement::Now(cause);
    }
    if wanted.launch == run.launch {
        return Replacement::None;
    }
    let at_once =
        || Replacement::Now(Cause::rule(StopReason::SpecChanged, "what it runs was changed in its spec"));
    let later = |after| Replacement::Later { after, until: None };
    match (wanted.spec.on_change, Loss::of(run)) {
        (OnChange::Restart, Loss::Idle | Loss::Unknown | Loss::Waiting | Loss::Busy)
        | (OnChange::WhenIdle, Loss::Idle) => at_once(),
        (OnChange::WhenIdle, Loss::Unknown) => {
            let until = activity::last_sign(run).checked_add(activity::QUIET).filter(|until| *until > now);
            Replacement::Later { after: After::Quiet, until }
        }
        (OnChange::WhenIdle, Loss::Waiting) => later(After::Person),
        (OnChange::WhenIdle, Loss::Busy) => later(After::Turn),
        (OnChange::Manual, Loss::Idle | Loss::Unknown | Loss::Waiting | Loss::Busy) => later(After::Request),
    }
}

#[cfg(test)]
mod tests;
