//! The thread `specs`: everything that can block, and no rule.
//!
//! It waits on one channel, for a command of the loop or a wake of the [`Inbox`], at the latest until the
//! next date of the ledger or of the config file. Where nothing is pending it waits for ever: idle costs
//! nothing. Its reads can hang, on NFS or FUSE; then specs are late, nothing else is, and
//! [`Handle::stuck_for`](super::Handle::stuck_for) tells.

mod watched;

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    Change, Known,
    handle::Input,
    judge::{Document, MAX_FILE, Rules},
    ledger::{Ledger, Step},
    names::FileKey,
    watch::{Inbox, Watch},
};
use crate::{
    api::{config::Config, spec::WrittenSpec, time::Moment},
    daemon::config_file::{ConfigChange, ConfigFile, ParseConfig},
    host::{
        clock,
        files::make_directory,
        specfile::{DirId, Directory, Sight, quiet_for},
    },
};

/// So many files are read before what was read is handed in.
const UNHEARD: usize = 64;

/// Everything that the thread tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<S = WrittenSpec, C = Config> {
    /// Of the spec directory.
    Spec(Change<S>),
    /// Of the config file.
    Config(ConfigChange<C>),
}

/// What to watch, and what is known from before.
pub struct Options<C = Config> {
    /// The spec directory; absolute.
    pub directory: PathBuf,
    /// Permissions of the directory, should it have to be made: where it is missing and `known` is empty.
    pub mode: u32,
    /// Whose word counts.
    pub rules: Rules,
    /// The directory that `known` came from: the last [`Change::Available`].
    pub recorded: Option<DirId>,
    /// What state knows.
    pub known: Vec<Known>,
    /// The config file; absolute.
    pub config: PathBuf,
    /// Reads a config.
    pub parse_config: ParseConfig<C>,
    /// Whether to use inotify. Without it the directory is listed each second, which is all that some
    /// network file systems are good for.
    pub inotify: bool,
}

pub(super) struct Source<S, C> {
    ledger: Ledger<S>,
    config: ConfigFile<C>,
    watch: Watch,
    inbox: Arc<Inbox>,
    updates: UnboundedSender<Update<S, C>>,
    busy_since: Arc<AtomicU64>,
    inotify: bool,
    /// inotify was not to be had; not tried again before.
    blind_until: Option<Moment>,
    /// Read after a close, and not handed in before the events of before the read are heard.
    unheard: Vec<(FileKey, Option<Sight>)>,
}

/// Whether a step was the last for now.
enum Work {
    More,
    /// Nothing to do until then, or until something happens.
    Done(Option<Moment>),
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    End,
}

impl<S: Document, C: Clone + PartialEq> Source<S, C> {
    pub(super) fn new(
        options: Options<C>,
        inbox: Arc<Inbox>,
        updates: UnboundedSender<Update<S, C>>,
        busy_since: Arc<AtomicU64>,
    ) -> Self {
        let Options { directory, mode, rules, recorded, known, config, parse_config, inotify } = options;
        if known.is_empty() {
            // Where this fails the first listing says why.
            let _ = make_directory(&directory, mode);
        }
        Self {
            ledger: Ledger::new(directory, rules, recorded, known),
            config: ConfigFile::new(config, rules, parse_config),
            watch: Watch::new(Arc::clone(&inbox)),
            inbox,
            updates,
            busy_since,
            inotify,
            blind_until: None,
            unheard: Vec::new(),
        }
    }

    pub(super) fn run(mut self, inputs: &Receiver<Input>) {
        self.watch_config();
        loop {
            // Commands and events first: what is decided next should know them.
            loop {
                match inputs.try_recv() {
                    Ok(input) => {
                        if self.take(input) == Go::End {
                            return;
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let Work::Done(until) = self.work() else { continue };
            if self.tell() == Go::End {
                return;
            }
            let input = match until {
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => inputs.recv_timeout(at.since(clock::monotonic())),
            };
            match input {
                Ok(input) => {
                    if self.take(input) == Go::End {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One step.
    fn work(&mut self) -> Work {
        let now = clock::monotonic();
        if self.config.due().is_some_and(|at| at <= now) {
            self.read_config(now);
        } else {
            let step = self.ledger.next(now);
            if let Step::Read { key, .. } = &step {
                // A further look at the same file makes the earlier one worth nothing.
                self.unheard.retain(|(unheard, _)| unheard != key);
            }
            if let Step::Read { key, directory, hear_first: true } = step {
                // Hearing takes longer than reading, and once is enough for all that was read before.
                let sight = self.look(&key, directory);
                self.unheard.push((key, sight));
                if self.unheard.len() < UNHEARD {
                    return Work::More;
                }
                self.hand_in_unheard();
            } else {
                let handed_in = !self.unheard.is_empty();
                self.hand_in_unheard();
                match step {
                    Step::List => {
                        let listing = self.busy(Self::list);
                        if self.ledger.misses_something() {
                            self.busy(|source| source.watch.catch_up());
                            self.hear(clock::monotonic());
                        }
                        self.ledger.listed(listing, clock::monotonic());
                    }
                    Step::Read { key, directory, .. } => {
                        let sight = self.look(&key, directory);
                        self.hand_in(&key, sight);
                    }
                    // What was handed in may have more to do.
                    Step::Wait(_) if handed_in => {}
                    Step::Wait(until) => {
                        let until = [until, self.config.due()].into_iter().flatten().min();
                        return Work::Done(until);
                    }
                }
            }
        }
        // Told after each step: the first of a thousand specs starts while the others are read.
        let _ = self.tell();
        Work::More
    }

    fn take(&mut self, input: Input) -> Go {
        let now = clock::monotonic();
        match input {
            Input::Heard => self.hear(now),
            Input::Resync => {
                self.ledger.resync(now);
                self.config.look(now);
                self.busy(Self::watch_config);
            }
            Input::AcceptRemovals => self.ledger.accept_removals(now),
            Input::Live(name, live) => self.ledger.set_live(&name, live, now),
            Input::Shutdown => return Go::End,
        }
        Go::On
    }

    /// Hands in what events said.
    fn hear(&mut self, now: Moment) {
        let heard = self.inbox.take();
        for (key, hint) in &heard.specs {
            self.ledger.hint(key, *hint, now);
        }
        for text in heard.odd {
            self.ledger.odd(text);
        }
        if let Some(hint) = heard.config {
            self.config.hint(hint, now);
        }
        if heard.directory {
            let directory = self.ledger.directory().to_owned();
            self.watch.forget(&directory);
        }
        if heard.directory || heard.overflow {
            self.ledger.relist(now);
        }
        if heard.config_directory {
            if let Some(parent) = self.config.path().parent().map(Path::to_owned) {
                self.watch.forget(&parent);
            }
            self.busy(Self::watch_config);
        }
        if heard.config_directory || heard.overflow {
            self.config.look(now);
        }
    }

    fn tell(&mut self) -> Go {
        let config = self.config.take_changes().into_iter().map(Update::Config);
        let specs = self.ledger.take_changes().into_iter().map(Update::Spec);
        for update in config.chain(specs) {
            if self.updates.send(update).is_err() {
                return Go::End; // nobody listens any more
            }
        }
        Go::On
    }

    fn busy<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        // Zero is "not busy"; the clock was there one nanosecond after boot.
        self.busy_since.store(clock::monotonic().as_nanos().max(1), Ordering::Relaxed);
        let result = work(self);
        self.busy_since.store(0, Ordering::Relaxed);
        result
    }

    /// Reads one file, in the directory that is expected. `None`: the path leads elsewhere.
    fn look(&mut self, key: &FileKey, expected: DirId) -> Option<Sight> {
        let path = self.ledger.directory().to_owned();
        self.busy(|_| match Directory::open(&path) {
            Ok(directory) if directory.id() == expected => {
                Some(directory.read(OsStr::new(&key.to_string()), MAX_FILE))
            }
            Ok(_) | Err(_) => None,
        })
    }

    fn hand_in(&mut self, key: &FileKey, sight: Option<Sight>) {
        let now = clock::monotonic();
        match sight {
            Some(sight) => self.ledger.read(key, sight, now),
            None => self.ledger.elsewhere(key, now),
        }
    }

    /// Hears what happened before these files were read, then hands in what was read.
    fn hand_in_unheard(&mut self) {
        if self.unheard.is_empty() {
            return;
        }
        self.busy(|source| source.watch.catch_up());
        self.hear(clock::monotonic());
        for (key, sight) in std::mem::take(&mut self.unheard) {
            self.hand_in(&key, sight);
        }
    }

    fn read_config(&mut self, now: Moment) {
        let hear_first = self.config.begin(now);
        let path = self.config.path().to_owned();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.config.read(Sight::Missing, None, now);
        };
        let sight = self.busy(|_| match Directory::open(parent) {
            Ok(directory) => directory.read(name, MAX_FILE),
            // A directory that is not there has no config; any other error is told with the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Sight::Missing,
            Err(error) => Sight::unopened(&error),
        });
        if hear_first {
            self.busy(|source| source.watch.catch_up());
            self.hear(clock::monotonic());
        }
        let quiet = match &sight {
            Sight::Present { stamp: Some(stamp), .. } => quiet_for(stamp.file()),
            Sight::Present { stamp: None, .. } | Sight::Missing => None,
        };
        self.config.read(sight, quiet, clock::monotonic());
    }
}
