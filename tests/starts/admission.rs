//! Who may run: slots, priority, age, identity, `suspend`.

use super::{
    SLEEPER,
    harness::{Atm, is_alive, now, processes},
};

fn reason(atm: &Atm, name: &str, reason: &str) {
    atm.wait(name, reason, |s| s["status"]["reason"] == reason && s["status"]["phase"] == "Pending");
}

#[test]
fn a_free_slot_goes_by_priority_then_by_age_also_after_a_restart() {
    let mut atm = Atm::start_with("maxSessions: 1\n");
    atm.drop_spec("first", SLEEPER);
    atm.wait_pid("first");
    // Names say nothing: `z` was seen before `b`.
    for (name, priority) in [("z", 0), ("b", 0), ("low", -1), ("high", 5)] {
        atm.drop_spec(name, &format!("{SLEEPER}priority: {priority}\n"));
        reason(&atm, name, "MaxSessions");
    }
    atm.restart_daemon();
    let mut previous = "first";
    for next in ["high", "z", "b", "low"] {
        atm.remove_spec(previous);
        atm.wait_pid(next);
        let running = atm.list().iter().filter(|s| s["status"]["phase"] == "Running").count();
        assert_eq!(running, 1, "beside {next}");
        previous = next;
    }
}

/// A slot is free when the process is gone, not when it was asked to go.
#[test]
fn a_slot_is_taken_until_the_process_is_gone() {
    let atm = Atm::start_with("maxSessions: 1\n");
    let deaf = "trap '' TERM HUP; echo deaf; while :; do sleep 0.1; done";
    atm.drop_spec("deaf", &format!("command: [sh, -c, {deaf:?}]\nterminationGracePeriod: 1500ms\n"));
    let pid = atm.wait_pid("deaf");
    atm.wait_output("deaf", "deaf");
    atm.drop_spec("next", SLEEPER);
    reason(&atm, "next", "MaxSessions");
    atm.remove_spec("deaf");
    atm.wait("next", "running", |s| {
        let runs = !s["status"]["pid"].is_null();
        assert!(!(runs && is_alive(pid)), "two at once");
        runs
    });
}

#[test]
fn limits_are_edited_live_and_a_removed_config_changes_nothing() {
    let atm = Atm::start_with("maxSessions: 1\n");
    for name in ["a", "b", "c"] {
        atm.drop_spec(name, SLEEPER);
    }
    atm.wait("c", "waiting", |s| s["status"]["reason"] == "MaxSessions");
    atm.write_config("maxSessions: 2\n");
    atm.wait_health("with two", |h| h["counts"]["running"] == 2 && h["maxSessions"] == 2);
    // Broken in place, mended in place.
    std::fs::write(atm.path("atm.yaml"), "maxSessions: [\n").unwrap();
    let health = atm.wait_health("in error", |h| !h["configError"].is_null());
    assert!(health["configError"].to_string().contains("atm.yaml"), "{health:#}");
    assert_eq!(health["maxSessions"], 2);
    std::fs::remove_file(atm.path("atm.yaml")).unwrap();
    atm.wait_health("warned", |h| h["warnings"].to_string().contains("is gone"));
    assert_eq!(atm.health()["maxSessions"], 2);
    atm.write_config("maxSessions: 3\n");
    atm.wait_health("with three", |h| h["counts"]["running"] == 3 && h["configError"].is_null());
}

#[test]
fn one_session_lives_per_identity() {
    let atm = Atm::start();
    let spec = format!("{SLEEPER}identity: arch\n");
    atm.drop_spec("a", &spec);
    atm.wait_pid("a");
    atm.drop_spec("b", &spec);
    reason(&atm, "b", "IdentityTaken");
    let message = atm.get("b")["status"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("arch") && message.contains('a'), "{message}");
    // The default identity is the name.
    atm.drop_spec("arch", SLEEPER);
    reason(&atm, "arch", "IdentityTaken");
    atm.remove_spec("a");
    atm.wait_pid("b");
    reason(&atm, "arch", "IdentityTaken");
    atm.drop_spec("b", &format!("{SLEEPER}identity: other\n"));
    atm.ok(&["restart", "b"]);
    atm.wait_pid("arch");
}

#[test]
fn suspend_in_the_file_keeps_it_from_running_and_keeps_the_file() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    atm.drop_spec("a", &format!("{SLEEPER}suspend: true\n"));
    let session = atm.wait("a", "suspended", |s| s["status"]["phase"] == "Suspended");
    assert_eq!(session["status"]["reason"], "Suspended");
    assert!(!is_alive(pid));
    atm.restart_daemon();
    atm.wait_phase("a", "Suspended");
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    assert_eq!(atm.get("a")["status"]["restarts"], 0);
}

/// Fifty that want five places, that end by themselves and take their time to be ended: as often as `/proc` can be read,
/// there are five at most, those that are ending among them.
#[test]
fn at_no_moment_are_there_more_than_the_limit() {
    let atm = Atm::start_with("maxSessions: 5\n");
    let token = format!("admission-{}", std::process::id());
    let script = "trap 'sleep 0.2; exit 0' TERM HUP; for i in 1 2 3 4; do sleep 0.05; done";
    for number in 0..50 {
        atm.drop_spec(
            &format!("s{number}"),
            &format!(
                "command: [sh, -c, {script:?}, {token}]\nterminal: false\nrestartPolicy: Always\nbackoff: {{initial: 0s}}\n"
            ),
        );
    }
    // The main processes: what a shell forks has its arguments until it executes another program.
    let count = || {
        let all = processes();
        let ours: Vec<_> = all.iter().filter(|one| one.argv.contains(&token)).collect();
        ours.iter().filter(|one| !ours.iter().any(|other| other.pid == one.parent)).count()
    };
    let (began, mut most) = (now(), 0);
    while began.elapsed().as_secs() < 8 {
        most = most.max(count());
        if most > 5 {
            break;
        }
    }
    // A look takes a while, in which one may end and the next begin.
    assert!(most <= 5 || (most == 6 && count() <= 5 && count() <= 5), "{most} at once");
    assert!(most >= 4, "{most} at once: the limit is not used");
    for number in 0..25 {
        atm.remove_spec(&format!("s{number}"));
    }
    let began = now();
    while began.elapsed().as_secs() < 3 {
        assert!(count() <= 6, "more than the limit while some are ended");
    }
}
