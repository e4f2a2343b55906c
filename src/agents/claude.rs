//! Claude Code: its hooks and its status line.
//!
//! As of version 2.1. Each hook's payload has `session_id`, `cwd` and `hook_event_name`; what is fired inside a
//! subagent has `agent_id` too. The status line's has no event. What to know beside the shapes:
//! - A person who interrupts or refuses causes no `Stop`. When a tool ran, its failure says `is_interrupt`.
//! - `SubagentStop` comes also for helpers that were never started, with an empty `agent_type`.
//! - A helper that ends in the background is told by a prompt of its own: a turn of its own.
//! - On `--continue`, `InstructionsLoaded` comes before `SessionStart`, with an id that is never used.

use serde_json::{Map, Value};

use super::{
    Subagent, Told, Trouble,
    payload::{id, limits, path, percent, shared_word, short, text, time},
};
use crate::api::hook::{Condition, ConditionKind, Conversation, ConversationOrigin, Usage, Word};

/// Reads a payload.
pub fn read(payload: &Map<String, Value>) -> Told {
    let Some(event) = text(payload, "hook_event_name") else {
        return status_line(payload);
    };
    let helper = id(payload, "agent_id");
    let word = match (event, helper.is_some()) {
        ("SubagentStart" | "SubagentStop", _) => Word::Lives,
        (_, true) => match main_word(event, payload) {
            // A helper's question is the session's.
            Word::Waits => Word::Waits,
            Word::Works | Word::Begins => Word::Helps,
            Word::Lives | Word::Helps | Word::Ends { .. } | Word::Prompts | Word::Opens => Word::Lives,
        },
        (_, false) => main_word(event, payload),
    };
    Told {
        turn_id: id(payload, "prompt_id"),
        conversation: if helper.is_none() { conversation(event, payload) } else { None },
        subagent: subagent(event, helper.clone()),
        trouble: if helper.is_none() { trouble(event, payload) } else { Trouble::Untold },
        cwd: path(payload, "new_cwd").or_else(|| path(payload, "cwd")),
        exits: event == "SessionEnd" && !matches!(text(payload, "reason"), Some("clear" | "resume")),
        ..Told::word(word)
    }
}

fn main_word(event: &str, payload: &Map<String, Value>) -> Word {
    if let Some(word) = shared_word(event, payload) {
        return word;
    }
    match event {
        // The turn ends with the tool that a person interrupted.
        "PostToolUseFailure" if payload.get("is_interrupt") == Some(&Value::Bool(true)) => Word::Prompts,
        "PostToolUseFailure" | "PermissionDenied" | "ElicitationResult" => Word::Works,
        "Elicitation" => Word::Waits,
        "Notification" => notification(payload),
        // Also where another conversation follows: there it says so itself.
        "SessionEnd" => Word::Prompts,
        _ => Word::Lives,
    }
}

fn notification(payload: &Map<String, Value>) -> Word {
    match text(payload, "notification_type") {
        Some("elicitation_response" | "elicitation_complete") => Word::Helps,
        Some("permission_prompt" | "worker_permission_prompt" | "agent_needs_input") => Word::Waits,
        Some(kind) if kind.starts_with("elicitation_") => Word::Waits,
        Some("idle_prompt") => Word::Prompts,
        Some(_) => Word::Lives,
        // Before version 2.0.37 there was only the sentence.
        None => match text(payload, "message") {
            Some(message) if message.contains("needs your permission") => Word::Waits,
            Some(message) if message.contains("waiting for your input") => Word::Prompts,
            Some(_) | None => Word::Lives,
        },
    }
}

fn conversation(event: &str, payload: &Map<String, Value>) -> Option<Conversation> {
    let origin = match event {
        "SessionStart" => match text(payload, "source") {
            Some("startup") => ConversationOrigin::Startup,
            Some("resume") => ConversationOrigin::Resume,
            Some("clear") => ConversationOrigin::Clear,
            Some("compact") => ConversationOrigin::Compact,
            Some("fork") => ConversationOrigin::Fork,
            Some(_) | None => ConversationOrigin::Current,
        },
        "UserPromptSubmit" | "PreToolUse" | "PostToolUse" | "Stop" | "StopFailure" | "PermissionRequest" => {
            ConversationOrigin::Current
        }
        // Of the one that ends, or of none yet.
        _ => return None,
    };
    Some(Conversation { id: id(payload, "session_id")?, origin })
}

fn subagent(event: &str, helper: Option<String>) -> Option<Subagent> {
    match event {
        "SubagentStart" => helper.map(Subagent::Started),
        "SubagentStop" => helper.map(Subagent::Stopped),
        _ => None,
    }
}

pub(super) fn trouble(event: &str, payload: &Map<String, Value>) -> Trouble {
    match event {
        // The model has answered.
        "Stop" | "PreToolUse" | "PostToolUse" => Trouble::Over,
        "Notification" if text(payload, "notification_type") == Some("auth_success") => Trouble::Over,
        "StopFailure" => failure(payload),
        _ => Trouble::Untold,
    }
}

fn failure(payload: &Map<String, Value>) -> Trouble {
    let error = text(payload, "error").or_else(|| text(payload, "error_type"));
    let said = ["error_details", "last_assistant_message"].into_iter().filter_map(|key| text(payload, key));
    let said: Vec<&str> = said.collect();
    let kind = match error {
        Some("rate_limit" | "overloaded") => ConditionKind::RateLimited,
        Some(
            "authentication_failed"
            | "oauth_org_not_allowed"
            | "account_on_hold"
            | "verification_required"
            | "billing_error"
            | "cloud_credential_error",
        ) => ConditionKind::AuthFailed,
        // Status 529 is told as an error of the server's.
        Some("server_error")
            if said.iter().any(|said| said.contains("529") || said.contains("verloaded")) =>
        {
            ConditionKind::RateLimited
        }
        Some(_) | None => return Trouble::Untold,
    };
    let named = payload.get("resets_at").and_then(time);
    let resets_at = named.or_else(|| said.iter().find_map(|said| reset_in(said)));
    Trouble::Is(Condition { kind, reason: short(error.unwrap_or_default()), since: None, resets_at })
}

/// The time in `usage limit reached|1760000000`.
fn reset_in(said: &str) -> Option<crate::api::time::Timestamp> {
    let (_, rest) = said.split_once("limit reached|")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    time(&Value::from(digits.parse::<i64>().ok()?))
}

/// The status line tells what is used. It is drawn anew at many an occasion, so it is no sign that anything is done.
fn status_line(payload: &Map<String, Value>) -> Told {
    let within = |key: &str, field: &str| payload.get(key).and_then(|value| value.get(field));
    let model = match payload.get("model") {
        Some(Value::String(model)) => Some(model.as_str()),
        Some(model) => model.get("display_name").or_else(|| model.get("id")).and_then(Value::as_str),
        None => None,
    };
    let usage = Usage {
        model: model.filter(|model| !model.is_empty()).map(short),
        cost_usd: within("cost", "total_cost_usd").and_then(Value::as_f64).filter(|cost| cost.is_finite()),
        context_percent: percent(within("context_window", "used_percentage")),
        limits: limits(payload.get("rate_limits")),
        at: None,
    };
    let told = usage != Usage::default();
    Told { usage: told.then_some(usage), cwd: path(payload, "cwd"), ..Told::nothing() }
}
