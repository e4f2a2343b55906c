//! Whatever ends the daemon, its sessions do not notice.

use std::time::{Duration, Instant};

use super::machine::{COUNTER, Machine};

struct Sessions {
    names: [&'static str; 3],
    pids: Vec<i64>,
}

impl Sessions {
    fn start(machine: &Machine) -> Self {
        let names = ["one", "two", "three"];
        for name in names {
            machine.spec(name, COUNTER);
        }
        let pids = names.iter().map(|name| machine.wait_running(name)).collect();
        Self { names, pids }
    }

    fn assert_the_same(&self, machine: &Machine) {
        for (name, pid) in self.names.iter().zip(&self.pids) {
            assert_eq!(machine.wait_running(name), *pid, "{name} was started again");
            machine.wait_counting(name);
        }
    }
}

#[test]
fn a_restart_a_crash_and_an_upgrade_keep_every_session_and_every_byte() {
    let Some(machine) = Machine::installed() else { return };
    let sessions = Sessions::start(&machine);
    // It ends while no daemon looks, with a status of its own.
    machine.spec(
        "ends",
        "command: [sh, -c, 'while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 7']\nrestartPolicy: Never\n",
    );
    machine.wait_running("ends");

    machine.systemctl(&["restart", "atm"]);
    sessions.assert_the_same(&machine);

    // A storm: the unit never gives up.
    let begun = Instant::now();
    let mut killed = 0;
    while killed < 30 {
        let pid = machine.main_pid();
        if pid != "0" && machine.run(&["kill", "-KILL", &pid]).status.success() {
            killed += 1;
        }
        if killed == 15 {
            machine.write("/tmp/end", "");
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    let took = begun.elapsed();
    machine.wait("the daemon is back", || machine.property("ActiveState") == "active");
    sessions.assert_the_same(&machine);
    machine.wait("its end is counted", || machine.get("ends")["status"]["phase"] == "Failed");
    assert_eq!(machine.get("ends")["status"]["exit"]["code"], 7);
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(machine.property("NRestarts").parse::<u32>().unwrap() >= 30);

    // Another program in the place of the one that runs.
    let before = machine.main_pid();
    machine.ok(&[
        "sh",
        "-c",
        "cp /usr/local/bin/atm /usr/local/bin/atm.new && mv /usr/local/bin/atm.new /usr/local/bin/atm",
    ]);
    machine.spec("late", COUNTER);
    machine.wait_running("late");
    machine.systemctl(&["restart", "atm"]);
    assert_ne!(machine.main_pid(), before);
    sessions.assert_the_same(&machine);
}

#[test]
fn a_loop_that_does_not_turn_is_ended_by_the_watchdog_and_loses_nothing() {
    let Some(machine) = Machine::installed() else { return };
    let sessions = Sessions::start(&machine);
    machine.write("/etc/systemd/system/atm.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n");
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["restart", "atm"]);
    let stuck = machine.main_pid();
    // An idle loop is none that is stuck.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(machine.main_pid(), stuck, "{}", machine.journal(&[]));
    machine.ok(&["kill", "-STOP", &stuck]);
    wait_for_another(&machine, &stuck);
    assert_eq!(machine.property("NRestarts"), "1");
    sessions.assert_the_same(&machine);

    // One that turns at full speed on one spot is no better, whatever its other threads do.
    machine.write(
        "/etc/systemd/system/atm.service.d/spin.conf",
        "[Service]\nEnvironment=ATM_FAILPOINTS=/tmp/armed\n",
    );
    machine.ok(&["mkdir", "-p", "/tmp/armed/fired"]);
    machine.write("/tmp/armed/daemon.reload", "spin");
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["restart", "atm"]);
    let spins = machine.main_pid();
    machine.ok(&["kill", "-HUP", &spins]);
    wait_for_another(&machine, &spins);
    assert_eq!(machine.property("NRestarts"), "1", "of the restarts since the last one that was asked for");
    sessions.assert_the_same(&machine);
}

fn wait_for_another(machine: &Machine, daemon: &str) {
    machine.wait("another daemon", || {
        let now = machine.main_pid();
        now != daemon && now != "0" && machine.property("ActiveState") == "active"
    });
}

#[test]
fn clients_queue_while_there_is_no_daemon() {
    let Some(machine) = Machine::installed() else { return };
    let sessions = Sessions::start(&machine);
    assert_eq!(machine.property("NFileDescriptorStore"), "1");
    machine.write("/etc/systemd/system/atm.service.d/slow.conf", "[Service]\nRestartSec=2s\n");
    machine.systemctl(&["daemon-reload"]);
    for round in 0..2 {
        machine.ok(&["kill", "-KILL", &machine.main_pid()]);
        machine.wait("no daemon", || machine.main_pid() == "0");
        // It connects, waits, and is answered by the next daemon.
        let listed = machine.atm(&["get", "-o", "name"]);
        assert_eq!(listed.lines().count(), sessions.names.len(), "round {round}: {listed}");
        assert_eq!(machine.property("NFileDescriptorStore"), "1", "round {round}");
    }
    sessions.assert_the_same(&machine);
    machine.systemctl(&["stop", "atm"]);
    assert_eq!(machine.run(&["/usr/local/bin/atm", "get"]).status.code(), Some(69));
}

#[test]
fn a_socket_unit_starts_the_daemon_with_its_first_client() {
    let Some(machine) = Machine::installed() else { return };
    machine.systemctl(&["stop", "atm"]);
    machine.systemctl(&["start", "atm.socket"]);
    assert_eq!(machine.property("ActiveState"), "inactive");
    machine.spec("one", COUNTER);
    machine.atm(&["get"]);
    machine.wait("it is up", || machine.property("ActiveState") == "active");
    let pid = machine.wait_running("one");
    machine.systemctl(&["restart", "atm"]);
    machine.atm(&["get"]);
    assert_eq!(machine.wait_running("one"), pid);
    assert_eq!(machine.property("NFileDescriptorStore"), "0");
}
