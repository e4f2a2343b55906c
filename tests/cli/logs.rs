//! `atm logs`: files alone are enough.

use std::{fs, io::Write, os::unix::fs::MetadataExt, path::Path};

use atm::api::{
    log_index::{Gap, Header, Kind, Record, Stream},
    name::RunId,
    time::Timestamp,
};
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

/// A day, from its first second on.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + seconds).unwrap()
}

/// Writes a log with its index; its last write was at second `last`.
fn log(path: &Path, text: &str, records: &[(u64, i64, Kind)], last: i64) {
    fs::write(path, text).unwrap();
    let inode = fs::metadata(path).unwrap().ino();
    let mut bytes = Header { inode }.encode().to_vec();
    for (offset, seconds, kind) in records {
        bytes.extend(Record { offset: *offset, at: at(*seconds), kind: *kind }.encode());
    }
    fs::write(format!("{}.idx", path.display()), bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(at(last).into()).unwrap();
}

/// Two runs over three files, a line each ten seconds.
fn two_runs(daemon: &Daemon) {
    let (one, two) = (RunId::from_u128(1), RunId::from_u128(2));
    let times = |run| [(0, 0, Kind::RunStart(run)), (0, 0, Kind::Time(run)), (2, 10, Kind::Time(run))];
    log(&daemon.path("log/a.log.2"), "1\n2\n", &times(one), 10);
    let middle = [(0, 20, Kind::Time(one)), (2, 25, Kind::RunEnd(one)), (2, 30, Kind::RunStart(two))];
    log(&daemon.path("log/a.log.1"), "3\n4\n", &middle, 30);
    log(&daemon.path("log/a.log"), "5\n6\n", &[(0, 40, Kind::Time(two)), (2, 50, Kind::Time(two))], 50);
}

fn since(seconds: i64) -> String {
    format!("--since={}", at(seconds))
}

#[test]
fn output_since_a_time_is_found_over_rotated_files() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    two_runs(&daemon);
    for (seconds, expected) in [
        (-9, "1\n2\n3\n4\n5\n6\n"),
        (0, "1\n2\n3\n4\n5\n6\n"),
        (5, "2\n3\n4\n5\n6\n"),
        (10, "2\n3\n4\n5\n6\n"),
        (15, "3\n4\n5\n6\n"),
        (28, "4\n5\n6\n"),
        (35, "5\n6\n"),
        (45, "6\n"),
        (60, ""),
    ] {
        let done = daemon.atm(&["logs", "a", &since(seconds)]);
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (expected, ""), "{seconds}");
    }
    // With a number of lines: those of them that came since then.
    assert_eq!(daemon.atm(&["logs", "a", &since(28), "-n", "2"]).stdout, "5\n6\n");
    assert_eq!(daemon.atm(&["logs", "a", &since(45), "-n", "2"]).stdout, "6\n");
    assert_eq!(daemon.atm(&["logs", "a", "--since", "1s"]).stdout, "");
    assert_eq!(daemon.atm(&["logs", "a", "--since", "36500d"]).stdout, "1\n2\n3\n4\n5\n6\n");
    let wrong = daemon.atm(&["logs", "a", "--since", "yesterday"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("expected a duration such as `10m`"), "{}", wrong.stderr);
}

#[test]
fn following_since_a_time_goes_on_with_what_comes() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    two_runs(&daemon);
    let mut follow = Following::start(daemon.command(&["logs", "a", "-f", &since(45)]));
    assert_eq!(follow.line(), "6\n");
    let mut file = fs::OpenOptions::new().append(true).open(daemon.path("log/a.log")).unwrap();
    file.write_all(b"7\n").unwrap();
    assert_eq!(follow.line(), "7\n");
}

#[test]
fn the_run_before_the_last_one_is_found_over_rotated_files() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    two_runs(&daemon);
    let done = daemon.atm(&["logs", "a", "--previous"]);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("1\n2\n3\n", ""));
    assert_eq!(daemon.atm(&["logs", "a", "-p", "-n", "1"]).stdout, "3\n");
    assert_eq!(daemon.atm(&["logs", "a", "-p", &since(15)]).stdout, "3\n");
    assert_eq!(daemon.atm(&["logs", "a", "-p", &since(45)]).stdout, "");
    assert_eq!(daemon.atm(&["logs", "a", "-p", "-f"]).code, 2);
    // Its first part was rotated away: the rest of it is told as that.
    fs::remove_file(daemon.path("log/a.log.2")).unwrap();
    let done = daemon.atm(&["logs", "a", "--previous"]);
    assert_eq!(done.stdout, "3\n");
    assert!(done.stderr.contains("a part of its output is not kept"), "{}", done.stderr);
    fs::remove_file(daemon.path("log/a.log.1")).unwrap();
    let done = daemon.atm(&["logs", "a", "--previous"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(done.stderr.contains("no run of `a` before the last one is kept"), "{}", done.stderr);
    assert!(done.stderr.contains("`atm events a`"), "{}", done.stderr);
}

#[test]
fn an_index_that_cannot_be_used_shows_more_and_says_so() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    let index = daemon.path("log/a.log.idx");
    let check = |expected: &str, says: &str| {
        let done = daemon.atm(&["logs", "a", &since(45)]);
        assert_eq!(done.stdout, expected, "{}", done.stderr);
        assert!(done.stderr.contains(says) && (says.is_empty() == done.stderr.is_empty()), "{}", done.stderr);
        assert_eq!(daemon.atm(&["logs", "a"]).transcript(), "1\n2\n3\n4\n5\n6\n--- stderr\n--- exit 0");
    };
    two_runs(&daemon);
    check("6\n", "");
    let whole = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    check("5\n6\n", "no times are kept beside `a.log`: all of it is shown");
    fs::write(&index, vec![0xa5; 4096]).unwrap();
    check("5\n6\n", "no times are kept beside `a.log`");
    // Of another file.
    fs::copy(daemon.path("log/a.log.1.idx"), &index).unwrap();
    check("5\n6\n", "no times are kept beside `a.log`");
    // A record in the middle is damaged, or the last one is missing.
    let mut damaged = whole.clone();
    damaged[41] ^= 1;
    damaged[81] ^= 1;
    fs::write(&index, &damaged).unwrap();
    check("5\n6\n", "the index of `a.log` is damaged");
    fs::write(&index, &whole[..80]).unwrap();
    check("5\n6\n", "the newest times are missing beside `a.log`");
    // Without any of them the file system's own times are left.
    for number in ["", ".1", ".2"] {
        fs::remove_file(daemon.path(&format!("log/a.log{number}.idx"))).unwrap();
    }
    check("5\n6\n", "no times are kept");
    assert_eq!(daemon.atm(&["logs", "a", "--previous"]).code, 1);
}

#[test]
fn lost_output_is_told_in_its_place() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    let path = daemon.path("log/a.log");
    let run = RunId::from_u128(1);
    let gap = |bytes| Kind::Gap(Gap { bytes, errno: 28 });
    let records = [
        (0, 0, Kind::RunStart(run)),
        (0, 0, Kind::Stream(Stream::Output)),
        (6, 0, gap(12345)),
        (12, 0, gap(1)),
        (16, 0, gap(2)),
    ];
    log(&path, "beforeafter\nend\n", &records, 0);
    let plain = daemon.atm(&["logs", "a", "--plain"]);
    let expected = "before\n[atm: 12345 bytes lost here: no space left on device]\nafter\n\
                    [atm: 1 byte lost here: no space left on device]\nend\n\
                    [atm: 2 bytes lost here: no space left on device]\n";
    assert_eq!((plain.stdout.as_str(), plain.stderr.as_str()), (expected, ""));
    assert_eq!(
        daemon.atm(&["logs", "a", "--plain", "-n", "1"]).stdout.lines().next(),
        Some("[atm: 1 byte lost here: no space left on device]")
    );
    let raw = daemon.atm(&["logs", "a"]);
    assert_eq!(raw.stdout, "beforeafter\nend\n");
    assert!(raw.stderr.contains("12345 bytes lost here: no space left on device"), "{}", raw.stderr);
    daemon.tell(|world| _ = world.results.insert("events".into(), json!({"events": []})));
    let described = daemon.atm(&["describe", "a"]);
    assert!(described.stdout.contains("(12348 bytes could not be written;"), "{}", described.transcript());
    // The last gap may still grow: who follows hears of it with what comes after it.
    let mut follow = Following::start(daemon.command(&["logs", "a", "--plain", "-f", "-n", "1"]));
    assert_eq!(follow.line(), "[atm: 1 byte lost here: no space left on device]\n");
    assert_eq!(follow.line(), "end\n");
    let mut index = fs::OpenOptions::new().write(true).open(daemon.path("log/a.log.idx")).unwrap();
    std::io::Seek::seek(&mut index, std::io::SeekFrom::Start(40 * 5)).unwrap();
    index.write_all(&Record { offset: 16, at: at(0), kind: gap(77) }.encode()).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"more\n").unwrap();
    assert_eq!(follow.line(), "[atm: 77 bytes lost here: no space left on device]\n");
    assert_eq!(follow.line(), "more\n");
}
