//! The files in `systemd/`: what they must say, and must not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use atm::api::event::EventKind;

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(path)).unwrap()
}

/// The unit with a program that exists, in a directory of the test.
fn unit(dir: &Path, kind: &str, name: &str) -> PathBuf {
    let text = shipped(&format!("{kind}/{name}")).replace("/usr/bin/atm", env!("CARGO_BIN_EXE_atm"));
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// What `systemd-analyze` says; `None`, with a word, where it is missing.
fn analyze(arguments: &[&str], files: &[PathBuf], runtime: &Path) -> Option<(bool, String)> {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).args(files).env("XDG_RUNTIME_DIR", runtime).env("SYSTEMD_LOG_COLOR", "0");
    let Ok(output) = command.output() else {
        eprintln!("skipped: no systemd-analyze");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, scope) in [("system", "--system"), ("user", "--user")] {
        let files = ["atm.service", "atm.socket"].map(|name| unit(dir.path(), kind, name));
        let Some((good, said)) = analyze(&["verify", scope], &files, dir.path()) else { return };
        // Of systemd 254: an older one says that it ignores it.
        let complaints: Vec<_> = said.lines().filter(|line| !line.contains("DelegateSubgroup")).collect();
        assert!(good && complaints.is_empty(), "{kind}: {complaints:#?}");
    }
}

/// The daemon is root, and its sessions have what it has: a machine as it is. So what `systemd-analyze security`
/// asks for is mostly not to be had; that it does not get worse unnoticed is what is asserted.
#[test]
fn the_exposure_is_what_it_has_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let files = [unit(dir.path(), "system", "atm.service")];
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=96"];
    let Some((good, said)) = analyze(&arguments, &files, dir.path()) else { return };
    assert!(good, "{said}");
    for kept in ["UMask=", "NotifyAccess="] {
        assert!(said.lines().any(|line| line.starts_with('✓') && line.contains(kept)), "{kept}: {said}");
    }
}

/// Sessions must see the machine, and those that run must see what those that start see.
#[test]
fn no_unit_makes_a_mount_namespace_or_takes_from_sessions() {
    let reviewed = ["UMask=", "LimitNOFILE=", "LimitCORE=", "OOMScoreAdjust="];
    for kind in ["system", "user"] {
        let text = shipped(&format!("{kind}/atm.service"));
        let settings = text.lines().filter(|line| !line.starts_with('#'));
        for line in settings {
            let banned = [
                "Private",
                "Protect",
                "ReadOnly",
                "ReadWrite",
                "Inaccessible",
                "Exec",
                "Temporary",
                "Bind",
                "Root",
                "Mount",
                "NoNew",
                "Restrict",
                "SystemCall",
                "Capability",
                "Lock",
                "Memory",
                "Dynamic",
                "User=",
                "Limit",
                "OOMScore",
                "UMask",
                "Nice",
                "Device",
                "IPAddress",
                "Keyring",
                "Proc",
                "Secure",
            ];
            let known = reviewed.iter().any(|name| line.starts_with(name))
                || line.starts_with("ExecStart=")
                || line.starts_with("ExecReload=/bin/kill -HUP");
            assert!(known || !banned.iter().any(|word| line.starts_with(word)), "{kind}: {line}");
        }
        for needed in ["KillMode=process", "Delegate=yes", "Restart=always", "StartLimitIntervalSec=0"] {
            assert!(text.lines().any(|line| line == needed), "{kind}: {needed}");
        }
        // Patient with a starved machine, and spared where memory is short.
        for needed in ["WatchdogSec=60", "OOMPolicy=continue", "LimitCORE=0:infinity", "NotifyAccess=main"] {
            assert!(text.lines().any(|line| line == needed), "{kind}: {needed}");
        }
        for needed in ["OOMScoreAdjust=-900", "ManagedOOMPreference=avoid"] {
            assert!(kind == "user" || text.lines().any(|line| line == needed), "{kind}: {needed}");
        }
    }
}

#[test]
fn the_catalogue_explains_each_message_id_once() {
    let text = shipped("catalog/atm.catalog");
    let mut ids: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    let mut expected = EventKind::ALL.map(EventKind::message_id);
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    for entry in text.split("\n-- ").skip(1) {
        assert!(entry.contains("\nSubject: ") && entry.contains("\nDefined-By: atm\n"), "{entry}");
        let says = ["Nothing needs to be done", "What to do"].iter().any(|words| entry.contains(words));
        assert!(says, "what to do? {entry}");
    }
}
