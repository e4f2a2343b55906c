//! Conversations, as the agent that holds them names them: what a later run of a session goes on with.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{name::RunId, spec::Agent, time::Timestamp};

/// An agent's own name for one conversation. It becomes an argument of the agent, so it is never anything else there:
/// letters, digits, `.`, `_`, `:` and `-`, a letter or a digit first, at most 128 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct ConversationId(String);

/// A text that is no conversation's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no conversation's id: expected 1 to {} letters, digits, `.`, `_`, `:` and `-`, a letter or a digit first",
    ConversationId::LONGEST
)]
pub struct NoConversationId;

impl ConversationId {
    /// The longest that is believed. Agents of today use UUIDs.
    pub const LONGEST: usize = 128;

    /// Checks the rule.
    pub fn new(text: impl Into<String>) -> Result<Self, NoConversationId> {
        let text = text.into();
        let fits = text.len() <= Self::LONGEST
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
        if fits { Ok(Self(text)) } else { Err(NoConversationId) }
    }

    /// As the agent names it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ConversationId {
    type Error = NoConversationId;
    fn try_from(text: String) -> Result<Self, NoConversationId> {
        Self::new(text)
    }
}

impl From<ConversationId> for String {
    fn from(id: ConversationId) -> Self {
        id.0
    }
}

/// One conversation that an agent named while a session ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Its name.
    pub id: ConversationId,
    /// Whose it is: another agent does not know it.
    pub agent: Agent,
    /// The working directory, as written in the spec: agents keep conversations by directory.
    pub working_dir: String,
    /// The last run that was in it.
    pub run_id: RunId,
    /// Since when that run was in it.
    pub since: Timestamp,
    /// Something was said in it. Agents keep no record of one in which nothing was.
    #[serde(default)]
    pub begun: bool,
    /// The agent ended at once when it was to continue it.
    #[serde(default)]
    pub refused: bool,
}

/// The conversation of a session, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConversationView {
    /// The one that the agent named last.
    pub id: ConversationId,
    /// Since when it is known.
    pub since: Timestamp,
    /// The one that the current or last run was started to continue; absent: it began a new one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub continued: Option<ConversationId>,
    /// The agent did not take it up: the next run begins a new one.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub refused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_can_be_nothing_but_an_argument() {
        for good in ["a", "0f3a7c1e-0000-4000-8000-000000000000", "urn:x_1.2", &"x".repeat(128)] {
            assert_eq!(ConversationId::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(129);
        let bad = [
            "", "-", "--resume", "-a", ".a", "_a", ":a", "a b", "a/b", "a\n", "a\0", "a\u{1b}", "é", "a$b",
            &long,
        ];
        for bad in bad {
            assert!(ConversationId::new(bad).is_err(), "{bad:?}");
            assert!(serde_json::from_value::<ConversationId>(bad.into()).is_err(), "{bad:?}");
        }
    }
}
