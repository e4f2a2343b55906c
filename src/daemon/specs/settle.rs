//! From what was last seen of one name to what the loop is told of it.

use super::{
    Change, Notice,
    entry::{Content, Force, Lost, Voice},
    judge::{Document, parse_with, shown},
    ledger::Ledger,
    listing::Place,
    looks::STABLE,
    names::{FileKey, Suffix},
    removal::CONFIRM,
};
use crate::api::{
    diagnose::{Diagnostic, Diagnostics},
    name::SessionName,
    time::Moment,
};

impl<S: Document> Ledger<S> {
    /// Tells the last good spec that state kept, where nothing better was told.
    pub(super) fn remember(&mut self, name: &SessionName) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        let Some(force) = entry.force.as_mut() else { return };
        let Some(text) = force.untold.take() else { return };
        let (suffix, owner) = (force.suffix, force.owner);
        let file = self.directory.join(FileKey { name: name.clone(), suffix }.to_string());
        let name = name.clone();
        let Ok(spec) = parse_with(|| S::parse_bytes(text.as_bytes(), &file), &file) else {
            // Written by another version of atm, perhaps. The file, when it is good, will do.
            entry.force = None;
            return self.tell(Change::Notice(Notice::Forgotten { name }));
        };
        force.digest = spec.digest();
        let text = text.into_string();
        self.tell(Change::Good { name, spec, text, file, owner, remembered: true });
    }

    /// Brings what the loop knows of one name in line with what was last seen of it.
    pub(super) fn settle(&mut self, name: &SessionName, now: Moment) {
        let held = match self.place {
            Place::Ours(_) => false,
            Place::Other(_) => true,
            Place::Unlooked | Place::Lost => return,
        };
        let leaving = self.leaving.get(name).copied();
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        let voice = entry.voice(self.rules.system, leaving);
        if voice != Voice::Absent || !(entry.known || entry.force.is_some()) {
            entry.lost = None;
        } else if !held && entry.lost.is_none() {
            entry.lost = Some(Lost::at(now));
            self.list_in(CONFIRM, now);
        }
        let mut conflict = false;
        let (suffix, wrong) = match voice {
            Voice::Absent => return,
            Voice::Speaks(suffix) => {
                // Seen, and not believed yet: what was told stays, and so does its error.
                let Some(mut wrong) = self.hear(name, suffix, held, now) else {
                    return;
                };
                let other = self.conflict(name, suffix, now);
                conflict = wrong.is_empty() && !other.is_empty();
                wrong.extend(other);
                (suffix, wrong)
            }
            Voice::Waits(suffix) => {
                let file = shown(&self.path(name, suffix));
                let message = format!(
                    "`{name}` still runs for another user; this file counts when that session is gone"
                );
                (suffix, Diagnostics::whole(file, message).0)
            }
        };
        self.tell_error(name, suffix, wrong, conflict);
    }

    /// Takes the word of the file that speaks for a name. Returns what is wrong with it, or `None` where its
    /// word is not known yet.
    fn hear(
        &mut self,
        name: &SessionName,
        suffix: Suffix,
        held: bool,
        now: Moment,
    ) -> Option<Vec<Diagnostic>> {
        let file = self.path(name, suffix);
        let entry = self.entries.get_mut(name)?;
        let force = entry.force.as_ref();
        let told = force.is_some_and(|force| force.untold.is_none());
        let in_force = force.map(|force| (force.digest.clone(), force.owner));
        let spoken = entry.file_mut(suffix)?;
        let owner = spoken.owner.or(in_force.as_ref().map(|(_, owner)| *owner)).unwrap_or(self.rules.uid);
        let (digest, body) = match &mut spoken.believed.as_mut()?.content {
            Content::Good { digest, body } => (digest, body),
            Content::Bad(error) => {
                let error = error.0.clone();
                self.remember(name);
                return Some(error);
            }
        };
        let same = in_force.as_ref().is_some_and(|(in_force, _)| in_force == digest);
        if same && told {
            *body = None;
            if let Some(force) = entry.force.as_mut()
                && std::mem::take(&mut force.moved)
            {
                self.tell(Change::Rebound { name: name.clone(), file });
            }
        } else if held && !same && in_force.is_some() {
            self.remember(name);
        } else if let Some(body) = body.take() {
            let (spec, text) = *body;
            let digest = digest.clone();
            entry.force = Some(Force { suffix, owner, digest, untold: None, moved: false });
            entry.known = true;
            self.tell(Change::Good { name: name.clone(), spec, text, file, owner, remembered: false });
        } else {
            // It was told before, and another one since: read it again.
            spoken.believed = None;
            let key = FileKey { name: name.clone(), suffix };
            self.with_looks(&key, |file| file.looks.believe(now));
            return None;
        }
        Some(Vec::new())
    }

    /// Two files for one name, seen for long enough that it is no rename under way.
    fn conflict(&mut self, name: &SessionName, suffix: Suffix, now: Moment) -> Vec<Diagnostic> {
        let Some(entry) = self.entries.get_mut(name) else {
            return Vec::new();
        };
        if !Suffix::ALL.into_iter().all(|suffix| entry.has(suffix)) {
            entry.both_since = None;
            return Vec::new();
        }
        let since = *entry.both_since.get_or_insert(now);
        if now.since(since) < STABLE {
            // A look at the one in force tells whether it is still there.
            let key = FileKey { name: name.clone(), suffix };
            self.with_looks(&key, |file| file.looks.look_at(since.checked_add(STABLE)));
            return Vec::new();
        }
        let other = self.path(name, suffix.other());
        let message = format!(
            "`{name}` is already defined by {name}{}, which stays in force: remove one of the two",
            suffix.as_str()
        );
        Diagnostics::whole(shown(&other), message).0
    }

    fn tell_error(&mut self, name: &SessionName, suffix: Suffix, wrong: Vec<Diagnostic>, conflict: bool) {
        let file = self.path(name, suffix);
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        let owner = entry.file(suffix).and_then(|file| file.owner).unwrap_or(self.rules.uid);
        if wrong.is_empty() {
            if entry.error.take().is_some() {
                self.tell(Change::Cleared { name: name.clone() });
            }
        } else if entry.error.as_ref().is_none_or(|told| told.0 != wrong) {
            let error = Diagnostics(wrong);
            entry.error = Some(Box::new(error.clone()));
            entry.known = true;
            self.tell(Change::Bad { name: name.clone(), file, owner, error, conflict });
        }
    }
}
