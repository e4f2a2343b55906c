//! A changed spec and a session that runs: `onChange`.

use std::{fs, time::Instant};

use super::harness::Atm;

/// Says something every 0.2 s until the file `quiet` is there.
fn noisy(atm: &Atm, version: u32, more: &str) -> String {
    let quiet = atm.path("quiet").display().to_string();
    let script = format!(
        "echo version {version}; while [ ! -e {quiet} ]; do echo noise; sleep 0.2; done; exec sleep 1000"
    );
    format!("command: [sh, -c, {script:?}]\nterminal: false\n{more}")
}

#[test]
fn when_idle_waits_for_ten_seconds_of_quiet_and_says_so() {
    let atm = Atm::start();
    atm.drop_spec("a", &noisy(&atm, 1, ""));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "noise");
    atm.drop_spec("a", &noisy(&atm, 2, ""));
    let pending = atm.wait("a", "about to restart", |s| s["status"]["reason"] == "RestartPending");
    assert_eq!(pending["status"]["phase"], "Running");
    assert!(pending["status"]["message"].as_str().unwrap().contains("10 s"), "{pending:#}");
    // As long as it says something it stays, also beyond ten seconds.
    let began = Instant::now();
    let lines = || atm.log("a").matches("noise").count();
    let from = lines();
    assert!(super::harness::wait_until(|| lines() >= from + 55));
    assert!(began.elapsed().as_secs() >= 10);
    assert_eq!(atm.wait_pid("a"), pid);
    let hushed = Instant::now();
    fs::write(atm.path("quiet"), "").unwrap();
    atm.wait_output("a", "version 2");
    let waited = hushed.elapsed();
    assert!(waited.as_secs_f32() >= 9.5, "restarted after {waited:?}");
    let session = atm.wait("a", "running anew", |s| s["status"]["reason"] == "Started");
    assert_ne!(session["status"]["pid"], pid);
    let events = atm.events(&["a"]);
    assert!(events.iter().any(|e| e["kind"] == "Stopping" && e["reason"] == "SpecChanged"), "{events:#?}");
}

/// Taken back before its moment came, a change never was.
#[test]
fn a_change_that_is_taken_back_in_time_restarts_nothing() {
    let atm = Atm::start();
    atm.drop_spec("a", &noisy(&atm, 1, ""));
    let pid = atm.wait_pid("a");
    atm.drop_spec("a", &noisy(&atm, 2, ""));
    atm.wait("a", "about to restart", |s| s["status"]["reason"] == "RestartPending");
    atm.drop_spec("a", &noisy(&atm, 1, ""));
    atm.wait("a", "as before", |s| s["status"]["reason"] == "Started");
    assert_eq!(atm.wait_pid("a"), pid);
}

#[test]
fn manual_waits_for_a_person() {
    let mut atm = Atm::start();
    let spec = |number: u32| format!("command: [sleep, '{number}']\nonChange: Manual\n");
    atm.drop_spec("a", &spec(1000));
    let pid = atm.wait_pid("a");
    atm.drop_spec("a", &spec(2000));
    let pending = atm.wait("a", "about to restart", |s| s["status"]["reason"] == "RestartPending");
    assert!(pending["status"]["message"].as_str().unwrap().contains("`atm restart`"), "{pending:#}");
    assert_eq!(pending["spec"]["command"][1], "2000");
    // Nor is another daemon a reason.
    atm.restart_daemon();
    let pending = atm.wait("a", "about to restart", |s| s["status"]["reason"] == "RestartPending");
    assert_eq!(pending["status"]["pid"], pid);
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(arguments, "sleep\x001000\0");
    atm.ok(&["restart", "a"]);
    let pid = atm.wait_pid("a");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(), "sleep\x002000\0");
}

/// A changed spec lifts `atm stop`, and not `atm suspend`.
#[test]
fn a_changed_spec_starts_what_was_stopped_and_not_what_was_suspended() {
    let mut atm = Atm::start();
    let spec = |priority: u32| format!("command: [sleep, '1000']\npriority: {priority}\n");
    for name in ["stopped", "suspended"] {
        atm.drop_spec(name, &spec(1));
        atm.wait_pid(name);
    }
    atm.ok(&["stop", "stopped"]);
    atm.ok(&["suspend", "suspended"]);
    atm.restart_daemon();
    assert_eq!(atm.wait_phase("stopped", "Suspended")["status"]["reason"], "Stopped");
    assert_eq!(atm.wait_phase("suspended", "Suspended")["status"]["reason"], "Suspended");
    for name in ["stopped", "suspended"] {
        atm.drop_spec(name, &spec(2));
    }
    atm.wait_pid("stopped");
    atm.wait("suspended", "at generation 2", |s| s["generation"] == 2);
    assert_eq!(atm.get("suspended")["status"]["phase"], "Suspended");
    atm.ok(&["resume", "suspended"]);
    atm.wait_pid("suspended");
}
