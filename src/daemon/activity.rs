//! What a keeper's activity page says, read when a decision waits for it.

use super::{core::Daemon, keepers::Keepers};
use crate::{
    api::name::SessionName,
    plan::{Desired, Observed},
};

impl<K: Keepers> Daemon<K> {
    /// Brings the store up to the session's activity page, where a changed spec waits for quiet. At any other
    /// time nothing is decided by it, and it is not read.
    pub(super) fn read_activity(&self, name: &SessionName) {
        let waits = {
            let world = self.store.look();
            world.sessions.get(name).is_some_and(|entry| match (&entry.plan.desired, &entry.plan.observed) {
                (Desired::Spec(wanted), Observed::Running(run)) => wanted.launch != run.launch,
                _ => false,
            })
        };
        if !waits {
            return;
        }
    }
}
