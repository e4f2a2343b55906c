//! The directory itself: gone, moved, another one, mounted over, stormed, blind.

use std::fs;

use super::{
    SLEEPER,
    harness::{Atm, is_root, signal, wait_until},
};

fn three(atm: &Atm) -> Vec<i32> {
    for name in ["a", "b", "c"] {
        atm.drop_spec(name, SLEEPER);
    }
    ["a", "b", "c"].iter().map(|name| atm.wait_pid(name)).collect()
}

fn pids(atm: &Atm) -> Vec<i32> {
    ["a", "b", "c"].iter().map(|name| atm.wait_pid(name)).collect()
}

fn unavailable(atm: &mut Atm, says: &str) {
    atm.wait_notified(says);
    atm.wait_health("without specs", |h| h["specsUnavailable"].to_string().contains(says));
    assert!(atm.events(&[]).iter().any(|event| event["kind"] == "SpecsUnavailable"));
}

/// S31, S32.
#[test]
fn a_directory_that_is_deleted_stops_nothing_and_counts_again_when_it_is_back() {
    let mut atm = Atm::start();
    let before = three(&atm);
    for _ in 0..5 {
        fs::remove_dir_all(atm.specs()).unwrap();
        unavailable(&mut atm, "the spec directory is missing");
        assert_eq!(pids(&atm), before);
        // Back, empty at first: still nothing is stopped.
        fs::create_dir(atm.specs()).unwrap();
        unavailable(&mut atm, "the spec directory is another one than before");
        // New specs in it count already.
        atm.drop_spec("new", SLEEPER);
        atm.wait_pid("new");
        for name in ["a", "b", "c"] {
            atm.drop_spec(name, SLEEPER);
        }
        atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
        atm.remove_spec("new");
        atm.wait_gone("new");
        assert_eq!(pids(&atm), before);
    }
    assert!(atm.events(&[]).iter().any(|event| event["kind"] == "SpecsAvailable"));
    assert_eq!(atm.count_events("a", "Started"), 1);
}

/// S33.
#[test]
fn a_directory_that_is_moved_away_is_not_followed() {
    let mut atm = Atm::start();
    let before = three(&atm);
    let away = atm.path("away");
    fs::rename(atm.specs(), &away).unwrap();
    unavailable(&mut atm, "the spec directory is missing");
    // What happens in the moved one is nobody's business.
    fs::remove_file(away.join("a.yaml")).unwrap();
    fs::write(away.join("stray.yaml"), SLEEPER).unwrap();
    fs::create_dir(atm.specs()).unwrap();
    unavailable(&mut atm, "another one than before");
    assert_eq!(pids(&atm), before);
    assert!(atm.get("stray").is_null());
    for name in ["a", "b", "c"] {
        atm.drop_spec(name, SLEEPER);
    }
    atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
    atm.settle();
    assert_eq!(pids(&atm), before);
}

/// S35, with sessions alive: another daemon's start is no reason to end them.
#[test]
fn a_directory_that_is_missing_at_the_start_stops_nothing() {
    let mut atm = Atm::start();
    let before = three(&atm);
    atm.kill_daemon();
    let away = atm.path("away");
    fs::rename(atm.specs(), &away).unwrap();
    atm.up();
    unavailable(&mut atm, "the spec directory is missing");
    assert!(!atm.specs().exists(), "it was made, as if nothing had been there");
    assert_eq!(pids(&atm), before);
    fs::rename(&away, atm.specs()).unwrap();
    atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
    atm.settle();
    assert_eq!(pids(&atm), before);
    assert_eq!(atm.count_events("a", "Adopted"), 1);

    // Another directory than recorded, at the start.
    atm.kill_daemon();
    fs::rename(atm.specs(), atm.path("first")).unwrap();
    fs::create_dir(atm.specs()).unwrap();
    atm.up();
    unavailable(&mut atm, "another one than before");
    assert_eq!(pids(&atm), before);
    atm.ok(&["cleanup", "--accept-removals"]);
    for name in ["a", "b", "c"] {
        atm.wait_gone(name);
    }
    atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
    assert!(wait_until(|| atm.marked().is_empty()));
}

/// What was being ended because its file was removed does not come back when the directory goes too, and the daemon;
/// what was put back meanwhile does.
#[test]
fn what_was_removed_before_the_directory_went_stays_ended() {
    let mut atm = Atm::start();
    let stays = "command: [sh, -c, 'trap true TERM HUP; echo up; while :; do sleep 1000 & wait; done']\n\
                 terminationGracePeriod: 1000s\nrestartPolicy: Always\n";
    let removed = ["child", "keeper", "back"];
    for name in removed {
        atm.drop_spec(name, stays);
        atm.wait_output(name, "up");
    }
    atm.drop_spec("kept", SLEEPER);
    let kept = atm.wait_pid("kept");
    let pids = removed.map(|name| atm.wait_pid(name));
    for name in removed {
        atm.remove_spec(name);
        atm.wait(name, "being ended", |s| s["status"]["reason"] == "SpecRemoved");
    }
    atm.drop_spec("back", &format!("{stays}labels: {{once: more}}\n"));
    assert!(wait_until(|| atm.count_events("back", "SpecChanged") == 2));
    let is_written = |name: &str| {
        let memory = fs::read_to_string(atm.state().join(format!("sessions/{name}.json"))).unwrap();
        memory.contains("\"removed\":true") == (name != "back")
    };
    assert!(wait_until(|| removed.into_iter().all(is_written)));
    let keeper = atm.get("keeper")["status"]["keeperPid"].as_i64().unwrap();
    atm.kill_daemon();
    signal(i32::try_from(keeper).unwrap(), 9);
    let away = atm.path("away");
    fs::rename(atm.specs(), &away).unwrap();
    atm.up();
    unavailable(&mut atm, "the spec directory is missing");
    for pid in [pids[0], pids[2]] {
        signal(pid, 9);
    }
    for name in ["child", "keeper"] {
        atm.wait_gone(name);
        assert_eq!(atm.count_events(name, "Started"), 1, "{name}");
    }
    atm.wait("back", "running again", |s| {
        s["status"]["pid"].as_i64().is_some_and(|pid| pid != i64::from(pids[2]))
    });
    assert!(wait_until(|| atm.marked().iter().all(|pid| !pids.contains(pid))));
    fs::rename(&away, atm.specs()).unwrap();
    atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
    atm.settle();
    assert_eq!((atm.count_events("back", "Started"), atm.wait_pid("kept")), (2, kept));
    for name in ["child", "keeper"] {
        assert!(atm.get(name).is_null(), "{name}");
    }
}

/// Where state knows no session, the directory is made.
#[test]
fn a_first_start_makes_its_directories() {
    let mut atm = Atm::new();
    fs::remove_dir(atm.specs()).unwrap();
    atm.up();
    assert!(atm.specs().is_dir());
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
}

/// A person says that the loss was meant.
#[test]
fn accepted_removals_end_what_is_missing() {
    let mut atm = Atm::start();
    three(&atm);
    fs::remove_dir_all(atm.specs()).unwrap();
    unavailable(&mut atm, "the spec directory is missing");
    atm.ok(&["cleanup", "--accept-removals"]);
    for name in ["a", "b", "c"] {
        atm.wait_gone(name);
    }
    assert!(wait_until(|| atm.marked().is_empty()));
    fs::create_dir(atm.specs()).unwrap();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
}

/// S34: no event tells of a mount.
#[test]
fn a_mount_over_the_directory_stops_nothing() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::new();
    atm.write_config("resyncInterval: 1s\n");
    atm.through = ["unshare", "-m"].map(str::to_owned).into();
    atm.up();
    let before = three(&atm);
    let inside = |words: &[&str]| {
        let pid = atm.daemon_pid().to_string();
        let status = std::process::Command::new("nsenter").args(["-m", "-t", &pid]).args(words).status();
        assert!(status.unwrap().success(), "{words:?}");
    };
    let specs = atm.specs().display().to_string();
    inside(&["mount", "-t", "tmpfs", "none", &specs]);
    atm.wait_health("without specs", |h| {
        h["specsUnavailable"].to_string().contains("another one than before")
    });
    assert_eq!(pids(&atm), before);
    inside(&["umount", &specs]);
    atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
    atm.settle();
    assert_eq!(pids(&atm), before);
}

/// S44: atm has no business writing into the directory.
#[test]
fn a_read_only_directory_is_as_good_as_any() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::new();
    let specs = atm.specs().display().to_string();
    let mount = format!("mount --bind {specs} {specs} && mount -o remount,bind,ro {specs} && exec \"$@\"");
    atm.through = ["unshare", "-m", "sh", "-c", &mount, "sh"].map(str::to_owned).into();
    atm.drop_spec("a", SLEEPER);
    atm.up();
    atm.wait_pid("a");
    atm.drop_spec("b", SLEEPER);
    atm.wait_pid("b");
}

/// S36: the kernel's queue of events overflows.
#[test]
fn a_storm_beyond_the_kernels_queue_converges() {
    let atm = Atm::start();
    atm.drop_spec("stays", SLEEPER);
    atm.drop_spec("goes", SLEEPER);
    let pid = atm.wait_pid("stays");
    atm.wait_pid("goes");
    // Stopped, the daemon cannot empty the queue, so it overflows for sure.
    signal(atm.daemon_pid(), 19);
    let storm = || {
        for n in 0..12_000 {
            let path = atm.spec_path(&format!("storm{n}"));
            fs::write(&path, SLEEPER).unwrap();
            fs::remove_file(&path).unwrap();
        }
    };
    storm();
    atm.remove_spec("goes");
    atm.drop_spec("comes", SLEEPER);
    signal(atm.daemon_pid(), 18);
    atm.wait_pid("comes");
    atm.wait_gone("goes");
    assert_eq!(atm.wait_pid("stays"), pid);
    // And once more while it reads.
    storm();
    atm.drop_spec("last", SLEEPER);
    atm.wait_pid("last");
    atm.wait("storm", "nobody", |_| {
        let mut names: Vec<_> =
            atm.list().into_iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names == ["comes", "last", "stays"]
    });
    assert_eq!(atm.wait_pid("stays"), pid);
}

/// S29: files that come and go between a listing and an opening.
#[test]
fn files_that_vanish_while_they_are_looked_at_disturb_nobody() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    for round in 0..2000 {
        let name = format!("v{}", round % 7);
        atm.drop_spec(&name, &format!("{SLEEPER}suspend: true\n"));
        if round % 10 == 0 {
            signal(atm.daemon_pid(), 1); // lists
        }
        atm.remove_spec(&name);
    }
    atm.settle();
    atm.wait("a", "alone", |_| atm.list().len() == 1);
    assert_eq!(atm.wait_pid("a"), pid);
}

/// S37: no inotify to be had.
#[test]
fn without_inotify_the_directory_is_listed() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::new();
    let limit = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    atm.through = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"].map(str::to_owned).into();
    atm.up();
    atm.wait_health("blind", |h| h["warnings"].to_string().contains("no inotify"));
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    atm.drop_spec("a", &format!("{SLEEPER}priority: 2\n"));
    atm.wait("a", "at priority 2", |s| s["spec"]["priority"] == 2);
    assert_eq!(atm.wait_pid("a"), pid);
    atm.remove_spec("a");
    atm.wait_gone("a");
    assert_eq!(atm.daemon_log().matches("no inotify").count(), 1, "warned once\n{}", atm.daemon_log());
}

/// S28: what cannot be read is not gone.
#[test]
fn what_may_not_be_read_keeps_its_session() {
    use std::os::unix::fs::PermissionsExt;
    let mut atm = Atm::new();
    if rustix::process::geteuid().is_root() {
        // Without the capabilities that look past permissions.
        atm.through = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
            .map(str::to_owned)
            .into();
    }
    atm.up();
    let before = three(&atm);
    let mode =
        |path: std::path::PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(atm.spec_path("a"), 0o000);
    atm.wait_error("a", "it cannot be opened");
    mode(atm.specs(), 0o000);
    signal(atm.daemon_pid(), 1);
    atm.wait_health("without specs", |h| h["specsUnavailable"].to_string().contains("cannot be read"));
    assert_eq!(pids(&atm), before);
    mode(atm.specs(), 0o755);
    mode(atm.spec_path("a"), 0o644);
    signal(atm.daemon_pid(), 1);
    atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
    atm.wait("a", "mended", |s| s["status"]["specError"].is_null());
    assert_eq!(pids(&atm), before);
}
