//! When a session is looked at next.
//!
//! A session in which something happens is looked at every [`SHORT`]. One that stays quiet is looked at again when
//! its quiet has doubled, up to [`LONG`]: what it may do next is let alone or end, and both have dates of their own.
//! So a look falls just beyond each moment at which idleness would reach a limit.
//!
//! Memory has no dates: a session that was idle for hours may fill the machine in seconds. What it can have taken is
//! bounded by what the machine has lost ([`Tide`]), which is two small files for all sessions together. So idle
//! sessions are left alone, and the one that grows is looked at [`SHORT`] after it could have passed its budget.

use std::time::Duration;

use super::{
    Desired, Run,
    activity::{self, Look, QUIET},
};
use crate::api::{config::Config, time::Moment};

/// Between two looks at a session in which something happens, and between two readings of the machine.
pub const SHORT: Duration = Duration::from_secs(2);

/// Between two looks at one that has been quiet for as long.
pub const LONG: Duration = Duration::from_secs(30);

/// No look follows another sooner, whatever is due.
const SHORTEST: Duration = Duration::from_millis(200);

/// Limits are passed, not reached: the comparisons are strict. It is what a timer resolves.
const BEYOND: Duration = Duration::from_millis(1);

/// Looks that are due so soon go with those that are due.
const TOGETHER: Duration = Duration::from_millis(50);

/// Memory above this part of a budget is watched closely: four fifths.
const NEAR: (u64, u64) = (4, 5);

/// What a session may have taken is more than what the machine has lost, for others give back meanwhile: so often.
const MASKED: u64 = 2;

/// And by this much for what no process accounts for.
const SLACK: u64 = 16 << 20;

/// What has to be noticed of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Idle for longer, it may be ended.
    pub max_idle: Option<Duration>,
    /// The same when slots are short.
    pub emergency: Option<Duration>,
    /// Memory of its tree in bytes.
    pub memory: Option<u64>,
    /// Processes of its tree.
    pub processes: Option<u32>,
}

impl Limits {
    /// What its spec and the config say.
    pub fn of(desired: &Desired, config: &Config) -> Self {
        let emergency = Some(config.emergency.max_idle.0);
        let Desired::Spec(wanted) = desired else { return Self { emergency, ..Self::default() } };
        Self {
            max_idle: wanted.spec.max_idle.at().map(|idle| idle.0),
            emergency,
            memory: wanted.spec.max_memory.at().map(|size| size.0),
            processes: wanted.spec.max_processes.at(),
        }
    }

    /// Whether it has a budget that it may pass between two looks.
    pub fn can_be_outgrown(&self) -> bool {
        self.memory.is_some() || self.processes.is_some()
    }

    /// Whether `look` showed it near its own memory budget.
    fn is_near(&self, look: &Look) -> bool {
        self.memory.is_some_and(|max| look.memory.bytes > near(max))
    }

    /// Resident memory from which on it is to be known what counts once: see [`Look::memory`].
    pub fn exact_above(&self) -> Option<u64> {
        self.memory.map(near)
    }
}

/// From where on a budget of `bytes` is watched closely.
pub fn near(bytes: u64) -> u64 {
    bytes / NEAR.1 * NEAR.0
}

/// What the machine has lost to its processes and how many it has made, since some beginning. Grows only: what is
/// given back does not count, for it may be another's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tide {
    /// Bytes by which available memory has fallen.
    pub fallen: u64,
    /// Processes that were made.
    pub forks: u64,
}

impl Tide {
    /// After a reading of the machine: available memory and processes ever made, before and now.
    #[must_use]
    pub fn then(self, available: [u64; 2], forks: [u64; 2]) -> Self {
        let ([before, now], [made, made_now]) = (available, forks);
        Self {
            fallen: self.fallen.saturating_add(before.saturating_sub(now)),
            forks: self.forks.saturating_add(made_now.saturating_sub(made)),
        }
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            fallen: self.fallen.saturating_sub(earlier.fallen),
            forks: self.forks.saturating_sub(earlier.forks),
        }
    }

    /// The most that processes can have taken in it.
    pub fn most_taken(self) -> u64 {
        self.fallen.saturating_mul(MASKED).saturating_add(SLACK)
    }
}

/// When `run` is looked at after its last look; `None` where there was none.
///
/// `pressed`: all sessions together are near the memory that they share.
pub fn due(run: &Run, limits: &Limits, pressed: bool) -> Option<Moment> {
    let seen = run.seen.as_ref()?;
    let at = seen.look.at;
    let close = pressed || limits.is_near(&seen.look);
    let interval = if close { SHORT } else { seen.quiet_for().clamp(SHORT, LONG) };
    let dates = activity::since(run).into_iter().flat_map(|idle_since| {
        let limits = [Some(QUIET), limits.max_idle, limits.emergency].into_iter().flatten();
        limits.filter_map(move |limit| idle_since.checked_add(limit)?.checked_add(BEYOND))
    });
    let next = dates.filter(|date| *date > at).chain(at.checked_add(interval)).min();
    next.max(at.checked_add(SHORTEST))
}

/// Whether a session can have passed its own budgets since `look`, given what the machine lost since then.
pub fn may_be_outgrown(look: &Look, limits: &Limits, since: Tide) -> bool {
    let memory = limits.memory.is_some_and(|max| since.most_taken() >= max.saturating_sub(look.memory.bytes));
    let processes =
        limits.processes.is_some_and(|max| since.forks >= u64::from(max.saturating_sub(look.processes)));
    memory || processes
}

/// How much sooner than planned a look is taken that others are taken together with: it costs less than a wake of
/// its own, and proves as much.
pub fn early(planned: Duration) -> Duration {
    (planned / 8).max(TOGETHER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        api::status::Activity,
        plan::{
            Observed,
            activity::{MemoryUse, Said, Seen},
            testing::{config, given, look, seconds, secs},
        },
    };

    const MIB: u64 = 1 << 20;

    /// A run that was looked at in second 1000 and had been quiet for so long.
    fn quiet_for(quiet: u64) -> Run {
        let Observed::Running(run) = given("a").running().session.observed else { unreachable!() };
        let seen =
            Seen { quiet_since: seconds(1000 - quiet), ..Seen::first(look(seconds(1000)), seconds(0)) };
        Run { seen: Some(seen), ..run }
    }

    fn with_memory(mut run: Run, bytes: u64) -> Run {
        run.seen.as_mut().unwrap().look.memory = MemoryUse { bytes, exact: false };
        run
    }

    /// In how long it is looked at again.
    fn again(run: &Run, limits: &Limits) -> Duration {
        due(run, limits, false).unwrap() - seconds(1000)
    }

    fn idle(max: u64) -> Limits {
        Limits { max_idle: Some(secs(max)), ..Limits::default() }
    }

    #[test]
    fn a_session_in_which_something_happens_is_looked_at_every_two_seconds() {
        assert_eq!(again(&quiet_for(0), &Limits::default()), secs(2));
        assert_eq!(again(&quiet_for(1), &Limits::default()), secs(2));
    }

    #[test]
    fn quiet_is_looked_at_again_when_it_has_doubled_up_to_half_a_minute() {
        for (quiet, then) in [(2, 2), (4, 4), (12, 12), (29, 29), (31, 30), (500, 30)] {
            assert_eq!(again(&quiet_for(quiet), &Limits::default()), secs(then), "quiet for {quiet} s");
        }
    }

    #[test]
    fn a_look_falls_just_beyond_each_limit_of_idleness() {
        let just_beyond = |seconds| secs(seconds) + BEYOND;
        assert_eq!(again(&quiet_for(6), &Limits::default()), just_beyond(4), "quiet enough to count as idle");
        assert_eq!(again(&quiet_for(95), &idle(100)), just_beyond(5), "maxIdle");
        let emergency = Limits { emergency: Some(secs(110)), ..idle(150) };
        assert_eq!(again(&quiet_for(100), &emergency), just_beyond(10), "the emergency cleanup");
        assert_eq!(again(&quiet_for(120), &emergency), secs(30), "what is past is past, what is far is far");
    }

    #[test]
    fn limits_that_are_close_to_each_other_are_not_a_look_each() {
        assert_eq!(again(&quiet_for(100), &idle(100)), SHORTEST);
    }

    #[test]
    fn what_cannot_be_idle_has_no_such_limits() {
        let mut run = quiet_for(95);
        run.said = Some(Said { activity: Activity::Busy, at: seconds(900) });
        assert_eq!(again(&run, &idle(100)), secs(30));
        let mut attached = quiet_for(95);
        attached.seen.as_mut().unwrap().look.attached = 1;
        assert_eq!(again(&attached, &idle(100)), secs(30));
    }

    #[test]
    fn near_a_memory_budget_it_is_looked_at_every_two_seconds() {
        let own = Limits { memory: Some(100 * MIB), ..Limits::default() };
        assert_eq!(again(&with_memory(quiet_for(500), 81 * MIB), &own), SHORT);
        assert_eq!(again(&with_memory(quiet_for(500), 80 * MIB), &own), LONG);
        assert_eq!(due(&quiet_for(500), &own, true).unwrap() - seconds(1000), SHORT, "all together");
    }

    #[test]
    fn a_session_that_was_never_looked_at_has_no_such_date() {
        let run = Run { seen: None, ..quiet_for(0) };
        assert_eq!(due(&run, &Limits::default(), false), None);
    }

    #[test]
    fn the_limits_are_those_of_spec_and_config() {
        let session = given("a").session;
        let config = config(4);
        let only = Limits { emergency: Some(secs(300)), ..Limits::default() };
        assert_eq!(Limits::of(&session.desired, &config), only);
        assert_eq!(Limits::of(&Desired::Gone, &config), only);
    }

    #[test]
    fn what_the_machine_gave_back_hides_nothing_that_it_lost_before() {
        let low = Tide::default().then([500, 300], [10, 14]);
        let back = low.then([300, 900], [14, 14]);
        assert_eq!(back, Tide { fallen: 200, forks: 4 });
        assert_eq!(back.then([900, 800], [14, 20]).since(low), Tide { fallen: 100, forks: 6 });
    }

    #[test]
    fn a_session_is_suspected_when_the_machine_lost_half_of_what_it_has_left() {
        let limits = Limits { memory: Some(1016 * MIB), ..Limits::default() };
        let look = Look { memory: MemoryUse { bytes: 0, exact: true }, ..look(seconds(1)) };
        let lost = |fallen| may_be_outgrown(&look, &limits, Tide { fallen, forks: 9999 });
        assert!(!lost(499 * MIB));
        assert!(lost(500 * MIB));
    }

    #[test]
    fn a_session_is_suspected_when_the_machine_made_as_many_processes_as_it_may_still_have() {
        let limits = Limits { processes: Some(512), ..Limits::default() };
        let look = Look { processes: 12, ..look(seconds(1)) };
        let made = |forks| may_be_outgrown(&look, &limits, Tide { fallen: u64::MAX, forks });
        assert!(!made(499));
        assert!(made(500));
    }

    /// A session whose tree is so large at each second, on a machine whose readings are taken every two seconds:
    /// says when it was looked at.
    fn looked_at(sizes: &[u64], phase: u64, noise: &[u64], limits: &Limits) -> Vec<u64> {
        let (mut tide, mut mark) = (Tide::default(), Tide::default());
        let mut run = with_memory(quiet_for(0), sizes[0]);
        run.seen.as_mut().unwrap().look.at = seconds(0);
        run.seen.as_mut().unwrap().quiet_since = seconds(0);
        let (mut looks, mut available) = (vec![0], 1 << 40);
        for (second, &size) in (0_u64..).zip(sizes) {
            let mut is_due = due(&run, limits, false).unwrap() <= seconds(second);
            let seen = run.seen.as_mut().unwrap();
            let reads = second % 2 == phase;
            if reads || is_due {
                // Others take and give back at the same time, up to half of what this one takes.
                let now =
                    (1 << 40) - size + noise[usize::try_from(second).unwrap() % noise.len()].min(size / 2);
                tide = tide.then([available, now], [0, 0]);
                available = now;
            }
            is_due |= reads && may_be_outgrown(&seen.look, limits, tide.since(mark));
            if is_due {
                let look = Look { memory: MemoryUse { bytes: size, exact: true }, ..look(seconds(second)) };
                *seen = seen.then(look);
                mark = tide;
                looks.push(second);
            }
        }
        looks
    }

    proptest! {
        /// It does not even use processor time for it, as far as is seen.
        #[test]
        fn a_session_that_grows_past_its_budget_is_looked_at_within_four_seconds(
            quiet in 1_usize..200,
            before in 0_u64..79,
            steps in proptest::collection::vec(0_u64..400, 1..40),
            phase in 0_u64..2,
            noise in proptest::collection::vec(0_u64..8 * MIB, 1..9),
        ) {
            let budget = 1000 * MIB;
            let mut sizes = vec![before * 10 * MIB; quiet];
            for step in steps {
                sizes.push(sizes[sizes.len() - 1] + step * MIB);
            }
            let passed = sizes.iter().position(|size| *size > budget);
            sizes.extend(vec![sizes[sizes.len() - 1]; 10]);
            let limits = Limits { memory: Some(budget), ..Limits::default() };
            let looks = looked_at(&sizes, phase, &noise, &limits);
            if let Some(passed) = passed.map(|at| at as u64) {
                prop_assert!(looks.iter().any(|look| (passed..=passed + 4).contains(look)), "{passed}: {looks:?}");
            }
        }

        #[test]
        fn the_next_look_is_after_the_last_and_never_later_than_the_longest_interval(
            quiet in 0_u64..900, max in 1_u64..900, emergency in 1_u64..900, pressed: bool,
        ) {
            let limits = Limits { emergency: Some(secs(emergency)), ..idle(max) };
            let next = due(&quiet_for(quiet), &limits, pressed).unwrap() - seconds(1000);
            prop_assert!((SHORTEST..=LONG).contains(&next));
        }
    }
}
