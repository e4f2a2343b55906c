//! Triggers in, reconciles out. Knows nothing of what a key means.
//!
//! ```text
//!  files     ─┐                    gather            one request a key
//!  processes ─┤
//!  samples   ─┼─► Trigger ─► WorkQueue ─► reconcile(key) ─► Action
//!  people    ─┤                  ▲                             │
//!  reconciles ┘                  └────── requeue / back-off ◄──┘
//! ```
//!
//! A trigger says *which* key to look at, never *what to do*: the reconciler reads the world afresh. So
//! triggers may be merged, repeated, reordered or late, and the outcome is the same.
//!
//! One turn of the loop takes in every trigger that is ready, then every reconcile that ended, and only then
//! hands out keys: a thousand processes that end together are a thousand requests but few runs of a key that
//! all of them ask for. Between turns it sleeps until something happens or is due.

mod heartbeat;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    error::Error,
    fmt::{self, Display},
    hash::Hash,
    panic::AssertUnwindSafe,
    pin::pin,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, debug, debug_span, error, warn};

pub use heartbeat::Heartbeat;
pub use queue::WorkQueue;

/// Why a key is looked at. Decides when, and is logged; the reconciler never learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// What is wanted changed: an edited file.
    Desired,
    /// What is changed: a process ended, a sample was taken.
    Observed,
    /// A person asked.
    Requested,
    /// Another reconcile came to a conclusion that concerns the key.
    Decided,
    /// Nothing is known to have changed: the look that makes up for lost events.
    Resync,
}

impl Reason {
    /// Whether more of the same usually follows at once: edits come as a write, a rename and a chmod.
    fn gathers(self) -> bool {
        match self {
            Self::Desired => true,
            Self::Observed | Self::Requested | Self::Decided | Self::Resync => false,
        }
    }

    /// Whether it makes earlier failures of the key moot.
    fn forgives(self) -> bool {
        match self {
            Self::Desired | Self::Requested => true,
            Self::Observed | Self::Decided | Self::Resync => false,
        }
    }
}

/// A key to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger<K> {
    /// Which.
    pub key: K,
    /// Why.
    pub reason: Reason,
}

impl<K> Trigger<K> {
    /// Look at `key`, because of `reason`.
    pub const fn new(key: K, reason: Reason) -> Self {
        Self { key, reason }
    }
}

/// When to look at a key again if nothing triggers it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    requeue_after: Option<Duration>,
}

impl Action {
    /// Not before a trigger.
    pub const fn await_change() -> Self {
        Self { requeue_after: None }
    }

    /// After `delay`, also without a trigger. A delay beyond the clock waits for a trigger.
    pub const fn requeue(delay: Duration) -> Self {
        Self { requeue_after: Some(delay) }
    }
}

/// Moves keys towards what they should be.
pub trait Reconciler<K> {
    /// Why a reconcile failed. The whole chain of sources is logged.
    type Error: Error;

    /// Moves `key` one step nearer to what it should be. Must be idempotent; is never run twice at once for one key.
    fn reconcile(&self, key: &K) -> impl Future<Output = Result<Action, Self::Error>>;

    /// How long to leave `key` alone after its `failures`-th failure in a row, 1 being the first.
    fn error_policy(&self, _key: &K, _error: &Self::Error, failures: u32) -> Duration {
        exponential(failures)
    }
}

/// 1 s, 2 s, 4 s… up to 5 min.
pub fn exponential(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(9)).min(LONGEST_BACK_OFF)
}

const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// How the loop runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long the first edit of a burst waits for the others. A burst never delays a key by more.
    pub gather: Duration,
    /// Reconciles at once; at least 1.
    pub concurrency: usize,
    /// The loop turns at least this often, so that its heartbeat stays young.
    pub turn_at_least: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { gather: Duration::ZERO, concurrency: 64, turn_at_least: Duration::from_secs(10) }
    }
}

/// Triggers that are taken in before keys are handed out. A source that never runs dry must not starve the rest.
const INTAKE: usize = 4096;

/// How long the loop works before whatever else runs on its thread has a turn: a thousand reconciles that are ready at
/// once, each a process to be started, would let everyone who asks wait for seconds.
const SLICE: Duration = Duration::from_millis(20);

/// Runs until `triggers` ends or `shutdown` resolves; then it takes no further key, and returns when the running
/// reconciles have ended.
///
/// A panic in a reconcile is caught and counts as a failure of its key. A panic of the loop itself is the caller's:
/// a loop that lost its queue must not go on.
pub async fn run<K, R>(
    reconciler: &R,
    triggers: impl Stream<Item = Trigger<K>>,
    shutdown: impl Future<Output = ()>,
    config: Config,
    heartbeat: &Heartbeat,
) where
    K: Hash + Eq + Clone + Display,
    R: Reconciler<K>,
{
    let (mut triggers, mut shutdown) = (pin!(triggers.fuse()), pin!(shutdown.fuse()));
    let concurrency = config.concurrency.max(1);
    let mut running = FuturesUnordered::new();
    let mut queue = Requests { queue: WorkQueue::default(), reconciler, gather: config.gather };

    let mut open = true;
    while open {
        heartbeat.turn(queue.queue.len());
        let began = Instant::now();
        for _ in 0..INTAKE {
            match triggers.next().now_or_never() {
                Some(Some(trigger)) => queue.take(trigger),
                Some(None) => open = false,
                None => break,
            }
            if !open {
                break;
            }
        }
        while began.elapsed() < SLICE
            && let Some(Some((key, outcome))) = running.next().now_or_never()
        {
            queue.finish(key, outcome);
        }
        if !open {
            break;
        }
        while running.len() < concurrency
            && let Some(key) = queue.queue.pop(Instant::now())
        {
            running.push(reconcile(reconciler, key));
        }

        if began.elapsed() >= SLICE {
            tokio::task::yield_now().await;
            open = (&mut shutdown).now_or_never().is_none();
            continue;
        }
        let due = queue.queue.next_due().filter(|_| running.len() < concurrency);
        let turn = Instant::now() + config.turn_at_least;
        tokio::select! {
            biased;
            () = &mut shutdown => open = false,
            Some((key, outcome)) = running.next() => queue.finish(key, outcome),
            trigger = triggers.next() => match trigger {
                Some(trigger) => queue.take(trigger),
                None => open = false,
            },
            () = sleep_until(due.map_or(turn, |due| due.min(turn))) => {}
        }
    }
    while let Some((key, outcome)) = running.next().await {
        heartbeat.turn(queue.queue.len());
        queue.finish(key, outcome);
    }
}

/// How one reconcile ended: with an answer, or with the payload of a panic.
type Outcome<E> = Result<Result<Action, E>, Box<dyn Any + Send>>;

async fn reconcile<K: Display, R: Reconciler<K>>(reconciler: &R, key: K) -> (K, Outcome<R::Error>) {
    let span = debug_span!("reconcile", %key);
    // The inner block makes the call itself part of what is caught: it may panic before its future exists.
    let caught = AssertUnwindSafe(async { reconciler.reconcile(&key).await }).catch_unwind();
    let outcome = caught.instrument(span).await;
    (key, outcome)
}

/// The queue with the rules for what goes into it.
struct Requests<'a, K, R> {
    queue: WorkQueue<K, Instant>,
    reconciler: &'a R,
    gather: Duration,
}

impl<K: Hash + Eq + Clone + Display, R: Reconciler<K>> Requests<'_, K, R> {
    fn take(&mut self, Trigger { key, reason }: Trigger<K>) {
        debug!(%key, ?reason, "triggered");
        if reason.forgives() {
            self.queue.forgive(&key);
        }
        let gather = if reason.gathers() { self.gather } else { Duration::ZERO };
        let now = Instant::now();
        self.queue.add(key, now.checked_add(gather).unwrap_or(now));
    }

    fn finish(&mut self, key: K, outcome: Outcome<R::Error>) {
        match outcome {
            Ok(Ok(action)) => {
                self.queue.done(&key);
                // A time that cannot be named is a wait for a trigger.
                if let Some(at) = action.requeue_after.and_then(|delay| Instant::now().checked_add(delay)) {
                    self.queue.add(key, at);
                }
            }
            Ok(Err(failure)) => {
                warn!(%key, error = %Chain(&failure), "reconcile failed");
                self.queue
                    .failed(&key, |failures| back(self.reconciler.error_policy(&key, &failure, failures)));
            }
            Err(panic) => {
                error!(%key, panic = %panic_message(&*panic).escape_debug(), "reconcile panicked");
                self.queue.failed(&key, |failures| back(exponential(failures)));
            }
        }
    }
}

/// When a failed key comes back. A policy without an end would bury the key for good; a day is as good as one.
fn back(delay: Duration) -> Instant {
    Instant::now() + delay.min(Duration::from_secs(24 * 3600))
}

/// An error and its sources, each once: layers put the cause in `source()` alone.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = Some(self.0);
        let mut separator = "";
        while let Some(error) = next {
            write!(f, "{separator}{error}")?;
            separator = ": ";
            next = error.source();
        }
        Ok(())
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
