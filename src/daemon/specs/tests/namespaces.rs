//! What needs a kernel of its own: no inotify left, and mounts. Each test runs itself again in new namespaces,
//! so that nothing of the machine is touched.

use std::{fs, process::Command};

use super::real::{Rig, Start};

/// Runs the ignored test `inner` of this file below `unshare OPTIONS`, after the shell commands `before`.
/// Where namespaces are not to be had, says so.
fn inside(options: &[&str], before: &str, inner: &str) {
    let possible = Command::new("unshare").args(options).arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no namespaces here");
        return;
    }
    let script = format!("{before}; exec \"$0\" --exact --ignored --nocapture \"$1\"");
    let output = Command::new("unshare")
        .args(options)
        .args(["sh", "-ec", &script])
        .arg(std::env::current_exe().unwrap())
        .arg(format!("{}::{inner}", module_path!().split_once("::").unwrap().1))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{wrong}");
}

#[test]
fn without_an_inotify_instance_left_it_polls_and_says_so() {
    inside(&["-U", "-r"], "echo 0 > /proc/sys/user/max_inotify_instances", "inner_no_instance");
}

#[test]
#[ignore = "run by the test above, in a user namespace"]
fn inner_no_instance() {
    let mut rig = Rig::start(tempfile::tempdir().unwrap(), Start::default());
    rig.wait_for("blind");
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    fs::remove_file(rig.at("a.yaml")).unwrap();
    rig.wait_for("removed a");
    assert_eq!(rig.told.iter().filter(|line| *line == "blind").count(), 1, "{:?}", rig.told);
    rig.handle.shutdown();
}

#[test]
fn a_file_system_mounted_over_the_directory_hides_no_session() {
    inside(&["-U", "-r", "-m"], "mount --make-rprivate /", "inner_mount");
}

#[test]
#[ignore = "run by the test above, in a mount namespace"]
fn inner_mount() {
    let mut rig = Rig::new();
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    rig.handle.set_live(super::name("a"), true);
    let dir = rig.dir.to_str().unwrap().to_owned();
    let run = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
    };
    run("mount", &["-t", "tmpfs", "none", &dir]);
    rig.handle.resync();
    rig.wait_for("unavailable other a");
    // What is mounted there is watched: it may add.
    rig.rename_in_by_copy("b.yaml", "ok B");
    rig.wait_in_force("b", "B");
    // Busy while somebody has it open, which a listing has for a moment.
    rig.wait("it is unmounted", |_| Command::new("umount").arg(&dir).status().unwrap().success());
    rig.handle.resync();
    rig.wait("the directory is back", |rig| {
        rig.told.last().is_some_and(|line| line.starts_with("available"))
    });
    rig.wait_for("removed b");
    assert!(!rig.told.iter().any(|line| line == "removed a"), "{:?}", rig.told);
    rig.handle.shutdown();
}
