use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::fs::CWD;

use super::*;

fn directory(path: &Path) {
    fs::create_dir_all(path).unwrap();
}

fn write(path: &Path, text: &str) {
    directory(path.parent().unwrap());
    fs::write(path, text).unwrap();
}

/// As git makes one, by hand.
fn repository(root: &Path, branch: &str) {
    write(&root.join(".git/HEAD"), &format!("ref: refs/heads/{branch}\n"));
}

type Told = (String, String, Option<String>);

/// Name of the root's last part, of the repository, and the branch.
fn seen(path: &Path) -> Option<Told> {
    let view = of_directory(path)?;
    let root = Path::new(&view.root).file_name().unwrap().to_str().unwrap().to_owned();
    Some((root, view.repo, view.branch))
}

fn told(root: &str, repo: &str, branch: &str) -> Option<Told> {
    Some(root).map(|root| (root.into(), repo.into(), Some(branch.into())))
}

#[test]
fn a_repository_is_found_from_below_by_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("web");
    directory(&root.join("a/b"));
    assert_eq!(seen(&root), None);
    repository(&root, "fix/login");
    assert_eq!(seen(&root), told("web", "web", "fix/login"));
    assert_eq!(seen(&root.join("a/b")), told("web", "web", "fix/login"));
    assert_eq!(of_directory(&root.join("a")).unwrap().root, root.canonicalize().unwrap().to_str().unwrap());
    write(&root.join(".git/config"), "[remote \"origin\"]\n\turl = https://a:b@c.org/team/site.git\n");
    assert_eq!(seen(&root), told("web", "site", "fix/login"));
    write(&root.join(".git/HEAD"), &"0123456789".repeat(4));
    assert_eq!(seen(&root), told("web", "site", "0123456"));
    write(&root.join(".git/HEAD"), "ref: refs/heads/.invalid\n");
    assert_eq!(seen(&root), Some(("web".into(), "site".into(), None)));
    // One within another is its own.
    repository(&root.join("a"), "inner");
    assert_eq!(seen(&root.join("a/b")), told("a", "a", "inner"));
}

#[test]
fn worktrees_and_submodules_lead_to_their_repository() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("web");
    repository(&root, "main");
    write(&root.join(".git/worktrees/fix/HEAD"), "ref: refs/heads/fix\n");
    write(&root.join(".git/worktrees/fix/commondir"), "../..\n");
    let tree = dir.path().join("trees/fix");
    write(&tree.join(".git"), &format!("gitdir: {}\n", root.join(".git/worktrees/fix").display()));
    assert_eq!(seen(&tree), told("fix", "web", "fix"));
    write(&root.join(".git/config"), "[remote \"origin\"]\nurl = site.git\n");
    assert_eq!(seen(&tree), told("fix", "site", "fix"));
    write(&root.join(".git/modules/lib/HEAD"), "ref: refs/heads/lib\n");
    write(&root.join("vendor/lib/.git"), "gitdir: ../../.git/modules/lib\n");
    assert_eq!(seen(&root.join("vendor/lib")), told("lib", "lib", "lib"));
    // Git says that it is broken, and does not take the one above instead.
    write(&root.join("vendor/lib/.git"), "gitdir: ../../.git/modules/gone\n");
    assert_eq!(seen(&root.join("vendor/lib")), None);
}

#[test]
fn what_is_no_repository_is_passed_over_and_nothing_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let outer = dir.path().join("outer");
    repository(&outer, "main");
    let inner = outer.join("inner");
    directory(&inner);
    let git = inner.join(".git");
    let all = told("outer", "outer", "main");

    rustix::fs::mknodat(CWD, &git, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(seen(&inner), all, "a FIFO");
    fs::remove_file(&git).unwrap();
    symlink("/dev/zero", &git).unwrap();
    assert_eq!(seen(&inner), all, "a device");
    fs::remove_file(&git).unwrap();
    symlink(".git", &git).unwrap();
    assert_eq!(seen(&inner), all, "a loop");
    fs::remove_file(&git).unwrap();
    directory(&git);
    assert_eq!(seen(&inner), all, "an empty directory");
    rustix::fs::mknodat(CWD, git.join("HEAD"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(seen(&inner), all, "a HEAD that is a FIFO");
    fs::remove_file(git.join("HEAD")).unwrap();
    symlink("/etc/hostname", git.join("HEAD")).unwrap();
    assert_eq!(seen(&inner), all, "a HEAD that is somebody's file");
    fs::remove_file(git.join("HEAD")).unwrap();
    write(&git.join("HEAD"), &format!("ref: refs/heads/{}", "x".repeat(8 << 10)));
    assert_eq!(seen(&inner), all, "a HEAD without an end");
    write(&git.join("HEAD"), "ref: refs/heads/\x1b]0;title\x07\n");
    assert_eq!(seen(&inner), all, "a HEAD that acts on terminals");
    fs::remove_file(git.join("HEAD")).unwrap();
    symlink("refs/heads/linked", git.join("HEAD")).unwrap();
    assert_eq!(seen(&inner), told("inner", "inner", "linked"), "a link, as of old");
}

#[test]
fn what_another_user_put_into_a_shared_directory_is_not_believed() {
    if super::super::users::own().0 != 0 {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path(), "planted");
    let own = dir.path().join("own");
    directory(&own);
    assert!(seen(&own).is_some());
    std::os::unix::fs::chown(dir.path().join(".git"), Some(54_321), None).unwrap();
    assert_eq!(seen(&own), None);
    // Whoever owns where one works is trusted there.
    std::os::unix::fs::chown(&own, Some(54_321), None).unwrap();
    assert!(seen(&own).is_some());
}

#[test]
fn a_process_is_looked_at_with_its_own_rights() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("web");
    repository(&root, "main");
    let mut sleeper =
        Command::new("sleep").arg("1000").current_dir(&root).stdout(Stdio::null()).spawn().unwrap();
    let id = identify(sleeper.id().cast_signed()).unwrap();
    let own = super::super::users::own().0;
    let found = of_process(id, own);
    let other = of_process(id, own + 1);
    let later = of_process(ProcessId { start_time: id.start_time + 1, ..id }, own);
    fs::remove_dir_all(&root).unwrap();
    let removed = of_process(id, own);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!(found.unwrap().unwrap().branch.as_deref(), Some("main"));
    assert_eq!(other.unwrap(), None, "it runs as another user than the session's");
    assert_eq!(later.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(removed.unwrap(), None);
    assert!(of_process(id, own).is_err());
}

#[test]
fn a_repository_that_the_user_may_not_read_is_not_shown_by_root() {
    if super::super::users::own().0 != 0 {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("web");
    repository(&root, "secret");
    directory(&root.join("open"));
    for path in [dir.path(), &root, &root.join("open")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let start = || {
        let mut command = Command::new("sleep");
        command.arg("1000").current_dir(root.join("open")).uid(65534).gid(65534);
        command.spawn().unwrap()
    };
    let mut sleeper = start();
    let id = identify(sleeper.id().cast_signed()).unwrap();
    // Between fork and exec it still runs as root.
    while Rights::of_process(id).unwrap().uid == 0 {
        std::thread::yield_now();
    }
    let open = of_process(id, 65534);
    fs::set_permissions(root.join(".git"), fs::Permissions::from_mode(0o700)).unwrap();
    let closed = of_process(id, 65534);
    // A link to what only root may read.
    fs::set_permissions(root.join(".git"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.path().join("canary"), "ref: refs/heads/canary\n").unwrap();
    fs::set_permissions(dir.path().join("canary"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(root.join(".git/HEAD")).unwrap();
    symlink(dir.path().join("canary"), root.join(".git/HEAD")).unwrap();
    let linked = of_process(id, 65534);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!(open.unwrap().unwrap().branch.as_deref(), Some("secret"));
    assert_eq!(closed.unwrap(), None);
    assert_eq!(linked.unwrap(), None);
}
