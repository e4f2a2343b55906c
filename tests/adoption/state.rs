//! D12, D13, D44: state that cannot be written. What runs goes on; what would be forgotten is not begun.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf};

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

/// All that was known is gone, and what lives tells whose it is: it is held as well as before.
#[test]
fn a_state_directory_that_is_removed_loses_no_live_session() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("b", SLEEPER);
    let pids = [atm.wait_pid("a"), atm.wait_pid("b")];
    for _ in 0..2 {
        atm.kill_daemon();
        fs::remove_dir_all(atm.path("state")).unwrap();
        atm.up();
        assert_eq!([atm.wait_pid("a"), atm.wait_pid("b")], pids);
    }
    atm.drop_spec("a", &format!("{SLEEPER}env: {{NEW: '1'}}\nonChange: Restart\n"));
    atm.wait("a", "another run", |s| s["status"]["phase"] == "Running" && s["status"]["pid"] != pids[0]);
    assert!(!is_alive(pids[0]));
    atm.remove_spec("b");
    atm.wait_gone("b");
    assert!(!is_alive(pids[1]));
}

/// Under a daemon that lives it is written anew, with all that is known: what a person asked for, and what ran once.
#[test]
fn a_daemon_that_loses_its_state_directory_goes_on() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("stopped", SLEEPER);
    atm.drop_spec("once", &format!("{}restartPolicy: Never\n", atm.counting("once", "exit 3")));
    let a = atm.wait_pid("a");
    atm.wait_pid("stopped");
    atm.wait_phase("once", "Failed");
    atm.ok(&["stop", "stopped"]);
    fs::remove_dir_all(atm.path("state")).unwrap();
    atm.drop_spec("b", SLEEPER);
    let b = atm.wait_pid("b");
    assert!(super::wait_until(|| atm.memory_file("once").exists() && atm.memory_file("stopped").exists()));
    for directory in ["state", "state/sessions"] {
        let mode = fs::metadata(atm.path(directory)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{directory}");
    }
    atm.restart_daemon();
    assert_eq!([atm.wait_pid("a"), atm.wait_pid("b")], [a, b]);
    atm.settle();
    assert_eq!(atm.get("stopped")["status"]["reason"], "Stopped");
    assert_eq!(atm.get("once")["status"]["exit"]["code"], 3);
    assert_eq!(atm.runs("once"), 1);
    atm.wait_health("well", |health| !health.to_string().contains("cannot write"));
}

/// Another state directory on the same runtime directory: who is somebody else's is left alone.
#[test]
fn another_state_directory_takes_nobody_over() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    atm.kill_daemon();
    atm.elsewhere.push(("state", atm.path("another")));
    atm.drop_spec("b", SLEEPER);
    atm.up();
    atm.wait_pid("b");
    let told = atm.wait("a", "somebody else's", |s| s["status"]["reason"] == "Unknown");
    assert!(told["status"]["message"].to_string().contains("another state directory"), "{told:#}");
    atm.remove_spec("a");
    atm.settle();
    assert!(is_alive(pid));
    atm.kill_daemon();
    atm.elsewhere.clear();
    atm.drop_spec("a", SLEEPER);
    atm.remove_spec("b");
    atm.up();
    assert_eq!(atm.wait_pid("a"), pid);
}

/// The runtime directory is full: whatever is to begin needs its record there.
#[test]
fn a_full_runtime_directory_keeps_sessions_and_starts_others_when_there_is_room() {
    use nix::{
        mount::{MsFlags, mount},
        sched::{CloneFlags, unshare},
    };
    if !is_root() {
        return;
    }
    let mut atm = Atm::new();
    let run = atm.path("run");
    fs::create_dir(&run).unwrap();
    // For this thread and what it starts: the clients have to find the socket too.
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("none"), &run, Some("tmpfs"), MsFlags::empty(), Some("size=256k,mode=0755")).unwrap();
    atm.mounts.push(run.clone());
    atm.up();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let mut filler = fs::File::create(run.join("filler")).unwrap();
    while filler.write_all(&[b'x'; 512]).is_ok() {}
    drop(filler);

    atm.drop_spec("b", SLEEPER);
    let session = atm.wait("b", "refused", |s| s["status"]["message"].to_string().contains("No space"));
    assert_eq!(
        (&session["status"]["phase"], &session["status"]["reason"]),
        (&"Pending".into(), &"HostError".into()),
        "{session:#}"
    );
    assert_eq!(atm.get("a")["status"]["pid"], pid);
    // Nor is anything lost by a daemon that starts now.
    atm.restart_daemon();
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.keepers().len(), 1);

    fs::remove_file(run.join("filler")).unwrap();
    atm.wait_pid("b");
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.get("b")["status"]["restarts"], 0);
}

/// Arms a failpoint of the daemon's, which has to be started with [`failpoints`].
fn arm(atm: &Atm, place: &str, what: &str) {
    let beside = atm.path("failpoint.new");
    fs::write(&beside, what).unwrap();
    fs::rename(beside, atm.path("failpoints").join(format!("daemon.{place}"))).unwrap();
}

/// Has a daemon look for failpoints.
fn failpoints(atm: &mut Atm) {
    fs::create_dir_all(atm.path("failpoints/fired")).unwrap();
    atm.env.push(("ATM_FAILPOINTS".into(), atm.path("failpoints").display().to_string()));
}

/// The disk does not answer any more. What is to start waits for its word of it; nobody else does.
#[test]
fn a_disk_that_does_not_answer_delays_starts_and_nothing_else() {
    let mut atm = Atm::new();
    failpoints(&mut atm);
    atm.env.push(("WATCHDOG_USEC".into(), "2000000".into()));
    atm.up();
    let deaf = "command: [sh, -c, 'trap \"\" TERM HUP; echo deaf; while :; do sleep 5; done']\nterminationGracePeriod: 1s\n";
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("deaf", deaf);
    let (a, deaf) = (atm.wait_pid("a"), atm.wait_pid("deaf"));
    atm.wait_output("deaf", "deaf");

    arm(&atm, "append", "hang");
    atm.drop_spec("b", SLEEPER);
    assert!(super::wait_until(|| atm.path("failpoints/fired/daemon.append").exists()));
    atm.drop_spec("c", SLEEPER);
    let waiting = atm.wait("c", "about to start", |s| s["status"]["reason"] == "Starting");
    assert!(waiting["status"]["pid"].is_null(), "{waiting:#}");
    // One that is removed meanwhile ends in its own time, who asks is answered, and the loop turns.
    atm.remove_spec("deaf");
    assert!(super::wait_until(|| !is_alive(deaf)));
    atm.drop_spec("a", &format!("{SLEEPER}priority: 4\n"));
    atm.wait("a", "at priority 4", |s| s["spec"]["priority"] == 4);
    atm.drain_notices();
    atm.wait_notified("WATCHDOG=1");
    let asked = std::time::Instant::now();
    assert!(atm.get("c")["status"]["pid"].is_null(), "begun without being remembered");
    assert!(asked.elapsed().as_secs() < 3, "answered after {:?}", asked.elapsed());

    // Nothing of it was written, and nothing is lost.
    atm.restart_daemon();
    assert_eq!(atm.wait_pid("a"), a);
    assert_eq!(atm.get("a")["spec"]["priority"], 4);
    for name in ["b", "c"] {
        atm.wait_pid(name);
    }
    atm.wait_gone("deaf");
    assert_eq!(atm.keepers().len(), 3);
}

/// A daemon that can remember nothing any more is none: it ends, its sessions do not, and the next one has them.
#[test]
fn a_daemon_whose_state_thread_panics_ends_and_its_sessions_do_not() {
    let mut atm = Atm::new();
    failpoints(&mut atm);
    atm.up();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let daemon = atm.daemon_pid();
    arm(&atm, "append", "panic");
    atm.drop_spec("b", SLEEPER);
    assert!(super::wait_until(|| !is_alive(daemon)), "it goes on without its state: {}", atm.daemon_log());
    assert!(is_alive(pid));
    atm.restart_daemon();
    assert_eq!(atm.wait_pid("a"), pid);
    atm.wait_pid("b");
    assert_eq!(atm.keepers().len(), 2);
}
