//! The limits of all sessions together, and how the daemon behaves.

#[cfg(test)]
mod tests;
mod written;

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

pub use self::written::{Http, WrittenConfig};
use self::written::{MaxSessions, Memory};
use super::{
    defaults,
    diagnose::Diagnostics,
    quantity::{Dur, Limit, Size},
    yaml::{self, Nothing},
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
    /// Where /healthz and /metrics are served.
    #[serde(default)]
    pub http: Http,
    /// For every session, below the spec's own.
    pub env: BTreeMap<String, String>,
    /// The daemon warns when its own memory passes this.
    pub daemon_memory_warning: Size,
    /// The keys that somebody wrote; all others have their defaults. Empty where that is not known.
    #[serde(skip)]
    pub written: Vec<String>,
}

/// Thresholds for idle sessions when `maxSessions` is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Emergency {
    /// Idle for longer.
    pub max_idle: Dur,
    /// Older.
    pub max_age: Dur,
    /// Whether it is for everyone. Where nobody wrote it, it spares sessions whose `maxIdle` is `never`: what ends a
    /// session is never a default alone.
    #[serde(skip)]
    pub everyone: bool,
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
    pub fn defaults(machine: Machine) -> Self {
        WrittenConfig::default().resolve(machine)
    }

    /// The same, of which somebody wrote these keys.
    #[must_use]
    pub fn as_written(mut self, keys: Vec<String>) -> Self {
        self.emergency.everyone = keys.iter().any(|key| key == "emergency");
        self.written = keys;
        self
    }

    /// Reads a whole config. `file` is for messages only.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn parse(source: &str, file: &Path, machine: Machine) -> Result<Self, Diagnostics> {
        Self::parse_bytes(source.as_bytes(), file, machine)
    }

    /// Reads a whole config from the bytes of a file: UTF-8 with or without a mark, at most 64 KiB.
    ///
    /// A file of comments alone, or `{}`, means the defaults; one without a word was cut off, and is an error.
    ///
    /// # Errors
    /// As [`Config::parse`], and what is no text at all.
    pub fn parse_bytes(bytes: &[u8], file: &Path, machine: Machine) -> Result<Self, Diagnostics> {
        let written: WrittenConfig = yaml::read(bytes, file, Nothing::Defaults)?;
        Ok(written.resolve(machine))
    }
}

impl WrittenConfig {
    /// What it means on `machine`.
    pub fn resolve(self, machine: Machine) -> Config {
        let written = self.keys();
        let emergency = self.emergency.unwrap_or_default();
        let clients = self.clients.unwrap_or_default();
        let logs = self.logs.unwrap_or_default();
        Config {
            max_sessions: match self.max_sessions {
                None => defaults::MAX_SESSIONS,
                Some(MaxSessions::Auto) => defaults::auto_sessions(machine),
                Some(MaxSessions::At(count)) => count.0,
            },
            max_idle: self.max_idle.map(|limit| limit.map(|idle| idle.0)),
            max_age: self.max_age.map(|limit| limit.map(|age| age.0)),
            max_memory: match self.max_memory {
                None => share(machine, defaults::MAX_MEMORY_SHARE),
                Some(Memory::Share(percent)) => share(machine, percent),
                Some(Memory::Size(limit)) => limit,
            },
            session_memory: self
                .session_memory
                .map_or(defaults::SESSION_MEMORY, |limit| limit.map(|size| size.0)),
            stale_after: self.stale_after.map_or(defaults::STALE_AFTER, |after| after.0),
            resync_interval: self.resync_interval.map_or(defaults::RESYNC_INTERVAL, |interval| interval.0),
            age_grace: self.age_grace.unwrap_or(defaults::AGE_GRACE),
            emergency: Emergency {
                max_idle: emergency.max_idle.map_or(defaults::EMERGENCY.max_idle, |idle| idle.0),
                max_age: emergency.max_age.map_or(defaults::EMERGENCY.max_age, |age| age.0),
                everyone: false,
            },
            on_shutdown: self.on_shutdown.unwrap_or(defaults::ON_SHUTDOWN),
            clients: Clients {
                max: clients.max.map_or(defaults::CLIENTS.max, |max| max.0),
                buffer: clients.buffer.map_or(defaults::CLIENTS.buffer, |buffer| buffer.0),
                max_message: clients.max_message.map_or(defaults::CLIENTS.max_message, |size| size.0),
                broadcast_rate: clients
                    .broadcast_rate
                    .map_or(defaults::CLIENTS.broadcast_rate, |rate| rate.0),
            },
            logs: Logs {
                max_size: logs.max_size.map_or(defaults::LOGS.max_size, |size| size.0),
                max_files: logs.max_files.map_or(defaults::LOGS.max_files, |files| files.0),
                max_age: logs.max_age.map_or(defaults::LOGS.max_age, |age| age.0),
            },
            http: self.http.unwrap_or_default(),
            env: self.env.unwrap_or_default().0,
            daemon_memory_warning: self
                .daemon_memory_warning
                .map_or(defaults::DAEMON_MEMORY_WARNING, |size| size.0),
            written: Vec::new(),
        }
        .as_written(written)
    }

    /// The keys that are written.
    fn keys(&self) -> Vec<String> {
        // Without `..`: a new key that is forgotten here does not compile.
        let Self {
            max_sessions,
            max_idle,
            max_age,
            max_memory,
            session_memory,
            stale_after,
            resync_interval,
            age_grace,
            emergency,
            on_shutdown,
            clients,
            logs,
            http,
            env,
            daemon_memory_warning,
        } = self;
        let keys = [
            ("maxSessions", max_sessions.is_some()),
            ("maxIdle", max_idle.is_some()),
            ("maxAge", max_age.is_some()),
            ("maxMemory", max_memory.is_some()),
            ("sessionMemory", session_memory.is_some()),
            ("staleAfter", stale_after.is_some()),
            ("resyncInterval", resync_interval.is_some()),
            ("ageGrace", age_grace.is_some()),
            ("emergency", emergency.is_some()),
            ("onShutdown", on_shutdown.is_some()),
            ("clients", clients.is_some()),
            ("logs", logs.is_some()),
            ("http", http.is_some()),
            ("env", env.is_some()),
            ("daemonMemoryWarning", daemon_memory_warning.is_some()),
        ];
        keys.into_iter().filter(|(_, written)| *written).map(|(key, _)| key.to_owned()).collect()
    }
}

/// In whole MiB: nobody means the last byte, and `atm config` shows a number that people can read.
fn share(machine: Machine, percent: u8) -> Limit<Size> {
    let bytes = u128::from(machine.memory) * u128::from(percent) / 100;
    Limit::At(Size(u64::try_from(bytes >> 20 << 20).unwrap_or(u64::MAX)))
}
