//! An agent that a person starts in a terminal of their own: its hooks put it on the list, and nothing ends it.

use serde_json::{Value, json};

use crate::{
    harness::{Atm, is_alive, wait_until},
    stand_in::{StandIn, Watch},
};

fn only(atm: &Atm) -> Value {
    let mut sessions = atm.list();
    assert_eq!(sessions.len(), 1, "{sessions:#?}");
    sessions.remove(0)
}

#[test]
fn it_lists_itself_and_is_heard_and_left_alone() {
    let mut atm = Atm::new();
    std::fs::write(atm.path("atm.yaml"), "staleAfter: 2s\nmaxSessions: 1\nmaxIdle: 1s\n").unwrap();
    atm.up();
    let (mut agent, mut process) = StandIn::by_hand(&atm, "own");
    agent.says("SessionStart", json!({"source": "startup"}));
    let session = only(&atm);
    assert_eq!((&session["origin"], &session["status"]["pid"]), (&json!("Registered"), &json!(process.id())));
    let name = session["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("claude-agent-own-"), "{name}");

    let watch = Watch::start(&atm, &name);
    agent.prompts();
    watch.sees("Busy");
    agent.says("PermissionRequest", json!({"tool_name": "Bash"}));
    watch.sees("Waiting");
    agent.stops();
    watch.sees("Idle");
    assert_eq!(only(&atm)["status"]["turn"]["number"], 1);

    // Longer idle than a session may be: it is a person's own.
    atm.wait(&name, "stale", |session| session["status"]["reason"] == "Stale");
    agent.prompts();
    let again = only(&atm);
    assert_eq!(
        (&again["status"]["reason"], &again["status"]["activity"]),
        (&json!("Started"), &json!("Busy"))
    );

    atm.restart_daemon();
    assert_eq!(only(&atm)["name"], name.as_str());
    agent.stops();
    atm.wait(&name, "idle", |session| session["status"]["activity"] == "Idle");

    assert!(is_alive(process.id().cast_signed()));
    assert_eq!(agent.signals(), "");
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(wait_until(|| atm.list().is_empty()), "{:#?}", atm.list());
}

#[test]
fn one_that_ends_with_its_first_word_is_never_listed() {
    let atm = Atm::start();
    let (mut agent, mut process) = StandIn::by_hand(&atm, "own");
    agent.says("SessionEnd", json!({"reason": "prompt_input_exit"}));
    assert!(atm.list().is_empty(), "{:#?}", atm.list());
    process.kill().unwrap();
    process.wait().unwrap();
}
