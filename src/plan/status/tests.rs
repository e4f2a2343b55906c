//! What people read, as they read it.

use super::*;
use crate::{
    api::{
        record::StartError,
        spec::{OnChange, RestartPolicy},
        status::Activity,
    },
    plan::{
        Grant, RunRequest, Will, session,
        testing::{
            Given, NOW, PERSON, cause, config, digest, ended, exited, given, host_error, name, not_started,
            run_id, seconds, signaled, stopped,
        },
    },
};

const RUN: Verdict = Verdict::Run(Grant { after: None, generation: 1 });

#[track_caller]
fn check<'a>(given: &Given, verdict: impl Into<Option<&'a Verdict>>, expect: &str) {
    let (phase, reason, message) = derive(&given.session, verdict.into(), NOW);
    assert_eq!(format!("{phase}/{reason}: {message}"), expect);
}

#[test]
fn a_session_that_runs_needs_no_words() {
    check(&given("a").running(), &RUN, "Running/Started: ");
    check(&given("a").running(), None, "Running/Started: ");
}

#[test]
fn one_on_its_way_up_says_so() {
    check(&given("a"), &RUN, "Pending/Starting: is about to start");
    check(&given("a"), None, "Pending/Starting: is about to start");
    check(&given("a").starting(), &RUN, "Pending/Starting: its process is being made");
}

#[test]
fn a_persons_own_session_that_is_silent_is_marked() {
    let own = given("a").registered();
    check(&own, &RUN, "Running/Started: ");
    let (phase, reason, message) = derive(&own.session, Some(&RUN), seconds(1_000_091));
    assert_eq!((phase, reason), (Phase::Running, Reason::Stale));
    assert_eq!(message, "lives, and gave no sign for longer than `staleAfter`; nothing is done to it");
    let rest = session::step(&own.session, &RUN, NOW);
    let (action, why, next) = explain(&own.session, &RUN, &rest, &config(4), NOW);
    assert_eq!((action, why.as_str()), ("None", "a person started it: it is watched, and no rule ends it"));
    assert_eq!(next.map(|at| at.since(NOW).as_secs()), Some(90));
}

#[test]
fn a_full_house_is_told_in_the_promised_words() {
    let full = Verdict::Wait(Wait::MaxSessions { limit: 4 });
    let words = "Maximum 4 sessions supported. Destroy a session to create a new one.";
    check(&given("a"), &full, &format!("Pending/MaxSessions: {words}"));
}

#[test]
fn a_taken_identity_names_who_has_it() {
    let taken = Verdict::Wait(Wait::IdentityTaken { by: name("b"), identity: "x\u{1b}[2J".to_owned() });
    let expect = "Pending/IdentityTaken: identity `x\\u{1b}[2J` is taken by session `b`";
    check(&given("a"), &taken, expect);
}

#[test]
fn a_backoff_names_the_failures_and_the_last_end() {
    let failed = |end, failures| {
        given("a").last(end).history(|history| {
            history.failures = failures;
            history.not_before = Some(seconds(1_000_009));
        })
    };
    check(
        &failed(exited(3), 1),
        None,
        "Pending/BackOff: failed, last: exit status 3; waits before the next try",
    );
    check(
        &failed(signaled(9), 4),
        None,
        "Pending/BackOff: failed 4 times in a row, last: ended by SIGKILL; waits before the next try",
    );
    let missing = StartError::NoSuchFile { program: "nope".to_owned(), search_path: Some("/bin".to_owned()) };
    check(
        &failed(not_started(missing), 2),
        None,
        "Pending/BackOff: failed 2 times in a row, last: no such file: `nope` was not found in PATH=/bin; \
         waits before the next try",
    );
    let quick = failed(exited(0), 0).policy(RestartPolicy::Always).history(|history| history.ends = 3);
    check(
        &quick,
        None,
        "Pending/BackOff: ended soon after its start 3 times in a row, last: exit status 0; waits before the next try",
    );
}

#[test]
fn a_short_machine_is_no_failure() {
    let short = given("a").last(not_started(host_error(true)));
    let short = short.history(|history| history.not_before = Some(seconds(1_000_001)));
    check(&short, None, "Pending/HostError: cannot fork: try again; tried again soon");
}

#[test]
fn a_spec_that_was_never_good_and_a_shutdown_say_so() {
    check(
        &given("a").desired(Desired::NeverGood),
        &Verdict::Wait(Wait::InvalidSpec),
        "Pending/InvalidSpec: its spec was never good; `atm validate` says what is wrong",
    );
    let shutdown = Verdict::Wait(Wait::Shutdown);
    check(&given("a"), &shutdown, "Pending/Shutdown: the daemon is ending its sessions");
}

#[test]
fn an_end_shows_at_once_also_where_the_verdict_is_of_before() {
    let never = |end| given("a").policy(RestartPolicy::Never).last(end);
    let stop = Verdict::Stop(cause(StopReason::ClientStop));
    for verdict in [None, Some(&RUN), Some(&stop)] {
        check(&never(exited(0)), verdict, "Succeeded/Completed: exit status 0");
        check(
            &given("a").will(Will::Stopped { by: PERSON, now: false }),
            verdict,
            "Suspended/Stopped: stopped by user id 1000; `atm start` starts it again",
        );
    }
}

#[test]
fn a_failure_says_how_and_that_nothing_follows() {
    let never = |end| given("a").policy(RestartPolicy::Never).last(end);
    let rest = "`restartPolicy: Never` does not start it again";
    let missing = StartError::NoSuchUser { user: "a\nb".to_owned() };
    for (end, expect) in [
        (exited(3), "Error: exit status 3"),
        (signaled(11), "Signaled: ended by SIGSEGV"),
        (signaled(40), "Signaled: ended by signal 40"),
        (not_started(missing), "CannotStart: no such user: `a\\nb`"),
        (
            Ended { exit: None, interrupted: true, ..ended() },
            "Interrupted: the machine went down while it ran",
        ),
        (Ended { exit: None, ..ended() }, "Error: its end was not seen"),
        (stopped(StopReason::KeeperLost), "KeeperLost: because of KeeperLost"),
        (stopped(StopReason::ProcessLimit), "ProcessLimit: because of ProcessLimit"),
    ] {
        check(&never(end), None, &format!("Failed/{expect}; {rest}"));
    }
}

#[test]
fn the_other_ways_of_being_over_say_what_lifts_them() {
    check(
        &given("a").last(stopped(StopReason::IdleTimeout)),
        None,
        "Evicted/IdleTimeout: because of IdleTimeout; `atm start` or a changed spec brings it back",
    );
    check(
        &given("a").will(Will::Suspended { by: PERSON }),
        None,
        "Suspended/Suspended: suspended by user id 1000; `atm resume` lifts it",
    );
    let suspended = given("a").spec(|spec| spec.suspend = true);
    check(&suspended, None, "Suspended/Suspended: its spec says `suspend: true`");
    check(&given("a").desired(Desired::Gone), None, "Suspended/SpecRemoved: its spec file was removed");
}

#[test]
fn a_stop_shows_its_cause_from_the_moment_it_is_decided() {
    let asked = Cause::asked(StopReason::ClientStop, PERSON, "stopped by `atm stop`");
    let expect = "Stopping/ClientStop: stopped by `atm stop`, asked for by user id 1000";
    check(&given("a").running(), &Verdict::Stop(asked), expect);
    check(
        &given("a").stopping(StopReason::MaxSessions),
        &RUN,
        "Stopping/MaxSessions: because of MaxSessions",
    );
    let mut stuck = given("a").stopping(StopReason::MaxSessions);
    if let Observed::Stopping { unkillable, .. } = &mut stuck.session.observed {
        *unkillable = true;
    }
    check(&stuck, &RUN, "Stopping/Unkillable: because of MaxSessions, but outlives SIGKILL");
}

#[test]
fn a_keeper_that_does_not_answer_is_said_to_be_let_alone() {
    let expect = "Running/Unknown: its keeper does not answer (timed out); nothing is done to it";
    check(&given("a").unknown(), &RUN, expect);
}

#[test]
fn a_changed_spec_says_what_it_waits_for() {
    let changed =
        |activity, on_change| given("a").spec(|spec| spec.on_change = on_change).doing(activity).outdated();
    for (activity, on_change, expect) in [
        (
            Activity::Busy,
            OnChange::WhenIdle,
            "its spec changed; restarts at the end of its turn, or now by `atm restart`",
        ),
        (
            Activity::Waiting,
            OnChange::WhenIdle,
            "its spec changed; restarts when no person is waited for or attached, or now by `atm restart`",
        ),
        (
            Activity::Unknown,
            OnChange::WhenIdle,
            "its spec changed; restarts after 10 s without output or input, or now by `atm restart`",
        ),
        (
            Activity::Idle,
            OnChange::Manual,
            "its spec changed, and says `onChange: Manual`; restarts by `atm restart`",
        ),
        (Activity::Busy, OnChange::Restart, "what it runs was changed in its spec"),
    ] {
        check(&changed(activity, on_change), &RUN, &format!("Running/RestartPending: {expect}"));
    }
}

#[track_caller]
fn check_plan(given: &Given, verdict: &Verdict, expect: &str) {
    let step = session::step(&given.session, verdict, NOW);
    let (action, why, next) = explain(&given.session, verdict, &step, &config(9), NOW);
    let next = next.map_or_else(String::new, |at| format!(" ({}s)", at.since(NOW).as_secs()));
    assert_eq!(format!("{action}: {why}{next}"), expect);
}

#[test]
fn the_plan_says_what_would_be_done_and_why() {
    check_plan(&given("a"), &RUN, "Start: it was not started yet");
    let again = Verdict::Run(Grant { after: Some(run_id(1)), generation: 1 });
    check_plan(&given("a").last(exited(3)), &again, "Start: its last run is over: exit status 3");
    let edited = given("a").last(exited(0)).edited("launch 2");
    check_plan(&edited, &Verdict::Run(Grant::of(&edited.session)), "Start: its spec changed");
    let asked = given("a").last(exited(0)).history(|history| history.start_requested = true);
    check_plan(&asked, &again, "Start: a person asked for it");

    check_plan(&given("a").running(), &RUN, "None: runs as its spec says");
    check_plan(
        &given("a").edited("launch 1").running(),
        &RUN,
        "Update: its spec changed in what applies live",
    );
    check_plan(
        &given("a").running(),
        &Verdict::Stop(cause(StopReason::MaxSessions)),
        "Stop: because of MaxSessions",
    );
    let request = RunRequest { run_id: run_id(2), by: PERSON };
    let restart = given("a").history(|history| history.restart_requested = Some(request)).running();
    check_plan(&restart, &RUN, "Restart: restarted by `atm restart`, asked for by user id 1000");
    let succeeded = Verdict::Done(Done::Succeeded);
    check_plan(&given("a").last(exited(0)), &succeeded, "None: exit status 0");
}

#[test]
fn the_plan_says_until_when_it_waits() {
    let until = seconds(1_000_009);
    let failed = given("a").last(exited(3)).history(|history| {
        history.not_before = Some(until);
        history.failures = 1;
    });
    check_plan(
        &failed,
        &Verdict::Wait(Wait::BackOff { until }),
        "Wait: failed, last: exit status 3; waits before the next try (9s)",
    );
    let changed = given("a").run(|run| run.launch = digest("launch 0"));
    check_plan(
        &changed,
        &RUN,
        "Wait: its spec changed; restarts after 10 s without output or input, or now by `atm restart` (10s)",
    );
}

#[test]
fn nothing_from_outside_can_steer_a_terminal_or_turn_its_line_around() {
    assert_eq!(escape("a\u{1b}[2J\r\n\u{202e}b"), "a\\u{1b}[2J\\r\\n\\u{202e}b");
    assert_eq!(escape("grüße, 世界"), "grüße, 世界");
}
