//! How the daemon is, in words and in numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Directories;
use crate::api::{diagnose::Diagnostics, name::InstanceId, time::Timestamp};

/// Result of `health`: what `atm status` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HealthResult {
    /// Version of the daemon's program.
    pub version: String,
    /// Pid of the daemon.
    pub pid: i32,
    /// When it was started.
    pub started_at: Timestamp,
    /// Whose state this is.
    pub instance: InstanceId,
    /// Where it works.
    pub directories: Directories,
    /// How descendants are held: `procfs`, `cgroup`, or `cgroup (memory, pids, cpu)` with the limits it sets.
    pub containment: String,
    /// The line of `systemctl status`.
    pub summary: String,
    /// Sessions by phase.
    pub counts: Counts,
    /// Most live sessions.
    pub max_sessions: u32,
    /// What is wrong with the config.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config_error: Option<Diagnostics>,
    /// What is wrong with spec files.
    pub spec_errors: Vec<Diagnostics>,
    /// The spec directory cannot be believed now: why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub specs_unavailable: Option<String>,
    /// Other things a person should know.
    pub warnings: Vec<String>,
    /// What happened since the daemon was started.
    #[serde(default)]
    pub counters: Counters,
    /// Whether the daemon can do all that it is for. A mistake in somebody's file does not make it unhealthy.
    #[serde(default)]
    pub healthy: bool,
    /// Memory of all sessions in bytes, as of their last looks.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The budget of all sessions' memory, in bytes; absent: none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_memory_bytes: Option<u64>,
    /// What the daemon itself uses.
    #[serde(default)]
    pub usage: Usage,
    /// Who is connected to the control socket.
    #[serde(default)]
    pub clients: ClientsNow,
    /// Where `/healthz` and `/metrics` are served now; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http: Option<std::net::SocketAddr>,
}

/// What the daemon's own process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Time of a processor that was used since the start, in milliseconds.
    pub cpu_millis: u64,
    /// Open descriptors.
    pub descriptors: u32,
    /// Keys that wait to be reconciled.
    pub queue_length: u32,
}

/// Who is connected to the control socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ClientsNow {
    /// Connections that watch.
    pub watchers: u32,
    /// Most of them: `clients.max`.
    pub max_watchers: u32,
    /// Other connections.
    pub connections: u32,
    /// Connections and watchers that were told to try again later, since the daemon was started.
    pub refused: u64,
    /// Changes and events that slow watchers were not told one by one, since the daemon was started.
    pub dropped: u64,
}

/// The body of `/healthz`: numbers alone, as every user of the machine can ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Healthz {
    /// Whether the daemon can do all that it is for. The status code is 200 then, else 503.
    pub healthy: bool,
    /// What keeps it from that, a word each: `starting`, `stopping`, `specsUnavailable`, `specsUnread`,
    /// `stateUnwritten`.
    pub troubles: Vec<String>,
    /// Sessions by phase.
    pub sessions: Counts,
    /// Most live sessions.
    pub max_sessions: u32,
    /// Memory of all sessions in bytes, as of their last looks.
    pub memory_bytes: u64,
    /// The budget of all sessions' memory, in bytes; absent: none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_memory_bytes: Option<u64>,
    /// Resident memory of the daemon in bytes.
    pub daemon_memory_bytes: u64,
    /// Since the daemon was started.
    pub uptime_seconds: u64,
}

/// Result of `metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MetricsResult {
    /// Prometheus' text format, version 0.0.4.
    pub text: String,
}

/// Sessions by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Not running yet.
    pub pending: u32,
    /// Running.
    pub running: u32,
    /// Running, and in a turn.
    pub busy: u32,
    /// Running, and waiting for a person.
    pub waiting: u32,
    /// Asked to stop.
    pub stopping: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended badly.
    pub failed: u32,
    /// Ended by a budget.
    pub evicted: u32,
    /// Not wanted now.
    pub suspended: u32,
    /// Of the running and stopping ones: started by people outside atm.
    #[serde(default)]
    pub registered: u32,
}

/// What happened since the daemon was started, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Runs that came to a process.
    pub started: u64,
    /// Runs that were over, by the cause of their stop; `Exited`: by themselves.
    pub ended: BTreeMap<String, u64>,
    /// Ends by themselves that were answered with another start.
    pub restarts: u64,
    /// Runs that a budget ended.
    pub evictions: u64,
    /// Times that a budget, or a person by `atm cleanup`, had sessions ended.
    pub cleanup_runs: u64,
    /// Evictions that could not be asked for at once; each is tried again.
    pub cleanup_errors: u64,
}
