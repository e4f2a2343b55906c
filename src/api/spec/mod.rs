//! What a session should be.
//!
//! Two stages: [`WrittenSpec`] is one file, checked by itself; [`SessionSpec`] is what it means under the
//! config in force, with every default filled in, so that later code has no `Option` left to interpret.

mod digest;
mod resolve;
mod signal;
#[cfg(test)]
mod tests;
mod written;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    signal::StopSignal,
    written::{Backoff as WrittenBackoff, Terminal as WrittenTerminal, TerminalSize, WrittenSpec},
};
use super::quantity::{Dur, Limit, Size};

/// A session as it is meant: effective values, nothing left to default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSpec {
    /// Program and arguments; never empty. `~` and `${VAR}` are expanded by the keeper, as the user.
    pub command: Vec<String>,
    /// Where it runs; unexpanded.
    pub working_dir: String,
    /// On top of the config's and the base environment.
    pub env: BTreeMap<String, String>,
    /// Files of `NAME=value` lines, opened as the user; unexpanded.
    pub env_file: Vec<String>,
    /// Whom it runs as; absent: the owner of the spec file (system mode) or the daemon's user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// A terminal of this size, or pipes.
    pub terminal: Terminal,
    /// How its activity is known.
    pub agent: Agent,
    /// Whether a later run continues the agent's conversation.
    pub resume: Resume,
    /// What follows an exit.
    pub restart_policy: RestartPolicy,
    /// Delays between restarts after failures.
    pub backoff: Backoff,
    /// From the stop signal to SIGKILL.
    pub termination_grace_period: Dur,
    /// The first signal of a stop.
    pub stop_signal: StopSignal,
    /// When a changed command takes effect.
    pub on_change: OnChange,
    /// Evicted when idle for longer.
    pub max_idle: Limit<Dur>,
    /// Started afresh when older.
    pub max_age: Limit<Dur>,
    /// Of this session's tree.
    pub max_memory: Limit<Size>,
    /// Of this session's tree.
    pub max_processes: Limit<u32>,
    /// Share of the processor under contention, 1 to 10000.
    pub cpu_weight: u16,
    /// Higher is admitted first and evicted last.
    pub priority: i32,
    /// Never evicted for a shared budget.
    pub pinned: bool,
    /// The file's own wish not to run.
    pub suspend: bool,
    /// At most one live session per identity.
    pub identity: String,
    /// With `slot`: whose slot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// A newer session evicts an older idle one of the same owner and slot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<String>,
    /// For selection by people.
    pub labels: BTreeMap<String, String>,
}

/// How a session's input and output are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Terminal {
    /// `terminal: false`: stdin from /dev/null, stdout and stderr by pipes. Written as `false`.
    Pipes(False),
    /// A pseudo-terminal of this size.
    Pty {
        /// Width in cells, 1 to 1000.
        columns: u16,
        /// Height in cells, 1 to 1000.
        rows: u16,
    },
}

impl Terminal {
    /// `terminal: false`.
    pub const PIPES: Self = Self::Pipes(False);
}

/// The value `false` and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct False;

impl From<False> for bool {
    fn from(_: False) -> Self {
        false
    }
}

impl TryFrom<bool> for False {
    type Error = &'static str;
    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Err("expected `false`") } else { Ok(Self) }
    }
}

/// Which agent a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Agent {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Anything else: activity by evidence.
    Generic,
}

/// Whether a later run continues the agent's conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// Where the agent told its conversation's id.
    Auto,
    /// Each run is a new conversation.
    Never,
}

/// What follows the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum RestartPolicy {
    /// Run again, whatever the exit.
    Always,
    /// Run again after a failure.
    OnFailure,
    /// Once.
    Never,
}

/// When a changed command takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OnChange {
    /// As soon as it would interrupt nothing.
    WhenIdle,
    /// At once.
    Restart,
    /// At `atm restart`.
    Manual,
}

/// Delays between restarts: `initial`·2ⁿ up to `max`, ±10 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// After the first failure.
    pub initial: Dur,
    /// Never longer.
    pub max: Dur,
    /// A run of this length makes earlier failures moot.
    pub reset_after: Dur,
}

/// SHA-256 over the canonical form of a spec, or of the part that needs a restart, in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);
