//! Over the end of a daemon.

use std::fs;

use serde_json::{Value, json};

use super::{
    harness::{Atm, wait_until},
    support::{Own, Socket, shows},
};

fn state_of(atm: &Atm, name: &str) -> std::path::PathBuf {
    atm.path("state/sessions").join(format!("{name}.json"))
}

#[test]
fn it_is_on_the_list_of_the_next_daemon_if_its_process_lives() {
    let mut atm = Atm::start_with("staleAfter: 2s");
    let own = Own::recording(&atm.path("work"));
    let mut ends = Own::new(&atm.path("work"));
    let mut socket = Socket::of(&atm);
    let (name, gone) = (socket.claude(&own, "x"), socket.claude(&ends, "y"));
    let before = atm.get(&name);
    // What is remembered is written soon after, and not waited for.
    assert!(wait_until(|| state_of(&atm, &name).exists() && state_of(&atm, &gone).exists()));
    atm.kill_daemon();
    ends.end();
    atm.up();

    let after = atm.get(&name);
    for key in ["/runId", "/status/pid", "/status/startedAt", "/status/registered"] {
        assert_eq!(after.pointer(key), before.pointer(key), "{key}");
    }
    assert!(atm.get(&gone).is_null());
    assert_eq!(atm.events(&[&gone]).pop().unwrap()["kind"], "Unregistered");
    assert_eq!(atm.count_events(&name, "Adopted"), 1);
    // That it was found alive was a sign; without another one it is stale.
    atm.wait(&name, "stale", |session| shows(session) == "Running/Stale");
    let mut socket = Socket::of(&atm);
    assert_eq!(socket.claude(&own, "x"), name);
    assert_eq!(shows(&atm.get(&name)), "Running/Started");
    assert_eq!(own.signals(), "ready\n");
    drop(own);
    atm.wait_gone(&name);
}

#[test]
fn one_of_another_boot_or_with_a_reused_pid_is_gone() {
    let mut atm = Atm::start();
    let owns = ["one", "two", "three"].map(|work| Own::recording(&atm.path(work)));
    let mut socket = Socket::of(&atm);
    let names: Vec<String> =
        owns.iter().zip(["x", "y", "z"]).map(|(own, talk)| socket.claude(own, talk)).collect();
    assert!(wait_until(|| names.iter().all(|name| state_of(&atm, name).exists())));
    atm.kill_daemon();
    let edit = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut state: Value = serde_json::from_slice(&fs::read(state_of(&atm, name)).unwrap()).unwrap();
        change(&mut state["registered"]);
        fs::write(state_of(&atm, name), state.to_string()).unwrap();
    };
    edit(&names[0], &|known| known["bootId"] = json!("another"));
    edit(&names[1], &|known| known["process"]["startTime"] = json!(1));
    edit(&names[2], &|known| known["pidNamespace"] = json!(1));
    atm.up();
    assert_eq!(atm.list().len(), 0);
    for name in &names {
        assert_eq!(atm.events(&[name]).pop().unwrap()["kind"], "Unregistered");
        assert!(wait_until(|| !state_of(&atm, name).exists()));
    }
    for own in &owns {
        assert_eq!(own.signals(), "ready\n");
    }
}

#[test]
fn a_spec_that_took_its_name_while_no_daemon_looked_has_it() {
    let mut atm = Atm::start();
    let own = Own::new(&atm.path("work"));
    let mut socket = Socket::of(&atm);
    socket.register(&json!({"pid": own.pid(), "agent": "claude", "name": "web"}));
    assert!(wait_until(|| state_of(&atm, "web").exists()));
    atm.kill_daemon();
    atm.drop_spec("web", "command: [sleep, '1000']\n");
    atm.up();
    atm.wait("web", "declared", |session| {
        session["origin"] == "Declared" && shows(session) == "Running/Started"
    });
    let other = atm.list().into_iter().find(|session| session["origin"] == "Registered").unwrap();
    assert_eq!(other["status"]["pid"], own.pid());
    // And so it stays.
    let name = other["name"].as_str().unwrap();
    assert!(wait_until(|| state_of(&atm, name).exists()));
    atm.restart_daemon();
    assert_eq!(atm.get(name)["status"]["pid"], own.pid());
    assert_eq!(atm.get("web")["origin"], "Declared");
}
