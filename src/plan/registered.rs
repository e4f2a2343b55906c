//! Sessions that a person started and that told of themselves: nothing is wanted of them.
//!
//! Each takes a place and its identity, as every live session does. No rule ends one, none is started again, and
//! nobody waits for its end: it is its person's. All that time does is to make it stale, which is a mark.

use std::time::Duration;

use super::Run;
use crate::api::{status::Activity, time::Moment};

/// From which time on something lasts *longer* than a span.
const JUST_BEYOND: Duration = Duration::from_nanos(1);

/// What is known of such a session beside its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// As whom it runs: its identity is taken for sessions of the same user, and for nobody else's.
    pub uid: u32,
    /// Its last sign of life: its word, or that its process was found alive. Absent: none since the daemon was
    /// started.
    pub heard: Option<Moment>,
    /// Without a sign for longer it is stale: the config's `staleAfter`.
    pub stale_after: Duration,
}

impl Guest {
    /// Whether there was no sign of life for longer than `staleAfter`.
    pub fn is_stale(&self, now: Moment) -> bool {
        self.heard.is_none_or(|heard| now - heard > self.stale_after)
    }

    /// When it becomes stale by the passing of time; `None` where it is, or never will be.
    pub fn stale_at(&self, now: Moment) -> Option<Moment> {
        let at = self.heard?.checked_add(self.stale_after)?.checked_add(JUST_BEYOND)?;
        Some(at).filter(|at| *at > now)
    }
}

/// What such a session does. Its processes are not looked at, so its own word is all there is.
pub fn doing(run: &Run) -> Activity {
    run.said.map_or(Activity::Unknown, |said| said.activity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{NOW, USER, secs};

    fn guest(heard: Option<Moment>) -> Guest {
        Guest { uid: USER, heard, stale_after: secs(90) }
    }

    #[test]
    fn it_is_stale_when_nothing_was_heard_for_longer_than_the_span_and_says_when_before() {
        let given = guest(Some(NOW));
        let at = given.stale_at(NOW).unwrap();
        assert!(!given.is_stale(NOW.checked_add(secs(90)).unwrap()), "comparisons are strict");
        assert!(given.is_stale(at));
        assert_eq!(given.stale_at(at), None, "what has come is no date");
    }

    #[test]
    fn one_that_was_not_heard_since_the_daemon_came_is_stale() {
        assert!(guest(None).is_stale(NOW));
        assert_eq!(guest(None).stale_at(NOW), None);
    }

    #[test]
    fn an_absurd_span_is_never_over() {
        let given = Guest { stale_after: Duration::MAX, ..guest(Some(NOW)) };
        assert!(!given.is_stale(NOW.checked_add(secs(1 << 30)).unwrap()));
        assert_eq!(given.stale_at(NOW), None);
    }
}
