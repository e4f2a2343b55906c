//! `atm logs`: files alone are enough.

use std::{fs, io::Write};

use serde_json::json;

use crate::fake::{Daemon, Following, atm, finish, session, session_with};

#[test]
fn output_is_read_over_rotated_files() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    fs::write(daemon.path("log/a.log.2"), "1\n2\n").unwrap();
    fs::write(daemon.path("log/a.log.1"), "3\n").unwrap();
    fs::write(daemon.path("log/a.log"), "4\n5").unwrap();
    assert_eq!(daemon.atm(&["logs", "a"]).stdout, "1\n2\n3\n4\n5");
    assert_eq!(daemon.atm(&["logs", "a", "-n", "3"]).stdout, "3\n4\n5");
    assert_eq!(daemon.atm(&["logs", "a", "-n", "0"]).stdout, "");
}

#[test]
fn a_pipe_gets_every_byte_and_plain_is_plain() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    fs::write(daemon.path("log/a.log"), b"\x1b[31mred\x1b[0m\r\nbell\x07\xff\n").unwrap();
    let raw = daemon.command(&["logs", "a"]).output().unwrap().stdout;
    assert_eq!(raw, b"\x1b[31mred\x1b[0m\r\nbell\x07\xff\n");
    assert_eq!(daemon.atm(&["logs", "a", "--plain"]).stdout, "red\nbell\\u{7}\u{fffd}\n");
}

#[test]
fn following_goes_through_rotation() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    let path = daemon.path("log/a.log");
    fs::write(&path, "before\n").unwrap();
    let mut follow = Following::start(daemon.command(&["logs", "a", "-f", "-n", "1"]));
    assert_eq!(follow.line(), "before\n");
    let append = |text: &str| {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    };
    append("more\n");
    assert_eq!(follow.line(), "more\n");
    append("last of the old\n");
    fs::rename(&path, daemon.path("log/a.log.1")).unwrap();
    append("first of the new\n");
    assert_eq!(follow.line(), "last of the old\n");
    assert_eq!(follow.line(), "first of the new\n");
    assert_eq!(follow.end(), "");
}

#[test]
fn following_waits_for_output_that_is_not_there_yet() {
    let daemon = Daemon::with([session("a", "Pending Starting")]);
    let mut follow = Following::start(daemon.command(&["logs", "a", "-f"]));
    fs::write(daemon.path("log/a.log"), "here\n").unwrap();
    assert_eq!(follow.line(), "here\n");
}

#[test]
fn the_daemon_says_where_the_output_is() {
    let daemon = Daemon::with([]);
    let file = daemon.path("elsewhere");
    fs::write(&file, "there\n").unwrap();
    daemon.change(crate::fake::Change::Now(session_with("a", "Running Started", &json!({"logFile": file}))));
    assert_eq!(daemon.atm(&["logs", "a"]).stdout, "there\n");
}

#[test]
fn output_outlives_its_session_and_a_name_that_never_was_is_told() {
    let daemon = Daemon::with([session("build", "Running Started")]);
    fs::write(daemon.path("log/gone.log"), "was here\n").unwrap();
    assert_eq!(daemon.atm(&["logs", "gone"]).stdout, "was here\n");
    let none = daemon.atm(&["logs", "build"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "no output yet");
    let never = daemon.atm(&["logs", "biuld"]);
    assert_eq!(never.code, 3);
    assert!(never.stderr.contains("did you mean `build`?"), "{}", never.stderr);
}

#[test]
fn no_daemon_is_needed() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("log")).unwrap();
    fs::write(home.path().join("log/a.log"), "kept\n").unwrap();
    let at = ["--runtime-dir", "run", "--log-dir", "log"];
    let done = finish(atm(home.path(), &[&["logs", "a"][..], &at].concat()).spawn().unwrap());
    assert_eq!(done.transcript(), "kept\n--- stderr\n--- exit 0");
    let done = finish(atm(home.path(), &[&["logs", "b"][..], &at].concat()).spawn().unwrap());
    assert_eq!(done.code, 3);
}

#[test]
fn a_fifo_or_a_link_in_the_place_of_the_output_is_refused() {
    let daemon = Daemon::with([session("a", "Running Started"), session("b", "Running Started")]);
    std::os::unix::fs::symlink("/etc/passwd", daemon.path("log/a.log")).unwrap();
    assert_eq!(daemon.atm(&["logs", "a"]).code, 1);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        daemon.path("log/b.log"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(daemon.atm(&["logs", "b"]).code, 1);
}
