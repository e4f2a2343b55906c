//! What is known of one name: its files, the spec in force, and who may speak for it.

use super::{
    looks::{Looks, Print},
    names::Suffix,
};
use crate::{
    api::{diagnose::Diagnostics, spec::Digest, time::Moment},
    host::specfile::Stamp,
};

/// One name.
#[derive(Debug)]
pub(super) struct Entry<S> {
    files: [Option<Box<File<S>>>; 2],
    /// The last good spec, and whose it is.
    pub force: Option<Force>,
    /// The loop was told of this name, or state knows it: it must be told when it goes.
    pub known: bool,
    /// The file that should speak for the name was not there at the last look.
    pub lost: Option<Lost>,
    /// Since when both files are there.
    pub both_since: Option<Moment>,
    /// What the loop was told to be wrong.
    pub error: Option<Box<Diagnostics>>,
}

impl<S> Default for Entry<S> {
    fn default() -> Self {
        Self { files: [None, None], force: None, known: false, lost: None, both_since: None, error: None }
    }
}

/// One file of a name, as of the last look.
#[derive(Debug)]
pub(super) struct File<S> {
    /// The directory has it.
    pub here: bool,
    /// Of the name itself, so of a link and not of what it leads to; absent where nobody could say.
    pub owner: Option<u32>,
    /// What was last believed of it, while it is there.
    pub believed: Option<Believed<S>>,
    pub looks: Looks,
    /// The number of the last listing that had it.
    pub listed: u64,
}

impl<S> Default for File<S> {
    fn default() -> Self {
        Self { here: false, owner: None, believed: None, looks: Looks::default(), listed: 0 }
    }
}

/// A believed look at a file.
#[derive(Debug)]
pub(super) struct Believed<S> {
    pub stamp: Option<Stamp>,
    pub print: Print,
    pub content: Content<S>,
}

/// What a file means.
#[derive(Debug)]
pub(super) enum Content<S> {
    /// A spec; the body until it was told.
    Good { digest: Digest, body: Option<Box<(S, String)>> },
    /// None.
    Bad(Diagnostics),
}

/// The last good spec of a name.
#[derive(Debug)]
pub(super) struct Force {
    /// The file that it came from and that speaks for the name.
    pub suffix: Suffix,
    /// Whose file that is. In system mode the name is bound to this user while the spec is in force.
    pub owner: u32,
    pub digest: Digest,
    /// The text that state kept, until the loop was told a spec.
    pub untold: Option<Box<str>>,
    /// It took over from the other file, and the loop was not told yet.
    pub moved: bool,
}

/// A spec that should be there and is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    /// The first look that missed it.
    pub first: Moment,
    /// Listings that missed it, counted only where [`super::removal::BRAKE_SPACING`] lies between them.
    pub listings: u32,
    /// The last that was counted.
    pub counted: Moment,
}

/// Who speaks for a name now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// This file.
    Speaks(Suffix),
    /// This file would, once the session of the name's earlier owner is gone.
    Waits(Suffix),
    /// The file that did is not there.
    Absent,
}

impl<S> File<S> {
    /// The name is not there.
    pub fn vanish(&mut self) {
        self.here = false;
        self.owner = None;
        self.believed = None;
    }

    /// The name is there, and was looked at.
    pub fn appear(&mut self, stamp: Option<&Stamp>) {
        self.here = true;
        if let Some(stamp) = stamp {
            if self.owner.is_some_and(|owner| owner != stamp.own.uid) {
                // What the earlier owner wrote is not the new one's word.
                self.believed = None;
            }
            self.owner = Some(stamp.own.uid);
        }
    }

    fn may_speak_for(&self, owner: Option<u32>) -> bool {
        // An owner who could not be learned is no proof of another one.
        self.here && (owner.is_none() || self.owner.is_none() || self.owner == owner)
    }
}

impl<S> Entry<S> {
    /// A name that state knows and nobody has looked at.
    pub fn of_state(force: Force) -> Self {
        Self { force: Some(force), known: true, ..Self::default() }
    }

    pub fn file(&self, suffix: Suffix) -> Option<&File<S>> {
        match (&self.files, suffix) {
            ([file, _], Suffix::Yaml) | ([_, file], Suffix::Yml) => file.as_deref(),
        }
    }

    pub fn file_mut(&mut self, suffix: Suffix) -> Option<&mut File<S>> {
        self.slot(suffix).as_deref_mut()
    }

    /// The file, made known where it was not.
    pub fn file_or_new(&mut self, suffix: Suffix) -> &mut File<S> {
        self.slot(suffix).get_or_insert_default()
    }

    fn slot(&mut self, suffix: Suffix) -> &mut Option<Box<File<S>>> {
        match (&mut self.files, suffix) {
            ([file, _], Suffix::Yaml) | ([_, file], Suffix::Yml) => file,
        }
    }

    /// Whether the directory has this file.
    pub fn has(&self, suffix: Suffix) -> bool {
        self.file(suffix).is_some_and(|file| file.here)
    }

    /// Whether there is any file for the name.
    pub fn is_here(&self) -> bool {
        Suffix::ALL.into_iter().any(|suffix| self.has(suffix))
    }

    fn may_speak(&self, suffix: Suffix, owner: Option<u32>) -> bool {
        self.file(suffix).is_some_and(|file| file.may_speak_for(owner))
    }

    /// Who speaks. `system`: names are bound to users. `leaving`: the user whose session of this name still
    /// lives although its spec is gone.
    pub fn voice(&self, system: bool, leaving: Option<u32>) -> Voice {
        if let Some(force) = &self.force {
            let owner = system.then_some(force.owner);
            return if self.may_speak(force.suffix, owner) {
                Voice::Speaks(force.suffix)
            } else {
                Voice::Absent
            };
        }
        let owner = leaving.filter(|_| system);
        let mut here = Suffix::ALL.into_iter().filter(|suffix| self.has(*suffix));
        match here.clone().find(|suffix| self.may_speak(*suffix, owner)) {
            Some(suffix) => Voice::Speaks(suffix),
            None => here.next().map_or(Voice::Absent, Voice::Waits),
        }
    }

    /// The other file, where it may speak for the spec in force once the first is gone.
    pub fn successor(&self, system: bool) -> Option<Suffix> {
        let force = self.force.as_ref()?;
        let owner = system.then_some(force.owner);
        Some(force.suffix.other()).filter(|suffix| self.may_speak(*suffix, owner))
    }

    /// Forgets what the files say; the spec in force stays.
    pub fn disbelieve(&mut self) {
        for file in self.files.iter_mut().flatten() {
            file.believed = None;
        }
    }

    /// Forgets files that are not there and of which nothing is expected.
    pub fn sweep(&mut self, now: Moment) {
        for slot in &mut self.files {
            if slot.as_ref().is_some_and(|file| !file.here && file.looks.is_idle(now)) {
                *slot = None;
            }
        }
    }

    /// Whether nothing is left to know.
    pub fn is_empty(&self) -> bool {
        self.files.iter().all(Option::is_none) && self.force.is_none() && !self.known
    }
}
