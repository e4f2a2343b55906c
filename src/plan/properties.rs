//! Whole lives in the simulated world, and what holds in every one of them.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Desired, Observed, Verdict, Wait, Will,
    activity::{self, doing},
    session::{Step, step},
    status::derive,
    testing::{PERSON, host_error},
    world::World,
};
use crate::api::{
    cause::StopReason,
    quantity::{Dur, Limit, Size},
    record::Exit,
    spec::{OnChange, RestartPolicy},
    status::{Activity, Phase, Reason},
};

const STOP: Will = Will::Stopped { by: PERSON, now: false };

#[track_caller]
fn shows(world: &mut World, expect: &str) {
    world.settle();
    assert_eq!(world.shows(), expect);
}

#[test]
fn the_fifth_of_four_waits_and_starts_when_one_goes() {
    let mut world = World::new(4);
    for name in ["a", "b", "c", "d", "e"] {
        world.write(name, |_| {});
    }
    shows(&mut world, "a Running, b Running, c Running, d Running, e Pending/MaxSessions");
    world.ends("b", Exit::Code(0));
    shows(&mut world, "a Running, b Succeeded/Completed, c Running, d Running, e Running");
}

#[test]
fn a_crash_loop_backs_off_alone_and_a_person_or_an_edit_ends_the_wait() {
    let mut world = World::new(9);
    world.write("a", |_| {});
    world.write("b", |_| {});
    world.settle();
    world.ends("a", Exit::Code(1));
    shows(&mut world, "a Pending/BackOff, b Running");
    let until = world.next.unwrap();
    world.pass(until.since(world.now));
    shows(&mut world, "a Running, b Running");

    world.ends("a", Exit::Code(1));
    shows(&mut world, "a Pending/BackOff, b Running");
    world.start("a");
    shows(&mut world, "a Running, b Running");

    world.ends("a", Exit::Code(1));
    shows(&mut world, "a Pending/BackOff, b Running");
    world.write("a", |_| {});
    shows(&mut world, "a Running, b Running");
}

#[test]
fn a_person_who_starts_what_cannot_start_gets_one_try() {
    let mut world = World::new(9);
    world.write("a", |spec| spec.restart_policy = RestartPolicy::Never);
    world.settle();
    world.ends("a", Exit::Code(0));
    shows(&mut world, "a Succeeded/Completed");
    world.start("a");
    world.fleet();
    world.session("a");
    world.cannot_start("a", host_error(false));
    shows(&mut world, "a Failed/CannotStart");
}

#[test]
fn a_stop_holds_until_it_is_lifted() {
    let mut world = World::new(9);
    world.write("a", |_| {});
    world.settle();
    world.will("a", STOP);
    shows(&mut world, "a Suspended/Stopped");
    world.start("a");
    shows(&mut world, "a Running");
    world.will("a", STOP);
    shows(&mut world, "a Suspended/Stopped");
    world.write("a", |spec| spec.priority = 1);
    shows(&mut world, "a Running");
}

#[test]
fn removed_and_written_again_while_it_ends_it_ends_first() {
    let mut world = World::new(9);
    world.write("a", |_| {});
    world.settle();
    world.remove("a");
    world.fleet();
    world.session("a");
    world.write("a", |_| {});
    world.fleet();
    assert!(!world.session("a"), "it is ending already");
    assert_eq!(world.shows(), "a Stopping/SpecRemoved");
    shows(&mut world, "a Running");
    assert_eq!(world.wanted("a").generation, 1, "it is another session now");
}

#[test]
fn a_slot_freed_by_a_crash_goes_to_who_ranks_higher() {
    let mut world = World::new(1);
    world.write("a", |spec| spec.backoff.initial = "0s".parse().unwrap());
    world.settle();
    world.write("b", |spec| spec.priority = 9);
    shows(&mut world, "a Running, b Pending/MaxSessions");
    world.ends("a", Exit::Code(1));
    assert!(!world.session("a"), "the slot of the run before is not its own any more");
    shows(&mut world, "a Pending/MaxSessions, b Running");
}

#[test]
fn a_lowered_limit_waits_for_the_turns_of_busy_ones() {
    let mut world = World::new(2);
    world.write("a", |_| {});
    world.write("b", |_| {});
    world.settle();
    world.doing("a", Activity::Busy);
    world.doing("b", Activity::Busy);
    world.limit(1);
    shows(&mut world, "a Running, b Running");
    world.doing("a", Activity::Idle);
    shows(&mut world, "a Pending/MaxSessions, b Running");
    world.limit(2);
    shows(&mut world, "a Running, b Running");
}

#[test]
fn a_changed_command_waits_for_quiet_and_keeps_its_session() {
    let mut world = World::new(9);
    world.write("a", |_| {});
    world.settle();
    world.write("a", |spec| spec.command = vec!["false".to_owned()]);
    world.settle();
    let before = world.sessions["a"].observed.run_id();
    world.look(Duration::from_secs(10));
    world.pass(Duration::from_secs(10));
    world.look(Duration::from_secs(2));
    shows(&mut world, "a Running");
    assert_ne!(world.sessions["a"].observed.run_id(), before);
}

#[test]
fn a_shutdown_leaves_nothing_and_forgets_nothing() {
    let mut world = World::new(9);
    world.write("a", |_| {});
    world.write("b", |_| {});
    world.settle();
    world.ends("b", Exit::Code(0));
    world.shut_down();
    shows(&mut world, "a Pending/Shutdown, b Succeeded/Completed");
    world.mode = super::fleet::Mode::Converge;
    shows(&mut world, "a Running, b Succeeded/Completed");
}

/// Anything that can happen, to session `.0` of a few.
#[derive(Debug, Clone, Copy)]
enum Op {
    Fleet,
    Session(u8),
    Write(u8, Edit),
    Break(u8),
    Remove(u8),
    Will(u8, u8),
    Start(u8),
    Restart(u8),
    Up(u8),
    Ends(u8, i32),
    CannotStart(u8, bool),
    Silence(u8),
    Doing(u8, u8),
    Limit(u32),
    Memory(u8),
    Uses(u8, u8),
    Attach(u8, bool),
    Works(u8, bool),
    Look,
    Watch(u64),
    Pass(u64),
    Register(u8, u8),
    Hear(u8),
    Leave(u8),
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Nothing,
    Command(u8),
    Priority(i32),
    Identity(u8),
    Policy(u8),
    Suspend(bool),
    Pinned(bool),
    OnChange(u8),
    MaxIdle(u8),
    MaxAge(u8),
    MaxMemory(u8),
    Slot(u8),
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Of sessions that people start outside atm.
const OWN: [&str; 3] = ["own-x", "own-y", "own-z"];

fn op() -> impl Strategy<Value = Op> {
    let who = 0_u8..5;
    let edit = prop_oneof![
        Just(Edit::Nothing),
        (0_u8..3).prop_map(Edit::Command),
        (-1..2).prop_map(Edit::Priority),
        (0_u8..3).prop_map(Edit::Identity),
        (0_u8..3).prop_map(Edit::Policy),
        any::<bool>().prop_map(Edit::Suspend),
        any::<bool>().prop_map(Edit::Pinned),
        (0_u8..3).prop_map(Edit::OnChange),
        (0_u8..3).prop_map(Edit::MaxIdle),
        (0_u8..3).prop_map(Edit::MaxAge),
        (0_u8..3).prop_map(Edit::MaxMemory),
        (0_u8..3).prop_map(Edit::Slot),
    ];
    prop_oneof![
        6 => Just(Op::Fleet),
        12 => who.clone().prop_map(Op::Session),
        6 => (who.clone(), edit).prop_map(|(who, edit)| Op::Write(who, edit)),
        1 => who.clone().prop_map(Op::Break),
        2 => who.clone().prop_map(Op::Remove),
        2 => (who.clone(), 0_u8..4).prop_map(|(who, will)| Op::Will(who, will)),
        2 => who.clone().prop_map(Op::Start),
        2 => who.clone().prop_map(Op::Restart),
        8 => who.clone().prop_map(Op::Up),
        6 => (who.clone(), 0..2).prop_map(|(who, code)| Op::Ends(who, code)),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, transient)| Op::CannotStart(who, transient)),
        1 => who.clone().prop_map(Op::Silence),
        3 => (who.clone(), 0_u8..4).prop_map(|(who, what)| Op::Doing(who, what)),
        4 => (who.clone(), 0_u8..6).prop_map(|(who, size)| Op::Uses(who, size)),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, here)| Op::Attach(who, here)),
        2 => (who, any::<bool>()).prop_map(|(who, works)| Op::Works(who, works)),
        4 => Just(Op::Look),
        6 => (1_u64..20).prop_map(Op::Watch),
        1 => (0_u32..5).prop_map(Op::Limit),
        1 => (0_u8..3).prop_map(Op::Memory),
        3 => (0_u64..30).prop_map(Op::Pass),
        3 => (0_u8..3, 0_u8..5).prop_map(|(who, identity)| Op::Register(who, identity)),
        1 => (0_u8..3).prop_map(Op::Hear),
        2 => (0_u8..3).prop_map(Op::Leave),
    ]
}

fn apply(world: &mut World, op: Op) {
    let name = |who: u8| NAMES[usize::from(who)];
    match op {
        Op::Fleet => drop(world.fleet()),
        Op::Session(who) => drop(world.session(name(who))),
        Op::Write(who, edit) => world.write(name(who), |spec| match edit {
            Edit::Nothing => {}
            Edit::Command(which) => spec.command = vec![format!("command {which}")],
            Edit::Priority(priority) => spec.priority = priority,
            Edit::Identity(which) => spec.identity = NAMES[usize::from(which)].to_owned(),
            Edit::Policy(which) => {
                let policies = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never];
                spec.restart_policy = policies[usize::from(which)];
            }
            Edit::Suspend(suspend) => spec.suspend = suspend,
            Edit::Pinned(pinned) => spec.pinned = pinned,
            Edit::OnChange(which) => {
                let choices = [OnChange::WhenIdle, OnChange::Restart, OnChange::Manual];
                spec.on_change = choices[usize::from(which)];
            }
            Edit::MaxIdle(seconds) => spec.max_idle = span(seconds),
            Edit::MaxAge(seconds) => spec.max_age = span(seconds),
            Edit::MaxMemory(size) => spec.max_memory = memory(size),
            Edit::Slot(which) => {
                spec.owner = Some("owner".to_owned());
                spec.slot = (which > 0).then(|| which.to_string());
            }
        }),
        Op::Break(who) => world.break_file(name(who)),
        Op::Remove(who) => world.remove(name(who)),
        Op::Will(who, will) => {
            let wills = [
                Will::AsDeclared,
                STOP,
                Will::Stopped { by: PERSON, now: true },
                Will::Suspended { by: PERSON },
            ];
            world.will(name(who), wills[usize::from(will)]);
        }
        Op::Start(who) => world.start(name(who)),
        Op::Restart(who) => world.restart(name(who)),
        Op::Up(who) => world.up(name(who)),
        Op::Ends(who, code) => world.ends(name(who), Exit::Code(code)),
        Op::CannotStart(who, transient) => world.cannot_start(name(who), host_error(transient)),
        Op::Silence(who) => world.silence(name(who)),
        Op::Doing(who, what) => {
            let activities = [Activity::Busy, Activity::Waiting, Activity::Idle, Activity::Unknown];
            world.doing(name(who), activities[usize::from(what)]);
        }
        Op::Limit(limit) => world.limit(limit),
        Op::Memory(size) => world.config.max_memory = memory(size),
        Op::Uses(who, size) => world.body(name(who)).look.memory.bytes = u64::from(size) * 50,
        Op::Attach(who, here) => world.body(name(who)).look.attached = u32::from(here),
        Op::Works(who, works) => world.body(name(who)).computes = works,
        Op::Look => world.look(Duration::from_secs(2)),
        Op::Watch(seconds) => world.observe(Duration::from_secs(seconds)),
        Op::Pass(seconds) => world.unwatched(Duration::from_secs(seconds)),
        Op::Register(who, identity) => {
            world.register(
                OWN[usize::from(who)],
                NAMES.get(usize::from(identity)).copied().filter(|_| identity < 3),
            );
        }
        Op::Hear(who) => world.hear(OWN[usize::from(who)]),
        Op::Leave(who) => world.leave(OWN[usize::from(who)]),
    }
}

fn span(seconds: u8) -> Limit<Dur> {
    if seconds == 0 { Limit::Never } else { Limit::At(Dur(Duration::from_secs(u64::from(seconds) * 7))) }
}

fn memory(size: u8) -> Limit<Size> {
    if size == 0 { Limit::Never } else { Limit::At(Size(u64::from(size) * 100)) }
}

/// No busy session is ended for others while those that are not busy, and may be ended, would do.
fn busy_ones_go_last(world: &World) -> Result<(), TestCaseError> {
    let movable = |busy: bool| {
        world.sessions.values().filter_map(move |session| match (&session.desired, &session.observed) {
            (Desired::Spec(wanted), Observed::Running(run)) if !wanted.spec.pinned => {
                ((doing(run) == Activity::Busy) == busy).then(|| activity::memory(run))
            }
            _ => None,
        })
    };
    for (name, session) in &world.sessions {
        let (Observed::Running(run), Some(Verdict::Stop(cause))) =
            (&session.observed, world.verdicts.get(name))
        else {
            continue;
        };
        if doing(run) != Activity::Busy {
            continue;
        }
        match cause.reason {
            StopReason::IdleTimeout | StopReason::SlotTaken | StopReason::MaxSessions => {
                prop_assert!(false, "{} is busy, and ended as {}", name, cause.reason);
            }
            StopReason::MemoryPressure => {
                let limit = world.config.max_memory.at().unwrap().0;
                let all: u64 = movable(true).chain(movable(false)).sum();
                let pinned_and_leaving = used(world) - all;
                let kept = pinned_and_leaving + movable(true).sum::<u64>();
                prop_assert!(kept > limit, "{} is busy, and the others would have done", name);
            }
            _ => {}
        }
    }
    Ok(())
}

fn used(world: &World) -> u64 {
    world.sessions.values().filter_map(|session| session.observed.run()).map(activity::memory).sum()
}

/// What holds at any moment, whatever came before.
fn holds(world: &World) -> Result<(), TestCaseError> {
    let mut again = world.clone();
    again.fleet();
    busy_ones_go_last(&again)?;
    let first = again.verdicts.clone();
    again.fleet();
    prop_assert_eq!(&first, &again.verdicts, "the same question has the same answer");

    for (name, session) in again.sessions.iter().filter(|(_, session)| session.is_registered()) {
        let verdict = &again.verdicts[name];
        prop_assert!(
            matches!(verdict, Verdict::Run(_)),
            "{} is a person's own, and is asked: {:?}",
            name,
            verdict
        );
        let rests = matches!(step(session, verdict, again.now), Step::Rest { .. });
        prop_assert!(rests && matches!(session.observed, Observed::Running(_)), "{}", name);
    }

    for (name, session) in &world.sessions {
        let (phase, reason, message) = derive(session, world.verdicts.get(name), world.now);
        let needs_no_words = (phase, reason) == (Phase::Running, Reason::Started);
        prop_assert_eq!(message.is_empty(), needs_no_words, "{} {:?}/{:?}", name, phase, reason);
        prop_assert!(!message.chars().any(char::is_control), "{}: {:?}", name, message);
    }
    Ok(())
}

/// Time alone changes a verdict when the decision said so, and not before.
fn changes_on_time(world: &World) -> Result<(), TestCaseError> {
    let mut later = world.clone();
    let Some(next) = world.next else {
        later.pass(Duration::from_secs(365 * 86400));
        prop_assert!(!later.fleet(), "a verdict changed without a date");
        return Ok(());
    };
    prop_assert!(next > world.now, "a date that is over is no date");
    later.pass(next.since(world.now).saturating_sub(Duration::from_nanos(1)));
    prop_assert!(!later.fleet(), "a verdict changed before its time");
    later.pass(Duration::from_nanos(1));
    let changed = later.fleet();
    // Where room is short, the date is when there may be some: then whoever asks at it is not sent back to it.
    let short = |verdict: &Verdict| {
        matches!(verdict, Verdict::Wait(Wait::MemoryBudget { .. } | Wait::MaxSessions { .. }))
    };
    let may_stay = world.verdicts.values().any(short) && later.next.is_none_or(|next| next > later.now);
    prop_assert!(changed || may_stay, "a verdict did not change at its time");
    Ok(())
}

/// What holds once nothing moves any more.
fn rests(world: &World) -> Result<(), TestCaseError> {
    let mut again = world.clone();
    prop_assert!(!again.fleet(), "a pass that changes nothing changes no verdict");
    let limit = world.config.max_sessions as usize;
    for (name, session) in &world.sessions {
        let verdict = &world.verdicts[name];
        let rest = step(session, verdict, world.now);
        prop_assert!(matches!(rest, Step::Rest { .. }), "{}: {:?}", name, rest);
        match (verdict, &session.observed) {
            (Verdict::Wait(Wait::MaxSessions { .. }), Observed::Absent) => {
                prop_assert!(world.live() >= limit, "{} waits for a slot that is free", name);
            }
            (Verdict::Wait(Wait::IdentityTaken { by, .. }), Observed::Absent) => {
                prop_assert!(
                    world.sessions.contains_key(by),
                    "{} waits for {}, which is not there",
                    name,
                    by
                );
            }
            (Verdict::Wait(_) | Verdict::Done(_), Observed::Absent)
            // A removed session whose keeper is silent cannot be ended either.
            | (Verdict::Run(_), Observed::Running(_) | Observed::Unknown { .. }) => {}
            (pair, observed) => prop_assert!(false, "{}: {:?} while {:?}", name, pair, observed),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// The world itself checks at each start that a slot and the identity are free, and at each signal that
    /// somebody is there to take it.
    #[test]
    fn no_order_of_events_breaks_a_promise(
        limit in 0_u32..5,
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let mut world = World::new(limit);
        for op in ops {
            apply(&mut world, op);
            holds(&world)?;
        }
        world.settle();
        holds(&world)?;
        rests(&world)?;
        changes_on_time(&world)?;
    }

    /// Never more than the limit, once every session that was too much had its chance to go.
    #[test]
    fn in_the_end_no_more_live_than_the_limit_but_those_that_may_not_be_ended(
        limit in 0_u32..5,
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let mut world = World::new(4);
        for op in ops {
            apply(&mut world, op);
        }
        world.limit(limit);
        world.settle();
        // What people start themselves counts for who may start, and ends nobody.
        let declared = || world.sessions.values().filter(|session| !session.is_registered());
        let live = declared().filter(|session| session.observed.is_live()).count();
        let protected = declared().filter(|session| match (&session.observed, &session.desired) {
            (Observed::Running(run), Desired::Spec(wanted)) => {
                wanted.spec.pinned || doing(run) == Activity::Busy
            }
            (observed, _) => observed.is_live(),
        });
        prop_assert!(live <= (limit as usize).max(protected.count()), "{}", world.shows());
    }
}
