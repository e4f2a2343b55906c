//! A stop ends what a restart keeps.

use std::time::{Duration, Instant};

use super::machine::{COUNTER, Machine};

const DEAF: &str =
    "command: [sh, -c, \"trap '' TERM HUP; while :; do sleep 0.1; done\"]\nterminationGracePeriod: 3s\n";

#[test]
fn a_stop_ends_all_sessions_within_their_graces_and_a_start_brings_them_back() {
    let Some(machine) = Machine::installed() else { return };
    for name in ["deaf1", "deaf2", "deaf3"] {
        machine.spec(name, DEAF);
    }
    machine.spec("one", COUNTER);
    machine.spec("off", COUNTER);
    for name in ["deaf1", "deaf2", "deaf3", "one", "off"] {
        machine.wait_running(name);
    }
    machine.atm(&["stop", "off"]);
    let begun = Instant::now();
    machine.systemctl(&["stop", "atm"]);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3), "a grace was cut: {took:?}");
    assert!(took < Duration::from_secs(8), "one after the other: {took:?}");
    assert_eq!(machine.unit_processes(), Vec::<String>::new());
    assert_eq!(machine.property("Result"), "success");
    assert!(machine.journal(&["ATM_SESSION=one", "ATM_REASON=Shutdown"]).contains("one"));

    machine.systemctl(&["start", "atm"]);
    for name in ["deaf1", "one"] {
        machine.wait_running(name);
    }
    assert_eq!(machine.get("off")["status"]["phase"], "Suspended");
}

/// Longer than systemd would wait by itself.
#[test]
fn a_grace_is_longer_than_the_patience_of_the_unit() {
    let Some(machine) = Machine::installed() else { return };
    machine.write("/etc/systemd/system/atm.service.d/short.conf", "[Service]\nTimeoutStopSec=2\n");
    machine.systemctl(&["daemon-reload"]);
    machine.spec("deaf", &DEAF.replace("3s", "6s"));
    machine.wait_running("deaf");
    let begun = Instant::now();
    machine.systemctl(&["stop", "atm"]);
    assert!(begun.elapsed() >= Duration::from_secs(6), "{}", machine.journal(&[]));
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.unit_processes(), Vec::<String>::new());
}

#[test]
fn a_signal_from_nobody_in_particular_keeps_the_sessions() {
    let Some(machine) = Machine::installed() else { return };
    machine.spec("one", COUNTER);
    let pid = machine.wait_running("one");
    let daemon = machine.main_pid();
    machine.ok(&["kill", "-TERM", &daemon]);
    machine.wait("another daemon", || ![daemon.as_str(), "0"].contains(&machine.main_pid().as_str()));
    assert_eq!(machine.wait_running("one"), pid);
    machine.wait_counting("one");
}

/// As at a shutdown: the unit is stopped because the machine goes down, and nobody asked for the unit itself.
#[test]
fn a_machine_that_goes_down_ends_sessions_within_their_graces() {
    let Some(machine) = Machine::installed() else { return };
    let polite = "command: [sh, -c, \"trap 'sleep 1; echo ended; exit 0' TERM; while :; do sleep 0.1; done\"]\n\
                  terminal: false\nterminationGracePeriod: 10s\n";
    machine.spec("polite", polite);
    machine.wait_running("polite");
    let down = "[Unit]\nDefaultDependencies=no\nRequires=shutdown.target\nAfter=shutdown.target\n";
    machine.write("/run/systemd/system/down.target", down);
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["start", "down.target"]);
    machine.wait("it is stopped", || machine.property("ActiveState") == "inactive");
    let said = machine.read("/var/log/atm/polite.log");
    // The shell says on standard error that its `sleep` was ended: before or after this.
    assert!(said.lines().any(|line| line == "ended"), "{said}");
    assert_eq!(machine.unit_processes(), Vec::<String>::new());
}

/// What moved away is not out of reach, and people hear of it.
#[test]
fn a_process_that_leaves_its_group_is_told_and_ended_with_its_session() {
    let Some(machine) = Machine::installed() else { return };
    machine.write("/root/away.sh", "mkdir -p $1; echo $$ > $1/cgroup.procs; echo gone; exec sleep 1000\n");
    let leaves = "command: [sh, -c, 'sh /root/away.sh /sys/fs/cgroup/away & wait']\n";
    machine.spec("leaves", leaves);
    machine.wait_running("leaves");
    let away = || machine.read("/sys/fs/cgroup/away/cgroup.procs");
    machine.wait("it is away", || {
        !away().is_empty() && machine.read("/var/log/atm/leaves.log").contains("gone")
    });
    let told = || machine.entries(&["ATM_SESSION=leaves", "ATM_EVENT=Escaped"]).len();
    machine.wait("it is told while it lives", || told() > 0);
    machine.atm(&["stop", "leaves"]);
    machine.wait("it is told to have ended", || told() > 1);
    assert_eq!(away(), "");
}

/// As from systemd 254 on, where the unit's `DelegateSubgroup=` is known.
#[test]
fn a_daemon_that_is_started_in_a_subgroup_stays_there_and_starts_again() {
    let Some(machine) = Machine::installed() else { return };
    let moved = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'd=/sys/fs/cgroup/system.slice/atm.service/daemon; \
                 mkdir -p $d; echo $$$$ > $d/cgroup.procs; exec /usr/local/bin/atm daemon --system'\n";
    machine.write("/etc/systemd/system/atm.service.d/subgroup.conf", moved);
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["restart", "atm"]);
    machine.spec("one", COUNTER);
    let pid = machine.wait_running("one");
    for _ in 0..2 {
        machine.systemctl(&["restart", "atm"]);
        assert_eq!(machine.wait_running("one"), pid);
    }
    let group = |pid: &str| machine.out(&["cat", &format!("/proc/{pid}/cgroup")]);
    assert!(group(&machine.main_pid()).contains("atm.service/daemon\n"));
    assert!(group(&pid.to_string()).contains("atm.service/sessions/s-one\n"));
    machine.systemctl(&["stop", "atm"]);
    assert_eq!(machine.unit_processes(), Vec::<String>::new());
}

#[test]
fn where_the_config_says_so_sessions_outlive_a_stop() {
    let Some(machine) = Machine::installed() else { return };
    machine.write("/etc/atm/atm.yaml", "onShutdown: Keep\n");
    machine.wait("it is in force", || machine.atm(&["config"]).contains("onShutdown: Keep"));
    machine.spec("one", COUNTER);
    let pid = machine.wait_running("one");
    machine.systemctl(&["stop", "atm"]);
    assert_eq!(machine.property("ActiveState"), "inactive");
    machine.wait_counting("one");
    machine.systemctl(&["start", "atm"]);
    assert_eq!(machine.wait_running("one"), pid);
    machine.wait_counting("one");
}
