//! The limits of all sessions together, and how the daemon behaves.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    diagnose::Diagnostics,
    quantity::{Dur, Limit, Size},
};

/// The machine, as far as a config refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Memory of the machine in bytes.
    pub memory: u64,
}

/// The config in force: effective values. `atm config` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Most live sessions at once.
    pub max_sessions: u32,
    /// `maxIdle` of sessions that say nothing; absent: by agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_idle: Option<Limit<Dur>>,
    /// `maxAge` of sessions that say nothing; absent: by agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_age: Option<Limit<Dur>>,
    /// All sessions together.
    pub max_memory: Limit<Size>,
    /// `maxMemory` of sessions that say nothing.
    pub session_memory: Limit<Size>,
    /// Registered sessions without a sign of life for longer are marked `Stale`.
    pub stale_after: Dur,
    /// A full look at everything, in any case.
    pub resync_interval: Dur,
    /// A busy session over its age may finish its turn.
    pub age_grace: Dur,
    /// Thresholds of the emergency cleanup.
    pub emergency: Emergency,
    /// What a stop of the daemon does to sessions.
    pub on_shutdown: OnShutdown,
    /// Limits of the control socket.
    pub clients: Clients,
    /// Limits of output files.
    pub logs: Logs,
    /// Where /healthz and /metrics are served; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http: Option<std::net::SocketAddr>,
    /// For every session, below the spec's own.
    pub env: BTreeMap<String, String>,
    /// The daemon warns when its own memory passes this.
    pub daemon_memory_warning: Size,
}

/// Thresholds for idle sessions when `maxSessions` is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Emergency {
    /// Idle for longer.
    pub max_idle: Dur,
    /// Older.
    pub max_age: Dur,
}

/// What a stop of the daemon does to its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OnShutdown {
    /// A restart keeps them, a stop ends them.
    Auto,
    /// They stay.
    Keep,
    /// They are ended.
    Stop,
}

/// Limits of the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// Watchers at once.
    pub max: u32,
    /// Changes kept for a slow watcher.
    pub buffer: u32,
    /// Longest message.
    pub max_message: Size,
    /// Changes a second, per session.
    pub broadcast_rate: u32,
}

/// Limits of a session's output files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// A file is rotated when it would grow beyond this.
    pub max_size: Size,
    /// Files kept, the current one included.
    pub max_files: u32,
    /// Rotated files are removed when older.
    pub max_age: Dur,
}

impl Config {
    /// What holds where nothing is written.
    pub fn defaults(_machine: Machine) -> Self {
        unimplemented!()
    }

    /// Reads a whole config. `file` is for messages only.
    pub fn parse(_source: &str, _file: &Path, _machine: Machine) -> Result<Self, Diagnostics> {
        unimplemented!()
    }
}
