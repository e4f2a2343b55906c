//! When a spec is gone, and what a session that is on its way up or down makes of it.

use std::time::{Duration, Instant};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, stat_field, wait_until},
    writing::{Copies, running_with},
};

/// `git stash`: all specs go at once, and come back.
#[test]
fn many_specs_that_vanish_at_once_and_come_back_stop_nobody() {
    let atm = Atm::start();
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    for name in &names {
        atm.drop_spec(name, SLEEPER);
    }
    let pids: Vec<i32> = names.iter().map(|name| atm.wait_pid(name)).collect();
    for name in &names {
        atm.remove_spec(name);
    }
    let told =
        wait_until(|| atm.events(&[]).iter().any(|e| e["message"].to_string().contains("vanished at once")));
    assert!(told, "{}", atm.daemon_log());
    for name in &names {
        atm.drop_spec(name, SLEEPER);
    }
    atm.settle();
    let again: Vec<i32> = names.iter().map(|name| atm.wait_pid(name)).collect();
    assert_eq!(again, pids);
}

/// The brake delays, and does not refuse.
#[test]
fn many_specs_that_stay_away_end_after_three_listings() {
    let atm = Atm::start();
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    for name in &names {
        atm.drop_spec(name, SLEEPER);
    }
    let pids: Vec<i32> = names.iter().map(|name| atm.wait_pid(name)).collect();
    let removed = Instant::now();
    for name in &names {
        atm.remove_spec(name);
    }
    assert!(wait_until(|| pids.iter().any(|pid| !is_alive(*pid))));
    assert!(removed.elapsed() >= Duration::from_secs(4), "the first ended after {:?}", removed.elapsed());
    for name in &names {
        atm.wait_gone(name);
    }
    let events = atm.events(&["s0"]);
    assert!(events.iter().any(|e| e["kind"] == "Stopping" && e["reason"] == "SpecRemoved"), "{events:#?}");
}

/// Whoever sees his sessions run on without specs finds the reason where he looks first, and only while it holds.
#[test]
fn a_removal_that_is_held_up_is_told_in_status_until_it_is_over() {
    let atm = Atm::start();
    let names = ["s0", "s1", "s2", "s3"];
    for name in names {
        atm.drop_spec(name, SLEEPER);
    }
    let pids = names.map(|name| atm.wait_pid(name));
    let warns = |health: &serde_json::Value| health["warnings"].to_string().contains("vanished at once");
    for name in names {
        atm.remove_spec(name);
    }
    let health = atm.wait_health("holding removals up", warns);
    assert!(health["warnings"].to_string().contains("4 of 4 live sessions"), "{health:#}");
    let page = atm.ok(&["status"]);
    assert!(page.contains("Warning") && page.contains("cleanup --accept-removals"), "{page}");
    for name in names {
        atm.drop_spec(name, SLEEPER);
    }
    atm.wait_health("over it, as all are back", |health| !warns(health));
    assert_eq!(names.map(|name| atm.wait_pid(name)), pids);

    for name in names {
        atm.remove_spec(name);
    }
    atm.wait_health("holding removals up", warns);
    for name in names {
        atm.wait_gone(name);
    }
    atm.wait_health("over it, as all are gone", |health| !warns(health));
}

/// A few are what people remove: within a second, and a file that is only replaced is none of them.
#[test]
fn a_removed_spec_ends_its_session_soon_and_a_recreated_one_does_not() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    for _ in 0..20 {
        atm.remove_spec("a");
        std::thread::sleep(Duration::from_millis(20));
        atm.drop_spec("a", SLEEPER);
        std::thread::sleep(Duration::from_millis(50));
    }
    atm.settle();
    assert_eq!(atm.wait_pid("a"), pid);
    let removed = Instant::now();
    atm.remove_spec("a");
    assert!(wait_until(|| !is_alive(pid)));
    let took = removed.elapsed();
    assert!(took >= Duration::from_millis(300), "one look was enough: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// S49: removed and dropped again at every moment of a start and of a stop that takes its time.
#[test]
fn a_spec_that_comes_back_while_its_session_ends_never_makes_two() {
    let atm = Atm::start();
    let token = format!("token-{}", std::process::id());
    // Takes a moment to end. Its children carry no token: `exec` replaced their arguments.
    let script = "trap 'exec sleep 0.2' TERM HUP; echo up; while :; do sleep 0.05; done";
    let spec = format!("command: [sh, -c, {script:?}, {token}]\nterminal: false\nbackoff: {{initial: 0s}}\n");
    let counted = token.clone();
    let copies = Copies::count(move || {
        let pids = running_with(&counted);
        pids.iter().filter(|pid| parent(**pid).is_some_and(|parent| !pids.contains(&parent))).count()
    });
    for round in 0..25_u64 {
        atm.drop_spec("a", &spec);
        std::thread::sleep(Duration::from_millis(round * 37 % 150));
        atm.remove_spec("a");
        std::thread::sleep(Duration::from_millis(250 + round * 53 % 350));
    }
    atm.drop_spec("a", &spec);
    atm.wait_pid("a");
    atm.settle();
    atm.remove_spec("a");
    atm.wait_gone("a");
    assert_eq!(copies.most(), 1, "copies at the same time");
    assert!(wait_until(|| atm.marked().is_empty()), "left: {:?}", atm.marked());
}

fn parent(pid: i32) -> Option<i32> {
    stat_field(format!("/proc/{pid}/stat"), 1)?.parse().ok()
}
