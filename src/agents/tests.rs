//! Payloads as the agents send them, and what each tells.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::hook::{ConditionKind, ConversationOrigin, UsageLimit};

const ID: &str = "8bbcceab-0b3e-4e24-98c9-ec146b1ca8c6";

/// A payload with the fields that every hook of Claude Code has, sifted as the command line does.
#[expect(clippy::needless_pass_by_value, reason = "a table reads better without borrows")]
fn claude(event: &str, more: Value) -> Told {
    let mut payload = json!({
        "session_id": ID,
        "transcript_path": format!("/home/a/.claude/projects/-home-a-web/{ID}.jsonl"),
        "cwd": "/home/a/web",
        "prompt_id": "23d7f57d-6e63-45f1-9217-c7395a4c98a9",
        "permission_mode": "default",
        "effort": {"level": "high"},
        "hook_event_name": event,
    });
    payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sifted(Agent::Claude, &payload)
}

fn sifted(agent: Agent, payload: &Value) -> Told {
    read(agent, &sift(payload.to_string().as_bytes(), true))
}

fn ends(background: bool) -> Word {
    Word::Ends { background: Some(background) }
}

#[test]
fn each_event_of_claude_code_says_what_the_main_thread_does() {
    let running = json!([{"id": "bx4s43qvk", "type": "shell", "status": "running", "description": "d",
        "command": "sleep 25 && echo done"}]);
    let done = json!([{"id": "bx4s43qvk", "type": "shell", "status": "completed", "description": "d"}]);
    let cron = json!([{"id": "c1", "schedule": "*/5 * * * *", "recurring": true, "prompt": "look again"}]);
    let bash = |more: Value| {
        let mut tool = json!({"tool_name": "Bash", "tool_input": {"command": "ls", "description": "list"},
            "tool_use_id": "toolu_015R8tPjv7FUHuW6MDJj8HpT"});
        tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tool
    };
    let asks =
        |tool: &str| json!({"tool_name": tool, "tool_input": {"questions": []}, "tool_use_id": "toolu_1"});
    let notes = |kind: &str| json!({"message": "m", "notification_type": kind});
    for (event, more, word) in [
        ("SessionStart", json!({"source": "startup", "model": "claude-opus-5"}), Word::Opens),
        ("SessionStart", json!({"source": "resume", "seconds_since_last_response": 10}), Word::Opens),
        ("SessionStart", json!({"source": "clear"}), Word::Opens),
        ("SessionStart", json!({"source": "fork", "context_tokens": 25768}), Word::Opens),
        ("SessionStart", json!({"source": "compact"}), Word::Lives),
        ("UserPromptSubmit", json!({"prompt": "mend the login"}), Word::Begins),
        ("UserPromptExpansion", json!({"command_name": "fix", "prompt": "/fix"}), Word::Lives),
        ("PreToolUse", bash(json!({})), Word::Works),
        ("PreToolUse", asks("AskUserQuestion"), Word::Waits),
        ("PreToolUse", asks("ExitPlanMode"), Word::Waits),
        ("PermissionRequest", bash(json!({"permission_suggestions": []})), Word::Waits),
        ("PermissionDenied", bash(json!({"reason": "[Data Exfiltration]"})), Word::Works),
        ("PostToolUse", bash(json!({"tool_response": {"stdout": "x"}, "duration_ms": 49})), Word::Works),
        ("PostToolUse", asks("AskUserQuestion"), Word::Works),
        ("PostToolUseFailure", bash(json!({"error": "Exit code 1", "is_interrupt": false})), Word::Works),
        ("PostToolUseFailure", bash(json!({"error": "Exit code 1"})), Word::Works),
        ("PostToolUseFailure", bash(json!({"error": "interrupted", "is_interrupt": true})), Word::Prompts),
        ("PostToolBatch", json!({"tool_calls": []}), Word::Lives),
        ("Elicitation", json!({"mcp_server_name": "s", "message": "Which?", "mode": "form"}), Word::Waits),
        ("ElicitationResult", json!({"mcp_server_name": "s", "action": "accept"}), Word::Works),
        ("Notification", notes("permission_prompt"), Word::Waits),
        ("Notification", notes("worker_permission_prompt"), Word::Waits),
        ("Notification", notes("agent_needs_input"), Word::Waits),
        ("Notification", notes("elicitation_dialog"), Word::Waits),
        ("Notification", notes("elicitation_url_dialog"), Word::Waits),
        ("Notification", notes("elicitation_response"), Word::Helps),
        ("Notification", notes("elicitation_complete"), Word::Helps),
        ("Notification", notes("idle_prompt"), Word::Prompts),
        ("Notification", notes("auth_success"), Word::Lives),
        ("Notification", notes("quota_auto_resume_fired"), Word::Lives),
        ("Notification", json!({"message": "Claude needs your permission to use Bash"}), Word::Waits),
        ("Notification", json!({"message": "Claude is waiting for your input"}), Word::Prompts),
        (
            "Stop",
            json!({"stop_hook_active": false, "background_tasks": [], "session_crons": []}),
            ends(false),
        ),
        ("Stop", json!({"background_tasks": running, "session_crons": []}), ends(true)),
        ("Stop", json!({"background_tasks": done, "session_crons": []}), ends(false)),
        ("Stop", json!({"background_tasks": [], "session_crons": cron}), ends(true)),
        ("Stop", json!({"stop_hook_active": false}), Word::Ends { background: None }),
        ("StopFailure", json!({"error": "rate_limit"}), Word::Ends { background: None }),
        ("SubagentStart", json!({"agent_id": "a7154de3fc719065c", "agent_type": "Explore"}), Word::Lives),
        ("SubagentStop", json!({"agent_id": "a7154de3fc719065c", "agent_type": ""}), Word::Lives),
        ("PreToolUse", bash(json!({"agent_id": "a7154de3fc719065c"})), Word::Helps),
        ("PostToolUse", bash(json!({"agent_id": "a7154de3fc719065c"})), Word::Helps),
        ("PermissionRequest", bash(json!({"agent_id": "a7154de3fc719065c"})), Word::Waits),
        ("Stop", json!({"agent_id": "a7154de3fc719065c", "background_tasks": []}), Word::Lives),
        ("PreCompact", json!({"trigger": "auto", "custom_instructions": null}), Word::Lives),
        ("InstructionsLoaded", json!({"file_path": "/home/a/web/CLAUDE.md"}), Word::Lives),
        ("TaskCompleted", json!({"task_id": "1", "task_subject": "probe"}), Word::Lives),
        ("SessionEnd", json!({"reason": "other"}), Word::Prompts),
        ("SomethingOfTomorrow", json!({"session_id": 7}), Word::Lives),
    ] {
        assert_eq!(claude(event, more.clone()).word, Some(word), "{event} {more}");
    }
}

#[test]
fn the_conversation_is_learned_where_it_is_sure() {
    let learned = |event, more| claude(event, more).conversation.map(|found| (found.id, found.origin));
    let known = |origin| Some((ID.to_owned(), origin));
    for (source, origin) in [
        ("startup", ConversationOrigin::Startup),
        ("resume", ConversationOrigin::Resume),
        ("clear", ConversationOrigin::Clear),
        ("compact", ConversationOrigin::Compact),
        ("fork", ConversationOrigin::Fork),
        ("tomorrow", ConversationOrigin::Current),
    ] {
        assert_eq!(learned("SessionStart", json!({"source": source})), known(origin));
    }
    assert_eq!(learned("UserPromptSubmit", json!({})), known(ConversationOrigin::Current));
    // One that ends, one that is never used, a helper's.
    assert_eq!(learned("SessionEnd", json!({"reason": "clear"})), None);
    assert_eq!(learned("InstructionsLoaded", json!({})), None);
    assert_eq!(learned("Stop", json!({"agent_id": "a1"})), None);
    // It becomes an argument of a command.
    for id in ["-rf", "a b", "a\n", "$(x)", "../../x", "", &"x".repeat(129)] {
        assert_eq!(learned("Stop", json!({"session_id": id})), None, "{id:?}");
    }
}

#[test]
fn a_session_that_only_changes_its_conversation_does_not_exit() {
    for (reason, exits) in
        [("clear", false), ("resume", false), ("logout", true), ("prompt_input_exit", true), ("other", true)]
    {
        assert_eq!(claude("SessionEnd", json!({"reason": reason})).exits, exits, "{reason}");
    }
    assert!(!claude("Stop", json!({})).exits);
}

#[test]
fn a_failure_says_what_keeps_it_from_working_and_until_when() {
    let kind = |error: &str| match claude("StopFailure", json!({"error": error})).trouble {
        Trouble::Is(condition) => Some((condition.kind, condition.reason)),
        Trouble::Untold | Trouble::Over => None,
    };
    for limited in ["rate_limit", "overloaded"] {
        assert_eq!(kind(limited), Some((ConditionKind::RateLimited, limited.to_owned())));
    }
    for refused in [
        "authentication_failed",
        "billing_error",
        "oauth_org_not_allowed",
        "account_on_hold",
        "verification_required",
        "cloud_credential_error",
    ] {
        assert_eq!(kind(refused), Some((ConditionKind::AuthFailed, refused.to_owned())));
    }
    for other in ["server_error", "invalid_request", "max_output_tokens", "model_not_found", "unknown"] {
        assert_eq!(kind(other), None, "{other}");
    }
    let trouble = |more: Value| claude("StopFailure", more).trouble;
    let overloaded = json!({"error": "server_error", "last_assistant_message": "API Error: 529 Overloaded. Usually temporary."});
    assert!(matches!(trouble(overloaded), Trouble::Is(c) if c.kind == ConditionKind::RateLimited));
    // Versions before 2.1 named the field otherwise, and the time within the sentence.
    let old = json!({"error_type": "rate_limit", "last_assistant_message": "Claude AI usage limit reached|1760000000"});
    let Trouble::Is(condition) = trouble(old) else { panic!("no condition") };
    assert_eq!(condition.resets_at, Some("2025-10-09T08:53:20Z".parse().unwrap()));
    let Trouble::Is(condition) = trouble(json!({"error": "rate_limit", "resets_at": 1_788_617_400_000_i64}))
    else {
        panic!("no condition")
    };
    assert_eq!(condition.resets_at, Some("2026-09-05T14:10:00Z".parse().unwrap()));
    assert_eq!(claude("Stop", json!({"background_tasks": []})).trouble, Trouble::Over);
    assert_eq!(claude("Notification", json!({"notification_type": "auth_success"})).trouble, Trouble::Over);
    assert_eq!(claude("UserPromptSubmit", json!({})).trouble, Trouble::Untold, "asking proves nothing");
}

#[test]
fn helpers_are_told_apart_by_their_ids() {
    let helper = |event| claude(event, json!({"agent_id": "a1", "agent_type": "Explore"})).subagent;
    assert_eq!(helper("SubagentStart"), Some(Subagent::Started("a1".into())));
    assert_eq!(helper("SubagentStop"), Some(Subagent::Stopped("a1".into())));
    assert_eq!(helper("PreToolUse"), None);
    assert_eq!(claude("SubagentStop", json!({})).subagent, None);
}

/// As Claude Code 2.1.263 gives it to the command.
fn status_line() -> Value {
    json!({
        "session_id": ID,
        "transcript_path": "/home/a/.claude/projects/-home-a-web/x.jsonl",
        "cwd": "/home/a/web",
        "model": {"id": "claude-opus-5[1m]", "display_name": "Opus 5 (1M context)"},
        "workspace": {"current_dir": "/home/a/web", "project_dir": "/home/a/web"},
        "version": "2.1.263",
        "output_style": {"name": "default"},
        "cost": {"total_cost_usd": 8.343_004_900_000_002, "total_duration_ms": 4_110_311, "total_lines_added": 40},
        "context_window": {"total_input_tokens": 118_695, "context_window_size": 1_000_000, "used_percentage": 12},
        "exceeds_200k_tokens": false,
        "rate_limits": {
            "five_hour": {"used_percentage": 7.000_000_000_000_001, "resets_at": 1_788_617_400},
            "seven_day": {"used_percentage": 65},
        },
    })
}

#[test]
fn the_status_line_tells_what_is_used_and_nothing_else() {
    let told = sifted(Agent::Claude, &status_line());
    assert_eq!((told.word, told.conversation), (None, None), "it is drawn also while nothing happens");
    let usage = told.usage.unwrap();
    assert_eq!(usage.model.as_deref(), Some("Opus 5 (1M context)"));
    assert_eq!((usage.cost_usd, usage.context_percent), (Some(8.343_004_900_000_002), Some(12.0)));
    let resets_at = Some("2026-09-05T14:10:00Z".parse().unwrap());
    let limit =
        |name: &str, used_percent, resets_at| UsageLimit { name: name.into(), used_percent, resets_at };
    let limits = [limit("five_hour", 7.000_000_000_000_001, resets_at), limit("seven_day", 65.0, None)];
    assert_eq!(usage.limits, limits);
    // Versions before 2.0.65 have no window, those of an API key no limits, and null stands for unknown.
    for less in [
        json!({"model": {"id": "claude-opus-4"}}),
        json!({"model": "opus", "context_window": {"used_percentage": null}}),
    ] {
        let usage = sifted(Agent::Claude, &less).usage.unwrap();
        assert!(usage.model.is_some() && usage.context_percent.is_none() && usage.limits.is_empty());
    }
    assert_eq!(sifted(Agent::Claude, &json!({})), Told::nothing());
}

#[test]
fn codex_is_read_by_its_hooks_and_by_its_notifications() {
    let codex = |event: &str, more: Value| {
        let mut payload = json!({
            "session_id": "b5f6c1c2-1111-2222-3333-444455556666", "turn_id": "turn-7", "transcript_path": null,
            "cwd": "/home/a/web", "hook_event_name": event, "model": "gpt-6-codex", "permission_mode": "default",
        });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sifted(Agent::Codex, &payload)
    };
    let shell = json!({"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": "call_1"});
    for (event, more, word) in [
        ("SessionStart", json!({"source": "startup"}), Word::Opens),
        ("UserPromptSubmit", json!({"prompt": "go"}), Word::Begins),
        ("PreToolUse", shell.clone(), Word::Works),
        ("PermissionRequest", shell.clone(), Word::Waits),
        ("PostToolUse", shell, Word::Works),
        (
            "Stop",
            json!({"stop_hook_active": false, "last_assistant_message": null}),
            Word::Ends { background: None },
        ),
        (
            "StopFailure",
            json!({"error": "rate_limit", "error_details": null}),
            Word::Ends { background: None },
        ),
        ("Interrupt", json!({}), Word::Ends { background: None }),
        ("SubagentStop", json!({"agent_id": "t2", "agent_type": "worker"}), Word::Lives),
    ] {
        let told = codex(event, more);
        assert_eq!(told.word, Some(word), "{event}");
        assert_eq!((told.turn_id.as_deref(), told.late), (Some("turn-7"), false));
    }
    let notified = json!({
        "type": "agent-turn-complete", "thread-id": "b5f6c1c2-1111-2222-3333-444455556666", "turn-id": "12345",
        "cwd": "/home/a/web", "client": "codex-tui", "input-messages": ["Rename `foo` to `bar`."],
        "last-assistant-message": "Rename complete.",
    });
    for agent in [Agent::Codex, Agent::Generic] {
        let told = sifted(agent, &notified);
        assert_eq!(told.word, Some(Word::Ends { background: None }));
        assert_eq!((told.turn_id.as_deref(), told.late), (Some("12345"), true));
        assert_eq!(told.conversation.unwrap().id, "b5f6c1c2-1111-2222-3333-444455556666");
    }
    assert_eq!(sifted(Agent::Codex, &json!({"type": "of-tomorrow"})).word, Some(Word::Lives));
}

#[test]
fn an_agent_is_interrupted_by_what_does_not_end_it() {
    let keys = [Agent::Claude, Agent::Codex, Agent::Generic].map(|agent| interrupting_key(agent).to_string());
    assert_eq!(keys, ["escape", "escape", "ctrl-c"]);
}

#[test]
fn nothing_of_the_conversation_itself_passes() {
    let secret = "hunter2";
    let payload = json!({
        "hook_event_name": "Stop", "prompt": secret, "tool_input": {"command": secret},
        "tool_response": {"stdout": secret}, "last_assistant_message": secret, "error_details": secret,
        "transcript_path": secret, "compact_summary": secret, "delta": secret,
        "background_tasks": [
            {"id": secret, "type": "shell", "status": "running", "description": secret, "command": secret},
            {"status": {"of": secret}}, {"status": format!("{secret} and more")}, secret, [secret],
        ],
        "session_crons": [{"id": "c1", "schedule": "*/5 * * * *", "prompt": secret}],
    });
    let passed = |payload: &Value| Value::Object(sift(payload.to_string().as_bytes(), true));
    assert!(!passed(&payload).to_string().contains(secret));
    assert_eq!(passed(&payload)["background_tasks"], json!([{"status": "running"}, {}]));
    // What a tool printed, what a server asks, why a tool was refused.
    for (event, more) in [
        ("PostToolUseFailure", json!({"error": secret, "tool_name": "Bash"})),
        ("Elicitation", json!({"message": secret})),
        ("PermissionDenied", json!({"reason": secret})),
        ("Notification", json!({"message": secret, "notification_type": "permission_prompt"})),
    ] {
        let mut payload = json!({"hook_event_name": event});
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert!(!passed(&payload).to_string().contains(secret), "{event}");
    }
}

#[test]
fn what_goes_on_behind_a_turn_is_heard_however_much_it_is() {
    let stop = |tasks: Value| claude("Stop", json!({"background_tasks": tasks, "session_crons": []})).word;
    let task = |status: &str| json!({"id": "b1", "status": status, "command": "x".repeat(40 << 10)});
    assert_eq!(stop(json!([task("completed"), task("running")])), Some(ends(true)));
    assert_eq!(stop(json!([task("completed"), task("killed")])), Some(ends(false)));
    let mut many: Vec<Value> = (0..5000).map(|_| json!({"status": "completed", "command": "true"})).collect();
    assert_eq!(stop(many.clone().into()), Some(ends(false)));
    many.push(json!({"status": "running"}));
    assert_eq!(stop(many.into()), Some(ends(true)));
    let odd: Vec<Value> = (0..5000).map(|number| json!({"status": format!("s{number}")})).collect();
    let text = json!({"hook_event_name": "Stop", "background_tasks": odd}).to_string();
    assert!(Value::Object(sift(text.as_bytes(), true)).to_string().len() < 1000);
    // What cannot be read of it goes on.
    for odd in [json!([{}]), json!([null]), json!([{"status": 7}]), json!([[]]), json!(["completed"])] {
        assert_eq!(stop(odd.clone()), Some(ends(true)), "{odd}");
    }
    // Cut off within it, or before it.
    let text = r#"{"hook_event_name":"Stop","background_tasks":[{"status":"completed","command":"x"}]}"#;
    for cut in ["command", "\"background"].map(|at| text.find(at).unwrap()) {
        let payload = sift(&text.as_bytes()[..cut], false);
        assert_eq!(read(Agent::Claude, &payload).word, Some(ends(true)), "{cut}");
    }
}

#[test]
fn size_and_depth_of_what_does_not_matter_do_not_matter() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let large = "x".repeat(4 << 20);
    for noise in [&deep, &format!("\"{large}\"")] {
        let text =
            format!(r#"{{"tool_response":{noise},"hook_event_name":"Stop","cwd":{deep},"session_id":"a1"}}"#);
        let payload = sift(text.as_bytes(), true);
        assert_eq!(payload.len(), 2, "{:?}", payload.keys());
        assert_eq!(read(Agent::Claude, &payload).word, Some(Word::Ends { background: None }));
    }
    // What was cut off: what came before it counts, if it is known to be cut off.
    let cut = format!(r#"{{"session_id":"a1","hook_event_name":"PostToolUse","tool_response":"{large}"#);
    assert_eq!(read(Agent::Claude, &sift(cut.as_bytes(), false)).word, Some(Word::Works));
    assert!(sift(cut.as_bytes(), true).is_empty());
}

#[test]
fn what_is_no_payload_tells_nothing() {
    for text in ["", "null", "[]", "7", "\"x\"", "{", "not json", "{\"hook_event_name\":\"Stop\"", "\u{0}"] {
        assert!(sift(text.as_bytes(), true).is_empty(), "{text}");
    }
    assert!(sift(b"\xff\xfe{}", true).is_empty());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn a_field_of_any_type_is_read_without_harm(
        event in prop_oneof![Just("Stop"), Just("StopFailure"), Just("Notification"), Just("PreToolUse"), Just("SessionStart")],
        field in prop::sample::select(vec![
            "hook_event_name", "session_id", "agent_id", "tool_name", "source", "background_tasks", "session_crons",
            "error", "resets_at", "notification_type", "message", "model", "cost", "context_window", "rate_limits",
            "type", "turn-id", "cwd", "is_interrupt",
        ]),
        value in any_json(),
        agent in prop::sample::select(vec![Agent::Claude, Agent::Codex, Agent::Generic]),
    ) {
        let mut payload = json!({"hook_event_name": event});
        payload[field] = value;
        let told = sifted(agent, &payload);
        prop_assert!(told.usage.is_none_or(|usage| usage.context_percent.is_none_or(f64::is_finite)));
    }

    #[test]
    fn any_bytes_are_sifted(bytes in prop::collection::vec(any::<u8>(), 0..200), whole in any::<bool>()) {
        read(Agent::Claude, &sift(&bytes, whole));
    }
}
