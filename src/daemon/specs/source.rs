//! The thread `specs`: everything that can block, and no rule.
//!
//! It waits on one channel, for a command of the loop or a wake of the [`Inbox`], at the latest until the
//! next date of the ledger or of the config file. Where nothing is pending it waits for ever: idle costs
//! nothing. Its reads can hang, on NFS or FUSE; then specs are late, nothing else is, and
//! [`Handle::stuck_for`] tells.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    Change, Known,
    judge::{Document, MAX_FILE, Rules},
    ledger::{Ledger, Listed, Listing, Step},
    names::{FileKey, FileName},
    watch::{Inbox, Targets, Watch, WatchError},
};
use crate::{
    api::{config::Config, name::SessionName, spec::WrittenSpec, time::Moment},
    daemon::config_file::{ConfigChange, ConfigFile, ParseConfig},
    host::{
        clock,
        files::make_directory,
        specfile::{DirId, Directory, Sight, quiet_for},
    },
};

/// How often inotify is tried again where it was not to be had.
const WATCH_RETRY: Duration = Duration::from_secs(60);

/// A directory that moves while it is being watched is followed so often; then the next look follows it.
const WATCH_TRIES: usize = 3;

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

/// What the loop asks of the thread.
enum Input {
    /// Something came into the inbox.
    Heard,
    Resync,
    AcceptRemovals,
    Live(SessionName, bool),
    Shutdown,
}

/// The thread. When this is dropped, it ends by itself, at the latest when what it reads from answers.
pub struct Handle {
    input: Sender<Input>,
    busy_since: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Look at everything: at each `resyncInterval`, and at SIGHUP.
    pub fn resync(&self) {
        self.send(Input::Resync);
    }

    /// What is missing is meant to be (`atm cleanup --accept-removals`).
    pub fn accept_removals(&self) {
        self.send(Input::AcceptRemovals);
    }

    /// A session of this name lives, or is gone. What lives decides how carefully removals are taken.
    pub fn set_live(&self, name: SessionName, live: bool) {
        self.send(Input::Live(name, live));
    }

    /// For how long the thread has been waiting for the file system; `None` where it is not. After some
    /// seconds the directory is as good as unreadable, and worth a word in STATUS.
    pub fn stuck_for(&self, now: Moment) -> Option<Duration> {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(now.since(Moment::from_nanos(since))),
        }
    }

    /// Ends the thread and waits for it, which takes as long as its file system does.
    pub fn shutdown(self) {
        self.send(Input::Shutdown);
        // A panic in there has ended the channel of updates, which is how the loop learns of it.
        let Self { thread, .. } = self;
        let _ = thread.join();
    }

    fn send(&self, input: Input) {
        // Fails when the thread is gone, which ends the channel of updates as well.
        let _ = self.input.send(input);
    }
}

/// Starts the thread, which tells `updates` what it finds. When it ends, for whatever reason, the channel
/// closes.
pub fn spawn<S, C>(options: Options<C>, updates: UnboundedSender<Update<S, C>>) -> io::Result<Handle>
where
    S: Document,
    C: Clone + PartialEq + Send + 'static,
{
    let (input, inputs) = mpsc::channel();
    let busy_since = Arc::new(AtomicU64::new(0));
    let (wake, busy) = (input.clone(), Arc::clone(&busy_since));
    let thread = std::thread::Builder::new().name("specs".to_owned()).spawn(move || {
        let targets = Targets { directory: options.directory.clone(), config: options.config.clone() };
        let inbox = Inbox::new(targets, move || {
            let _ = wake.send(Input::Heard); // fails when the thread is ending
        });
        Source::new(options, inbox, updates, busy).run(&inputs);
    })?;
    Ok(Handle { input, busy_since, thread })
}

struct Source<S, C> {
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
    fn new(
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
            config: ConfigFile::new(config, parse_config),
            watch: Watch::new(Arc::clone(&inbox)),
            inbox,
            updates,
            busy_since,
            inotify,
            blind_until: None,
            unheard: Vec::new(),
        }
    }

    fn run(mut self, inputs: &Receiver<Input>) {
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

    /// Lists the directory, watched: what happens after the watch is told by an event, what happened before
    /// is in the listing.
    fn list(&mut self) -> Listing {
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
    fn watch_config(&mut self) {
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

/// What an error says about a directory: only "no such file" says that it is missing.
fn unlistable(error: &io::Error) -> Listing {
    match error.kind() {
        io::ErrorKind::NotFound => Listing::Missing,
        _ => Listing::Unreadable(error.to_string()),
    }
}
