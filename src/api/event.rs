//! What happened, as told by `atm events` and the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    name::{RunId, SessionName},
    time::Timestamp,
};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// The daemon ends all sessions, and itself.
    ShuttingDown,
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
    /// Processes had left the session's cgroup.
    Escaped,
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
    /// A turn ended before its agent was done with it, because somebody asked for that.
    TurnCancelled,
    /// An agent did not continue the conversation that it was started with.
    ConversationRefused,
    /// A file of the daemon's own was damaged and set aside.
    RecordDamaged,
    /// A session that a person started outside atm told of itself.
    Registered,
    /// Such a session is no longer on the list: it has ended, mostly.
    Unregistered,
    /// The daemon itself uses more memory than `daemonMemoryWarning`.
    DaemonMemory,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f) // the word that programs are told, too
    }
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::Started,
        Self::StartFailed,
        Self::Exited,
        Self::Stopping,
        Self::Stopped,
        Self::ShuttingDown,
        Self::Evicted,
        Self::Pending,
        Self::Adopted,
        Self::KeeperLost,
        Self::Unkillable,
        Self::ZombieCleaned,
        Self::OutputLost,
        Self::Escaped,
        Self::SpecChanged,
        Self::SpecRemoved,
        Self::InvalidSpec,
        Self::SpecConflict,
        Self::SpecsUnavailable,
        Self::SpecsAvailable,
        Self::ConfigChanged,
        Self::InvalidConfig,
        Self::Requested,
        Self::TurnCancelled,
        Self::ConversationRefused,
        Self::RecordDamaged,
        Self::Registered,
        Self::Unregistered,
        Self::DaemonMemory,
    ];

    /// The `MESSAGE_ID` of its entries in the journal: what the catalogue explains.
    pub fn message_id(self) -> &'static str {
        match self {
            Self::Started => "e1b2f000f74548d98c865b902fa4eb3b",
            Self::StartFailed => "022a5c54f5a0489ba42f6babd359e628",
            Self::Exited => "5c9ddf9837db4efdb5a0ce739ae9dcf7",
            Self::Stopping => "46c170ac56a6459f8690568f03165b82",
            Self::Stopped => "cdaff42857034d8d9772ffe0756af81c",
            Self::ShuttingDown => "b21852f372db416e9f3ec19abab06514",
            Self::Evicted => "2b46b7e48ebe44a195b5b14515d96cc3",
            Self::Pending => "6f3a4f75fe7940b0a57b719dee80934d",
            Self::Adopted => "342963812a244635b867ca89b26ca117",
            Self::KeeperLost => "db93d32b298b4a0e83567298ae6aeb0e",
            Self::Unkillable => "3ee33d292d114dc4842b988b26fb4ed5",
            Self::ZombieCleaned => "7a820ddb5b814b9eaa7a2f2a3393aeed",
            Self::OutputLost => "b0a5b77f2cf94a0d9a6d1e2f7f0c8d41",
            Self::Escaped => "2f78eddcd2e14205afc578e0b56e006f",
            Self::SpecChanged => "0fd0b1372ac140019e162827390e5e02",
            Self::SpecRemoved => "8e49268ee3ca498484a3ca94654d6bbe",
            Self::InvalidSpec => "673ef55ad0e6485c93559880e5a20c9a",
            Self::SpecConflict => "0d8fe3b535be47c299cdc18bd825f590",
            Self::SpecsUnavailable => "e95936c5a2754c178b08e6dca50f972c",
            Self::SpecsAvailable => "9e296c9828f546bfb5404d9532e32f0c",
            Self::ConfigChanged => "6db817553d904a169e53ac5b4ad454de",
            Self::InvalidConfig => "6fa93d8e7b314217b1f996c23dc52acb",
            Self::Requested => "7a7878fa772544cab102ce89ed766e54",
            Self::TurnCancelled => "9d1f6f0e1f0c4f0a8f1d9b7f3c2a5e64",
            Self::ConversationRefused => "5616c5838a7c4762ac58b24fed34b86f",
            Self::RecordDamaged => "4767a3e3a10c4ec4bb6f4f69ecb5c102",
            Self::Registered => "9a1c5f0e6d3b4b0f8e57c2d4a6b81307",
            Self::Unregistered => "c3d80b7e51f24c6aa92e4f10b7d56e28",
            Self::DaemonMemory => "bf361acfd5314a74bbf13fc396629a27",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
