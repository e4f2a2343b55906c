//! The daemon's heart: the store, the keepers and the plan, brought together.
//!
//! Inputs come in one stream ([`Input`]); absorbing one changes the store and says which keys to look at.
//! Reconciling a key reads the store, asks the plan and does what it says. Both run on one thread, so between
//! two awaits nothing changes.

use std::{cell::RefCell, fmt, rc::Rc};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    adopt::Here,
    clock::Clock,
    events::{Events, News},
    keepers::{Keepers, Report},
    looks::{Looking, port::Looks},
    memory::{Instance, Memory},
    metrics::Metrics,
    paths::Paths,
    registered::Registry,
    repositories::{Repositories, Seen},
    sends::Sends,
    server::LastList,
    specs,
    store::{Entry, Store},
    turns::Interrupts,
    view,
    writer::{Trouble, Writer},
};
use crate::{
    api::{
        config::Machine,
        event::EventKind,
        name::{RunId, SessionName},
        record::ProcessId,
    },
    controller::{Reason, Trigger},
    host::specfile::DirId,
};

/// A file system that takes longer is worth a word.
const STUCK: std::time::Duration = std::time::Duration::from_secs(5);

/// Two kinds of work. Only `Fleet` hands out slots; only `Session` touches a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// All sessions: who may run.
    Fleet,
    /// One session: its next move.
    Session(SessionName),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.pad("fleet"),
            Self::Session(name) => name.fmt(f),
        }
    }
}

/// All that can wake the daemon from outside.
#[derive(Debug)]
pub enum Input {
    /// The spec directory or the config file has news.
    Source(Box<specs::Update>),
    /// The source of both has ended, which it should not.
    SourceEnded,
    /// A keeper has news.
    Keeper(Report),
    /// Sessions were looked at.
    Looks(Looks),
    /// The process of a registered session has ended.
    Departed(ProcessId),
    /// The repository that a session works in was looked at.
    Repository(Seen),
    /// Look at this again, for a reason of our own or of a person's.
    Look(Key, Reason),
    /// Look at everything again.
    Resync,
    /// State cannot be written, and why; or it can again.
    Trouble(Trouble),
}

/// What the daemon is made of.
pub struct Daemon<K> {
    /// What is known.
    pub store: Store,
    /// The port to processes.
    pub keepers: K,
    /// Interruptions of turns that are on their way.
    pub interrupts: Interrupts,
    /// Whose turn it is to type.
    pub sends: Sends,
    /// The port to what sessions do, and when they are looked at.
    pub looking: Looking,
    /// Where the repositories that sessions work in are looked at.
    pub repositories: Repositories,
    /// What happened.
    pub events: Rc<Events>,
    /// Where state is written.
    pub writer: Writer,
    /// Where time comes from.
    pub clock: Clock,
    /// Where things are.
    pub paths: Rc<Paths>,
    /// Whose keepers are ours.
    pub here: Here,
    /// The machine, as far as a config refers to it.
    pub machine: Machine,
    /// What every session's environment begins with.
    pub base_env: std::collections::BTreeMap<String, String>,
    /// The daemon's own user.
    pub uid: u32,
    /// Whether sessions belong to several users.
    pub system: bool,
    /// The cgroup directory below which sessions get groups of their own.
    pub cgroup: Option<std::path::PathBuf>,
    /// How sessions are held, for `atm status`.
    pub containment: String,
    /// The file of this program, for the hooks of agents; absent where it has no name that could be written down.
    pub program: Option<String>,
    /// Wakes the loop.
    pub inputs: UnboundedSender<Input>,
    /// Commands to the source of specs.
    pub specs: RefCell<Option<specs::Handle>>,
    /// Whose state this is, as it is on disk.
    pub instance: RefCell<Instance>,
    /// Registered sessions by process and conversation.
    pub registry: RefCell<Registry>,
    /// What is counted.
    pub metrics: Metrics,
    /// The last answer to `list`.
    pub last_list: LastList,
}

impl<K: Keepers> Daemon<K> {
    /// Asks for `key` to be looked at.
    pub fn look_at(&self, key: Key, reason: Reason) {
        let _ = self.inputs.send(Input::Look(key, reason)); // the loop has ended: nothing more is wanted
    }

    /// Records something that happened to a session.
    pub fn tell(
        &self,
        kind: EventKind,
        session: &SessionName,
        run_id: Option<RunId>,
        reason: Option<String>,
        message: impl Into<String>,
    ) {
        self.events.tell(self.news(kind, session, run_id, reason, message), &self.clock, &self.writer);
    }

    /// Something that happened to a session, with what is known of that session now.
    pub fn news<'a>(
        &self,
        kind: EventKind,
        session: &'a SessionName,
        run_id: Option<RunId>,
        reason: Option<String>,
        message: impl Into<String>,
    ) -> News<'a> {
        let world = self.store.look();
        let entry = world.sessions.get(session);
        // Decided now: a name may be somebody else's tomorrow.
        let uid = entry.and_then(|entry| view::concerned(entry, run_id));
        let pid = entry.and_then(|entry| entry.run?.child).map(|child| child.pid);
        let generation = entry.and_then(|entry| {
            let begun = entry.memory.begun.as_ref().map(|begun| begun.generation);
            begun.or_else(|| entry.memory.spec.as_ref().map(|spec| spec.generation))
        });
        News { uid, run_id, reason, pid, generation, ..News::of(kind, Some(session), message.into()) }
    }

    /// Records something that happened to the daemon.
    pub fn tell_all(&self, kind: EventKind, message: impl Into<String>) {
        self.events.tell(News::of(kind, None, message.into()), &self.clock, &self.writer);
    }

    /// What is remembered of `name` now, as the bytes of its file.
    fn remembered(&self, name: &SessionName) -> Option<Vec<u8>> {
        self.store
            .edit(name, |entry| {
                let will = entry.will();
                entry.memory.remember(&entry.plan.history, will, self.clock.boot());
                serde_json::to_vec(&entry.memory).ok()
            })
            .flatten()
    }

    /// Has what is remembered of `name` written some time soon.
    pub fn save(&self, name: &SessionName) {
        if let Some(bytes) = self.remembered(name) {
            self.writer.write(self.paths.memory(name), bytes);
        }
    }

    /// Has what is remembered of `name` written as the next thing: an end that was counted.
    pub fn save_next(&self, name: &SessionName) {
        if let Some(bytes) = self.remembered(name) {
            self.writer.write_next(self.paths.memory(name), bytes);
        }
    }

    /// Has what is remembered of `name` written some time soon, so that it survives a power cut: nothing else tells it.
    pub fn save_to_disk(&self, name: &SessionName) {
        if let Some(bytes) = self.remembered(name) {
            self.writer.write_through(self.paths.memory(name), bytes);
        }
    }

    /// Has what is remembered of `name` written, and waits until the next daemon would read it.
    pub async fn save_now(&self, name: &SessionName) -> std::io::Result<()> {
        match self.remembered(name) {
            Some(bytes) => self.writer.write_now(self.paths.memory(name), bytes).await,
            None => Ok(()),
        }
    }

    /// Has what is remembered of `name` written, and waits until it would survive a power cut.
    pub async fn save_durably(&self, name: &SessionName) -> std::io::Result<()> {
        match self.remembered(name) {
            Some(bytes) => self.writer.write_durably(self.paths.memory(name), bytes).await,
            None => Ok(()),
        }
    }

    /// Has all that is remembered written some time soon. What was remembered of sessions that are no more is not known here.
    fn save_all(&self) {
        let names: Vec<SessionName> = self.store.look().sessions.keys().cloned().collect();
        self.save_instance();
        for name in &names {
            self.save(name);
        }
        let world = self.store.look();
        if world.sources.config {
            self.keep_config(&world.config);
        }
    }

    /// Tells the source of specs whether a session lives: it brakes when many live ones vanish at once.
    pub fn tell_live(&self, name: &SessionName, live: bool) {
        if let Some(specs) = self.specs.borrow().as_ref() {
            specs.set_live(name.clone(), live);
        }
    }

    /// Remembers which spec directory is believed, so that another one in its place is noticed at the next start.
    pub fn remember_specs(&self, identity: DirId) {
        self.remember_places(|instance| instance.specs = Some(identity));
    }

    /// Remembers which directories are believed.
    pub fn remember_places(&self, change: impl FnOnce(&mut Instance)) {
        let changed = {
            let mut instance = self.instance.borrow_mut();
            let before = instance.clone();
            change(&mut instance);
            *instance != before
        };
        if changed {
            self.save_instance();
        }
    }

    /// Before any memory of a run that is begun in there: a daemon that is killed in between would leave one that seems
    /// to have lost its files, where it never came to a start.
    fn save_instance(&self) {
        if let Ok(bytes) = serde_json::to_vec(&*self.instance.borrow()) {
            self.writer.write_next(self.paths.instance(), bytes);
        }
    }

    /// A session of which nothing is known yet but that it should exist.
    pub fn new_entry(&self, plan: crate::plan::Session) -> Entry {
        Entry::new(plan, Memory::new(self.clock.wall()), &self.clock)
    }

    /// Absorbs one input: changes the store and says what to look at.
    pub fn absorb(&self, input: Input) -> Vec<Trigger<Key>> {
        let trigger = |key, reason| Trigger { key, reason };
        match input {
            Input::Source(update) => match *update {
                specs::Update::Spec(change) => self.absorb_specs(change),
                specs::Update::Config(change) => self.absorb_config(change),
            },
            Input::SourceEnded => {
                self.store.edit_world(|world| world.source_ended = true);
                self.warn(
                    "specs",
                    "specs and config are no longer read: restart the daemon, no session is lost".into(),
                );
                Vec::new()
            }
            Input::Keeper(report) => self.absorb_report(report),
            Input::Looks(looks) => self.absorb_looks(looks),
            Input::Departed(process) => self.absorb_departed(process),
            Input::Repository(seen) => {
                self.absorb_repository(seen);
                Vec::new()
            }
            Input::Look(key, reason) => vec![trigger(key, reason)],
            Input::Resync => {
                self.resync_specs();
                // Where more was used than is allowed, the kernel's limit was set to that.
                self.limit_all();
                // Those that are as they should be cost nothing here; one whose trigger was lost is looked at again.
                let world = self.store.look();
                let unsettled = world.sessions.iter().filter(|(_, entry)| !entry.is_settled());
                let sessions = unsettled.map(|(name, _)| trigger(Key::Session(name.clone()), Reason::Resync));
                let unseen = self.unseen_guests().into_iter().map(Key::Session);
                let unseen = unseen.map(|key| trigger(key, Reason::Resync));
                sessions.chain(unseen).chain([trigger(Key::Fleet, Reason::Resync)]).collect()
            }
            Input::Trouble(Trouble::Begins(trouble)) => {
                self.warn("state", trouble);
                Vec::new()
            }
            Input::Trouble(Trouble::Ends) => {
                self.mended("state");
                Vec::new()
            }
            Input::Trouble(Trouble::Emptied(directory)) => {
                let directory = directory.display();
                self.tell_all(
                    EventKind::RecordDamaged,
                    format!("{directory} was removed: it is written anew"),
                );
                self.save_all();
                Vec::new()
            }
        }
    }

    /// Has the files looked at, and says where they do not answer: a dead network file system delays specs and
    /// nothing else, but a person should know.
    fn resync_specs(&self) {
        let specs = self.specs.borrow();
        let Some(specs) = specs.as_ref() else { return };
        let stuck = specs.stuck_for(self.clock.now()).filter(|stuck| *stuck > STUCK);
        match stuck {
            Some(stuck) => {
                let seconds = stuck.as_secs();
                self.warn("specs-io", format!("the spec directory has not answered for {seconds} s"));
            }
            None => self.mended("specs-io"),
        }
        specs.resync();
    }
}
