//! At most one live session per identity of a user.

use std::collections::HashMap;

use super::{Claim, Seat};
use crate::{
    api::name::SessionName,
    plan::{Desired, Observed},
};

/// What root runs may be meant for anybody.
const ROOT: u32 = 0;

/// Who has which identity. Empty, and without a look, where everyone's is its own name: names differ.
pub(super) struct Identities<'a> {
    shared: bool,
    /// By user, as to name an identity is all that it takes: another user's would keep anybody's session from running.
    /// Without a user where nobody knows any more whose session it is.
    taken: HashMap<(Option<u32>, &'a str), &'a SessionName>,
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
        let whose = |seat: &Seat<'a>| match &seat.session.desired {
            Desired::Spec(wanted) => Some(wanted.uid),
            Desired::Registered(guest) => Some(guest.uid),
            Desired::Gone | Desired::NeverGood | Desired::Unseen => None,
        };
        let taken = if shared {
            seats.iter().filter_map(|seat| Some(((whose(seat), held(seat)?), seat.name))).collect()
        } else {
            HashMap::new()
        };
        Self { shared, taken }
    }

    /// Takes `identity` for `name`, a session of the user `uid`, or says who has it.
    pub(super) fn claim(
        &mut self,
        identity: &'a str,
        uid: u32,
        name: &'a SessionName,
    ) -> Result<(), &'a SessionName> {
        if !self.shared {
            return Ok(());
        }
        let users = [Some(uid), Some(ROOT), None];
        if let Some(by) = users.iter().find_map(|whose| self.taken.get(&(*whose, identity))) {
            return Err(by);
        }
        self.taken.insert((Some(uid), identity), name);
        Ok(())
    }
}
