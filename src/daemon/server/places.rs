//! Room for connections that are no watchers: hooks and one-shot requests.
//!
//! The room is bounded: so many connections, so many of one user, so many bytes held for all of them. Where it is
//! full, the connection goes that has kept the daemon waiting the longest, be it for a request or for its answer to
//! be read. Who asks and reads at once therefore always gets in, however many others only hold a place.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// How much room there is.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Connections at once.
    pub connections: usize,
    /// Of one user: others always find a place.
    pub of_one_user: usize,
    /// Bytes of requests that are not whole and of answers that are not read, of all connections: beyond it those go
    /// that have kept the daemon waiting for longer than [`BRIEF`].
    pub bytes: usize,
    /// The same, beyond which they go however short they have.
    pub most_bytes: usize,
}

/// Who reads a long answer takes its time for it.
const BRIEF: Duration = Duration::from_secs(1);

/// All places.
#[derive(Debug, Clone)]
pub struct Places(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    room: Room,
    next: u64,
    taken: HashMap<u64, Taken>,
    of_user: BTreeMap<u32, usize>,
    /// Who keeps the daemon waiting, the longest first.
    waited_for: BTreeMap<u64, u64>,
    held: usize,
}

#[derive(Debug)]
struct Taken {
    uid: u32,
    go: Rc<Notify>,
    wait: Option<Waits>,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    /// In the order of all waits.
    since: u64,
    from: Instant,
    held: usize,
}

/// One connection's place. Given back when dropped, so also by a task that panics.
#[derive(Debug)]
pub struct Place {
    places: Places,
    id: u64,
    go: Rc<Notify>,
}

/// While it lives, the daemon waits for this connection's client.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Place);

impl Places {
    /// Nobody is there yet.
    pub fn new(room: Room) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            room,
            next: 0,
            taken: HashMap::new(),
            of_user: BTreeMap::new(),
            waited_for: BTreeMap::new(),
            held: 0,
        })))
    }

    /// A place for a connection of this user; `None`: all are taken, and each by somebody who is being served.
    pub fn enter(&self, uid: u32) -> Option<Place> {
        let mut inner = self.0.borrow_mut();
        let room = inner.room;
        let of_user = inner.of_user.get(&uid).copied().unwrap_or(0);
        let freed = if of_user >= room.of_one_user {
            inner.send_away(Some(uid))
        } else if inner.taken.len() >= room.connections {
            let greediest = inner.of_user.iter().max_by_key(|(_, count)| **count).map(|(uid, _)| *uid);
            inner.send_away(greediest)
        } else {
            true
        };
        if !freed {
            return None;
        }
        let id = inner.number();
        let go = Rc::new(Notify::new());
        inner.taken.insert(id, Taken { uid, go: Rc::clone(&go), wait: None });
        *inner.of_user.entry(uid).or_default() += 1;
        Some(Place { places: self.clone(), id, go })
    }

    /// Connections that have a place.
    pub fn taken(&self) -> usize {
        self.0.borrow().taken.len()
    }
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    /// Sends away who has kept the daemon waiting the longest, of this user where one is named.
    fn send_away(&mut self, of: Option<u32>) -> bool {
        let matches =
            |id: &u64| of.is_none_or(|uid| self.taken.get(id).is_some_and(|taken| taken.uid == uid));
        let Some(id) = self.waited_for.values().find(|id| matches(id)).copied() else { return false };
        if let Some(taken) = self.remove(id) {
            taken.go.notify_one();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Taken> {
        self.waited_no_more(id);
        let taken = self.taken.remove(&id)?;
        if let Some(count) = self.of_user.get_mut(&taken.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_user.remove(&taken.uid);
            }
        }
        Some(taken)
    }

    fn waits(&mut self, id: u64, held: usize) {
        let since = self.number();
        let from = Instant::now();
        let Some(taken) = self.taken.get_mut(&id) else { return };
        taken.wait = Some(Waits { since, from, held });
        self.waited_for.insert(since, id);
        self.held = self.held.saturating_add(held);
        while self.held > self.room.bytes {
            // Never the newest: one message alone always has room, and is bounded by itself.
            let others = self.waited_for.values().filter(|other| **other != id);
            let mut holders = others.filter_map(|other| {
                let wait = self.taken.get(other)?.wait?;
                (wait.held > 0).then_some((*other, wait.from))
            });
            let Some((holder, holds_from)) = holders.next() else { return };
            if self.held <= self.room.most_bytes && from - holds_from < BRIEF {
                return;
            }
            if let Some(taken) = self.remove(holder) {
                taken.go.notify_one();
            }
        }
    }

    fn waited_no_more(&mut self, id: u64) {
        if let Some(wait) = self.taken.get_mut(&id).and_then(|taken| taken.wait.take()) {
            self.waited_for.remove(&wait.since);
            self.held = self.held.saturating_sub(wait.held);
        }
    }
}

impl Place {
    /// The daemon waits for the client from now on, and holds so many bytes for it meanwhile.
    pub fn wait(&self, held: usize) -> Waiting<'_> {
        self.places.0.borrow_mut().waits(self.id, held);
        Waiting(self)
    }

    /// Gives the place to others: the connection has one among the watchers now.
    pub fn leave(&self) {
        self.places.0.borrow_mut().remove(self.id);
    }

    /// Waits until the place is given to somebody else.
    pub async fn lost(&self) {
        self.go.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.places.0.borrow_mut().waited_no_more(self.0.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.borrow_mut().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const ROOM: Room = Room { connections: 4, of_one_user: 3, bytes: 100, most_bytes: 400 };
    const ANNA: u32 = 1001;
    const BERT: u32 = 1002;

    fn is_lost(place: &Place) -> bool {
        place.lost().now_or_never().is_some()
    }

    #[test]
    fn who_waits_longest_makes_room_for_their_own() {
        let places = Places::new(ROOM);
        let held: Vec<Place> = (0..3).map(|_| places.enter(ANNA).unwrap()).collect();
        assert!(places.enter(ANNA).is_none(), "all three are being served");
        let bert = places.enter(BERT).unwrap();
        let _bert_waits = bert.wait(0);
        let _second = held[1].wait(0);
        let _first = held[0].wait(0);
        let newcomer = places.enter(ANNA).unwrap();
        assert_eq!([0, 1, 2].map(|n| is_lost(&held[n])), [false, true, false]);
        assert!(!is_lost(&bert) && !is_lost(&newcomer), "another user's is not touched");
        assert_eq!(places.taken(), 4);
    }

    #[test]
    fn a_full_house_costs_the_user_who_has_most() {
        let places = Places::new(ROOM);
        let anna: Vec<Place> = (0..3).map(|_| places.enter(ANNA).unwrap()).collect();
        let bert = places.enter(BERT).unwrap();
        let _waits: Vec<Waiting<'_>> = [&bert].into_iter().chain(&anna).map(|place| place.wait(0)).collect();
        let _newcomer = places.enter(BERT).unwrap();
        assert!(is_lost(&anna[0]) && !is_lost(&bert));
    }

    #[test]
    fn a_place_that_is_given_back_is_free_whoever_ends_it() {
        let places = Places::new(ROOM);
        for _ in 0..100 {
            let place = places.enter(ANNA).unwrap();
            drop(place.wait(50));
            place.leave();
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let place = places.enter(ANNA).unwrap();
            let _wait = place.wait(50);
            panic!("as a bug would");
        }));
        assert!(panicked.is_err());
        let inner = places.0.borrow();
        assert_eq!(
            (inner.taken.len(), inner.of_user.len(), inner.waited_for.len(), inner.held),
            (0, 0, 0, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_nobody_takes_go_before_there_are_too_many() {
        let places = Places::new(Room { of_one_user: 4, ..ROOM });
        let [a, b, c, d] = [0; 4].map(|_| places.enter(ANNA).unwrap());
        let _a = a.wait(0);
        let _b = b.wait(60);
        let quick = c.wait(60);
        assert_eq!([&a, &b, &c].map(is_lost), [false; 3], "for a moment there may be more");
        drop(quick);
        tokio::time::advance(BRIEF).await;
        let _c = c.wait(60);
        assert_eq!([&a, &b, &c].map(is_lost), [false, true, false]);
        let _d = d.wait(1000);
        assert_eq!([&a, &c, &d].map(is_lost), [false, true, false], "one message alone always has room");
    }
}
