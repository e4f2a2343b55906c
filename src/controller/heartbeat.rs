//! Whether the loop is alive, told by the loop itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// A stamp that the loop renews each time it turns. Clones share it, so any thread can read it.
///
/// A watchdog that beats from a task of its own would go on beating for a loop that is stuck; one that reads
/// this stamp does not. The loop turns at least each [`Config::turn_at_least`](super::Config::turn_at_least),
/// also when nothing happens, so an old stamp means a stuck loop and nothing else.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<Stamp>);

#[derive(Debug)]
struct Stamp {
    born: Instant,
    /// Microseconds since `born`.
    turned: AtomicU64,
    turns: AtomicU64,
    keys: AtomicUsize,
}

impl Heartbeat {
    /// A stamp that says "just now".
    #[expect(clippy::new_without_default, reason = "it reads the clock, which `default()` would hide")]
    pub fn new() -> Self {
        let (turned, turns, keys) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0));
        Self(Arc::new(Stamp { born: Instant::now(), turned, turns, keys }))
    }

    /// How long ago the loop turned.
    pub fn age(&self) -> Duration {
        // Both ends are this stamp's own clock; a turn after `elapsed` was read makes zero, not a panic.
        self.0.born.elapsed().saturating_sub(Duration::from_micros(self.0.turned.load(Ordering::Relaxed)))
    }

    /// How often the loop turned.
    pub fn turns(&self) -> u64 {
        self.0.turns.load(Ordering::Relaxed)
    }

    /// Keys that waited or ran when the loop turned last.
    pub fn keys(&self) -> usize {
        self.0.keys.load(Ordering::Relaxed)
    }

    pub(super) fn turn(&self, keys: usize) {
        self.0.keys.store(keys, Ordering::Relaxed);
        let micros = u64::try_from(self.0.born.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.turned.store(micros, Ordering::Relaxed);
        self.0.turns.fetch_add(1, Ordering::Relaxed);
    }
}
