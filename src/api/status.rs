//! What is: the observed state of a session, as `atm get -o json` shows it.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    cause::{Cause, StopReason},
    conversation::ConversationView,
    diagnose::Diagnostics,
    hook::{Condition, TurnView, Usage},
    name::{RunId, SessionName},
    overrides::Overrides,
    record::Exit,
    registered::RegisteredView,
    spec::SessionSpec,
    time::Timestamp,
    upload::Upload,
};

/// Where a session is in its life. Derived for display, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Phase {
    /// Not running yet.
    Pending,
    /// Its main process lives.
    Running,
    /// It was asked to stop and is not gone yet.
    Stopping,
    /// It ended well and is not to run again.
    Succeeded,
    /// It ended badly and is not to run again.
    Failed,
    /// A budget ended it.
    Evicted,
    /// A person does not want it to run.
    Suspended,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Stopping,
        Self::Succeeded,
        Self::Failed,
        Self::Evicted,
        Self::Suspended,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Evicted => "Evicted",
            Self::Suspended => "Suspended",
        })
    }
}

/// One word that says why a session is in its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Reason {
    /// Pending: its process is being made.
    Starting,
    /// Pending: all slots are taken.
    MaxSessions,
    /// Pending: another live session has its identity.
    IdentityTaken,
    /// Pending: it failed and waits before the next try.
    BackOff,
    /// Pending: the machine is short of something.
    HostError,
    /// Pending: its spec was never good.
    InvalidSpec,
    /// Pending: it is known from before, and its file has not been seen since the daemon was started.
    SpecUnseen,
    /// Pending: memory in use is too near the budget.
    MemoryBudget,
    /// Pending: the daemon is shutting down.
    Shutdown,
    /// Pending: a keeper of an earlier run still has the name.
    NameTaken,
    /// Running: nothing more to say.
    Started,
    /// Running: a changed spec waits for the right moment.
    RestartPending,
    /// Running: its keeper does not answer; nothing is done to it.
    Unknown,
    /// Running: it registered itself, and gave no sign of life for longer than `staleAfter`. A mark, it ends nothing.
    Stale,
    /// Stopping: it outlives SIGKILL.
    Unkillable,
    /// Succeeded: exit status 0, or ended by the stop signal.
    Completed,
    /// Failed: another exit status.
    Error,
    /// Failed: ended by a signal that atm did not send.
    Signaled,
    /// Failed: the command could not be executed.
    CannotStart,
    /// Failed: the machine went down under it.
    Interrupted,
    /// Suspended: by `atm stop` or `atm kill`.
    Stopped,
    /// Idle for longer than its `maxIdle`.
    IdleTimeout,
    /// Older than its `maxAge`.
    MaxAgeExceeded,
    /// Its tree was over its own `maxMemory`.
    SessionMemory,
    /// All trees together were over `maxMemory`.
    MemoryPressure,
    /// A newer session took its slot.
    SlotTaken,
    /// Its tree was over `maxProcesses`.
    ProcessLimit,
    /// What it runs was changed.
    SpecChanged,
    /// By `atm restart`.
    ClientRestart,
    /// Its spec file is gone.
    SpecRemoved,
    /// Stopping: by `atm stop`.
    ClientStop,
    /// Stopping: by `atm kill`.
    ClientKill,
    /// By `suspend: true` or `atm suspend`.
    Suspended,
    /// Its keeper died.
    KeeperLost,
}

impl From<StopReason> for Reason {
    fn from(cause: StopReason) -> Self {
        match cause {
            StopReason::IdleTimeout => Self::IdleTimeout,
            StopReason::MaxAgeExceeded => Self::MaxAgeExceeded,
            StopReason::SessionMemory => Self::SessionMemory,
            StopReason::MemoryPressure => Self::MemoryPressure,
            StopReason::MaxSessions => Self::MaxSessions,
            StopReason::SlotTaken => Self::SlotTaken,
            StopReason::ProcessLimit => Self::ProcessLimit,
            StopReason::SpecChanged => Self::SpecChanged,
            StopReason::ClientRestart => Self::ClientRestart,
            StopReason::SpecRemoved => Self::SpecRemoved,
            StopReason::ClientStop => Self::ClientStop,
            StopReason::ClientKill => Self::ClientKill,
            StopReason::Suspended => Self::Suspended,
            StopReason::Shutdown => Self::Shutdown,
            StopReason::KeeperLost => Self::KeeperLost,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f) // the word that programs are told, too
    }
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Activity {
    /// A turn is in progress.
    Busy,
    /// Waits for a person.
    Waiting,
    /// Proven idle.
    Idle,
    /// Nobody told.
    Unknown,
}

/// Where a session comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Origin {
    /// A spec file.
    Declared,
    /// An agent that reported itself.
    Registered,
}

/// One session: desired and observed, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Its name.
    pub name: SessionName,
    /// Its current or last run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<RunId>,
    /// Where it comes from.
    pub origin: Origin,
    /// Counts changes of the spec's meaning, from 1.
    pub generation: u64,
    /// Effective; absent where no spec was ever good. Values of env are shown only to the session's user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec: Option<SessionSpec>,
    /// What is.
    pub status: SessionStatus,
}

/// The observed state of a session. What is unknown is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in one sentence.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// When it came into this phase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// What it is doing, while it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activity: Option<Activity>,
    /// Its main process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<i32>,
    /// Its keeper.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keeper_pid: Option<i32>,
    /// Uid that it runs as.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// When the current or last run began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// The last evidence of activity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_activity_at: Option<Timestamp>,
    /// How often it was started again after it ended by itself.
    pub restarts: u64,
    /// Of its tree.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// Of its tree, 100 is one core.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu_percent: Option<f32>,
    /// Of its tree.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processes: Option<u32>,
    /// Attached clients.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attached: Option<u32>,
    /// How the last run ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit: Option<ExitView>,
    /// Why the last stop was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<Cause>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_start_at: Option<Timestamp>,
    /// What is wrong with the file; the last good spec is in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec_error: Option<Diagnostics>,
    /// The file in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec_file: Option<String>,
    /// Where its output goes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log_file: Option<String>,
    /// The turn that its agent is in, or was in last; absent: its agent told of none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub turn: Option<TurnView>,
    /// What keeps its agent from working.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub conditions: Vec<Condition>,
    /// What its agent uses, as its status line told last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<Usage>,
    /// Helpers of its agent that work.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subagents: Option<u32>,
    /// Where the current or last run was started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_dir: Option<PathBuf>,
    /// Files that people gave it, by `atm put`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub uploads: Vec<Upload>,
    /// What is overridden of its run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overrides: Option<Overrides>,
    /// The conversation of its agent; absent where the agent named none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversation: Option<ConversationView>,
    /// The repository that it works in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub git: Option<GitView>,
    /// What it told of itself, where a person started it outside atm.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub registered: Option<RegisteredView>,
}

/// How a run ended: `{code: 3}` or `{signal: 9}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExitView {
    /// Exit status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<i32>,
    /// Signal number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
}

impl From<Exit> for ExitView {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self { code: Some(code), signal: None },
            Exit::Signal(signal) => Self { code: None, signal: Some(signal) },
        }
    }
}

/// The git repository of a working directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GitView {
    /// Its top directory.
    pub root: String,
    /// Its name.
    pub repo: String,
    /// What is checked out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub branch: Option<String>,
}
