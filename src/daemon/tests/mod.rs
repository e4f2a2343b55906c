//! The daemon's core (store, controller, plan) on a machine without processes, under paused time: a back-off of an
//! hour passes in a millisecond, and no thread of ours runs beside it.
//!
//! Files are real, in a directory of each test's own: locks, records and state are what the daemon reads by.

use std::{path::Path, rc::Rc, time::Duration};

use tokio::{
    sync::{mpsc::unbounded_channel, oneshot},
    task::JoinHandle,
};

use super::{
    adopt::Here,
    clock::Clock,
    config_file::ConfigChange,
    core::{Daemon, Input},
    event_loop,
    events::Events,
    looks::{Looking, keep_looking},
    memory::{Instance, STATE_VERSION},
    metrics::Metrics,
    paths::Paths,
    repositories::Repositories,
    sends::Sends,
    server::{self, places::Places},
    shutdown, specs,
    store::{Entry, Store, World},
    turns::Interrupts,
    writer::Writer,
};
use crate::{
    api::{
        cause::Actor,
        config::{Config, Machine},
        control::Directories,
        name::{InstanceId, SessionName},
        spec::WrittenSpec,
        status::Phase,
    },
    controller::{self, Heartbeat},
    host::machine,
};
use keepers::FakeKeepers;
use looks::FakeLooker;

mod budgets;
mod changes;
mod conversations;
mod ends;
mod fleet;
mod keepers;
mod looks;
mod registered;
mod sends;
mod starts;
mod state;
mod stops;
mod turns;

/// Longer than anything here takes: simulated time costs nothing, and what never comes is an error and no hang.
const NEVER: Duration = Duration::from_secs(30 * 24 * 3600);

const MACHINE: Machine = Machine { memory: 24 << 30 };

/// A person, for requests.
const PERSON: Actor = Actor { uid: 1000, pid: 4711 };

/// A daemon with a turning loop, and the machine below it.
struct Field {
    daemon: Rc<Daemon<FakeKeepers>>,
    looker: FakeLooker,
    end: Option<oneshot::Sender<()>>,
    turning: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

/// Runs `test` with a daemon whose config file says `config`.
async fn with_daemon(config: &str, test: impl AsyncFnOnce(&mut Field)) {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let mut field = Field::new(config);
            test(&mut field).await;
            field.end_loop().await;
        })
        .await;
}

impl Field {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let directories = Directories {
            config: at("atm.yaml"),
            sessions: at("specs"),
            runtime: at("run"),
            state: at("state"),
            log: at("log"),
        };
        let paths = Rc::new(Paths::new(directories, None));
        for made in [paths.locks(), paths.runs(), paths.memories(), paths.retired_memories()] {
            std::fs::create_dir_all(made).unwrap();
        }
        let clock = Clock::start();
        let (inputs, inbox) = unbounded_channel();
        let trouble = inputs.clone();
        let instance = InstanceId::generate();
        let here = Here { instance, boot: clock.boot().clone(), pid_namespace: machine::pid_namespace() };
        let looker = FakeLooker::new(clock.clone(), inputs.clone());
        let daemon = Rc::new(Daemon {
            looking: Looking::new(Box::new(looker.clone())),
            interrupts: Interrupts::default(),
            sends: Sends::default(),
            repositories: Repositories::none(),
            store: Store::new(Config::defaults(MACHINE), clock.clone()),
            keepers: FakeKeepers::new(Rc::clone(&paths), clock.clone(), inputs.clone()),
            events: Rc::new(Events::load(&paths.events())),
            writer: Writer::start_local(Box::new(move |told| drop(trouble.send(Input::Trouble(told))))),
            clock,
            paths,
            here,
            machine: MACHINE,
            base_env: std::collections::BTreeMap::new(),
            uid: 0,
            system: false,
            cgroup: None,
            containment: "procfs".into(),
            program: Some("/usr/bin/atm".into()),
            inputs,
            specs: None.into(),
            instance: Instance { version: STATE_VERSION, instance, specs: None, runs: None }.into(),
            registry: std::cell::RefCell::default(),
            metrics: Metrics::new(Heartbeat::new(), Places::new(server::ROOM)).unwrap(),
            last_list: server::LastList::default(),
        });
        let (end, ended) = oneshot::channel();
        let loops = Rc::clone(&daemon);
        let turning = tokio::task::spawn_local(async move {
            let config = controller::Config::default();
            let end = async { drop(ended.await) };
            let heartbeat = loops.metrics.heartbeat().clone();
            event_loop::turn(&loops, inbox, end, config, &heartbeat).await;
        });
        tokio::task::spawn_local(event_loop::resync(Rc::clone(&daemon)));
        tokio::task::spawn_local(keep_looking(Rc::clone(&daemon)));
        let field = Self { daemon, looker, end: Some(end), turning: Some(turning), _directory: directory };
        field.daemon.store.edit_world(|world| world.sources.looks = true); // nothing was found running
        field.config(config);
        field.tell(specs::Change::FirstListing);
        field
    }

    /// The loop takes no further key, and ends.
    async fn end_loop(&mut self) {
        drop(self.end.take());
        if let Some(turning) = self.turning.take() {
            turning.await.unwrap();
        }
    }

    fn tell(&self, change: specs::Change) {
        self.daemon.inputs.send(Input::Source(Box::new(specs::Update::Spec(change)))).unwrap();
    }

    /// The config file says `text` from now on.
    fn config(&self, text: &str) {
        let config = Config::parse(text, Path::new("atm.yaml"), MACHINE).unwrap();
        let change = ConfigChange::Good(Box::new(config));
        self.daemon.inputs.send(Input::Source(Box::new(specs::Update::Config(change)))).unwrap();
    }

    /// The spec file of `name` says `text` from now on.
    fn write(&self, name: &str, text: &str) -> SessionName {
        let name = SessionName::new(name).unwrap();
        let file = self.daemon.paths.directories.sessions.join(format!("{name}.yaml"));
        let spec = WrittenSpec::parse(text, &file).unwrap();
        let (text, owner) = (text.to_owned(), 0);
        self.tell(specs::Change::Good { name: name.clone(), spec, text, file, owner, remembered: false });
        name
    }

    fn remove(&self, name: &SessionName) {
        self.tell(specs::Change::Removed { name: name.clone() });
    }

    fn keepers(&self) -> &FakeKeepers {
        &self.daemon.keepers
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits in simulated time.
    async fn until(&self, what: &str, condition: impl Fn(&World) -> bool) {
        let reader = self.daemon.store.reader();
        let waited = tokio::time::timeout(NEVER, reader.wait_until(condition)).await;
        assert!(waited.is_ok(), "{what} never came true: {}", self.shows());
    }

    async fn until_phase(&self, name: &SessionName, phase: Phase) {
        let what = format!("{name} {phase}");
        self.until(&what, |world| world.sessions.get(name).is_some_and(|e| e.shown.phase == phase)).await;
    }

    fn entry<T>(&self, name: &SessionName, look: impl FnOnce(&Entry) -> T) -> T {
        look(&self.daemon.store.look().sessions[name])
    }

    /// What people see, a word or two each: `a Running, b Pending/MaxSessions`.
    fn shows(&self) -> String {
        let world = self.daemon.store.look();
        let show = |(name, entry): (&SessionName, &Entry)| match entry.shown.phase {
            Phase::Running => format!("{name} Running"),
            phase => format!("{name} {phase}/{}", entry.shown.reason),
        };
        world.sessions.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    /// The messages of all events of one kind about `name`.
    fn told(&self, name: &SessionName, kind: crate::api::event::EventKind) -> Vec<String> {
        let events = self.daemon.events.after(0);
        let about = events.iter().filter(|event| event.session.as_ref() == Some(name) && event.kind == kind);
        about.map(|event| event.message.clone()).collect()
    }

    /// Ends all sessions, as the daemon's own end does.
    async fn shut_down(&mut self) {
        shutdown::end_all(&self.daemon);
        let reader = self.daemon.store.reader();
        assert!(tokio::time::timeout(NEVER, shutdown::all_gone(&reader)).await.is_ok(), "{}", self.shows());
        self.end_loop().await;
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
