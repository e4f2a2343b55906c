//! Who may run, given what all share: slots, memory and identities.
//!
//! Five passes, each over what the one before left open:
//! 1. `alone`: what each session gets as if it were the only one. Persons, files, the last end, the back-off and its
//!    own budgets ([`budget::broken`]) speak here.
//! 2. `take_turns`: a newer session of the same owner and slot takes the place of an idle one.
//! 3. `give_way`: who leaves where `maxSessions` was lowered.
//! 4. `relieve`: who leaves where all together use more memory than they may ([`memory::relieve`]).
//! 5. `admit`: who of those that want a slot gets one; and [`make_room`], where none is left: the emergency cleanup,
//!    then idle sessions of lower priority.
//!
//! Victims are taken in the order of [`eviction`]. A slot and an identity are free when the process is gone, not when
//! it was asked to go.
//!
//! It runs at every change of any session, over all of them: it clones no spec, makes a message only where a
//! verdict needs one, and looks at identities only where one is not simply the session's own name.

mod identities;
mod room;

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use self::{identities::Identities, room::make_room};

use super::{
    Desired, Done, Grant, Observed, Run, Session, Verdict, Wait, Wanted, Will, budget,
    eviction::{self, Loss, Shortage},
    memory::{self, Relief, Room, Tenant},
    restart::{self, Want},
    turn,
};
use crate::api::{
    cause::{Cause, StopReason},
    config::Config,
    name::SessionName,
    time::Moment,
};

/// The answer for all sessions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decisions {
    /// One verdict a session, in the order they were given.
    pub verdicts: Vec<Verdict>,
    /// When a verdict changes by the mere passing of time.
    pub next: Option<Moment>,
    /// The relief of memory as it stands now: to be handed to the next decision.
    pub relief: Option<Relief>,
}

/// What the daemon is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// To make what is as it should be.
    Converge,
    /// To end every session, for this cause, and to start none.
    EndAll(Cause),
}

/// One session with what is decided about it so far.
struct Seat<'a> {
    name: &'a SessionName,
    session: &'a Session,
    claim: Claim<'a>,
    verdict: Verdict,
}

impl<'a> Seat<'a> {
    /// The spec and the run of one that lives and may stay while there is room.
    fn holder(&self) -> Option<(&'a Wanted, &'a Run)> {
        match (self.claim, &self.session.observed) {
            (Claim::Holds(wanted), Observed::Running(run)) => Some((wanted, run)),
            _ => None,
        }
    }

    fn leave(&mut self, cause: Cause) {
        self.claim = Claim::Leaving;
        self.verdict = Verdict::Stop(cause);
    }
}

/// What a session has to do with the slots.
#[derive(Clone, Copy)]
enum Claim<'a> {
    /// It does not live, and wants nothing now.
    None,
    /// It lives and is on its way out.
    Leaving,
    /// It lives and may stay, whatever the limit: nobody knows enough to end it.
    Kept,
    /// It lives and is a person's own: it takes a place, and costs no running one its own.
    Guest,
    /// It lives and may stay while there is room.
    Holds(&'a Wanted),
    /// It does not live and wants to.
    Wants(&'a Wanted),
}

/// Decides for every session at once.
///
/// Equal input gives equal output, whatever the order. Deciding again on the outcome of a decision changes nothing:
/// who got a slot holds it, and a waiting session never costs a running one its slot.
pub fn decide<'a>(
    sessions: impl Iterator<Item = (&'a SessionName, &'a Session)>,
    config: &Config,
    mode: &Mode,
    relief: Option<&Relief>,
    now: Moment,
) -> Decisions {
    let mut seats: Vec<Seat<'_>> = sessions
        .map(|(name, session)| {
            let (claim, verdict) = alone(session, config, mode, now);
            Seat { name, session, claim, verdict }
        })
        .collect();
    take_turns(&mut seats);
    let turns_end = give_way(&mut seats, config, now);
    let limit = config.max_memory.at().map(|limit| limit.0).filter(|_| *mode == Mode::Converge);
    // Nobody is counted where nothing is counted.
    let tenants = limit.map_or_else(Vec::new, |_| tenants(&seats));
    let relief = limit.and_then(|limit| relieve(&mut seats, &tenants, limit, relief, now));
    let room = Room::of(&tenants, limit, now);
    let unmet = admit(&mut seats, config.max_sessions, room);
    let opens = make_room(&mut seats, unmet, config, now);
    let short = seats.iter().any(|seat| matches!(seat.verdict, Verdict::Wait(Wait::MemoryBudget { .. })));
    let grown = room.grows_at().filter(|_| short);

    let next = seats.iter().filter_map(|seat| changes_at(seat, config, now));
    let next = next.chain(turns_end).chain(opens).chain(grown).min();
    let verdicts = seats.into_iter().map(|seat| seat.verdict).collect();
    Decisions { verdicts, next, relief }
}

fn changes_at(seat: &Seat<'_>, config: &Config, now: Moment) -> Option<Moment> {
    let age = seat.holder().and_then(|(wanted, run)| budget::breaks_at(&wanted.spec, run, config, now));
    age.or_else(|| seat.verdict.changes_at())
}

/// Whether a budget, not a person or a file, ends a session for this reason.
pub fn is_eviction(reason: StopReason) -> bool {
    match reason {
        StopReason::IdleTimeout
        | StopReason::MaxAgeExceeded
        | StopReason::SessionMemory
        | StopReason::MemoryPressure
        | StopReason::MaxSessions
        | StopReason::SlotTaken
        | StopReason::ProcessLimit => true,
        StopReason::SpecChanged
        | StopReason::ClientRestart
        | StopReason::SpecRemoved
        | StopReason::ClientStop
        | StopReason::ClientKill
        | StopReason::Suspended
        | StopReason::Shutdown
        | StopReason::KeeperLost => false,
    }
}

/// What `session` gets as if it were the only one.
fn alone<'a>(session: &'a Session, config: &Config, mode: &Mode, now: Moment) -> (Claim<'a>, Verdict) {
    let run = Verdict::Run(Grant::of(session));
    match (&session.observed, &session.desired) {
        // No rule speaks to it, not even the end of the daemon.
        (
            Observed::Starting { .. } | Observed::Running(_) | Observed::Unknown { .. },
            Desired::Registered(_),
        ) => (Claim::Guest, run),
        // A stop is finished, whatever the file says meanwhile; then it is decided anew.
        (
            Observed::Stopping { cause, .. },
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Spec(_) | Desired::Registered(_),
        ) => (Claim::Leaving, Verdict::Stop(cause.clone())),
        // Silence proves nothing: never started a second time, never ended by a rule.
        (
            Observed::Unknown { .. },
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Spec(_),
        ) => (Claim::Kept, run),
        (Observed::Starting { .. } | Observed::Running(_), desired) => match (stop(desired), mode, desired) {
            (Some(cause), _, _) => (Claim::Leaving, Verdict::Stop(cause)),
            (None, Mode::EndAll(cause), _) => (Claim::Leaving, Verdict::Stop(cause.clone())),
            (None, Mode::Converge, Desired::Spec(wanted)) => {
                match over_budget(session, wanted, config, now) {
                    Some(cause) => (Claim::Leaving, Verdict::Stop(cause)),
                    None => (Claim::Holds(wanted), run),
                }
            }
            (
                None,
                Mode::Converge,
                Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_),
            ) => (Claim::Kept, run),
        },
        (Observed::Absent, Desired::Gone | Desired::Registered(_)) => {
            (Claim::None, Verdict::Done(Done::Gone))
        }
        (Observed::Absent, Desired::NeverGood) => (Claim::None, Verdict::Wait(Wait::InvalidSpec)),
        (Observed::Absent, Desired::Unseen) => (Claim::None, Verdict::Wait(Wait::SpecUnseen)),
        (Observed::Absent, Desired::Spec(wanted)) => {
            match (restart::next(wanted, &session.history, now), mode) {
                (Want::Done(done), Mode::Converge | Mode::EndAll(_)) => (Claim::None, Verdict::Done(done)),
                (Want::Run | Want::Wait(_), Mode::EndAll(_)) => (Claim::None, Verdict::Wait(Wait::Shutdown)),
                (Want::Wait(wait), Mode::Converge) => (Claim::None, Verdict::Wait(wait)),
                (Want::Run, Mode::Converge) => (Claim::Wants(wanted), run),
            }
        }
    }
}

/// Why a live session is to end, where a person or the file says so.
fn stop(desired: &Desired) -> Option<Cause> {
    match desired {
        Desired::Gone => Some(Cause::rule(StopReason::SpecRemoved, "its spec file was removed")),
        // It goes on with the spec that it was started with; or it is none of ours to end.
        Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => None,
        Desired::Spec(wanted) => match wanted.will {
            Will::Suspended { by } => {
                Some(Cause::asked(StopReason::Suspended, by, "suspended by `atm suspend`"))
            }
            Will::AsDeclared | Will::Stopped { .. } if wanted.spec.suspend => {
                Some(Cause::rule(StopReason::Suspended, "its spec says `suspend: true`"))
            }
            Will::Stopped { by, now: false } => {
                Some(Cause::asked(StopReason::ClientStop, by, "stopped by `atm stop`"))
            }
            Will::Stopped { by, now: true } => {
                Some(Cause::asked(StopReason::ClientKill, by, "killed by `atm kill`"))
            }
            Will::AsDeclared => None,
        },
    }
}

/// Why a session that runs is to end by a budget of its own, or by a cleanup that a person asked for.
fn over_budget(session: &Session, wanted: &Wanted, config: &Config, now: Moment) -> Option<Cause> {
    let Observed::Running(run) = &session.observed else {
        return None;
    };
    budget::broken(&wanted.spec, run, config, now).or_else(|| {
        let request = session.history.cleanup_requested.filter(|request| request.run_id == run.run_id)?;
        let over = eviction::emergency(&wanted.spec, run, &config.emergency, now)?;
        Some(Cause::asked(StopReason::IdleTimeout, request.by, over))
    })
}

/// A newer session evicts an older idle one of the same user, owner and slot. One that is in a turn finishes it first; both
/// run until then.
fn take_turns(seats: &mut [Seat<'_>]) {
    let mut newest: BTreeMap<(u32, &str, &str), _> = BTreeMap::new();
    for seat in seats.iter() {
        if let Claim::Holds(wanted) | Claim::Wants(wanted) = seat.claim
            && let Some(place) = place(wanted)
        {
            let age = (wanted.first_seen, seat.name);
            newest.entry(place).and_modify(|newest| *newest = age.max(*newest)).or_insert(age);
        }
    }
    for seat in seats.iter_mut() {
        let Some((wanted, run)) = seat.holder() else { continue };
        let Some((_, by)) = place(wanted).and_then(|place| newest.get(&place)) else { continue };
        if *by != seat.name && !wanted.spec.pinned && Loss::of(run) == Loss::Idle {
            let slot = wanted.spec.slot.as_deref().unwrap_or_default();
            let message = format!("idle, and the newer session `{by}` has its slot `{slot}`");
            seat.leave(Cause::rule(StopReason::SlotTaken, message));
        }
    }
}

/// The owner's place that a session asks for: of the same user's sessions, as anybody can write any owner.
fn place(wanted: &Wanted) -> Option<(u32, &str, &str)> {
    Some((wanted.uid, wanted.spec.owner.as_deref()?, wanted.spec.slot.as_deref()?))
}

/// Takes slots back where the limit was lowered: as many as are too many, in the order of [`eviction::rank`].
///
/// Those in a turn finish it first, unless it takes longer than `ageGrace`: the moment at which the first of these does
/// is the answer. Pinned ones and those of which too little is known stay. Persons' own
/// sessions are not counted: who starts one ends no other by it.
fn give_way(seats: &mut [Seat<'_>], config: &Config, now: Moment) -> Option<Moment> {
    let limit = config.max_sessions;
    let stay = seats.iter().filter(|seat| matches!(seat.claim, Claim::Kept | Claim::Holds(_))).count();
    let excess = stay.saturating_sub(slots(limit));
    if excess == 0 {
        return None;
    }
    let mut turns_end: Option<Moment> = None;
    let mut victims = Vec::new();
    for seat in seats.iter_mut() {
        let Claim::Holds(wanted) = seat.claim else { continue };
        let rank = eviction::rank(seat.name, &wanted.spec, &seat.session.observed, Shortage::Slots);
        let Some(rank) = rank else { continue };
        let grace = config.age_grace.0;
        let until = seat.holder().and_then(|(_, run)| turn::waited_for_until(run, grace));
        match until.filter(|until| now <= *until) {
            Some(until) => {
                let past = until.saturating_add(Duration::from_nanos(1));
                turns_end = turns_end.into_iter().chain([past]).min();
            }
            None => victims.push((rank, seat)),
        }
    }
    victims.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let short = victims.len() < excess;
    for (_, seat) in victims.into_iter().take(excess) {
        seat.leave(Cause::rule(StopReason::MaxSessions, format!("maxSessions was lowered to {limit}")));
    }
    turns_end.filter(|_| short)
}

/// Those that live, as users of memory.
fn tenants<'a>(seats: &[Seat<'a>]) -> Vec<Tenant<'a>> {
    // What a person started by hand is theirs to measure: the budget is that of what atm runs.
    let live = seats.iter().filter(|seat| seat.session.observed.is_live() && !seat.session.is_registered());
    live.map(|seat| {
        let movable = seat.holder().map(|(wanted, _)| &*wanted.spec);
        Tenant { name: seat.name, session: seat.session, movable }
    })
    .collect()
}

/// Takes memory back where all together use too much.
fn relieve(
    seats: &mut [Seat<'_>],
    tenants: &[Tenant<'_>],
    limit: u64,
    relief: Option<&Relief>,
    now: Moment,
) -> Option<Relief> {
    let (relief, victim) = memory::relieve(tenants, limit, relief, now);
    if let Some((name, cause)) = victim
        && let Some(seat) = seats.iter_mut().find(|seat| *seat.name == name)
    {
        seat.leave(cause);
    }
    relief
}

/// Hands out what is free: by priority, then to who waits longest, then by name. Gives those for whom no slot was
/// left, in that order.
///
/// An identity is taken by the live session that was started under it; among those that wait, the first in rank
/// has it, also while that one waits for a slot itself.
fn admit<'a>(seats: &mut [Seat<'a>], limit: u32, mut room: Room) -> Vec<(&'a SessionName, i32)> {
    let live = seats.iter().filter(|seat| seat.session.observed.is_live()).count();
    let mut free = slots(limit).saturating_sub(live);
    let mut identities = Identities::of(seats);
    let mut unmet = Vec::new();

    let mut waiting: Vec<_> = seats
        .iter_mut()
        .filter_map(|seat| match seat.claim {
            Claim::Wants(wanted) => Some((wanted, seat)),
            Claim::None | Claim::Leaving | Claim::Kept | Claim::Guest | Claim::Holds(_) => None,
        })
        .collect();
    waiting
        .sort_unstable_by_key(|(wanted, seat)| (Reverse(wanted.spec.priority), wanted.first_seen, seat.name));
    for (wanted, seat) in waiting {
        if let Err(by) = identities.claim(&wanted.spec.identity, wanted.uid, seat.name) {
            let identity = wanted.spec.identity.clone();
            seat.verdict = Verdict::Wait(Wait::IdentityTaken { by: by.clone(), identity });
        } else if free == 0 {
            seat.verdict = Verdict::Wait(Wait::MaxSessions { limit });
            unmet.push((seat.name, wanted.spec.priority));
        } else if let Err(wait) = room.take(seat.session) {
            seat.verdict = Verdict::Wait(wait);
        } else {
            free -= 1;
        }
    }
    unmet
}

fn slots(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
