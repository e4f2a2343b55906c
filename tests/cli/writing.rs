//! Verbs that write specs, and those that only check what is written.

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    fake::{Change, Daemon, Done, atm, finish, session, session_with},
    support::{eventually, executable::executable},
};

const GOOD: &str = "command: [sh]\n";
const BETTER: &str = "command: [sh, -i]\n";
const BAD: &str = "comand: [sh]\n";

fn generation(number: u64) -> Value {
    let mut session = session("a", "Running Started");
    session["generation"] = json!(number);
    session
}

/// Runs a command that waits, and makes `change` once `file` holds `text`.
fn while_running(daemon: &Daemon, arguments: &[&str], file: &Path, text: &str, change: Change) -> Done {
    let child = daemon.command(arguments).spawn().unwrap();
    eventually("the file is written", || {
        fs::read_to_string(file).is_ok_and(|found| found.contains(text)).then_some(())
    });
    daemon.change(change);
    finish(child)
}

fn down(home: &Path, arguments: &[&str]) -> Done {
    let at = ["--runtime-dir", "run", "--sessions-dir", "specs", "--config", "atm.yaml"];
    finish(atm(home, &[arguments, &at].concat()).spawn().unwrap())
}

#[test]
fn apply_creates_a_session_and_waits_until_it_is_seen() {
    let daemon = Daemon::with([]);
    fs::write(daemon.path("a.yaml"), GOOD).unwrap();
    let file = daemon.path("sessions.d/a.yaml");
    let done = while_running(&daemon, &["apply", "a.yaml"], &file, GOOD, Change::Now(generation(1)));
    assert_eq!(done.transcript(), "a created\n--- stderr\n--- exit 0");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "specs hold values of env");
    assert_eq!(fs::read_dir(daemon.path("sessions.d")).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn apply_changes_a_session_and_what_means_the_same_is_left_alone() {
    let daemon = Daemon::with([generation(1)]);
    let file = daemon.path("sessions.d/a.yml");
    fs::write(&file, GOOD).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    fs::write(daemon.path("a.yaml"), "# the same\ncommand: ['sh']\n").unwrap();
    assert_eq!(daemon.atm(&["apply", "a.yaml"]).stdout, "a unchanged\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), GOOD);

    fs::write(daemon.path("a.yaml"), BETTER).unwrap();
    let done = while_running(&daemon, &["apply", "a.yaml"], &file, BETTER, Change::Now(generation(2)));
    assert_eq!(done.transcript(), "a configured\n--- stderr\n--- exit 0");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644, "a replaced file keeps its mode");
    assert!(!daemon.path("sessions.d/a.yaml").exists(), "a session has one file");
}

#[test]
fn apply_that_the_daemon_does_not_take_up_fails() {
    let daemon = Daemon::with([generation(1)]);
    fs::write(daemon.path("sessions.d/a.yaml"), GOOD).unwrap();
    fs::write(daemon.path("a.yaml"), BETTER).unwrap();
    let done = daemon.atm(&["apply", "a.yaml", "--timeout", "20ms"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, "a configured\n"));
    assert!(done.stderr.contains("has not taken up the file of `a`"), "{}", done.stderr);

    fs::write(daemon.path("a.yaml"), GOOD).unwrap();
    let refused = session_with(
        "a",
        "Running Started",
        &json!({"specError": [{"file": "a.yaml", "message": "others can write it"}]}),
    );
    let done = while_running(
        &daemon,
        &["apply", "a.yaml"],
        &daemon.path("sessions.d/a.yaml"),
        GOOD,
        Change::Now(refused),
    );
    assert_eq!(done.code, 4);
    assert!(done.stderr.contains("others can write it"), "{}", done.stderr);
}

#[test]
fn one_bad_file_keeps_all_from_being_written() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.yaml"), GOOD).unwrap();
    fs::write(home.path().join("b.yaml"), BAD).unwrap();
    fs::write(home.path().join("Upper.yaml"), GOOD).unwrap();
    let done = down(home.path(), &["apply", "a.yaml", "b.yaml", "Upper.yaml"]);
    assert_eq!((done.code, done.stdout.as_str()), (4, ""));
    assert!(done.stderr.contains("b.yaml:1:1") && done.stderr.contains("command"), "{}", done.stderr);
    assert!(done.stderr.contains("Upper.yaml"), "{}", done.stderr);
    assert!(!home.path().join("specs/a.yaml").exists());
}

#[test]
fn apply_works_without_a_daemon_and_from_standard_input() {
    let home = tempfile::tempdir().unwrap();
    let at = ["apply", "-", "--name", "a", "--runtime-dir", "run", "--sessions-dir", "specs"];
    let mut child = atm(home.path(), &at).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(GOOD.as_bytes()).unwrap();
    let done = finish(child);
    assert_eq!((done.code, done.stdout.as_str()), (0, "a created\n"));
    assert!(done.stderr.starts_with("daemon down: "), "{}", done.stderr);
    assert_eq!(fs::read_to_string(home.path().join("specs/a.yaml")).unwrap(), GOOD);
}

#[test]
fn a_link_is_neither_replaced_nor_written_through() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("specs")).unwrap();
    fs::write(home.path().join("target"), GOOD).unwrap();
    std::os::unix::fs::symlink("../target", home.path().join("specs/a.yaml")).unwrap();
    fs::write(home.path().join("a.yaml"), BETTER).unwrap();
    let done = down(home.path(), &["apply", "a.yaml"]);
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("is a link to `../target`"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(home.path().join("target")).unwrap(), GOOD);
}

#[test]
fn delete_removes_the_file_and_waits_until_the_session_is_gone() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    let file = daemon.path("sessions.d/a.yaml");
    fs::write(&file, GOOD).unwrap();
    let child = daemon.command(&["delete", "a"]).spawn().unwrap();
    eventually("the file is removed", || (!file.exists()).then_some(()));
    daemon.change(Change::Now(session("a", "Stopping SpecRemoved")));
    daemon.change(Change::Gone("a"));
    assert_eq!(finish(child).transcript(), "a deleted\n--- stderr\n--- exit 0");

    let again = daemon.atm(&["delete", "a"]);
    assert_eq!(again.code, 3);
}

#[test]
fn delete_without_a_daemon_removes_the_file() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("specs")).unwrap();
    fs::write(home.path().join("specs/a.yaml"), GOOD).unwrap();
    let done = down(home.path(), &["delete", "a", "b"]);
    assert_eq!((done.code, done.stdout.as_str()), (3, "a deleted\n"));
    assert!(done.stderr.contains("daemon down") && done.stderr.contains("no session `b`"), "{}", done.stderr);
    assert!(!home.path().join("specs/a.yaml").exists());
}

/// Runs `atm edit a` with a shell script as the editor; `$1` is the copy.
fn edit(home: &Path, script: &str) -> Done {
    let editor = home.join("editor");
    executable(&editor, format!("#!/bin/sh\n{script}\n").as_bytes());
    let at = ["edit", "a", "--runtime-dir", "run", "--sessions-dir", "specs"];
    let mut command = atm(home, &at);
    command.env("EDITOR", format!("{} --wait", editor.display())).env("TMPDIR", home.join("tmp"));
    finish(command.spawn().unwrap())
}

fn editable() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("specs")).unwrap();
    fs::create_dir(home.path().join("tmp")).unwrap();
    fs::write(home.path().join("specs/a.yaml"), GOOD).unwrap();
    home
}

#[test]
fn edit_puts_a_valid_copy_into_place() {
    let home = editable();
    let done =
        edit(home.path(), "test \"$1\" = --wait && case $2 in */a.yaml) echo 'priority: 5' >> \"$2\";; esac");
    assert_eq!((done.code, done.stdout.as_str()), (0, "a configured\n"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(home.path().join("specs/a.yaml")).unwrap(), format!("{GOOD}priority: 5\n"));
    assert_eq!(fs::read_dir(home.path().join("tmp")).unwrap().count(), 0, "the copy is gone");

    let done = edit(home.path(), "exit 0");
    assert_eq!((done.code, done.stdout.as_str()), (0, "a unchanged\n"));
}

/// What a terminal sends for ctrl-c goes to everybody at it, and is the editor's to take: emacs uses it for ctrl-g.
#[test]
fn edit_leaves_an_interruption_to_the_editor() {
    let home = editable();
    let seen = home.path().join("seen");
    let script = format!(
        "grep SigIgn /proc/$$/status > {}; kill -INT $PPID; kill -QUIT $PPID; echo 'priority: 5' >> \"$2\"",
        seen.display()
    );
    let done = edit(home.path(), &script);
    assert_eq!((done.code, done.stdout.as_str()), (0, "a configured\n"), "{}", done.stderr);
    // The editor itself hears it as well as this test does.
    let ignored = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & 0b110
    };
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(ignored(&fs::read_to_string(seen).unwrap()), ignored(&ours));
}

#[test]
fn edit_keeps_what_cannot_be_put_into_place() {
    let home = editable();
    let spec = home.path().join("specs/a.yaml");
    for (script, code, told) in [
        ("echo 'prioritty: 5' >> \"$2\"".to_owned(), 4, "did you mean"),
        (
            format!("echo 'priority: 5' >> \"$2\"; echo '# other' >> {}", spec.display()),
            1,
            "was changed meanwhile",
        ),
        ("echo 'priority: 5' >> \"$2\"; exit 3".to_owned(), 1, "failed (exit status: 3)"),
        ("echo 'priority: 5' >> \"$2\"; kill -KILL $$".to_owned(), 1, "was ended by signal 9"),
    ] {
        fs::write(&spec, GOOD).unwrap();
        let done = edit(home.path(), &script);
        assert_eq!(done.code, code, "{done:?}");
        assert!(done.stderr.contains(told), "{}", done.stderr);
        let kept = done.stderr.split("your copy is kept: `").nth(1).unwrap().split('`').next().unwrap();
        assert!(fs::read_to_string(kept).unwrap().contains("prior"), "{kept}");
        assert!(!fs::read_to_string(&spec).unwrap().contains("prior"));
    }
}

#[test]
fn run_writes_a_spec_and_waits_until_it_runs() {
    let daemon = Daemon::with([session("sh", "Running Started")]);
    let file = daemon.path("sessions.d/sh-2.yaml");
    let running = session_with("sh-2", "Running Started", &json!({"pid": 9}));
    let done = while_running(
        &daemon,
        &["run", "--env", "A=b", "--", "/bin/sh", "-c", "x y"],
        &file,
        "x y",
        Change::Now(running),
    );
    assert_eq!(done.transcript(), "sh-2\n--- stderr\nsh-2 running (pid 9)\n--- exit 0");
    let spec: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let here = fs::canonicalize(daemon.directory.path()).unwrap();
    assert_eq!(spec, json!({"command": ["/bin/sh", "-c", "x y"], "env": {"A": "b"}, "workingDir": here}));

    let taken = daemon.atm(&["run", "--name", "sh-2", "--", "sh"]);
    assert_eq!(taken.code, 1);
    assert!(taken.stderr.contains("exists already"), "{}", taken.stderr);
}

#[test]
fn run_says_why_it_does_not_run() {
    let daemon = Daemon::with([]);
    let file = daemon.path("sessions.d/a.yaml");
    let full = session_with("a", "Pending MaxSessions", &json!({"message": "Maximum 4 sessions supported."}));
    let done = while_running(&daemon, &["run", "--name", "a", "--", "sh"], &file, "sh", Change::Now(full));
    assert_eq!((done.code, done.stdout.as_str()), (75, "a\n"), "{}", done.stderr);
    let bad = daemon.atm(&["run", "--name", "b", "--env", "A B=c", "--", ""]);
    assert_eq!(bad.code, 4, "{bad:?}");
    assert!(!daemon.path("sessions.d/b.yaml").exists());
}

#[test]
fn validate_checks_a_whole_directory_and_never_blocks() {
    let home = tempfile::tempdir().unwrap();
    let specs = home.path().join("specs");
    fs::create_dir(&specs).unwrap();
    fs::write(home.path().join("atm.yaml"), "maxSessions: 4\n").unwrap();
    for (name, text) in
        [("a.yaml", GOOD), ("b.yml", BETTER), (".c.yaml", BAD), ("d.yaml~", BAD), ("notes.txt", BAD)]
    {
        fs::write(specs.join(name), text).unwrap();
    }
    let done = down(home.path(), &["validate"]);
    assert_eq!((done.code, done.stdout.lines().count()), (0, 3), "{done:?}");

    fs::write(specs.join("bad.yaml"), BAD).unwrap();
    fs::write(home.path().join("atm.yaml"), "maxSesions: 4\n").unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, specs.join("fifo.yaml"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    let done = down(home.path(), &["validate"]);
    assert_eq!(done.code, 4);
    for told in ["bad.yaml:1:1", "did you mean", "maxSessions", "fifo.yaml"] {
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
    }
    assert_eq!(down(home.path(), &["validate", "specs/a.yaml"]).code, 0);
    assert_eq!(down(home.path(), &["validate", "specs/none.yaml"]).code, 4);
    assert_eq!(down(home.path(), &["validate", "atm.yaml"]).code, 4);
}

#[test]
fn config_is_told_from_its_file_while_the_daemon_is_down() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("atm.yaml"), "maxSessions: 7\n").unwrap();
    let done = down(home.path(), &["config", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&done.stdout).unwrap()["maxSessions"], 7);
    assert!(done.stderr.starts_with("daemon down: from "), "{}", done.stderr);
    fs::write(home.path().join("atm.yaml"), "maxSessions: many\n").unwrap();
    assert_eq!(down(home.path(), &["config"]).code, 4);
}

#[test]
fn the_default_config_is_a_valid_config_and_schemas_are_json() {
    let home = tempfile::tempdir().unwrap();
    let text = down(home.path(), &["config", "--default"]).stdout;
    fs::write(home.path().join("atm.yaml"), &text).unwrap();
    assert!(text.contains("maxSessions"));
    let checked = down(home.path(), &["validate", "atm.yaml"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    for of in ["session", "config"] {
        let schema: Value = serde_json::from_str(&down(home.path(), &["schema", of]).stdout).unwrap();
        assert!(schema["properties"].is_object(), "{of}");
    }
}
