//! Why a session is stopped, and by whom. There is no cause "unknown".

use std::fmt;

use serde::{Deserialize, Serialize};

/// What asked for a stop. Becomes the reason of the phase that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum StopReason {
    /// Idle for longer than its `maxIdle`.
    IdleTimeout,
    /// Older than its `maxAge`.
    MaxAgeExceeded,
    /// Its tree is over its own `maxMemory`, or the kernel ended it for that.
    SessionMemory,
    /// All trees together are over `maxMemory`.
    MemoryPressure,
    /// `maxSessions` was lowered, or its slot was given to one of higher priority.
    MaxSessions,
    /// A newer session of the same owner and slot.
    SlotTaken,
    /// Its tree is over `maxProcesses`.
    ProcessLimit,
    /// What it runs was changed in its spec.
    SpecChanged,
    /// `atm restart`.
    ClientRestart,
    /// Its spec file is gone.
    SpecRemoved,
    /// `atm stop`.
    ClientStop,
    /// `atm kill`.
    ClientKill,
    /// `suspend: true`, or `atm suspend`.
    Suspended,
    /// The daemon ends its sessions.
    Shutdown,
    /// Its keeper died.
    KeeperLost,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f) // the word that programs are told, too
    }
}

/// Who asked for a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// User id of the process that asked.
    pub uid: u32,
    /// Its pid, at the time.
    pub pid: i32,
}

/// Why a stop was asked for, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The rule or the request.
    pub reason: StopReason,
    /// The person behind a request; absent where a rule decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<Actor>,
    /// The sentence for people: figures and limits.
    pub message: String,
}

impl Cause {
    /// A cause that a rule decided.
    pub fn rule(reason: StopReason, message: impl Into<String>) -> Self {
        Self { reason, by: None, message: message.into() }
    }

    /// A cause that a person asked for.
    pub fn asked(reason: StopReason, by: Actor, message: impl Into<String>) -> Self {
        Self { reason, by: Some(by), message: message.into() }
    }
}
