//! Specs in, processes out: the real binary on real files.

mod harness;

use std::time::Duration;

use harness::{Atm, descendants, is_alive, wait_until};

const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";

#[test]
fn a_dropped_spec_runs_a_removed_one_is_gone() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    assert!(is_alive(pid));
    atm.remove_spec("a");
    atm.wait_gone("a");
    assert!(!is_alive(pid));
    assert!(wait_until(|| atm.marked().is_empty()), "left: {:?}", atm.marked());
}

#[test]
fn a_live_field_keeps_the_process_and_a_changed_command_replaces_it() {
    let atm = Atm::start();
    atm.drop_spec("a", &format!("{SLEEPER}onChange: Restart\n"));
    let first = atm.wait_pid("a");

    atm.drop_spec("a", &format!("{SLEEPER}onChange: Restart\npriority: 7\n"));
    atm.wait("a", "at generation 2", |s| s["generation"] == 2 && s["spec"]["priority"] == 7);
    assert_eq!(atm.wait_pid("a"), first);

    atm.drop_spec("a", "command: [sleep, '1001']\nonChange: Restart\n");
    atm.wait("a", "another process", |s| {
        s["status"]["phase"] == "Running"
            && s["status"]["pid"].as_i64().is_some_and(|pid| pid != i64::from(first))
    });
    assert!(!is_alive(first));
}

#[test]
fn what_hides_from_its_session_ends_with_it() {
    let atm = Atm::start();
    // A grandchild that double-forks, makes a session of its own and clears its environment.
    let hide = "env -i setsid -f sh -c 'exec sleep 1000'; echo hidden; exec sleep 1000";
    atm.drop_spec("a", &format!("command: [sh, -c, {hide:?}]\n"));
    let main = atm.wait_pid("a");
    atm.wait_output("a", "hidden");
    let keeper = atm.get("a")["status"]["keeperPid"].as_i64().unwrap();
    let keeper = i32::try_from(keeper).unwrap();
    let mut tree = Vec::new();
    assert!(
        wait_until(|| {
            tree = descendants(keeper);
            tree.len() == 2
        }),
        "{tree:?}"
    );
    atm.remove_spec("a");
    atm.wait_gone("a");
    assert!(!is_alive(main));
    for pid in tree {
        assert!(!is_alive(pid), "{pid} is left");
    }
}

#[test]
fn a_command_that_ignores_the_stop_signal_ends_after_its_grace_and_not_before() {
    let atm = Atm::start();
    let deaf = "trap '' TERM HUP; echo deaf; while :; do sleep 1; done";
    atm.drop_spec("a", &format!("command: [sh, -c, {deaf:?}]\nterminationGracePeriod: 2s\n"));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "deaf");
    let asked = harness::now();
    atm.ok(&["stop", "a"]);
    let took = asked.elapsed();
    assert!(!is_alive(pid));
    assert!(took >= Duration::from_secs(2), "ended before its grace: {took:?}");
    let session = atm.wait_phase("a", "Suspended");
    assert_eq!(session["status"]["reason"], "Stopped");
    assert_eq!(session["status"]["exit"]["signal"], 9);
    assert_eq!(session["status"]["cause"]["reason"], "ClientStop");
}

#[test]
fn the_fifth_of_four_waits_and_starts_when_one_goes() {
    let mut atm = Atm::new();
    std::fs::write(atm.path("atm.yaml"), "maxSessions: 4\n").unwrap();
    atm.up();
    for name in ["a", "b", "c", "d"] {
        atm.drop_spec(name, SLEEPER);
        atm.wait_pid(name);
    }
    atm.drop_spec("e", SLEEPER);
    let waiting = atm.wait("e", "waiting", |s| s["status"]["reason"] == "MaxSessions");
    assert_eq!(waiting["status"]["phase"], "Pending");
    assert_eq!(
        waiting["status"]["message"],
        "Maximum 4 sessions supported. Destroy a session to create a new one."
    );
    atm.remove_spec("b");
    atm.wait_pid("e");

    // A broken config keeps the old one and says so; a mended one holds at once.
    std::fs::write(atm.path("atm.yaml"), "maxSessions: many\n").unwrap();
    atm.wait_notified("config error, using the last good one");
    atm.drop_spec("f", SLEEPER);
    atm.wait("f", "waiting", |s| s["status"]["reason"] == "MaxSessions");
    std::fs::write(atm.path("atm.yaml"), "maxSessions: 5\n").unwrap();
    atm.wait_pid("f");
}

#[test]
fn nothing_is_lost_and_nothing_doubled_when_the_daemon_is_killed() {
    let mut atm = Atm::start();
    atm.drop_spec(
        "stays",
        "command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done']\n",
    );
    let until_told = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 7", atm.path("go").display());
    atm.drop_spec("ends", &format!("command: [sh, -c, {until_told:?}]\nrestartPolicy: Never\n"));
    let (stays, ends) = (atm.wait_pid("stays"), atm.wait_pid("ends"));
    atm.kill_daemon();
    std::fs::write(atm.path("go"), "").unwrap();
    assert!(wait_until(|| !is_alive(ends)));
    atm.up();
    assert_eq!(atm.wait_pid("stays"), stays);
    let ended = atm.wait_phase("ends", "Failed");
    assert_eq!(ended["status"]["exit"]["code"], 7);
    // Its result is remembered by the next daemon too, and it does not run again.
    atm.restart_daemon();
    let ended = atm.wait_phase("ends", "Failed");
    assert_eq!(ended["status"]["exit"]["code"], 7);
    assert_eq!(atm.wait_pid("stays"), stays);

    atm.ok(&["stop", "stays"]);
    let log = atm.log("stays");
    let numbers: Vec<u32> =
        log.lines().filter_map(|line| line.trim().strip_prefix("line ")?.parse().ok()).collect();
    let expected: Vec<u32> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "output has gaps or doubles");
}

#[test]
fn a_lost_keeper_takes_its_tree_along_and_its_session_comes_back() {
    let atm = Atm::start();
    let hide = "env -i setsid -f sh -c 'exec sleep 1000'; echo hidden; exec sleep 1000";
    atm.drop_spec("a", &format!("command: [sh, -c, {hide:?}]\nbackoff: {{initial: 0s}}\n"));
    atm.wait_output("a", "hidden");
    let session = atm.wait_phase("a", "Running");
    let keeper = i32::try_from(session["status"]["keeperPid"].as_i64().unwrap()).unwrap();
    let mut tree = Vec::new();
    assert!(
        wait_until(|| {
            tree = descendants(keeper);
            tree.len() == 2
        }),
        "{tree:?}"
    );
    let first = session["runId"].clone();
    harness::signal(keeper, 9);
    let again = atm.wait("a", "running again", |s| s["status"]["phase"] == "Running" && s["runId"] != first);
    for pid in tree {
        assert!(!is_alive(pid), "{pid} is left");
    }
    assert_eq!(again["status"]["restarts"], 1);
    assert!(atm.ok(&["events", "a"]).contains("KeeperLost"));
}

#[test]
fn a_second_daemon_says_who_the_first_one_is() {
    let atm = Atm::start();
    let mut args = vec!["daemon".to_owned()];
    args.extend(atm.flags());
    let output = atm.atm(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(75));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("pid {}", atm.daemon_pid())), "{said}");
}

#[test]
fn what_was_removed_while_no_daemon_looked_is_ended_and_never_started() {
    let mut atm = Atm::start();
    let once = format!("command: [sh, -c, 'echo ran >> {}']\n", atm.path("ran").display());
    atm.drop_spec("live", SLEEPER);
    atm.drop_spec("idle", &once);
    let pid = atm.wait_pid("live");
    atm.wait_phase("idle", "Succeeded");
    atm.ok(&["stop", "idle"]);
    atm.kill_daemon();
    atm.remove_spec("live");
    atm.remove_spec("idle");
    atm.up();
    atm.wait_gone("live");
    atm.wait_gone("idle");
    assert!(!is_alive(pid));
    assert_eq!(std::fs::read_to_string(atm.path("ran")).unwrap(), "ran\n", "it was started again");
}

/// Where the daemon was started is no place of its own, and may be one that it watches.
#[test]
fn edits_are_seen_at_once_where_the_daemon_works_in_the_directory_of_its_config() {
    let mut atm = Atm::new();
    atm.write_config("maxSessions: 3\n");
    let there = format!("cd {} && exec \"$@\"", atm.path("").display());
    atm.through = ["sh", "-c", &there, "sh"].map(str::to_owned).to_vec();
    atm.up();
    for limit in 4..8 {
        atm.drop_spec(&format!("s{limit}"), "command: [sleep, '1000']\n");
        atm.wait_pid(&format!("s{limit}"));
        let begun = harness::now();
        atm.write_config(&format!("resyncInterval: 1h\nmaxSessions: {limit}\n"));
        atm.wait_health("changed", |health| health["maxSessions"] == limit);
        assert!(begun.elapsed().as_secs() < 20, "an edit was found by listing alone");
    }
}
