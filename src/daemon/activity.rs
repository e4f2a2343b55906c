//! What a keeper's activity page says, read when a decision waits for it.

use super::{core::Daemon, keepers::Keepers};
use crate::{
    api::{activity, name::SessionName},
    host::files,
    plan::{
        Desired, Observed,
        activity::{Births, Look, MemoryUse, Seen},
    },
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
        let limit = activity::ACTIVITY_LENGTH as u64;
        let page = files::read_limited(&self.paths.run(name).activity(), limit);
        let now = self.clock.now();
        let read = page.ok().and_then(|page| activity::read(&page, self.clock.boot()).ok());
        self.store.edit(name, |entry| {
            let Observed::Running(run) = &mut entry.plan.observed else { return };
            // What cannot be read is no proof of quiet.
            run.seen = read.map(|page| {
                let look = Look {
                    at: now,
                    output: page.output,
                    input: page.input,
                    attached: u32::try_from(page.attached).unwrap_or(u32::MAX),
                    cpu: std::time::Duration::ZERO,
                    births: Births::default(),
                    stopped: false,
                    processes: 0,
                    memory: MemoryUse::default(),
                };
                Seen::first(look, run.since)
            });
        });
    }
}
