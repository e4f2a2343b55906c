//! What follows each kind of end, as sentences.

use proptest::prelude::*;

use super::*;
use crate::{
    api::record::StartError,
    plan::testing::{
        Given, NOW, PERSON, backoff, digest, ended, exited, given, host_error, not_started, run_id, seconds,
        secs, signaled, stopped,
    },
};

use RestartPolicy::{Always, Never, OnFailure};

fn missing() -> StartError {
    StartError::NoSuchFile { program: "nope".to_owned(), search_path: None }
}

fn interrupted() -> Ended {
    Ended { exit: None, interrupted: true, ..ended() }
}

/// Counts the same end `times` over, each as another run, and gives the waits that follow in milliseconds.
fn waits(end: &Ended, policy: RestartPolicy, times: usize) -> Vec<u128> {
    let mut history = History::default();
    let waits = (0..times).map(|_| {
        history = after_end(&begun(&history), end.clone(), policy, &backoff("1s", "5m", "10m"), NOW, 0.0);
        history.not_before.map_or(0, |until| until.since(NOW).as_millis())
    });
    waits.collect()
}

fn count(history: &History, end: Ended, policy: RestartPolicy) -> History {
    after_end(history, end, policy, &backoff("1s", "5m", "10m"), NOW, 0.0)
}

/// A session that ended four times in a row before.
fn troubled() -> History {
    History { failures: 4, ends: 4, host_errors: 4, last: Some(exited(1)), ..History::default() }
}

#[test]
fn failures_in_a_row_wait_longer_each_up_to_the_limit() {
    for end in [exited(1), signaled(9), not_started(missing()), stopped(StopReason::KeeperLost)] {
        let seconds: Vec<_> = waits(&end, OnFailure, 11).iter().map(|ms| ms / 1000).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }
}

#[test]
fn always_backs_off_from_quick_clean_ends_too() {
    assert_eq!(waits(&exited(0), Always, 3), [1000, 2000, 4000]);
    let long = Ended { ran: secs(600), ..exited(0) };
    assert_eq!(waits(&long, Always, 3), [0, 0, 0], "an end after a long run is no hurry");
}

#[test]
fn an_initial_wait_of_nothing_restarts_at_once_for_ever() {
    let mut history = History::default();
    for _ in 0..50 {
        history = after_end(&history, exited(1), OnFailure, &backoff("0s", "5m", "10m"), NOW, 1.0);
        assert_eq!(history.not_before, None);
    }
    assert_eq!(history.failures, 50);
}

#[test]
fn a_short_machine_has_its_own_short_ladder_and_is_no_fault_of_the_session() {
    let waits = waits(&not_started(host_error(true)), Never, 9);
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    let history = count(&troubled(), not_started(host_error(true)), OnFailure);
    assert_eq!((history.failures, history.restarts), (4, 0));
    let history = count(&troubled(), not_started(host_error(false)), OnFailure);
    assert_eq!((history.failures, history.host_errors), (5, 0), "one that does not pass is a failure");
}

#[test]
fn the_jitter_moves_a_wait_by_a_tenth_at_most() {
    let wait = |jitter| {
        let history =
            after_end(&History::default(), exited(1), OnFailure, &backoff("10s", "5m", "10m"), NOW, jitter);
        history.not_before.unwrap().since(NOW).as_millis()
    };
    assert_eq!([-1.0, 0.0, 0.5, 1.0].map(wait), [9_000, 10_000, 10_500, 11_000]);
    assert_eq!([-99.0, 99.0, f64::NAN].map(wait), [9_000, 11_000, 10_000]);
}

#[test]
fn a_long_run_makes_earlier_failures_moot() {
    let history = count(&troubled(), Ended { ran: secs(600), ..exited(1) }, OnFailure);
    assert_eq!((history.failures, history.ends), (1, 1));
    let history = count(&troubled(), Ended { ran: secs(599), ..exited(1) }, OnFailure);
    assert_eq!((history.failures, history.ends), (5, 5));
}

#[test]
fn a_changed_spec_makes_earlier_failures_moot() {
    let history = count(&troubled(), Ended { generation: 2, ..exited(1) }, OnFailure);
    assert_eq!((history.failures, history.ends), (1, 1));
}

#[test]
fn a_clean_end_clears_the_failures() {
    let history = count(&troubled(), exited(0), OnFailure);
    assert_eq!((history.failures, history.ends, history.not_before), (0, 0, None));
}

#[test]
fn persons_and_edits_forgive_and_rules_neither_count_nor_forgive() {
    use StopReason as R;
    for reason in
        [R::SpecChanged, R::ClientRestart, R::SpecRemoved, R::ClientStop, R::ClientKill, R::Suspended]
    {
        let history = count(&troubled(), stopped(reason), OnFailure);
        assert_eq!((history.failures, history.not_before), (0, None), "{reason}");
    }
    for reason in [R::IdleTimeout, R::MaxAgeExceeded, R::MaxSessions, R::SlotTaken, R::Shutdown] {
        let history = count(&troubled(), stopped(reason), OnFailure);
        assert_eq!((history.failures, history.not_before), (4, None), "{reason}");
    }
    let relieved = count(&troubled(), stopped(R::MemoryPressure), OnFailure);
    assert_eq!((relieved.failures, relieved.not_before), (4, NOW.checked_add(Duration::from_secs(60))));
    for reason in [R::KeeperLost, R::SessionMemory, R::ProcessLimit] {
        let history = count(&troubled(), stopped(reason), OnFailure);
        assert_eq!(history.failures, 5, "{reason}");
        assert!(history.not_before.is_some(), "{reason}");
    }
}

#[test]
fn a_stop_that_was_asked_for_is_clean_whatever_the_exit() {
    let cause = stopped(StopReason::ClientStop).cause;
    for end in [exited(0), exited(1), signaled(15), signaled(9)] {
        let end = Ended { cause: cause.clone(), ..end };
        assert_eq!(end.kind(), End::Asked(StopReason::ClientStop));
    }
    assert_eq!(signaled(15).kind(), End::Failed, "a signal that atm did not send is not");
}

#[test]
fn restarts_count_ends_that_the_policy_answers() {
    for (end, policy, restarts) in [
        (exited(1), OnFailure, 1),
        (exited(0), OnFailure, 0),
        (exited(0), Always, 1),
        (exited(1), Never, 0),
        (interrupted(), OnFailure, 1),
        (interrupted(), Never, 0),
        (stopped(StopReason::KeeperLost), OnFailure, 1),
        (stopped(StopReason::ClientRestart), Always, 0),
        (not_started(host_error(true)), OnFailure, 0),
    ] {
        assert_eq!(count(&History::default(), end.clone(), policy).restarts, restarts, "{end:?} {policy:?}");
    }
}

#[test]
fn a_run_that_begins_meets_what_was_asked_for_and_keeps_the_counts() {
    let before = given("a").restart_requested().session.history;
    let before = History { start_requested: true, not_before: Some(NOW), failures: 3, ..before };
    let after = begun(&before);
    assert_eq!(after, History { failures: 3, ..History::default() });
}

fn want(given: &Given) -> String {
    let Given { session, .. } = given;
    let crate::plan::Desired::Spec(wanted) = &session.desired else { panic!("{session:?}") };
    match next(wanted, &session.history, NOW) {
        Want::Run => "Run".to_owned(),
        Want::Wait(Wait::BackOff { until }) => format!("BackOff {}s", until.since(NOW).as_secs()),
        Want::Wait(Wait::HostError { until }) => format!("HostError {}s", until.since(NOW).as_secs()),
        Want::Wait(wait) => format!("{wait:?}"),
        Want::Done(Done::Evicted(cause)) => format!("Evicted {}", cause.reason),
        Want::Done(done) => format!("{done:?}"),
    }
}

#[track_caller]
fn check(end: &Ended, [always, on_failure, never]: [&str; 3]) {
    for (policy, expect) in [(Always, always), (OnFailure, on_failure), (Never, never)] {
        assert_eq!(want(&given("a").policy(policy).last(end.clone())), expect, "{policy:?} after {end:?}");
    }
}

#[test]
fn what_follows_an_end_by_itself_is_the_policys() {
    check(&exited(0), ["Run", "Succeeded", "Succeeded"]);
    check(&exited(3), ["Run", "Run", "Failed"]);
    check(&signaled(9), ["Run", "Run", "Failed"]);
    check(&signaled(15), ["Run", "Run", "Failed"]);
    check(&not_started(missing()), ["Run", "Run", "Failed"]);
    check(&not_started(host_error(false)), ["Run", "Run", "Failed"]);
    check(&interrupted(), ["Run", "Run", "Failed"]);
    check(&Ended { exit: None, ..ended() }, ["Run", "Run", "Failed"]);
}

#[test]
fn a_start_that_the_machine_was_too_short_for_is_tried_again_whatever_the_policy() {
    check(&not_started(host_error(true)), ["Run", "Run", "Run"]);
}

#[test]
fn what_follows_a_stop_is_its_causes() {
    use StopReason as R;
    for (reason, expect) in [
        (R::IdleTimeout, ["Evicted IdleTimeout"; 3]),
        (R::SlotTaken, ["Evicted SlotTaken"; 3]),
        (R::MaxAgeExceeded, ["Run", "Run", "Evicted MaxAgeExceeded"]),
        (R::SessionMemory, ["Run", "Run", "Evicted SessionMemory"]),
        (R::ProcessLimit, ["Run", "Run", "Failed"]),
        (R::KeeperLost, ["Run", "Run", "Failed"]),
        (R::MemoryPressure, ["Run"; 3]),
        (R::MaxSessions, ["Run"; 3]),
        (R::SpecChanged, ["Run"; 3]),
        (R::ClientRestart, ["Run"; 3]),
        (R::Shutdown, ["Run"; 3]),
        // The will behind these was lifted, or the file is back.
        (R::SpecRemoved, ["Run"; 3]),
        (R::ClientStop, ["Run"; 3]),
        (R::ClientKill, ["Run"; 3]),
        (R::Suspended, ["Run"; 3]),
    ] {
        check(&stopped(reason), expect);
    }
}

#[test]
fn what_a_person_or_the_file_forbids_comes_before_everything() {
    let asked = |text| given(text).last(exited(1)).history(|history| history.start_requested = true);
    assert_eq!(
        want(&asked("a").will(Will::Stopped { by: PERSON, now: false })),
        format!("Stopped({PERSON:?})")
    );
    assert_eq!(
        want(&asked("a").will(Will::Suspended { by: PERSON })),
        format!("Suspended(Some({PERSON:?}))")
    );
    let both = asked("a").spec(|spec| spec.suspend = true).will(Will::Stopped { by: PERSON, now: true });
    assert_eq!(want(&both), "Suspended(None)");
}

#[test]
fn a_person_or_a_changed_spec_brings_back_what_was_over() {
    let over = || given("a").policy(Never).last(stopped(StopReason::IdleTimeout));
    assert_eq!(want(&over()), "Evicted IdleTimeout");
    assert_eq!(want(&over().history(|history| history.start_requested = true)), "Run");
    assert_eq!(want(&over().edited("launch 1")), "Run");
    let succeeded = || given("a").policy(Never).last(exited(0));
    assert_eq!(want(&succeeded().edited("launch 1")), "Run");
    // Its keeper learned the new generation, but it went on running the old command.
    let updated = Ended { generation: 2, ..exited(0) };
    assert_eq!(want(&given("a").edited("launch 2").last(updated.clone())), "Run");
    assert_eq!(want(&given("a").edited("launch 1").last(updated)), "Succeeded");
}

#[test]
fn a_run_that_ended_before_its_restart_was_carried_out_is_restarted_still() {
    let over = |run| given("a").restart_requested().last(Ended { run_id: run_id(run), ..exited(0) });
    assert_eq!(want(&over(2)), "Run");
    assert_eq!(want(&over(3)), "Succeeded", "a later run has met the request");
}

#[test]
fn a_backoff_holds_until_its_very_moment_and_not_for_a_person_or_a_changed_spec() {
    let failed = |wait| given("a").last(exited(1)).history(|history| history.not_before = Some(wait));
    assert_eq!(want(&failed(seconds(1_000_007))), "BackOff 7s");
    assert_eq!(want(&failed(NOW)), "Run");
    assert_eq!(want(&failed(seconds(1_000_007)).history(|h| h.start_requested = true)), "Run");
    assert_eq!(want(&failed(seconds(1_000_007)).edited("launch 2")), "Run");
    let clean = failed(seconds(1_000_007)).policy(Always).last(exited(0));
    assert_eq!(want(&clean), "BackOff 7s");
}

#[test]
fn a_wait_that_nobody_could_have_set_is_another_boots_and_over() {
    let failed =
        |wait| given("a").last(exited(1)).history(|history| history.not_before = Some(seconds(wait)));
    assert_eq!(want(&failed(1_000_000 + 330)), "BackOff 330s");
    assert_eq!(want(&failed(1_000_000 + 331)), "Run");
}

#[test]
fn another_launch_is_a_change_only_where_the_launch_is_known() {
    let last = |launch| given("a").last(Ended { launch, ..exited(0) });
    assert_eq!(want(&last(Some(digest("other")))), "Run");
    assert_eq!(want(&last(None)), "Succeeded");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_wait_is_never_longer_than_its_limit_and_a_tenth(
        failures in any::<u32>(),
        host in any::<u32>(),
        initial in 0_u64..u64::MAX / 2_000_000_000,
        max in 0_u64..10_000,
        jitter in -2.0..2.0_f64,
        transient in any::<bool>(),
    ) {
        let before = History { failures, ends: failures, host_errors: host, ..History::default() };
        let backoff = Backoff {
            initial: crate::api::quantity::Dur(secs(initial)),
            max: crate::api::quantity::Dur(secs(max)),
            reset_after: crate::api::quantity::Dur(secs(600)),
        };
        let after = after_end(&before, not_started(host_error(transient)), OnFailure, &backoff, NOW, jitter);
        let longest = if transient { secs(10) } else { secs(max) };
        let wait = after.not_before.map_or(Duration::ZERO, |until| until.since(NOW));
        prop_assert!(wait <= longest.mul_f64(1.1) + Duration::from_nanos(1), "{wait:?}");
    }
}
