//! The one owner of what the daemon knows.
//!
//! [`Store`] writes and cannot be cloned; [`Reader`] is handed out freely and sees whole states only. Both
//! live on the loop's thread. Every edit derives what people see of the session anew, so that counts and
//! watchers follow at O(log n) a change, and nobody scans the fleet to answer a question about one of it.

mod entry;

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    rc::{Rc, Weak},
    sync::Arc,
};

use tokio::sync::{Notify, futures::Notified};

pub use self::entry::{Entry, Limits, RunFacts, Shown, SpecError};
use super::{clock::Clock, watcher::Watcher};
use crate::{
    api::{
        config::Config,
        control::{Counters, Counts},
        diagnose::Diagnostics,
        name::SessionName,
        record::ProcessId,
        status::{Activity, Phase},
        time::Moment,
    },
    plan::{
        fleet::{self, Decisions, Mode},
        memory::Relief,
    },
};

/// Everything the daemon knows, as of one moment.
#[derive(Debug)]
pub struct World {
    /// By name.
    pub sessions: BTreeMap<SessionName, Entry>,
    /// Which session a keeper, or a main process, belongs to.
    pub processes: BTreeMap<ProcessId, SessionName>,
    /// In force.
    pub config: Arc<Config>,
    /// Where the config in force was read from; absent: the defaults.
    pub config_file: Option<PathBuf>,
    /// What is wrong with the config file.
    pub config_error: Option<Diagnostics>,
    /// Why the spec directory cannot be believed now.
    pub specs_unavailable: Option<String>,
    /// Other things a person should know, by what they are about.
    pub warnings: BTreeMap<&'static str, String>,
    /// The relief of memory in progress, as the plan left it.
    pub relief: Option<Relief>,
    /// What the fleet is steered towards.
    pub mode: Mode,
    /// Sessions by phase.
    pub counts: Counts,
    /// Memory of all sessions at their last looks, in bytes.
    pub memory: u64,
    /// Spec files that are wrong.
    pub invalid_specs: u32,
    /// What happened since the start, in numbers.
    pub counters: Counters,
    /// Specs and config are no longer read.
    pub source_ended: bool,
    /// Which sources have reported. Nothing is decided before all have.
    pub sources: Sources,
}

impl World {
    /// What the plan decides about all sessions as they are.
    pub fn decide(&self, now: Moment) -> Decisions {
        let plans = self.sessions.iter().map(|(name, entry)| (name, &entry.plan));
        fleet::decide(plans, &self.config, &self.mode, self.relief.as_ref(), now)
    }
}

/// Which sources have reported once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sources {
    /// The spec directory.
    pub specs: bool,
    /// The config file.
    pub config: bool,
    /// Looks at what was found running: what it uses is not free.
    pub looks: bool,
}

impl Sources {
    /// Whether everything that decides is known.
    pub fn all(self) -> bool {
        self.specs && self.config && self.looks
    }
}

/// The writer. There is one.
#[derive(Debug)]
pub struct Store {
    shared: Rc<Shared>,
}

/// A reader: sees whole states, and can wait for changes.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world: RefCell<World>,
    /// Counts all changes of the world.
    version: Cell<u64>,
    clock: Clock,
    /// Of the daemon's own parts.
    listeners: RefCell<Vec<Weak<Changes>>>,
    /// Of clients.
    watchers: RefCell<Vec<Weak<Watcher>>>,
    changed: Notify,
}

/// Collects which sessions changed since its owner last asked. A session that changes a hundred times
/// meanwhile is in it once, so a slow owner costs nobody memory.
#[derive(Debug, Default)]
pub struct Changes {
    dirty: RefCell<BTreeSet<SessionName>>,
    wake: Notify,
}

impl Changes {
    /// Waits until something changed, and takes what did.
    pub async fn next(&self) -> BTreeSet<SessionName> {
        loop {
            let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
            if !dirty.is_empty() {
                return dirty;
            }
            self.wake.notified().await;
        }
    }
}

impl Store {
    /// A world without sessions.
    pub fn new(config: Config, clock: Clock) -> Self {
        let world = World {
            sessions: BTreeMap::new(),
            processes: BTreeMap::new(),
            config: Arc::new(config),
            config_file: None,
            config_error: None,
            specs_unavailable: None,
            warnings: BTreeMap::new(),
            relief: None,
            mode: Mode::Converge,
            counts: Counts::default(),
            memory: 0,
            invalid_specs: 0,
            counters: Counters::default(),
            source_ended: false,
            sources: Sources::default(),
        };
        let shared = Shared {
            world: RefCell::new(world),
            version: Cell::new(0),
            clock,
            listeners: RefCell::default(),
            watchers: RefCell::default(),
            changed: Notify::new(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Another handle, that cannot write.
    pub fn reader(&self) -> Reader {
        Reader { shared: Rc::clone(&self.shared) }
    }

    /// The world, to be changed: what was said of it is old from now on.
    fn change(&self) -> RefMut<'_, World> {
        self.shared.version.set(self.shared.version.get().wrapping_add(1));
        self.shared.world.borrow_mut()
    }

    /// Another number after each change of the world.
    pub fn version(&self) -> u64 {
        self.shared.version.get()
    }

    /// The world as it is. The borrow must not be held over an await or an edit.
    pub fn look(&self) -> Ref<'_, World> {
        self.shared.world.borrow()
    }

    /// Adds a session, or replaces it whole.
    pub fn insert(&self, name: &SessionName, entry: Entry) {
        {
            let mut world = self.change();
            let world = &mut *world;
            count(&mut world.counts, &mut world.invalid_specs, &entry.shown, 1);
            world.memory = world.memory.saturating_add(entry.memory_in_use());
            let run = entry.run;
            if let Some(old) = world.sessions.insert(name.clone(), entry) {
                index(&mut world.processes, name, old.run, run);
                world.memory = world.memory.saturating_sub(old.memory_in_use());
                count(&mut world.counts, &mut world.invalid_specs, &old.shown, -1);
            } else {
                index(&mut world.processes, name, None, run);
            }
        }
        self.touch(name);
    }

    /// Changes one session; `None` where it is not known. What people see of it is derived anew.
    pub fn edit<T>(&self, name: &SessionName, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let (answer, touched) = {
            let mut world = self.change();
            let world = &mut *world;
            let entry = world.sessions.get_mut(name)?;
            let (before, run) = (entry.memory_in_use(), entry.run);
            let answer = change(entry);
            if entry.run != run {
                index(&mut world.processes, name, run, entry.run);
            }
            world.memory = world.memory.saturating_sub(before).saturating_add(entry.memory_in_use());
            let shown = entry.derive(&self.shared.clock);
            let touched = shown != entry.shown;
            count(&mut world.counts, &mut world.invalid_specs, &entry.shown, -1);
            count(&mut world.counts, &mut world.invalid_specs, &shown, 1);
            entry.shown = shown;
            (answer, touched)
        };
        if touched {
            self.touch(name);
        }
        Some(answer)
    }

    /// Forgets one session.
    pub fn remove(&self, name: &SessionName) -> Option<Entry> {
        let entry = {
            let mut world = self.change();
            let world = &mut *world;
            let entry = world.sessions.remove(name)?;
            index(&mut world.processes, name, entry.run, None);
            world.memory = world.memory.saturating_sub(entry.memory_in_use());
            count(&mut world.counts, &mut world.invalid_specs, &entry.shown, -1);
            entry
        };
        self.touch(name);
        Some(entry)
    }

    /// Keeps what the plan wants to know again: nobody is shown it.
    pub fn note_relief(&self, relief: Option<Relief>) {
        self.change().relief = relief;
    }

    /// Changes what is not about one session.
    pub fn edit_world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let answer = change(&mut self.change());
        self.shared.changed.notify_waiters();
        answer
    }

    /// Tells watchers about a session whose shown state did not change by an edit (a new generation, a pid).
    pub fn touch(&self, name: &SessionName) {
        self.shared.listeners.borrow_mut().retain(|changes| {
            let Some(changes) = changes.upgrade() else { return false };
            changes.dirty.borrow_mut().insert(name.clone());
            changes.wake.notify_one();
            true
        });
        let world = self.shared.world.borrow();
        let entry = world.sessions.get(name);
        self.shared.watchers.borrow_mut().retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else { return false };
            watcher.mark(name, entry);
            true
        });
        self.shared.changed.notify_waiters();
    }
}

impl Reader {
    /// The world as it is. The borrow must not be held over an await.
    pub fn look(&self) -> Ref<'_, World> {
        self.shared.world.borrow()
    }

    /// The clock that the world is told by.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Collects changes from now on, until it is dropped.
    pub fn changes(&self) -> Rc<Changes> {
        let changes = Rc::new(Changes::default());
        self.shared.listeners.borrow_mut().push(Rc::downgrade(&changes));
        changes
    }

    /// Has `watcher` collect for its client from now on, until it is dropped.
    pub fn watch(&self, watcher: Watcher) -> Rc<Watcher> {
        let watcher = Rc::new(watcher);
        self.shared.watchers.borrow_mut().push(Rc::downgrade(&watcher));
        watcher
    }

    /// Waits until `condition` holds. It is looked at after every change.
    pub async fn wait_until(&self, condition: impl Fn(&World) -> bool) {
        loop {
            let changed = self.changed();
            tokio::pin!(changed);
            // Registered before the look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            if condition(&self.look()) {
                return;
            }
            changed.await;
        }
    }

    /// The next change. It counts from when it is first polled or enabled, so whoever looks in between must
    /// enable it before the look.
    pub fn changed(&self) -> Notified<'_> {
        self.shared.changed.notified()
    }
}

/// Keeps the way from processes to sessions up to date: a question about one process must not cost a look at all.
fn index(
    processes: &mut BTreeMap<ProcessId, SessionName>,
    name: &SessionName,
    before: Option<RunFacts>,
    now: Option<RunFacts>,
) {
    let of = |run: Option<RunFacts>| run.into_iter().flat_map(|run| [run.keeper, run.child]).flatten();
    for gone in of(before) {
        if processes.get(&gone) == Some(name) {
            processes.remove(&gone);
        }
    }
    processes.extend(of(now).map(|process| (process, name.clone())));
}

fn count(counts: &mut Counts, invalid: &mut u32, shown: &Shown, by: i32) {
    let place = match shown.phase {
        Phase::Pending => &mut counts.pending,
        Phase::Running => &mut counts.running,
        Phase::Stopping => &mut counts.stopping,
        Phase::Succeeded => &mut counts.succeeded,
        Phase::Failed => &mut counts.failed,
        Phase::Evicted => &mut counts.evicted,
        Phase::Suspended => &mut counts.suspended,
    };
    *place = place.saturating_add_signed(by);
    match shown.activity {
        Some(Activity::Busy) => counts.busy = counts.busy.saturating_add_signed(by),
        Some(Activity::Waiting) => counts.waiting = counts.waiting.saturating_add_signed(by),
        Some(Activity::Idle | Activity::Unknown) | None => {}
    }
    if shown.registered {
        counts.registered = counts.registered.saturating_add_signed(by);
    }
    if shown.invalid {
        *invalid = invalid.saturating_add_signed(by);
    }
}

#[cfg(test)]
mod tests {
    use super::entry::tests::seen;
    use super::*;
    use crate::{
        api::{name::RunId, time::Timestamp},
        daemon::memory::Memory,
        plan::{Observed, Run, Session},
    };

    #[test]
    fn memory_of_all_follows_every_change() {
        let clock = Clock::start();
        let machine = crate::api::config::Machine { memory: 1 << 30 };
        let store = Store::new(Config::defaults(machine), clock.clone());
        let running = |bytes| {
            let run_id = RunId::generate();
            let mut entry = Entry::new(Session::unknown(), Memory::new(clock.wall()), &clock);
            let run = entry.started(run_id, clock.now());
            entry.plan.observed = Observed::Running(Run { seen: Some(seen(bytes, 0.0)), ..run });
            entry
        };
        let [a, b] = ["a", "b"].map(|name| SessionName::new(name).unwrap());
        store.insert(&a, running(100));
        store.insert(&b, running(30));
        store.insert(&b, running(50));
        assert_eq!(store.look().memory, 150);
        store.edit(&a, |entry| entry.plan.observed = Observed::Absent);
        assert_eq!(store.look().memory, 50);
        store.remove(&b);
        assert_eq!(store.look().memory, 0);
    }

    #[test]
    fn a_process_leads_to_its_session_for_as_long_as_it_is_its() {
        let clock = Clock::start();
        let machine = crate::api::config::Machine { memory: 1 << 30 };
        let store = Store::new(Config::defaults(machine), clock.clone());
        let process = |pid| ProcessId { pid, start_time: 1 };
        let facts = |keeper, child| {
            let (keeper, child) = (Some(process(keeper)), Some(process(child)));
            Some(RunFacts { keeper, child, uid: None, started_at: Timestamp::default() })
        };
        let of = |pid| store.look().processes.get(&process(pid)).map(ToString::to_string);
        let [a, b] = ["a", "b"].map(|name| SessionName::new(name).unwrap());
        for name in [&a, &b] {
            store.insert(name, Entry::new(Session::unknown(), Memory::new(clock.wall()), &clock));
        }
        store.edit(&a, |entry| entry.run = facts(1, 2));
        assert_eq!((of(1), of(2), of(3)), (Some("a".into()), Some("a".into()), None));
        store.edit(&a, |entry| entry.run = facts(1, 3));
        assert_eq!((of(2), of(3)), (None, Some("a".into())));
        // Another has it now: the end of the one before takes nothing away.
        store.edit(&b, |entry| entry.run = facts(4, 3));
        store.edit(&a, |entry| entry.run = None);
        assert_eq!((of(1), of(3)), (None, Some("b".into())));
        store.remove(&b);
        assert!(store.look().processes.is_empty());
    }
}
