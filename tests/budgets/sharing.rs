//! A full house: the emergency cleanup, priorities, slots.

use super::{SLEEPER, harness::Atm, wait_over};

#[test]
fn at_the_limit_the_longest_idle_one_makes_room() {
    let atm = Atm::start_with("maxSessions: 2\nemergency: {maxIdle: 2s, maxAge: 1h}\n");
    atm.drop_spec("first", SLEEPER);
    atm.wait_pid("first");
    atm.drop_spec("second", SLEEPER);
    let second = atm.wait_pid("second");
    atm.drop_spec("third", SLEEPER);
    let first = wait_over(&atm, "first", "Evicted", "IdleTimeout");
    assert!(first["status"]["message"].to_string().contains("emergency.maxIdle"), "{first:#}");
    atm.wait_pid("third");
    assert_eq!(atm.wait_pid("second"), second);
}

#[test]
fn an_idle_session_of_lower_priority_makes_room_and_waits() {
    let atm = Atm::start_with("maxSessions: 1\nemergency: {maxIdle: 1h, maxAge: 1d}\n");
    atm.drop_spec("low", SLEEPER);
    atm.wait_pid("low");
    atm.drop_spec("high", &format!("{SLEEPER}priority: 5\n"));
    atm.wait_pid("high");
    let low = wait_over(&atm, "low", "Pending", "MaxSessions");
    assert_eq!(low["status"]["cause"]["reason"], "MaxSessions", "{low:#}");
    assert!(low["status"]["cause"]["message"].to_string().contains("`high`"), "{low:#}");
    atm.remove_spec("high");
    atm.wait_pid("low");
}

#[test]
fn a_newer_session_takes_the_slot_of_an_idle_one_and_waits_for_no_turn() {
    let atm = Atm::start();
    let spec = format!("{SLEEPER}owner: alice\nslot: chat\n");
    for name in ["old", "new"] {
        atm.drop_spec(name, &spec);
        atm.wait_pid(name);
        atm.ok(&["touch", name, "--activity", "busy"]);
    }
    atm.drop_spec("other", &format!("{SLEEPER}owner: bob\nslot: chat\n"));
    atm.wait_pid("other");
    assert_eq!(atm.get("old")["status"]["phase"], "Running");
    atm.ok(&["touch", "old", "new", "other", "--activity", "idle"]);
    let old = wait_over(&atm, "old", "Evicted", "SlotTaken");
    assert!(old["status"]["message"].to_string().contains("`new`"), "{old:#}");
    for name in ["new", "other"] {
        assert_eq!(atm.get(name)["status"]["phase"], "Running", "{name}");
    }
}

#[test]
fn a_cleanup_by_hand_tells_and_does() {
    let atm = Atm::start_with("emergency: {maxIdle: 1s, maxAge: 1h}\n");
    atm.drop_spec("idle", SLEEPER);
    atm.drop_spec("pinned", &format!("{SLEEPER}pinned: true\n"));
    let pid = atm.wait_pid("idle");
    atm.wait_pid("pinned");
    atm.wait("idle", "idle", |s| s["status"]["activity"] == "Idle");
    assert_eq!(atm.ok(&["cleanup", "--dry-run"]), "");
    let told = atm.ok(&["cleanup", "--emergency", "--dry-run"]);
    assert!(told.contains("idle") && told.contains("IdleTimeout") && !told.contains("pinned"), "{told}");
    assert_eq!(atm.wait_pid("idle"), pid);
    atm.ok(&["cleanup", "--emergency"]);
    let over = wait_over(&atm, "idle", "Evicted", "IdleTimeout");
    assert!(over["status"]["cause"]["by"]["uid"].is_u64(), "it says who asked: {over:#}");
    assert_eq!(atm.get("pinned")["status"]["phase"], "Running");
    assert!(atm.health()["counters"]["cleanupRuns"].as_u64() >= Some(1));
}
