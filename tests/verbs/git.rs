//! The git repository that a session works in, as its files tell it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use super::{
    fuse::Mount,
    harness::{Atm, assert_harmless, is_alive, is_root, now},
};

/// A person without privileges.
const SOMEBODY: u32 = 65534;

/// Stays, and prints a line whenever the file `sign` is made: a sign of life.
fn session(atm: &Atm, directory: &Path) -> String {
    let sign = atm.path("sign").display().to_string();
    let script = format!("while :; do [ -e {sign} ] && {{ rm {sign}; echo alive; }}; sleep 0.05; done");
    format!(
        "command: [sh, -c, {script:?}]\nworkingDir: {}\nterminationGracePeriod: 2s\n",
        directory.display()
    )
}

fn repository(root: &Path, branch: &str) {
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::write(root.join(".git/HEAD"), format!("ref: refs/heads/{branch}\n")).unwrap();
}

#[test]
fn the_branch_is_shown_and_follows_with_the_next_sign_of_life() {
    let mut atm = Atm::start();
    let root = atm.path("web");
    repository(&root, "main");
    fs::write(
        root.join(".git/config"),
        "[remote \"origin\"]\n\turl = https://a:canary@c.org/team/site.git\n",
    )
    .unwrap();
    fs::create_dir(root.join("src")).unwrap();
    atm.drop_spec("a", &session(&atm, &root.join("src")));
    let shown = atm.wait("a", "on main", |s| s["status"]["git"]["branch"] == "main");
    let real = root.canonicalize().unwrap();
    assert_eq!(shown["status"]["git"], serde_json::json!({"root": real, "repo": "site", "branch": "main"}));
    let page = atm.ok(&["describe", "a"]);
    assert!(page.contains(&format!("Repository:    site on main ({})", real.display())), "{page}");
    assert!(!page.contains("canary"), "{page}");
    let wide = atm.ok(&["get", "a", "-o", "wide"]);
    assert!(wide.contains("BRANCH") && wide.contains(" main "), "{wide}");

    repository(&root, "fix/login");
    fs::write(atm.path("sign"), "").unwrap();
    atm.wait("a", "on the other branch", |s| s["status"]["git"]["branch"] == "fix/login");
    // A commit without a branch, seen by another daemon that finds it running.
    fs::write(root.join(".git/HEAD"), format!("{}\n", "0123456789".repeat(4))).unwrap();
    atm.restart_daemon();
    atm.wait("a", "at a commit", |s| s["status"]["git"]["branch"] == "0123456");
    // Nothing that could act on a terminal is taken over.
    fs::write(root.join(".git/HEAD"), "ref: refs/heads/\x1b]0;owned\x07\n").unwrap();
    fs::write(atm.path("sign"), "").unwrap();
    atm.wait("a", "no repository", |s| s["status"]["git"].is_null());
    // Names that git takes may still turn what follows them around.
    fs::write(root.join(".git/HEAD"), "ref: refs/heads/\u{202e}niam\n").unwrap();
    fs::write(atm.path("sign"), "").unwrap();
    atm.wait("a", "an odd name", |s| s["status"]["git"]["branch"] == "\u{202e}niam");
    for args in [&["describe", "a"][..], &["get", "a", "-o", "wide"], &["get", "a", "-o", "json"]] {
        assert_harmless("the branch", &atm.ok(args));
    }
    atm.ok(&["stop", "a"]);
    assert!(atm.get("a")["status"]["git"].is_null(), "what no longer runs works nowhere");
}

/// A worktree and a branch with a real git, which may do it otherwise one day.
#[test]
fn what_git_itself_makes_is_understood() {
    let atm = Atm::start();
    let (root, tree) = (atm.path("web"), atm.path("tree"));
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(args).current_dir(atm.path(""));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", atm.path("")).output()
    };
    let (web, tree_path) = (root.display().to_string(), tree.display().to_string());
    if git(&["init", "-q", "-b", "trunk", &web]).is_err() {
        eprintln!("skipped: there is no git");
        return;
    }
    for args in [
        &["-C", &web, "commit", "-q", "--allow-empty", "-m", "first"][..],
        &["-C", &web, "worktree", "add", "-q", "-b", "side/way", &tree_path],
        &["-C", &web, "remote", "add", "origin", "git@example.org:team/site.git"],
    ] {
        let output = git(args).unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
    atm.drop_spec("a", &session(&atm, &root));
    atm.drop_spec("b", &session(&atm, &tree));
    let shown = atm.wait("b", "its branch", |s| s["status"]["git"]["branch"] == "side/way");
    assert_eq!(shown["status"]["git"]["repo"], "site");
    assert!(shown["status"]["git"]["root"].as_str().unwrap().ends_with("/tree"));
    atm.wait("a", "its branch", |s| s["status"]["git"]["branch"] == "trunk");
}

/// A repository on a file system that does not answer.
#[test]
fn a_repository_that_hangs_holds_up_nothing_but_its_own_branch() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::new();
    let (remote, work, fine) = (atm.path("remote"), atm.path("work"), atm.path("fine"));
    for path in [&remote, &work] {
        fs::create_dir(path).unwrap();
    }
    let Some(mount) = Mount::over(&remote) else { return };
    mount.put("HEAD", "ref: refs/heads/remote\n");
    fs::write(work.join(".git"), format!("gitdir: {}\n", remote.display())).unwrap();
    repository(&fine, "main");
    atm.up();
    // Both show life all the time.
    let lively = |directory: &Path| {
        let script = "while :; do echo alive; sleep 0.5; done";
        format!(
            "command: [sh, -c, {script:?}]\nworkingDir: {}\nterminationGracePeriod: 2s\n",
            directory.display()
        )
    };
    atm.drop_spec("hangs", &lively(&work));
    atm.drop_spec("fine", &lively(&fine));
    atm.wait("hangs", "its branch", |s| s["status"]["git"]["branch"] == "remote");
    atm.wait("fine", "its branch", |s| s["status"]["git"]["branch"] == "main");
    mount.put("HEAD", "ref: refs/heads/later\n");
    mount.hang(true);
    for branch in ["one", "two", "three"] {
        repository(&fine, branch);
        atm.wait("fine", "its next branch", |s| s["status"]["git"]["branch"] == branch);
    }
    assert_eq!(atm.get("hangs")["status"]["git"]["branch"], "remote", "as it was seen last");
    let (pid, begun) = (atm.wait_pid("hangs"), now());
    atm.ok(&["stop", "hangs"]);
    assert!(!is_alive(pid) && begun.elapsed().as_secs() < 20, "a stop waits for no repository");
    atm.ok(&["start", "hangs"]);
    mount.hang(false);
    atm.wait("hangs", "its branch", |s| s["status"]["git"]["branch"] == "later");
}

/// The daemon is root; what is shown is what the session's user may read.
#[test]
fn nothing_is_read_that_the_sessions_user_may_not_and_nothing_hangs() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    let [closed, fifo, fine] = ["closed", "fifo", "fine"].map(|name| atm.path(name));
    for path in [atm.path(""), closed.clone(), fifo.clone(), fine.clone()] {
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    repository(&closed, "canary");
    fs::set_permissions(closed.join(".git"), fs::Permissions::from_mode(0o700)).unwrap();
    repository(&fine, "main");
    fs::create_dir(fifo.join(".git")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo.join(".git/HEAD"), rustix::fs::Mode::RWXU).unwrap();
    for (name, directory) in [("closed", &closed), ("fifo", &fifo), ("fine", &fine)] {
        let beside = atm.path("beside");
        fs::write(&beside, session(&atm, directory)).unwrap();
        chown(&beside, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        fs::rename(&beside, atm.spec_path(name)).unwrap();
        atm.wait_pid(name);
    }
    atm.wait("fine", "its branch", |s| s["status"]["git"]["branch"] == "main");
    fs::write(atm.path("sign"), "").unwrap();
    atm.settle();
    for name in ["closed", "fifo"] {
        assert!(atm.get(name)["status"]["git"].is_null(), "{name}");
    }
}
