//! What an agent tells of itself, by its hooks and its status line, as values: the words, and what people see of them.
//!
//! How each agent says it is in `agents`; what follows from it in `plan::turn` and `plan::activity`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    cause::Actor,
    name::{RunId, SessionName},
    spec::Agent,
    status::SessionView,
    time::{Moment, Timestamp},
};

/// What an agent's main thread is about, as one event of it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It lives; nothing is said about the turn.
    Lives,
    /// A turn begins.
    Begins,
    /// It is in a turn.
    Works,
    /// A helper of it works, which proves a turn only where one is known.
    Helps,
    /// It waits for a person's answer. The turn goes on with it.
    Waits,
    /// The turn is over.
    Ends {
        /// Whether something that it started goes on; absent: it does not say.
        background: Option<bool>,
    },
    /// It waits for a prompt: a turn that was in flight is over, and if none was, this is no news.
    Prompts,
    /// Another conversation begins, and waits for its first prompt.
    Opens,
}

/// A conversation as the agent names it, and how it came to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Letters, digits, `.`, `_`, `:` and `-`, beginning with a letter or digit: it is safe as an argument.
    pub id: String,
    /// How.
    pub origin: ConversationOrigin,
}

/// How an agent came to the conversation that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationOrigin {
    /// It was started with a new one.
    Startup,
    /// It went on with an earlier one.
    Resume,
    /// A person had it forget the one before.
    Clear,
    /// It summed up the one before, and goes on with it.
    Compact,
    /// It is a copy of another one, which goes on without it.
    Fork,
    /// It is in it already.
    Current,
}

/// Something that keeps an agent from working.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What.
    pub kind: ConditionKind,
    /// The agent's own word for it.
    pub reason: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// When it passes by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resets_at: Option<Timestamp>,
}

/// What keeps an agent from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ConditionKind {
    /// The service takes no more for a while.
    RateLimited,
    /// The account is refused: a person has to log in, or to pay.
    AuthFailed,
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RateLimited => "RateLimited",
            Self::AuthFailed => "AuthFailed",
        })
    }
}

/// What an agent uses, as its status line tells. Absent: it did not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The model, as people call it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Cost of the conversation in US dollars, as the agent estimates it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost_usd: Option<f64>,
    /// How much of the context window is taken, in percent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_percent: Option<f64>,
    /// The limits of the account.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub limits: Vec<UsageLimit>,
    /// When this was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
}

/// One limit of an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UsageLimit {
    /// As the agent calls it: `five_hour`, `seven_day`.
    pub name: String,
    /// How much of it is used up, in percent.
    pub used_percent: f64,
    /// When it begins anew.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resets_at: Option<Timestamp>,
}

/// The turn that a session is in, or was in last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TurnView {
    /// Counts up over all runs of the session, from 1.
    pub number: u64,
    /// Whether it goes on.
    pub in_flight: bool,
    /// When it began; of one that is over: when it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// Why it is to end, or ended, before the agent was done with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancel: Option<Interruption>,
}

/// Why a turn was interrupted, and who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Interruption {
    /// Why.
    pub reason: CancelReason,
    /// Who; absent where a rule decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<Actor>,
}

/// Why a turn is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum CancelReason {
    /// `atm cancel`, or another client's `cancel`.
    ClientRpc,
    /// A person ends the session: `atm stop`, `kill`, `restart`, `suspend`.
    AdminKill,
    /// A rule or its file ends the session.
    SessionRemoved,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ClientRpc => "ClientRpc",
            Self::AdminKill => "AdminKill",
            Self::SessionRemoved => "SessionRemoved",
        })
    }
}

/// Parameters of `hook`: what an agent tells of itself. Of which session, the caller's process says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HookParams {
    /// Whose payload it is; absent: the session's agent, or what the payload looks like.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<Agent>,
    /// When it was told, on the machine's monotonic clock, so that what comes late does not undo what came since.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Moment>,
    /// Of a session whose agent was passed hooks: whether this is one of those. Once one of them was heard in a run, those
    /// beside them are not: they say the same, or are another agent's, which that one has started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub passed: Option<bool>,
    /// The payload, or what of it matters.
    #[serde(default)]
    pub payload: Map<String, Value>,
}

/// Result of `hook`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HookResult {
    /// The session that the caller belongs to; absent: none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<SessionName>,
}

/// Parameters of `cancel`: which turn is to be interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelParams {
    /// Which session.
    pub name: SessionName,
    /// The run that the caller saw; absent: the one that lives.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<RunId>,
    /// The turn that the caller saw; absent: the one that is in flight now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub turn: Option<u64>,
}

/// Result of `cancel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CancelResult {
    /// What came of it.
    pub outcome: CancelOutcome,
    /// The session now.
    pub session: SessionView,
}

/// What came of `cancel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum CancelOutcome {
    /// The turn was interrupted; that it ends is for the agent to say.
    Interrupted,
    /// No turn is in flight: nothing was done.
    NoTurn,
    /// The turn in flight is another one: nothing was done.
    Stale,
    /// The turn ended by itself before it could be interrupted: nothing was done.
    TooLate,
}
