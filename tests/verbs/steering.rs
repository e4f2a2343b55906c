//! Verbs that steer: start, stop, restart, kill, suspend, resume, cleanup.

use std::time::{Duration, Instant};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, told},
};

#[test]
fn stop_and_start_wait_for_their_outcome() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let said = atm.ok(&["stop", "a"]);
    assert!(said.starts_with("a stopped"), "{said}");
    assert!(!is_alive(pid));
    assert!(atm.ok(&["stop", "a"]).contains("already"));
    // The will survives the daemon.
    atm.restart_daemon();
    let session = atm.wait_phase("a", "Suspended");
    assert_eq!(
        (&session["status"]["reason"], &session["status"]["cause"]["reason"]),
        (&"Stopped".into(), &"ClientStop".into())
    );
    assert_eq!(session["status"]["cause"]["by"]["uid"], rustix::process::geteuid().as_raw());
    let page = atm.ok(&["describe", "a"]);
    assert!(page.contains("Not running:") && page.contains("atm start"), "{page}");
    let said = atm.ok(&["start", "a"]);
    assert!(said.starts_with("a ") && said.contains("running"), "{said}");
    let again = atm.wait_pid("a");
    assert_ne!(again, pid);
    assert!(atm.ok(&["start", "a"]).contains("already"));
    assert_eq!(atm.wait_pid("a"), again);
}

#[test]
fn a_start_that_cannot_succeed_says_why() {
    let atm = Atm::start_with("maxSessions: 1\n");
    atm.drop_spec("broken", "command: [no-such-program]\nrestartPolicy: Never\n");
    atm.wait_phase("broken", "Failed");
    let (code, _, err) = told(&atm.atm(&["start", "broken"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("no such file: `no-such-program`"), "{err}");
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    atm.drop_spec("b", SLEEPER);
    atm.wait("b", "waiting", |s| s["status"]["reason"] == "MaxSessions");
    let (code, _, err) = told(&atm.atm(&["start", "b"]));
    assert_eq!(code, Some(75));
    assert!(err.contains("Maximum 1 sessions supported"), "{err}");
    atm.write_spec("invalid", "command: [\n");
    atm.wait("invalid", "refused", |s| s["status"]["reason"] == "InvalidSpec");
    assert_eq!(atm.atm(&["start", "invalid"]).status.code(), Some(4));
}

#[test]
fn restart_replaces_the_process_and_counts_no_failure() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    atm.ok(&["restart", "a"]);
    let again = atm.wait_pid("a");
    assert_ne!(again, pid);
    assert!(!is_alive(pid));
    assert_eq!(atm.get("a")["status"]["restarts"], 0);
    // What was stopped it starts.
    atm.ok(&["stop", "a"]);
    atm.ok(&["restart", "a"]);
    assert_ne!(atm.wait_pid("a"), again);
}

#[test]
fn kill_ends_at_once_and_a_signal_ends_nothing() {
    let atm = Atm::start();
    let script = "trap 'echo usr1' USR1; trap '' TERM HUP; echo up; while :; do sleep 0.05; done";
    atm.drop_spec("a", &format!("command: [sh, -c, {script:?}]\nterminationGracePeriod: 10m\n"));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "up");
    let said = atm.ok(&["kill", "-s", "USR1", "a"]);
    assert!(said.contains("signalled"), "{said}");
    atm.wait_output("a", "usr1");
    assert_eq!(atm.wait_pid("a"), pid);
    let asked = Instant::now();
    // A stop in progress is cut short.
    atm.ok(&["stop", "a", "--no-wait"]);
    atm.wait_phase("a", "Stopping");
    atm.ok(&["kill", "a"]);
    assert!(asked.elapsed() < Duration::from_secs(30));
    assert!(!is_alive(pid));
    let session = atm.wait_phase("a", "Suspended");
    assert_eq!(session["status"]["reason"], "Stopped");
    assert_eq!(session["status"]["exit"]["signal"], 9);
    assert_eq!(atm.atm(&["kill", "-s", "NOPE", "a"]).status.code(), Some(2));
}

#[test]
fn a_stop_that_takes_longer_than_one_waits_says_so_and_stands() {
    let atm = Atm::start();
    let deaf = "trap '' TERM HUP; echo deaf; while :; do sleep 0.05; done";
    atm.drop_spec("a", &format!("command: [sh, -c, {deaf:?}]\nterminationGracePeriod: 2s\n"));
    atm.wait_output("a", "deaf");
    let (code, _, err) = told(&atm.atm(&["stop", "a", "--timeout", "1s"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("Stopping") && err.contains("the request stands"), "{err}");
    atm.wait_phase("a", "Suspended");
}

#[test]
fn suspend_and_resume_are_lifted_by_nothing_else() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let said = atm.ok(&["suspend", "a"]);
    assert!(said.contains("suspended"), "{said}");
    assert!(!is_alive(pid));
    atm.restart_daemon();
    atm.wait_phase("a", "Suspended");
    // `start` says what would help.
    let (code, _, err) = told(&atm.atm(&["start", "a", "--timeout", "5s"]));
    assert_ne!(code, Some(0));
    assert!(err.contains("atm resume"), "{err}");
    assert_eq!(atm.get("a")["status"]["phase"], "Suspended");
    atm.ok(&["resume", "a"]);
    atm.wait_pid("a");
}

#[test]
fn labels_and_all_choose_sessions() {
    let atm = Atm::start();
    for (name, team) in [("a", "web"), ("b", "web"), ("c", "api")] {
        atm.drop_spec(name, &format!("{SLEEPER}labels: {{team: {team}}}\n"));
        atm.wait_pid(name);
    }
    let said = atm.ok(&["stop", "-l", "team=web"]);
    assert!(said.contains("a stopped") && said.contains("b stopped") && !said.contains('c'), "{said}");
    assert_eq!(atm.get("c")["status"]["phase"], "Running");
    let (code, out, err) = told(&atm.atm(&["stop", "-l", "team=none"]));
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    atm.ok(&["start", "--all"]);
    for name in ["a", "b", "c"] {
        atm.wait_pid(name);
    }
    atm.ok(&["suspend", "--all"]);
    assert!(atm.list().iter().all(|s| s["status"]["phase"] == "Suspended"));
    atm.ok(&["resume", "-l", "team"]);
    for name in ["a", "b", "c"] {
        atm.wait_pid(name);
    }
    // One of several does not exist: the others are done, and it is told.
    let (code, out, err) = told(&atm.atm(&["stop", "a", "nobody"]));
    assert_eq!(code, Some(3));
    assert!(out.contains("a stopped") && err.contains("nobody"), "{out}{err}");
    assert_eq!(atm.atm(&["stop"]).status.code(), Some(2));
    assert_eq!(atm.atm(&["stop", "a", "--all"]).status.code(), Some(2));
}

#[test]
fn no_such_session_is_3_for_every_verb() {
    let atm = Atm::start();
    for verb in [
        &["get", "nobody"][..],
        &["describe", "nobody"],
        &["logs", "nobody"],
        &["start", "nobody"],
        &["stop", "nobody"],
        &["restart", "nobody"],
        &["kill", "nobody"],
        &["suspend", "nobody"],
        &["resume", "nobody"],
        &["delete", "nobody"],
        &["edit", "nobody"],
        &["wait", "nobody", "--for", "Running"],
        &["describe", "nobody", "--previous"],
        &["put", "nobody", "/proc/version"],
        &["override", "nobody"],
        &["override", "nobody", "model=x"],
    ] {
        let (code, out, err) = told(&atm.atm(verb));
        assert_eq!(code, Some(3), "{verb:?}: {out}{err}");
        assert!(err.contains("nobody"), "{verb:?}: {err}");
    }
}
