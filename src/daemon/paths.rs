//! Where things are in the runtime and state directories.

use std::path::{Path, PathBuf};

use crate::api::{
    control::Directories,
    kept::KEPT_FILE,
    name::SessionName,
    overrides::OVERRIDES_FILE,
    record::{ACTIVITY_FILE, EXIT_FILE, INTENT_FILE, RECORD_FILE},
};

/// The directories in force, and what is where in them.
#[derive(Debug, Clone)]
pub struct Paths {
    /// As given by flags, systemd or the table of defaults.
    pub directories: Directories,
    /// The control socket.
    pub socket: PathBuf,
}

impl Paths {
    /// `socket` is `atm.sock` in the runtime directory where none is given.
    pub fn new(directories: Directories, socket: Option<PathBuf>) -> Self {
        let socket = socket.unwrap_or_else(|| directories.runtime.join("atm.sock"));
        Self { directories, socket }
    }

    /// Held by the daemon of this runtime directory.
    pub fn daemon_lock(&self) -> PathBuf {
        self.directories.runtime.join("atm.lock")
    }

    /// Locks of sessions; a file here is never unlinked.
    pub fn locks(&self) -> PathBuf {
        self.directories.runtime.join("locks")
    }

    /// The lock of one session.
    pub fn lock(&self, name: &SessionName) -> PathBuf {
        self.locks().join(name.as_str())
    }

    /// One directory per running session.
    pub fn runs(&self) -> PathBuf {
        self.directories.runtime.join("sessions")
    }

    /// The files of one running session.
    pub fn run(&self, name: &SessionName) -> RunFiles {
        RunFiles(self.runs().join(name.as_str()))
    }

    /// Output of one session.
    pub fn log(&self, name: &SessionName) -> PathBuf {
        self.directories.log.join(format!("{name}.log"))
    }

    /// One file per known session.
    pub fn memories(&self) -> PathBuf {
        self.directories.state.join("sessions")
    }

    /// What outlives a session's runs.
    pub fn memory(&self, name: &SessionName) -> PathBuf {
        self.memories().join(format!("{name}.json"))
    }

    /// What is left of sessions that are forgotten, for `logs.maxAge`.
    pub fn retired_memories(&self) -> PathBuf {
        self.directories.state.join("removed")
    }

    /// What outlives a session that is forgotten, for a while.
    pub fn retired(&self, name: &SessionName) -> PathBuf {
        self.retired_memories().join(format!("{name}.json"))
    }

    /// Runs that were stopped, on their way from their sessions' directories to the state directory.
    pub fn leaving(&self) -> PathBuf {
        self.directories.runtime.join("leaving")
    }

    /// What is kept of runs that were stopped: a directory for each session.
    pub fn previous(&self) -> PathBuf {
        self.directories.state.join("previous")
    }

    /// What is kept of the runs of one session: a file for each.
    pub fn previous_of(&self, name: &SessionName) -> PathBuf {
        self.previous().join(name.as_str())
    }

    /// The config that was in force last.
    pub fn last_config(&self) -> PathBuf {
        self.directories.state.join("config.json")
    }

    /// Whose state this is.
    pub fn instance(&self) -> PathBuf {
        self.directories.state.join("instance.json")
    }

    /// What happened.
    pub fn events(&self) -> PathBuf {
        self.directories.state.join("events.jsonl")
    }
}

/// The files of one running session.
#[derive(Debug, Clone)]
pub struct RunFiles(pub PathBuf);

impl RunFiles {
    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// See [`crate::api::record`].
    pub fn intent(&self) -> PathBuf {
        self.0.join(INTENT_FILE)
    }

    /// See [`crate::api::record`].
    pub fn record(&self) -> PathBuf {
        self.0.join(RECORD_FILE)
    }

    /// See [`crate::api::record`].
    pub fn exit(&self) -> PathBuf {
        self.0.join(EXIT_FILE)
    }

    /// See [`crate::api::overrides`].
    pub fn overrides(&self) -> PathBuf {
        self.0.join(OVERRIDES_FILE)
    }

    /// See [`crate::api::kept`].
    pub fn kept(&self) -> PathBuf {
        self.0.join(KEPT_FILE)
    }

    /// See [`crate::api::record`].
    pub fn activity(&self) -> PathBuf {
        self.0.join(ACTIVITY_FILE)
    }
}
