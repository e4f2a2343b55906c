//! System mode: who may see and steer what.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
};

use super::{
    SLEEPER,
    harness::{Atm, is_root, told},
};

/// A person without privileges.
const SOMEBODY: u32 = 65534;
/// Another one, who needs no account to ask.
const SOMEBODY_ELSE: u32 = 54_321;

fn open_to_all(atm: &Atm) {
    for path in [atm.path(""), atm.path("run")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(
        fs::metadata(atm.path("run/atm.sock")).unwrap().permissions().mode() & 0o006 == 0o006,
        "a closed socket"
    );
}

/// A keeper that makes its files anew closes the directory: it does not know whom the daemon serves.
#[test]
fn others_reach_a_daemon_whose_runtime_directory_was_made_anew_by_a_keeper() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::start();
    fs::set_permissions(atm.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    atm.kill_daemon();
    fs::remove_dir_all(atm.runtime()).unwrap();
    fs::create_dir(atm.runtime()).unwrap();
    fs::set_permissions(atm.runtime(), fs::Permissions::from_mode(0o700)).unwrap();
    atm.up();
    let (code, _, err) = told(&atm.atm_as(SOMEBODY, &["get"]));
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn others_see_and_steer_only_what_runs_as_them() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    open_to_all(&atm);
    atm.drop_spec("roots", &format!("{SLEEPER}env: {{TOKEN: canary}}\n"));
    let beside = atm.path("beside");
    fs::write(&beside, format!("{SLEEPER}workingDir: /\nenv: {{TOKEN: mine}}\n")).unwrap();
    chown(&beside, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    fs::rename(&beside, atm.spec_path("theirs")).unwrap();
    let roots = atm.wait_pid("roots");
    atm.wait_pid("theirs");

    let ask = |args: &[&str]| told(&atm.atm_as(SOMEBODY, args));
    assert_eq!(ask(&["get", "-o", "name"]), (Some(0), "theirs\n".into(), String::new()));
    assert_eq!(told(&atm.atm_as(SOMEBODY_ELSE, &["get", "-o", "name"])).1, "");
    // What they may not see does not exist.
    for verb in ["get", "describe", "start", "stop", "restart", "kill", "suspend", "resume"] {
        let (code, out, err) = ask(&[verb, "roots"]);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{verb}: {err}");
    }
    let (_, out, _) = ask(&["events"]);
    assert!(out.contains("theirs") && !out.contains("roots"), "{out}");
    let (_, out, _) = ask(&["plan"]);
    assert!(out.contains("theirs") && !out.contains("roots"), "{out}");
    assert_eq!(ask(&["stop", "--all"]).0, Some(0));
    assert_eq!(atm.wait_phase("theirs", "Suspended")["status"]["cause"]["by"]["uid"], SOMEBODY);
    assert_eq!(atm.wait_pid("roots"), roots);
    assert_eq!(ask(&["start", "theirs"]).0, Some(0));
    // Values of env are for the session's user.
    let (_, out, _) = ask(&["get", "theirs", "-o", "json"]);
    assert!(out.contains("mine"), "{out}");
    // The whole machine's business is not theirs.
    let (code, _, err) = ask(&["cleanup", "--accept-removals"]);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(atm.wait_pid("roots"), roots);
}

#[test]
fn a_broken_spec_shows_its_lines_to_those_who_may_read_it() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    open_to_all(&atm);
    atm.write_spec("roots", "command: [a]\ncanary-of-root: 1\n");
    atm.wait("roots", "refused", |s| s["status"]["reason"] == "InvalidSpec");
    let (code, out, _) = told(&atm.atm_as(SOMEBODY, &["status"]));
    assert_eq!(code, Some(0));
    assert!(!out.contains("canary-of-root"), "{out}");
    assert!(atm.ok(&["status"]).contains("canary-of-root"));
}

#[test]
fn output_and_state_are_closed_to_others() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    open_to_all(&atm);
    atm.drop_spec("roots", "command: [sh, -c, 'echo canary; exec sleep 1000']\nenv: {TOKEN: canary}\n");
    atm.wait_output("roots", "canary");
    let (code, out, _) = told(&atm.atm_as(SOMEBODY, &["logs", "roots"]));
    assert_ne!(code, Some(0));
    assert!(!out.contains("canary"));
    // Nothing below the state and the runtime directory that has the spec may be read.
    let mut waiting = vec![atm.path("state"), atm.path("run"), atm.path("log")];
    while let Some(directory) = waiting.pop() {
        let open = fs::metadata(&directory).unwrap().permissions().mode() & 0o005 == 0o005;
        for entry in fs::read_dir(&directory).unwrap().flatten().filter(|_| open) {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                waiting.push(entry.path());
            } else if meta.is_file() && meta.permissions().mode() & 0o004 != 0 {
                let text = fs::read(entry.path()).unwrap();
                assert!(
                    !text.windows(6).any(|w| w == b"canary"),
                    "{} is open to all",
                    entry.path().display()
                );
            }
        }
    }
}
