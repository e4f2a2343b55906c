//! A full house: who leaves it for somebody with a better claim.

use super::{Claim, Seat, slots};
use crate::{
    api::{
        cause::{Cause, StopReason},
        config::Config,
        name::SessionName,
        spec::RestartPolicy,
        time::Moment,
    },
    plan::{
        Desired, Observed, Verdict, activity,
        eviction::{self, Loss, Shortage},
    },
};

/// Makes room for those that found no slot: first by the emergency cleanup of whoever has been idle longest, then by
/// idle sessions of lower priority. Nobody goes for a session of lower priority than its own, and nobody goes in
/// vain: where persons' own sessions fill the house beyond the limit, one place would take several to go, and what
/// anybody may start outside atm is to cost no session of atm's its place. Gives the moment at which time alone
/// makes more room.
pub(super) fn make_room(
    seats: &mut [Seat<'_>],
    unmet: Vec<(&SessionName, i32)>,
    config: &Config,
    now: Moment,
) -> Option<Moment> {
    let taken = coming_taken(seats);
    let coming_free = slots(config.max_sessions).checked_sub(taken)?;
    let mut unmet = unmet.into_iter().skip(coming_free).peekable();
    unmet.peek()?;

    let mut idlest = Vec::new();
    let mut lowest = Vec::new();
    let mut opens: Option<Moment> = None;
    for seat in seats.iter_mut() {
        let Some((wanted, run)) = seat.holder() else { continue };
        let rank = eviction::rank(seat.name, &wanted.spec, &seat.session.observed, Shortage::Slots);
        let Some(rank) = rank else { continue };
        if let Some(over) = eviction::emergency(&wanted.spec, run, &config.emergency, now) {
            let since = activity::since(run);
            idlest.push(((since, wanted.spec.priority, seat.name), over, wanted.spec.priority, seat));
        } else {
            let at = eviction::emergency_at(&wanted.spec, run, &config.emergency, now);
            opens = opens.into_iter().chain(at).min();
            if rank.loss == Loss::Idle {
                lowest.push((rank, wanted.spec.priority, seat));
            }
        }
    }
    idlest.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    lowest.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let (mut idlest, mut lowest) = (idlest.into_iter(), lowest.into_iter());
    for (claimant, priority) in unmet {
        // Who wants comes by falling priority: whom one may not displace, the next one may not either.
        if let Some((_, over, _, seat)) = idlest.find(|(_, _, own, _)| *own <= priority) {
            let message = format!("{over}, and all {} places are taken", config.max_sessions);
            seat.leave(Cause::rule(StopReason::IdleTimeout, message));
        } else if let Some((_, _, seat)) = lowest.find(|(_, own, _)| *own < priority) {
            let message = format!("idle, and `{claimant}` of the higher priority {priority} needs its place");
            seat.leave(Cause::rule(StopReason::MaxSessions, message));
        } else {
            break;
        }
    }
    opens
}

/// Slots that stay taken when what is on its way out already is gone.
fn coming_taken(seats: &[Seat<'_>]) -> usize {
    let taken = |seat: &&Seat<'_>| match seat.claim {
        Claim::Wants(_) => matches!(seat.verdict, Verdict::Run(_)),
        Claim::None | Claim::Leaving | Claim::Kept | Claim::Guest | Claim::Holds(_) => {
            seat.session.observed.is_live() && !frees_its_slot(seat)
        }
    };
    seats.iter().filter(taken).count()
}

/// Whether a session is on its way out and will not want its slot again at once. What outlives SIGKILL, and what a
/// person was only asked to end, may stay for ever: who waits for a slot is not to count on it.
fn frees_its_slot(seat: &Seat<'_>) -> bool {
    let cause = match (&seat.session.observed, &seat.verdict) {
        (Observed::Stopping { unkillable: true, .. }, _) => return false,
        (Observed::Stopping { .. }, _) if seat.session.is_registered() => return false,
        (Observed::Stopping { cause, .. }, _) | (_, Verdict::Stop(cause)) => cause,
        (_, Verdict::Run(_) | Verdict::Wait(_) | Verdict::Done(_)) => return false,
    };
    match cause.reason {
        StopReason::SpecChanged | StopReason::ClientRestart => false,
        StopReason::MaxAgeExceeded => matches!(&seat.session.desired,
            Desired::Spec(wanted) if wanted.spec.restart_policy == RestartPolicy::Never),
        StopReason::IdleTimeout
        | StopReason::SessionMemory
        | StopReason::MemoryPressure
        | StopReason::MaxSessions
        | StopReason::SlotTaken
        | StopReason::ProcessLimit
        | StopReason::SpecRemoved
        | StopReason::ClientStop
        | StopReason::ClientKill
        | StopReason::Suspended
        | StopReason::Shutdown
        | StopReason::KeeperLost => true,
    }
}
