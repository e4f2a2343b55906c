//! The rules of the spec directory, as a state machine over values.
//!
//! In: what a listing or a read saw, what an event hinted, what the loop asks for; each with the time it was
//! seen. Out: [`Change`]s, and the next [`Step`] to take. The ledger keeps what was last seen of each file and
//! the last good spec of each name; every decision is made from these afresh, in `settle`, so the
//! order in which things were seen does not matter.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Change, Known, Notice, Unavailable,
    entry::{Believed, Content, Entry, File, Force},
    judge::{Document, Rules, print_of},
    listing::Place,
    looks::{Hint, Seen},
    names::{FileKey, Suffix},
};
use crate::{
    api::{name::SessionName, time::Moment},
    host::specfile::{DirId, Sight},
};

/// Between two listings at least, however many events were lost.
pub const LIST_SPACING: Duration = Duration::from_millis(100);

/// How often a directory that is not there is looked for. Somebody will drop a file into it as soon as it is
/// back, and expects the session within a second.
pub const LOST_POLL: Duration = Duration::from_millis(250);

/// How often the directory is listed where inotify is not to be had.
pub const BLIND_POLL: Duration = Duration::from_secs(1);

/// At the first listing a file is believed at once if nothing has touched it for this long: [`STABLE`](super::looks::STABLE) and
/// a tick of the kernel's clock.
pub const QUIET_AT_START: Duration = Duration::from_millis(120);

/// [`Change::FirstListing`] waits no longer for files that somebody is still writing.
pub(super) const FIRST_PATIENCE: Duration = Duration::from_millis(150);

/// So many odd names are remembered, and told, at once.
const MAX_ODD: usize = 1000;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// List the directory, then call [`Ledger::listed`].
    List,
    /// Read one file, then call [`Ledger::read`].
    Read {
        /// Which.
        key: FileKey,
        /// Only in this directory; in another one, call [`Ledger::elsewhere`].
        directory: DirId,
        /// Events of before the read must be handed in before its result.
        hear_first: bool,
    },
    /// Nothing, until something happens, at the latest at this time.
    Wait(Option<Moment>),
}

/// How far the first listing is told.
#[derive(Debug)]
pub(super) enum First {
    Unlisted,
    /// These are to be read still; at the latest until then.
    Reading(BTreeSet<FileKey>, Option<Moment>),
    Told,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger<S> {
    pub(super) rules: Rules,
    pub(super) directory: PathBuf,
    pub(super) entries: BTreeMap<SessionName, Entry<S>>,
    /// Every file whose look is due some time.
    pub(super) agenda: BTreeSet<(Moment, FileKey)>,
    pub(super) list_at: Option<Moment>,
    pub(super) last_list: Option<Moment>,
    pub(super) listings: u64,
    /// Read every file after the next listing.
    pub(super) audit_next: bool,
    /// Every file after this one is to be read.
    pub(super) audit: Option<Bound<FileKey>>,
    pub(super) place: Place,
    pub(super) recorded: Option<DirId>,
    pub(super) unavailable: Option<Unavailable>,
    pub(super) first: First,
    pub(super) blind: bool,
    /// Names whose sessions live.
    pub(super) live: HashSet<SessionName>,
    /// Names whose spec is gone and whose session lives still, with its user.
    pub(super) leaving: HashMap<SessionName, u32>,
    /// Somebody accepted removals, then.
    pub(super) accepting: Option<Moment>,
    pub(super) braked: bool,
    pub(super) odd: BTreeSet<String>,
    out: Vec<Change<S>>,
}

impl<S: Document> Ledger<S> {
    /// A ledger that knows what state knows, and saw nothing yet. `recorded`: the directory that these specs
    /// were in.
    pub fn new(directory: PathBuf, rules: Rules, recorded: Option<DirId>, known: Vec<Known>) -> Self {
        let mut ledger = Self {
            rules,
            directory,
            entries: BTreeMap::new(),
            agenda: BTreeSet::new(),
            list_at: Some(Moment::from_nanos(0)),
            last_list: None,
            listings: 0,
            audit_next: false,
            audit: None,
            place: Place::Unlooked,
            recorded,
            unavailable: None,
            first: First::Unlisted,
            blind: false,
            live: HashSet::new(),
            leaving: HashMap::new(),
            accepting: None,
            braked: false,
            odd: BTreeSet::new(),
            out: Vec::new(),
        };
        for known in known {
            if known.live {
                ledger.live.insert(known.name.clone());
            }
            if known.removed {
                if known.live {
                    ledger.leaving.insert(known.name, known.owner);
                }
                continue;
            }
            let suffix = FileKey::parse(&known.file_name).map_or(Suffix::Yaml, |key| key.suffix);
            let force = Force {
                suffix,
                owner: known.owner,
                digest: known.digest,
                untold: Some(known.text.into_boxed_str()),
                moved: false,
            };
            ledger.entries.insert(known.name, Entry::of_state(force));
        }
        ledger
    }

    /// What changed since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change<S>> {
        std::mem::take(&mut self.out)
    }

    /// What to do next. A read that is handed out is to be made.
    pub fn next(&mut self, now: Moment) -> Step {
        if matches!(&self.first, First::Reading(left, _) if left.is_empty()) {
            self.end_first();
        }
        let directory = match self.place {
            Place::Ours(directory) | Place::Other(directory) => Some(directory.id),
            Place::Unlooked | Place::Lost => None,
        };
        let list = self.list_at;
        let read = self.agenda.first().map(|(at, _)| *at).filter(|_| directory.is_some());
        // The earlier date first: neither a storm of events nor one of listings starves the other.
        if list.is_some_and(|list| list <= now && read.is_none_or(|read| list <= read)) {
            return Step::List;
        }
        if let Some(directory) = directory {
            let due = read.filter(|at| *at <= now).and_then(|_| self.agenda.pop_first()).map(|(_, key)| key);
            if let Some(key) = due.or_else(|| self.next_audited()) {
                let looks = self.entries.get_mut(&key.name).and_then(|entry| entry.file_mut(key.suffix));
                let hear_first = looks.is_some_and(|file| file.looks.begin(now));
                return Step::Read { key, directory, hear_first };
            }
        }
        let mut until = [list, read].into_iter().flatten().min();
        if let First::Reading(_, Some(patience)) = self.first {
            if patience <= now {
                self.end_first();
            } else {
                until = until.map_or(Some(patience), |until| Some(until.min(patience)));
            }
        }
        Step::Wait(until)
    }

    /// The next file of an audit that nothing else looks at.
    fn next_audited(&mut self) -> Option<FileKey> {
        let mut after = self.audit.take()?;
        loop {
            let from = match &after {
                Bound::Excluded(key) | Bound::Included(key) => Bound::Included(&key.name),
                Bound::Unbounded => Bound::Unbounded,
            };
            let key = self
                .entries
                .range((from.cloned(), Bound::Unbounded))
                .flat_map(|(name, _)| Suffix::ALL.map(|suffix| FileKey { name: name.clone(), suffix }))
                .find(|key| !matches!(&after, Bound::Excluded(last) if key <= last))?;
            after = Bound::Excluded(key.clone());
            let file = self.entries.get(&key.name).and_then(|entry| entry.file(key.suffix));
            if file.is_some_and(|file| file.here && file.looks.due().is_none()) {
                self.audit = Some(after);
                return Some(key);
            }
        }
    }

    /// An event about one file.
    pub fn hint(&mut self, key: &FileKey, hint: Hint, now: Moment) {
        self.with_looks(key, |file| file.looks.hint(hint, now));
        if hint.came
            && let Some(entry) = self.entries.get_mut(&key.name)
            && entry.force.as_ref().is_none_or(|force| force.suffix == key.suffix)
        {
            // It was there since it was missed: what two looks prove is that it was missing between them.
            entry.lost = None;
        }
        if !matches!(self.place, Place::Ours(_)) {
            // Whether the directory is the right one is decided by listings.
            self.list_at(now);
        }
    }

    /// An event about a name that looks like a spec and is none.
    pub fn odd(&mut self, text: String) {
        if self.odd.len() < MAX_ODD && self.odd.insert(text.clone()) {
            self.tell(Change::Notice(Notice::OddName(text)));
        }
    }

    /// Whether something is missing, so that events of before a listing are to be heard before its result is handed
    /// in: that a name came and went again only an event tells.
    pub fn misses_something(&self) -> bool {
        self.entries.values().any(|entry| entry.lost.is_some())
    }

    /// Events were lost, or the directory itself was touched: list at once.
    pub fn relist(&mut self, now: Moment) {
        self.list_at(now);
    }

    /// Look at everything: list, then read every file. Finds what neither event nor stamp tells (`mmap`).
    pub fn resync(&mut self, now: Moment) {
        self.audit_next = true;
        self.list_at(now);
    }

    /// Whether events can be had. Without them the directory is listed each [`BLIND_POLL`].
    pub fn set_blind(&mut self, why: Option<String>, now: Moment) {
        match why {
            Some(why) if !self.blind => self.tell(Change::Notice(Notice::Blind(why))),
            None if self.blind => self.tell(Change::Notice(Notice::Sighted)),
            _ => return,
        }
        self.blind = !self.blind;
        self.list_at(now);
    }

    /// A session of this name lives, or is gone.
    pub fn set_live(&mut self, name: &SessionName, live: bool, now: Moment) {
        if live {
            self.live.insert(name.clone());
            if matches!(self.first, First::Told) {
                self.remember(name);
            }
        } else {
            self.live.remove(name);
            if self.leaving.remove(name).is_some() {
                self.settle(name, now);
            }
        }
    }

    /// A person says that what is missing is meant to be: neither the brake nor the directory's identity
    /// holds it any longer. What is missing must still be missed twice.
    pub fn accept_removals(&mut self, now: Moment) {
        self.accepting = Some(now);
        self.list_at(now);
    }

    /// The read found the path leading to another directory, or nowhere.
    pub fn elsewhere(&mut self, key: &FileKey, now: Moment) {
        self.with_looks(key, |file| file.looks.missing());
        self.list_at(now);
    }

    /// What a read saw.
    pub fn read(&mut self, key: &FileKey, sight: Sight, now: Moment) {
        let path = self.path(&key.name, key.suffix);
        let rules = self.rules;
        let shared = match self.place {
            Place::Ours(directory) | Place::Other(directory) => rules.is_shared(&directory),
            Place::Unlooked | Place::Lost => true,
        };
        let done = self.with_looks(key, |file| match sight {
            Sight::Missing => {
                file.looks.missing();
                file.vanish();
                true
            }
            Sight::Present { stamp, bytes, torn } => {
                file.appear(stamp.as_ref());
                let print = print_of(stamp.as_ref(), &bytes, shared);
                let unchanged = file.believed.as_ref().is_some_and(|believed| believed.print == print);
                if !file.looks.found(Seen { stamp: stamp.as_ref(), print, torn }, unchanged, now) {
                    return false;
                }
                match &mut file.believed {
                    Some(believed) if unchanged => believed.stamp = stamp,
                    believed => {
                        let content = match rules.judge::<S>(stamp.as_ref(), bytes, shared, &path) {
                            Ok((spec, text)) => {
                                Content::Good { digest: spec.digest(), body: Some(Box::new((spec, text))) }
                            }
                            Err(error) => Content::Bad(error),
                        };
                        *believed = Some(Believed { stamp, print, content });
                    }
                }
                true
            }
        });
        if let First::Reading(left, _) = &mut self.first
            && done
        {
            left.remove(key);
        }
        self.settle(&key.name, now);
    }

    /// All that the first listing had is told, but for what state alone knows.
    pub(super) fn end_first(&mut self) {
        let names: Vec<_> = self.entries.keys().cloned().collect();
        for name in names {
            let here = self.entries.get(&name).is_some_and(Entry::is_here);
            if here || self.live.contains(&name) {
                self.remember(&name);
            }
        }
        self.first = First::Told;
        self.tell(Change::FirstListing);
    }

    pub(super) fn tell(&mut self, change: Change<S>) {
        self.out.push(change);
    }

    /// Where a file of this name is.
    pub(super) fn path(&self, name: &SessionName, suffix: Suffix) -> PathBuf {
        self.directory.join(FileKey { name: name.clone(), suffix }.to_string())
    }

    /// The directory's path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// List at that time, or soon after if the last listing was just before.
    pub(super) fn list_at(&mut self, at: Moment) {
        let earliest = self.last_list.and_then(|last| last.checked_add(LIST_SPACING));
        let at = earliest.map_or(at, |earliest| at.max(earliest));
        self.list_at = Some(self.list_at.map_or(at, |planned| planned.min(at)));
    }

    pub(super) fn list_in(&mut self, wait: Duration, now: Moment) {
        if let Some(at) = now.checked_add(wait) {
            self.list_at(at);
        }
    }

    /// Changes one file, and keeps the agenda in step with its looks.
    pub(super) fn with_looks<T>(&mut self, key: &FileKey, change: impl FnOnce(&mut File<S>) -> T) -> T {
        let file = self.entries.entry(key.name.clone()).or_default().file_or_new(key.suffix);
        let before = file.looks.due();
        let result = change(file);
        let after = file.looks.due();
        if before != after {
            if let Some(at) = before {
                self.agenda.remove(&(at, key.clone()));
            }
            if let Some(at) = after {
                self.agenda.insert((at, key.clone()));
            }
        }
        result
    }
}
