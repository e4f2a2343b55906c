//! Whose files count in system mode. Needs root, to own files as others.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
};

use super::{
    real::{Rig, Start},
    world::SYSTEM,
};

/// A rig in system mode, or `None` where this test may not give files away.
fn rig() -> Option<Rig> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(root, Start { rules: SYSTEM, ..Start::default() });
    rig.wait_for("first");
    fs::set_permissions(&rig.dir, fs::Permissions::from_mode(0o1777)).unwrap();
    rig.flush("open");
    Some(rig)
}

#[test]
fn a_file_counts_only_if_nobody_else_could_have_written_it() {
    let Some(mut rig) = rig() else { return };
    let beside = |file: &str| rig.root.path().join(file);
    let file = |name: &str, uid: u32, mode: u32| {
        let path = beside(name);
        fs::write(&path, "ok A").unwrap();
        chown(&path, Some(uid), None).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let place = |from, name: &str| fs::rename(from, rig.at(name)).unwrap();
    place(file("f1", 0, 0o644), "root.yaml");
    place(file("f2", 1000, 0o600), "alice.yaml");
    place(file("f3", 0, 0o664), "group.yaml");
    place(file("f4", 0, 0o646), "others.yaml");
    // alice's link to a file of her own, and to one that only root should read.
    let link = |name: &str, target: &std::path::Path, uid: u32| {
        let path = beside("link");
        symlink(target, &path).unwrap();
        std::os::unix::fs::lchown(&path, Some(uid), None).unwrap();
        fs::rename(&path, rig.at(name)).unwrap();
    };
    let (own, roots) = (file("own", 1000, 0o600), file("roots", 0, 0o600));
    link("link-own.yaml", &own, 1000);
    link("link-foreign.yaml", &roots, 1000);
    link("link-root.yaml", &roots, 0);
    link("link-up.yaml", &own, 0);
    // A hard link to somebody's file, in a directory where anybody may make one.
    let linked = file("linked", 0, 0o644);
    fs::hard_link(&linked, rig.at("hard.yaml")).unwrap();
    // Where the kernel itself refuses links of others in such a directory, it refuses this one too.
    let guarded = fs::read_to_string("/proc/sys/fs/protected_symlinks").is_ok_and(|on| on.trim() != "0");
    let (mut good, mut bad) =
        (vec!["root", "alice", "link-root"], vec!["group", "others", "link-foreign", "link-up", "hard"]);
    if guarded { &mut bad } else { &mut good }.push("link-own");
    for good in good {
        rig.wait_for(&format!("good {good} A {good}.yaml"));
    }
    for bad in bad {
        rig.wait_for(&format!("bad {bad} invalid"));
    }
    let said: Vec<String> = rig.errors.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().all(|text| !text.contains("ok A")),
        "no content of a refused file is shown: {said:?}"
    );
    // Mended, it counts.
    fs::set_permissions(rig.at("group.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    rig.wait_for("good group A group.yaml");
    rig.wait_for("cleared group");
    // So does what was refused for the directory, as soon as that is mended.
    fs::set_permissions(&rig.dir, fs::Permissions::from_mode(0o755)).unwrap();
    rig.wait_for("good hard A hard.yaml");
    rig.wait_for("cleared hard");
    rig.handle.shutdown();
}

#[test]
fn a_directory_that_others_may_replace_files_in_is_refused_until_it_is_mended() {
    let Some(mut rig) = rig() else { return };
    fs::set_permissions(&rig.dir, fs::Permissions::from_mode(0o777)).unwrap();
    rig.wait_for("unavailable refused");
    rig.rename_in("a.yaml", "ok A");
    fs::remove_file(rig.at("open.yaml")).unwrap();
    fs::set_permissions(&rig.dir, fs::Permissions::from_mode(0o755)).unwrap();
    rig.wait_for("good a A a.yaml");
    rig.wait_for("removed open");
    let refused = rig.told.iter().position(|line| line == "unavailable refused").unwrap();
    let told = |wanted: &str| rig.told.iter().rposition(|line| line.starts_with(wanted)).unwrap();
    assert!(told("available") > refused && told("good a") > told("available"), "{:?}", rig.told);
    rig.handle.shutdown();
}

#[test]
fn a_file_given_away_passes_to_its_new_owner_only_after_the_session() {
    let Some(mut rig) = rig() else { return };
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    rig.handle.set_live(super::name("a"), true);
    chown(rig.at("a.yaml"), Some(1000), None).unwrap();
    rig.wait_for("removed a");
    rig.wait_for("bad a waits");
    rig.handle.set_live(super::name("a"), false);
    rig.wait_in_force("a", "A");
    rig.handle.shutdown();
}
