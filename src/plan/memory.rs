//! The memory that all sessions share: who must leave when it is over budget, and who may come in.
//!
//! One victim at a time: it is ended, then all are measured again, and that goes on until less than nine tenths of
//! the budget are in use. So what one victim frees is known before the next one is chosen, and what just fits again
//! does not tip over at the next allocation.
//!
//! A busy session goes only where all the others that may go would not make room enough. Then it goes first: ending
//! twenty idle ones beside the one that leaks would help nobody.

use std::time::Duration;

use super::{
    Observed, Run, Session, Wait, activity, budget,
    eviction::{self, Loss, Rank, Shortage},
};
use crate::api::{
    cause::{Cause, StopReason},
    name::{RunId, SessionName},
    quantity::Size,
    spec::SessionSpec,
    time::Moment,
};

/// A victim that came back is taken to need what it used before, for this long: its memory grows only now.
const GROWTH: Duration = Duration::from_secs(60);

/// A session that frees less than this part of what is too much is spared while another frees more.
const LEAST_HELP: u64 = 20;

/// A relief in progress. To be handed back to the next decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Relief {
    /// Only looks later than this tell what is left.
    after: Moment,
    victim: Option<Victim>,
}

#[derive(Debug, Clone, PartialEq)]
struct Victim {
    name: SessionName,
    run_id: RunId,
    loss: Loss,
    cause: Cause,
}

/// A live session as a user of memory.
pub struct Tenant<'a> {
    /// Which.
    pub name: &'a SessionName,
    /// What is observed of it.
    pub session: &'a Session,
    /// Its spec, where it may be ended for others; absent where it may not, or is leaving.
    pub movable: Option<&'a SessionSpec>,
}

impl<'a> Tenant<'a> {
    fn run(&self) -> Option<&'a Run> {
        self.session.observed.run()
    }

    /// What outlives SIGKILL may stay for ever: others go on.
    fn is_leaving(&self) -> bool {
        matches!(self.session.observed, Observed::Stopping { unkillable: false, .. })
    }

    fn is_relieving(&self) -> bool {
        matches!(&self.session.observed,
            Observed::Stopping { cause, unkillable: false, .. } if cause.reason == StopReason::MemoryPressure)
    }

    fn rank(&self) -> Option<Rank<'a>> {
        let spec = self.movable?;
        eviction::rank(self.name, spec, &self.session.observed, Shortage::Memory)
            .filter(|_| self.run().is_some_and(|run| activity::memory(run) > 0))
    }
}

/// Who is to leave, and why; with the relief as it stands now.
pub fn relieve(
    tenants: &[Tenant<'_>],
    limit: u64,
    relief: Option<&Relief>,
    now: Moment,
) -> (Option<Relief>, Option<(SessionName, Cause)>) {
    let runs = || tenants.iter().filter_map(Tenant::run);
    let known: u64 = runs().map(activity::memory).fold(0, u64::saturating_add);
    let sure: u64 = runs().filter_map(|run| budget::memory_for_sure(run, now)).fold(0, u64::saturating_add);
    let wait = |after| (Some(Relief { after, victim: None }), None);
    match relief {
        None if sure <= limit => return (None, None),
        None => {}
        Some(relief) => {
            if let Some(victim) = relief.victim.as_ref().filter(|victim| still_to_go(victim, tenants)) {
                let relief = Relief { after: now, victim: Some(victim.clone()) };
                return (Some(relief), Some((victim.name.clone(), victim.cause.clone())));
            }
            if tenants.iter().any(Tenant::is_relieving) {
                return wait(now);
            }
            if is_low(known, limit) {
                return (None, None);
            }
            // What is not known for sure is in no sum, so one that cannot be looked at holds up nothing.
            let outdated = |run: &Run| {
                budget::memory_for_sure(run, now).is_some()
                    && run.seen.is_some_and(|seen| seen.look.at <= relief.after)
            };
            let staying = tenants.iter().filter(|tenant| !tenant.is_leaving()).filter_map(Tenant::run);
            if is_low(sure, limit) || staying.into_iter().any(outdated) {
                return wait(relief.after);
            }
        }
    }
    let leaving =
        tenants.iter().filter(|tenant| tenant.is_leaving()).filter_map(Tenant::run).map(activity::memory);
    if is_low(sure.saturating_sub(leaving.fold(0, u64::saturating_add)), limit) {
        return wait(now);
    }
    let Some(victim) = choose(tenants, sure, limit) else {
        return wait(now);
    };
    let chosen = (victim.name.clone(), victim.cause.clone());
    (Some(Relief { after: now, victim: Some(victim) }), Some(chosen))
}

/// A victim that was chosen goes, unless ending it would interrupt more by now than it would have then.
fn still_to_go(victim: &Victim, tenants: &[Tenant<'_>]) -> bool {
    tenants
        .iter()
        .find(|tenant| *tenant.name == victim.name)
        .filter(|tenant| tenant.run().is_some_and(|run| run.run_id == victim.run_id))
        .and_then(Tenant::rank)
        .is_some_and(|rank| rank.loss <= victim.loss)
}

fn choose(tenants: &[Tenant<'_>], sure: u64, limit: u64) -> Option<Victim> {
    let ranked = || tenants.iter().filter_map(|tenant| Some((tenant.rank()?, tenant)));
    // To end a shell that holds a megabyte because of forty that are too many helps nobody.
    let excess = sure.saturating_sub(limit / 10 * 9);
    let helps =
        |tenant: &Tenant<'_>| tenant.run().is_some_and(|run| activity::memory(run) >= excess / LEAST_HELP);
    let first = |busy: bool| {
        let these = || ranked().filter(|(rank, _)| (rank.loss == Loss::Busy) == busy);
        let useful = these().filter(|(_, tenant)| helps(tenant)).min_by(|(a, _), (b, _)| a.cmp(b));
        useful.or_else(|| these().min_by(|(a, _), (b, _)| a.cmp(b)))
    };
    let others: u64 = ranked()
        .filter(|(rank, _)| rank.loss < Loss::Busy)
        .filter_map(|(_, tenant)| tenant.run().map(activity::memory))
        .fold(0, u64::saturating_add);
    let enough = sure.saturating_sub(others) <= limit;
    let busy = if enough { None } else { first(true) };
    let (rank, tenant) = busy.or_else(|| first(false))?;
    let run = tenant.run()?;
    let message = format!(
        "all sessions together used {} of the {} of maxMemory; this one {}",
        Size(sure).human(),
        Size(limit).human(),
        Size(activity::memory(run)).human(),
    );
    let cause = Cause::rule(StopReason::MemoryPressure, message);
    Some(Victim { name: tenant.name.clone(), run_id: run.run_id, loss: rank.loss, cause })
}

/// Less than nine tenths of the budget: room for others.
fn is_low(used: u64, limit: u64) -> bool {
    u128::from(used) * 10 < u128::from(limit) * 9
}

/// What is left of the budget for sessions that want to start.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    limit: Option<u64>,
    used: u64,
    alone: bool,
    /// When the first of those that came back counts by what it really uses.
    grown_at: Option<Moment>,
}

impl Room {
    /// As the live ones leave it.
    pub fn of(tenants: &[Tenant<'_>], limit: Option<u64>, now: Moment) -> Self {
        let used = tenants.iter().map(|tenant| expected(tenant, now)).fold(0, u64::saturating_add);
        let growing = tenants.iter().filter(|tenant| need(tenant.session) > 0).filter_map(|tenant| {
            let Observed::Running(run) = &tenant.session.observed else { return None };
            run.since.checked_add(GROWTH).filter(|grown| *grown > now)
        });
        Self { limit, used, alone: tenants.is_empty(), grown_at: growing.min() }
    }

    /// When time alone may make more room.
    pub fn grows_at(&self) -> Option<Moment> {
        self.grown_at
    }

    /// Takes room for `session`, or says what it waits for.
    pub fn take(&mut self, session: &Session) -> Result<(), Wait> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let needed = need(session);
        let after = self.used.saturating_add(needed);
        // What needs nearly all of it would never come back, if it could not when nothing else is there.
        let fits = is_low(after, limit) || (self.alone && needed <= limit);
        if !fits {
            return Err(Wait::MemoryBudget { limit, needed });
        }
        self.used = after;
        self.alone = false;
        Ok(())
    }
}

/// What a session used when it was ended for memory; of others it is not known what they will need.
fn need(session: &Session) -> u64 {
    let relieved =
        session.history.last.as_ref().filter(|last| {
            last.cause.as_ref().is_some_and(|cause| cause.reason == StopReason::MemoryPressure)
        });
    relieved.and_then(|last| last.memory).unwrap_or(0)
}

fn expected(tenant: &Tenant<'_>, now: Moment) -> u64 {
    match &tenant.session.observed {
        Observed::Starting { .. } => need(tenant.session),
        Observed::Running(run) if run.since.checked_add(GROWTH).is_some_and(|grown| now < grown) => {
            activity::memory(run).max(need(tenant.session))
        }
        Observed::Running(run) | Observed::Stopping { run, .. } => activity::memory(run),
        // Of one whose keeper does not answer nothing is known.
        Observed::Absent | Observed::Unknown { .. } => 0,
    }
}
