//! Each budget as a sentence: at its limit nothing happens, beyond it a stop, and without a fact never.

use super::*;
use crate::{
    api::{quantity::Limit, status::Activity},
    plan::{
        activity::{MemoryUse, Said, Seen},
        testing::{NOW, config, run, secs, seen_quiet, spec},
        turn::Turn,
    },
};

const MIB: u64 = 1 << 20;

fn quiet(quiet: Duration) -> Run {
    Run { seen: Some(seen_quiet(quiet)), ..run() }
}

fn uses(bytes: u64, exact: bool) -> Run {
    let mut seen = seen_quiet(Duration::ZERO);
    seen.look.memory = MemoryUse { bytes, exact };
    Run { seen: Some(seen), ..run() }
}

fn old(age: Duration) -> Run {
    let since = Moment::from_nanos(NOW.as_nanos() - u64::try_from(age.as_nanos()).unwrap());
    Run { since, ..run() }
}

fn doing(run: Run, activity: Activity) -> Run {
    let seen = run.seen.or(Some(seen_quiet(Duration::ZERO)));
    Run { said: Some(Said { activity, at: NOW }), seen, ..run }
}

fn asking(run: Run) -> Run {
    let turn = Turn { number: 1, in_flight: true, ..Turn::default() };
    Run { turn, ..doing(run, Activity::Waiting) }
}

fn limited(change: impl FnOnce(&mut SessionSpec)) -> SessionSpec {
    let mut spec = spec("a");
    change(&mut spec);
    spec
}

#[track_caller]
fn check(spec: &SessionSpec, run: &Run, expect: Option<StopReason>) {
    assert_eq!(broken(spec, run, &config(9), NOW).map(|cause| cause.reason), expect);
}

#[test]
fn idle_is_longer_than_the_limit_and_not_as_long() {
    let spec = limited(|spec| spec.max_idle = Limit::At(Dur(secs(30))));
    check(&spec, &quiet(secs(30)), None);
    check(&spec, &quiet(secs(30) + Duration::from_nanos(1)), Some(StopReason::IdleTimeout));
    check(&limited(|_| {}), &quiet(secs(999_999)), None);
}

#[test]
fn idle_is_never_one_that_is_pinned_attached_stopped_in_a_turn_or_not_looked_at() {
    let limit = |spec: &mut SessionSpec| spec.max_idle = Limit::At(Dur(secs(30)));
    let spec = limited(limit);
    let idle = quiet(secs(60));
    check(&limited(|spec| (limit(spec), spec.pinned = true).0), &idle, None);
    check(&spec, &Run { seen: None, ..run() }, None);
    check(&spec, &doing(idle.clone(), Activity::Busy), None);
    check(&spec, &doing(idle.clone(), Activity::Waiting), None);
    for engaged in [|seen: &mut Seen| seen.look.attached = 1, |seen: &mut Seen| seen.look.stopped = true] {
        let mut run = idle.clone();
        run.seen.as_mut().map(engaged);
        check(&spec, &run, None);
    }
}

#[test]
fn an_age_is_over_after_the_limit_and_for_a_busy_one_after_its_grace() {
    let spec = limited(|spec| spec.max_age = Limit::At(Dur(secs(3600))));
    let tick = Duration::from_nanos(1);
    let over = Some(StopReason::MaxAgeExceeded);
    for (run, expect) in [
        (old(secs(3600)), None),
        (old(secs(3600) + tick), over),
        (doing(old(secs(3600) + tick), Activity::Idle), over),
        (doing(old(secs(3600) + tick), Activity::Waiting), over),
        (doing(old(secs(3600) + tick), Activity::Busy), None),
        // A question in the middle of a turn.
        (asking(old(secs(3600) + tick)), None),
        (asking(old(secs(4500) + tick)), over),
        (doing(old(secs(4500)), Activity::Busy), None),
        (doing(old(secs(4500) + tick), Activity::Busy), over),
    ] {
        check(&spec, &run, expect);
        // The date in the answer is the first moment at which it is over, and no later one.
        match expect {
            None => {
                let at = breaks_at(&spec, &run, &config(9), NOW).unwrap();
                assert!(broken(&spec, &run, &config(9), at).is_some());
                let before = Moment::from_nanos(at.as_nanos() - 1);
                assert!(broken(&spec, &run, &config(9), before).is_none());
            }
            Some(_) => assert_eq!(breaks_at(&spec, &run, &config(9), NOW), None),
        }
    }
    check(&limited(|_| {}), &old(secs(999_999)), None);
}

#[test]
fn a_pinned_session_keeps_its_own_other_budgets() {
    let spec = limited(|spec| {
        spec.pinned = true;
        spec.max_age = Limit::At(Dur(secs(5)));
    });
    check(&spec, &old(secs(6)), Some(StopReason::MaxAgeExceeded));
}

#[test]
fn memory_is_over_beyond_the_limit_and_only_for_sure() {
    let spec = limited(|spec| spec.max_memory = Limit::At(Size(150 * MIB)));
    check(&spec, &uses(150 * MIB, true), None);
    check(&spec, &uses(150 * MIB + 1, true), Some(StopReason::SessionMemory));
    check(&spec, &uses(900 * MIB, false), None);
    check(&limited(|_| {}), &uses(u64::MAX, true), None);
    let mut run = uses(900 * MIB, true);
    let aged = |age| Moment::from_nanos(NOW.as_nanos() - age);
    run.seen.as_mut().unwrap().look.at = aged(10_000_000_000);
    check(&spec, &run, Some(StopReason::SessionMemory));
    run.seen.as_mut().unwrap().look.at = aged(10_000_000_001);
    check(&spec, &run, None);
}

#[test]
fn processes_are_over_beyond_the_limit() {
    let spec = limited(|spec| spec.max_processes = Limit::At(8));
    let with = |count| {
        let mut run = quiet(Duration::ZERO);
        run.seen.as_mut().unwrap().look.processes = count;
        run
    };
    check(&spec, &with(8), None);
    check(&spec, &with(9), Some(StopReason::ProcessLimit));
    let mut run = with(9);
    run.seen.as_mut().unwrap().look.at = Moment::from_nanos(1);
    check(&spec, &run, None);
}

#[test]
fn what_harms_others_comes_before_what_lasts_too_long_and_age_before_idleness() {
    let mut spec = limited(|spec| {
        spec.max_memory = Limit::At(Size(MIB));
        spec.max_processes = Limit::At(1);
        spec.max_age = Limit::At(Dur(secs(1)));
        spec.max_idle = Limit::At(Dur(secs(1)));
    });
    let mut run = Run { seen: uses(2 * MIB, true).seen, ..old(secs(60)) };
    let seen = run.seen.as_mut().unwrap();
    seen.look.processes = 2;
    seen.quiet_since = run.since;
    check(&spec, &run, Some(StopReason::SessionMemory));
    spec.max_memory = Limit::Never;
    check(&spec, &run, Some(StopReason::ProcessLimit));
    spec.max_processes = Limit::Never;
    check(&spec, &run, Some(StopReason::MaxAgeExceeded));
    spec.max_age = Limit::Never;
    check(&spec, &run, Some(StopReason::IdleTimeout));
}
