//! Each pair of verdict and observation, and what a changed spec waits for.

use super::*;
use crate::{
    api::status::Activity,
    plan::{
        Done, Wait,
        testing::{
            Given, NOW, PERSON, cause, digest, exited, given, run_id, seconds, secs, seen_quiet, stopped,
        },
    },
};

const RUN: Verdict = Verdict::Run(Grant { after: None, generation: 1 });

fn after(run: u64) -> Verdict {
    Verdict::Run(Grant { after: Some(run_id(run)), generation: 1 })
}

fn word(step: &Step) -> String {
    match step {
        Step::Start => "start".to_owned(),
        Step::Terminate { cause, now: false } => format!("terminate {}", cause.reason),
        Step::Terminate { cause, now: true } => format!("kill {}", cause.reason),
        Step::Update => "update".to_owned(),
        Step::Rest { until: None } => "rest".to_owned(),
        Step::Rest { until: Some(until) } => format!("rest {}s", until.since(NOW).as_secs()),
    }
}

#[track_caller]
fn check(given: &Given, verdict: &Verdict, expect: &str) {
    assert_eq!(word(&step(&given.session, verdict, NOW)), expect);
}

#[test]
fn every_pair_of_verdict_and_observation_has_its_step() {
    let verdicts = [
        RUN,
        Verdict::Stop(cause(StopReason::Shutdown)),
        Verdict::Wait(Wait::Shutdown),
        Verdict::Done(Done::Succeeded),
    ];
    for (session, expect) in [
        (given("a"), ["start", "rest", "rest", "rest"]),
        (given("a").starting(), ["rest", "terminate Shutdown", "rest", "rest"]),
        (given("a").running(), ["rest", "terminate Shutdown", "rest", "rest"]),
        (given("a").stopping(StopReason::Suspended), ["rest 15s"; 4]),
        (given("a").unknown(), ["rest"; 4]),
    ] {
        for (verdict, expect) in verdicts.iter().zip(expect) {
            check(&session, verdict, expect);
        }
    }
}

#[test]
fn whatever_is_decided_about_a_persons_own_session_nothing_is_done_to_it() {
    let own = given("a").registered();
    let stopping = Given {
        session: Session {
            desired: own.session.desired.clone(),
            ..given("a").stopping(StopReason::ClientStop).session
        },
        ..own.clone()
    };
    let verdicts = [
        RUN,
        Verdict::Stop(cause(StopReason::MemoryPressure)),
        Verdict::Stop(cause(StopReason::ClientKill)),
        Verdict::Wait(Wait::Shutdown),
        Verdict::Done(Done::Gone),
    ];
    for verdict in &verdicts {
        check(&own, verdict, "rest 90s");
        check(&stopping, verdict, "rest 90s");
        check(&own.clone().observed(Observed::Absent), verdict, "rest 90s");
    }
}

#[test]
fn a_kill_is_a_stop_without_grace() {
    check(&given("a").running(), &Verdict::Stop(cause(StopReason::ClientKill)), "kill ClientKill");
    check(&given("a").running(), &Verdict::Stop(cause(StopReason::ClientStop)), "terminate ClientStop");
}

#[test]
fn a_kill_cuts_a_stop_in_progress_short_once() {
    let verdict = Verdict::Stop(cause(StopReason::ClientStop));
    let stopping = |reason| given("a").stopping(reason).will(Will::Stopped { by: PERSON, now: true });
    check(&stopping(StopReason::ClientStop), &verdict, "kill ClientKill");
    check(&stopping(StopReason::SpecChanged), &verdict, "kill ClientKill");
    check(&stopping(StopReason::ClientKill), &verdict, "rest 15s");
    let mut shortened = stopping(StopReason::ClientStop);
    if let Observed::Stopping { kill_at, .. } = &mut shortened.session.observed {
        *kill_at = NOW;
    }
    check(&shortened, &verdict, "rest 5s");
    let polite = given("a").stopping(StopReason::SpecChanged).will(Will::Stopped { by: PERSON, now: false });
    check(&polite, &verdict, "rest 15s");
}

#[test]
fn a_stop_is_looked_at_again_when_it_should_be_over() {
    let mut stopping = given("a").stopping(StopReason::ClientStop);
    let verdict = Verdict::Stop(cause(StopReason::ClientStop));
    let at = |second| word(&step(&stopping.session, &verdict, seconds(second)));
    assert_eq!(at(1_000_014), "rest 15s");
    // Its keeper counts from its own first SIGKILL, and says so a little later.
    assert_eq!(at(1_000_015), "rest 16s");
    if let Observed::Stopping { unkillable, .. } = &mut stopping.session.observed {
        *unkillable = true;
    }
    check(&stopping, &verdict, "rest");
}

#[test]
fn a_slot_given_for_an_earlier_run_starts_no_other() {
    let again = given("a").last(stopped(StopReason::SpecChanged));
    check(&again, &RUN, "rest");
    check(&again, &after(1), "start");
    check(&again, &after(7), "rest");
}

#[test]
fn a_slot_given_for_an_earlier_spec_starts_no_other() {
    // The new spec may have another identity, which is not this session's yet.
    check(&given("a").edited("launch 1"), &RUN, "rest");
}

#[test]
fn what_changed_its_mind_since_the_verdict_is_not_started() {
    check(&given("a").will(Will::Stopped { by: PERSON, now: false }), &RUN, "rest");
    check(&given("a").spec(|spec| spec.suspend = true), &RUN, "rest");
    check(&given("a").desired(Desired::Gone), &RUN, "rest");
    check(&given("a").desired(Desired::NeverGood), &RUN, "rest");
    check(&given("a").last(exited(0)), &after(1), "rest");
}

#[test]
fn a_change_that_applies_live_is_told_to_the_keeper() {
    check(&given("a").edited("launch 1").running(), &RUN, "update");
    let told = given("a").edited("launch 1").run(|run| run.generation = 2);
    check(&told, &RUN, "rest");
}

#[test]
fn a_stop_for_a_changed_command_comes_after_the_changed_grace() {
    let edited = given("a").edited("launch 2").spec(|spec| spec.on_change = OnChange::Restart);
    check(&edited.clone().running(), &RUN, "update");
    check(&edited.run(|run| run.generation = 2), &RUN, "terminate SpecChanged");
}

#[test]
fn a_changed_command_takes_effect_when_its_spec_says() {
    for (activity, attached, when_idle) in [
        (Activity::Idle, 0, "terminate SpecChanged"),
        (Activity::Idle, 1, "rest"),
        (Activity::Unknown, 0, "rest 10s"),
        (Activity::Unknown, 1, "rest"),
        (Activity::Waiting, 0, "rest"),
        (Activity::Busy, 0, "rest"),
    ] {
        for (on_change, expect) in [
            (OnChange::Restart, "terminate SpecChanged"),
            (OnChange::WhenIdle, when_idle),
            (OnChange::Manual, "rest"),
        ] {
            let changed = given("a").spec(|spec| spec.on_change = on_change).doing(activity).outdated();
            let changed = changed.seen(|seen| seen.look.attached = attached);
            check(&changed, &RUN, expect);
        }
    }
}

#[test]
fn unknown_activity_is_quiet_after_ten_seconds_without_evidence() {
    let long_ago = |run: &mut Run| run.since = seconds(1);
    let changed = |quiet| given("a").run(long_ago).seen(|seen| *seen = seen_quiet(secs(quiet))).outdated();
    check(&changed(9), &RUN, "rest 1s");
    check(&changed(10), &RUN, "terminate SpecChanged");
    // Ten seconds ago it was quiet for five: what came since is not known.
    let old = changed(5).seen(|seen| {
        seen.look.at = seconds(1_000_000 - 10);
        seen.quiet_since = seconds(1_000_000 - 15);
    });
    check(&old, &RUN, "rest");
}

#[test]
fn a_requested_restart_is_done_at_once_whatever_it_does() {
    let busy = given("a").doing(Activity::Busy).restart_requested();
    check(&busy, &RUN, "terminate ClientRestart");
    let manual = given("a").spec(|spec| spec.on_change = OnChange::Manual).restart_requested();
    let manual = manual.run(|run| run.launch = digest("launch 0"));
    check(&manual, &RUN, "terminate ClientRestart");
}

#[test]
fn a_requested_restart_is_met_by_any_other_run() {
    let other = given("a").restart_requested().run(|run| run.run_id = run_id(3));
    check(&other, &RUN, "rest");
}

#[test]
fn what_runs_without_a_good_spec_goes_on() {
    check(&given("a").desired(Desired::NeverGood).running(), &RUN, "rest");
    check(&given("a").desired(Desired::Gone).running(), &RUN, "rest");
}
