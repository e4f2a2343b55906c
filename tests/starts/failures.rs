//! Commands that cannot be executed: told with what was tried, and nothing is left of the attempt.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
};

use serde_json::Value;

use super::harness::{Atm, is_root, script, wait_until};

/// Waits until a session failed for good, and gives it.
fn failed(atm: &Atm, name: &str) -> Value {
    atm.wait(name, "failed", |s| s["status"]["phase"] == "Failed" && s["status"]["reason"] == "CannotStart")
}

#[test]
fn each_fault_is_told_with_what_was_tried() {
    let mut atm = Atm::new();
    atm.env.push(("PATH".into(), "/opt/one:/usr/bin:/bin".into()));
    atm.up();
    let at = |name: &str| atm.path(name).display().to_string();
    fs::write(atm.path("plain"), "#!/bin/sh\n").unwrap();
    script(&atm.path("noise"), "\u{7f}neither a program nor a script\0\u{1}");
    script(&atm.path("no-interpreter"), "#!/nowhere/interpreter\n");
    fs::write(atm.path("bad-env"), "GOOD=1\nnot an assignment, but a secret\n").unwrap();
    let never = "restartPolicy: Never\n";
    let mut rows: Vec<(&str, String, Vec<String>)> = vec![
        (
            "gone",
            "command: [no-such-program]\n".into(),
            vec![
                "no such file: `no-such-program`".into(),
                "/opt/one:/usr/bin:/bin".into(),
                "/.local/bin:".into(),
            ],
        ),
        (
            "gone-path",
            "command: [/nowhere/program]\n".into(),
            vec!["no such file: `/nowhere/program`".into()],
        ),
        (
            "plain",
            format!("command: [{}]\n", at("plain")),
            vec!["permission denied: cannot execute".into(), at("plain"), "as user".into()],
        ),
        ("directory", "command: [/tmp]\n".into(), vec!["permission denied: cannot execute `/tmp`".into()]),
        (
            "noise",
            format!("command: [{}]\n", at("noise")),
            vec!["cannot execute".into(), at("noise"), "format".into()],
        ),
        ("interpreter", format!("command: [{}]\n", at("no-interpreter")), vec![at("no-interpreter")]),
        (
            "dir",
            "command: [sh]\nworkingDir: /nowhere/at/all\n".into(),
            vec!["no such directory: cannot enter `/nowhere/at/all`".into()],
        ),
        (
            "dir-file",
            "command: [sh]\nworkingDir: /etc/passwd\n".into(),
            vec!["cannot enter `/etc/passwd`".into()],
        ),
        (
            "envfile",
            "command: [sh]\nenvFile: [/nowhere/keys.env]\n".into(),
            vec!["cannot read environment file `/nowhere/keys.env`".into()],
        ),
        (
            "bad-envfile",
            format!("command: [sh]\nenvFile: [{}]\n", at("bad-env")),
            vec![at("bad-env"), "line 2".into()],
        ),
        (
            "unset",
            "command: [echo, '${NOT_SET_ANYWHERE}']\n".into(),
            vec![
                "cannot expand `${NOT_SET_ANYWHERE}`".into(),
                "the variable `NOT_SET_ANYWHERE` is not set".into(),
            ],
        ),
        (
            "unset-dir",
            "command: [sh]\nworkingDir: ${NOT_SET_ANYWHERE}/src\n".into(),
            vec!["`NOT_SET_ANYWHERE` is not set".into()],
        ),
    ];
    if is_root() {
        rows.push((
            "user",
            "command: [sh]\nuser: nobody-such\n".into(),
            vec!["no such user: `nobody-such`".into()],
        ));
    }
    for (name, text, _) in &rows {
        atm.drop_spec(name, &format!("{text}{never}"));
    }
    for (name, _, says) in &rows {
        let session = failed(&atm, name);
        let message = session["status"]["message"].as_str().unwrap();
        for words in says {
            assert!(message.contains(words), "{name}: no {words:?} in {message:?}");
        }
        assert!(!message.contains("secret"), "{message}");
        assert!(
            session["status"]["pid"].is_null() && session["status"]["exit"].is_null(),
            "{name}: {session:#}"
        );
        let page = atm.ok(&["describe", name]);
        assert!(page.contains("Not running:") && page.contains(&says[0]), "{name}: {page}");
        assert_eq!(atm.count_events(name, "StartFailed"), 1, "{name}");
        assert_eq!(atm.count_events(name, "Started"), 0, "{name}");
    }
    assert!(wait_until(|| atm.marked().is_empty()), "left: {:?}", atm.marked());
}

/// The same faults under `OnFailure`: tried again with back-off, and mended without a person's help.
#[test]
fn a_fault_that_is_mended_is_found_at_the_next_try() {
    let atm = Atm::start();
    let program = atm.path("program");
    atm.drop_spec(
        "a",
        &format!("command: [{}]\nbackoff: {{initial: 100ms, max: 200ms}}\n", program.display()),
    );
    atm.wait("a", "tried again", |s| s["status"]["restarts"].as_u64().is_some_and(|n| n >= 2));
    let session = atm.get("a");
    assert!(session["status"]["message"].to_string().contains("no such file"), "{session:#}");
    script(&program, "#!/bin/sh\nexec sleep 1000\n");
    atm.wait_pid("a");
}

/// What the daemon has open.
fn descriptors(atm: &Atm) -> Vec<PathBuf> {
    atm.drain_notices();
    let open = fs::read_dir(format!("/proc/{}/fd", atm.daemon_pid())).unwrap().flatten();
    open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect()
}

/// 200 starts that fail, of four kinds, leave no keeper, no descriptor, no lock and no terminal.
#[test]
fn two_hundred_failing_starts_leave_nothing() {
    let atm = Atm::start();
    let specs = [
        ("one", "command: [/nowhere/program]\n"),
        ("two", "command: [sh]\nworkingDir: /nowhere\n"),
        ("three", "command: [sh]\nenvFile: [/nowhere]\nterminal: false\n"),
        ("four", "command: ['false']\n"),
    ];
    let backoff = "backoff: {initial: 0s}\n";
    // Whatever is made once is made by now.
    for (name, text) in specs {
        atm.drop_spec(name, &format!("{text}{backoff}"));
        atm.wait(name, "tried", |s| s["status"]["restarts"].as_u64().is_some_and(|n| n >= 5));
    }
    let halt = || {
        for (name, text) in specs {
            atm.drop_spec(name, &format!("{text}{backoff}suspend: true\n"));
        }
        for (name, _) in specs {
            atm.wait_phase(name, "Suspended");
        }
        assert!(wait_until(|| atm.marked().is_empty()), "left: {:?}", atm.marked());
    };
    halt();
    // Connections of verbs close a moment after their answers.
    let mut before = descriptors(&atm);
    assert!(wait_until(|| descriptors(&atm) == std::mem::replace(&mut before, descriptors(&atm))));
    for (name, text) in specs {
        atm.drop_spec(name, &format!("{text}{backoff}"));
    }
    for (name, _) in specs {
        atm.wait(name, "tried", |s| s["status"]["restarts"].as_u64().is_some_and(|n| n >= 55));
    }
    halt();
    let flat = wait_until(|| descriptors(&atm).len() <= before.len());
    assert!(flat, "{before:#?} became {:#?}", descriptors(&atm));
    for (name, _) in specs {
        let lock = File::open(atm.path("run/locks").join(name)).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    }
    let left: Vec<_> =
        fs::read_dir(atm.path("run/sessions")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.len() <= specs.len(), "{left:?}");
}

#[test]
fn a_root_owned_spec_may_run_as_anybody_and_others_only_as_themselves() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    let tell = "command: [sh, -c, 'echo uid=$(id -u) user=$USER groups=$(id -G); exec sleep 1000']\nterminal: false\nworkingDir: /\n";
    atm.drop_spec("named", &format!("{tell}user: nobody\n"));
    atm.wait_output("named", "uid=65534 user=nobody groups=65534");
    assert_eq!(atm.get("named")["status"]["uid"], 65534);

    // By the owner of the file.
    let give = |name: &str, text: &str| {
        let beside = atm.path("beside");
        fs::write(&beside, text).unwrap();
        chown(&beside, Some(65534), Some(65534)).unwrap();
        fs::rename(&beside, atm.spec_path(name)).unwrap();
    };
    give("owned", tell);
    atm.wait_output("owned", "uid=65534 user=nobody");
    // The output belongs to the session's user alone.
    let log = fs::metadata(atm.path("log/owned.log")).unwrap();
    assert_eq!((std::os::unix::fs::MetadataExt::uid(&log), log.permissions().mode() & 0o777), (65534, 0o600));

    give("greedy", &format!("{tell}user: root\n"));
    let session = atm
        .wait("greedy", "refused", |s| s["status"]["reason"] == "BackOff" || !s["status"]["pid"].is_null());
    let message = session["status"]["message"].as_str().unwrap();
    assert!(message.contains("cannot run as `root`: its spec file is owned by user 65534"), "{session:#}");
    assert_eq!(atm.log("greedy"), "");
    // Its own name is as good as none.
    give("modest", &format!("{tell}user: nobody\n"));
    atm.wait_output("modest", "uid=65534 user=nobody");
}
