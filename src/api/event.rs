//! What happened, as told by `atm events` and the journal.

use serde::{Deserialize, Serialize};

use super::{
    name::{RunId, SessionName},
    time::Timestamp,
};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The command was executed.
    Started,
    /// The command could not be executed.
    StartFailed,
    /// The main process ended by itself.
    Exited,
    /// A stop was asked for.
    Stopping,
    /// A stop is complete.
    Stopped,
    /// Stopped by a budget.
    Evicted,
    /// Waits, for a reason.
    Pending,
    /// Found running by a new daemon.
    Adopted,
    /// Its keeper died.
    KeeperLost,
    /// Does not end after SIGKILL.
    Unkillable,
    /// Processes that outlived the main process were ended.
    ZombieCleaned,
    /// Output of a run that is over could not be written to its log: the disk was full, mostly.
    OutputLost,
    /// A spec was read, and means something new.
    SpecChanged,
    /// A spec file is gone.
    SpecRemoved,
    /// A spec file is wrong.
    InvalidSpec,
    /// Two files for one name.
    SpecConflict,
    /// The spec directory is gone, or is another one.
    SpecsUnavailable,
    /// The spec directory is back.
    SpecsAvailable,
    /// The config was read, and is in force.
    ConfigChanged,
    /// The config is wrong; the last good one stays.
    InvalidConfig,
    /// A person's will was recorded: stop, suspend, start, resume.
    Requested,
    /// A file of the daemon's own was damaged and set aside.
    RecordDamaged,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts up over the life of a state directory.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: EventKind,
    /// To which session; absent: to the daemon.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<SessionName>,
    /// Uid of the user whose session it was then, and who may hear of it; absent: root and the daemon's user alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// To which run of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<RunId>,
    /// One CamelCase word: the cause of a stop, the reason of a wait.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The sentence for people, free of control characters.
    pub message: String,
}
