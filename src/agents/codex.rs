//! Codex: its hooks, which have Claude Code's names and fields with a `turn_id` beside them, and `notify`.
//!
//! `notify` runs a program with one JSON argument when a turn is complete, and does not wait for it: the next turn may
//! have begun when it is heard. Its fields have hyphens.

use serde_json::{Map, Value};

use super::{
    Told, claude,
    payload::{id, path, text},
};
use crate::api::hook::{Conversation, ConversationOrigin, Word};

/// Whether this is the argument of `notify`.
pub fn is_notification(payload: &Map<String, Value>) -> bool {
    !payload.contains_key("hook_event_name") && text(payload, "type").is_some()
}

/// Reads a payload.
pub fn read(payload: &Map<String, Value>) -> Told {
    if is_notification(payload) {
        return notification(payload);
    }
    let told = claude::read(payload);
    let told = Told { turn_id: id(payload, "turn_id").or(told.turn_id.clone()), ..told };
    match text(payload, "hook_event_name") {
        Some("Interrupt") if !payload.contains_key("agent_id") => {
            Told { word: Some(Word::Ends { background: None }), ..told }
        }
        _ => told,
    }
}

fn notification(payload: &Map<String, Value>) -> Told {
    let word = match text(payload, "type") {
        Some("agent-turn-complete") => Word::Ends { background: None },
        Some("approval-requested") => Word::Waits,
        Some(_) | None => Word::Lives,
    };
    let conversation = id(payload, "thread-id");
    Told {
        turn_id: id(payload, "turn-id"),
        late: true,
        conversation: conversation.map(|id| Conversation { id, origin: ConversationOrigin::Current }),
        cwd: path(payload, "cwd"),
        ..Told::word(word)
    }
}
