//! When a spec is gone: never because of one look.
//!
//! Editors, git and package managers unlink and re-create; a directory can be listed in the middle of a
//! rename; a mount can hide everything. So a name is gone only if two listings of the same directory missed
//! it, and where many vanish at once, three, further apart.

use std::time::Duration;

use super::{Change, Document, Notice, entry::Lost, ledger::Ledger, names::Suffix};
use crate::api::{name::SessionName, time::Moment};

/// From the first look that missed a file to the listing that proves it gone.
pub const CONFIRM: Duration = Duration::from_millis(300);

/// Between the listings that prove that many are gone.
pub const BRAKE_SPACING: Duration = Duration::from_secs(2);

/// How many listings prove that many are gone.
pub const BRAKE_LISTINGS: u32 = 3;

/// Whether `missing` of `live` is more than people remove at once: more than two and more than a quarter.
pub const fn is_many(missing: usize, live: usize) -> bool {
    missing > 2 && missing.saturating_mul(4) > live
}

impl Lost {
    /// First missed now, by a look at the file or by a listing.
    pub fn at(now: Moment) -> Self {
        Self { first: now, listings: 0, counted: now }
    }

    fn count_listing(&mut self, now: Moment) {
        if self.listings == 0 || now.since(self.counted) >= BRAKE_SPACING {
            self.listings += 1;
            self.counted = now;
        }
    }

    fn is_proved(&self, braked: bool, now: Moment) -> bool {
        now.since(self.first) >= CONFIRM && (!braked || self.listings >= BRAKE_LISTINGS)
    }

    /// When the next listing can prove more.
    fn next(&self, braked: bool, now: Moment) -> Option<Moment> {
        if now.since(self.first) < CONFIRM {
            self.first.checked_add(CONFIRM)
        } else if braked {
            self.counted.checked_add(BRAKE_SPACING)
        } else {
            Some(now)
        }
    }
}

impl<S: Document> Ledger<S> {
    /// After a listing of the right directory: removes what is proved gone, and lets the other file of a name
    /// take over.
    pub(super) fn remove_the_proved(&mut self, now: Moment) {
        let mut gone: Vec<SessionName> = Vec::new();
        let mut moved: Vec<(SessionName, Suffix)> = Vec::new();
        for (name, entry) in &mut self.entries {
            let Some(lost) = entry.lost.as_mut() else { continue };
            lost.count_listing(now);
            match entry.successor(self.rules.system) {
                Some(suffix) => moved.push((name.clone(), suffix)),
                None => gone.push(name.clone()),
            }
        }
        let missing = gone.iter().filter(|name| self.live.contains(*name)).count();
        let live = self.live.iter().filter(|name| self.in_force(name)).count();
        let braked = is_many(missing, live) && self.accepting.is_none();
        if braked && !self.braked {
            self.tell(Change::Notice(Notice::Braked { missing, live }));
        }

        let (mut pending, mut held) = (false, false);
        // A takeover removes nothing, so the brake is none of its business.
        for (name, suffix) in moved {
            match self.proof(&name, false, now) {
                Ok(()) => self.take_over(&name, suffix, now),
                Err(next) => pending |= self.list_by(next),
            }
        }
        for name in gone {
            match self.proof(&name, braked, now) {
                Ok(()) => self.remove(&name, now),
                Err(next) => {
                    pending |= self.list_by(next);
                    held |= braked;
                }
            }
        }
        if (self.braked || braked) && !held {
            self.tell(Change::Notice(Notice::Released));
        }
        self.braked = held;
        if !pending {
            self.accepting = None;
        }
    }

    /// `Ok` where the name is proved gone, else when to list again.
    fn proof(&self, name: &SessionName, braked: bool, now: Moment) -> Result<(), Option<Moment>> {
        match self.entries.get(name).and_then(|entry| entry.lost) {
            Some(lost) if lost.is_proved(braked, now) => Ok(()),
            Some(lost) => Err(lost.next(braked, now)),
            None => Err(None),
        }
    }

    fn list_by(&mut self, at: Option<Moment>) -> bool {
        if let Some(at) = at {
            self.list_at(at);
        }
        at.is_some()
    }

    fn in_force(&self, name: &SessionName) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.force.is_some())
    }

    /// The file in force is gone and the other one of the same owner is there.
    fn take_over(&mut self, name: &SessionName, suffix: Suffix, now: Moment) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        entry.lost = None;
        entry.both_since = None;
        let Some(force) = entry.force.as_mut() else { return };
        force.suffix = suffix;
        force.moved = true;
        self.settle(name, now);
    }

    /// The name is gone. A file of another owner may take it up, once the session is gone too.
    pub(super) fn remove(&mut self, name: &SessionName, now: Moment) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        entry.lost = None;
        entry.both_since = None;
        entry.error = None;
        entry.known = false;
        if let Some(force) = entry.force.take()
            && self.live.contains(name)
        {
            self.leaving.insert(name.clone(), force.owner);
        }
        self.tell(Change::Removed { name: name.clone() });
        self.settle(name, now);
    }
}
