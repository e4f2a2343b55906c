//! Who may run, given what all share: slots and identities.
//!
//! Three passes, each over what the one before left open:
//! 1. `alone`: what each session gets as if it were the only one. Persons, files, the last end and the
//!    back-off speak here. A budget of one session (idle, age, its own memory) is a rule here too: it turns a
//!    holder into a [`Verdict::Stop`], and its deadline goes into [`Decisions::next`].
//! 2. `give_way`: who of those that hold a slot must leave it. A budget that all share (slots, memory) is a rule
//!    here: it takes victims in the order of [`eviction::rank`].
//! 3. `admit`: who of those that want a slot gets one. What makes room for a better claim (the emergency cleanup,
//!    preemption of idle sessions of lower priority) asks pass 2 for victims when this one runs out of slots.
//!
//! A slot and an identity are free when the process is gone, not when it was asked to go.
//!
//! It runs at every change of any session, over all of them: it clones no spec, makes a message only where a
//! verdict needs one, and looks at identities only where one is not simply the session's own name.

use std::{cmp::Reverse, collections::HashMap};

use super::{
    Desired, Done, Grant, Observed, Session, Verdict, Wait, Wanted, Will, eviction,
    restart::{self, Want},
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
    pub verdicts: Vec<(SessionName, Verdict)>,
    /// When a verdict changes by the mere passing of time.
    pub next: Option<Moment>,
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

/// What a session has to do with the slots.
#[derive(Clone, Copy)]
enum Claim<'a> {
    /// It does not live, and wants nothing now.
    None,
    /// It lives and is on its way out.
    Leaving,
    /// It lives and may stay, whatever the limit: nobody knows enough to end it.
    Kept,
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
    now: Moment,
) -> Decisions {
    let mut seats: Vec<Seat<'_>> = sessions
        .map(|(name, session)| {
            let (claim, verdict) = alone(session, mode, now);
            Seat { name, session, claim, verdict }
        })
        .collect();
    give_way(&mut seats, config.max_sessions);
    admit(&mut seats, config.max_sessions);

    let next = seats.iter().filter_map(|seat| seat.verdict.changes_at()).min();
    let verdicts = seats.into_iter().map(|seat| (seat.name.clone(), seat.verdict)).collect();
    Decisions { verdicts, next }
}

/// What `session` gets as if it were the only one.
fn alone<'a>(session: &'a Session, mode: &Mode, now: Moment) -> (Claim<'a>, Verdict) {
    let run = Verdict::Run(Grant::of(session));
    match (&session.observed, &session.desired) {
        // A stop is finished, whatever the file says meanwhile; then it is decided anew.
        (
            Observed::Stopping { cause, .. },
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Spec(_),
        ) => (Claim::Leaving, Verdict::Stop(cause.clone())),
        // Silence proves nothing: never started a second time, never ended by a rule.
        (
            Observed::Unknown { .. },
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Spec(_),
        ) => (Claim::Kept, run),
        (Observed::Starting { .. } | Observed::Running(_), desired) => match (stop(desired), mode, desired) {
            (Some(cause), _, _) => (Claim::Leaving, Verdict::Stop(cause)),
            (None, Mode::EndAll(cause), _) => (Claim::Leaving, Verdict::Stop(cause.clone())),
            (None, Mode::Converge, Desired::Spec(wanted)) => (Claim::Holds(wanted), run),
            (None, Mode::Converge, Desired::Gone | Desired::NeverGood | Desired::Unseen) => {
                (Claim::Kept, run)
            }
        },
        (Observed::Absent, Desired::Gone) => (Claim::None, Verdict::Done(Done::Gone)),
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
        // It goes on with the spec that it was started with.
        Desired::NeverGood | Desired::Unseen => None,
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

/// Takes slots back where the limit was lowered: as many as are too many, in the order of [`eviction::rank`].
///
/// Busy ones finish their turn first; pinned ones and those of which too little is known stay.
fn give_way(seats: &mut [Seat<'_>], limit: u32) {
    let stay = seats.iter().filter(|seat| matches!(seat.claim, Claim::Kept | Claim::Holds(_))).count();
    let excess = stay.saturating_sub(slots(limit));
    if excess == 0 {
        return;
    }
    let mut victims: Vec<_> = seats
        .iter_mut()
        .filter_map(|seat| match seat.claim {
            Claim::Holds(wanted) => {
                let rank = eviction::rank(seat.name, &wanted.spec, &seat.session.observed)?;
                (rank.loss < eviction::Loss::Busy).then_some((rank, seat))
            }
            Claim::None | Claim::Leaving | Claim::Kept | Claim::Wants(_) => None,
        })
        .collect();
    victims.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for (_, seat) in victims.into_iter().take(excess) {
        seat.claim = Claim::Leaving;
        seat.verdict = Verdict::Stop(Cause::rule(
            StopReason::MaxSessions,
            format!("maxSessions was lowered to {limit}"),
        ));
    }
}

/// Hands out what is free: by priority, then to who waits longest, then by name.
///
/// An identity is taken by the live session that was started under it; among those that wait, the first in rank
/// has it, also while that one waits for a slot itself.
fn admit(seats: &mut [Seat<'_>], limit: u32) {
    let live = seats.iter().filter(|seat| seat.session.observed.is_live()).count();
    let mut free = slots(limit).saturating_sub(live);
    let mut identities = Identities::of(seats);

    let mut waiting: Vec<_> = seats
        .iter_mut()
        .filter_map(|seat| match seat.claim {
            Claim::Wants(wanted) => Some((wanted, seat)),
            Claim::None | Claim::Leaving | Claim::Kept | Claim::Holds(_) => None,
        })
        .collect();
    waiting
        .sort_unstable_by_key(|(wanted, seat)| (Reverse(wanted.spec.priority), wanted.first_seen, seat.name));
    for (wanted, seat) in waiting {
        if let Err(by) = identities.claim(&wanted.spec.identity, seat.name) {
            let identity = wanted.spec.identity.clone();
            seat.verdict = Verdict::Wait(Wait::IdentityTaken { by: by.clone(), identity });
        } else if free > 0 {
            free -= 1;
        } else {
            seat.verdict = Verdict::Wait(Wait::MaxSessions { limit });
        }
    }
}

/// Who has which identity. Empty, and without a look, where everyone's is its own name: names differ.
struct Identities<'a> {
    shared: bool,
    taken: HashMap<&'a str, &'a SessionName>,
}

impl<'a> Identities<'a> {
    fn of(seats: &[Seat<'a>]) -> Self {
        let held = |seat: &Seat<'a>| -> Option<&'a str> {
            let session = seat.session;
            let known = session.identity.as_deref();
            match (&session.observed, &session.desired) {
                (
                    Observed::Absent,
                    Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Spec(_),
                ) => None,
                (_, Desired::Spec(wanted)) => Some(known.unwrap_or(&wanted.spec.identity)),
                (_, Desired::Gone | Desired::NeverGood | Desired::Unseen) => {
                    Some(known.unwrap_or(seat.name.as_str()))
                }
            }
        };
        let wanted = |seat: &Seat<'a>| match seat.claim {
            Claim::Wants(wanted) => Some(wanted.spec.identity.as_str()),
            Claim::None | Claim::Leaving | Claim::Kept | Claim::Holds(_) => None,
        };
        let foreign =
            |seat: &Seat<'a>| held(seat).or(wanted(seat)).is_some_and(|id| id != seat.name.as_str());
        let shared = seats.iter().any(foreign);
        let taken = if shared {
            seats.iter().filter_map(|seat| Some((held(seat)?, seat.name))).collect()
        } else {
            HashMap::new()
        };
        Self { shared, taken }
    }

    /// Takes `identity` for `name`, or says who has it.
    fn claim(&mut self, identity: &'a str, name: &'a SessionName) -> Result<(), &'a SessionName> {
        if !self.shared {
            return Ok(());
        }
        if let Some(by) = self.taken.get(identity) {
            return Err(by);
        }
        self.taken.insert(identity, name);
        Ok(())
    }
}

fn slots(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
