//! D31: the runtime directory is removed under those who live in it.

use std::fs;

use super::{
    SLEEPER,
    harness::{Atm, is_alive, signal, wait_until},
    is_locked,
};

#[test]
fn keepers_whose_runtime_directory_was_removed_are_found_and_make_it_anew() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("b", "command: [sh, -c, 'while :; do echo x; sleep 0.05; done']\nterminal: false\n");
    let pids = [atm.wait_pid("a"), atm.wait_pid("b")];
    for round in 0..3 {
        atm.kill_daemon();
        fs::remove_dir_all(atm.runtime()).unwrap();
        atm.up();
        assert_eq!([atm.wait_pid("a"), atm.wait_pid("b")], pids, "round {round}");
        for name in ["a", "b"] {
            let _only = atm.keeper(name);
            assert!(is_locked(&atm.runtime().join("locks").join(name)), "{name} does not hold its lock");
            assert!(atm.run_file(name, "record.json").exists());
        }
    }
    let written = atm.log("b").len();
    assert!(wait_until(|| atm.log("b").len() > written), "its output is lost");
    // They are held as well as before.
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(pids[0]));
    assert_eq!(atm.wait_phase("a", "Suspended")["status"]["reason"], "Stopped");
    atm.remove_spec("b");
    atm.wait_gone("b");
    assert!(wait_until(|| atm.marked().is_empty()), "{:?}", atm.marked());
}

/// Who made the runtime directory anew, a keeper or a daemon that was killed early, says nothing about what was in it.
#[test]
fn what_runs_once_does_not_run_again_where_its_files_are_gone() {
    let mut atm = Atm::start();
    for (name, policy) in [("once", "Never"), ("again", "OnFailure")] {
        atm.drop_spec(
            name,
            &format!("command: [sh, -c, 'echo ran; exec sleep 1000']\nrestartPolicy: {policy}\n"),
        );
        atm.wait_output(name, "ran");
        atm.wait_pid(name);
    }
    // What the daemon knows of its places is written some time soon.
    atm.settle();
    let pids = [atm.wait_pid("once"), atm.wait_pid("again")];
    let keepers = [atm.keeper("once"), atm.keeper("again")];
    atm.kill_daemon();
    for pid in keepers.into_iter().chain(pids) {
        signal(pid, 9);
        assert!(wait_until(|| !is_alive(pid)));
    }
    fs::remove_dir_all(atm.runtime()).unwrap();
    for directory in ["locks", "sessions"] {
        fs::create_dir_all(atm.runtime().join(directory)).unwrap();
    }
    atm.up();
    atm.wait_phase("once", "Failed");
    atm.wait("again", "another run", |s| s["status"]["phase"] == "Running" && s["status"]["pid"] != pids[1]);
    atm.settle();
    assert_eq!(atm.log("once").matches("ran").count(), 1, "it ran twice");
    assert_eq!(atm.get("once")["status"]["phase"], "Failed");
}

#[test]
fn a_stopped_keeper_without_files_keeps_its_name() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let keeper = atm.keeper("a");
    atm.kill_daemon();
    fs::remove_dir_all(atm.runtime()).unwrap();
    signal(keeper, 19);
    atm.up();
    // Time enough to start another, were it taken for dead.
    for _ in 0..3 {
        atm.settle();
        assert_eq!(atm.keeper("a"), keeper);
    }
    let session = atm.get("a");
    assert_ne!(session["status"]["phase"], "Succeeded", "{session:#}");
    assert!(is_alive(pid));
    signal(keeper, 18);
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.keeper("a"), keeper);
}

#[test]
fn what_ends_without_its_runtime_directory_is_counted() {
    let mut atm = Atm::start();
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 7", atm.path("go").display());
    let counting = atm.counting("a", &script);
    atm.drop_spec("a", &format!("{counting}restartPolicy: Never\n"));
    let pid = atm.wait_pid("a");
    atm.kill_daemon();
    fs::remove_dir_all(atm.runtime()).unwrap();
    fs::write(atm.path("go"), "").unwrap();
    assert!(wait_until(|| !is_alive(pid) && atm.keepers().is_empty()));
    atm.up();
    let session = atm.wait_phase("a", "Failed");
    assert_eq!(session["status"]["exit"]["code"], 7, "{session:#}");
    atm.restart_daemon();
    atm.settle();
    assert_eq!(atm.runs("a"), 1);
}

#[test]
fn a_daemon_that_loses_its_runtime_directory_goes_on() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("ends", &format!("{}restartPolicy: Never\n", atm.counting("ends", "sleep 1000; exit 1")));
    let (a, ends) = (atm.wait_pid("a"), atm.wait_pid("ends"));
    fs::remove_dir_all(atm.runtime()).unwrap();
    // What it makes anew is none of the sessions' business.
    signal(ends, 9);
    atm.drop_spec("b", SLEEPER);
    assert!(wait_until(|| atm.keepers().len() == 2 && !is_alive(ends)), "{}", atm.daemon_log());
    assert!(is_alive(a));
    atm.restart_daemon();
    assert_eq!(atm.wait_pid("a"), a);
    atm.wait_pid("b");
    let session = atm.wait_phase("ends", "Failed");
    assert_eq!(session["status"]["exit"]["signal"], 9, "{session:#}");
    assert_eq!(atm.runs("ends"), 1);
}

/// Nothing tells of it but its processes' environment: they are ended before the name is used again.
#[test]
fn what_is_left_of_a_run_without_keeper_and_without_files_is_ended() {
    let mut atm = Atm::start();
    // Without a terminal, whose end would end it too.
    atm.drop_spec("a", &format!("{SLEEPER}terminal: false\nbackoff: {{initial: 0s}}\n"));
    let first = atm.wait_pid("a");
    atm.kill_daemon();
    let keeper = atm.keeper("a");
    fs::remove_dir_all(atm.runtime()).unwrap();
    signal(keeper, 9);
    assert!(wait_until(|| !is_alive(keeper)));
    atm.up();
    let second = atm.wait_pid("a");
    assert_ne!(first, second);
    assert!(!is_alive(first), "two of one name");
}
