//! Each rule of admission as a sentence. Verdicts are compared as words, by name.

use super::*;
use crate::{
    api::status::Activity,
    plan::testing::{
        Given, NOW, PERSON, cause, config, decided, exited, given, host_error, not_started, run_id, seconds,
        secs, stopped, timestamp, word,
    },
};

#[track_caller]
fn check<const N: usize>(limit: u32, sessions: [Given; N], expect: &str) {
    check_in(&Mode::Converge, limit, sessions, expect);
}

#[track_caller]
fn check_in<const N: usize>(mode: &Mode, limit: u32, mut sessions: [Given; N], expect: &str) {
    let words = |sessions: &[Given]| {
        let verdicts = decided(limit, sessions, mode, NOW).verdicts;
        let named = sessions.iter().zip(&verdicts);
        let mut words: Vec<_> = named.map(|(given, v)| format!("{} {}", given.name, word(v))).collect();
        words.sort();
        words.join(", ")
    };
    assert_eq!(words(&sessions), expect);
    sessions.reverse();
    assert_eq!(words(&sessions), expect, "the order of the sessions must not matter");
}

fn will(now: bool) -> Will {
    Will::Stopped { by: PERSON, now }
}

#[test]
fn slots_go_by_priority_then_by_age_then_by_name() {
    check(2, [given("a"), given("b"), given("c")], "a runs, b runs, c waits MaxSessions(2)");
    check(2, [given("a"), given("b"), given("c").priority(5)], "a runs, b waits MaxSessions(2), c runs");
    let older = given("b").wanted(|wanted| wanted.first_seen = timestamp(-10));
    check(1, [given("a"), older.clone()], "a waits MaxSessions(1), b runs");
    check(1, [given("a").priority(1), older], "a runs, b waits MaxSessions(1)");
}

#[test]
fn a_waiting_session_never_costs_a_running_one_its_slot() {
    check(1, [given("a").running(), given("b").priority(9)], "a runs, b waits MaxSessions(1)");
}

#[test]
fn every_live_session_takes_a_slot_until_it_is_gone() {
    for live in [
        given("a").starting(),
        given("a").running(),
        given("a").unknown(),
        given("a").desired(Desired::NeverGood).running(),
    ] {
        check(1, [live, given("b")], "a runs, b waits MaxSessions(1)");
    }
    let removed = given("a").desired(Desired::Gone).running();
    check(1, [removed, given("b")], "a stops SpecRemoved, b waits MaxSessions(1)");
    let stopping = given("a").stopping(StopReason::ClientStop);
    check(1, [stopping, given("b")], "a stops ClientStop, b waits MaxSessions(1)");
}

#[test]
fn a_persons_own_session_takes_a_slot_and_is_asked_nothing() {
    let own = |name| given(name).registered();
    check(1, [own("a"), given("b")], "a runs, b waits MaxSessions(1)");
    check(0, [own("a"), own("b")], "a runs, b runs");
    check_in(
        &Mode::EndAll(cause(StopReason::Shutdown)),
        1,
        [own("a"), given("b").running()],
        "a runs, b stops Shutdown",
    );
    let gone = own("a").observed(Observed::Absent);
    check(1, [gone, given("b")], "a done Gone, b runs");
}

#[test]
fn a_persons_own_session_costs_no_running_one_its_slot() {
    let own = given("own").registered();
    check(2, [given("a").running(), given("b").running(), own.clone()], "a runs, b runs, own runs");
    // A lowered limit is about what atm runs.
    let idle = |name| given(name).idle_since(seconds(999_000));
    check(1, [idle("a"), idle("b").priority(1), own], "a stops MaxSessions, b runs, own runs");
}

#[test]
fn nobody_goes_in_vain_where_persons_own_sessions_fill_the_house() {
    let own = given("own").registered();
    let idle = |name| given(name).idle_since(seconds(999_000));
    let high = given("high").priority(9);
    // Three of two: one place would take two to go.
    check(
        2,
        [idle("a"), idle("b"), own.clone(), high.clone()],
        "a runs, b runs, high waits MaxSessions(2), own runs",
    );
    check(2, [idle("a"), own, high], "a stops IdleTimeout, high waits MaxSessions(2), own runs");
}

#[test]
fn nobody_counts_on_the_slot_of_what_may_stay_for_ever() {
    let idle = |name| given(name).idle_since(seconds(999_000));
    let asked = given("own").registered().stopping(StopReason::ClientStop);
    check(
        2,
        [idle("a"), asked, given("b")],
        "a stops IdleTimeout, b waits MaxSessions(2), own stops ClientStop",
    );
    let stuck = given("stuck").stopping(StopReason::ClientStop).outliving();
    check(
        2,
        [idle("a"), stuck, given("b")],
        "a stops IdleTimeout, b waits MaxSessions(2), stuck stops ClientStop",
    );
}

#[test]
fn an_identity_that_a_persons_own_session_has_is_taken() {
    let own = given("own").registered();
    check(9, [own.clone().known_as("x"), given("b").identity("x")], "b waits for own, own runs");
    check(9, [own.clone(), given("b").identity("own")], "b waits for own, own runs");
    // Another user's keeps nobody from running; what root put on the list may be anybody's.
    check(9, [own.clone().known_as("x").of_user(77), given("b").identity("x")], "b runs, own runs");
    check(9, [own.clone().known_as("x").of_user(0), given("b").identity("x")], "b waits for own, own runs");
    // One that came later than the declared one ends nothing.
    let late = given("late").registered().known_as("x");
    check(9, [given("a").identity("x").running(), late], "a runs, late runs");
}

#[test]
fn with_no_slots_at_all_nothing_starts() {
    check(0, [given("a")], "a waits MaxSessions(0)");
}

#[test]
fn who_does_not_want_to_run_takes_no_slot() {
    check(
        1,
        [
            given("a").will(will(false)),
            given("b").spec(|spec| spec.suspend = true),
            given("c").last(exited(0)),
            given("d").desired(Desired::NeverGood),
            given("e").desired(Desired::Gone),
            given("f"),
        ],
        "a done Stopped, b done Suspended, c done Succeeded, d waits InvalidSpec, e done Gone, f runs",
    );
}

#[test]
fn a_backoff_takes_no_slot_and_is_a_date_in_the_answer() {
    let failed =
        |text, at| given(text).last(exited(1)).history(|history| history.not_before = Some(seconds(at)));
    let sessions = [failed("a", 1_000_020), failed("b", 1_000_010), given("c")];
    assert_eq!(decided(1, &sessions, &Mode::Converge, NOW).next, Some(seconds(1_000_010)));
    check(1, sessions, "a waits BackOff, b waits BackOff, c runs");
    // Over at its very moment, so that whoever comes back at that date finds it over.
    check(1, [failed("a", 1_000_000)], "a runs");
    let short = given("a").last(not_started(host_error(true)));
    check(1, [short.history(|h| h.not_before = Some(seconds(1_000_001)))], "a waits HostError");
}

#[test]
fn nothing_waits_for_time_where_nothing_backs_off() {
    let sessions = [given("a").running(), given("b"), given("c").will(will(false))];
    assert_eq!(decided(1, &sessions, &Mode::Converge, NOW).next, None);
}

#[test]
fn what_a_person_or_the_file_says_ends_a_live_session() {
    let suspended = Will::Suspended { by: PERSON };
    for (live, expect) in [
        (given("a").will(will(false)), "a stops ClientStop"),
        (given("a").will(will(true)), "a stops ClientKill"),
        (given("a").will(suspended), "a stops Suspended"),
        (given("a").spec(|spec| spec.suspend = true), "a stops Suspended"),
        (given("a").desired(Desired::Gone), "a stops SpecRemoved"),
        (given("a").desired(Desired::NeverGood), "a runs"),
    ] {
        check(9, [live.clone().running()], expect);
        check(9, [live.starting()], expect);
    }
}

#[test]
fn the_cause_of_a_stop_names_who_asked() {
    let decisions = decided(9, &[given("a").will(will(true)).running()], &Mode::Converge, NOW);
    let [Verdict::Stop(cause)] = decisions.verdicts.as_slice() else { panic!("{decisions:?}") };
    assert_eq!(cause.by, Some(PERSON));
}

#[test]
fn a_stop_keeps_its_cause_until_it_is_done_whatever_the_file_says_meanwhile() {
    for session in [
        given("a"),
        given("a").edited("launch 2"),
        given("a").will(will(true)),
        given("a").desired(Desired::Gone),
        given("a").desired(Desired::NeverGood),
    ] {
        check(9, [session.stopping(StopReason::IdleTimeout)], "a stops IdleTimeout");
    }
}

#[test]
fn what_does_not_answer_is_never_stopped_and_never_started_twice() {
    for session in [
        given("a"),
        given("a").desired(Desired::Gone),
        given("a").desired(Desired::NeverGood),
        given("a").will(will(true)),
    ] {
        check(0, [session.clone().unknown()], "a runs");
        let shutdown = Mode::EndAll(cause(StopReason::Shutdown));
        check_in(&shutdown, 9, [session.unknown()], "a runs");
    }
}

#[test]
fn a_lowered_limit_ends_as_many_as_are_too_many() {
    let [a, b, c] = ["a", "b", "c"].map(|text| given(text).doing(Activity::Idle));
    check(3, [a.clone(), b.clone(), c.clone()], "a runs, b runs, c runs");
    check(2, [a.clone(), b.clone(), c.clone()], "a stops MaxSessions, b runs, c runs");
    check(0, [a, b, c], "a stops MaxSessions, b stops MaxSessions, c stops MaxSessions");
}

#[test]
fn those_already_on_their_way_out_count_towards_a_lowered_limit() {
    let leaving = given("a").stopping(StopReason::ClientStop);
    check(1, [leaving, given("b").running()], "a stops ClientStop, b runs");
    let stopped = given("a").stopping(StopReason::MaxSessions);
    check(1, [stopped, given("b").running()], "a stops MaxSessions, b runs");
}

#[test]
fn victims_are_idle_then_unknown_then_waiting_and_busy_ones_finish_their_turn() {
    let [a, b, c, d] = [
        given("a").doing(Activity::Busy),
        given("b").doing(Activity::Waiting),
        given("c").doing(Activity::Unknown),
        given("d").doing(Activity::Idle),
    ];
    let all = [a, b, c, d];
    check(3, all.clone(), "a runs, b runs, c runs, d stops MaxSessions");
    check(2, all.clone(), "a runs, b runs, c stops MaxSessions, d stops MaxSessions");
    check(1, all.clone(), "a runs, b stops MaxSessions, c stops MaxSessions, d stops MaxSessions");
    check(0, all, "a runs, b stops MaxSessions, c stops MaxSessions, d stops MaxSessions");
}

#[test]
fn a_turn_that_never_ends_holds_a_lowered_limit_up_for_age_grace_and_no_longer() {
    let turns = |activity, seconds| given("a").doing(activity).in_turn_since(NOW, seconds);
    let grace = config(1).age_grace.0;
    for activity in [Activity::Busy, Activity::Waiting] {
        let given = [turns(activity, secs(0)), given("b").doing(Activity::Busy).in_turn_since(NOW, secs(1))];
        check(1, given.clone(), "a runs, b runs");
        let decide = |now| decided(1, &given, &Mode::Converge, now);
        let past = NOW.checked_add(grace + Duration::from_nanos(1)).unwrap();
        assert_eq!(decide(NOW).next, Some(past));
        assert_eq!(word(&decide(NOW.checked_add(grace).unwrap()).verdicts[0]), "runs");
        let then: Vec<String> = decide(past).verdicts.iter().map(word).collect();
        assert_eq!(then, ["stops MaxSessions", "runs"], "{activity:?}");
        assert_eq!(
            decided(2, &given, &Mode::Converge, past).verdicts,
            decided(2, &given, &Mode::Converge, NOW).verdicts
        );
    }
}

#[test]
fn among_equals_lower_priority_gives_way_then_the_longest_idle_then_the_youngest() {
    let idle = |text, since| given(text).idle_since(since);
    check(1, [idle("a", NOW).priority(1), idle("b", NOW)], "a runs, b stops MaxSessions");
    check(1, [idle("a", NOW), idle("b", seconds(5))], "a runs, b stops MaxSessions");
    let older = |mut given: Given| {
        if let Observed::Running(run) = &mut given.session.observed {
            run.since = seconds(1);
        }
        given
    };
    check(1, [idle("a", NOW), older(idle("b", seconds(5)))], "a runs, b stops MaxSessions");
    let born = |text, since| given(text).run(|run| run.since = since);
    check(1, [born("a", seconds(9)), born("b", seconds(5))], "a stops MaxSessions, b runs");
}

#[test]
fn an_attached_session_is_not_idle() {
    let attached = given("a").idle_since(NOW).seen(|seen| seen.look.attached = 1);
    check(1, [attached, given("b").running()], "a runs, b stops MaxSessions");
}

#[test]
fn a_pinned_session_is_never_ended_for_the_limit() {
    let pinned = given("a").spec(|spec| spec.pinned = true).doing(Activity::Idle);
    check(1, [pinned.clone(), given("b").running()], "a runs, b stops MaxSessions");
    check(0, [pinned], "a runs");
}

#[test]
fn an_identity_has_one_live_session_until_that_one_is_gone() {
    for live in [
        given("a").identity("x").running(),
        given("a").identity("x").starting(),
        given("a").identity("x").unknown(),
    ] {
        check(9, [live, given("b").identity("x")], "a runs, b waits for a");
    }
    let stopping = given("a").identity("x").stopping(StopReason::ClientStop);
    check(9, [stopping, given("b").identity("x")], "a stops ClientStop, b waits for a");
}

#[test]
fn users_have_identities_and_slots_of_their_own() {
    let [a, b] = ["a", "b"].map(|name| given(name).identity("x"));
    check(9, [a.clone().running(), b.clone().of_user(77)], "a runs, b runs");
    check(9, [a.clone().of_user(0).running(), b.clone()], "a runs, b waits for a");
    check(9, [a.clone().running(), b.of_user(0)], "a runs, b runs");
    check(9, [a, given("b").identity("x").of_user(77)], "a runs, b runs");
    let slot = |name| given(name).spec(|spec| (spec.owner, spec.slot) = (Some("o".into()), Some("s".into())));
    let idle = slot("a").idle_since(seconds(999_000));
    check(9, [idle.clone(), slot("b").of_user(77)], "a runs, b runs");
    check(9, [idle, slot("b")], "a stops SlotTaken, b runs");
}

#[test]
fn of_two_that_wait_for_an_identity_rank_decides() {
    check(9, [given("a").identity("x"), given("b").identity("x")], "a runs, b waits for a");
    check(9, [given("a").identity("x"), given("b").identity("x").priority(1)], "a waits for b, b runs");
    // Also while the first waits for a slot: else the second would take both from it.
    let live = given("z").running();
    check(
        1,
        [given("a").identity("x"), given("b").identity("x"), live],
        "a waits MaxSessions(1), b waits for a, z runs",
    );
}

#[test]
fn a_name_is_the_identity_of_who_names_no_other() {
    check(9, [given("a").running(), given("b").identity("a")], "a runs, b waits for a");
    check(9, [given("a"), given("b").identity("a").running()], "a waits for b, b runs");
}

#[test]
fn an_edited_identity_holds_from_the_next_run() {
    let mut live = given("a").identity("y").running();
    live.session.identity = Some("x".into());
    check(9, [live.clone(), given("b").identity("x")], "a runs, b waits for a");
    check(9, [live.clone(), given("b").identity("y")], "a runs, b runs");
    // The file is gone, the process is not.
    live.session.desired = Desired::Gone;
    check(9, [live, given("b").identity("x")], "a stops SpecRemoved, b waits for a");
}

#[test]
fn who_waits_for_an_identity_takes_no_slot() {
    check(
        2,
        [given("a").identity("x"), given("b").identity("x"), given("c")],
        "a runs, b waits for a, c runs",
    );
}

#[test]
fn a_shutdown_ends_what_lives_and_starts_nothing() {
    let shutdown = Mode::EndAll(cause(StopReason::Shutdown));
    check_in(
        &shutdown,
        1,
        [
            given("a").running(),
            given("b").starting(),
            given("c"),
            given("d").last(exited(1)),
            given("e").last(exited(0)),
            given("f").will(will(false)),
            given("g").will(will(false)).running(),
            given("h").desired(Desired::NeverGood).running(),
            given("i").stopping(StopReason::SpecChanged),
        ],
        "a stops Shutdown, b stops Shutdown, c waits Shutdown, d waits Shutdown, e done Succeeded, \
         f done Stopped, g stops ClientStop, h stops Shutdown, i stops SpecChanged",
    );
}

#[test]
fn a_slot_is_for_one_run() {
    let after = |sessions: &[Given]| decided(9, sessions, &Mode::Converge, NOW).verdicts;
    assert_eq!(after(&[given("a")]), [Verdict::Run(Grant { after: None, generation: 1 })]);
    let again = [given("a").last(stopped(StopReason::SpecChanged))];
    assert_eq!(after(&again), [Verdict::Run(Grant { after: Some(run_id(1)), generation: 1 })]);
}

#[test]
fn a_full_house_of_a_thousand_hands_out_exactly_its_slots() {
    let sessions: Vec<_> = (0..1000)
        .map(|n| given(&format!("s{n}")).identity(&format!("i{n}")).priority(n % 7))
        .map(|given| if given.name.as_str().ends_with('3') { given } else { given.running() })
        .collect();
    let decisions = decided(950, &sessions, &Mode::Converge, NOW);
    assert_eq!(decisions.verdicts.iter().filter(|v| matches!(v, Verdict::Run(_))).count(), 950);
}
