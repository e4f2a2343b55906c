//! A conversation that the agent does not continue.

use std::fs;

use super::harness::{Atm, wait_until};

#[test]
fn a_conversation_that_is_gone_costs_one_start_and_no_wait() {
    let atm = Atm::start();
    let spec =
        atm.agent_spec("claude", "").replace("Always", "OnFailure").replace("0s, max: 0s", "1h, max: 1h");
    atm.drop_spec("a", &spec);
    let first = atm.wait_talk("a", 1);
    fs::remove_file(atm.path("work/talks").join(&first)).unwrap();
    atm.ok(&["restart", "a", "--no-wait"]);
    assert!(wait_until(|| atm.runs("a").len() == 3), "{}", atm.log("a"));
    let second = atm.wait_talk("a", 3);
    assert_ne!(second, first);
    assert_eq!(atm.runs("a")[1].last(), Some(&first));
    assert_eq!(atm.last_run("a"), [""; 0]);
    assert!(atm.log("a").contains("No conversation found"), "{}", atm.log("a"));

    let events = atm.events(&["a"]);
    let told = events.iter().find(|event| event["kind"] == "ConversationRefused").unwrap();
    let message = format!("the agent did not continue conversation {first}: starting a new one");
    assert_eq!(told["message"], message.as_str());
    assert!(atm.ok(&["describe", "a"]).contains(&message));
    assert_eq!(atm.get("a")["status"]["phase"], "Running");
    assert_eq!(atm.memory("a").1["failures"], 0, "it is no failure of the session");
    assert_eq!(atm.count_events("a", "Pending"), 0);

    // What the fresh start began goes on.
    atm.ok(&["restart", "a"]);
    assert_eq!(atm.wait_talk("a", 4), second);
}

#[test]
fn also_a_session_that_runs_once_gets_its_run() {
    let atm = Atm::start();
    let spec = atm.agent_spec("claude", "").replace("Always", "Never");
    atm.drop_spec("a", &spec);
    let first = atm.wait_talk("a", 1);
    atm.ok(&["send", "a", "exit 0"]);
    atm.wait_phase("a", "Succeeded");
    fs::remove_file(atm.path("work/talks").join(&first)).unwrap();
    atm.ok(&["start", "a", "--no-wait"]);
    assert_ne!(atm.wait_talk("a", 3), first);
    assert_eq!(atm.get("a")["status"]["phase"], "Running");
}

#[test]
fn what_nothing_was_said_in_is_not_asked_for() {
    let atm = Atm::start();
    atm.drop_spec("a", &atm.agent_spec("claude", ""));
    let first = atm.wait_talk("a", 1);
    atm.ok(&["send", "a", "wipe"]);
    assert!(wait_until(|| atm.get("a")["status"]["conversation"]["id"] != first.as_str()));
    atm.ok(&["restart", "a"]);
    assert_ne!(atm.wait_talk("a", 2), first);
    assert_eq!(atm.last_run("a"), [""; 0]);
    assert_eq!(atm.count_events("a", "ConversationRefused"), 0);
}

#[test]
fn a_refusal_outlives_the_daemon() {
    let mut atm = Atm::start();
    atm.drop_spec("a", &atm.agent_spec("claude", ""));
    let first = atm.wait_talk("a", 1);
    atm.ok(&["stop", "a"]);
    fs::remove_file(atm.path("work/talks").join(&first)).unwrap();
    atm.ok(&["start", "a", "--no-wait"]);
    atm.restart_daemon();
    assert!(wait_until(|| atm.runs("a").len() >= 3), "{}\n{}", atm.log("a"), atm.daemon_log());
    assert_ne!(atm.wait_talk("a", 3), first);
    assert_eq!(atm.last_run("a"), [""; 0]);
    assert_eq!(atm.count_events("a", "ConversationRefused"), 1);
}
