//! inotify, through notify, reduced to what may be relied on: "look at this name", "look at this directory",
//! "list everything".
//!
//! What notify 8 does that would otherwise hurt:
//! - It watches opens, so our own reads would wake us for ever: those are dropped in the callback.
//! - A lost queue is one event without paths.
//! - A watch belongs to an inode, and events of a directory that was moved away keep coming under its old
//!   path. So every watch is kept together with the identity of what it watches, and whoever reads checks
//!   that identity again.
//! - When a parent says that the directory went, notify drops its watch of that *path*, even if we have
//!   renewed it for the next directory by then. So whenever an event touches the directory itself, the watch
//!   is made afresh; notify handles that request after the event.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use super::{
    looks::{Hint, What},
    names::{FileKey, FileName},
};
use crate::host::specfile::DirId;

/// Odd names kept between two takings; a listing finds the others.
const MAX_ODD: usize = 64;

/// What events said since the last [`Inbox::take`], folded by file: it does not grow with the number of events.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// By spec file.
    pub specs: BTreeMap<FileKey, Hint>,
    /// Names that look like specs and are none, for people.
    pub odd: Vec<String>,
    /// About the config file.
    pub config: Option<Hint>,
    /// The spec directory itself was touched.
    pub directory: bool,
    /// The config's directory was touched.
    pub config_directory: bool,
    /// Events were lost.
    pub overflow: bool,
}

impl Heard {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is watched, and what for.
#[derive(Debug, Clone)]
pub struct Targets {
    /// The spec directory.
    pub directory: PathBuf,
    /// The config file.
    pub config: PathBuf,
}

/// Where events are kept until the thread takes them.
pub struct Inbox {
    targets: Targets,
    heard: Mutex<Heard>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Inbox {
    /// `wake` is called when something came into an empty inbox; it must not block.
    pub fn new(targets: Targets, wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { targets, heard: Mutex::default(), wake: Box::new(wake) })
    }

    /// What came since the last time.
    pub fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, change: impl FnOnce(&mut Heard, &Targets)) {
        let was_empty = {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = heard.is_empty();
            change(&mut heard, &self.targets);
            was_empty && !heard.is_empty()
        };
        if was_empty {
            (self.wake)();
        }
    }

    fn hear(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // An error of the queue means lost events as well.
            Ok(_) | Err(_) => return self.put(|heard, _| heard.overflow = true),
        };
        let Some(what) = what_of(event.kind) else { return };
        for path in &event.paths {
            self.put(|heard, targets| heard.add(path, what, targets));
        }
    }
}

impl Heard {
    fn add(&mut self, path: &Path, what: What, targets: &Targets) {
        // Where the parent itself is moved, the directory hears nothing of it.
        if *path == targets.directory || Some(path) == targets.directory.parent() {
            self.directory = true;
        }
        if Some(path) == targets.config.parent() {
            self.config_directory = true;
        }
        let hint = Hint::from(what);
        if *path == targets.config {
            self.config = Some(self.config.map_or(hint, |before| before.then(hint)));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        if parent != targets.directory {
            return;
        }
        match FileName::of(name) {
            FileName::Spec(key) => {
                self.specs.entry(key).and_modify(|before| *before = before.then(hint)).or_insert(hint);
            }
            FileName::Odd(text) if what != What::Gone && self.odd.len() < MAX_ODD => self.odd.push(text),
            FileName::Odd(_) | FileName::Foreign => {}
        }
    }
}

/// What an event says about each of its paths; `None` for our own reads and for doubles.
fn what_of(kind: EventKind) -> Option<What> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(What::Closed),
        // `Both` repeats a `From` and a `To`.
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
        EventKind::Create(_) => Some(What::Created),
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(What::Attributes),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Some(What::Gone),
        EventKind::Modify(ModifyKind::Name(_)) => Some(What::Placed),
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other)
        | EventKind::Any
        | EventKind::Other => Some(What::Written),
    }
}

/// Why there is no watch.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The directory went before it was watched: look again.
    #[error("the directory is gone")]
    Gone,
    /// No inotify instance, no watch left, or none on this file system.
    #[error("inotify cannot watch {path}")]
    Blind {
        /// What was to be watched, free of control characters.
        path: String,
        /// What notify said.
        source: notify::Error,
    },
}

/// The watches.
pub struct Watch {
    inbox: Arc<Inbox>,
    watcher: Option<RecommendedWatcher>,
    /// What each path led to when it was watched.
    watched: BTreeMap<PathBuf, DirId>,
}

impl Watch {
    /// No watch yet.
    pub fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox, watcher: None, watched: BTreeMap::new() }
    }

    /// Whether `path` is watched, and led to `id` then.
    pub fn is_on(&self, path: &Path, id: DirId) -> bool {
        self.watched.get(path) == Some(&id)
    }

    /// Watches `path`, which leads to `id`. Whoever calls looks at `path` again afterwards: it may have led
    /// elsewhere by then.
    pub fn watch(&mut self, path: &Path, id: DirId) -> Result<(), WatchError> {
        self.forget(path);
        let blind = |source| WatchError::Blind { path: super::judge::shown(path), source };
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => {
                let inbox = Arc::clone(&self.inbox);
                none.insert(notify::recommended_watcher(move |event| inbox.hear(event)).map_err(blind)?)
            }
        };
        match watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(path.to_owned(), id);
                Ok(())
            }
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => Err(WatchError::Gone),
            Err(error) => Err(blind(error)),
        }
    }

    /// The watch of `path` is worth nothing any more.
    pub fn forget(&mut self, path: &Path) {
        if self.watched.remove(path).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            // Fails where the kernel or notify dropped it already, which is as good.
            let _ = watcher.unwatch(path);
        }
    }

    /// Returns when every event of before the call is in the inbox.
    ///
    /// notify's thread answers requests and reads events from one poll, in no promised order. When the first
    /// request is answered, that poll may still hold events that were ready; when the second one is, it has
    /// been worked off.
    pub fn catch_up(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for _ in 0..2 {
            // A request that is answered and changes nothing. Absolute: another one is taken from the working
            // directory, which may be watched.
            let _ = watcher.unwatch(Path::new("/proc/self/never-watched"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    use super::*;

    fn inbox() -> (Arc<Inbox>, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let targets = Targets { directory: "/s/d".into(), config: "/s/c.yaml".into() };
        let inbox = Inbox::new(targets, move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        (inbox, woken)
    }

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    #[test]
    fn our_own_reads_and_foreign_names_wake_nobody() {
        let (inbox, woken) = inbox();
        inbox.hear(Ok(event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/s/d/a.yaml")));
        inbox.hear(Ok(event(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/s/d/a.yaml")));
        inbox.hear(Ok(event(EventKind::Create(CreateKind::File), "/s/d/.a.yaml.swp")));
        inbox.hear(Ok(event(EventKind::Create(CreateKind::File), "/s/other")));
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        assert_eq!(inbox.take(), Heard::default());
    }

    #[test]
    fn a_storm_on_one_name_is_one_entry_and_one_wake() {
        let (inbox, woken) = inbox();
        for _ in 0..1000 {
            inbox.hear(Ok(event(EventKind::Create(CreateKind::File), "/s/d/a.yaml")));
            inbox.hear(Ok(event(EventKind::Modify(ModifyKind::Data(DataChange::Any)), "/s/d/a.yaml")));
            inbox.hear(Ok(event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/s/d/a.yaml")));
            inbox.hear(Ok(event(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/s/d/a.yaml")));
        }
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        let heard = inbox.take();
        let hints: Vec<_> = heard.specs.values().copied().collect();
        assert_eq!(hints, [Hint { what: What::Closed, wrote: true, came: true }]);
    }

    #[test]
    fn a_lost_queue_has_no_paths_and_is_heard() {
        let (inbox, _) = inbox();
        inbox.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(inbox.take().overflow);
        inbox.hear(Err(notify::Error::generic("broken")));
        assert!(inbox.take().overflow);
    }

    #[test]
    fn directories_and_the_config_are_told_apart() {
        let (inbox, _) = inbox();
        inbox.hear(Ok(event(EventKind::Remove(RemoveKind::Folder), "/s/d")));
        inbox.hear(Ok(event(EventKind::Modify(ModifyKind::Name(RenameMode::To)), "/s/c.yaml")));
        inbox.hear(Ok(event(EventKind::Create(CreateKind::File), "/s/d/Foo.yaml")));
        let heard = inbox.take();
        assert!(heard.directory && !heard.config_directory);
        assert_eq!(heard.config, Some(What::Placed.into()));
        assert_eq!(heard.odd.len(), 1);
        inbox.hear(Ok(event(EventKind::Remove(RemoveKind::Folder), "/s")));
        let heard = inbox.take();
        assert!(heard.config_directory && heard.directory, "the parent of both");
    }
}
