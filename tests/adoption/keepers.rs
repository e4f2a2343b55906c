//! D03, D23, D34, D35: keepers that were stopped, killed or never came to anything.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    SLEEPER,
    harness::{Atm, descendants, is_alive, signal, wait_until},
};

const STOP: i32 = 19;
const CONT: i32 = 18;

#[test]
fn an_intent_without_a_keeper_is_no_failure() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let first = atm.wait_pid("a");
    atm.kill_daemon();
    atm.cut("a");
    fs::remove_file(atm.run_file("a", "record.json")).unwrap();
    // As it is before the keeper has reported.
    let state = atm.path("state/sessions/a.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("\"ran\":true", "\"ran\":false")).unwrap();
    atm.up();
    assert_ne!(atm.wait_pid("a"), first);
    let session = atm.get("a");
    assert_eq!(session["status"]["restarts"], 0, "{session:#}");
    assert_eq!(atm.count_events("a", "KeeperLost"), 0);
}

#[test]
fn stopped_keepers_delay_nothing_and_are_not_replaced() {
    let mut atm = Atm::start();
    let names = ["a", "b", "c"];
    for name in &names {
        atm.drop_spec(name, SLEEPER);
    }
    let pids = names.map(|name| atm.wait_pid(name));
    let keepers = names.map(|name| atm.keeper(name));
    for keeper in &keepers {
        signal(*keeper, STOP);
    }
    atm.kill_daemon();
    let begun = Instant::now();
    atm.up();
    let took = begun.elapsed();
    // One that is asked and does not answer is given 5 s.
    assert!(took < Duration::from_secs(4), "READY came after {took:?}");
    atm.settle();
    for (name, pid) in names.into_iter().zip(pids) {
        let session = atm.get(name);
        assert_eq!(session["status"]["phase"], "Running", "{session:#}");
        assert_eq!(session["status"]["pid"], pid, "{session:#}");
    }
    assert_eq!(names.map(|name| atm.keeper(name)), keepers);
    for keeper in &keepers {
        signal(*keeper, CONT);
    }
}

#[test]
fn a_stopped_keeper_is_woken_by_a_stop() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    signal(atm.keeper("a"), STOP);
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(pid));
    let session = atm.wait_phase("a", "Suspended");
    assert_eq!(session["status"]["cause"]["reason"], "ClientStop");
    assert_eq!(session["status"]["exit"]["signal"], 15, "{session:#}");
    assert!(wait_until(|| atm.marked().is_empty()));
}

#[test]
fn a_stopped_keeper_does_not_save_its_session_from_a_kill() {
    let mut atm = Atm::start();
    atm.drop_spec("a", "command: [sh, -c, 'trap \"\" TERM HUP; while :; do sleep 0.1; done']\n");
    let pid = atm.wait_pid("a");
    let keeper = atm.keeper("a");
    signal(keeper, STOP);
    atm.ok(&["kill", "a"]);
    assert!(!is_alive(pid));
    let session = atm.wait_phase("a", "Suspended");
    assert_eq!(session["status"]["reason"], "Stopped");
    assert_eq!(session["status"]["cause"]["reason"], "ClientKill", "{session:#}");
    assert!(wait_until(|| atm.marked().is_empty() && atm.keepers().is_empty()));
    atm.restart_daemon();
    atm.settle();
    assert_eq!(atm.wait_phase("a", "Suspended")["status"]["cause"]["reason"], "ClientKill");
}

#[test]
fn a_stop_is_finished_without_the_daemon() {
    let mut atm = Atm::start();
    let deaf = "trap \"\" TERM HUP; echo deaf; while :; do sleep 0.1; done";
    atm.drop_spec("a", &format!("command: [sh, -c, '{deaf}']\nterminationGracePeriod: 1s\n"));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "deaf");
    atm.ok(&["stop", "--no-wait", "a"]);
    // The keeper has it in its record: from here on it needs nobody.
    let record = atm.run_file("a", "record.json");
    assert!(wait_until(|| std::fs::read_to_string(&record).is_ok_and(|text| text.contains("ClientStop"))));
    let asked = Instant::now();
    atm.kill_daemon();
    assert!(wait_until(|| !is_alive(pid)));
    assert!(asked.elapsed() > Duration::from_millis(500), "it had no grace");
    assert!(wait_until(|| atm.marked().is_empty()));
    atm.up();
    let session = atm.wait_phase("a", "Suspended");
    assert_eq!(session["status"]["exit"]["signal"], 9);
    assert_eq!(session["status"]["cause"]["reason"], "ClientStop");
    assert_eq!(atm.count_events("a", "Stopped"), 1);
}

#[test]
fn a_stop_in_progress_is_taken_over() {
    let mut atm = Atm::start();
    let slow = "trap \"trap : TERM; sleep 1; sleep 1; exit 5\" TERM; trap \"\" HUP; echo slow; while :; do sleep 0.1; done";
    atm.drop_spec("a", &format!("command: [sh, -c, '{slow}']\nterminationGracePeriod: 30s\n"));
    atm.wait_output("a", "slow");
    atm.ok(&["stop", "--no-wait", "a"]);
    atm.wait_phase("a", "Stopping");
    atm.restart_daemon();
    let session = atm.wait("a", "taken over", |s| !s.is_null());
    assert_eq!(session["status"]["phase"], "Stopping", "{session:#}");
    assert_eq!(session["status"]["cause"]["reason"], "ClientStop");
    let session = atm.wait_phase("a", "Suspended");
    assert_eq!(session["status"]["exit"]["code"], 5, "{session:#}");
}

#[test]
fn every_keeper_killed_while_the_daemon_was_down_is_a_loss_that_is_cleaned_up() {
    let mut atm = Atm::start();
    let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    // Every third runs once; they differ in what a terminal that goes does to them.
    for (number, name) in names.iter().enumerate() {
        let policy = if number % 3 == 0 { "Never" } else { "OnFailure" };
        let command = atm.counting(name, "trap \"\" HUP; (trap \"\" HUP; exec sleep 1000) & wait; exit 0");
        let terminal = number % 2 == 0;
        let spec = format!(
            "{command}restartPolicy: {policy}\nterminal: {terminal}\nbackoff: {{initial: 0s, max: 1ms}}\n"
        );
        atm.drop_spec(name, &spec);
    }
    let trees: Vec<Vec<i32>> = names
        .iter()
        .map(|name| {
            atm.wait_pid(name);
            let keeper = atm.keeper(name);
            let mut tree = Vec::new();
            assert!(wait_until(|| {
                tree = descendants(keeper);
                tree.len() == 2
            }));
            tree
        })
        .collect();
    atm.kill_daemon();
    for keeper in atm.keepers() {
        signal(keeper.pid, 9);
    }
    atm.up();
    for (number, name) in names.iter().enumerate() {
        if number % 3 == 0 {
            let session = atm.wait_phase(name, "Failed");
            assert_eq!(session["status"]["cause"]["reason"], "KeeperLost", "{session:#}");
        } else {
            let met = wait_until(|| atm.runs(name) == 2);
            assert!(met, "{name} ran {} times", atm.runs(name));
            atm.wait_pid(name);
        }
        for pid in &trees[number] {
            assert!(!is_alive(*pid), "{pid} of {name} is left");
        }
        assert_eq!(atm.count_events(name, "KeeperLost"), 1);
    }
    atm.settle();
    assert_eq!(atm.keepers().len(), 8);
    for (number, name) in names.iter().enumerate() {
        assert_eq!(atm.runs(name), if number % 3 == 0 { 1 } else { 2 }, "{name}");
    }
}

/// Its reason is recorded before the first signal, so that the next daemon tells it, once, and starts nothing: whether
/// it finds the session on its way out, or gone.
#[test]
fn an_eviction_in_progress_is_taken_over_and_told_once() {
    let mut atm = Atm::start();
    let deaf = "trap \"\" TERM HUP; while :; do sleep 5; done";
    for (name, ends_first) in [("a", false), ("b", true)] {
        let command = atm.counting(name, deaf);
        let spec = "restartPolicy: Always\nmaxIdle: 2s\nterminationGracePeriod: 3s\n";
        atm.drop_spec(name, &format!("{command}{spec}"));
        let pid = atm.wait_pid(name);
        // As early as can be: the daemon that asked for it may not have told yet.
        let record = atm.run_file(name, "record.json");
        assert!(wait_until(|| fs::read_to_string(&record).is_ok_and(|text| text.contains("IdleTimeout"))));
        atm.kill_daemon();
        assert!(is_alive(pid), "it was not deaf");
        assert!(!ends_first || wait_until(|| !is_alive(pid) && atm.marked().is_empty()));
        atm.up();
        let session = atm.wait_phase(name, "Evicted");
        assert_eq!(session["status"]["reason"], "IdleTimeout", "{session:#}");
        assert!(!is_alive(pid));
        // History is written a moment later than what follows from it.
        let ended = || {
            let lines = fs::read_to_string(atm.path("state/events.jsonl")).unwrap_or_default();
            lines.lines().any(|line| line.contains(&format!("\"{name}\"")) && line.contains("\"Stopped\""))
        };
        assert!(wait_until(ended));
        atm.restart_daemon();
        atm.settle();
        let session = atm.wait_phase(name, "Evicted");
        assert_eq!(session["status"]["cause"]["reason"], "IdleTimeout", "{session:#}");
        let told = ["Evicted", "Stopped"].map(|kind| atm.count_events(name, kind));
        assert_eq!((told, atm.runs(name)), ([1, 1], 1), "{:#?}", atm.events(&[name]));
        atm.remove_spec(name);
        atm.wait_gone(name);
    }
}
