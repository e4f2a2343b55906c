//! Verbs: what they ask, what they wait for, and how they end.

use serde_json::json;

use crate::fake::{Change, Daemon, in_run, session, session_with, with_spec};

fn now(state: &str) -> Change {
    Change::Now(session("a", state))
}

fn scripted(before: &str, verb: &str, script: Vec<Change>) -> Daemon {
    let daemon = Daemon::with([session("a", before)]);
    daemon.tell(|world| _ = world.scripts.insert(verb.into(), script));
    daemon
}

#[test]
fn a_start_waits_until_it_runs() {
    let running = in_run(session_with("a", "Running Started", &json!({"pid": 7})), 2);
    let daemon = scripted("Suspended Stopped", "start", vec![now("Pending Starting"), Change::Now(running)]);
    insta::assert_snapshot!(daemon.atm(&["start", "a"]).transcript(), @r"
    a running (pid 7)
    --- stderr
    --- exit 0
    ");
    assert!(daemon.requests().contains(&r#"start {"name":"a"}"#.to_owned()));
}

#[test]
fn a_start_that_finds_no_room_says_so_with_75() {
    let full = json!({"message": "Maximum 4 sessions supported. Destroy a session to create a new one."});
    let pending = Change::Now(session_with("a", "Pending MaxSessions", &full));
    let daemon = scripted("Suspended Stopped", "start", vec![pending]);
    insta::assert_snapshot!(daemon.atm(&["start", "a"]).transcript(), @r"
    --- stderr
    error: `a` is not running: Pending, MaxSessions: Maximum 4 sessions supported. Destroy a session to create a new one.
    hint: it starts as soon as there is room; see `atm get`, or wait: `atm wait a --for Running`
    --- exit 75
    ");
}

#[test]
fn a_start_that_fails_says_why_with_1() {
    let status = json!({"message": "no such file: `claud` was not found in PATH=/bin"});
    let failed = Change::Now(in_run(session_with("a", "Failed CannotStart", &status), 2));
    let daemon =
        scripted("Failed Error", "start", vec![now("Failed Error"), now("Pending Starting"), failed]);
    insta::assert_snapshot!(daemon.atm(&["start", "a"]).transcript(), @r"
    --- stderr
    error: `a` is not running: Failed, CannotStart: no such file: `claud` was not found in PATH=/bin
    hint: see `atm describe a` and `atm logs a`
    --- exit 1
    ");
}

#[test]
fn a_start_that_takes_too_long_says_where_it_stands() {
    let daemon = scripted("Suspended Stopped", "start", vec![now("Pending Starting")]);
    insta::assert_snapshot!(daemon.atm(&["start", "a", "--timeout", "50ms"]).transcript(), @r"
    --- stderr
    error: `a` is still Pending (Starting) after 50ms
    hint: the request stands; see `atm describe a`
    --- exit 1
    ");
}

#[test]
fn without_waiting_only_the_request_is_told() {
    let daemon = scripted("Suspended Stopped", "start", Vec::new());
    assert_eq!(
        daemon.atm(&["start", "a", "--no-wait"]).transcript(),
        "a start asked for\n--- stderr\n--- exit 0"
    );
    assert!(!daemon.requests().iter().any(|request| request.starts_with("watch")));
}

#[test]
fn what_is_so_already_is_no_error() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    assert_eq!(daemon.atm(&["start", "a"]).transcript(), "a already running\n--- stderr\n--- exit 0");
}

#[test]
fn a_stop_waits_until_there_is_no_process() {
    let daemon =
        scripted("Running Started", "stop", vec![now("Stopping ClientStop"), now("Suspended Stopped")]);
    assert_eq!(daemon.atm(&["stop", "a"]).transcript(), "a stopped\n--- stderr\n--- exit 0");
}

#[test]
fn a_stop_of_one_that_is_removed_meanwhile_is_done_and_a_start_is_not() {
    let daemon = scripted("Running Started", "stop", vec![now("Stopping SpecRemoved"), Change::Gone("a")]);
    assert_eq!(daemon.atm(&["stop", "a"]).transcript(), "a removed\n--- stderr\n--- exit 0");
    let daemon = scripted("Suspended Stopped", "start", vec![Change::Gone("a")]);
    assert_eq!(daemon.atm(&["start", "a"]).code, 3);
}

#[test]
fn waiting_works_while_all_places_for_watchers_are_taken() {
    let daemon =
        scripted("Running Started", "stop", vec![now("Stopping ClientStop"), now("Suspended Stopped")]);
    daemon.tell(|world| _ = world.failures.insert("watch".into(), "MaxClientsReached"));
    assert_eq!(daemon.atm(&["stop", "a"]).transcript(), "a stopped\n--- stderr\n--- exit 0");
    insta::assert_snapshot!(daemon.atm(&["get", "-w"]).transcript(), @r"
    --- stderr
    error: the daemon says MaxClientsReached
    --- exit 75
    ");
}

#[test]
fn a_restart_waits_for_another_run() {
    let daemon = scripted(
        "Running Started",
        "restart",
        vec![
            now("Running Started"),
            now("Stopping ClientRestart"),
            Change::Now(in_run(session("a", "Running Started"), 2)),
        ],
    );
    assert_eq!(daemon.atm(&["restart", "a"]).transcript(), "a running\n--- stderr\n--- exit 0");
}

#[test]
fn suspend_and_resume_wait_too() {
    let daemon =
        scripted("Running Started", "suspend", vec![now("Stopping Suspended"), now("Suspended Suspended")]);
    assert_eq!(daemon.atm(&["suspend", "a"]).stdout, "a suspended\n");
    daemon.tell(|world| {
        _ = world.scripts.insert("resume".into(), vec![now("Pending Starting"), now("Running Started")]);
    });
    assert_eq!(daemon.atm(&["resume", "a"]).stdout, "a running\n");
}

#[test]
fn a_signal_is_sent_and_not_waited_for() {
    let daemon = scripted("Running Started", "kill", Vec::new());
    assert_eq!(daemon.atm(&["kill", "-s", "SIGINT", "a"]).stdout, "a signalled\n");
    assert!(daemon.requests().contains(&r#"kill {"name":"a","signal":2}"#.to_owned()));

    let daemon = scripted("Running Started", "kill", vec![now("Suspended Stopped")]);
    assert_eq!(daemon.atm(&["kill", "a"]).stdout, "a stopped\n");
    assert!(daemon.requests().contains(&r#"kill {"name":"a"}"#.to_owned()));
}

#[test]
fn many_are_steered_at_once_and_the_first_failure_decides() {
    let labelled = |name| with_spec(session(name, "Running Started"), &json!({"labels": {"team": "web"}}));
    let daemon = Daemon::with([labelled("a"), labelled("b"), session("c", "Running Started")]);
    let stopped = |name| Change::Now(session(name, "Suspended Stopped"));
    daemon.tell(|world| {
        _ = world.scripts.insert("stop".into(), vec![stopped("b"), stopped("a")]);
    });
    let done = daemon.atm(&["stop", "-l", "team=web"]);
    let mut lines: Vec<&str> = done.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!((lines, done.code), (vec!["a stopped", "b stopped"], 0));
    assert!(!daemon.requests().iter().any(|request| request.contains(r#"{"name":"c"}"#)));

    let done = daemon.atm(&["stop", "nobody", "a"]);
    assert_eq!((done.code, done.stdout.as_str()), (3, "a stopped\n"));
    assert_eq!(
        daemon.atm(&["stop", "-l", "team=none"]).transcript(),
        "--- stderr\nno session is meant by that\n--- exit 0"
    );
}

#[test]
fn wait_ends_with_the_phase() {
    let daemon = Daemon::with([session("a", "Running Started")]);
    assert_eq!(
        daemon.atm(&["wait", "a", "--for", "running"]).transcript(),
        "a Running\n--- stderr\n--- exit 0"
    );
    let late = daemon.atm(&["wait", "a", "--for", "Succeeded", "--timeout", "20ms"]);
    insta::assert_snapshot!(late.transcript(), @r"
    --- stderr
    error: `a` is Running (Started), and the time is over
    hint: see `atm describe a`
    --- exit 1
    ");

    let waiting = daemon.command(&["wait", "a", "--for", "Succeeded"]).spawn().unwrap();
    crate::support::eventually("the watch", || {
        let count = daemon.requests().iter().filter(|request| request.starts_with("watch")).count();
        (count == 3).then_some(())
    });
    daemon.change(now("Succeeded Completed"));
    assert_eq!(crate::fake::finish(waiting).stdout, "a Succeeded\n");
    assert_eq!(daemon.atm(&["wait", "nobody", "--for", "deleted"]).stdout, "nobody deleted\n");
    assert_eq!(daemon.atm(&["wait", "nobody", "--for", "Running"]).code, 3);
}
