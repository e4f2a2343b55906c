//! When a stop takes its next step. Values only: the clock and the signals are the caller's.

use std::time::Duration;

use crate::api::time::Moment;

/// SIGKILL that has not ended everything after this is told as unkillable.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// What waits in the kernel is not hurried by more signals.
const UNKILLABLE_PAUSE: Duration = Duration::from_secs(1);

/// A stop in progress: grace, then SIGKILL until nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    kill_at: Moment,
    killing: Option<Killing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Killing {
    since: Moment,
    next: Moment,
    pause: Duration,
    told: bool,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing before [`Stop::next`].
    Nothing,
    /// SIGKILL to all that is left.
    Kill,
    /// The same, and it is time to say that it does not help.
    KillAndTell,
}

impl Stop {
    /// A stop that begins now.
    pub fn new(now: Moment, grace: Duration) -> Self {
        Self { kill_at: now.saturating_add(grace), killing: None }
    }

    /// When SIGKILL follows.
    pub fn kill_at(&self) -> Moment {
        self.kill_at
    }

    /// A further stop: it can only bring the end nearer. Says whether it does.
    pub fn shorten(&mut self, kill_at: Moment) -> bool {
        let nearer = kill_at < self.kill_at;
        self.kill_at = self.kill_at.min(kill_at);
        nearer
    }

    /// Some process has ended: what it leaves can be reached now, not after the next pause.
    pub fn hurry(&mut self, now: Moment) {
        if let Some(killing) = &mut self.killing {
            killing.next = now;
        }
    }

    /// When to ask again.
    pub fn next(&self) -> Moment {
        self.killing.as_ref().map_or(self.kill_at, |killing| killing.next)
    }

    /// What to do now. Pauses between kills grow; the first come fast, as most need no second.
    pub fn step(&mut self, now: Moment) -> Due {
        if now < self.next() {
            return Due::Nothing;
        }
        let killing =
            self.killing.get_or_insert(Killing { since: now, next: now, pause: FIRST_PAUSE, told: false });
        killing.next = now.saturating_add(killing.pause);
        killing.pause = (killing.pause * 2).min(LONGEST_PAUSE);
        if now.since(killing.since) < UNKILLABLE_AFTER {
            return Due::Kill;
        }
        killing.next = now.saturating_add(UNKILLABLE_PAUSE);
        if std::mem::replace(&mut killing.told, true) { Due::Kill } else { Due::KillAndTell }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn nothing_is_killed_before_its_grace() {
        let mut stop = Stop::new(at(0), Duration::from_secs(10));
        stop.hurry(at(1));
        assert_eq!(stop.step(at(9_999)), Due::Nothing);
        assert_eq!(stop.step(at(10_000)), Due::Kill);
    }

    #[test]
    fn a_second_stop_only_shortens() {
        let mut stop = Stop::new(at(0), Duration::from_secs(10));
        assert!(!stop.shorten(at(60_000)));
        assert_eq!(stop.kill_at(), at(10_000));
        assert!(stop.shorten(at(500)));
        assert_eq!(stop.step(at(500)), Due::Kill);
    }

    #[test]
    fn an_endless_grace_is_no_overflow() {
        let mut stop = Stop::new(at(5), Duration::MAX);
        assert_eq!(stop.step(at(u64::from(u32::MAX))), Due::Nothing);
    }

    #[test]
    fn kills_go_on_and_are_told_once_as_useless() {
        let mut stop = Stop::new(at(0), Duration::ZERO);
        let (mut now, mut kills, mut told) = (at(0), 0, 0);
        while now < at(20_000) {
            match stop.step(now) {
                Due::Nothing => panic!("asked at the moment that was told"),
                Due::Kill => kills += 1,
                Due::KillAndTell => {
                    assert!(now >= at(5_000));
                    told += 1;
                }
            }
            assert!(stop.next() > now);
            now = stop.next();
        }
        assert_eq!(told, 1);
        assert!((50..100).contains(&kills), "{kills}");
    }
}
