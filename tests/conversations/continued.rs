//! What a later run goes on with, whatever ended the one before.

use std::fs;

use super::harness::{Atm, signal, wait_until};

/// The arguments of a run that continues `id`.
fn continued(id: &str, rest: &[&str]) -> Vec<String> {
    ["--resume", id].iter().chain(rest).map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_conversation_goes_on_after_crashes_requests_and_changes_of_the_spec() {
    let atm = Atm::start();
    atm.drop_spec("a", &atm.agent_spec("claude", ", --verbose, 'fix ${HOME} it'"));
    let first = atm.wait_talk("a", 1);
    assert_eq!(atm.last_run("a").len(), 2, "a fresh start: {:?}", atm.last_run("a"));
    let generation = atm.get("a")["generation"].clone();

    atm.ok(&["send", "a", "exit 3"]);
    assert_eq!(atm.wait_talk("a", 2), first);
    let words = atm.last_run("a");
    assert_eq!(words[..3], continued(&first, &["--verbose"]));
    assert!(words[3].starts_with("fix /"), "what is expanded stays so: {words:?}");
    let seen = atm.get("a");
    assert_eq!(seen["generation"], generation);
    assert_eq!(seen["status"]["conversation"]["continued"], first.as_str());
    assert!(!seen["spec"].to_string().contains("--resume"), "{seen:#}");
    let told = atm.ok(&["describe", "a"]);
    assert!(told.contains(&format!("{first}, continued by this run")), "{told}");
    assert!(told.contains(&format!("continues conversation {first}")), "{told}");

    signal(atm.wait_pid("a"), 9);
    assert_eq!(atm.wait_talk("a", 3), first);

    // A person begins another one: that is what goes on.
    atm.ok(&["send", "a", "clear"]);
    assert!(wait_until(|| atm.get("a")["status"]["conversation"]["id"] != first.as_str()));
    let second = atm.wait_talk("a", 3);
    atm.ok(&["restart", "a"]);
    assert_eq!(atm.wait_talk("a", 4), second);
    assert_eq!(atm.last_run("a")[..2], continued(&second, &[]));

    atm.drop_spec("a", &atm.agent_spec("claude", ", --debug"));
    assert_eq!(atm.wait_talk("a", 5), second);
    assert_eq!(atm.last_run("a"), continued(&second, &["--debug"]));
    assert_eq!(atm.count_events("a", "ConversationRefused"), 0);
}

#[test]
fn a_conversation_outlives_budgets_and_the_daemon() {
    let mut atm = Atm::start();
    let spec = atm.agent_spec("claude", "");
    atm.drop_spec("old", &format!("{spec}maxAge: 2s\n"));
    atm.drop_spec("idle", &format!("{spec}maxIdle: 2s\nmaxAge: never\n"));
    atm.drop_spec("a", &spec);
    let ids = ["old", "idle", "a"].map(|name| atm.wait_talk(name, 1));

    assert!(wait_until(|| atm.runs("old").len() >= 2));
    assert_eq!(atm.last_run("old"), continued(&ids[0], &[]), "recycled for its age");
    atm.remove_spec("old");

    atm.wait_phase("idle", "Evicted");
    atm.ok(&["start", "idle"]);
    assert_eq!(atm.wait_talk("idle", 2), ids[1]);
    assert_eq!(atm.last_run("idle"), continued(&ids[1], &[]), "evicted");

    // It ends while no daemon looks.
    let pid = atm.wait_pid("a");
    atm.kill_daemon();
    signal(pid, 9);
    atm.up();
    assert_eq!(atm.wait_talk("a", 2), ids[2]);
    assert_eq!(atm.last_run("a"), continued(&ids[2], &[]));
    // It goes on while none looks, and the next one still knows what it continued, and whose word to believe.
    atm.restart_daemon();
    assert_eq!(atm.get("a")["status"]["conversation"]["continued"], ids[2].as_str());
    atm.ok(&["send", "a", "clear"]);
    assert!(wait_until(|| atm.get("a")["status"]["conversation"]["id"] != ids[2].as_str()));
    assert_eq!(atm.get("a")["status"]["conversation"]["continued"], ids[2].as_str());
}

#[test]
fn a_conversation_goes_on_after_a_reboot() {
    let mut atm = Atm::start();
    atm.drop_spec("a", &atm.agent_spec("claude", ""));
    let id = atm.wait_talk("a", 1);
    // As after a power cut: nothing lives, what is below /run is gone, and the run has no result.
    atm.kill_daemon();
    for keeper in atm.keepers() {
        signal(keeper.pid, 9);
    }
    for pid in atm.marked() {
        signal(pid, 9);
    }
    assert!(wait_until(|| atm.marked().is_empty()));
    fs::remove_dir_all(atm.runtime()).unwrap();
    let (path, mut memory) = atm.memory("a");
    memory["begun"]["bootId"] = "00000000-0000-4000-8000-000000000000".into();
    fs::write(path, memory.to_string()).unwrap();
    atm.up();
    assert_eq!(atm.wait_talk("a", 2), id);
    assert_eq!(atm.last_run("a"), continued(&id, &[]));
}

#[test]
fn another_agent_in_the_session_does_not_speak_for_it() {
    let atm = Atm::start();
    atm.drop_spec("a", &atm.agent_spec("claude", ""));
    let id = atm.wait_talk("a", 1);
    atm.ok(&["send", "a", "other"]);
    atm.wait_output("a", "another spoke");
    assert_eq!(atm.wait_talk("a", 1), id);
    assert_ne!(atm.get("a")["status"]["activity"], "Busy");
    atm.ok(&["restart", "a"]);
    assert_eq!(atm.wait_talk("a", 2), id);
}

#[test]
fn codex_continues_too() {
    let atm = Atm::start();
    atm.drop_spec("a", &atm.agent_spec("codex", ", -m, gpt-6"));
    let id = atm.wait_talk("a", 1);
    assert_eq!(atm.last_run("a"), ["-m", "gpt-6"]);
    atm.ok(&["send", "a", "exit 1"]);
    assert_eq!(atm.wait_talk("a", 2), id);
    assert_eq!(atm.last_run("a"), ["resume", &id, "-m", "gpt-6"]);
}

#[test]
fn what_is_not_to_go_on_begins_anew() {
    let atm = Atm::start();
    let spec = atm.agent_spec("claude", "");
    atm.drop_spec("never", &format!("{spec}resume: never\n"));
    atm.drop_spec("moved", &spec);
    atm.drop_spec("other", &spec);
    atm.drop_spec("own", &atm.agent_spec("claude", ", --continue"));
    let ids = ["never", "moved", "other", "own"].map(|name| atm.wait_talk(name, 1));
    atm.ok(&["restart", "never"]);
    assert_ne!(atm.wait_talk("never", 2), ids[0]);
    assert_eq!(atm.last_run("never"), [""; 0]);

    fs::create_dir_all(atm.path("elsewhere")).unwrap();
    atm.drop_spec("moved", &spec.replace("/work\n", "/elsewhere\n"));
    assert!(wait_until(|| atm.runs("moved").len() == 2));
    assert_eq!(atm.last_run("moved"), [""; 0], "its conversations are of another directory");

    atm.drop_spec("other", &atm.agent_spec("codex", ""));
    assert!(wait_until(|| atm.runs("other").len() == 2));
    assert_eq!(atm.last_run("other"), [""; 0], "another agent knows nothing of it");

    atm.ok(&["restart", "own"]);
    assert_ne!(atm.wait_talk("own", 2), ids[3]);
    assert_eq!(atm.last_run("own"), ["--continue"], "it says itself what it continues");
}

#[test]
fn hooks_are_passed_to_agents_alone_and_can_be_switched_off() {
    let atm = Atm::start();
    let (claude, codex) = (atm.agent_spec("claude", ""), atm.agent_spec("codex", ""));
    let generic = claude.replace("restartPolicy", "agent: generic\nrestartPolicy");
    for (name, spec) in [
        ("claude", claude.clone()),
        ("codex", codex),
        ("generic", generic),
        ("off", format!("{claude}env: {{ATM_HOOKS: off}}\n").replace("off}", "'off'}")),
        ("own", atm.agent_spec("claude", ", --settings, '{}'")),
    ] {
        atm.drop_spec(name, &spec);
    }
    for name in ["claude", "codex", "generic", "off", "own"] {
        assert!(wait_until(|| atm.log(name).contains("in ")), "{name}");
    }
    let program = env!("CARGO_BIN_EXE_atm");
    let words = |name: &str| atm.runs(name).remove(0);
    assert_eq!(words("claude")[0], "--settings");
    let settings: serde_json::Value = serde_json::from_str(&words("claude")[1]).unwrap();
    for event in ["SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "Stop", "SessionEnd"]
    {
        assert_eq!(
            settings["hooks"][event][0]["hooks"][0]["command"],
            format!("{program} hook --passed"),
            "{event}"
        );
    }
    assert_eq!(words("codex")[0], "-c");
    assert!(words("codex")[1].starts_with("hooks={SessionStart="), "{:?}", words("codex"));
    assert_eq!(words("generic"), [""; 0]);
    assert_eq!(words("off"), [""; 0]);
    assert_eq!(words("own"), ["--settings", "{}"]);
}
