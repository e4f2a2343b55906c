//! The daemon's socket: newline-delimited JSON-RPC 2.0.
//!
//! A client may begin with `initialize`; every method answers with the result type named beside it.

#[cfg(test)]
mod document;
mod health;
mod methods;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    cause::Cause,
    config::Config,
    diagnose::Diagnostics,
    event::Event,
    kept::KeptRun,
    name::{RunId, SessionName},
    status::{Activity, SessionView},
    time::Timestamp,
    upload::Upload,
};
pub use health::{ClientsNow, Counters, Counts, HealthResult, Healthz, MetricsResult, Usage};
pub use methods::{METHODS, Method};

/// The newest version of the control protocol that this program speaks.
pub const CONTROL_PROTOCOL: u32 = 1;

/// The oldest one.
pub const OLDEST_CONTROL_PROTOCOL: u32 = 1;

/// One request line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RpcRequest {
    /// Always `2.0`.
    pub jsonrpc: String,
    /// Echoed in the answer; absent: no answer is wanted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<Value>,
    /// Which method.
    pub method: String,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

/// One answer line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RpcResponse {
    /// Always `2.0`.
    pub jsonrpc: String,
    /// Of the request; null where it could not be read.
    pub id: Value,
    /// On success.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Value>,
    /// On failure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<RpcError>,
}

/// One line that nobody asked for: a change, on a `watch` or `events` subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RpcNotification {
    /// Always `2.0`.
    pub jsonrpc: String,
    /// Of a [`Notice`].
    pub method: String,
    /// What its kind of notice says.
    pub params: Value,
}

/// Kinds of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A session is new or not what it was: a [`SessionView`].
    Changed,
    /// A session is no more: a [`Removed`].
    Removed,
    /// The watcher did not keep up, and this is what is now: a [`Snapshot`].
    Snapshot,
    /// Something happened: an [`Event`].
    Event,
    /// Events happened that are no longer kept: a [`Missed`].
    Missed,
}

impl Notice {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Changed, Self::Removed, Self::Snapshot, Self::Event, Self::Missed];

    /// The notification's `method`.
    pub fn method(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Snapshot => "snapshot",
            Self::Event => "event",
            Self::Missed => "missed",
        }
    }

    /// The kind that has this `method`; `None`: a newer daemon's.
    pub fn of(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.method() == method)
    }
}

/// A failure, as told to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RpcError {
    /// JSON-RPC's number.
    pub code: i32,
    /// The sentence for people.
    pub message: String,
    /// The word for programs.
    pub data: ErrorData,
}

/// What a program can decide by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorData {
    /// One CamelCase word.
    pub kind: ErrorKind,
    /// With `ProtocolVersion`: what the daemon speaks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub supported: Option<Supported>,
}

/// Versions of the protocol, from the oldest to the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Supported {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

impl Supported {
    /// What this program speaks.
    pub const OURS: Self = Self { min: OLDEST_CONTROL_PROTOCOL, max: CONTROL_PROTOCOL };

    fn ours() -> Self {
        Self::OURS
    }

    /// The newest version that both sides speak.
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ErrorKind {
    /// The line is no JSON.
    InvalidJson,
    /// The JSON is no request, or its parameters are wrong.
    InvalidRequest,
    /// No such method.
    MethodNotFound,
    /// The client's protocol version is not served.
    ProtocolVersion,
    /// A message is longer than `clients.maxMessage`.
    MessageTooLarge,
    /// All places for watchers are taken.
    MaxClientsReached,
    /// All places for connections are taken, or this one's was given to somebody who asks sooner.
    Busy,
    /// No session of that name that the caller may see.
    NoSuchSession,
    /// The caller may not do that.
    Forbidden,
    /// The session is not in a state that allows it.
    Conflict,
    /// The session has no good spec: its file is to be mended first.
    InvalidSpec,
    /// As many sessions are registered as may be.
    TooManyRegistered,
    /// It was tried and failed.
    Failed,
    /// The daemon is shutting down.
    ShuttingDown,
}

impl ErrorKind {
    /// JSON-RPC's number for it.
    pub fn code(self) -> i32 {
        match self {
            Self::InvalidJson => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::Failed => -32000,
            Self::ProtocolVersion => -32001,
            Self::MessageTooLarge => -32002,
            Self::MaxClientsReached => -32003,
            Self::NoSuchSession => -32004,
            Self::Forbidden => -32005,
            Self::Conflict => -32006,
            Self::ShuttingDown => -32007,
            Self::InvalidSpec => -32008,
            Self::TooManyRegistered => -32009,
            Self::Busy => -32010,
        }
    }
}

/// Parameters of `initialize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitializeParams {
    /// The newest version that the client speaks.
    pub protocol: u32,
    /// The oldest one; absent: whatever the daemon answers is judged by the client.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min_protocol: Option<u32>,
}

/// Result of `initialize`: who the daemon is and where it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InitializeResult {
    /// The version that is spoken on this connection: the newest that both sides speak.
    pub protocol: u32,
    /// All versions that the daemon speaks.
    #[serde(default = "Supported::ours")]
    pub supported: Supported,
    /// Version of the daemon's program.
    pub version: String,
    /// Pid of the daemon.
    pub pid: i32,
    /// Where it works.
    pub directories: Directories,
}

/// The directories in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Directories {
    /// The config file.
    pub config: PathBuf,
    /// The spec directory.
    pub sessions: PathBuf,
    /// Socket, locks, running sessions.
    pub runtime: PathBuf,
    /// Results, wills, history.
    pub state: PathBuf,
    /// Output of sessions.
    pub log: PathBuf,
}

/// Parameters of `get` and of `events`: which sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamesParams {
    /// Absent or empty: all that the caller may see.
    #[serde(default)]
    pub names: Vec<SessionName>,
}

/// Parameters of `start`, `stop`, `restart`, `suspend`, `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameParams {
    /// Which session.
    pub name: SessionName,
    /// Only if this is its run now, or its last where none lives; else the answer is `Conflict`. A request that is
    /// repeated after a lost answer then acts once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<RunId>,
}

/// Parameters of `kill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KillParams {
    /// Which session.
    pub name: SessionName,
    /// A signal to every process, and no stop; absent: end it with SIGKILL now, cause `ClientKill`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// Only if this is its run now, or its last where none lives; else the answer is `Conflict`. A request that is
    /// repeated after a lost answer then acts once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<RunId>,
}

/// Parameters of `events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventsParams {
    /// Only of these sessions; absent or empty: all that the caller may see.
    #[serde(default)]
    pub names: Vec<SessionName>,
    /// Go on with what happens from now: notifications `event`.
    #[serde(default)]
    pub watch: bool,
}

/// Parameters of `cleanup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CleanupParams {
    /// Take the spec directory as it is now for the truth.
    #[serde(default)]
    pub accept_removals: bool,
    /// Evict what is over the emergency thresholds too, as if all places were taken.
    #[serde(default)]
    pub emergency: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Result of `cleanup`: what budgets end now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CleanupResult {
    /// By name.
    pub evictions: Vec<Eviction>,
}

/// A session that a budget ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Eviction {
    /// Which.
    pub name: SessionName,
    /// Why, and who asked.
    pub cause: Cause,
}

/// Parameters of `touch`: a sign of life of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TouchParams {
    /// Which.
    pub name: SessionName,
    /// What it is doing from now on; absent: what it was doing before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activity: Option<Activity>,
}

/// Result of `uploads`: where files for a session are put. They are put there by the client, with the rights of that user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UploadsResult {
    /// Its working directory.
    pub directory: PathBuf,
    /// Its user.
    pub uid: u32,
    /// What was put there before.
    pub uploads: Vec<Upload>,
}

/// Parameters of `uploaded`: a file was put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UploadedParams {
    /// The session.
    pub name: SessionName,
    /// The file; when it was put there the daemon says.
    pub upload: Upload,
}

/// Parameters of `override`: a change of what is overridden of a run while it lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideParams {
    /// Which session; it has to run.
    pub name: SessionName,
    /// Take all back first.
    #[serde(default)]
    pub clear: bool,
    /// A merge patch: a value sets a key, `null` takes it back. Keys: `model`, `modelProvider`, `temperature`, `maxIdle`,
    /// `maxAge`, `maxMemory`, `maxProcesses`, with the values of a spec.
    #[serde(default)]
    pub overrides: Map<String, Value>,
}

/// Parameters of `previous`: the last run that was stopped, as it was when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviousParams {
    /// Which session; also one that was forgotten.
    pub name: SessionName,
    /// Only a run before this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<RunId>,
}

/// Result of `previous`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PreviousResult {
    /// What is kept of it; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<KeptRun>,
}

/// Result of `list`, `get` and `watch` (its snapshot).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListResult {
    /// By name.
    pub sessions: Vec<SessionView>,
}

/// Result of `events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventsResult {
    /// Oldest first.
    pub events: Vec<Event>,
}

/// Result of a verb on one session: the session after it, as far as it got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerbResult {
    /// Whether anything was changed by it.
    pub changed: bool,
    /// The session now.
    pub session: SessionView,
}

/// Parameters of the notification `removed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Removed {
    /// A session that is no more.
    pub name: SessionName,
}

/// Parameters of the notification `snapshot`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// Changes that were dropped, as the watcher did not read and its buffer was full.
    pub dropped: u64,
    /// All sessions that are watched, as they are now; what is not among them is no more.
    pub sessions: Vec<SessionView>,
}

/// Parameters of the notification `missed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Missed {
    /// Events that are not told, as they are no longer kept. Some may have been others'.
    pub count: u64,
}

/// Result of `plan`: what a reconcile would do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlanResult {
    /// One row a session, by name.
    pub steps: Vec<PlanStep>,
}

/// What a reconcile would do with one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// The session.
    pub name: SessionName,
    /// `Start`, `Stop`, `Restart`, `Update`, `Wait`, `None`.
    pub action: String,
    /// Why.
    pub why: String,
    /// When something next changes by the passing of time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_at: Option<Timestamp>,
}

/// Result of `config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConfigResult {
    /// In force.
    pub config: Config,
    /// Where it was read from; absent: the defaults.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PathBuf>,
    /// The keys that the file has; all others have their defaults.
    #[serde(default)]
    pub written: Vec<String>,
    /// What is wrong with the file; the last good one is in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Diagnostics>,
}
