//! What people asked for outlives whoever they asked.

use super::{
    SLEEPER,
    harness::{Atm, is_alive, pause, wait_until},
};

#[test]
fn a_stop_and_a_suspension_survive_the_daemon() {
    let mut atm = Atm::start();
    for (verb, lift, reason) in
        [("stop", "start", "Stopped"), ("suspend", "resume", "Suspended"), ("kill", "start", "Stopped")]
    {
        atm.drop_spec("a", &format!("{SLEEPER}# {verb}\n"));
        let pid = atm.wait_pid("a");
        atm.ok(&[verb, "--no-wait", "a"]);
        atm.restart_daemon();
        let session = atm.wait_phase("a", "Suspended");
        assert_eq!(session["status"]["reason"], reason);
        assert!(!is_alive(pid));
        atm.restart_daemon();
        atm.settle();
        assert_eq!(atm.get("a")["status"]["reason"], reason);
        assert!(atm.keepers().is_empty());
        atm.ok(&[lift, "a"]);
        assert_ne!(atm.wait_pid("a"), pid);
        atm.restart_daemon();
        atm.wait_pid("a");
    }
}

#[test]
fn a_stop_while_the_daemon_is_down_is_honoured() {
    let mut atm = Atm::start();
    for verb in ["stop", "kill"] {
        atm.drop_spec("a", &format!("{SLEEPER}restartPolicy: Always\nbackoff: {{initial: 0s}}\n# {verb}\n"));
        let pid = atm.wait_pid("a");
        atm.kill_daemon();
        let output = atm.atm_with_flags(&[verb, "a"]);
        assert!(output.status.success(), "{output:?}");
        assert!(!is_alive(pid));
        for _ in 0..2 {
            atm.up();
            atm.settle();
            let session = atm.wait_phase("a", "Suspended");
            assert_eq!(session["status"]["reason"], "Stopped", "{session:#}");
            assert!(session["status"]["cause"]["by"]["uid"].is_u64(), "{session:#}");
            atm.kill_daemon();
        }
        atm.up();
        atm.ok(&["start", "a"]);
        assert_ne!(atm.wait_pid("a"), pid);
    }
    // A spec that was changed meanwhile lifts it, as it lifts any stop.
    atm.kill_daemon();
    assert!(atm.atm_with_flags(&["stop", "a"]).status.success());
    atm.drop_spec("a", "command: [sleep, '1001']\n");
    atm.up();
    atm.wait_pid("a");
}

/// The daemon answers `start` when it is recorded: from there on it is done, whoever dies.
#[test]
fn a_start_that_was_answered_is_done_once() {
    let mut atm = Atm::start();
    let command = atm.counting("a", "exit 0");
    atm.drop_spec("a", &format!("{command}restartPolicy: Never\n"));
    let mut runs = 1;
    for round in 0..12_u64 {
        let met = wait_until(|| atm.runs("a") >= runs && atm.get("a")["status"]["phase"] == "Succeeded");
        assert!(met, "{:#}", atm.get("a"));
        assert_eq!(atm.runs("a"), runs, "round {round}");
        atm.ok(&["start", "--no-wait", "a"]);
        // The moments in which its keeper is made.
        std::thread::sleep(std::time::Duration::from_micros(round * 400));
        atm.restart_daemon();
        runs += 1;
    }
    let met = wait_until(|| atm.runs("a") >= runs && atm.get("a")["status"]["phase"] == "Succeeded");
    assert!(met, "{} of {runs}: {:#}", atm.runs("a"), atm.get("a"));
    atm.restart_daemon();
    atm.settle();
    assert_eq!(atm.runs("a"), runs);
}

#[test]
fn a_restart_that_was_answered_is_done_once() {
    let mut atm = Atm::start();
    let command = atm.counting("a", "exec sleep 1000");
    atm.drop_spec("a", &format!("{command}restartPolicy: Never\n"));
    let mut pid = atm.wait_pid("a");
    for round in 1..10_usize {
        atm.ok(&["restart", "--no-wait", "a"]);
        for _ in 0..round % 3 {
            pause();
        }
        atm.restart_daemon();
        let met = wait_until(|| atm.runs("a") == round + 1 && atm.get("a")["status"]["phase"] == "Running");
        assert!(met, "ran {} times in round {round}: {:#}", atm.runs("a"), atm.get("a"));
        let next = atm.wait_pid("a");
        assert_ne!(next, pid);
        assert!(!is_alive(pid));
        pid = next;
    }
}
