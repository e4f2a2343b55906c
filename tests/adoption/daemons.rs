//! D15, D16: several daemons, and a daemon whose program is another one by now.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, wait_until},
};

#[test]
fn of_fifty_daemons_at_once_one_works() {
    let mut atm = Atm::new();
    atm.drop_spec("a", &atm.counting("a", "exec sleep 1000"));
    let mut daemons: Vec<Child> = (0..50)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_atm"))
                .arg("daemon")
                .args(atm.flags())
                .env_remove("NOTIFY_SOCKET")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut codes = Vec::new();
    let settled = wait_until(|| {
        daemons.retain_mut(|daemon| match daemon.try_wait().unwrap() {
            Some(status) => {
                codes.push(status.code());
                false
            }
            None => true,
        });
        daemons.len() <= 1
    });
    let answers = wait_until(|| atm.atm(&["get"]).status.success());
    let pid = answers.then(|| atm.wait_pid("a"));
    let keepers = atm.keepers().len();
    let runs = atm.runs("a");
    for daemon in &mut daemons {
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    assert!(settled, "{} daemons work", daemons.len());
    assert_eq!(codes, vec![Some(75); 49]);
    assert_eq!((keepers, runs), (1, 1));
    // The one that worked is dead: the next takes over at once.
    atm.up();
    assert_eq!(Some(atm.wait_pid("a")), pid);
}

/// Puts a copy of the program at `path`, as a package manager does: beside it, and renamed into place.
fn install(path: &Path) {
    let new = path.with_extension("new");
    // By another process: while this one writes, a process that another test starts would hold the file too.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_atm")).arg(&new).status().unwrap();
    assert!(copied.success());
    fs::rename(new, path).unwrap();
}

fn program(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

#[test]
fn a_replaced_program_is_what_new_keepers_execute() {
    let mut atm = Atm::new();
    let path = atm.path("bin-atm");
    install(&path);
    // Started by this path, not by the one that the harness knows.
    let script = format!("shift; exec {} \"$@\"", path.display());
    atm.through = ["sh", "-c", &script, "sh"].map(str::to_owned).into();
    atm.up();
    atm.drop_spec("old", SLEEPER);
    let old = atm.wait_pid("old");
    install(&path);
    assert!(program(atm.daemon_pid()).display().to_string().ends_with(" (deleted)"));
    atm.drop_spec("new", SLEEPER);
    let new = atm.wait_pid("new");
    assert_eq!(program(atm.keeper("new")), path);
    assert!(program(atm.keeper("old")).display().to_string().ends_with(" (deleted)"));

    // In between there may be none at all, which is told and passes.
    fs::remove_file(&path).unwrap();
    atm.drop_spec("none", SLEEPER);
    let session = atm.wait("none", "refused", |s| {
        s["status"]["phase"] == "Pending"
            && s["status"]["exit"].is_null()
            && s["status"]["message"].to_string().contains("bin-atm")
    });
    assert_eq!(session["status"]["pid"], serde_json::Value::Null);
    install(&path);
    atm.wait_pid("none");

    // Keepers of the old program are adopted by a daemon of the new one.
    atm.restart_daemon();
    assert_eq!((atm.wait_pid("old"), atm.wait_pid("new")), (old, new));
    atm.ok(&["stop", "old"]);
    assert!(!is_alive(old));
}

/// Whom it should tell is not there, is of a kind that it does not speak, or is nobody: it works all the same.
#[test]
fn a_service_manager_that_cannot_be_told_is_no_reason_not_to_work() {
    for socket in ["/nowhere/at/all", "@nobody-listens-here", "vsock:2:1", "", "relative"] {
        let mut atm = Atm::new();
        atm.env.push(("NOTIFY_SOCKET".into(), socket.into()));
        atm.launch();
        assert!(wait_until(|| atm.atm(&["get"]).status.success()), "{socket:?}: {}", atm.daemon_log());
        atm.drop_spec("a", SLEEPER);
        let pid = atm.wait_pid("a");
        assert!(is_alive(pid));
        atm.drop_spec("b", SLEEPER);
        atm.wait_pid("b");
        let told = atm.daemon_log().to_lowercase().matches("notify").count();
        assert!(told <= 1, "{socket:?} is told {told} times: {}", atm.daemon_log());
    }
}
