//! From nothing to a turning loop: what an earlier daemon left is classified before anything is decided.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::LocalSet,
};

use super::{
    Options, adopt,
    adopt::Here,
    clock::Clock,
    core::{Daemon, Input},
    directories, event_loop,
    events::Events,
    fdstore::{self, Control},
    http,
    keepers::{LinuxKeepers, Report},
    kept, logging,
    looks::{self, Looking, port::LinuxLooker},
    manager,
    memory::Instance,
    metrics::{self, Metrics},
    paths::Paths,
    prune::{Known, prune},
    recovery, registered,
    repositories::Repositories,
    sends::Sends,
    server::{self, places::Places},
    shutdown,
    shutdown::Signals,
    specs, state_files,
    store::Store,
    systemd,
    turns::Interrupts,
    writer::Writer,
};
use crate::{
    api::{config::Config, event::EventKind, record::ENV_SOCKET, upload::Upload},
    controller::{self, Heartbeat},
    host::{
        clock, delegation, descriptors,
        failpoint::{self, Place},
        heap, lock, machine, poll,
        process::Process,
        reaper, signals,
    },
    plan::fleet::Mode,
};

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

pub(super) fn host(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartupError {
    let path = path.to_owned();
    move |source| StartupError::Host { action, path, source }
}

/// Runs the daemon until it is told to end.
pub fn main(options: &Options) -> Result<ExitCode, StartupError> {
    heap::stay_small();
    // Before there is a thread: each has a mask of its own, made from that of the one before.
    let unblocked = signals::unblock();
    let handed = descriptors::take_listening();
    let _flush = logging::start();
    let handed = handed.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot take the sockets that systemd handed over: one is made anew");
        Vec::new()
    });
    if let Err(error) = unblocked {
        tracing::warn!(%error, "cannot unblock signals: those that were blocked at the start are not heard");
    }
    let paths = Rc::new(Paths::new(options.directories.clone(), options.socket.clone()));
    directories::make(&paths, options.system)?;
    // Both directories: two daemons must share neither the running sessions nor what is remembered of them.
    let _locks = [
        take_lock(&paths.daemon_lock(), &paths.directories.runtime)?,
        take_lock(&paths.directories.state.join("lock"), &paths.directories.state)?,
    ];
    failpoint::hit(Place::Locked).map_err(host("lock", &paths.directories.runtime))?;
    if let Err(error) = reaper::become_subreaper() {
        tracing::warn!(%error, "cannot become subreaper: what a dead keeper leaves may be missed");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(host("start the event loop in", &paths.directories.runtime))?;
    let local = LocalSet::new();
    let outcome = runtime.block_on(local.run_until(run(options, paths, handed)));
    // Threads that hang in a system call (a dead network file system) must not keep the daemon from ending.
    runtime.shutdown_background();
    outcome
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

async fn run(
    options: &Options,
    paths: Rc<Paths>,
    handed: Vec<(String, OwnedFd)>,
) -> Result<ExitCode, StartupError> {
    let clock = Clock::start();
    let signals = Signals::listen().map_err(host("listen for signals in", &paths.directories.runtime))?;
    let (instance, problems) = recovery::load_instance(&paths);
    let mut loaded = state_files::load(&paths.memories()).map_err(host("read", &paths.memories()))?;
    let guests = registered::set_apart(&mut loaded);
    let here = Here {
        instance: instance.instance,
        boot: clock.boot().clone(),
        pid_namespace: machine::pid_namespace(),
    };
    failpoint::hit(Place::Classify).map_err(host("read", &paths.runs()))?;
    let findings = adopt::classify(&paths, &here).map_err(host("read", &paths.runs()))?;

    let (inputs, inbox) = unbounded_channel();
    let daemon = make_daemon(options, &paths, clock, here, instance, &inputs)?;
    let damaged = problems.into_iter().chain(loaded.damaged.iter().cloned());
    for problem in damaged.chain(findings.damaged.iter().cloned()) {
        daemon.tell_all(EventKind::RecordDamaged, format!("{}: {}", problem.what, problem.message));
    }
    recovery::recover(&daemon, &mut loaded, &findings);
    recovery::remember(&daemon, loaded, &findings);
    recovery::take_over_all(&daemon, findings);
    let _ = failpoint::hit(Place::TakenOver);
    daemon.recall_guests(guests);
    let known = recovery::known_specs(&daemon);

    start_sources(&daemon, options, known)?;
    let control = fdstore::listen(&daemon.paths.socket, handed).await;
    let Control { socket, is_activated } = control.map_err(host("bind", &daemon.paths.socket))?;
    failpoint::hit(Place::Bound).map_err(host("bind", &daemon.paths.socket))?;
    tokio::task::spawn_local(server::serve(Rc::clone(&daemon), socket));
    tokio::task::spawn_local(reap_orphans(Rc::clone(&daemon)));
    tokio::task::spawn_local(looks::keep_looking(Rc::clone(&daemon)));
    tokio::task::spawn_local(event_loop::resync(Rc::clone(&daemon)));
    tokio::task::spawn_local(prune_hourly(Rc::clone(&daemon)));
    tokio::task::spawn_local(announce(Rc::clone(&daemon)));
    tokio::task::spawn_local(manager::watch_unit(Rc::clone(&daemon)));

    let reload = || drop(tokio::task::spawn_local(systemd::reload(Rc::clone(&daemon))));
    let shutdown = shutdown::wait(Rc::clone(&daemon), signals, reload);
    let mut turning = controller::Config::default();
    if let Some(interval) = systemd::watchdog() {
        turning.turn_at_least = turning.turn_at_least.min(interval / 8); // an idle loop is not a stuck one
    }
    let heartbeat = daemon.metrics.heartbeat().clone();
    tokio::task::spawn_local(systemd::beat(Rc::clone(&daemon), heartbeat.clone()));
    tokio::task::spawn_local(http::serve(Rc::clone(&daemon)));
    tokio::task::spawn_local(metrics::watch_memory(Rc::clone(&daemon)));
    event_loop::turn(&daemon, inbox, shutdown, turning, &heartbeat).await;
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
    let looker = LinuxLooker::start(clock.boot().clone(), inputs.clone())
        .map_err(host("start the thread that looks at the sessions of", &paths.directories.runtime))?;
    let (cgroup, containment) = containment(options.cgroup.clone());
    let metrics = Metrics::new(Heartbeat::new(), Places::new(server::ROOM))
        .map_err(io::Error::other)
        .map_err(host("count what happens in", &paths.directories.runtime))?;
    Ok(Rc::new(Daemon {
        program: lasting_name(&program),
        store: Store::new(Config::defaults(machine), clock.clone()),
        keepers: LinuxKeepers::new(Rc::clone(paths), program, reports),
        looking: Looking::new(Box::new(looker)),
        interrupts: Interrupts::default(),
        sends: Sends::default(),
        repositories: Repositories::new(inputs.clone()),
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
        registry: RefCell::default(),
        metrics,
        last_list: server::LastList::default(),
    }))
}

/// The name of this program's file, by which agents can execute it later. An upgrade puts another file in its place, and
/// the kernel then says so behind the name of the one that runs.
fn lasting_name(program: &Path) -> Option<String> {
    let name = program.to_str()?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
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
        parse_config: Box::new(move |bytes, file| Config::parse_bytes(bytes, file, machine)),
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

/// Removes what is left of sessions that were forgotten long ago.
async fn prune_hourly(daemon: Rc<Daemon<LinuxKeepers>>) {
    daemon.store.reader().wait_until(|world| world.sources.all()).await;
    loop {
        let (known, max_age) = {
            let world = daemon.store.look();
            let uploads = world.sessions.values().flat_map(|entry| &entry.memory.uploads);
            let uploads = uploads.map(Upload::path).collect();
            (Known { names: world.sessions.keys().cloned().collect(), uploads }, world.config.logs.max_age.0)
        };
        let paths = Paths::clone(&daemon.paths);
        let left = tokio::task::spawn_blocking(move || kept::leaving(&paths)).await;
        daemon.keep_what_is_leaving(left.unwrap_or_default());
        let paths = Paths::clone(&daemon.paths);
        let pruned = tokio::task::spawn_blocking(move || prune(&paths, known, max_age)).await;
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
    let _ = failpoint::hit(Place::Ready);
    systemd::tell(&[sd_notify::NotifyState::Ready]).await;
    systemd::tell_status(reader).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_the_first_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("atm.lock");
        let _first = take_lock(&path, dir.path()).unwrap();
        let error = take_lock(&path, dir.path()).unwrap_err();
        assert!(matches!(error, StartupError::AlreadyRunning { pid: Some(_), .. }));
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    }
}
