//! The spec directory as a source of truth about what is wanted.
//!
//! ```text
//!  inotify ──► watch ──► names ─┐                 ┌──► Change ──► the loop
//!                               ▼                 │
//!  the directory ──► source (one thread) ◄──► ledger
//!                      lists, reads, waits     decides
//! ```
//!
//! - [`handle`] is what the loop has of the thread `specs`, and [`source`] the thread itself, which does all that can block: watching, listing, opening, reading
//!   and parsing. The loop only ever receives from it, so a directory that hangs delays specs and nothing else.
//! - [`ledger`] decides, from values: listings, reads and events with their [`Moment`](crate::api::time::Moment)
//!   in; [`Change`]s and the next [`ledger::Step`] out. No clock and no IO. Its parts: [`looks`] (when a file is
//!   believed), `entry` (who speaks for a name),
//!   `settle` (what the loop is told of it), `listing` (whether this is the right directory), `removal` (when a
//!   name is gone).
//! - [`names`] says which files count, [`judge`] what is wrong with one, [`watch`] tames inotify.
//!
//! An event never carries a fact. It says which file to look at, and that file alone is looked at: the cost
//! of a change does not grow with the number of specs. A full listing runs when events were lost, when a
//! removal is to be proved, and whenever the loop asks ([`Handle::resync`]); it finds what no event tells, such
//! as a changed target of a link, a mount, or a file changed from another machine.
//!
//! # What the loop can rely on
//!
//! - Nothing is to be decided before [`Change::FirstListing`] *and* the first [`Update::Config`].
//! - For each name: `Good` before anything depends on it, at most one `Bad` in force at a time (a later one
//!   replaces it, `Cleared` or `Removed` ends it), `Removed` once and last.
//! - `Good` means another meaning than the last `Good` of that name, by its digest; the first after the start
//!   may mean what state already knows.
//! - What state knows and no file shows is told (`remembered: true`) only where its session lives or a file
//!   for it is there. The rest is neither told nor removed until a listing of the right directory proves it gone.
//!   What was removed before the start is known no more, but for whose it was while its session lives.

use std::{fmt, path::PathBuf};

use crate::{
    api::{
        diagnose::Diagnostics,
        name::SessionName,
        spec::{Digest, WrittenSpec},
    },
    host::specfile::DirId,
};

mod entry;
pub mod handle;
pub mod judge;
pub mod ledger;
pub mod listing;
pub mod looks;
pub mod names;
mod removal;
mod settle;
pub mod source;
pub mod watch;

#[cfg(test)]
mod tests;

pub use handle::{Handle, spawn};
pub use judge::{Document, Rules};
pub use ledger::QUIET_AT_START;
pub use source::{Options, Update};

/// A change in what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<S = WrittenSpec> {
    /// All that the directory had at the start is told. Sent once, also where there is no directory.
    FirstListing,
    /// A spec of another meaning is in force.
    Good {
        /// Of this session.
        name: SessionName,
        /// As written.
        spec: S,
        /// The file's text: what state keeps to have a last good spec after a restart.
        text: String,
        /// Which file.
        file: PathBuf,
        /// Who owns that file (of a link: who owns the link). In system mode the session runs as this user.
        owner: u32,
        /// It comes from what state kept: the file is broken or not there.
        remembered: bool,
    },
    /// The spec in force, unchanged in meaning, has moved to another file: `x.yaml` to `x.yml`.
    Rebound {
        /// Of this session.
        name: SessionName,
        /// Where it is now.
        file: PathBuf,
    },
    /// Something is wrong; the last good spec, where there is one, stays in force.
    Bad {
        /// With this session.
        name: SessionName,
        /// Which file is to be mended.
        file: PathBuf,
        /// Who owns that file: snippets in `error` are for this user and root.
        owner: u32,
        /// All that is wrong.
        error: Diagnostics,
        /// It is that there are two files for one name, and nothing else.
        conflict: bool,
    },
    /// What was wrong is mended.
    Cleared {
        /// With this session.
        name: SessionName,
    },
    /// The spec is gone.
    Removed {
        /// Of this session.
        name: SessionName,
    },
    /// The directory cannot be relied on: no spec is removed until [`Change::Available`].
    Unavailable(Unavailable),
    /// The directory is the right one, from the start or again. To be recorded: see [`Options::recorded`].
    Available {
        /// Which directory.
        identity: DirId,
    },
    /// For the journal and STATUS; changes nothing.
    Notice(Notice),
}

/// Why the directory cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// There is none.
    Missing,
    /// It cannot be opened or listed.
    Unreadable(String),
    /// System mode: anyone could have put anything there.
    Refused(String),
    /// It is another directory than before, and does not have the specs of all live sessions. New specs in it
    /// count; changes and removals wait.
    Other {
        /// Live sessions without a spec there.
        absent: Vec<SessionName>,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the spec directory is missing; no session is stopped for that"),
            Self::Unreadable(why) => {
                write!(f, "the spec directory cannot be read ({why}); no session is stopped for that")
            }
            Self::Refused(why) => write!(f, "the spec directory is refused: {why}"),
            Self::Other { absent } => {
                f.write_str("the spec directory is another one than before, and ")?;
                for (at, name) in absent.iter().take(3).enumerate() {
                    write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
                }
                if let Some(more @ 1..) = absent.len().checked_sub(3) {
                    write!(f, " and {more} more")?;
                }
                f.write_str(if absent.len() == 1 { " has" } else { " have" })?;
                f.write_str(" no spec there: put them back, or run `atm cleanup --accept-removals`")
            }
        }
    }
}

/// Worth telling people, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A file looks like a spec and is none, by its name. Free of control characters.
    OddName(String),
    /// So many specs of live sessions vanished at once that it may be a mistake: `missing` of `live`. They are
    /// removed if they are still gone after `removal::BRAKE_LISTINGS` listings.
    Braked {
        /// Live sessions without a spec.
        missing: usize,
        /// Live sessions with a spec in force.
        live: usize,
    },
    /// No such removal is held up any more: the specs are back, or were removed.
    Released,
    /// inotify is not to be had: the directory is listed each second instead.
    Blind(String),
    /// inotify works again.
    Sighted,
    /// The last good spec that state kept can no longer be read, and the session has no other.
    Forgotten {
        /// Of this session.
        name: SessionName,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OddName(text) => f.write_str(text),
            Self::Braked { missing, live } => write!(
                f,
                "the specs of {missing} of {live} live sessions vanished at once; they are stopped only if that \
                 stays so (`atm cleanup --accept-removals` does it now)"
            ),
            Self::Released => f.write_str("no removal of specs is held up any more"),
            Self::Blind(why) => write!(f, "no inotify ({why}): the spec directory is listed each second"),
            Self::Sighted => f.write_str("inotify works again"),
            Self::Forgotten { name } => {
                write!(f, "the last good spec that was kept for {name} cannot be read")
            }
        }
    }
}

/// A spec that state knows from before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Of this session.
    pub name: SessionName,
    /// The file's name at the time: `x.yaml` or `x.yml`.
    pub file_name: String,
    /// Who owned it.
    pub owner: u32,
    /// What it meant.
    pub digest: Digest,
    /// What it said.
    pub text: String,
    /// Whether a session of this name lives.
    pub live: bool,
    /// Whether it was told as [`Change::Removed`] before the start.
    pub removed: bool,
}
