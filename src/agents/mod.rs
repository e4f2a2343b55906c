//! What agents say of themselves: from the payload of a hook, a status line or a notification to what it tells.
//!
//! Pure. Two steps, so that prompts, file contents and answers of the model stay with the agent: [`sift`] keeps what
//! matters of a payload's text, whatever its size or depth (the command line does it), and [`read`] says what that
//! means (the daemon does it). Neither fails: field names and shapes vary between versions of an agent, so what is
//! missing, misspelt or of another type tells nothing, and an event that nobody knows is a sign of life.
//!
//! And what they understand:
//! - [`launch`]: the flags by which a run continues a conversation and reports what it does
//! - [`settings`]: which of its events an agent reports, and how it is told to
//! - [`install`]: the same in a person's own settings, which [`json_text`] edits as they are written

pub mod ancestry;
pub mod claude;
pub mod codex;
pub mod install;
pub mod json_text;
pub mod launch;
mod payload;
pub mod settings;

use serde_json::{Map, Value};

pub use payload::sift;

use crate::api::{
    hook::{Condition, Conversation, Usage, Word},
    keys::Key,
    spec::Agent,
};

/// What one payload tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Of the agent's main thread; absent: nothing at all, not even that it does something.
    pub word: Option<Word>,
    /// The turn that it is about, as the agent names it.
    pub turn_id: Option<String>,
    /// Whether it may come after the next turn has begun: it is about the turn that it names and no other.
    pub late: bool,
    /// The conversation that the agent is in.
    pub conversation: Option<Conversation>,
    /// A helper that began or ended.
    pub subagent: Option<Subagent>,
    /// What keeps the agent from working.
    pub trouble: Trouble,
    /// What it uses.
    pub usage: Option<Usage>,
    /// Where it works.
    pub cwd: Option<String>,
    /// The agent is about to end.
    pub exits: bool,
}

/// A helper of an agent, by the agent's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subagent {
    /// It works from now on.
    Started(String),
    /// It is done. One that was never said to begin may end too.
    Stopped(String),
}

/// What a payload says of what keeps an agent from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    Untold,
    /// It works: what kept it from that is over.
    Over,
    /// This.
    Is(Condition),
}

impl Told {
    /// Nothing but a word.
    pub fn word(word: Word) -> Self {
        Self { word: Some(word), ..Self::nothing() }
    }

    /// Nothing at all.
    pub fn nothing() -> Self {
        Self {
            word: None,
            turn_id: None,
            late: false,
            conversation: None,
            subagent: None,
            trouble: Trouble::Untold,
            usage: None,
            cwd: None,
            exits: false,
        }
    }
}

/// Reads a payload of `agent`. Of an agent that tells nothing it is read as what it looks like.
pub fn read(agent: Agent, payload: &Map<String, Value>) -> Told {
    match agent {
        Agent::Codex => codex::read(payload),
        Agent::Claude => claude::read(payload),
        Agent::Generic => read(looks_like(payload), payload),
    }
}

/// Whose payload this is, where nobody says: both agents' hooks are alike, and only Codex's notifications are not.
pub fn looks_like(payload: &Map<String, Value>) -> Agent {
    if codex::is_notification(payload) { Agent::Codex } else { Agent::Claude }
}

/// Whether this is an agent's at all: it names an event or a conversation.
pub fn is_of_an_agent(payload: &Map<String, Value>) -> bool {
    codex::is_notification(payload)
        || ["hook_event_name", "session_id"].iter().any(|key| payload.contains_key(*key))
}

/// The key that interrupts a turn of `agent` and does nothing worse.
pub fn interrupting_key(agent: Agent) -> Key {
    match agent {
        // Their ctrl-c ends the program when it comes twice.
        Agent::Claude | Agent::Codex => Key::ESCAPE,
        Agent::Generic => Key::CTRL_C,
    }
}

#[cfg(test)]
mod tests;
