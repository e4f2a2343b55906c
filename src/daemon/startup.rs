//! From nothing to a turning loop: what an earlier daemon left is classified before anything is decided.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::LocalSet,
};

use super::{
    Options, adopt,
    adopt::{Findings, Found, Here},
    clock::Clock,
    core::{Daemon, Input},
    events::Events,
    fdstore::{self, Control},
    keepers::{LinuxKeepers, Report},
    logging, manager,
    memory::{self, Instance, Loaded, Memory, STATE_VERSION},
    paths::Paths,
    prune::prune,
    server, shutdown,
    shutdown::Signals,
    specs,
    store::{Entry, Store},
    systemd,
    writer::Writer,
};
use crate::{
    api::{
        config::Config,
        event::EventKind,
        name::{InstanceId, SessionName},
        record::ENV_SOCKET,
        spec::WrittenSpec,
    },
    controller::{self, Heartbeat},
    host::{
        clock, delegation, descriptors, errors::words, files, lock, machine, poll, process::Process, reaper,
    },
    plan::{Desired, Session, Wanted, fleet::Mode},
};

/// Reconciles at once. They wait for keepers, not for each other: a keeper that hangs holds one of these.
const CONCURRENCY: usize = 1024;

/// How long a lock whose holder is dead is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// Another daemon has the directory.
    #[error("another atm daemon{} works in {}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), directory.display())]
    AlreadyRunning {
        /// As it says of itself.
        pid: Option<i32>,
        /// Its directory.
        directory: PathBuf,
    },
    /// The machine said no.
    #[error("cannot {action} {}", path.display())]
    Host {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

fn host(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartupError {
    let path = path.to_owned();
    move |source| StartupError::Host { action, path, source }
}

/// Runs the daemon until it is told to end.
pub fn main(options: &Options) -> Result<ExitCode, StartupError> {
    let handed = descriptors::take_listening();
    let _flush = logging::start();
    let paths = Rc::new(Paths::new(options.directories.clone(), options.socket.clone()));
    let runs_are_kept = paths.runs().is_dir();
    make_directories(&paths, options.system)?;
    // Both directories: two daemons must share neither the running sessions nor what is remembered of them.
    let _locks = [
        take_lock(&paths.daemon_lock(), &paths.directories.runtime)?,
        take_lock(&paths.directories.state.join("lock"), &paths.directories.state)?,
    ];
    if let Err(error) = reaper::become_subreaper() {
        tracing::warn!(%error, "cannot become subreaper: what a dead keeper leaves may be missed");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(host("start the event loop in", &paths.directories.runtime))?;
    let local = LocalSet::new();
    let outcome = runtime.block_on(local.run_until(run(options, paths, runs_are_kept, handed)));
    // Threads that hang in a system call (a dead network file system) must not keep the daemon from ending.
    runtime.shutdown_background();
    outcome
}

fn make_directories(paths: &Paths, system: bool) -> Result<(), StartupError> {
    // In system mode every user may reach the socket; what is below is closed to them one by one.
    let open = if system { 0o755 } else { 0o700 };
    let directories = &paths.directories;
    for (directory, mode) in [
        (directories.runtime.clone(), open),
        (paths.locks(), 0o700),
        (paths.runs(), if system { 0o711 } else { 0o700 }),
        (directories.state.clone(), 0o700),
    ] {
        files::make_directory(&directory, mode).map_err(host("make", &directory))?;
    }
    // What lives can be held without these; what is to start and needs one says so.
    for (directory, mode) in
        [(paths.memories(), 0o700), (paths.retired_memories(), 0o700), (directories.log.clone(), open)]
    {
        if let Err(error) = files::make_directory(&directory, mode) {
            tracing::error!(path = %directory.display(), %error, "cannot make a directory");
        }
    }
    Ok(())
}

fn take_lock(path: &Path, directory: &Path) -> Result<File, StartupError> {
    let begun = clock::monotonic();
    loop {
        if let Some(mut held) = lock::try_take(path).map_err(host("lock", path))? {
            // For whoever meets the lock: who has it.
            let pid = std::process::id();
            // A full or read-only disk is no reason to leave sessions alone.
            if let Err(error) = held.set_len(0).and_then(|()| writeln!(held, "{pid}")) {
                tracing::warn!(path = %path.display(), %error, "cannot write who holds the lock");
            }
            return Ok(held);
        }
        let pid = lock_holder(path);
        let lives = pid.is_some_and(|pid| Process::open(pid).is_ok_and(|p| !p.has_ended().unwrap_or(false)));
        // A daemon that was killed while it started a keeper leaves a copy of its lock to that child, until the
        // child executes: an instant.
        if lives || clock::monotonic().since(begun) > LOCK_PATIENCE {
            return Err(StartupError::AlreadyRunning { pid, directory: directory.to_owned() });
        }
        poll::wait(&[], Some(Duration::from_millis(5))).map_err(host("lock", path))?;
    }
}

/// Who says to have the lock.
fn lock_holder(path: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(path).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Reads or makes the instance, and says what is wrong with its file.
///
/// One whose file is damaged or gone is told by the runs: the runtime directory is ours alone. A state directory
/// that never had one is another matter: what lives in the runtime directory then belongs to another.
fn load_instance(paths: &Paths) -> (Instance, Vec<memory::Damaged>) {
    let path = paths.instance();
    let mut problems = Vec::new();
    match memory::read_versioned::<Instance>(&path, STATE_VERSION) {
        Ok(Some(instance)) => return (instance, problems),
        Ok(None) => {}
        Err(damaged) => problems.push(damaged),
    }
    let is_lost = !problems.is_empty() || paths.events().exists();
    let known = is_lost.then(|| adopt::instance_of_runs(paths)).flatten();
    let id = known.unwrap_or_else(InstanceId::generate);
    let instance = Instance { version: STATE_VERSION, instance: id, specs: None };
    let write = || {
        let bytes = serde_json::to_vec(&instance)?;
        files::replace(&path, &bytes, files::Durability::Synced)
    };
    if let Err(error) = write() {
        // The spec directory's identity is written here too, again and again until that succeeds; before it, no
        // session is started, as none could be remembered.
        let message = format!("cannot write {}: {}", path.display(), words(&error));
        problems.push(memory::Damaged { what: "instance".into(), message });
    }
    (instance, problems)
}

async fn run(
    options: &Options,
    paths: Rc<Paths>,
    runs_are_kept: bool,
    handed: Vec<(String, OwnedFd)>,
) -> Result<ExitCode, StartupError> {
    let clock = Clock::start();
    let signals = Signals::listen().map_err(host("listen for signals in", &paths.directories.runtime))?;
    let (instance, problems) = load_instance(&paths);
    let mut loaded = memory::load(&paths.memories()).map_err(host("read", &paths.memories()))?;
    let here = Here {
        instance: instance.instance,
        boot: clock.boot().clone(),
        pid_namespace: machine::pid_namespace(),
    };
    let findings = adopt::classify(&paths, &here).map_err(host("read", &paths.runs()))?;

    let (inputs, inbox) = unbounded_channel();
    let daemon = make_daemon(options, &paths, clock, here, instance, &inputs)?;
    let damaged = problems.into_iter().chain(loaded.damaged.iter().cloned());
    for problem in damaged.chain(findings.damaged.iter().cloned()) {
        daemon.tell_all(EventKind::RecordDamaged, format!("{}: {}", problem.what, problem.message));
    }
    recover(&daemon, &mut loaded, &findings);
    remember(&daemon, loaded, &findings);
    take_over_all(&daemon, findings, runs_are_kept);
    let known = known_specs(&daemon);

    start_sources(&daemon, options, known)?;
    let control = fdstore::listen(&daemon.paths.socket, handed).await;
    let Control { listener, is_activated } = control.map_err(host("bind", &daemon.paths.socket))?;
    tokio::task::spawn_local(server::serve(Rc::clone(&daemon), listener));
    tokio::task::spawn_local(reap_orphans(Rc::clone(&daemon)));
    tokio::task::spawn_local(resync(Rc::clone(&daemon)));
    tokio::task::spawn_local(prune_hourly(Rc::clone(&daemon)));
    tokio::task::spawn_local(announce(Rc::clone(&daemon)));
    tokio::task::spawn_local(manager::watch_unit(Rc::clone(&daemon)));

    turn(&daemon, inbox, signals).await;
    // What is still to be written is written before the end.
    if let Err(error) = daemon.writer.flush().await {
        tracing::error!(%error, "the last state could not be written");
    }
    // A client is then told at once that nobody is there; where somebody is soon, it waits for them.
    let comes_back = systemd::is_service() && !matches!(daemon.store.look().mode, Mode::EndAll(_));
    if !is_activated && !comes_back {
        let _ = std::fs::remove_file(&daemon.paths.socket);
    }
    Ok(ExitCode::SUCCESS)
}

fn make_daemon(
    options: &Options,
    paths: &Rc<Paths>,
    clock: Clock,
    here: Here,
    instance: Instance,
    inputs: &UnboundedSender<Input>,
) -> Result<Rc<Daemon<LinuxKeepers>>, StartupError> {
    let machine = machine::read();
    let (reports, mut reported) = unbounded_channel::<Report>();
    let forward = inputs.clone();
    tokio::task::spawn_local(async move {
        while let Some(report) = reported.recv().await {
            let _ = forward.send(Input::Keeper(report)); // the loop has ended
        }
    });
    let trouble = inputs.clone();
    let (writer, _thread) = Writer::start(Box::new(move |trouble_now| {
        let _ = trouble.send(Input::Trouble(trouble_now)); // the loop has ended
    }))
    .map_err(host("start the state thread for", &paths.directories.state))?;
    let program = std::env::current_exe().map_err(host("find the program of", &paths.directories.runtime))?;
    let (cgroup, containment) = containment(options.cgroup.clone());
    Ok(Rc::new(Daemon {
        store: Store::new(Config::defaults(machine), clock.clone()),
        keepers: LinuxKeepers::new(Rc::clone(paths), program, reports),
        events: Rc::new(Events::load(&paths.events())),
        writer,
        clock,
        paths: Rc::clone(paths),
        here,
        machine,
        base_env: base_env(paths),
        uid: machine::uid(),
        system: options.system,
        cgroup,
        containment,
        inputs: inputs.clone(),
        specs: None.into(),
        instance: instance.into(),
    }))
}

/// Where sessions' groups are made, and how that is told.
fn containment(asked: Option<PathBuf>) -> (Option<PathBuf>, String) {
    if asked.is_some() {
        return (asked, "cgroup".into());
    }
    // Anywhere else a group may be others' as well, and their sessions may have the names of ours.
    match systemd::is_service().then(delegation::sessions).flatten() {
        None => (None, "procfs".into()),
        Some(sessions) if sessions.controllers.is_empty() => (Some(sessions.path), "cgroup".into()),
        Some(sessions) => (Some(sessions.path), format!("cgroup ({})", sessions.controllers.join(", "))),
    }
}

/// What every session's environment begins with: of the daemon's own only what is the same for everybody.
fn base_env(paths: &Paths) -> BTreeMap<String, String> {
    const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut env = BTreeMap::new();
    let path = std::env::var("PATH").unwrap_or_default();
    env.insert("PATH".into(), if path.is_empty() { SYSTEM_PATH.into() } else { path });
    env.insert("LANG".into(), std::env::var("LANG").unwrap_or_else(|_| "C.UTF-8".into()));
    env.insert(ENV_SOCKET.into(), paths.socket.display().to_string());
    env
}

/// Fills the store with what is remembered, and with names that only the runtime directory knows.
///
/// What may live keeps its last good spec from the first moment; what does not is wanted again when its file is
/// seen, and not before: the file may have been removed while no daemon looked.
fn remember(daemon: &Daemon<LinuxKeepers>, loaded: Loaded, findings: &Findings) {
    for (name, memory) in loaded.memories {
        let may_live = findings.names.get(&name).is_some_and(Found::may_live);
        let desired = if memory.spec.is_some() { Desired::Unseen } else { Desired::NeverGood };
        let history = memory.recall(daemon.clock.boot());
        let mut session = Session { desired, history, ..Session::unknown() };
        let mut written = None;
        // It was good when it was remembered; where this program reads it otherwise, the file decides.
        if let Some(good) = memory.spec.as_ref().filter(|_| may_live)
            && let Ok(spec) = WrittenSpec::parse(&good.text, &good.file)
        {
            session.desired = Desired::Spec(Wanted {
                spec: daemon.resolve(&name, &spec),
                generation: good.generation,
                launch: spec.launch_digest(),
                first_seen: memory.first_seen,
                will: memory.will.into(),
            });
            written = Some(Arc::new(spec));
        }
        let mut entry = Entry::new(session, memory, &daemon.clock);
        entry.written = written;
        daemon.store.insert(&name, entry);
    }
    for (name, found) in &findings.names {
        if found.may_live() && !daemon.store.look().sessions.contains_key(name) {
            daemon.store.insert(name, daemon.new_entry(Session::unknown()));
        }
    }
}

/// Takes over from the runs' own files what state does not know: it is written by a thread of its own, and a
/// daemon that is killed early leaves a run that state never heard of.
fn recover(daemon: &Daemon<LinuxKeepers>, loaded: &mut Loaded, findings: &Findings) {
    for (name, found) in &findings.names {
        let told = match found {
            Found::Live { record, .. } | Found::Lost { record } | Found::Interrupted { record } => {
                record.intent.source.clone()
            }
            Found::Ended { record, .. } => record.as_ref().and_then(|record| record.intent.source.clone()),
            Found::Settling { .. } => adopt::intent_of(&daemon.paths, name).and_then(|intent| intent.source),
            Found::Foreign { .. } | Found::Abandoned { .. } | Found::NeverStarted | Found::Nothing => None,
        };
        let Some(told) = told else { continue };
        let memory = loaded.memories.entry(name.clone()).or_insert_with(|| Memory::new(daemon.clock.wall()));
        if memory.spec.as_ref().is_none_or(|known| known.generation < told.generation) {
            memory.spec = Some(told);
        }
    }
}

/// Acts on every finding.
fn take_over_all(daemon: &Daemon<LinuxKeepers>, mut findings: Findings, runs_are_kept: bool) {
    let names: Vec<SessionName> = daemon.store.look().sessions.keys().cloned().collect();
    for name in names {
        let found = findings.names.remove(&name).unwrap_or(Found::Nothing);
        daemon.take_over_at_start(&name, found, runs_are_kept);
    }
}

/// What the source of specs is to know from before: it tells a spec that is gone from one that never was.
fn known_specs(daemon: &Daemon<LinuxKeepers>) -> Vec<specs::Known> {
    let world = daemon.store.look();
    let known = world.sessions.iter().filter_map(|(name, entry)| {
        let good = entry.memory.spec.as_ref()?;
        Some(specs::Known {
            name: name.clone(),
            file_name: good.file.file_name()?.to_str()?.to_owned(),
            owner: good.owner,
            digest: good.digest.clone(),
            text: good.text.clone(),
            live: entry.plan.observed.is_live(),
        })
    });
    known.collect()
}

fn start_sources(
    daemon: &Rc<Daemon<LinuxKeepers>>,
    options: &Options,
    known: Vec<specs::Known>,
) -> Result<(), StartupError> {
    let directories = &daemon.paths.directories;
    let machine = daemon.machine;
    let (updates, mut news) = unbounded_channel();
    let recorded = daemon.instance.borrow().specs;
    let source = specs::Options {
        directory: directories.sessions.clone(),
        mode: if options.system { 0o755 } else { 0o700 },
        rules: specs::Rules { system: options.system, uid: daemon.uid },
        recorded,
        known,
        config: directories.config.clone(),
        parse_config: Box::new(move |text, file| Config::parse(text, file, machine)),
        inotify: true,
    };
    let handle = specs::spawn(source, updates).map_err(host("watch", &directories.sessions))?;
    *daemon.specs.borrow_mut() = Some(handle);
    let inputs = daemon.inputs.clone();
    tokio::task::spawn_local(async move {
        while let Some(update) = news.recv().await {
            let _ = inputs.send(Input::Source(Box::new(update))); // the loop has ended
        }
        // Only a panic of that thread closes the channel while the loop turns.
        let _ = inputs.send(Input::SourceEnded);
    });
    Ok(())
}

/// Reaps what comes to the daemon from keepers that died.
async fn reap_orphans(daemon: Rc<Daemon<LinuxKeepers>>) {
    let mut children = match signal(SignalKind::child()) {
        Ok(children) => children,
        Err(error) => return tracing::warn!(%error, "cannot hear of orphaned processes"),
    };
    while children.recv().await.is_some() {
        daemon.keepers.reap_orphans();
    }
}

/// A full look at everything, in any case.
async fn resync(daemon: Rc<Daemon<LinuxKeepers>>) {
    let reader = daemon.store.reader();
    loop {
        let interval = daemon.store.look().config.resync_interval;
        // A changed interval holds from now, and not only after the one before is over.
        let changed = reader.wait_until(|world| world.config.resync_interval != interval);
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(interval.0.max(Duration::from_secs(1))) => {
                let _ = daemon.inputs.send(Input::Resync); // fails when the loop has ended
            }
        }
    }
}

/// Removes what is left of sessions that were forgotten long ago.
async fn prune_hourly(daemon: Rc<Daemon<LinuxKeepers>>) {
    daemon.store.reader().wait_until(|world| world.sources.all()).await;
    loop {
        let (known, max_age) = {
            let world = daemon.store.look();
            (world.sessions.keys().cloned().collect(), world.config.logs.max_age.0)
        };
        let paths = Paths::clone(&daemon.paths);
        let pruned = tokio::task::spawn_blocking(move || prune(&paths, &known, max_age)).await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(%error, "cannot remove what is left of forgotten sessions");
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}

/// Says that the daemon is up once every name is classified and every source has reported, and from then on
/// how things stand.
async fn announce(daemon: Rc<Daemon<LinuxKeepers>>) {
    let reader = daemon.store.reader();
    tokio::select! {
        () = reader.wait_until(|world| world.sources.all()) => {}
        () = systemd::extend() => {}
    }
    let known = reader.look().sessions.len();
    tracing::info!(sessions = known, socket = %daemon.paths.socket.display(), "ready");
    systemd::tell("READY=1").await;
    systemd::tell_status(reader).await;
}

/// The loop itself.
async fn turn(daemon: &Rc<Daemon<LinuxKeepers>>, inbox: UnboundedReceiver<Input>, signals: Signals) {
    let heard = stream::unfold(inbox, |mut inbox| async { Some((inbox.recv().await?, inbox)) });
    let triggers = heard.flat_map(|input| stream::iter(daemon.absorb(input)));
    let reload = || drop(tokio::task::spawn_local(systemd::reload(Rc::clone(daemon))));
    let shutdown = shutdown::wait(Rc::clone(daemon), signals, reload);
    let mut config = controller::Config { concurrency: CONCURRENCY, ..controller::Config::default() };
    if let Some(interval) = systemd::watchdog() {
        config.turn_at_least = config.turn_at_least.min(interval / 8); // an idle loop is not a stuck one
    }
    let heartbeat = Heartbeat::new();
    tokio::task::spawn_local(systemd::beat(Rc::clone(daemon), heartbeat.clone()));
    controller::run(&**daemon, triggers, shutdown, config, &heartbeat).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::control::Directories;

    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_daemon_is_told_who_the_first_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("atm.lock");
        let _first = take_lock(&path, dir.path()).unwrap();
        let error = take_lock(&path, dir.path()).unwrap_err();
        assert!(matches!(error, StartupError::AlreadyRunning { pid: Some(_), .. }));
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    }

    #[test]
    fn directories_are_closed_to_others_in_user_mode() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let directories = Directories {
            config: at("c"),
            sessions: at("s"),
            runtime: at("r"),
            state: at("t"),
            log: at("l"),
        };
        let paths = Paths::new(directories, None);
        make_directories(&paths, false).unwrap();
        for made in [at("r"), at("t"), at("l"), paths.locks(), paths.runs(), paths.memories()] {
            assert_eq!(mode(&made), 0o700, "{}", made.display());
        }
    }
}
