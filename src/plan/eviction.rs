//! Who gives way where something that all share runs short: slots, memory, a place under a name.
//!
//! The policy, in the order in which it is applied:
//!
//! 1. Never: a pinned session, one that is on its way out already, one whose keeper does not answer.
//! 2. Idle before unknown before waiting before busy: what is lost grows in that order ([`Loss`]).
//! 3. Within each, lower priority first.
//! 4. Where memory is short, the one that uses more first; and nobody who frees next to nothing.
//! 5. The one that has been idle longest; of those that are not idle the youngest, which has the least to lose.
//! 6. By name, so that the same sessions always give the same victims.
//!
//! A full house is the exception: there the emergency cleanup takes whoever has been idle longest ([`emergency`]).

use std::{cmp::Reverse, time::Duration};

use super::{Observed, Run, activity};
use crate::api::{
    config::Emergency, name::SessionName, quantity::Dur, spec::SessionSpec, status::Activity, time::Moment,
};

/// The rank of a session among those that could give way: the smallest goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank<'a> {
    /// What would be interrupted.
    pub loss: Loss,
    priority: i32,
    larger: Reverse<u64>,
    idle_since: Option<Moment>,
    youngest: Reverse<Moment>,
    name: &'a SessionName,
}

/// What runs short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Places: all sessions take one.
    Slots,
    /// Memory: the more one uses, the fewer have to go.
    Memory,
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
pub fn rank<'a>(
    name: &'a SessionName,
    spec: &SessionSpec,
    observed: &Observed,
    shortage: Shortage,
) -> Option<Rank<'a>> {
    if spec.pinned {
        return None;
    }
    let (loss, idle_since, since, memory) = match observed {
        Observed::Running(run) => {
            let loss = Loss::of(run);
            let idle_since = (loss == Loss::Idle).then(|| activity::since(run)).flatten();
            (loss, idle_since, run.since, activity::memory(run))
        }
        Observed::Starting { since, .. } => (Loss::Unknown, None, *since, 0),
        Observed::Absent | Observed::Stopping { .. } | Observed::Unknown { .. } => return None,
    };
    let larger = match shortage {
        Shortage::Slots => 0,
        Shortage::Memory => memory,
    };
    let (larger, youngest) = (Reverse(larger), Reverse(since));
    Some(Rank { loss, priority: spec.priority, larger, idle_since, youngest, name })
}

/// Which threshold of the emergency cleanup `run` is over, for how long, in words; `None` where it is none's victim.
///
/// Where nobody wrote thresholds, one whose `maxIdle` is `never` is spared.
pub fn emergency(spec: &SessionSpec, run: &Run, thresholds: &Emergency, now: Moment) -> Option<String> {
    let idle = open_to_emergency(spec, thresholds).then(|| activity::proven_idle(run)).flatten()?;
    let (Dur(max_idle), Dur(max_age)) = (thresholds.max_idle, thresholds.max_age);
    if idle > max_idle {
        return Some(format!("idle for longer than {} (emergency.maxIdle)", thresholds.max_idle));
    }
    let too_old = Loss::of(run) == Loss::Idle && now - run.since > max_age;
    too_old.then(|| format!("idle, and older than {} (emergency.maxAge)", thresholds.max_age))
}

/// When [`emergency`] would say so by the passing of time alone.
pub fn emergency_at(spec: &SessionSpec, run: &Run, thresholds: &Emergency, now: Moment) -> Option<Moment> {
    let idle = open_to_emergency(spec, thresholds) && Loss::of(run) == Loss::Idle;
    let end = run.since.checked_add(thresholds.max_age.0)?.checked_add(Duration::from_nanos(1))?;
    (idle && end > now).then_some(end)
}

fn open_to_emergency(spec: &SessionSpec, thresholds: &Emergency) -> bool {
    !spec.pinned && (thresholds.everyone || spec.max_idle.at().is_some())
}
