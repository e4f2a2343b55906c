//! The directory listed and watched, so that nothing happens between the two unseen.

use std::{io, path::Path, time::Duration};

use super::Source;
use crate::{
    daemon::specs::{
        judge::Document,
        listing::{Listed, Listing},
        names::FileName,
        watch::WatchError,
    },
    host::{
        clock,
        specfile::{DirId, Directory, quiet_for},
    },
};

/// How often inotify is tried again where it was not to be had.
const WATCH_RETRY: Duration = Duration::from_secs(60);

/// A directory that moves while it is being watched is followed so often; then the next look follows it.
const WATCH_TRIES: usize = 3;

impl<S: Document, C: Clone + PartialEq> Source<S, C> {
    /// Lists the directory, watched: what happens after the watch is told by an event, what happened before
    /// is in the listing.
    pub(super) fn list(&mut self) -> Listing {
        let path = self.ledger.directory().to_owned();
        let mut directory = match Directory::open_for_listing(&path) {
            Ok(directory) => directory,
            Err(error) => return unlistable(&error),
        };
        for _ in 0..WATCH_TRIES {
            if self.watch.is_on(&path, directory.id()) || !self.watch_specs(&path, directory.id()) {
                break;
            }
            match Directory::open_for_listing(&path) {
                Ok(again) => directory = again,
                Err(error) => return unlistable(&error),
            }
        }
        let (mut files, mut odd) = (Vec::new(), Vec::new());
        let names = directory.list(|name| match FileName::of(name) {
            FileName::Spec(_) => true,
            FileName::Odd(text) => {
                odd.push(text);
                false
            }
            FileName::Foreign => false,
        });
        let names = match names {
            Ok(names) => names,
            Err(error) => return unlistable(&error),
        };
        for (name, stamp) in names {
            if let FileName::Spec(key) = FileName::of(&name) {
                let quiet = stamp.as_ref().and_then(|stamp| quiet_for(stamp.file()));
                files.push(Listed { key, stamp, quiet });
            }
        }
        Listing::Here { directory: directory.inode, files, odd }
    }

    /// Watches the spec directory, and its parent, which tells at once when the directory comes back.
    /// Returns whether there is a new watch.
    fn watch_specs(&mut self, path: &Path, id: DirId) -> bool {
        if !self.inotify {
            self.ledger.set_blind(Some("it is switched off".to_owned()), clock::monotonic());
            return false;
        }
        let now = clock::monotonic();
        if self.blind_until.is_some_and(|until| now < until) {
            return false;
        }
        match self.watch.watch(path, id) {
            Ok(()) => {
                self.blind_until = None;
                self.ledger.set_blind(None, now);
                if let Some(parent) = path.parent() {
                    self.watch_beside(parent);
                }
                true
            }
            Err(WatchError::Gone) => true,
            Err(error) => {
                self.blind_until = now.checked_add(WATCH_RETRY);
                let why =
                    std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
                let why: Vec<_> = why.map(ToString::to_string).collect();
                self.ledger.set_blind(Some(why.join(": ")), now);
                false
            }
        }
    }

    /// Watches the directory of the config file.
    pub(super) fn watch_config(&mut self) {
        if let Some(parent) = self.config.path().parent().map(Path::to_owned) {
            self.watch_beside(&parent);
        }
    }

    /// Watches a directory whose events are a help and no more: without them a resync does.
    fn watch_beside(&mut self, path: &Path) {
        if !self.inotify || path == self.ledger.directory() {
            return;
        }
        if let Ok(directory) = Directory::open(path)
            && !self.watch.is_on(path, directory.id())
        {
            let _ = self.watch.watch(path, directory.id());
        }
    }
}

/// What an error says about a directory: only "no such file" says that it is missing.
fn unlistable(error: &io::Error) -> Listing {
    match error.kind() {
        io::ErrorKind::NotFound => Listing::Missing,
        _ => Listing::Unreadable(error.to_string()),
    }
}
