//! The budgets of one session: its own memory and processes, its age, its idleness.
//!
//! Each comparison is strict, and each needs its fact: what is missing or old ends nothing. A session that breaks
//! several is ended for the first in the order of [`broken`]: what harms others before what merely lasts too long,
//! and an age before idleness, because what follows an age is another run.

use std::time::Duration;

use super::{Run, activity, turn};
use crate::api::{
    cause::{Cause, StopReason},
    config::Config,
    quantity::{Dur, Size},
    spec::SessionSpec,
    time::Moment,
};

/// A look that is older says nothing of what a tree uses now: five of the shortest intervals between looks.
const FRESH: Duration = Duration::from_secs(10);

/// Which budget of its own `run` breaks, if any.
pub fn broken(spec: &SessionSpec, run: &Run, config: &Config, now: Moment) -> Option<Cause> {
    memory(spec, run, now)
        .or_else(|| processes(spec, run, now))
        .or_else(|| age(spec, run, config, now))
        .or_else(|| idleness(spec, run))
}

/// When `run` breaks a budget by the passing of time alone. Idleness does not: it needs another look.
pub fn breaks_at(spec: &SessionSpec, run: &Run, config: &Config, now: Moment) -> Option<Moment> {
    too_old_after(spec, run, config)?.checked_add(Duration::from_nanos(1)).filter(|at| *at > now)
}

/// What the tree of `run` uses, where it is known for now and counts what is shared once.
pub fn memory_for_sure(run: &Run, now: Moment) -> Option<u64> {
    let look = fresh(run, now)?;
    look.memory.exact.then_some(look.memory.bytes)
}

fn fresh(run: &Run, now: Moment) -> Option<&activity::Look> {
    let look = &run.seen.as_ref()?.look;
    (now - look.at <= FRESH).then_some(look)
}

fn memory(spec: &SessionSpec, run: &Run, now: Moment) -> Option<Cause> {
    let limit = spec.max_memory.at()?;
    let used = Size(memory_for_sure(run, now)?);
    (used > limit).then(|| {
        let (used, limit) = (used.human(), limit.human());
        Cause::rule(
            StopReason::SessionMemory,
            format!("its processes use {used}, more than its maxMemory of {limit}"),
        )
    })
}

fn processes(spec: &SessionSpec, run: &Run, now: Moment) -> Option<Cause> {
    let limit = spec.max_processes.at()?;
    let count = fresh(run, now)?.processes;
    (count > limit).then(|| {
        let message = format!("it has {count} processes, more than its maxProcesses of {limit}");
        Cause::rule(StopReason::ProcessLimit, message)
    })
}

fn age(spec: &SessionSpec, run: &Run, config: &Config, now: Moment) -> Option<Cause> {
    let limit = spec.max_age.at()?;
    let deadline = too_old_after(spec, run, config)?;
    (now > deadline).then(|| {
        let message = if turn::is_under_way(run) {
            format!(
                "older than its maxAge of {limit}, and busy for longer than the ageGrace of {}",
                config.age_grace
            )
        } else {
            format!("older than its maxAge of {limit}")
        };
        Cause::rule(StopReason::MaxAgeExceeded, message)
    })
}

/// The last moment at which `run` is not too old. One that is in a turn may finish it.
fn too_old_after(spec: &SessionSpec, run: &Run, config: &Config) -> Option<Moment> {
    let Dur(limit) = spec.max_age.at()?;
    let grace = if turn::is_under_way(run) { config.age_grace.0 } else { Duration::ZERO };
    run.since.checked_add(limit)?.checked_add(grace)
}

/// Whether `run` is over its age and goes on only to finish its turn.
pub fn finishes_its_turn(spec: &SessionSpec, run: &Run, now: Moment) -> bool {
    let over =
        spec.max_age.at().and_then(|limit| run.since.checked_add(limit.0)).is_some_and(|end| now > end);
    over && turn::is_under_way(run)
}

fn idleness(spec: &SessionSpec, run: &Run) -> Option<Cause> {
    if spec.pinned {
        return None;
    }
    let limit = spec.max_idle.at()?;
    let idle = activity::proven_idle(run)?;
    (idle > limit.0)
        .then(|| Cause::rule(StopReason::IdleTimeout, format!("idle for longer than its maxIdle of {limit}")))
}

/// When `run` will have been idle for too long, if nothing happens until then: for people.
pub fn idle_until(spec: &SessionSpec, run: &Run) -> Option<Moment> {
    let limit = if spec.pinned { None } else { spec.max_idle.at() };
    activity::since(run)?.checked_add(limit?.0)
}

#[cfg(test)]
mod tests;
