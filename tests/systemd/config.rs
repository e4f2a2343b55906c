//! Reloads, edits and mistakes, as `systemctl status` and `atm status` show them.

use super::machine::{COUNTER, Machine};

/// The line, but for what memory is in use: that is measured, and comes when it is.
fn status(machine: &Machine) -> String {
    let line = machine.property("StatusText");
    let parts: Vec<&str> = line.split("; ").filter(|part| !part.starts_with("memory ")).collect();
    parts.join("; ")
}

#[test]
fn a_reload_and_an_edit_both_apply_and_a_mistake_keeps_the_last_good_config() {
    let Some(machine) = Machine::installed() else { return };
    machine.spec("one", COUNTER);
    let pid = machine.wait_running("one");
    machine.wait("STATUS", || status(&machine) == "1 of 100 sessions running");

    machine.write("/etc/atm/atm.yaml", "resyncInterval: 1s\nmaxSessions: 7\n");
    machine.wait("an edit", || status(&machine) == "1 of 7 sessions running");

    // Through another name: nothing tells of it but the reload.
    machine.write("/etc/atm/atm.yaml", "resyncInterval: 1h\nmaxSessions: 8\n");
    machine.wait("an edit", || status(&machine) == "1 of 8 sessions running");
    machine.ok(&[
        "sh",
        "-c",
        "mkdir /etc/other && ln /etc/atm/atm.yaml /etc/other/x && echo 'maxSessions: 9' > /etc/other/x",
    ]);
    machine.systemctl(&["reload", "atm"]);
    machine.wait("a reload", || status(&machine) == "1 of 9 sessions running");
    machine.wait("it is over", || machine.property("ActiveState") == "active");

    machine.write("/etc/atm/atm.yaml", "maxSessions: many\n");
    let line = "1 of 9 sessions running; config error, using the last good one";
    machine.wait("a mistake", || status(&machine) == line);
    machine.systemctl(&["reload", "atm"]);
    machine.systemctl(&["restart", "atm"]);
    machine.wait("a mistake at the start", || status(&machine) == line);
    let changes = machine.entries(&["ATM_EVENT=ConfigChanged"]).len();
    assert!((3..=4).contains(&changes), "each edit, and the first start at most: {changes}");
    assert_eq!(machine.wait_running("one"), pid);
    let told = machine.journal(&["ATM_EVENT=InvalidConfig"]);
    assert!(told.contains("atm.yaml"), "{told}");

    machine.spec("bad", "command: [sh\n");
    machine.wait("a bad spec", || status(&machine).contains("; 1 invalid spec; config error"));
}

#[test]
fn a_drop_in_that_would_end_sessions_is_warned_of() {
    let Some(machine) = Machine::installed() else { return };
    let warns = || machine.atm(&["status"]).contains("KillMode=control-group: a restart of the daemon ends");
    assert!(!machine.atm(&["status"]).contains("was changed"), "{}", machine.atm(&["status"]));
    assert!(machine.atm(&["status"]).contains("cgroup"));
    machine.write(
        "/etc/systemd/system/atm.service.d/bad.conf",
        "[Service]\nKillMode=control-group\nPrivateTmp=yes\n",
    );
    machine.systemctl(&["daemon-reload"]);
    machine.wait("a warning", warns);
    assert!(machine.atm(&["status"]).contains("PrivateTmp=yes"));
    assert!(machine.journal(&["-p", "warning"]).contains("KillMode=control-group"));
    machine.ok(&["rm", "/etc/systemd/system/atm.service.d/bad.conf"]);
    machine.systemctl(&["daemon-reload"]);
    machine.wait("it is mended", || !warns());
}
