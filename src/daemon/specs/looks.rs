//! When to look at one file, and whether what was seen may be believed.
//!
//! Half of a YAML file is often valid YAML, so a file is believed only on evidence that its writer is done:
//! it was closed after writing, or renamed or linked into place, or two looks some time apart saw the same.
//! The first look follows the evidence at once; what comes within [`GATHER`] after it is answered by one
//! further look, so a storm on one name costs a look per [`GATHER`] and ends with the last state.

use std::time::Duration;

use crate::{api::time::Moment, host::specfile::Stamp};

/// What follows a look within this time is gathered into one further look.
pub const GATHER: Duration = Duration::from_millis(20);

/// A change without evidence that its writer is done counts when two looks this far apart see the same.
pub const STABLE: Duration = Duration::from_millis(100);

/// A file that was written to and not closed has a writer who is not done, however long it pauses. After
/// this time without a write the two looks of [`STABLE`] must do: `truncate(2)` writes and never closes, and
/// some writers keep their file open for ever.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// An empty file is looked at again only after this time: it is what a writer makes first, and a loaded file
/// system takes its time from a truncation to the event that tells it. Nobody is in a hurry for its error.
pub const EMPTY: Duration = Duration::from_millis(500);

/// What an event says about one name. Events about one name may be folded together with [`Hint::then`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// The last thing that happened.
    pub what: What,
    /// It was written to, whatever happened afterwards.
    pub wrote: bool,
    /// The name came, whatever happened afterwards: for a moment at least it was there.
    pub came: bool,
}

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Owner, permissions, times or links.
    Attributes,
    /// The name is new: created to be written, linked, or made as something else than a file.
    Created,
    /// Written to; whoever does may go on.
    Written,
    /// Closed by one who could write.
    Closed,
    /// Renamed into place.
    Placed,
    /// Renamed away, or removed.
    Gone,
}

impl From<What> for Hint {
    fn from(what: What) -> Self {
        Self { what, wrote: what == What::Written, came: matches!(what, What::Created | What::Placed) }
    }
}

impl Hint {
    /// This, and then `later`.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let what = if later.what == What::Attributes { self.what } else { later.what };
        Self { what, wrote: self.wrote || later.wrote, came: self.came || later.came }
    }
}

/// Why a look is made, which decides what it takes to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The writer is done; `closed`: said by a close, so that another writer may have begun since.
    Done { closed: bool },
    /// The name is new. Believed at once if it was linked, or is no file that somebody could be writing.
    New,
    /// No evidence: two looks must see the same.
    None,
}

/// Two equal prints have the same content and the same attributes that matter.
pub type Print = [u8; 32];

/// What a look saw, as far as believing it goes.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Absent where the name is there and nothing could be learned about it.
    pub stamp: Option<&'a Stamp>,
    /// Of all that was read.
    pub print: Print,
    /// It changed under the look.
    pub torn: bool,
}

/// The first of two looks.
#[derive(Debug)]
struct First {
    stamp: Option<Stamp>,
    /// Absent where only the stamp was taken.
    print: Option<Print>,
    at: Moment,
}

/// The looks at one file.
#[derive(Debug, Default)]
pub struct Looks {
    due: Option<(Moment, Trust)>,
    /// The look that is being made.
    running: Option<Trust>,
    /// Written to since the running look began: what it saw may be half of something.
    overtaken: bool,
    gather_until: Option<Moment>,
    /// The last write was not followed by a close.
    open: bool,
    first: Option<Box<First>>,
}

impl Looks {
    /// When the next look is due.
    pub fn due(&self) -> Option<Moment> {
        self.due.map(|(at, _)| at)
    }

    /// Whether nothing is pending, so that these looks can be forgotten.
    pub fn is_idle(&self, now: Moment) -> bool {
        self.due.is_none() && self.running.is_none() && self.gather_until.is_none_or(|until| until <= now)
    }

    /// An event came in.
    pub fn hint(&mut self, hint: Hint, now: Moment) {
        if hint.wrote {
            self.overtaken = true;
            self.first = None;
        }
        let soon = self.gather_until.filter(|until| *until > now).unwrap_or(now);
        match hint.what {
            What::Written => {
                self.open = true;
                self.due = later(now, PATIENCE, Trust::None);
            }
            What::Closed => {
                self.open = false;
                self.due = Some((soon, Trust::Done { closed: true }));
            }
            What::Placed | What::Gone => {
                self.open = false;
                self.due = Some((soon, Trust::Done { closed: false }));
            }
            What::Created => {
                self.open = false;
                self.due = Some((soon, Trust::New));
            }
            What::Attributes if self.open || self.due.is_some() => {}
            What::Attributes => self.due = Some((soon, Trust::None)),
        }
    }

    /// A listing saw a stamp other than the believed one.
    pub fn suspect(&mut self, stamp: Option<&Stamp>, now: Moment) {
        if self.due.is_none() {
            self.first = Some(Box::new(First { stamp: stamp.cloned(), print: None, at: now }));
            self.due = later(now, STABLE, Trust::None);
        }
    }

    /// Look at once and believe it: nothing has touched the file for [`STABLE`] and more.
    pub fn believe(&mut self, now: Moment) {
        if self.due.is_none() {
            self.due = Some((now, Trust::Done { closed: false }));
        }
    }

    /// A look is wanted at `at`, if none is due anyway.
    pub fn look_at(&mut self, at: Option<Moment>) {
        if self.due.is_none() {
            self.due = at.map(|at| (at, Trust::None));
        }
    }

    /// The look that was due begins. Returns whether events of before it must be heard before its result is
    /// handed in: after a close the next writer may have begun already, and its first write is told by an
    /// event that happened before the look and may come after it.
    pub fn begin(&mut self, now: Moment) -> bool {
        let trust = self.due.take().map_or(Trust::None, |(_, trust)| trust);
        self.running = Some(trust);
        self.overtaken = false;
        self.gather_until = now.checked_add(GATHER);
        trust == Trust::Done { closed: true }
    }

    /// The look found no such name.
    pub fn missing(&mut self) {
        self.running = None;
        self.first = None;
    }

    /// The look found the name. Returns whether it may be believed; if not, a further one is due. `sure`: it
    /// needs no evidence, because it is what was believed before.
    pub fn found(&mut self, seen: Seen<'_>, sure: bool, now: Moment) -> bool {
        let trust = self.running.take().unwrap_or(Trust::None);
        let file = seen.stamp.map(Stamp::file);
        if self.overtaken && self.due.is_some() {
            return false;
        }
        if !seen.torn {
            if sure {
                self.first = None;
                return true;
            }
            match (trust, file) {
                // The next writer truncates first, and its event may be long in coming: see EMPTY.
                (Trust::Done { closed: true }, Some(file)) if file.size == 0 => {}
                (Trust::Done { .. }, _) | (Trust::New, None) => return self.believed(),
                (Trust::New, Some(file)) => {
                    let linked = file.links > 1 || seen.stamp.is_some_and(|stamp| stamp.own.is_link());
                    if linked || !file.is_file() {
                        return self.believed();
                    }
                }
                (Trust::None, _) => {}
            }
            if let Some(first) = &self.first
                && first.stamp.as_ref() == seen.stamp
                && first.print.is_none_or(|print| print == seen.print)
                && now.since(first.at) >= STABLE
            {
                return self.believed();
            }
        }
        self.first = Some(Box::new(First { stamp: seen.stamp.cloned(), print: Some(seen.print), at: now }));
        if self.due.is_none() {
            let wait = if file.is_some_and(|file| file.size == 0) { EMPTY } else { STABLE };
            self.due = later(now, wait, Trust::None);
        }
        false
    }

    fn believed(&mut self) -> bool {
        self.first = None;
        self.open = false;
        true
    }
}

/// A look after `wait`; at the end of the clock, none.
fn later(now: Moment, wait: Duration, trust: Trust) -> Option<(Moment, Trust)> {
    now.checked_add(wait).map(|at| (at, trust))
}
