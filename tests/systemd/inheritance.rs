//! What a session has of the unit that its daemon is: nothing.

use super::machine::{COUNTER, Machine};

#[test]
fn a_session_has_nothing_of_the_unit() {
    let Some(machine) = Machine::installed() else { return };
    // Any machine may make a process less dear to it than others; only some may make one dearer.
    machine.write("/etc/systemd/system/atm.service.d/oom.conf", "[Service]\nOOMScoreAdjust=200\n");
    machine.systemctl(&["daemon-reload"]);
    // The second daemon has its socket from the store, where descriptors come from without a mark to close them.
    machine.spec("keeps", COUNTER);
    machine.wait_running("keeps");
    machine.systemctl(&["restart", "atm"]);
    assert_eq!(machine.property("NFileDescriptorStore"), "1");
    let show = "ls -m /proc/$$/fd; grep -hE '^Sig(Blk|Ign):' /proc/self/status; umask; nice; cat /proc/$$/oom_score_adj; \
                ulimit -Hn; env | cut -d= -f1 | sort | tr '\\n' ' '; echo .; \
                NOTIFY_SOCKET=/run/systemd/notify systemd-notify --status=forged STOPPING=1; \
                echo told; exec sleep 1000";
    machine.write("/root/show.sh", show);
    // A shell that reads a script from a file has one more.
    machine.spec("shows", "command: [sh, -c, 'eval \"$(cat /root/show.sh)\"']\nterminal: false\n");
    let pid = machine.wait_running("shows");
    let log = || machine.read("/var/log/atm/shows.log");
    machine.wait("it shows", || log().contains("told"));
    let text = log();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..6],
        ["0, 1, 2", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "0022", "0", "0"],
        "{text}"
    );
    let names = lines[7];
    for foreign in [
        "NOTIFY",
        "WATCHDOG",
        "LISTEN",
        "FDSTORE",
        "INVOCATION",
        "JOURNAL",
        "MANAGERPID",
        "CREDENTIALS",
        "SYSTEMD",
    ] {
        assert!(!names.contains(foreign), "{foreign}: {names}");
    }
    // What a session tells the service manager is not believed.
    machine.wait("it runs on", || machine.property("ActiveState") == "active");
    assert!(!machine.property("StatusText").contains("forged"));

    // What the unit says of being spared by the kernel is for the daemon and its keepers, and for no session.
    let score = |pid: &str| machine.read(&format!("/proc/{pid}/oom_score_adj")).trim().to_owned();
    let keeper = machine.get("shows")["status"]["keeperPid"].to_string();
    let scores = [machine.main_pid(), keeper, pid.to_string()].map(|pid| score(&pid));
    assert_eq!(scores, ["200", "200", "0"]);
}

/// Root may end every process of the machine, and this one does: only the machine's first process is spared.
#[test]
fn what_ends_all_processes_of_the_machine_is_survived() {
    let Some(machine) = Machine::installed() else { return };
    machine.spec("one", &format!("{COUNTER}backoff: {{initial: 0s}}\n"));
    machine.spec("two", "command: [sleep, '1000']\nbackoff: {initial: 0s}\n");
    let before = [machine.wait_running("one"), machine.wait_running("two")];
    let daemon = machine.main_pid();
    machine.spec("killer", "command: [sh, -c, 'kill -9 -1']\nrestartPolicy: Never\nterminal: false\n");
    machine.wait("another daemon", || {
        ![daemon.as_str(), "0"].contains(&machine.main_pid().as_str())
            && machine.property("ActiveState") == "active"
    });
    let running = |name: &str, before: i64| {
        machine.wait(&format!("{name} runs again"), || {
            let status = &machine.get(name)["status"];
            status["phase"] == "Running" && status["pid"].as_i64().is_some_and(|pid| pid != before)
        });
    };
    running("one", before[0]);
    running("two", before[1]);
    // It did what it was there for, and is not asked to do it again.
    machine.wait("it is over", || machine.get("killer")["status"]["phase"] == "Failed");
    let daemon = machine.main_pid();
    assert_eq!(machine.wait_running("one"), machine.get("one")["status"]["pid"].as_i64().unwrap());
    assert_eq!(machine.main_pid(), daemon);
    let keepers = machine.out(&["pgrep", "-fc", "atm keeper"]);
    assert_eq!(keepers.trim(), "2");
}

/// As at an upgrade of systemd: it executes itself anew, and has what was given to it.
#[test]
fn a_manager_that_is_executed_anew_keeps_what_it_was_given() {
    let Some(machine) = Machine::installed() else { return };
    machine.spec("one", COUNTER);
    let pid = machine.wait_running("one");
    let daemon = machine.main_pid();
    machine.systemctl(&["daemon-reexec"]);
    machine.wait("it is back", || machine.property("ActiveState") == "active");
    assert_eq!(machine.main_pid(), daemon);
    assert_eq!(machine.property("NFileDescriptorStore"), "1");
    machine.systemctl(&["restart", "atm"]);
    assert_ne!(machine.main_pid(), daemon);
    assert_eq!(machine.wait_running("one"), pid);
    machine.wait_counting("one");
}
