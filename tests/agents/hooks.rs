//! An agent's turn, told by its hooks, and what budgets make of it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    harness::{Atm, executable, now, signal},
    stand_in::{StandIn, Watch, does, event},
};

#[test]
fn a_turn_is_seen_as_it_is_told() {
    let atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "");
    agent.says("SessionStart", json!({"source": "startup"}));
    let watch = Watch::start(&atm, "a");
    let bash = json!({"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": "toolu_1"});
    let question = json!({"tool_name": "AskUserQuestion", "tool_input": {"questions": []}});
    let done = json!({"background_tasks": [], "session_crons": []});
    for (event, more, activity) in [
        ("UserPromptSubmit", json!({"prompt": "go"}), "Busy"),
        ("PermissionRequest", bash.clone(), "Waiting"),
        ("PostToolUse", bash.clone(), "Busy"),
        ("PreToolUse", question, "Waiting"),
        ("PreToolUse", bash, "Busy"),
        ("Notification", json!({"notification_type": "elicitation_dialog", "message": "m"}), "Waiting"),
        ("Stop", done, "Idle"),
    ] {
        let told = Instant::now();
        let hook = agent.says(event, more);
        let seen = watch.sees(activity) - told;
        eprintln!("{event}: hook {hook:?}, {activity} seen after {seen:?}");
        // The machine may be busy; by itself it takes some milliseconds.
        assert!(seen.as_secs() < 10, "{event}: {seen:?}");
        assert_eq!(atm.get("a")["status"]["activity"], activity);
    }
    let status = atm.get("a")["status"].clone();
    assert_eq!((&status["turn"]["number"], &status["turn"]["inFlight"]), (&json!(1), &json!(false)));
}

/// One that was passed hooks may know nothing of them: then those that a person has installed are heard.
#[test]
fn an_agent_that_ignores_the_hooks_that_it_is_passed_is_heard_by_others() {
    let atm = Atm::start();
    let mut agent = StandIn::by_name(&atm, "a");
    assert_eq!(atm.get("a")["spec"]["agent"], "claude");
    agent.prompts();
    does(&atm, "a", "Busy");
    agent.stops();
    does(&atm, "a", "Idle");
}

#[test]
fn what_goes_on_behind_a_turn_keeps_it_from_being_idle() {
    let atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "");
    agent.prompts();
    let shell =
        json!([{"id": "b1", "type": "shell", "status": "running", "description": "d", "command": "make"}]);
    agent.says("Stop", json!({"background_tasks": shell, "session_crons": []}));
    let status = atm.get("a")["status"].clone();
    assert_eq!((&status["activity"], &status["turn"]["inFlight"]), (&json!("Busy"), &json!(false)));
    // Its end is a prompt of the agent's own.
    agent.says("UserPromptSubmit", json!({"prompt": "<task-notification>"}));
    assert_eq!(atm.get("a")["status"]["turn"]["number"], 2);
    // Versions that do not tell: their helpers do.
    let helper = json!({"agent_id": "a1", "agent_type": "Explore"});
    agent.says("SubagentStart", helper.clone());
    agent.says("Stop", json!({"stop_hook_active": false}));
    let status = atm.get("a")["status"].clone();
    assert_eq!((&status["activity"], &status["subagents"]), (&json!("Busy"), &json!(1)));
    agent.says("SubagentStop", helper);
    agent.says("SubagentStop", json!({"agent_id": "never-started", "agent_type": ""}));
    agent.says("Stop", json!({"stop_hook_active": false}));
    let status = atm.get("a")["status"].clone();
    assert_eq!((&status["activity"], &status["subagents"]), (&json!("Idle"), &Value::Null));
}

#[test]
fn what_it_uses_and_what_keeps_it_from_working_is_shown() {
    let atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "");
    agent.says_raw(
        &json!({
            "session_id": "8bbcceab-0b3e-4e24-98c9-ec146b1ca8c6", "cwd": "/home/a/web", "version": "2.1.263",
            "model": {"id": "claude-opus-5", "display_name": "Opus 5 \u{1b}[31m"},
            "cost": {"total_cost_usd": 8.343},
            "context_window": {"used_percentage": 12, "context_window_size": 1_000_000},
            "rate_limits": {"five_hour": {"used_percentage": 100, "resets_at": 4_102_444_800_i64}},
        })
        .to_string(),
    );
    let usage = atm.get("a")["status"]["usage"].clone();
    assert_eq!((&usage["costUsd"], &usage["contextPercent"]), (&json!(8.343), &json!(12.0)));
    let wide = atm.ok(&["get", "-o", "wide"]);
    assert!(wide.contains("Opus 5") && wide.contains("12%") && wide.contains("$8.34"), "{wide}");
    assert!(!wide.contains('\u{1b}'), "{wide:?}");
    assert_eq!(atm.get("a")["status"]["activity"], "Unknown", "a status line is no sign of a turn");

    agent.prompts();
    agent.says(
        "StopFailure",
        json!({"error": "rate_limit", "last_assistant_message": "You've hit your limit"}),
    );
    let status = does(&atm, "a", "Idle")["status"].clone();
    let condition = status["conditions"][0].clone();
    assert_eq!((&condition["kind"], &condition["reason"]), (&json!("RateLimited"), &json!("rate_limit")));
    assert_eq!(condition["resetsAt"], "2100-01-01T00:00:00Z", "as its limit says that is used up");
    let described = atm.ok(&["describe", "a"]);
    for line in [
        "Turn:          1 (over since",
        "Condition:     RateLimited (rate_limit, until 2100",
        "Cost:          $8.34",
    ] {
        assert!(described.contains(line), "no {line:?} in {described}");
    }
    agent.prompts();
    agent.says("StopFailure", json!({"error": "billing_error"}));
    assert_eq!(atm.get("a")["status"]["conditions"][0]["kind"], "AuthFailed");
    agent.prompts();
    agent.stops();
    assert_eq!(atm.get("a")["status"]["conditions"], Value::Null, "it works again");
}

/// Beside a session that says nothing and is evicted three times meanwhile.
#[test]
fn silence_in_a_turn_is_spared_and_idleness_counts_from_its_end() {
    let atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "maxIdle: 3s\n");
    agent.prompts();
    atm.drop_spec("control", "command: [sleep, '1000']\nmaxIdle: 3s\n");
    let control = |times: usize| {
        for _ in 0..times {
            atm.wait_phase("control", "Evicted");
            atm.ok(&["start", "control"]);
        }
    };
    control(2);
    assert_eq!(does(&atm, "a", "Busy")["status"]["phase"], "Running");
    agent.says("PermissionRequest", json!({"tool_name": "Bash", "tool_input": {"command": "ls"}}));
    control(1);
    assert_eq!(does(&atm, "a", "Waiting")["status"]["phase"], "Running");
    let told = now();
    agent.stops();
    atm.wait_phase("a", "Evicted");
    let took = told.elapsed().as_secs_f64();
    eprintln!("evicted {took:.2} s after Stop");
    assert!((3.0..30.0).contains(&took), "evicted after {took} s");
    assert_eq!(event(&atm, "a", "Evicted")["reason"], "IdleTimeout");
}

#[test]
fn a_changed_spec_waits_for_the_end_of_the_turn() {
    let atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "");
    let pid = atm.wait_pid("a");
    agent.prompts();
    let spec = std::fs::read_to_string(atm.spec_path("a")).unwrap().replace("HOOK_DIR", "A: b, HOOK_DIR");
    atm.drop_spec("a", &spec);
    let waits = atm.wait("a", "waiting for its turn", |s| s["status"]["reason"] == "RestartPending");
    assert!(waits["status"]["message"].to_string().contains("end of its turn"), "{waits:#}");
    agent.says("PermissionRequest", json!({"tool_name": "Bash"}));
    assert_eq!(atm.wait_pid("a"), pid);
    agent.stops_for_the_last_time();
    atm.wait("a", "started anew", |s| s["status"]["pid"].is_i64() && s["status"]["pid"] != pid);
}

#[test]
fn turns_go_on_over_a_restart_of_the_daemon() {
    let mut atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "");
    agent.prompts();
    agent.stops();
    agent.prompts();
    atm.restart_daemon();
    let status = does(&atm, "a", "Busy")["status"].clone();
    assert_eq!((&status["turn"]["number"], &status["turn"]["inFlight"]), (&json!(2), &json!(true)));
    agent.stops();
    does(&atm, "a", "Idle");
    atm.restart_daemon();
    agent.prompts();
    assert_eq!(does(&atm, "a", "Busy")["status"]["turn"]["number"], 3);
    // And over another run: a number is never used twice.
    signal(atm.wait_pid("a"), 9);
    atm.wait("a", "started anew", |s| s["status"]["restarts"] == 1 && s["status"]["phase"] == "Running");
    agent.prompts();
    assert_eq!(does(&atm, "a", "Busy")["status"]["turn"]["number"], 4);
}

#[test]
fn who_is_in_no_session_tells_nothing_about_one() {
    let atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "");
    agent.prompts();
    // From outside, with all that a payload and an environment can say.
    let mut hook = std::process::Command::new(env!("CARGO_BIN_EXE_atm"));
    hook.arg("hook").env("ATM_SOCKET", atm.runtime().join("atm.sock")).env("ATM_SESSION", "a");
    let payload = json!({"hook_event_name": "Stop", "session_id": "8bbcceab-0b3e-4e24-98c9-ec146b1ca8c6"});
    let status = hook.arg(payload.to_string()).status().unwrap();
    assert!(status.success());
    assert_eq!(atm.get("a")["status"]["activity"], "Busy");
}

/// A session of root's with a process of somebody else's in it, who has no say in it.
#[test]
fn another_user_in_a_session_does_not_steer_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: takes root");
        return;
    }
    let atm = Atm::start();
    let bin = atm.path("atm-for-all");
    executable(&bin, &std::fs::read(env!("CARGO_BIN_EXE_atm")).unwrap());
    for path in [atm.path("."), atm.runtime()] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    }
    let stop = r#"{"hook_event_name": "Stop"}"#;
    let prompt = r#"{"hook_event_name": "UserPromptSubmit"}"#;
    let script = atm.path("agent.sh");
    let bin = bin.display();
    let text = format!(
        "{bin} hook '{prompt}'\nsetpriv --reuid 65534 --clear-groups {bin} hook '{stop}'\necho \"told $?\"\nexec sleep 1000\n"
    );
    std::fs::write(&script, text).unwrap();
    atm.drop_spec("a", &format!("command: [sh, {}]\nagent: claude\n", script.display()));
    let output = atm.wait_output("a", "told");
    assert!(output.contains("told 0"), "{output}");
    assert_eq!(does(&atm, "a", "Busy")["status"]["turn"]["inFlight"], true);
}

/// Its first words may come before its keeper's.
#[test]
fn an_agent_is_heard_from_its_first_instruction_on() {
    let atm = Atm::start();
    let bin = env!("CARGO_BIN_EXE_atm");
    let prompt = r#"{"hook_event_name": "UserPromptSubmit"}"#;
    let script = atm.path("agent.sh");
    std::fs::write(&script, format!("{bin} hook '{prompt}'\nexec sleep 1000\n")).unwrap();
    // One after the other: a hook does not wait long for a machine that is busy with ten starts.
    for round in 0..10 {
        let name = format!("a{round}");
        atm.drop_spec(&name, &format!("command: [sh, {}]\nagent: claude\n", script.display()));
        does(&atm, &name, "Busy");
    }
}
