//! Which keys to reconcile, and when. A plain data structure: no clock, no task, no lock.
//!
//! Two views of the same requests. `entries` knows each key's state; `index` holds the requests that could be
//! handed out, by time and then by turn, so the next one is its first. A key that is running keeps its request
//! in its entry alone and enters the index when the run ends. Every operation costs O(log n).
//!
//! Invariants:
//! - a key has at most one request, and the earliest wins;
//! - a key that is running is never handed out until [`WorkQueue::done`] or [`WorkQueue::failed`];
//! - a request for a running key is kept, so a change seen during a run is never lost;
//! - nothing but [`WorkQueue::forgive`] brings a failed key back before its time, and nothing makes it wait longer;
//! - keys that are due at the same time are handed out in the order of their requests.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// A queue of keys `K` over points in time `T`. The time is the caller's: tests use plain numbers.
#[derive(Debug)]
pub struct WorkQueue<K, T> {
    entries: HashMap<K, Entry<T>>,
    index: BTreeMap<Due<T>, K>,
    /// Requests so far: who asked first goes first.
    turns: u64,
}

/// When a request is due: the time, and the turn among requests of the same time.
type Due<T> = (T, u64);

/// What is known of one key. An entry that would say nothing is removed.
#[derive(Debug)]
struct Entry<T> {
    due: Option<Due<T>>,
    run: Run,
    retry: Option<Retry<T>>,
}

/// Whether a key is being reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    No,
    Yes,
    /// It is, and was [forgiven](WorkQueue::forgive) since it began: what it finds may be out of date.
    Forgiven,
}

/// A key that failed: how often in a row, and the time before which nothing may bring it back.
#[derive(Debug, Clone, Copy)]
struct Retry<T> {
    failures: u32,
    not_before: T,
}

impl<K, T> Default for WorkQueue<K, T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), index: BTreeMap::new(), turns: 0 }
    }
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { due: None, run: Run::No, retry: None }
    }
}

impl<T> Entry<T> {
    fn is_empty(&self) -> bool {
        self.due.is_none() && self.run == Run::No && self.retry.is_none()
    }
}

impl<K: Hash + Eq + Clone, T: Ord + Copy> WorkQueue<K, T> {
    /// Asks for `key` to be reconciled at `at`, or when its back-off is over if that is later.
    pub fn add(&mut self, key: K, at: T) {
        let turn = self.turns;
        self.turns += 1;
        let entry = self.entries.entry(key.clone()).or_default();
        let at = entry.retry.map_or(at, |retry| at.max(retry.not_before));
        match entry.due {
            Some((earlier, _)) if earlier <= at => return,
            Some(later) => {
                self.index.remove(&later);
            }
            None => {}
        }
        entry.due = Some((at, turn));
        if entry.run == Run::No {
            self.index.insert((at, turn), key);
        }
    }

    /// Takes the key that has waited longest, if one is due and not running.
    pub fn pop(&mut self, now: T) -> Option<K> {
        let first = self.index.first_entry().filter(|first| first.key().0 <= now)?;
        let key = first.remove();
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = None;
            entry.run = Run::Yes;
        }
        Some(key)
    }

    /// When to look again. `None`: not before the next [`add`](Self::add) or the end of a run.
    pub fn next_due(&self) -> Option<T> {
        self.index.first_key_value().map(|((at, _), _)| *at)
    }

    /// Ends a run that succeeded: the failures of `key` are forgotten, and a request kept meanwhile counts.
    pub fn done(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.run = Run::No;
        entry.retry = None;
        match entry.due {
            Some(due) => drop(self.index.insert(due, key.clone())),
            None => drop(self.entries.remove(key)),
        }
    }

    /// Ends a run that failed: `key` comes back at `not_before(failures in a row)`, neither earlier nor later.
    ///
    /// A run that was forgiven while it ran failed on what is already out of date: where a request says so,
    /// that request counts and the failure does not.
    pub fn failed(&mut self, key: &K, not_before: impl FnOnce(u32) -> T) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let forgiven = entry.run == Run::Forgiven;
        entry.run = Run::No;
        let due = match entry.due {
            Some(due) if forgiven => due,
            _ => {
                let failures = entry.retry.map_or(1, |retry| retry.failures.saturating_add(1));
                let not_before = not_before(failures);
                entry.retry = Some(Retry { failures, not_before });
                let turn = entry.due.map_or(self.turns, |(_, turn)| turn);
                self.turns += 1;
                (not_before, turn)
            }
        };
        entry.due = Some(due);
        self.index.insert(due, key.clone());
    }

    /// Forgives past failures, for a change that makes them moot: an edit, a person.
    ///
    /// It asks for nothing by itself: a waiting retry stays where it is until an [`add`](Self::add) is earlier.
    pub fn forgive(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.retry = None;
        if entry.run == Run::Yes {
            entry.run = Run::Forgiven;
        }
        if entry.is_empty() {
            self.entries.remove(key);
        }
    }

    /// Keys that wait or run.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_is_one_request_at_the_earliest_time() {
        let mut queue = WorkQueue::default();
        for at in [30, 10, 20] {
            queue.add("a", at);
        }
        assert_eq!(queue.next_due(), Some(10));
        assert_eq!(queue.pop(9), None);
        assert_eq!(queue.pop(10), Some("a"));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn who_asked_first_goes_first() {
        let mut queue = WorkQueue::default();
        for key in ["b", "c", "a", "b"] {
            queue.add(key, 10);
        }
        assert_eq!([queue.pop(10), queue.pop(10), queue.pop(10)], [Some("b"), Some("c"), Some("a")]);
    }

    #[test]
    fn a_change_seen_during_a_run_is_kept_and_blocks_nobody() {
        let mut queue = WorkQueue::default();
        queue.add("a", 0);
        queue.add("b", 10);
        assert_eq!(queue.pop(0), Some("a"));
        queue.add("a", 0);
        assert_eq!(queue.pop(10), Some("b"), "a busy key must not block the others");
        assert_eq!(queue.pop(10), None, "nor be handed out twice");
        queue.done(&"a");
        assert_eq!(queue.pop(10), Some("a"));
    }

    #[test]
    fn noise_neither_cuts_a_backoff_short_nor_lengthens_it() {
        let mut queue = WorkQueue::default();
        queue.add("a", 0);
        queue.pop(0);
        queue.failed(&"a", |failures| 10 * u64::from(failures));
        for at in 1..=20 {
            queue.add("a", at);
            assert_eq!(queue.next_due(), Some(10));
        }
        queue.forgive(&"a");
        queue.add("a", 2);
        assert_eq!(queue.next_due(), Some(2), "only forgiveness does");
    }

    #[test]
    fn a_success_forgets_the_failures() {
        let mut queue = WorkQueue::default();
        for at in [0, 10] {
            queue.add("a", at);
            assert_eq!(queue.pop(at), Some("a"));
            queue.failed(&"a", |failures| at + 10 * u64::from(failures));
        }
        assert_eq!(queue.next_due(), Some(30), "the second failure waits longer");
        queue.pop(30);
        queue.done(&"a");
        queue.add("a", 40);
        queue.pop(40);
        queue.failed(&"a", |failures| 40 + 10 * u64::from(failures));
        assert_eq!(queue.next_due(), Some(50), "and a success starts over");
    }

    #[test]
    fn an_edit_during_a_failing_run_does_not_wait_for_the_old_backoff() {
        let mut queue = WorkQueue::default();
        queue.add("a", 0);
        queue.pop(0);
        queue.forgive(&"a");
        queue.add("a", 10);
        queue.failed(&"a", |_| 600);
        assert_eq!(queue.next_due(), Some(10));
    }

    #[test]
    fn a_forgiven_run_that_fails_is_not_lost_where_nobody_asked_again() {
        let mut queue = WorkQueue::default();
        queue.add("a", 0);
        queue.pop(0);
        queue.forgive(&"a");
        queue.failed(&"a", |failures| 100 * u64::from(failures));
        assert_eq!(queue.next_due(), Some(100));
    }

    #[test]
    fn nothing_is_kept_of_keys_that_are_done() {
        let mut queue = WorkQueue::default();
        for key in 0..100 {
            queue.add(key, 0);
        }
        while let Some(key) = queue.pop(0) {
            queue.done(&key);
        }
        assert!(queue.is_empty(), "{queue:?}");
    }

    /// The same rules, as plainly as they can be written: a scan over everything.
    #[derive(Default)]
    struct Naive {
        due: BTreeMap<u8, (u64, u64)>,
        running: BTreeSet<u8>,
        forgiven: BTreeSet<u8>,
        retries: BTreeMap<u8, (u32, u64)>,
        turns: u64,
    }

    impl Naive {
        fn add(&mut self, key: u8, at: u64) {
            let at = self.retries.get(&key).map_or(at, |(_, floor)| at.max(*floor));
            let turn = self.turns;
            self.turns += 1;
            let earlier = self.due.get(&key).is_some_and(|(due, _)| *due <= at);
            if !earlier {
                self.due.insert(key, (at, turn));
            }
        }

        fn first(&self) -> Option<((u64, u64), u8)> {
            self.due.iter().filter(|(k, _)| !self.running.contains(k)).map(|(k, due)| (*due, *k)).min()
        }

        fn pop(&mut self, now: u64) -> Option<u8> {
            let (_, key) = self.first().filter(|((at, _), _)| *at <= now)?;
            self.due.remove(&key);
            self.running.insert(key);
            Some(key)
        }

        fn done(&mut self, key: u8) {
            self.running.remove(&key);
            self.forgiven.remove(&key);
            self.retries.remove(&key);
        }

        fn failed(&mut self, key: u8, now: u64) {
            self.running.remove(&key);
            if self.forgiven.remove(&key) && self.due.contains_key(&key) {
                return;
            }
            let failures = self.retries.get(&key).map_or(1, |(n, _)| n + 1);
            let at = now + 7 * u64::from(failures);
            self.retries.insert(key, (failures, at));
            let turn = self.due.get(&key).map_or(self.turns, |(_, turn)| *turn);
            self.turns += 1;
            self.due.insert(key, (at, turn));
        }

        fn forgive(&mut self, key: u8) {
            self.retries.remove(&key);
            if self.running.contains(&key) {
                self.forgiven.insert(key);
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Op {
        Add(u8, u64),
        Pop,
        Done(u8),
        Failed(u8),
        Forgive(u8),
        Pass(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let key = 0_u8..5;
        prop_oneof![
            4 => (key.clone(), 0_u64..20).prop_map(|(key, delay)| Op::Add(key, delay)),
            4 => Just(Op::Pop),
            2 => key.clone().prop_map(Op::Done),
            2 => key.clone().prop_map(Op::Failed),
            1 => key.prop_map(Op::Forgive),
            2 => (0_u64..15).prop_map(Op::Pass),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_answers_as_a_scan_over_everything_would(ops in prop::collection::vec(op(), 0..200)) {
            let (mut queue, mut naive, mut now) = (WorkQueue::default(), Naive::default(), 0);
            for op in ops {
                match op {
                    Op::Add(key, delay) => {
                        queue.add(key, now + delay);
                        naive.add(key, now + delay);
                    }
                    Op::Pop => {
                        let running = naive.running.clone();
                        let popped = queue.pop(now);
                        prop_assert_eq!(popped, naive.pop(now));
                        prop_assert!(popped.is_none_or(|key| !running.contains(&key)), "handed out twice");
                    }
                    // Only what was handed out can end.
                    Op::Done(key) if naive.running.contains(&key) => {
                        queue.done(&key);
                        naive.done(key);
                    }
                    Op::Failed(key) if naive.running.contains(&key) => {
                        queue.failed(&key, |failures| now + 7 * u64::from(failures));
                        naive.failed(key, now);
                    }
                    Op::Done(_) | Op::Failed(_) => {}
                    Op::Forgive(key) => {
                        queue.forgive(&key);
                        naive.forgive(key);
                    }
                    Op::Pass(time) => now += time,
                }
                prop_assert_eq!(queue.next_due(), naive.first().map(|((at, _), _)| at));
            }
        }
    }
}
