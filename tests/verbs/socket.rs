//! C27: the control socket's file goes while the daemon runs.

use std::{fs, os::unix::fs::PermissionsExt, os::unix::net::UnixListener};

use super::{
    SLEEPER,
    harness::{Atm, now, wait_until},
};

/// Far below the resync interval, so that only the watch can be what noticed it.
const SOON: std::time::Duration = std::time::Duration::from_secs(15);

fn answers_again(atm: &Atm, what: &str) {
    let begun = now();
    let back = wait_until(|| atm.atm_with_flags(&["get", "a"]).status.success());
    assert!(back && begun.elapsed() < SOON, "{what}: not answered again\n{}", atm.daemon_log());
    let mode = fs::metadata(atm.runtime().join("atm.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "{what}");
}

#[test]
fn a_socket_that_is_removed_or_replaced_is_bound_anew() {
    let mut atm = Atm::start_with("resyncInterval: 10m");
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let mut watching = atm.follow(&["get", "-w"]);
    watching.wait("Running");
    let socket = atm.runtime().join("atm.sock");

    fs::remove_file(&socket).unwrap();
    answers_again(&atm, "removed");

    let aside = atm.path("aside");
    fs::write(&aside, "no socket").unwrap();
    fs::rename(&aside, &socket).unwrap();
    answers_again(&atm, "replaced by a file");

    fs::remove_file(&socket).unwrap();
    let nobody = UnixListener::bind(&socket).unwrap();
    drop(nobody);
    answers_again(&atm, "replaced by a socket that nobody listens on");

    fs::remove_dir_all(atm.runtime()).unwrap();
    answers_again(&atm, "removed with its directory");

    let told = atm.daemon_log().matches("was removed or replaced: bound anew").count();
    assert_eq!(told, 4, "{}", atm.daemon_log());
    assert_eq!(atm.wait_pid("a"), pid);
    // Who was connected before stays so.
    atm.drop_spec("later", SLEEPER);
    watching.wait("later");
    atm.stop_daemon();
    watching.end();
    assert!(!socket.exists());
}

/// An address has room for 107 bytes; a path has more.
#[test]
fn a_socket_in_a_deep_directory_is_reached() {
    let base = tempfile::tempdir().unwrap();
    let deep = base.path().join("d".repeat(120)).join("e".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    let mut atm = Atm::with_runtime_in(&deep);
    atm.up();
    assert!(atm.runtime().join("atm.sock").as_os_str().len() > 180);
    atm.drop_spec("a", "command: [sh, -c, 'echo shown; exec sleep 1000']\n");
    let pid = atm.wait_pid("a");
    assert!(wait_until(|| atm.ok(&["peek", "a"]).contains("shown")), "its own socket is reached");
    atm.restart_daemon();
    assert_eq!(atm.wait_pid("a"), pid);
    atm.ok(&["stop", "a"]);
}
