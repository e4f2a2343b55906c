//! Places, identities and limits: they count, and nothing is done to them.

use serde_json::json;

use super::{
    harness::{Atm, is_alive, now},
    support::{Own, Socket, name_in, shows},
};

const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";

#[test]
fn no_budget_no_cleanup_and_no_end_of_the_daemon_ever_signals_it() {
    let mut atm = Atm::start_with(
        "maxSessions: 1\nmaxIdle: 1s\nmaxAge: 1s\nmaxMemory: 1MiB\nsessionMemory: 1MiB\nstaleAfter: 1s\n\
         emergency: {maxIdle: 1s, maxAge: 1s}\n",
    );
    let own = Own::recording(&atm.path("work"));
    let mut socket = Socket::of(&atm);
    let params = json!({"pid": own.pid(), "agent": "claude", "conversationId": "x", "activity": "Idle"});
    let name = name_in(&socket.register(&params));
    atm.drop_spec("a", SLEEPER);
    atm.wait("a", "waiting", |session| shows(session) == "Pending/MaxSessions");
    atm.wait(&name, "stale", |session| shows(session) == "Running/Stale");
    atm.ok(&["cleanup", "--emergency"]);
    assert_eq!(atm.ok(&["cleanup", "--emergency", "--dry-run"]).matches(&name).count(), 0);
    for verb in ["stop", "kill", "restart", "suspend"] {
        atm.atm(&[verb, "--all", "--no-wait"]);
        atm.atm(&[verb, "-l", "!draft", "--no-wait"]);
    }
    atm.write_config("maxSessions: 0\nstaleAfter: 1s\n");
    atm.wait_health("at the new limit", |health| health["maxSessions"] == 0);
    assert_eq!(shows(&atm.get(&name)), "Running/Stale");
    // In the foreground a SIGTERM ends all sessions; it does not wait for what is none of ours.
    assert_eq!(atm.stop_daemon(), 0);
    atm.up();
    assert_eq!(atm.get(&name)["status"]["pid"], own.pid());
    assert_eq!(own.signals(), "ready\n");
    assert!(is_alive(own.pid()));
}

#[test]
fn a_full_house_is_told_and_blocks_no_person() {
    let atm = Atm::start_with("maxSessions: 2");
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let owns = [0, 1].map(|_| Own::new(&atm.path("work")));
    let mut socket = Socket::of(&atm);
    let first = socket.register(&json!({"pid": owns[0].pid()}));
    assert_eq!(first["warnings"], json!([]));
    let second = socket.register(&json!({"pid": owns[1].pid()}));
    assert!(second["warnings"][0].as_str().unwrap().starts_with("3 sessions live, 2 of them"), "{second:#}");
    let told = atm.events(&[&name_in(&second)]).pop().unwrap();
    assert_eq!((&told["kind"], &told["reason"]), (&json!("Registered"), &json!("MaxSessions")), "{told}");
    let warned = |health: &serde_json::Value| health["warnings"].to_string().contains("3 sessions live");
    atm.wait_health("warned", warned);
    assert!(atm.ok(&["status"]).contains("maxSessions is 2"));

    atm.drop_spec("b", SLEEPER);
    atm.wait("b", "waiting", |session| shows(session) == "Pending/MaxSessions");
    assert_eq!(atm.wait_pid("a"), pid, "who runs goes on");
    let [one, other] = owns;
    drop(one);
    atm.wait_health("no more over the limit", |health| !warned(health));
    assert_eq!(shows(&atm.get("b")), "Pending/MaxSessions", "two live still");
    drop(other);
    atm.wait_pid("b");
    assert_eq!(atm.wait_pid("a"), pid);
}

#[test]
fn an_identity_that_it_has_keeps_a_declared_one_waiting() {
    let atm = Atm::start();
    let mut own = Own::new(&atm.path("work"));
    let mut socket = Socket::of(&atm);
    let name = name_in(&socket.register(&json!({"pid": own.pid(), "identity": "arch"})));
    atm.drop_spec("a", &format!("{SLEEPER}identity: arch\n"));
    let waits = atm.wait("a", "waiting", |session| shows(session) == "Pending/IdentityTaken");
    assert!(waits["status"]["message"].as_str().unwrap().contains(&name), "{waits:#}");
    own.end();
    let pid = atm.wait_pid("a");

    // The other way round: nobody refuses a person's own agent, but it is told.
    let late = Own::new(&atm.path("work"));
    let answer = socket.register(&json!({"pid": late.pid(), "identity": "arch"}));
    assert!(answer["warnings"].to_string().contains("has the identity `arch`"), "{answer:#}");
    assert_eq!(atm.wait_pid("a"), pid);
}

#[test]
fn one_user_cannot_fill_the_list() {
    let atm = Atm::start();
    let mut socket = Socket::of(&atm);
    let many: Vec<_> = (0..105).map(|_| Own::new(&atm.path("work"))).collect();
    let begun = now();
    let mut refused = 0;
    for round in 0..10 {
        for child in &many {
            let params = json!({"pid": child.pid(), "agent": "codex", "conversationId": format!("{round}-{}", child.pid())});
            if let Err(error) = socket.call("register", &params) {
                assert_eq!(error["data"]["kind"], "TooManyRegistered", "{error}");
                refused += 1;
            }
        }
    }
    let took = begun.elapsed();
    let listed = atm.list().len();
    let count = many.len();
    drop(many);
    assert_eq!((listed, refused), (100, 50));
    eprintln!("{} registrations in {took:?}", count * 10);
    let gone = super::harness::wait_until(|| atm.list().is_empty());
    assert!(gone, "{:?}", atm.list().len());
    // And there is room again.
    let own = Own::new(&atm.path("work"));
    assert_eq!(socket.register(&json!({"pid": own.pid()}))["changed"], true);
    let kept = || atm.path("state/sessions").read_dir().unwrap().count();
    assert!(super::harness::wait_until(|| kept() == 1), "something is left of the others: {}", kept());
}
