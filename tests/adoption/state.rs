//! D12, D13, D44: state that cannot be written. What runs goes on; what would be forgotten is not begun.

use std::{fs, io::Write as _, path::PathBuf};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, is_root},
};

/// Has the daemon started in a mount namespace of its own, after `mount`.
fn behind(atm: &mut Atm, mount: &str) {
    let script = format!("{mount} && exec \"$@\"");
    atm.through = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).into();
}

#[test]
fn a_read_only_state_keeps_sessions_and_starts_none() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    atm.kill_daemon();
    let state = atm.path("state").display().to_string();
    behind(&mut atm, &format!("mount --bind {state} {state} && mount -o remount,ro,bind {state}"));
    atm.drop_spec("b", SLEEPER);
    atm.drop_spec("once", "command: ['true']\nrestartPolicy: Never\n");
    atm.up();
    assert_eq!(atm.wait_pid("a"), pid);
    for name in ["b", "once"] {
        let session = atm.wait(name, "refused", |s| s["status"]["message"].to_string().contains("state"));
        assert_eq!(session["status"]["phase"], "Pending", "{session:#}");
        assert!(session["status"]["message"].to_string().contains("Read-only"), "{session:#}");
    }
    assert_eq!(atm.keepers().len(), 1);
    // What is asked for and cannot be recorded is not done either: it would be undone by the next daemon.
    let output = atm.atm(&["stop", "a"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot record"), "{said}");
    assert!(is_alive(pid));
    atm.kill_daemon();
    atm.through.clear();
    atm.up();
    assert_eq!(atm.wait_pid("a"), pid);
    atm.wait_pid("b");
    atm.wait_phase("once", "Succeeded");
}

#[test]
fn a_full_state_keeps_sessions_and_starts_others_when_there_is_room() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::new();
    fs::create_dir(atm.path("state")).unwrap();
    let mount = format!("mount -t tmpfs -o size=128k none {}", atm.path("state").display());
    behind(&mut atm, &mount);
    atm.up();
    let inside = PathBuf::from(format!("/proc/{}/root{}", atm.daemon_pid(), atm.path("state").display()));
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let mut filler = fs::File::create(inside.join("filler")).unwrap();
    while filler.write_all(&[b'x'; 512]).is_ok() {}
    drop(filler);

    atm.drop_spec("b", SLEEPER);
    let session = atm.wait("b", "refused", |s| s["status"]["message"].to_string().contains("No space"));
    assert_eq!(session["status"]["phase"], "Pending", "{session:#}");
    assert_eq!(atm.get("a")["status"]["pid"], pid);
    atm.wait_health("worried", |health| health.to_string().contains("No space left"));
    assert_eq!(atm.keepers().len(), 1);

    fs::remove_file(inside.join("filler")).unwrap();
    atm.wait_pid("b");
    assert_eq!(atm.get("a")["status"]["pid"], pid);
    atm.wait_health("well again", |health| !health.to_string().contains("No space left"));
    // The test's own mark of its processes is in a mount that goes with the daemon.
    assert_eq!(atm.stop_daemon(), 0);
    assert!(!is_alive(pid) && atm.keepers().is_empty());
}
