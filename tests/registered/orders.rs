//! What a person can have done to one that registered itself, and what not.

use serde_json::json;

use super::{
    harness::{Atm, told, wait_until},
    support::{Own, Socket},
};

#[test]
fn what_takes_a_keeper_is_refused_with_the_reason() {
    let atm = Atm::start();
    let own = Own::recording(&atm.path("work"));
    let name = Socket::of(&atm).claude(&own, "x");
    for args in [
        &["peek", &name][..],
        &["send", &name, "hello"],
        &["logs", &name],
        &["start", &name],
        &["restart", &name],
        &["suspend", &name],
        &["resume", &name],
        &["delete", &name],
    ] {
        let (code, out, err) = told(&atm.atm(args));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {err}");
        assert!(
            err.contains("started by a person") || err.contains("a person started it"),
            "{args:?}: {err}"
        );
    }
    let (kind, message) = Socket::of(&atm).refused("send", &json!({"name": name, "text": "hello"}));
    assert!(kind == "Conflict" && message.contains("outside atm"), "{kind}: {message}");
    let told = atm.on_a_terminal(&["attach", &name]);
    assert!(told.contains("started by a person"), "{told}");
    assert_eq!(own.signals(), "ready\n");
    assert_eq!(atm.list().len(), 1);
}

#[test]
fn a_stop_asks_it_to_end_and_only_a_kill_makes_it() {
    let atm = Atm::start();
    let mut own = Own::recording(&atm.path("work"));
    let name = Socket::of(&atm).claude(&own, "x");
    atm.ok(&["kill", "-s", "USR1", &name]);
    assert!(wait_until(|| own.signals().contains("USR1")));
    let (code, _, err) = told(&atm.atm(&["stop", &name, "--timeout", "1s"]));
    assert_eq!(code, Some(1), "it goes on: {err}");
    assert!(wait_until(|| own.signals() == "ready\nUSR1\nTERM\n"), "{}", own.signals());
    let session = atm.get(&name);
    assert_eq!(
        (&session["status"]["phase"], &session["status"]["reason"]),
        (&json!("Stopping"), &json!("ClientStop"))
    );
    assert!(!own.has_ended(), "nobody goes further than was asked");

    assert_eq!(atm.ok(&["kill", &name]), format!("{name} ended\n"));
    assert!(wait_until(|| own.has_ended()));
    let events = atm.events(&[&name]);
    let last = events.last().unwrap();
    assert_eq!((&last["kind"], &last["reason"]), (&json!("Unregistered"), &json!("ClientKill")), "{last}");
    let asked = events.iter().filter(|event| event["kind"] == "Requested").count();
    assert_eq!(asked, 2);
}

#[test]
fn one_that_its_person_has_stopped_hears_that_it_is_to_end() {
    let atm = Atm::start();
    let mut own = Own::new(&atm.path("work"));
    let name = Socket::of(&atm).claude(&own, "x");
    super::harness::signal(own.pid(), 19);
    assert_eq!(atm.ok(&["stop", &name]), format!("{name} ended\n"));
    assert!(own.has_ended());
}

#[test]
fn one_that_ends_when_it_is_asked_is_gone_when_the_stop_is_done() {
    let atm = Atm::start();
    let mut own = Own::new(&atm.path("work"));
    let name = Socket::of(&atm).claude(&own, "x");
    assert_eq!(atm.ok(&["stop", &name]), format!("{name} ended\n"));
    assert!(own.has_ended());
    assert_eq!(atm.list().len(), 0);
}
