//! Keepers, as the daemon sees them: it starts them, watches them and talks to them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::mpsc::UnboundedSender};

use super::paths::{Paths, RunFiles};
use crate::{
    api::{
        keeper::{Reply, Request, StartReport},
        name::{RunId, SessionName},
        record::{ENV_INSTANCE, ENV_RUN_ID, ENV_SESSION, Intent, ProcessId},
    },
    host::{
        exit::ExitWatch,
        failpoint::{self, ENV_FAILPOINTS, Place},
        files::{self, Durability},
        lock,
        process::{Process, identify},
        reaper, tree,
    },
    keeper::client::{self, ClientError},
};

/// How long a keeper may take to answer a request.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a keeper lets the daemon know, unasked.
#[derive(Debug)]
pub enum Report {
    /// How the start went, as its start pipe said.
    Started {
        /// The session.
        name: SessionName,
        /// The run.
        run_id: RunId,
        /// What it said.
        outcome: StartReport,
    },
    /// It has ended: whatever it had to say is in its files.
    Gone {
        /// The session.
        name: SessionName,
        /// The run.
        run_id: RunId,
    },
}

/// Why a keeper could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Its name is taken: an earlier keeper lives.
    #[error("the lock {} is held by an earlier keeper", path.display())]
    NameTaken {
        /// The lock.
        path: PathBuf,
    },
    /// It was started, and cannot be watched: it is to be found by its files.
    #[error("cannot watch the keeper (pid {pid})")]
    Unwatched {
        /// The keeper.
        pid: i32,
        /// The system's words.
        source: io::Error,
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

/// Why a keeper gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It could not be asked.
    #[error("the keeper of {name} does not answer")]
    Unreachable {
        /// The session.
        name: SessionName,
        /// What went wrong.
        source: ClientError,
    },
    /// It was asked to do it before a certain time, and that had passed.
    #[error("the keeper of {name} was asked too late")]
    Late {
        /// The session.
        name: SessionName,
    },
    /// It said no.
    #[error("the keeper of {name} refused: {message}")]
    Refused {
        /// The session.
        name: SessionName,
        /// Its words.
        message: String,
    },
}

/// The port between reconciling and keepers. The real one makes processes; a test's remembers what was asked.
pub trait Keepers {
    /// Starts a keeper. That it is started says nothing yet of the session: a [`Report`] follows.
    fn start(&self, intent: &Intent) -> Result<(), LaunchError>;

    /// Watches a keeper that was found running: its end is reported like that of any other.
    fn adopt(&self, name: SessionName, run_id: RunId, keeper: Process) -> io::Result<()>;

    /// Signals the keeper itself: to wake one that was stopped, or to end one that does not answer.
    fn signal_keeper(&self, name: &SessionName, signal: i32) -> io::Result<()>;

    /// The session whose keeper is the first of `chain` that is one: a process with these above it is in that session.
    fn above(&self, chain: &[ProcessId]) -> Option<SessionName>;

    /// Removes the files of the last run of a session that is forgotten.
    fn clear(&self, name: &SessionName);

    /// What came to the daemon from keepers that died: the daemon is a subreaper, so this finds also what hid its
    /// environment. Must be asked on the loop's thread, where no start is under way.
    fn orphans(&self) -> Vec<ProcessId>;

    /// Never takes these for orphans again: they do not end, and nobody else is to wait for them.
    fn give_up_on(&self, orphans: &[ProcessId]);

    /// Asks the keeper of `name`.
    fn ask(&self, name: &SessionName, request: Request) -> impl Future<Output = Result<(), AskError>>;
}

/// The real port. Everything it starts outlives it.
#[derive(Debug)]
pub struct LinuxKeepers {
    paths: Rc<Paths>,
    program: PathBuf,
    reports: UnboundedSender<Report>,
    /// Pids of keepers that are children of this process and not reaped yet.
    children: Rc<RefCell<BTreeSet<i32>>>,
    /// Keepers by session, to be signalled when they do not answer.
    held: Rc<RefCell<BTreeMap<SessionName, ProcessId>>>,
    /// Children that are none of ours to end: what this process had before it became a daemon, and orphans
    /// that did not end.
    foreign: Rc<RefCell<BTreeSet<ProcessId>>>,
}

impl LinuxKeepers {
    /// `program` is the file that keepers execute.
    pub fn new(paths: Rc<Paths>, program: PathBuf, reports: UnboundedSender<Report>) -> Self {
        let before = tree::own_children().unwrap_or_default();
        let foreign = before.into_iter().filter_map(|pid| identify(pid).ok()).collect();
        Self {
            paths,
            program,
            reports,
            children: Rc::default(),
            held: Rc::default(),
            foreign: Rc::new(RefCell::new(foreign)),
        }
    }

    /// Reaps what came to the daemon from keepers that died. To be called at each SIGCHLD.
    pub fn reap_orphans(&self) {
        let children = self.children.borrow();
        if let Err(error) = reaper::reap_orphans(|pid| children.contains(&pid)) {
            tracing::warn!(%error, "cannot reap orphaned processes");
        }
    }

    fn prepare(&self, intent: &Intent) -> Result<(File, RunFiles), LaunchError> {
        let host = |action: &'static str, path: PathBuf| {
            move |source: io::Error| LaunchError::Host { action, path, source }
        };
        let locks = self.paths.locks();
        files::make_directory(&locks, 0o700).map_err(host("make", locks))?;
        let path = self.paths.lock(&intent.name);
        let Some(lock) = lock::try_take(&path).map_err(host("lock", path.clone()))? else {
            return Err(LaunchError::NameTaken { path });
        };
        failpoint::hit(Place::NameTaken).map_err(host("lock", path))?;
        // From here on the name is ours, so the directory of an earlier run may be emptied.
        let run = self.paths.run(&intent.name);
        let directory = run.directory().to_owned();
        files::make_empty_directory(&directory, 0o700)
            .and_then(|()| failpoint::hit(Place::Emptied))
            .map_err(host("make", directory))?;
        let path = run.intent();
        let bytes = serde_json::to_vec(intent)
            .map_err(io::Error::from)
            .map_err(host("write the intent of", path.clone()))?;
        files::replace(&path, &bytes, Durability::Atomic)
            .and_then(|()| failpoint::hit(Place::Intent))
            .map_err(host("write", path))?;
        Ok((lock, run))
    }

    fn spawn_watch(
        &self,
        name: SessionName,
        run_id: RunId,
        outcome: Option<pipe::Receiver>,
        exit: ExitWatch,
    ) {
        let reports = self.reports.clone();
        let (children, held) = (Rc::clone(&self.children), Rc::clone(&self.held));
        tokio::task::spawn_local(async move {
            if let Some(mut pipe) = outcome
                && let Some(outcome) = read_outcome(&mut pipe).await
            {
                // The loop has ended when nobody receives; then nothing more is wanted.
                let _ = reports.send(Report::Started { name: name.clone(), run_id, outcome });
            }
            if let Err(error) = exit.ended().await {
                tracing::error!(%name, %error, "cannot wait for the end of a keeper");
                return;
            }
            let keeper = exit.process();
            if let Err(error) = keeper.reap() {
                tracing::warn!(%name, %error, "cannot reap a keeper");
            }
            children.borrow_mut().remove(&keeper.id().pid);
            {
                let mut held = held.borrow_mut();
                if held.get(&name) == Some(&keeper.id()) {
                    held.remove(&name);
                }
            }
            // An orphan may have waited behind the keeper in the kernel's list.
            let known = Rc::clone(&children);
            let _ = reaper::reap_orphans(|pid| known.borrow().contains(&pid));
            let _ = reports.send(Report::Gone { name, run_id });
        });
    }
}

impl Keepers for LinuxKeepers {
    fn start(&self, intent: &Intent) -> Result<(), LaunchError> {
        let (lock, run) = self.prepare(intent)?;
        let host = |action: &'static str, path: PathBuf| {
            move |source: io::Error| LaunchError::Host { action, path, source }
        };
        let at = || run.directory().to_owned();
        let (reader, writer) = io::pipe().map_err(host("open a pipe for", at()))?;
        // No `pre_exec` and no working directory: so the standard library can use posix_spawn, which does
        // not copy the daemon's page tables.
        let mut command = Command::new(&self.program);
        command
            .arg("keeper")
            .arg(&self.paths.directories.runtime)
            .arg(intent.name.as_str())
            .env_clear()
            .env(ENV_INSTANCE, intent.instance.to_string())
            .env(ENV_RUN_ID, intent.run_id.to_string())
            .env(ENV_SESSION, intent.name.as_str())
            .stdin(Stdio::from(lock))
            .stdout(Stdio::from(writer))
            .stderr(Stdio::null());
        if let Some(armed) = std::env::var_os(ENV_FAILPOINTS).filter(|_| cfg!(debug_assertions)) {
            command.env(ENV_FAILPOINTS, armed);
        }
        let child = command.spawn().map_err(host("execute", self.program.clone()))?;
        let pid = child.id().cast_signed();
        self.children.borrow_mut().insert(pid);
        let watch = || -> io::Result<_> {
            failpoint::hit(Place::Spawned)?;
            let exit = ExitWatch::new(Process::open(pid)?)?;
            let outcome = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
            Ok((outcome, exit))
        };
        // From here on a keeper lives, whatever else fails: it is not a failed start.
        let (outcome, exit) = watch().map_err(|source| LaunchError::Unwatched { pid, source })?;
        self.held.borrow_mut().insert(intent.name.clone(), exit.process().id());
        self.spawn_watch(intent.name.clone(), intent.run_id, Some(outcome), exit);
        Ok(())
    }

    fn adopt(&self, name: SessionName, run_id: RunId, process: Process) -> io::Result<()> {
        let exit = ExitWatch::new(process)?;
        self.held.borrow_mut().insert(name.clone(), exit.process().id());
        self.spawn_watch(name, run_id, None, exit);
        Ok(())
    }

    fn signal_keeper(&self, name: &SessionName, signal: i32) -> io::Result<()> {
        let id = self.held.borrow().get(name).copied();
        match id.map(Process::find).transpose()?.flatten() {
            Some(keeper) => keeper.signal(signal),
            None => Ok(()), // gone already
        }
    }

    fn above(&self, chain: &[ProcessId]) -> Option<SessionName> {
        let held = self.held.borrow();
        // A chain is short, and there may be a thousand keepers.
        let keepers: BTreeSet<ProcessId> = chain.iter().copied().collect();
        let found = held.iter().filter(|(_, keeper)| keepers.contains(keeper));
        let nearest = |(_, keeper): &(&SessionName, &ProcessId)| chain.iter().position(|one| one == *keeper);
        found.min_by_key(nearest).map(|(name, _)| name.clone())
    }

    fn clear(&self, name: &SessionName) {
        // A name that somebody holds again is not cleared under them.
        if let Ok(Some(_held)) = lock::try_take(&self.paths.lock(name)) {
            let _ = std::fs::remove_dir_all(self.paths.run(name).directory()); // the next start empties it too
        }
    }

    fn orphans(&self) -> Vec<ProcessId> {
        let keepers = self.children.borrow();
        let children = tree::own_children().unwrap_or_default();
        let orphans = children.into_iter().filter(|pid| !keepers.contains(pid));
        let held = orphans.filter_map(|pid| Process::open(pid).ok());
        let living = held.filter(|process| !process.has_ended().unwrap_or(false)).map(|process| process.id());
        let foreign = self.foreign.borrow();
        // The init of a pid namespace is everybody's parent in the end: there, being its child says nothing.
        living.filter(|id| std::process::id() != 1 && !foreign.contains(id)).collect()
    }

    fn give_up_on(&self, orphans: &[ProcessId]) {
        self.foreign.borrow_mut().extend(orphans);
    }

    async fn ask(&self, name: &SessionName, request: Request) -> Result<(), AskError> {
        let directory = self.paths.run(name).directory().to_owned();
        let asked =
            tokio::task::spawn_blocking(move || client::ask(&directory, &request, ANSWER_WITHIN)).await;
        let unreachable = |source| AskError::Unreachable { name: name.clone(), source };
        match asked {
            Ok(Ok(Reply::Ok | Reply::Screen(_))) => Ok(()),
            Ok(Ok(Reply::Late)) => Err(AskError::Late { name: name.clone() }),
            Ok(Ok(Reply::Refused { message })) => Err(AskError::Refused { name: name.clone(), message }),
            Ok(Err(error)) => Err(unreachable(error)),
            Err(panic) => {
                let path = self.paths.run(name).directory().display().to_string();
                Err(unreachable(ClientError::Io { path, source: io::Error::other(panic) }))
            }
        }
    }
}

/// The one line of the start pipe; `None` where the keeper ended without it.
async fn read_outcome(pipe: &mut pipe::Receiver) -> Option<StartReport> {
    let mut line = Vec::new();
    // A report names paths and words of the system: far less than this.
    let mut limited = pipe.take(64 << 10);
    limited.read_to_end(&mut line).await.ok()?;
    serde_json::from_slice(&line).ok()
}
