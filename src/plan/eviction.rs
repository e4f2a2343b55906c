//! In which order live sessions give way, wherever one has to.
//!
//! Idle before unknown before waiting before busy: what is lost grows in that order. Within each, lower priority
//! first; then the one that has been idle longest, or the youngest of those that are not idle, because it has the
//! least to lose. The name makes the order total, so the same sessions always give the same victims.

use std::cmp::Reverse;

use super::{Observed, Run, activity};
use crate::api::{name::SessionName, spec::SessionSpec, status::Activity, time::Moment};

/// The rank of a session among those that could give way: the smallest goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank<'a> {
    /// What would be interrupted.
    pub loss: Loss,
    priority: i32,
    idle_since: Option<Moment>,
    youngest: Reverse<Moment>,
    name: &'a SessionName,
}

/// What ending a session would interrupt, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing: it is proven idle, and nobody looks at it.
    Idle,
    /// Nobody knows.
    Unknown,
    /// A conversation with a person.
    Waiting,
    /// A turn.
    Busy,
}

impl Loss {
    /// What ending `run` would interrupt. One that a person is attached to is never idle.
    pub fn of(run: &Run) -> Self {
        match activity::doing(run) {
            Activity::Busy => Self::Busy,
            Activity::Waiting => Self::Waiting,
            Activity::Idle | Activity::Unknown if activity::attached(run) > 0 => Self::Waiting,
            Activity::Idle => Self::Idle,
            Activity::Unknown => Self::Unknown,
        }
    }
}

/// The rank of a live session as a victim; `None` where no shared budget may end it: it is pinned, already on its
/// way out, or its keeper does not answer (which proves nothing).
pub fn rank<'a>(name: &'a SessionName, spec: &SessionSpec, observed: &Observed) -> Option<Rank<'a>> {
    if spec.pinned {
        return None;
    }
    let (loss, idle_since, since) = match observed {
        Observed::Running(run) => {
            let loss = Loss::of(run);
            (loss, (loss == Loss::Idle).then(|| activity::since(run)).flatten(), run.since)
        }
        Observed::Starting { since, .. } => (Loss::Unknown, None, *since),
        Observed::Absent | Observed::Stopping { .. } | Observed::Unknown { .. } => return None,
    };
    Some(Rank { loss, priority: spec.priority, idle_since, youngest: Reverse(since), name })
}
