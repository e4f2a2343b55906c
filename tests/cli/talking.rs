//! Errors, exit statuses, escaping, closed pipes, completion.

use std::{io::Write, os::unix::net::UnixListener, process::Stdio};

use serde_json::json;

use crate::fake::{Daemon, Following, atm, finish, session, session_with, with_spec};

#[test]
fn without_a_daemon_there_is_69_and_the_way_to_start_it() {
    let home = tempfile::tempdir().unwrap();
    let runtime = home.path().join("run");
    let runtime = runtime.to_str().unwrap();
    for verb in [
        &["get"][..],
        &["start", "a"],
        &["restart", "a"],
        &["suspend", "a"],
        &["resume", "a"],
        &["stop", "a"],
        &["kill", "a"],
        &["describe", "a"],
        &["wait", "a", "--for", "Running"],
        &["plan"],
        &["events"],
        &["status"],
        &["run", "--", "sh"],
        &["cleanup", "--accept-removals"],
    ] {
        let done = finish(atm(home.path(), &[verb, &["--runtime-dir", runtime]].concat()).spawn().unwrap());
        assert_eq!(done.code, 69, "{verb:?}: {done:?}");
        assert_eq!(done.stdout, "", "{verb:?}");
        assert!(
            done.stderr.contains("error: the daemon is not reachable")
                && done.stderr.contains("hint: start it"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn both_places_that_were_looked_at_are_told() {
    let home = tempfile::tempdir().unwrap();
    let done = finish(atm(home.path(), &["get", "--user"]).spawn().unwrap());
    assert_eq!(done.code, 69);
    assert!(done.stderr.contains("xdg-run/atm/atm.sock"), "{}", done.stderr);
}

#[test]
fn a_daemon_that_closes_the_connection_is_not_reachable() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"{\"jsonrpc\":");
        }
    });
    let done = finish(atm(home.path(), &["get", "--socket", socket.to_str().unwrap()]).spawn().unwrap());
    assert_eq!(done.code, 69, "{done:?}");
    assert!(done.stderr.contains("closed the connection"), "{}", done.stderr);
}

#[test]
fn what_the_daemon_refuses_has_a_status_by_its_kind() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    for (kind, code) in [
        ("Forbidden", 1),
        ("Conflict", 1),
        ("Failed", 1),
        ("MethodNotFound", 1),
        ("ShuttingDown", 69),
        ("MaxClientsReached", 75),
        ("KindOfTheFuture", 1),
    ] {
        daemon.tell(|world| _ = world.failures.insert("stop".into(), kind));
        let done = daemon.atm(&["stop", "a"]);
        assert_eq!(done.code, code, "{kind}: {done:?}");
        assert!(done.stderr.contains(&format!("`a`: the daemon says {kind}")), "{}", done.stderr);
    }
}

#[test]
fn an_answer_of_another_version_is_an_error_and_not_a_crash() {
    let daemon = Daemon::with([session("a", "Dreaming Deeply")]);
    let done = daemon.atm(&["get"]);
    assert_eq!(done.code, 1);
    assert!(
        done.stderr.contains("was not understood") && done.stderr.contains("atm --version"),
        "{}",
        done.stderr
    );
}

#[test]
fn usage_is_2_and_help_is_0() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&["stop"][..], 2),
        (&["frobnicate"], 2),
        (&["get", "Bad/Name"], 2),
        (&[], 2),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
        (&["cleanup", "--accept-removals", "--dry-run"], 2),
        (&["apply", "-"], 2),
    ] {
        assert_eq!(finish(atm(home.path(), arguments).spawn().unwrap()).code, code, "{arguments:?}");
    }
}

#[test]
fn another_daemon_that_has_the_session_is_named() {
    let (here, there) = (Daemon::with([]), Daemon::with([session("lost", "Running Started")]));
    let user = here.path("xdg-run/atm");
    std::fs::create_dir_all(&user).unwrap();
    std::os::unix::fs::symlink(there.socket(), user.join("atm.sock")).unwrap();
    let done = here.atm(&["get", "lost"]);
    assert_eq!(done.code, 3);
    assert!(
        done.stderr.contains(&format!(
            "the other daemon has it: say `atm --socket {}",
            user.join("atm.sock").display()
        )),
        "{}",
        done.stderr
    );
}

#[test]
fn a_mode_that_is_not_followed_is_told() {
    let daemon = Daemon::with([]);
    let done = daemon.atm(&["get", "--system"]);
    assert_eq!(done.code, 0);
    assert!(
        done.stderr.contains("warning: ATM_SOCKET is set and is followed, not --system"),
        "{}",
        done.stderr
    );
}

/// Characters that act on a terminal, or make a line read as another.
const CANARY: &str = "x\u{1b}[2J\u{9b}31m\u{202e}\u{7}\r\u{2066}y";

#[test]
fn nothing_from_outside_acts_on_a_terminal() {
    let status = json!({
        "message": CANARY, "specFile": CANARY, "git": {"root": CANARY, "repo": CANARY, "branch": CANARY},
        "specError": [{"file": CANARY, "line": 1, "column": 1, "message": CANARY, "hint": CANARY, "snippet": CANARY}],
        "cause": {"reason": "ClientStop", "message": CANARY},
    });
    let spec =
        json!({"command": [CANARY], "workingDir": CANARY, "env": {"K": CANARY}, "labels": {"l": CANARY}});
    let daemon = Daemon::with([with_spec(session_with("a", "Failed Error", &status), &spec)]);
    std::fs::write(daemon.path("log/a.log"), CANARY).unwrap();
    let event = json!({"id": 1, "at": "2026-01-01T00:00:00Z", "kind": "Exited", "session": "a", "reason": CANARY, "message": CANARY});
    daemon.tell(|world| {
        world.results.insert("events".into(), json!({"events": [event]}));
        let step = json!({"name": "a", "action": CANARY, "why": CANARY});
        world.results.insert("plan".into(), json!({"steps": [step]}));
    });
    for arguments in [
        &["get"][..],
        &["get", "-o", "wide"],
        &["get", "-o", "json"],
        &["describe", "a"],
        &["describe", "a", "-o", "json"],
        &["events"],
        &["events", "-o", "json"],
        &["plan"],
        &["plan", "-o", "json"],
        &["logs", "a", "--plain"],
        &["start", "a", "--timeout", "1ms"],
    ] {
        let done = daemon.atm(arguments);
        for text in [&done.stdout, &done.stderr] {
            let acting = text.chars().find(|c| {
                (c.is_control() && *c != '\n' && *c != '\t')
                    || ('\u{2028}'..='\u{202e}').contains(c)
                    || ('\u{2066}'..='\u{2069}').contains(c)
            });
            assert_eq!(acting, None, "{arguments:?}: {text:?}");
        }
        assert!(
            done.stdout.contains('x') || done.code != 0 || arguments == ["get"],
            "{arguments:?}: the canary was shown"
        );
    }
}

#[test]
fn json_says_the_same_although_it_is_escaped() {
    let daemon = Daemon::with([session_with("a", "Failed Error", &json!({"message": CANARY}))]);
    let json: serde_json::Value =
        serde_json::from_str(&daemon.atm(&["get", "a", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["status"]["message"], CANARY);
}

#[test]
fn a_closed_pipe_ends_the_command_without_a_word() {
    let many = (0..2000).map(|number| session(&format!("s{number}"), "Running Started"));
    let daemon = Daemon::with(many);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = finish(daemon.command(&["get", "-o", "json"]).stdout(writer).spawn().unwrap());
    assert_eq!((done.code, done.stderr.as_str()), (141, ""));

    std::fs::write(daemon.path("log/s1.log"), "once\n").unwrap();
    let mut follow = Following::start(daemon.command(&["logs", "-f", "s1"]));
    assert_eq!(follow.line(), "once\n");
    assert_eq!(follow.close(), 141, "although no more output comes");
}

#[test]
fn colour_is_for_terminals_only() {
    let daemon = Daemon::with([session("a", "Failed Error")]);
    let done = finish(daemon.command(&["get"]).env("TERM", "xterm").stdin(Stdio::null()).spawn().unwrap());
    assert!(!done.stdout.contains('\u{1b}'));
}

#[test]
fn completion_knows_the_sessions_of_the_moment() {
    let daemon = Daemon::with([session("fix-login", "Running Started"), session("build", "Running Started")]);
    let script = daemon.atm(&["completion", "bash"]);
    assert_eq!(script.code, 0);
    assert!(script.stdout.contains("COMPLETE="), "{}", script.stdout);

    let mut command = daemon.command(&["--", "atm", "stop", "fi"]);
    command
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2")
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_IFS", "\n");
    assert_eq!(finish(command.spawn().unwrap()).stdout.trim(), "fix-login");
    assert_eq!(daemon.atm(&["completion", "tcsh"]).code, 2);
}
