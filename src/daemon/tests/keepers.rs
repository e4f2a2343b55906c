//! Keepers without a process: what the daemon can know of one, which is its lock, its files, and what it says.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::File,
    io,
    rc::Rc,
    time::Duration,
};

use tokio::sync::mpsc::UnboundedSender;

use super::super::{
    clock::Clock,
    core::Input,
    keepers::{ANSWER_WITHIN, AskError, Keepers, LaunchError, Report},
    paths::Paths,
};
use crate::{
    api::{
        cause::Cause,
        keeper::{Request, StartReport},
        name::{RunId, SessionName},
        record::{Exit, ExitRecord, Intent, ProcessId, RECORD_VERSION, Record, Stopping},
        time::Moment,
    },
    host::{
        files::{self, Durability},
        lock,
        process::{Process, identify},
    },
    keeper::client::ClientError,
};

/// How one session's keepers behave.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// From its start to its report; `None`: never.
    pub reports: Option<Duration>,
    /// From a request to its answer; `None`: never, and nothing is done.
    pub answers: Option<Duration>,
    /// From the first signal of a stop to the end of its session, unless SIGKILL comes first.
    pub ends: Duration,
    /// Whether it says no to a changed spec.
    pub refuses_updates: bool,
}

const WELL_BEHAVED: Manner = Manner {
    reports: Some(Duration::from_millis(1)),
    answers: Some(Duration::from_millis(1)),
    ends: Duration::from_millis(5),
    refuses_updates: false,
};

/// All keepers of the machine.
#[derive(Clone)]
pub struct FakeKeepers(Rc<Inner>);

struct Inner {
    paths: Rc<Paths>,
    clock: Clock,
    inputs: UnboundedSender<Input>,
    live: RefCell<BTreeMap<SessionName, Held>>,
    manners: RefCell<BTreeMap<SessionName, Manner>>,
    started: RefCell<Vec<(SessionName, Moment)>>,
    ended: Cell<u32>,
    refused: Cell<u32>,
    signals: RefCell<Vec<(SessionName, i32)>>,
    interrupted: RefCell<Vec<(SessionName, Moment)>>,
    most: Cell<usize>,
}

/// One keeper, with the one session that it holds.
struct Held {
    lock: File,
    record: Record,
    reported: bool,
}

impl FakeKeepers {
    pub fn new(paths: Rc<Paths>, clock: Clock, inputs: UnboundedSender<Input>) -> Self {
        Self(Rc::new(Inner {
            paths,
            clock,
            inputs,
            live: RefCell::default(),
            manners: RefCell::default(),
            started: RefCell::default(),
            ended: Cell::new(0),
            refused: Cell::new(0),
            signals: RefCell::default(),
            interrupted: RefCell::default(),
            most: Cell::new(0),
        }))
    }

    /// When the sessions were interrupted since the last look.
    pub fn interruptions(&self) -> Vec<(SessionName, Moment)> {
        std::mem::take(&mut self.0.interrupted.borrow_mut())
    }

    /// How keepers of `name` behave from now on.
    pub fn behave(&self, name: &SessionName, change: impl FnOnce(&mut Manner)) {
        change(self.0.manners.borrow_mut().entry(name.clone()).or_insert(WELL_BEHAVED));
    }

    fn manner(&self, name: &SessionName) -> Manner {
        self.0.manners.borrow().get(name).copied().unwrap_or(WELL_BEHAVED)
    }

    /// Names that are held now.
    pub fn live(&self) -> Vec<SessionName> {
        self.0.live.borrow().keys().cloned().collect()
    }

    /// The most that were held at once.
    pub fn most(&self) -> usize {
        self.0.most.get()
    }

    /// When keepers of `name` were started.
    pub fn starts(&self, name: &SessionName) -> Vec<Moment> {
        let started = self.0.started.borrow();
        started.iter().filter(|(one, _)| one == name).map(|(_, at)| *at).collect()
    }

    /// How many runs have ended.
    pub fn ended(&self) -> u32 {
        self.0.ended.get()
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u32 {
        self.0.refused.get()
    }

    /// Signals that keepers of `name` got.
    pub fn signals(&self, name: &SessionName) -> Vec<i32> {
        let signals = self.0.signals.borrow();
        signals.iter().filter(|(one, _)| one == name).map(|(_, signal)| *signal).collect()
    }

    /// The main process of `name` ends.
    pub fn exit(&self, name: &SessionName, exit: Exit) {
        let run_id = self.0.live.borrow()[name].record.intent.run_id;
        self.end(name, run_id, Some(exit), None);
    }

    /// The kernel kills all of `name`, and its keeper says why.
    pub fn exhaust(&self, name: &SessionName, cause: Cause) {
        let run_id = self.0.live.borrow()[name].record.intent.run_id;
        self.end(name, run_id, Some(Exit::Signal(9)), Some(cause));
    }

    /// The keeper of `name` ends before it has a record or a word to say.
    pub fn vanish(&self, name: &SessionName) {
        let held = self.0.live.borrow_mut().remove(name).expect("it lives");
        assert!(!held.reported, "one that has a session does not go without a word");
        std::fs::remove_file(self.0.paths.run(name).record()).unwrap();
        let run_id = held.record.intent.run_id;
        drop(held);
        self.say(Report::Gone { name: name.clone(), run_id });
    }

    fn say(&self, report: Report) {
        let _ = self.0.inputs.send(Input::Keeper(report)); // the loop has ended
    }

    /// The run is over: first the exit record, then the lock, then the keeper.
    fn end(&self, name: &SessionName, run_id: RunId, exit: Option<Exit>, cause: Option<Cause>) {
        let mut live = self.0.live.borrow_mut();
        let Some(held) = live.get(name).filter(|held| held.record.intent.run_id == run_id) else { return };
        let now = self.0.clock.now();
        let told = ExitRecord {
            version: RECORD_VERSION,
            run_id,
            exit,
            start_error: None,
            cause: held.record.stopping.as_ref().map(|stopping| stopping.cause.clone()).or(cause),
            leftovers: Vec::new(),
            lost_output: 0,
            escaped: Vec::new(),
            cpu_micros: 0,
            max_rss_kib: 0,
            started_at: Some(held.record.started_at),
            ended_at: self.0.clock.wall(),
            ran_millis: u64::try_from((now - held.record.started).as_millis()).unwrap(),
        };
        write(&self.0.paths.run(name).exit(), &told);
        if let Some(held) = live.remove(name) {
            // Closing it would not do: other tests of this process fork, and their children have a copy for a while.
            held.lock.unlock().unwrap();
        }
        drop(live);
        self.0.ended.set(self.0.ended.get() + 1);
        self.say(Report::Gone { name: name.clone(), run_id });
    }

    fn after(&self, delay: Duration, act: impl FnOnce(&Self) + 'static) {
        let keepers = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            act(&keepers);
        });
    }

    /// A stop: the cause is recorded first, and a second one can only shorten.
    fn stop(&self, name: &SessionName, cause: Cause, grace: Option<Duration>) {
        let mut live = self.0.live.borrow_mut();
        let Some(held) = live.get_mut(name) else { return };
        let grace = grace.unwrap_or(held.record.intent.spec.termination_grace_period.0);
        let now = self.0.clock.now();
        let kill_at = now.checked_add(grace).unwrap();
        let stopping =
            held.record.stopping.get_or_insert(Stopping { cause, since: now, kill_at, unkillable: false });
        stopping.kill_at = stopping.kill_at.min(kill_at);
        write(&self.0.paths.run(name).record(), &held.record);
        let (name, run_id) = (name.clone(), held.record.intent.run_id);
        let ends = self.manner(&name).ends;
        let (delay, signal) = if ends <= grace { (ends, 15) } else { (grace, 9) };
        self.after(delay, move |keepers| keepers.end(&name, run_id, Some(Exit::Signal(signal)), None));
    }

    fn report_start(&self, name: &SessionName, run_id: RunId) {
        let mut live = self.0.live.borrow_mut();
        let Some(held) = live.get_mut(name).filter(|held| held.record.intent.run_id == run_id) else {
            return;
        };
        held.reported = true;
        held.record.executed = true;
        write(&self.0.paths.run(name).record(), &held.record);
        let Record { keeper, child, uid, started, .. } = held.record;
        let working_dir = held.record.working_dir.clone();
        let outcome = StartReport::Running { keeper, child, uid, working_dir, started };
        self.say(Report::Started { name: name.clone(), run_id, outcome });
    }
}

fn write<T: serde::Serialize>(path: &std::path::Path, what: &T) {
    files::replace(path, &serde_json::to_vec(what).unwrap(), Durability::Atomic).unwrap();
}

/// What stands for keepers and their children where a file names one: this test itself.
fn myself() -> ProcessId {
    identify(std::process::id().cast_signed()).unwrap()
}

impl Keepers for FakeKeepers {
    fn start(&self, intent: &Intent) -> Result<(), LaunchError> {
        let name = &intent.name;
        let path = self.0.paths.lock(name);
        let Some(held) = lock::try_take(&path).unwrap() else { return Err(LaunchError::NameTaken { path }) };
        let run = self.0.paths.run(name);
        files::make_empty_directory(run.directory(), 0o700).unwrap();
        write(&run.intent(), intent);
        let record = Record {
            working_dir: None,
            intent: intent.clone(),
            keeper: myself(),
            child: myself(),
            uid: 0,
            started_at: self.0.clock.wall(),
            started: self.0.clock.now(),
            executed: false,
            stopping: None,
            members: Vec::new(),
            group: None,
            warnings: Vec::new(),
        };
        write(&run.record(), &record);
        self.0.started.borrow_mut().push((name.clone(), self.0.clock.now()));
        let mut live = self.0.live.borrow_mut();
        live.insert(name.clone(), Held { lock: held, record, reported: false });
        self.0.most.set(self.0.most.get().max(live.len()));
        if let Some(delay) = self.manner(name).reports {
            let (name, run_id) = (name.clone(), intent.run_id);
            self.after(delay, move |keepers| keepers.report_start(&name, run_id));
        }
        Ok(())
    }

    fn adopt(&self, _name: SessionName, _run_id: RunId, _keeper: Process) -> io::Result<()> {
        Ok(()) // its end is reported like that of any other
    }

    fn signal_keeper(&self, name: &SessionName, signal: i32) -> io::Result<()> {
        self.0.signals.borrow_mut().push((name.clone(), signal));
        Ok(())
    }

    fn above(&self, _chain: &[ProcessId]) -> Option<SessionName> {
        None // there is no process
    }

    fn clear(&self, name: &SessionName) {
        let _ = std::fs::remove_dir_all(self.0.paths.run(name).directory()); // may never have been made
    }

    fn orphans(&self) -> Vec<ProcessId> {
        Vec::new()
    }

    fn give_up_on(&self, _orphans: &[ProcessId]) {}

    async fn ask(&self, name: &SessionName, request: Request) -> Result<(), AskError> {
        let path = || self.0.paths.run(name).directory().display().to_string();
        let unreachable = |source| Err(AskError::Unreachable { name: name.clone(), source });
        if !self.0.live.borrow().contains_key(name) {
            return unreachable(ClientError::NotRunning(path()));
        }
        let manner = self.manner(name);
        tokio::time::sleep(manner.answers.unwrap_or(ANSWER_WITHIN).min(ANSWER_WITHIN)).await;
        if !self.0.live.borrow().contains_key(name) {
            return unreachable(ClientError::Garbled(path())); // it ended while it was asked
        }
        match request {
            _ if manner.answers.is_none() => {}
            Request::Stop { cause, signal: _, grace_millis } => {
                self.stop(name, cause, grace_millis.map(Duration::from_millis));
            }
            Request::Update { .. } if manner.refuses_updates => {
                self.0.refused.set(self.0.refused.get() + 1);
                let message = "cannot write its record".into();
                return Err(AskError::Refused { name: name.clone(), message });
            }
            Request::Update { .. }
            | Request::Signal { .. }
            | Request::Detach
            | Request::Peek { .. }
            | Request::Type { .. }
            | Request::Ping => {}
            Request::Interrupt { not_after, .. } => {
                if self.0.clock.now() > not_after {
                    return Err(AskError::Late { name: name.clone() });
                }
                self.0.interrupted.borrow_mut().push((name.clone(), self.0.clock.now()));
                // From there the answer has as long a way back.
                tokio::time::sleep(manner.answers.unwrap_or_default()).await;
            }
        }
        // One that answers too late has done what it was asked for all the same.
        match manner.answers {
            Some(delay) if delay < ANSWER_WITHIN => Ok(()),
            Some(_) | None => unreachable(ClientError::Silent(path())),
        }
    }
}
