//! What a full listing means: which files are there, and whether this is the right directory at all.

use std::{collections::BTreeSet, ops::Bound, time::Duration};

use super::{
    Change, Unavailable,
    entry::Entry,
    judge::Document,
    ledger::{BLIND_POLL, FIRST_PATIENCE, First, LOST_POLL, Ledger, QUIET_AT_START},
    names::{FileKey, Suffix},
    removal::CONFIRM,
};
use crate::{
    api::{name::SessionName, time::Moment},
    host::specfile::{Inode, Stamp},
};

/// What a listing saw.
#[derive(Debug)]
pub enum Listing {
    /// There is no directory.
    Missing,
    /// It cannot be opened or listed, for this reason.
    Unreadable(String),
    /// There is one.
    Here {
        /// The directory.
        directory: Inode,
        /// The specs in it.
        files: Vec<Listed>,
        /// Names that look like specs; for people.
        odd: Vec<String>,
    },
}

/// One spec in a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which.
    pub key: FileKey,
    /// Absent where nobody could say.
    pub stamp: Option<Stamp>,
    /// For how long nothing touched it, by the wall clock.
    pub quiet: Option<Duration>,
}

/// What the path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody looked yet.
    Unlooked,
    /// The right directory.
    Ours(Inode),
    /// Another one, which does not have all live specs.
    Other(Inode),
    /// No directory that could be read.
    Lost,
}

impl<S: Document> Ledger<S> {
    /// What a listing saw.
    pub fn listed(&mut self, listing: Listing, now: Moment) {
        self.list_at = None;
        self.last_list = Some(now);
        self.listings += 1;
        match listing {
            Listing::Missing => {
                self.lose(Unavailable::Missing, now);
                if let Some(since) = self.accepting
                    && now.since(since) >= CONFIRM
                {
                    self.accepting = None;
                    let known = self.entries.iter().filter(|(_, entry)| entry.known || entry.force.is_some());
                    let names: Vec<_> = known.map(|(name, _)| name.clone()).collect();
                    for name in &names {
                        self.remove(name, now);
                    }
                }
            }
            Listing::Unreadable(why) => self.lose_unknown(Unavailable::Unreadable(why), now),
            Listing::Here { directory, files, odd } => match self.rules.refuse_directory(&directory) {
                Some(why) => self.lose_unknown(Unavailable::Refused(why), now),
                None => self.take_listing(directory, files, odd, now),
            },
        }
        if self.blind {
            self.list_in(BLIND_POLL, now);
        }
    }

    fn take_listing(&mut self, directory: Inode, files: Vec<Listed>, odd: Vec<String>, now: Moment) {
        self.take_odd(odd);
        let was = match self.place {
            Place::Ours(was) | Place::Other(was) => Some(was),
            Place::Unlooked | Place::Lost => None,
        };
        let moved = was.is_none_or(|was| was.id != directory.id);
        // Who else may put names into it is a part of what each of its files is worth.
        let shared = |directory: &Inode| self.rules.is_shared(directory);
        self.audit_next |= was.is_some_and(|was| shared(&was) != shared(&directory));
        if moved {
            // Neither what was missed nor what was read elsewhere says anything about this directory.
            self.forget_missing();
            self.entries.values_mut().for_each(Entry::disbelieve);
        }
        let at_start = matches!(self.first, First::Unlisted);
        let mut left = BTreeSet::new();
        let number = self.listings;
        for Listed { key, stamp, quiet } in files {
            self.with_looks(&key, |file| {
                file.listed = number;
                file.appear(stamp.as_ref());
                if file.believed.as_ref().is_some_and(|believed| believed.stamp == stamp) {
                    return;
                }
                if at_start && quiet.is_some_and(|quiet| quiet >= QUIET_AT_START) {
                    file.looks.believe(now);
                } else {
                    file.looks.suspect(stamp.as_ref(), now);
                }
            });
            if at_start {
                left.insert(key);
            }
        }
        let names: Vec<_> = self.entries.keys().cloned().collect();
        for name in &names {
            self.miss_unlisted(name, now);
        }
        self.arrive(directory, moved);
        if at_start {
            self.first = First::Reading(left, now.checked_add(FIRST_PATIENCE));
        }
        if std::mem::take(&mut self.audit_next) {
            self.audit = Some(Bound::Unbounded);
        }
        for name in &names {
            self.settle(name, now);
        }
        if matches!(self.place, Place::Ours(_)) {
            self.remove_the_proved(now);
        }
    }

    fn take_odd(&mut self, odd: Vec<String>) {
        let odd: BTreeSet<_> = odd.into_iter().collect();
        self.odd.retain(|text| odd.contains(text));
        for text in odd {
            self.odd(text);
        }
    }

    /// The files of `name` that the last listing did not have are not there.
    fn miss_unlisted(&mut self, name: &SessionName, now: Moment) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        for suffix in Suffix::ALL {
            if let Some(file) = entry.file_mut(suffix)
                && file.here
                && file.listed != self.listings
            {
                file.vanish();
            }
        }
        entry.sweep(now);
        if entry.is_empty() {
            self.entries.remove(name);
        }
    }

    /// A listing saw `directory` at the path: is it the right one?
    ///
    /// It is, if it is the one that the specs in force came from. Another one is, if it has a file for every
    /// live session, or a person accepts it: then its specs are back. Until then it can add sessions, and
    /// neither change nor end one.
    fn arrive(&mut self, directory: Inode, moved: bool) {
        let absent: Vec<SessionName> =
            if self.recorded.is_none_or(|id| id == directory.id) || self.accepting.is_some() {
                Vec::new()
            } else {
                let gone = |name: &&SessionName| {
                    self.entries.get(*name).is_some_and(|entry| entry.force.is_some() && !entry.is_here())
                };
                self.live.iter().filter(gone).cloned().collect()
            };
        if absent.is_empty() {
            self.place = Place::Ours(directory);
            self.recorded = Some(directory.id);
            if self.unavailable.take().is_some() || moved {
                self.tell(Change::Available { identity: directory.id });
            }
        } else {
            self.place = Place::Other(directory);
            let mut absent = absent;
            absent.sort();
            self.tell_unavailable(Unavailable::Other { absent });
        }
    }

    /// The path leads to something that says nothing about what is in it. To accept that something is
    /// missing, one must have seen that it is.
    fn lose_unknown(&mut self, why: Unavailable, now: Moment) {
        self.accepting = None;
        self.lose(why, now);
    }

    /// No directory that can be relied on.
    fn lose(&mut self, why: Unavailable, now: Moment) {
        self.place = Place::Lost;
        self.audit = None;
        self.forget_missing();
        self.tell_unavailable(why);
        if matches!(self.first, First::Unlisted) {
            self.end_first();
        }
        self.list_in(LOST_POLL, now);
    }

    fn tell_unavailable(&mut self, why: Unavailable) {
        if self.unavailable.as_ref() != Some(&why) {
            self.unavailable = Some(why.clone());
            self.tell(Change::Unavailable(why));
        }
    }

    fn forget_missing(&mut self) {
        for entry in self.entries.values_mut() {
            entry.lost = None;
            entry.both_since = None;
        }
    }
}
