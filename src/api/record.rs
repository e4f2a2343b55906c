//! The files of a running session, `RUNTIME/sessions/NAME/`: how daemon and keeper find each other again.
//!
//! | file | written by | means |
//! |---|---|---|
//! | `intent.json` | the daemon, holding the lock | this run is about to be started |
//! | `record.json` | the keeper, before the gate opens | this run has a process |
//! | `exit.json` | the keeper, after the log's last byte | this run is over |
//!
//! All are written by rename. A reader that meets a newer `version` sets the file aside and changes nothing.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    cause::Cause,
    config::Logs,
    conversation::ConversationId,
    name::{InstanceId, RunId, SessionName},
    spec::{Agent, Digest, SessionSpec},
    time::{BootId, Moment, Timestamp},
};

/// Version of the files in a session's directory that this program writes, and the newest it reads.
pub const RECORD_VERSION: u32 = 1;

/// Name of the intent in a session's directory.
pub const INTENT_FILE: &str = "intent.json";
/// Name of the record in a session's directory.
pub const RECORD_FILE: &str = "record.json";
/// Name of the exit record in a session's directory.
pub const EXIT_FILE: &str = "exit.json";
/// Name of the activity page in a session's directory.
pub const ACTIVITY_FILE: &str = "activity";
/// Name of the keeper's socket in a session's directory.
pub const SOCKET_FILE: &str = "attach.sock";
/// Environment variable that marks every process of an instance's sessions, and their keepers.
pub const ENV_INSTANCE: &str = "ATM_INSTANCE";
/// Environment variable that marks every process of one run.
pub const ENV_RUN_ID: &str = "ATM_RUN_ID";
/// Environment variable with the session's name.
pub const ENV_SESSION: &str = "ATM_SESSION";
/// Environment variable with the path of the daemon's socket.
pub const ENV_SOCKET: &str = "ATM_SOCKET";
/// Environment variable of a spec or the config: set to `off`, agents are passed no hooks. In a session whose agent is
/// passed some it is [`HOOKS_PASSED`].
pub const ENV_HOOKS: &str = "ATM_HOOKS";
/// Value of [`ENV_HOOKS`] where the session's agent reports by hooks that it was passed: others speak for themselves.
pub const HOOKS_PASSED: &str = "passed";

/// A process, told apart from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    /// Its pid.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in raw clock ticks since boot: compared, never converted.
    pub start_time: u64,
}

/// The last good spec, as it was written: what makes a running session known to a daemon whose state is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoodSpec {
    /// The file's path.
    pub file: PathBuf,
    /// Uid of the file's owner.
    pub owner: u32,
    /// Its text.
    pub text: String,
    /// Of its meaning.
    pub digest: Digest,
    /// Counts changes of its meaning.
    pub generation: u64,
}

/// All that a keeper needs to run one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// The session.
    pub name: SessionName,
    /// This run of it.
    pub run_id: RunId,
    /// Whose it is.
    pub instance: InstanceId,
    /// The state directory of that instance: tells one that was emptied from another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state_dir: Option<PathBuf>,
    /// The boot that pids and moments of this run belong to.
    pub boot_id: BootId,
    /// Inode of the pid namespace that the pids belong to.
    pub pid_namespace: u64,
    /// Generation of the spec.
    pub generation: u64,
    /// Digest of what only a new run can change, as this run was started with: an update of the spec keeps it.
    pub launch: Digest,
    /// What to run.
    pub spec: SessionSpec,
    /// Where that was written; absent where nobody needs to know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<GoodSpec>,
    /// Whom it runs as.
    pub user: RunAs,
    /// Environment below the spec's own: PATH, LANG, TERM, ATM_SOCKET and the config's `env`.
    pub base_env: BTreeMap<String, String>,
    /// Where its output goes.
    pub log_file: PathBuf,
    /// Limits of the output files.
    pub logs: Logs,
    /// The cgroup directory below which the session's own group is made; absent: containment by procfs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cgroup: Option<PathBuf>,
    /// What it is started with as an agent's; absent where it is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<AgentStart>,
}

/// How an agent was started. An update of the spec does not change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStart {
    /// Which.
    pub agent: Agent,
    /// Its working directory, as written in the spec.
    pub working_dir: String,
    /// The conversation that it continues; absent: it begins a new one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub continues: Option<ConversationId>,
    /// Whether it is passed hooks.
    #[serde(default)]
    pub reports: bool,
    /// Flags of the agent's own, beside those of the spec.
    #[serde(default)]
    pub flags: Flags,
}

/// Words that are put into a command, as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Before which word of the command.
    pub at: usize,
    /// The words.
    pub words: Vec<String>,
}

/// Whom a session runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunAs {
    /// A user id: the owner of the spec file, or the daemon's own.
    Uid(u32),
    /// A user's name, as a spec of root's asks for.
    Name(String),
    /// A user's name in a spec that is not root's: it has to be the file's owner. Who may write a spec would
    /// else be whoever it names.
    OwnersName {
        /// As the spec asks for.
        name: String,
        /// The file's owner.
        uid: u32,
    },
}

/// A run that has a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What was asked for.
    #[serde(flatten)]
    pub intent: Intent,
    /// The keeper.
    pub keeper: ProcessId,
    /// The session's main process.
    pub child: ProcessId,
    /// Uid that the session runs as.
    pub uid: u32,
    /// Where it was started: an absolute path without links; absent where that is no text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_dir: Option<PathBuf>,
    /// When the main process was made.
    pub started_at: Timestamp,
    /// The same, on the monotonic clock.
    pub started: Moment,
    /// Whether the command was executed; until then a failure may still follow.
    pub executed: bool,
    /// The stop in progress, once one was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stopping: Option<Stopping>,
    /// Processes of the tree, as last seen.
    #[serde(default)]
    pub members: Vec<ProcessId>,
    /// The session's own cgroup, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<PathBuf>,
    /// What is not as it was asked for, for people: no cgroup, for example.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
}

/// A stop in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// Why, and who asked.
    pub cause: Cause,
    /// When the first signal was sent.
    pub since: Moment,
    /// When SIGKILL follows.
    pub kill_at: Moment,
    /// SIGKILL has not ended all of it within 5 s: it waits in the kernel, or belongs to another user.
    #[serde(default)]
    pub unkillable: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    /// By `exit`, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Why a command could not be executed. Each names what was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum StartError {
    /// The program does not exist.
    #[error("no such file: `{program}` was not found{}", searched(search_path.as_deref()))]
    NoSuchFile {
        /// As written in the spec, expanded.
        program: String,
        /// The PATH that was searched; absent where `program` has a slash.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        search_path: Option<String>,
    },
    /// The program may not be executed.
    #[error("permission denied: cannot execute `{program}` as user {uid}")]
    PermissionDenied {
        /// What was tried.
        program: String,
        /// As whom.
        uid: u32,
    },
    /// The file is no program: a wrong format, a missing interpreter, an argument list that is too long…
    #[error("cannot execute `{program}`: {reason}")]
    CannotExecute {
        /// What was tried.
        program: String,
        /// The system's words.
        reason: String,
    },
    /// The working directory does not exist or cannot be entered.
    #[error("no such directory: cannot enter `{directory}` as user {uid}: {reason}")]
    WorkingDirectory {
        /// As expanded.
        directory: String,
        /// As whom.
        uid: u32,
        /// The system's words.
        reason: String,
    },
    /// The user is not known to the system.
    #[error("no such user: `{user}`")]
    NoSuchUser {
        /// A name or a number.
        user: String,
    },
    /// The user may not be taken on.
    #[error("cannot run as `{user}`: {reason}")]
    SwitchUser {
        /// A name or a number.
        user: String,
        /// The system's words.
        reason: String,
    },
    /// An environment file cannot be read.
    #[error("cannot read environment file `{file}`: {reason}")]
    EnvFile {
        /// As expanded.
        file: String,
        /// The system's words, or the line that is wrong.
        reason: String,
    },
    /// A `${VAR}` that is not set.
    #[error("cannot expand `{text}`: {reason}")]
    Expansion {
        /// As written.
        text: String,
        /// What is missing.
        reason: String,
    },
    /// The machine is short of something: worth another try soon.
    #[error("cannot {action}: {reason}")]
    Host {
        /// What was tried, with its path.
        action: String,
        /// The system's words.
        reason: String,
        /// Out of processes, descriptors, memory or space: it may pass by itself.
        transient: bool,
    },
}

fn searched(path: Option<&str>) -> String {
    path.map_or_else(String::new, |path| format!(" in PATH={path}"))
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExitRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Which run.
    pub run_id: RunId,
    /// How the main process ended; absent where it was never executed, or its keeper was lost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit: Option<Exit>,
    /// Why it could not be executed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_error: Option<StartError>,
    /// Why it was stopped, where it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<Cause>,
    /// Processes that the main process left running and that were ended with it.
    #[serde(default)]
    pub leftovers: Vec<i32>,
    /// Processes that had left the session's cgroup, by pid. They were ended all the same.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub escaped: Vec<i32>,
    /// Processor time of the tree, as far as it was reaped: user and system, in microseconds.
    #[serde(default)]
    pub cpu_micros: u64,
    /// Largest resident set of one process of the tree, in KiB.
    #[serde(default)]
    pub max_rss_kib: u64,
    /// Bytes of output that could not be written to the log. Where they are missing is in its index.
    #[serde(default)]
    pub lost_output: u64,
    /// When the main process was made; absent where it never was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// When the run was over.
    pub ended_at: Timestamp,
    /// How long it ran, on the monotonic clock, in milliseconds.
    pub ran_millis: u64,
}
