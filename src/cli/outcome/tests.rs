use Outcome::{Done, Failed, Waiting};

use super::*;
use crate::api::name::RunId;

/// A session in a phase, by `PHASE REASON RUN`; equal words are equal states.
fn session(text: &str) -> SessionView {
    let mut words = text.split_whitespace();
    let mut word = || words.next().unwrap_or_default();
    let json = serde_json::json!({
        "name": "a", "origin": "Declared", "generation": 1,
        "status": {"phase": word(), "reason": word(), "restarts": 0},
    });
    let mut session: SessionView = serde_json::from_value(json).unwrap();
    let run: RunId =
        format!("0190aaaa-0000-7000-8000-00000000000{}", words.next().unwrap_or("1")).parse().unwrap();
    session.run_id = Some(run);
    session
}

fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Waiting => "waits".into(),
        Done(words) => words.clone(),
        Failed(error) => format!("fails {}", error.kind.status()),
    }
}

fn check(judge: Judge, rows: &[(&str, &str, &str)]) {
    for (before, now, expected) in rows {
        let outcome = judge(&session(before), &session(now));
        assert_eq!(verdict(&outcome), *expected, "{before} → {now}");
    }
}

#[test]
fn a_start_ends_with_a_process_or_with_the_reason_why_not() {
    check(
        started,
        &[
            ("Suspended Stopped", "Suspended Stopped", "waits"),
            ("Suspended Stopped", "Pending Starting", "waits"),
            ("Suspended Stopped", "Running Started 2", "running"),
            ("Running Started", "Running Started", "running"),
            ("Failed Error", "Failed Error", "waits"),
            ("Failed Error", "Failed CannotStart 2", "fails 1"),
            ("Failed Error", "Pending BackOff 2", "fails 1"),
            ("Pending BackOff", "Pending BackOff", "waits"),
            ("Suspended Stopped", "Pending MaxSessions", "fails 75"),
            ("Pending MaxSessions", "Pending MaxSessions", "fails 75"),
            ("Suspended Stopped", "Pending MemoryBudget", "fails 75"),
            ("Suspended Stopped", "Pending IdentityTaken", "fails 75"),
            ("Suspended Stopped", "Pending NameTaken", "waits"),
            ("Pending InvalidSpec", "Pending InvalidSpec", "fails 4"),
            ("Suspended Suspended", "Suspended Suspended", "fails 1"),
            ("Succeeded Completed", "Succeeded Completed", "waits"),
            ("Succeeded Completed", "Succeeded Completed 2", "ran and succeeded"),
            ("Running Started", "Suspended Stopped", "fails 1"),
            ("Running Started", "Stopping ClientStop", "waits"),
            ("Evicted IdleTimeout", "Evicted IdleTimeout", "waits"),
            ("Evicted IdleTimeout", "Evicted SlotTaken 2", "fails 1"),
            ("Suspended Stopped", "Pending Shutdown", "fails 69"),
        ],
    );
}

#[test]
fn a_restart_waits_for_another_run() {
    check(
        restarted,
        &[
            ("Running Started 1", "Running Started 1", "waits"),
            ("Running Started 1", "Stopping ClientRestart 1", "waits"),
            ("Running Started 1", "Pending Starting 1", "waits"),
            ("Running Started 1", "Running Started 2", "running"),
            ("Running Started 1", "Failed CannotStart 2", "fails 1"),
            ("Failed Error 1", "Running Started 2", "running"),
        ],
    );
}

#[test]
fn a_stop_waits_until_there_is_no_process() {
    check(
        stopped,
        &[
            ("Running Started", "Running Started", "waits"),
            ("Running Started", "Stopping ClientStop", "waits"),
            ("Running Started", "Stopping Unkillable", "fails 1"),
            ("Running Started", "Suspended Stopped", "stopped"),
            ("Pending Starting", "Pending Starting", "waits"),
            ("Pending BackOff", "Pending BackOff", "stopped"),
            ("Succeeded Completed", "Succeeded Completed", "had ended"),
        ],
    );
}

#[test]
fn suspend_and_resume_wait_for_the_phase_to_change() {
    check(
        suspended,
        &[
            ("Running Started", "Stopping Suspended", "waits"),
            ("Running Started", "Suspended Suspended", "suspended"),
            ("Failed Error", "Failed Error", "waits"),
            ("Pending MaxSessions", "Pending MaxSessions", "waits"),
        ],
    );
    check(
        resumed,
        &[
            ("Suspended Suspended", "Suspended Suspended", "waits"),
            ("Suspended Suspended", "Suspended Stopped", "resumed, and stays stopped: `atm start a` runs it"),
            ("Suspended Suspended", "Pending Starting", "waits"),
            ("Suspended Suspended", "Running Started", "running"),
            ("Suspended Suspended", "Pending MaxSessions", "fails 75"),
            (
                "Suspended Suspended",
                "Succeeded Completed",
                "resumed; it had succeeded and does not run again",
            ),
        ],
    );
}

#[test]
fn a_failed_start_says_why_and_what_to_do_next() {
    let mut now = session("Failed CannotStart 2");
    now.status.message = "no such file: `claud` was not found in PATH=/bin".into();
    let Failed(error) = started(&session("Suspended Stopped"), &now) else { panic!("it failed") };
    insta::assert_snapshot!(error.render(str::to_owned), @r"
    error: `a` is not running: Failed, CannotStart: no such file: `claud` was not found in PATH=/bin
    hint: see `atm describe a` and `atm logs a`
    ");
}
