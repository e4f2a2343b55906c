//! `atm install` and what a person sees then.

use super::machine::{COUNTER, Machine};

#[test]
fn an_installation_says_what_it_does_is_repeatable_and_goes_without_a_trace() {
    let Some(machine) = Machine::boot() else { return };
    let before = machine.ok(&["find", "/usr/local", "/etc", "-newermt", "@0"]);
    let dry = machine.ok(&["/run/host/atm", "install", "--dry-run"]);
    assert!(dry.lines().all(|line| line.starts_with("would ")), "{dry}");
    assert_eq!(
        machine.ok(&["find", "/usr/local", "/etc", "-newermt", "@0"]),
        before,
        "a dry run did something"
    );

    let first = machine.ok(&["/run/host/atm", "install"]);
    let done: Vec<_> = first.lines().map(|line| format!("would {line}")).collect();
    assert_eq!(done, dry.lines().collect::<Vec<_>>(), "what was done is not what was announced");
    machine.wait("it is up", || machine.property("ActiveState") == "active");
    assert_eq!(machine.out(&["systemctl", "is-enabled", "atm.service", "atm.socket"]), "enabled\ndisabled\n");
    let directory = machine.ok(&["stat", "-c", "%a %U %G", "/etc/atm/sessions.d"]);
    assert_eq!(directory, "1775 root atm\n");
    assert!(
        machine.ok(&["man", "-P", "cat", "-l", "/usr/local/share/man/man1/atm.1"]).contains("install")
            || machine.read("/usr/local/share/man/man1/atm.1").contains(".TH atm 1")
    );

    machine.spec("one", COUNTER);
    let pid = machine.wait_running("one");
    let daemon = machine.main_pid();
    let second = machine.ok(&["/usr/local/bin/atm", "install"]);
    assert!(!second.contains("write "), "{second}");
    assert_eq!(machine.main_pid(), daemon, "nothing had changed");

    machine.write("/etc/atm/atm.yaml", "maxSessions: 5\n");
    machine.write("/usr/local/lib/systemd/system/atm.service", "damaged");
    let third = machine.ok(&["/usr/local/bin/atm", "install"]);
    assert!(third.contains("keep /etc/atm/atm.yaml: it was changed\n"), "{third}");
    assert!(third.contains("write /usr/local/lib/systemd/system/atm.service\n"), "{third}");
    assert_eq!(machine.read("/etc/atm/atm.yaml"), "maxSessions: 5\n");
    assert_ne!(machine.main_pid(), daemon);
    assert_eq!(machine.wait_running("one"), pid, "an upgrade keeps sessions");

    let gone = machine.ok(&["/usr/local/bin/atm", "uninstall"]);
    assert!(gone.contains("keep /etc/atm/sessions.d: it is yours\n"), "{gone}");
    assert_eq!(machine.unit_processes(), Vec::<String>::new());
    assert_eq!(machine.ok(&["find", "/usr/local", "-type", "f"]), "");
    assert_eq!(machine.property("LoadState"), "not-found");
    assert!(machine.read("/etc/atm/sessions.d/one.yaml").contains("command"));
}

#[test]
fn the_status_of_the_unit_shows_each_session_by_name() {
    let Some(machine) = Machine::installed() else { return };
    machine.spec("fix-login", COUNTER);
    machine.spec("build", COUNTER);
    let pid = machine.wait_running("fix-login");
    machine.wait_running("build");
    machine.wait("STATUS", || machine.property("StatusText") == "2 of 100 sessions running");
    let status = machine.ok(&["systemctl", "status", "--no-pager", "-l", "atm"]);
    for part in ["Status: \"2 of 100 sessions running\"", "s-fix-login", "s-build", "daemon", "atm keeper"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    // The keepers are with the daemon, and sessions hold nothing but themselves.
    let tree = machine.out(&["systemd-cgls", "--no-pager", "-l", "/system.slice/atm.service"]);
    let daemon = tree.find("─daemon").unwrap();
    let (first, second) = tree.split_at(daemon.max(tree.find("─sessions").unwrap()));
    let (ours, theirs) = if first.contains("─daemon") { (first, second) } else { (second, first) };
    assert!(ours.contains("atm keeper") && !theirs.contains("atm keeper"), "{tree}");
    assert!(
        machine.out(&["cat", &format!("/proc/{pid}/cgroup")]).contains("/sessions/s-fix-login"),
        "{tree}"
    );
    // Without DelegateSubgroup= there is no controller, or the unit would not start again.
    if machine.property("DelegateSubgroup").is_empty() {
        let enabled = std::fs::read_to_string(machine.unit_group("cgroup.subtree_control")).unwrap();
        assert_eq!(enabled.trim(), "");
    }
    machine.atm(&["delete", "build"]);
    machine.wait("its group is gone", || !machine.unit_group("sessions/s-build").exists());
}

/// Also where there is no systemd: it only says what it would do.
#[test]
fn a_dry_run_for_a_user_names_their_own_places_and_touches_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut atm = std::process::Command::new(env!("CARGO_BIN_EXE_atm"));
    atm.args(["install", "--user", "--dry-run"])
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin");
    let output = atm.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let at = home.path().display();
    for line in [
        format!("would write {at}/.local/bin/atm"),
        format!("would write {at}/.config/systemd/user/atm.service"),
        format!("would write {at}/.config/atm/atm.yaml"),
        format!("would write {at}/.local/share/man/man1/atm-get.1"),
        "would run systemctl --user enable atm.service".to_owned(),
    ] {
        assert!(said.lines().any(|other| other == line), "{line}: {said}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
