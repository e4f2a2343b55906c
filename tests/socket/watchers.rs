//! Watchers: how many, how fast, how far behind.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    SLEEPER,
    client::{Client, kind, memory},
    harness::{Atm, now, wait_until},
};

#[test]
fn a_hundred_rapid_updates_are_fewer_than_twenty_messages_in_two_seconds() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    let (mut watcher, snapshot) = Client::watching(&atm);
    assert_eq!(snapshot["sessions"][0]["name"], "a");
    let mut client = Client::connect(&atm);
    let begun = now();
    for round in 0..100 {
        client.touch("a", if round % 2 == 0 { "Busy" } else { "Waiting" });
    }
    client.touch("a", "Idle");
    let mut seen = Vec::new();
    while let Some(left) = Duration::from_secs(2).checked_sub(begun.elapsed()) {
        seen.extend(watcher.notice_within(left.max(Duration::from_millis(1))));
    }
    assert!((1..20).contains(&seen.len()), "{} messages", seen.len());
    assert_eq!(seen[seen.len() - 1]["params"]["status"]["activity"], "Idle", "the last state is told");
}

#[test]
fn a_change_is_told_at_once_and_what_is_none_is_not() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("b", SLEEPER);
    atm.wait_pid("a");
    atm.wait_pid("b");
    let (mut watcher, _) = Client::watching(&atm);
    let mut client = Client::connect(&atm);
    client.touch("a", "Busy");
    watcher.notices_until(|notice| notice["params"]["status"]["activity"] == "Busy");
    let mut times = Vec::new();
    for round in 0..20 {
        let activity = if round % 2 == 0 { "Idle" } else { "Busy" };
        let begun = now();
        client.touch("a", activity);
        watcher.notices_until(|notice| notice["params"]["status"]["activity"] == activity);
        times.push(begun.elapsed());
        // The next one is not to be held back by this one's pace.
        std::thread::sleep(Duration::from_millis(250));
    }
    times.sort();
    eprintln!("a change is seen after: median {:?}, slowest {:?}", times[10], times[19]);
    assert!(times[10] < Duration::from_millis(100), "{times:?}");
    // Signs of life that change nothing: what comes next is about the other session.
    for _ in 0..50 {
        client.touch("a", "Busy");
    }
    client.touch("b", "Busy");
    let seen = watcher.notices_until(|notice| {
        notice["params"]["name"] == "b" && notice["params"]["status"]["activity"] == "Busy"
    });
    // What a look measured is news too, and looks are paced.
    assert!(seen.len() <= 4, "{seen:#?}");
}

#[test]
fn the_eleventh_watcher_is_refused_and_nobody_else_notices() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    let mut watchers: Vec<Client> = (0..10)
        .map(|number| {
            let mut client = Client::connect(&atm);
            if number % 2 == 0 {
                client.ok("watch", &json!({}));
            } else {
                client.ok("events", &json!({"watch": true}));
            }
            client
        })
        .collect();
    // Both on one connection are one watcher.
    watchers[0].ok("events", &json!({"watch": true}));
    let mut eleventh = Client::connect(&atm);
    for (method, params) in [("watch", json!({})), ("events", json!({"watch": true}))] {
        let answer = eleventh.call(method, &params);
        assert_eq!(kind(&answer), "MaxClientsReached");
        assert_eq!(answer["error"]["message"], "Server at capacity (10/10). Try again later.");
    }
    eleventh.ok("list", &json!({}));
    eleventh.ok("events", &json!({}));
    let refused = atm.atm(&["get", "-w"]);
    assert_eq!(refused.status.code(), Some(75));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("Server at capacity (10/10). Try again later."), "{said}");
    atm.ok(&["stop", "a"]);
    let is_end = |notice: &Value| {
        notice["params"]["status"]["phase"] == "Suspended" || notice["params"]["kind"] == "Stopped"
    };
    for watcher in &mut watchers {
        watcher.notices_until(is_end);
    }

    // Live: more, then fewer. Those that are there stay.
    atm.write_config("clients: {max: 11}\n");
    assert!(wait_until(|| eleventh.call("watch", &json!({}))["error"].is_null()));
    atm.write_config("clients: {max: 3}\n");
    atm.wait_health("in force", |health| health["clients"]["maxWatchers"] == 3);
    let mut twelfth = Client::connect(&atm);
    let answer = twelfth.call("watch", &json!({}));
    assert_eq!(answer["error"]["message"], "Server at capacity (11/3). Try again later.");
    atm.ok(&["start", "a"]);
    eleventh.notices_until(|notice| notice["params"]["status"]["phase"] == "Running");
    // A place that is given back is free.
    watchers.truncate(1);
    drop(eleventh);
    assert!(wait_until(|| twelfth.call("watch", &json!({}))["error"].is_null()));
    assert_eq!(atm.health()["clients"]["watchers"], 2);
}

#[test]
fn a_watcher_that_does_not_read_is_told_what_it_missed_and_holds_nobody_up() {
    let atm = Atm::start_with("clients: {buffer: 5}\n");
    let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
    for name in &names {
        // Long enough that some changes fill what the kernel keeps for a socket.
        atm.drop_spec(name, &format!("{SLEEPER}env: {{FILL: {}}}\n", "x".repeat(8000)));
    }
    for name in &names {
        atm.wait_pid(name);
    }
    let (mut slow, _) = Client::watching(&atm);
    let (mut quick, _) = Client::watching(&atm);
    let mut client = Client::connect(&atm);
    let before = memory(atm.daemon_pid());
    let reading = std::thread::spawn(move || {
        let mut last = std::collections::BTreeMap::new();
        loop {
            let notice = quick.notice();
            let sessions = match notice["method"].as_str().unwrap() {
                "changed" => vec![notice["params"].clone()],
                "snapshot" => notice["params"]["sessions"].as_array().unwrap().clone(),
                other => panic!("{other}"),
            };
            for session in sessions {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                last.insert(text(&session["name"]), text(&session["status"]["activity"]));
            }
            if last.len() == 20 && last.values().all(|activity| activity == "Idle") {
                return;
            }
        }
    });
    for round in 0..60 {
        for name in &names {
            client.touch(name, if round % 2 == 0 { "Busy" } else { "Waiting" });
        }
    }
    for name in &names {
        client.touch(name, "Idle");
    }
    reading.join().unwrap(); // it has seen all, whatever the other one does
    let dropped = || atm.health()["clients"]["dropped"].as_u64().unwrap();
    let grown = memory(atm.daemon_pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "grown by {grown} bytes");
    let seen = slow.notices_until(|notice| notice["method"] == "snapshot");
    let snapshot = &seen[seen.len() - 1]["params"];
    assert!(snapshot["dropped"].as_u64().unwrap() > 0, "{}", snapshot["dropped"]);
    let sessions = snapshot["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 20);
    assert!(sessions.iter().all(|session| session["status"]["activity"] == "Idle"));
    assert!(dropped() >= snapshot["dropped"].as_u64().unwrap());
    // From there it goes on.
    client.touch("s07", "Busy");
    slow.notices_until(|notice| {
        notice["params"]["name"] == "s07" && notice["params"]["status"]["activity"] == "Busy"
    });
}

#[test]
fn events_that_are_no_longer_kept_are_counted() {
    let atm = Atm::start();
    atm.drop_spec("a", "command: [sleep, '1000']\n");
    atm.wait_pid("a");
    let mut watcher = Client::connect(&atm);
    watcher.ok("events", &json!({"watch": true, "names": ["a"]}));
    let mut client = Client::connect(&atm);
    // Two events at least for each pair, more than are kept and than a socket holds.
    for _ in 0..1600 {
        client.ok("suspend", &json!({"name": "a"}));
        client.ok("resume", &json!({"name": "a"}));
    }
    let last = atm.events(&["a"]).last().unwrap()["id"].as_u64().unwrap();
    let mut told = 0;
    let mut missed = 0;
    let mut first = None;
    while first.is_none_or(|first| first + told + missed <= last) {
        let notice = watcher.notice();
        if notice["method"] == "missed" {
            missed += notice["params"]["count"].as_u64().unwrap();
        } else {
            let id = notice["params"]["id"].as_u64().unwrap();
            let first = *first.get_or_insert(id);
            assert_eq!(id, first + told + missed, "each event is told, or counted");
            told += 1;
        }
    }
    eprintln!("{told} events told, {missed} missed");
    assert!(missed > 0);
}
