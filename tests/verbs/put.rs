//! Files for a session: where they are put, as whom, and when they go.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use super::harness::{Atm, is_root, told, wait_until};

/// A person without privileges.
const SOMEBODY: u32 = 65534;

fn session(directory: &Path) -> String {
    format!("command: [sleep, '1000']\nterminationGracePeriod: 2s\nworkingDir: {}\n", directory.display())
}

/// A session that runs in a directory of its own.
fn start(atm: &Atm) -> PathBuf {
    let work = atm.path("work");
    fs::create_dir(&work).unwrap();
    atm.drop_spec("a", &session(&work));
    atm.wait_pid("a");
    work.canonicalize().unwrap()
}

fn uploads(atm: &Atm, name: &str) -> Vec<String> {
    let session = atm.get(name);
    let listed = session.pointer("/status/uploads").and_then(|listed| listed.as_array()).cloned();
    let file = |upload: serde_json::Value| upload.get("file").unwrap().as_str().unwrap().to_owned();
    listed.unwrap_or_default().into_iter().map(file).collect()
}

#[test]
fn a_file_is_there_once_by_its_content_and_goes_with_the_session() {
    let mut atm = Atm::start();
    let work = start(&atm);
    let source = atm.path("My Screen.png");
    fs::write(&source, "hello").unwrap();
    let source = source.display().to_string();
    let expected = work.join(".atm/uploads/2cf24dba5fb0a30e-My-Screen.png");
    assert_eq!(atm.ok(&["put", "a", &source]), format!("{}\n", expected.display()));
    assert_eq!(fs::read_to_string(&expected).unwrap(), "hello");
    assert_eq!(fs::metadata(&expected).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(work.join(".atm/.gitignore")).unwrap(), "*\n");
    // The same content by another name, and from standard input.
    let again = told(&atm.atm_with(&[], "hello", &["put", "a", "-", "--name", "other.txt"]));
    assert_eq!(again, (Some(0), format!("{}\n", expected.display()), String::new()));
    let other = told(&atm.atm_with(&[], "other", &["put", "a", "-", "--name", "../notes.md"])).1;
    assert!(other.ends_with("-notes.md\n"), "{other}");
    let two = uploads(&atm, "a");
    assert_eq!(two.len(), 2);
    assert_eq!(fs::read_dir(work.join(".atm/uploads")).unwrap().count(), 2);
    let page = atm.ok(&["describe", "a"]);
    assert!(page.contains(&format!("Upload:        {} (5 B)", expected.display())), "{page}");
    // They outlive the daemon and the run; several at once; one that fails does not stop the others.
    atm.restart_daemon();
    atm.ok(&["stop", "a"]);
    let third = atm.path("third");
    fs::write(&third, "third").unwrap();
    let missing = atm.path("missing").display().to_string();
    let (code, out, err) = told(&atm.atm(&["put", "a", &missing, third.to_str().unwrap()]));
    assert_eq!((code, out.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("missing"), "{err}");
    assert_eq!(uploads(&atm, "a").len(), 3);
    fs::write(work.join(".atm/uploads/own"), "of the agent").unwrap();

    atm.remove_spec("a");
    atm.wait_gone("a");
    assert!(expected.exists(), "as long as its record");
    let record = atm.path("state/removed/a.json");
    assert!(wait_until(|| record.exists()));
    fs::File::options().write(true).open(&record).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    atm.restart_daemon();
    let left = || fs::read_dir(work.join(".atm/uploads")).unwrap().count();
    assert!(wait_until(|| left() == 1), "{} files left", left());
    assert!(work.join(".atm/uploads/own").exists());
}

#[test]
fn what_two_sessions_share_stays_for_the_other() {
    let mut atm = Atm::start();
    let work = start(&atm);
    atm.drop_spec("b", &session(&work));
    atm.wait_pid("b");
    let put = |name: &str, text: &str| {
        let (code, out, err) = told(&atm.atm_with(&[], text, &["put", name, "-", "--name", "x"]));
        assert_eq!(code, Some(0), "{err}");
        PathBuf::from(out.trim_end())
    };
    let (shared, same, own) = (put("a", "shared"), put("b", "shared"), put("a", "own"));
    assert_eq!(shared, same);
    atm.remove_spec("a");
    atm.wait_gone("a");
    let record = atm.path("state/removed/a.json");
    assert!(wait_until(|| record.exists()));
    fs::File::options().write(true).open(&record).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    atm.restart_daemon();
    assert!(wait_until(|| !own.exists()));
    assert!(shared.exists());
}

#[test]
fn what_cannot_be_put_says_what_to_do() {
    let atm = Atm::start();
    let work = start(&atm);
    let fail = |args: &[&str], code: i32, says: &[&str]| {
        let (found, out, err) = told(&atm.atm(args));
        assert_eq!((found, out.as_str()), (Some(code), ""), "{args:?}: {err}");
        for text in says {
            assert!(err.contains(text), "{args:?}: `{text}` is not in: {err}");
        }
    };
    let source = atm.path("x");
    fs::write(&source, "x").unwrap();
    let source = source.display().to_string();
    fail(&["put", "nobody", &source], 3, &["nobody"]);
    fail(&["put", "a", &source, &source, "--name", "y"], 2, &["--name"]);
    let directory = work.display().to_string();
    fail(&["put", "a", &directory], 1, &["is a directory", "tar -c"]);
    let fifo = atm.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    fail(&["put", "a", fifo.to_str().unwrap()], 1, &["not a regular file", "--name"]);
    fail(&["put", "a", "/dev/zero"], 1, &["not a regular file"]);
    let large = atm.path("large");
    fs::File::create(&large).unwrap().set_len((100 << 20) + 1).unwrap();
    fail(&["put", "a", large.to_str().unwrap()], 1, &["longer than 100MiB"]);
    // The same, found out while it is read; nothing is left of it.
    let zeros = fs::File::open("/dev/zero").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_atm"));
    command.args(["put", "a", "-"]).env("ATM_SOCKET", atm.path("run/atm.sock")).stdin(zeros);
    let (code, _, err) = told(&command.output().unwrap());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("longer than 100MiB"), "{err}");
    assert_eq!(fs::read_dir(work.join(".atm/uploads")).unwrap().count(), 0);
    // A link where the directory should be leads nowhere.
    fs::remove_dir_all(work.join(".atm")).unwrap();
    symlink(atm.path("log"), work.join(".atm")).unwrap();
    fail(&["put", "a", &source], 1, &["`.atm` there is not a directory of the session's user"]);
    // One that never ran has no place yet.
    atm.drop_spec("new", &format!("{}suspend: true\n", session(&work)));
    atm.wait_phase("new", "Suspended");
    fail(&["put", "new", &source], 1, &["atm start new"]);
    // One of no length in its metadata, and one that is short enough, are taken.
    fs::remove_file(work.join(".atm")).unwrap();
    let put = atm.ok(&["put", "a", "/proc/version"]);
    assert!(!fs::read(put.trim_end()).unwrap().is_empty());
    assert!(uploads(&atm, "a").iter().all(|file| file.ends_with("-version")));
}

/// Root puts a file for a user: with that user's rights, whatever the user has planted.
#[test]
fn for_another_user_it_is_written_as_that_user() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::start();
    let work = atm.path("work");
    fs::create_dir(&work).unwrap();
    for path in [atm.path(""), atm.path("run"), work.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    chown(&work, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let beside = atm.path("beside");
    fs::write(&beside, session(&work)).unwrap();
    chown(&beside, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    fs::rename(&beside, atm.spec_path("theirs")).unwrap();
    atm.wait_pid("theirs");
    atm.drop_spec("roots", &session(Path::new("/")));
    atm.wait_pid("roots");
    // What only root may read root may give away.
    let secret = atm.path("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.display().to_string();
    let put = atm.ok(&["put", "theirs", &secret]);
    let about = fs::metadata(put.trim_end()).unwrap();
    assert_eq!((about.uid(), about.gid()), (SOMEBODY, SOMEBODY));
    assert_eq!(fs::metadata(work.join(".atm")).unwrap().uid(), SOMEBODY);
    // The user itself: its own files into its own session, and nobody else's.
    let (code, _, err) = told(&atm.atm_as(SOMEBODY, &["put", "theirs", &secret]));
    assert_eq!(code, Some(1));
    assert!(err.contains("permission denied") || err.contains("Permission denied"), "{err}");
    let (code, out, err) = told(&atm.atm_as(SOMEBODY, &["put", "theirs", "/proc/version"]));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(fs::metadata(out.trim_end()).unwrap().uid(), SOMEBODY);
    assert_eq!(atm.atm_as(SOMEBODY, &["put", "roots", "/proc/version"]).status.code(), Some(3));
    // A directory that leads to root's: the kernel refuses it to the user.
    let outside = atm.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(work.join(".atm")).unwrap();
    fs::create_dir(work.join(".atm")).unwrap();
    symlink(&outside, work.join(".atm/uploads")).unwrap();
    let (code, _, err) = told(&atm.atm(&["put", "theirs", &secret]));
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    fs::remove_dir_all(work.join(".atm")).unwrap();
    let put = atm.ok(&["put", "theirs", &secret]);
    assert!(Path::new(put.trim_end()).exists());
    // Removed as the user, too.
    atm.remove_spec("theirs");
    atm.wait_gone("theirs");
    let record = atm.path("state/removed/theirs.json");
    assert!(wait_until(|| record.exists()));
    fs::File::options().write(true).open(&record).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    atm.restart_daemon();
    assert!(wait_until(|| !work.join(".atm").exists()), "what is empty goes with it");
}
