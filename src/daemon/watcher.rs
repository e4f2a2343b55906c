//! What one watcher has not been told yet.
//!
//! Only names are kept, each once: what a session is, is looked up when it is told. So a watcher that reads slowly
//! costs nobody memory, sees the latest, and not all that was between.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{store::Entry, view::Viewer};
use crate::api::{config::Clients, name::SessionName};

/// Between two snapshots at least: one is as long as the fleet is large.
const SNAPSHOTS: Duration = Duration::from_secs(1);

/// How often a session may be told.
///
/// A change is told at once and so is a second one close behind it, then at a steady pace: in no second more than
/// `rate`, and in no two seconds twice that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// Between two, once `slack` is used up.
    interval: Duration,
    /// How much too early one may come.
    slack: Duration,
}

impl Pace {
    fn of(rate: u32) -> Self {
        let at_once = if rate >= 4 { 2 } else { 1 };
        let interval = Duration::from_secs(1) / rate.saturating_sub(at_once).max(1);
        Self { interval, slack: interval * (at_once - 1) }
    }
}

/// Collects which sessions changed, until they are told.
#[derive(Debug)]
pub struct Watcher {
    viewer: Viewer,
    /// Empty: all.
    names: BTreeSet<SessionName>,
    pending: RefCell<Pending>,
    wake: Notify,
}

/// What is to be told now.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// This session.
    Session(SessionName),
    /// All of them: so many changes were dropped.
    Everything {
        /// How many.
        dropped: u64,
    },
}

impl Watcher {
    /// Collects what `viewer` may see of `names`, or of all sessions where none is given.
    pub fn new(viewer: Viewer, names: BTreeSet<SessionName>, clients: Clients) -> Self {
        Self { viewer, names, pending: RefCell::new(Pending::new(clients)), wake: Notify::new() }
    }

    /// Whether this watcher is to hear of a session: it asked for it and may see it.
    pub fn hears(&self, name: &SessionName, entry: &Entry) -> bool {
        self.asked_for(name) && self.viewer.may_see(entry)
    }

    fn asked_for(&self, name: &SessionName) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }

    /// A session is new, changed, or gone.
    pub fn mark(&self, name: &SessionName, entry: Option<&Entry>) {
        let seen = entry.is_some_and(|entry| self.hears(name, entry));
        let mut pending = self.pending.borrow_mut();
        if seen || pending.told.contains_key(name) {
            pending.mark(name, !seen, Instant::now());
            self.wake.notify_one();
        }
    }

    /// Holds from now on.
    pub fn adjust(&self, clients: Clients) {
        self.pending.borrow_mut().adjust(clients);
    }

    /// Waits for what is to be told. What is still waiting is not lost when this is dropped.
    pub async fn news(&self) -> News {
        loop {
            let next = match self.pending.borrow_mut().take(Instant::now()) {
                Ok(news) => return news,
                Err(next) => next,
            };
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// The watcher is told that this session is as `digest` says; `false`: it knows that already.
    pub fn tells(&self, name: &SessionName, digest: u64) -> bool {
        self.pending.borrow_mut().tells(name, digest, Instant::now())
    }

    /// The watcher is told that this session is no more; `false`: it never heard of it.
    pub fn tells_gone(&self, name: &SessionName) -> bool {
        self.pending.borrow_mut().told.remove(name).is_some()
    }

    /// The watcher is told that these sessions are all there is, and what they are.
    pub fn tells_all(&self, told: BTreeMap<SessionName, u64>) {
        self.pending.borrow_mut().tells_all(told, Instant::now());
    }
}

#[derive(Debug)]
struct Pending {
    capacity: usize,
    pace: Pace,
    /// The next to be told first.
    queue: BTreeMap<(Instant, u64), SessionName>,
    places: HashMap<SessionName, (Instant, u64)>,
    next: u64,
    dropped: u64,
    no_snapshot_before: Option<Instant>,
    /// What the watcher knows, as a digest of what it was told.
    told: BTreeMap<SessionName, u64>,
    /// Before when a session is not told at its steady pace; what is past says nothing more.
    paces: HashMap<SessionName, Instant>,
    paces_kept: usize,
}

impl Pending {
    fn new(clients: Clients) -> Self {
        Self {
            capacity: capacity(clients),
            pace: Pace::of(clients.broadcast_rate),
            queue: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            dropped: 0,
            no_snapshot_before: None,
            told: BTreeMap::new(),
            paces: HashMap::new(),
            paces_kept: 0,
        }
    }

    fn adjust(&mut self, clients: Clients) {
        self.capacity = capacity(clients);
        self.pace = Pace::of(clients.broadcast_rate);
    }

    fn mark(&mut self, name: &SessionName, gone: bool, now: Instant) {
        if let Some(place) = self.places.get(name) {
            if !gone || place.0 <= now {
                return;
            }
            // A removal is told at once.
            let place = *place;
            self.queue.remove(&place);
            self.places.remove(name);
        } else if self.queue.len() >= self.capacity
            && let Some((_, oldest)) = self.queue.pop_first()
        {
            self.places.remove(&oldest);
            self.dropped = self.dropped.saturating_add(1);
        }
        let paced = self.paces.get(name).and_then(|at| at.checked_sub(self.pace.slack));
        let at = paced.filter(|_| !gone).map_or(now, |at| at.max(now));
        self.next = self.next.saturating_add(1);
        self.queue.insert((at, self.next), name.clone());
        self.places.insert(name.clone(), (at, self.next));
    }

    /// What is due, or when something is.
    fn take(&mut self, now: Instant) -> Result<News, Option<Instant>> {
        if self.dropped > 0 {
            let at = self.no_snapshot_before.filter(|at| *at > now);
            return match at {
                Some(at) => Err(Some(at)),
                None => Ok(News::Everything { dropped: self.dropped }),
            };
        }
        let Some(first) = self.queue.first_entry() else { return Err(None) };
        let at = first.key().0;
        if at > now {
            return Err(Some(at));
        }
        let name = first.remove();
        self.places.remove(&name);
        Ok(News::Session(name))
    }

    fn tells(&mut self, name: &SessionName, digest: u64, now: Instant) -> bool {
        if self.told.insert(name.clone(), digest) == Some(digest) {
            return false;
        }
        let from = self.paces.get(name).copied().filter(|at| *at > now).unwrap_or(now);
        self.paces.insert(name.clone(), from + self.pace.interval);
        // What is past is forgotten now and then, so that the cost of it is constant a change.
        if self.paces.len() > 2 * self.paces_kept.max(32) {
            self.paces.retain(|_, at| *at > now);
            self.paces_kept = self.paces.len();
        }
        true
    }

    fn tells_all(&mut self, told: BTreeMap<SessionName, u64>, now: Instant) {
        self.queue.clear();
        self.places.clear();
        self.dropped = 0;
        self.no_snapshot_before = Some(now + SNAPSHOTS);
        self.told = told;
    }
}

fn capacity(clients: Clients) -> usize {
    usize::try_from(clients.buffer).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::defaults;

    fn pending(buffer: u32, broadcast_rate: u32) -> Pending {
        Pending::new(Clients { buffer, broadcast_rate, ..defaults::CLIENTS })
    }

    fn name(text: &str) -> SessionName {
        SessionName::new(text).unwrap()
    }

    /// Changes each millisecond for `millis`; when they are told, in milliseconds.
    fn told_at(rate: u32, millis: u64) -> Vec<u64> {
        let (mut pending, start, a) = (pending(100, rate), Instant::now(), name("a"));
        let mut told = Vec::new();
        for at in 0..millis {
            let now = start + Duration::from_millis(at);
            pending.mark(&a, false, now);
            while let Ok(news) = pending.take(now) {
                assert_eq!(news, News::Session(a.clone()));
                assert!(pending.tells(&a, at, now));
                told.push(at);
            }
        }
        told
    }

    #[tokio::test]
    async fn a_session_is_told_at_most_as_often_as_allowed_in_any_second() {
        for rate in [1, 2, 3, 4, 10, 100] {
            let told = told_at(rate, 5000);
            let within =
                |from: u64, millis| told.iter().filter(|at| (from..from + millis).contains(at)).count();
            for from in 0..3000 {
                assert!(within(from, 1000) <= rate as usize, "{rate} a second: {told:?}");
                assert!(within(from, 2000) <= 2 * rate as usize, "{rate} a second: {told:?}");
            }
            assert!(within(2000, 2000) >= 2 * (rate as usize).saturating_sub(2), "{rate} a second: {told:?}");
        }
        let told = told_at(10, 2000);
        assert!(told.len() < 20 && told.starts_with(&[0, 1]), "{told:?}");
    }

    #[tokio::test]
    async fn a_session_that_changed_often_is_told_once_and_others_do_not_wait_for_it() {
        let (mut pending, now) = (pending(100, 10), Instant::now());
        for _ in 0..100 {
            pending.mark(&name("a"), false, now);
        }
        pending.mark(&name("b"), false, now);
        assert_eq!(pending.take(now), Ok(News::Session(name("a"))));
        assert_eq!(pending.take(now), Ok(News::Session(name("b"))));
        assert_eq!(pending.take(now), Err(None));
    }

    #[tokio::test]
    async fn what_is_as_it_was_told_is_not_told_again() {
        let (mut pending, now) = (pending(100, 10), Instant::now());
        assert!(pending.tells(&name("a"), 7, now));
        assert!(!pending.tells(&name("a"), 7, now));
        assert!(pending.tells(&name("a"), 8, now));
    }

    #[tokio::test]
    async fn a_removal_does_not_wait_for_the_pace() {
        let (mut pending, now, a) = (pending(100, 1), Instant::now(), name("a"));
        pending.tells(&a, 1, now);
        pending.mark(&a, false, now);
        assert!(matches!(pending.take(now), Err(Some(_))));
        pending.mark(&a, true, now);
        assert_eq!(pending.take(now), Ok(News::Session(a)));
    }

    #[tokio::test]
    async fn a_full_buffer_drops_the_oldest_counts_them_and_asks_for_everything() {
        let (mut pending, now) = (pending(10, 10), Instant::now());
        for number in 0..25 {
            pending.mark(&name(&format!("s{number}")), false, now);
            assert!(pending.queue.len() <= 10 && pending.places.len() <= 10);
        }
        assert_eq!(pending.take(now), Ok(News::Everything { dropped: 15 }));
        pending.tells_all(BTreeMap::new(), now);
        assert_eq!(pending.take(now), Err(None));
        // Another so soon has to wait: a snapshot is as long as the fleet is large.
        for number in 0..11 {
            pending.mark(&name(&format!("s{number}")), false, now);
        }
        assert_eq!(pending.take(now), Err(Some(now + SNAPSHOTS)));
        assert_eq!(pending.take(now + SNAPSHOTS), Ok(News::Everything { dropped: 1 }));
    }

    #[tokio::test]
    async fn paces_of_sessions_that_are_quiet_are_forgotten() {
        let (mut pending, start) = (pending(100, 10), Instant::now());
        for number in 0..10_000_u32 {
            let now = start + Duration::from_millis(number.into());
            pending.tells(&name(&format!("s{number}")), 0, now);
            assert!(pending.paces.len() <= 600, "{}", pending.paces.len());
        }
    }
}
