//! The one owner of what the daemon knows.
//!
//! [`Store`] writes and cannot be cloned; [`Reader`] is handed out freely and sees whole states only. Both
//! live on the loop's thread. Every edit derives what people see of the session anew, so that counts and
//! watchers follow at O(log n) a change, and nobody scans the fleet to answer a question about one of it.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    rc::{Rc, Weak},
    sync::Arc,
};

use tokio::sync::{Notify, futures::Notified};

use super::{
    agent_facts::AgentFacts, clock::Clock, memory::Memory, repositories::Repository, watcher::Watcher,
};
use crate::{
    api::{
        config::{Config, Logs},
        control::{Counters, Counts},
        diagnose::Diagnostics,
        name::{RunId, SessionName},
        quantity::{Limit, Size},
        record::{AgentStart, ProcessId, StartError},
        spec::{Digest, SessionSpec, WrittenSpec},
        status::{Activity, Phase, Reason},
        time::{Moment, Timestamp},
    },
    plan::{
        Desired, Observed, Run, Session, Verdict, Will,
        activity::{self, Look, Seen},
        fleet::{self, Decisions, Mode},
        memory::Relief,
        registered, status,
        turn::Turn,
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

/// One session: what the plan decides by, what is remembered, and what people see.
#[derive(Debug)]
pub struct Entry {
    /// Desired, observed, history.
    pub plan: Session,
    /// What outlives the daemon.
    pub memory: Memory,
    /// The last good spec as it was written, to be resolved again when the config changes.
    pub written: Option<Arc<WrittenSpec>>,
    /// What is wrong with the file now.
    pub spec_error: Option<SpecError>,
    /// What the fleet decided last.
    pub verdict: Option<Verdict>,
    /// The run that lives.
    pub run: Option<RunFacts>,
    /// Its keeper has ended, and what it left is still to be looked at.
    pub run_gone: bool,
    /// Its keeper was started by an earlier daemon, so its start pipe is closed: its files are looked at instead.
    pub adopted: bool,
    /// Its keeper was lost, and what that left is being ended.
    pub losing: bool,
    /// What the run that lives was started with.
    pub launched: Option<Digest>,
    /// How the agent of the run that lives was started; absent where it is none.
    pub agent_start: Option<AgentStart>,
    /// The limits of output files that its keeper knows.
    pub logs: Option<Logs>,
    /// The limits of its processes that its keeper knows.
    pub limits: Option<Limits>,
    /// The process of it that was last found outside its cgroup.
    pub escaped: Option<ProcessId>,
    /// A keeper that has the name without its files being where they belong.
    pub stray: Option<ProcessId>,
    /// What a keeper that could not start its command reported, in case it can record it nowhere.
    pub start_error: Option<StartError>,
    /// What the agent of the last run said of itself, beside what it does.
    pub agent: AgentFacts,
    /// The repository that the run works in.
    pub repository: Repository,
    /// What people see.
    pub shown: Shown,
}

/// The limits of a session's processes that the kernel keeps, where it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    memory: Limit<Size>,
    processes: Limit<u32>,
    cpu_weight: u16,
}

impl Limits {
    /// As a spec has them.
    pub fn of(spec: &SessionSpec) -> Self {
        Self { memory: spec.max_memory, processes: spec.max_processes, cpu_weight: spec.cpu_weight }
    }
}

/// What is wrong with a spec file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// Uid of the file's owner: its lines are for them and root.
    pub owner: u32,
    /// What is wrong.
    pub error: Diagnostics,
}

/// What is known of a run that lives, beyond what the plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFacts {
    /// The keeper, as soon as there is one.
    pub keeper: Option<ProcessId>,
    /// The main process.
    pub child: Option<ProcessId>,
    /// Uid that it runs as.
    pub uid: Option<u32>,
    /// When it was started.
    pub started_at: Timestamp,
}

/// What people see of a session; changes only by [`Store::edit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
    /// Since when it is in this phase.
    pub since: Timestamp,
    /// What it is doing, while it runs.
    pub activity: Option<Activity>,
    invalid: bool,
    registered: bool,
    /// What was measured, as far as it is news.
    pub measured: Option<Measured>,
}

/// What looks measured, as far as a change of it is news to those who watch. The last look itself has it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measured {
    memory: u64,
    processes: u32,
    attached: u32,
    /// In whole percents of a core.
    cpu: u32,
}

impl Measured {
    /// The change is news from 1 MiB and 1 % of what was told on; and in the use of the processor from 1 % of a
    /// core and a tenth of what was told on.
    fn of(seen: &Seen, told: Option<Self>) -> Self {
        let Look { memory, processes, attached, .. } = seen.look;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let cpu = seen.cpu_percent.round() as u32;
        let Some(told) = told else { return Self { memory: memory.bytes, processes, attached, cpu } };
        let same_memory = memory.bytes.abs_diff(told.memory) <= (1 << 20).max(told.memory / 100);
        let same_cpu = cpu.abs_diff(told.cpu) <= told.cpu / 10;
        Self {
            memory: if same_memory { told.memory } else { memory.bytes },
            processes,
            attached,
            cpu: if same_cpu { told.cpu } else { cpu },
        }
    }
}

impl Entry {
    /// A session as it is known from its memory.
    pub fn new(plan: Session, memory: Memory, clock: &Clock) -> Self {
        let mut entry = Self {
            plan,
            memory,
            written: None,
            spec_error: None,
            verdict: None,
            run: None,
            run_gone: false,
            adopted: false,
            losing: false,
            launched: None,
            agent_start: None,
            logs: None,
            limits: None,
            escaped: None,
            stray: None,
            start_error: None,
            agent: AgentFacts::default(),
            repository: Repository::default(),
            shown: Shown {
                phase: Phase::Pending,
                reason: Reason::Starting,
                message: String::new(),
                since: clock.wall(),
                activity: None,
                invalid: false,
                registered: false,
                measured: None,
            },
        };
        entry.shown = entry.derive(clock);
        entry
    }

    /// The run that this entry was launched with, as far as it is known when it begins.
    pub fn started(&self, run_id: RunId, since: Moment) -> Run {
        let begun = self.memory.begun.as_ref().filter(|begun| begun.run_id == run_id);
        let launch = self.launched.clone().unwrap_or_else(|| Digest(String::new()));
        Run {
            run_id,
            generation: begun.map_or(0, |begun| begun.generation),
            launch,
            since,
            said: None,
            turn: Turn::after(self.memory.turns),
            seen: None,
        }
    }

    /// Whether what is observed is what was decided, so that there is nothing to do but to wait for news.
    pub fn is_settled(&self) -> bool {
        !self.run_gone
            && matches!(
                (&self.verdict, &self.plan.observed),
                (Some(Verdict::Run(_)), Observed::Running(_))
                    | (Some(Verdict::Wait(_) | Verdict::Done(_)) | None, Observed::Absent)
            )
    }

    /// What a person asked for.
    pub fn will(&self) -> Will {
        match &self.plan.desired {
            Desired::Spec(wanted) => wanted.will,
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
                self.memory.will.into()
            }
        }
    }

    /// What looks at the run that lives showed.
    pub fn seen(&self) -> Option<&Seen> {
        match &self.plan.observed {
            Observed::Running(run) | Observed::Stopping { run, .. } => run.seen.as_ref(),
            Observed::Absent | Observed::Starting { .. } | Observed::Unknown { .. } => None,
        }
    }

    fn memory_in_use(&self) -> u64 {
        self.seen().map_or(0, |seen| seen.look.memory.bytes)
    }

    fn derive(&self, clock: &Clock) -> Shown {
        let (phase, reason, message) = status::derive(&self.plan, self.verdict.as_ref(), clock.now());
        let activity = match (&self.plan.observed, &self.plan.desired) {
            (Observed::Running(run), Desired::Registered(_)) => Some(registered::doing(run)),
            (Observed::Running(run), _) => Some(activity::doing(run)),
            _ => None,
        };
        let since = match (&self.plan.observed, &self.plan.history.last) {
            _ if phase == self.shown.phase => self.shown.since,
            // What began or ended while no daemon looked did so then, not when it was found out.
            (Observed::Running(_), _) => self.run.map_or_else(|| clock.wall(), |run| run.started_at),
            (Observed::Absent, Some(last))
                if matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Evicted) =>
            {
                last.at
            }
            _ => clock.wall(),
        };
        let measured = self.seen().map(|seen| Measured::of(seen, self.shown.measured));
        let (invalid, registered) = (self.spec_error.is_some(), self.plan.is_registered());
        Shown { phase, reason, message, since, activity, invalid, registered, measured }
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
    use super::*;
    use crate::plan::activity::{Births, MemoryUse};

    fn seen(bytes: u64, cpu_percent: f32) -> Seen {
        let at = Moment::from_nanos(1);
        let look = Look {
            at,
            output: None,
            input: None,
            attached: 0,
            cpu: std::time::Duration::ZERO,
            births: Births::default(),
            stopped: false,
            processes: 1,
            memory: MemoryUse { bytes, exact: true },
        };
        Seen { cpu_percent, ..Seen::first(look, at) }
    }

    #[test]
    fn small_changes_of_what_is_measured_are_no_news_however_many() {
        const MIB: u64 = 1 << 20;
        let told = Measured::of(&seen(50 * MIB, 40.0), None);
        let mut now = told;
        for (memory, cpu) in [(50 * MIB + 4096, 40.4), (51 * MIB, 44.0), (49 * MIB, 36.0)] {
            now = Measured::of(&seen(memory, cpu), Some(now));
            assert_eq!(now, told);
        }
        assert_ne!(Measured::of(&seen(52 * MIB, 40.0), Some(told)), told);
        assert_ne!(Measured::of(&seen(50 * MIB, 50.0), Some(told)), told);
        let large = Measured::of(&seen(5000 * MIB, 0.0), None);
        assert_eq!(Measured::of(&seen(5040 * MIB, 0.4), Some(large)), large, "less than a hundredth");
        assert_ne!(Measured::of(&seen(5000 * MIB, 1.0), Some(large)), large, "it begins to work");
    }

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
