//! What agents are told so that they report to atm: which of their events, by which command. Values and texts only.
//!
//! An agent that meets an event which it does not know may refuse its whole settings, or stop and ask a person. So each
//! event is listed with the version that first knew it, and one that is of no use here is not listed.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// How long an agent waits for a hook, in seconds. `atm hook` answers in a tenth of one; Codex allows no more than this
/// for some events.
pub const TIMEOUT: u32 = 3;

/// A version of an agent: major, minor, patch.
pub type Version = [u32; 3];

/// Claude Code's events that say what it does, and the version that first knew each.
pub const CLAUDE_EVENTS: &[(&str, Version)] = &[
    ("SessionStart", [1, 0, 85]),
    ("SessionEnd", [1, 0, 85]),
    ("UserPromptSubmit", [1, 0, 85]),
    ("PreToolUse", [1, 0, 85]),
    ("PostToolUse", [1, 0, 85]),
    ("PostToolUseFailure", [2, 1, 20]),
    ("PermissionRequest", [2, 0, 45]),
    ("Elicitation", [2, 1, 76]),
    ("ElicitationResult", [2, 1, 76]),
    ("Notification", [1, 0, 85]),
    ("SubagentStart", [2, 0, 45]),
    ("SubagentStop", [1, 0, 85]),
    ("Stop", [1, 0, 85]),
    ("StopFailure", [2, 1, 78]),
];

/// Codex's events that say what it does. It passes over those that it does not know.
pub const CODEX_EVENTS: &[&str] = &[
    "SessionStart",
    "SessionEnd",
    "UserPromptSubmit",
    "PreToolUse",
    "PermissionRequest",
    "PostToolUse",
    "SubagentStart",
    "SubagentStop",
    "Interrupt",
    "Stop",
];

/// The command of a hook in a person's settings, for a shell: this program, by its whole path, with the flags that say
/// where the daemon is, if it is not where it is looked for.
pub fn command(program: &str, places: &[String]) -> String {
    let mut command = format!("{} hook", shell_words::quote(program));
    for place in places {
        _ = write!(command, " {}", shell_words::quote(place));
    }
    command
}

/// The command of a hook that is passed to the agent of a session. Another agent in that session, which this one may
/// start, is not passed it, and is not taken for this one by it.
fn passed(program: &str) -> String {
    format!("{} --passed", command(program, &[]))
}

/// Settings of Claude Code that have it report by `program`, as one line. Claude Code adds them to a person's own.
pub fn claude(program: &str) -> String {
    let command = json(&passed(program));
    let events = CLAUDE_EVENTS.iter().map(|(event, _)| {
        format!(
            r#"{}:[{{"hooks":[{{"type":"command","command":{command},"timeout":{TIMEOUT}}}]}}]"#,
            json(event)
        )
    });
    format!(r#"{{"hooks":{{{}}}}}"#, events.collect::<Vec<_>>().join(","))
}

/// The same for Codex, as a value of its config. Codex adds the hooks to a person's own, and executes none that nobody has
/// looked at: until somebody has, its terminal shows nothing but that question. Whoever writes a session's command may
/// answer it there, for these hooks alone, by the digest that Codex knows them by.
pub fn codex(program: &str) -> String {
    let command = json(&passed(program));
    let mut value = "hooks={".to_owned();
    for event in CODEX_EVENTS {
        // What TOML calls a basic string is one of JSON's.
        _ = write!(value, r#"{event}=[{{hooks=[{{type="command",command={command},timeout={TIMEOUT}}}]}}],"#);
    }
    let trusted = CODEX_EVENTS.iter().map(|event| {
        let label = snake_case(event);
        let hook = format!(
            r#"{{"event_name":"{label}","hooks":[{{"async":false,"command":{command},"timeout":{TIMEOUT},"type":"command"}}]}}"#
        );
        format!(r#""/<session-flags>/config.toml:{label}:0:0"={{trusted_hash="sha256:{}"}}"#, hex(&hook))
    });
    _ = write!(value, "state={{{}}}}}", trusted.collect::<Vec<_>>().join(","));
    value
}

/// A text as JSON.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn hex(text: &str) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_gets_one_group_an_event() {
        let settings: serde_json::Value = serde_json::from_str(&claude("/opt/a b/atm")).unwrap();
        let hooks = settings["hooks"].as_object().unwrap();
        assert_eq!(hooks.len(), CLAUDE_EVENTS.len());
        let expected = serde_json::json!([{"hooks": [{"type": "command", "command": "'/opt/a b/atm' hook --passed", "timeout": 3}]}]);
        assert!(hooks.values().all(|groups| *groups == expected), "{settings}");
    }

    #[test]
    fn codex_is_told_the_digest_that_it_knows_a_hook_by() {
        let value = codex("/usr/bin/atm");
        assert!(value.starts_with(
            r#"hooks={SessionStart=[{hooks=[{type="command",command="/usr/bin/atm hook --passed",timeout=3}]}],"#
        ));
        // As Codex 0.169 reckons it.
        let known = "sha256:26583ddfdf16d0bfd45d4119e6a04f92b3b719043c50efe8986eeb712069bef1";
        let state =
            format!(r#""/<session-flags>/config.toml:user_prompt_submit:0:0"={{trusted_hash="{known}"}}"#);
        assert!(value.contains(&state), "{value}");
    }
}
