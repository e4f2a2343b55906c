//! Payloads as text and as values, read so that nothing in them can do harm.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::api::{
    hook::{UsageLimit, Word},
    time::Timestamp,
};

/// What matters, of all agents. Prompts, inputs and results of tools, and answers are not among it.
const KEPT: &[&str] = &[
    // Common to all hooks.
    "hook_event_name",
    "session_id",
    "cwd",
    "prompt_id",
    "turn_id",
    "agent_id",
    // Of single ones.
    "source",
    "reason",
    "tool_name",
    "is_interrupt",
    "notification_type",
    "message",
    "background_tasks",
    "session_crons",
    "error",
    "error_type",
    "error_details",
    "resets_at",
    "last_assistant_message",
    "new_cwd",
    // Of Claude Code's status line.
    "model",
    "cost",
    "context_window",
    "rate_limits",
    // Of Codex's notifications.
    "type",
    "thread-id",
    "turn-id",
];

/// What goes on behind a turn. Of a task or a cron only its status says something: the rest are commands and prompts.
const BEHIND: &[&str] = &["background_tasks", "session_crons"];

/// Whether `key` says something of `event`. By the same names other events have what is the conversation itself: what
/// a failed tool printed is its `error`, and what a server asks is a `message`.
fn says_something(key: &str, event: Option<&str>, has_type: bool) -> bool {
    match key {
        "error" | "error_type" | "error_details" | "resets_at" | "last_assistant_message" => {
            event == Some("StopFailure")
        }
        "reason" => event == Some("SessionEnd"),
        // Where the kind is told, the sentence is not needed.
        "message" => event == Some("Notification") && !has_type,
        _ => true,
    }
}

/// No value that matters is longer.
const LONGEST: usize = 32 << 10;

/// What matters of the JSON object in `text`. `whole`: there is no more of it; else what can be read of its begin
/// counts. Empty where it is no object.
pub fn sift(text: &[u8], whole: bool) -> Map<String, Value> {
    let mut kept = Map::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = deserializer.deserialize_map(Sieve { kept: &mut kept });
    if read.is_err() && whole {
        return Map::new();
    }
    let event = kept.get("hook_event_name").and_then(Value::as_str).map(str::to_owned);
    let has_type = kept.contains_key("notification_type");
    kept.retain(|key, _| says_something(key, event.as_deref(), has_type));
    // What goes on behind the turn would have stood in what is missing, and what is missing is no proof of rest.
    if read.is_err() && event.as_deref() == Some("Stop") {
        for key in BEHIND {
            kept.entry(*key).or_insert_with(|| vec![going_on()].into());
        }
    }
    kept
}

struct Sieve<'a> {
    kept: &'a mut Map<String, Value>,
}

impl<'de> Visitor<'de> for Sieve<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            // Taken as text first: however deep or large it is, it is skipped without recursion.
            let text = map.next_value::<&RawValue>()?.get();
            if !KEPT.contains(&key.as_str()) {
                continue;
            }
            if BEHIND.contains(&key.as_str()) {
                if let Ok(statuses) = serde_json::Deserializer::from_str(text).deserialize_seq(Statuses) {
                    self.kept.insert(key, statuses);
                }
                continue;
            }
            if text.len() > LONGEST {
                continue;
            }
            if let Ok(value) = serde_json::from_str(text) {
                self.kept.insert(key, value);
            }
        }
        Ok(())
    }
}

/// A task whose status nobody can tell: it is not known to be over.
fn going_on() -> Value {
    Map::new().into()
}

/// A list of tasks as one of their statuses, each once: few bytes, however many they are and whatever they hold.
struct Statuses;

impl<'de> Visitor<'de> for Statuses {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tasks: A) -> Result<Value, A::Error> {
        /// More than any agent has: what comes beyond is not looked at, and goes on.
        const MOST: usize = 16;
        let mut kept: Vec<Value> = Vec::new();
        while let Some(task) = tasks.next_element::<&RawValue>()? {
            let status = serde_json::Deserializer::from_str(task.get()).deserialize_map(Status);
            let task = match status {
                Ok(Some(status)) if kept.len() < MOST => serde_json::json!({"status": status}),
                Ok(_) | Err(_) => going_on(),
            };
            if !kept.contains(&task) {
                kept.push(task);
            }
        }
        Ok(kept.into())
    }
}

/// The status of a task, if it has one that is a word.
struct Status;

impl<'de> Visitor<'de> for Status {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let mut status = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "status" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let is_word = |text: &String| {
                (1..=32).contains(&text.len())
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            };
            let text = map.next_value::<&RawValue>()?.get();
            status = serde_json::from_str(text).ok().filter(is_word);
        }
        Ok(status)
    }
}

/// A text that is not empty, and short enough to be a name.
pub(super) fn text<'a>(payload: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    payload.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// An id that is safe wherever it goes, also as an argument.
pub(super) fn id(payload: &Map<String, Value>, key: &str) -> Option<String> {
    let id = text(payload, key)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    let plain =
        id.len() <= 128 && id.chars().all(allowed) && id.starts_with(|c: char| c.is_ascii_alphanumeric());
    plain.then(|| id.to_owned())
}

/// An absolute path.
pub(super) fn path(payload: &Map<String, Value>, key: &str) -> Option<String> {
    text(payload, key).filter(|path| path.starts_with('/') && path.len() <= 4096).map(str::to_owned)
}

/// A short text for people, as it is: whoever shows it escapes it.
pub(super) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Whether a list has something in it that goes on; `None`: it is no list.
pub(super) fn goes_on(payload: &Map<String, Value>, key: &str) -> Option<bool> {
    const OVER: &[&str] = &["completed", "failed", "killed", "stopped", "cancelled", "canceled"];
    let over = |task: &Value| task.get("status").and_then(Value::as_str).is_some_and(|s| OVER.contains(&s));
    payload.get(key)?.as_array().map(|tasks| tasks.iter().any(|task| !over(task)))
}

/// A time in seconds or milliseconds since 1970, or in RFC 3339.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    /// Seconds beyond this are milliseconds: the year 5138.
    const FAR: i64 = 100_000_000_000;
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it saturates, and the year 9999 is refused below"
            )]
            let number = number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))?;
            let made = if number > FAR {
                Timestamp::from_millisecond(number)
            } else {
                Timestamp::from_second(number)
            };
            made.ok().filter(|_| number > 0)
        }
        _ => None,
    }
}

/// A share in percent, within reason.
pub(super) fn percent(value: Option<&Value>) -> Option<f64> {
    value?.as_f64().filter(|percent| percent.is_finite()).map(|percent| percent.clamp(0.0, 1000.0))
}

/// The limits of an account: an object of objects, by name.
pub(super) fn limits(value: Option<&Value>) -> Vec<UsageLimit> {
    /// More than any agent has.
    const MOST: usize = 8;
    let Some(limits) = value.and_then(Value::as_object) else { return Vec::new() };
    let limit = |(name, limit): (&String, &Value)| {
        let used_percent = percent(limit.get("used_percentage").or_else(|| limit.get("used_percent")))?;
        Some(UsageLimit { name: short(name), used_percent, resets_at: limit.get("resets_at").and_then(time) })
    };
    limits.iter().filter_map(limit).take(MOST).collect()
}

/// The word of an event that both agents have by the same name, with the fields that Claude Code gives it.
pub(super) fn shared_word(event: &str, payload: &Map<String, Value>) -> Option<Word> {
    Some(match event {
        "UserPromptSubmit" => Word::Begins,
        "PreToolUse" => match text(payload, "tool_name") {
            // The tools by which it asks a person.
            Some("AskUserQuestion" | "ExitPlanMode" | "request_user_input") => Word::Waits,
            _ => Word::Works,
        },
        "PermissionRequest" => Word::Waits,
        "PostToolUse" => Word::Works,
        "Stop" => {
            let background = [goes_on(payload, "background_tasks"), goes_on(payload, "session_crons")];
            let told = background.iter().flatten().copied();
            Word::Ends { background: told.reduce(|one, other| one || other) }
        }
        "StopFailure" => Word::Ends { background: None },
        "SessionStart" => match text(payload, "source") {
            // In the middle of a turn, or at its prompt: it goes on as it was.
            Some("compact") => Word::Lives,
            _ => Word::Opens,
        },
        _ => return None,
    })
}
