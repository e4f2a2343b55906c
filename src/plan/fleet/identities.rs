//! At most one live session per identity.

use std::collections::HashMap;

use super::{Claim, Seat};
use crate::{
    api::name::SessionName,
    plan::{Desired, Observed},
};

/// An agent that root has registered may be anybody's.
const ROOT: u32 = 0;

/// Who has which identity. Empty, and without a look, where everyone's is its own name: names differ.
pub(super) struct Identities<'a> {
    shared: bool,
    taken: HashMap<&'a str, &'a SessionName>,
    /// By what people started outside atm, and for whose sessions: to name an identity is all that it takes, so
    /// another user's would keep anybody's session from running.
    by_guests: HashMap<(u32, &'a str), &'a SessionName>,
}

impl<'a> Identities<'a> {
    pub(super) fn of(seats: &[Seat<'a>]) -> Self {
        let held = |seat: &Seat<'a>| -> Option<&'a str> {
            let session = seat.session;
            let known = session.identity.as_deref();
            match (&session.observed, &session.desired) {
                (
                    Observed::Absent,
                    Desired::Gone
                    | Desired::NeverGood
                    | Desired::Unseen
                    | Desired::Spec(_)
                    | Desired::Registered(_),
                ) => None,
                (_, Desired::Spec(wanted)) => Some(known.unwrap_or(&wanted.spec.identity)),
                (_, Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_)) => {
                    Some(known.unwrap_or(seat.name.as_str()))
                }
            }
        };
        let wanted = |seat: &Seat<'a>| match seat.claim {
            Claim::Wants(wanted) => Some(wanted.spec.identity.as_str()),
            Claim::None | Claim::Leaving | Claim::Kept | Claim::Guest | Claim::Holds(_) => None,
        };
        let foreign =
            |seat: &Seat<'a>| held(seat).or(wanted(seat)).is_some_and(|id| id != seat.name.as_str());
        let shared = seats.iter().any(foreign);
        let mut identities = Self { shared, taken: HashMap::new(), by_guests: HashMap::new() };
        if shared {
            for seat in seats {
                let Some(identity) = held(seat) else { continue };
                if let Desired::Registered(guest) = &seat.session.desired {
                    identities.by_guests.insert((guest.uid, identity), seat.name);
                } else {
                    identities.taken.insert(identity, seat.name);
                }
            }
        }
        identities
    }

    /// Takes `identity` for `name`, a session of the user `owner`, or says who has it.
    pub(super) fn claim(
        &mut self,
        identity: &'a str,
        owner: u32,
        name: &'a SessionName,
    ) -> Result<(), &'a SessionName> {
        if !self.shared {
            return Ok(());
        }
        let guest = [owner, ROOT].iter().find_map(|uid| self.by_guests.get(&(*uid, identity)));
        if let Some(by) = self.taken.get(identity).or(guest) {
            return Err(by);
        }
        self.taken.insert(identity, name);
        Ok(())
    }
}
