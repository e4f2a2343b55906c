//! Where time enters the daemon.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::time::Instant;

use crate::{
    api::time::{BootId, Moment, Timestamp},
    host::clock,
};

/// The wall clock is taken to have been set where it is further from where it was, in nanoseconds. Between two readings
/// of both clocks some time passes, and the wall clock is slewed: neither is to make another time of the same moment.
const SET: u64 = 20_000_000;

/// The daemon's clock: the machine's monotonic clock, carried by tokio's, so that a test that pauses tokio's
/// time owns this one too.
#[derive(Debug, Clone)]
pub struct Clock {
    base: Moment,
    started: Instant,
    started_at: Timestamp,
    boot: BootId,
    /// From this clock to the wall clock, in nanoseconds.
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// Reads the machine's clocks once; from then on it goes with tokio's.
    pub fn start() -> Self {
        Self {
            base: clock::monotonic(),
            started: Instant::now(),
            started_at: clock::wall(),
            boot: clock::boot_id(),
            ahead: Arc::default(),
        }
    }

    /// Now, on the clock that decides.
    pub fn now(&self) -> Moment {
        self.base.checked_add(Instant::now() - self.started).unwrap_or(self.base)
    }

    /// Now, on the clock that is shown.
    pub fn wall(&self) -> Timestamp {
        clock::wall()
    }

    /// `moment` on the clock that is shown: the same each time, until that clock is set.
    pub fn show(&self, moment: Moment) -> Timestamp {
        let (wall, now) = self.both();
        let nanos = |moment: Moment| i64::try_from(moment.as_nanos()).unwrap_or(i64::MAX);
        let ahead = i64::try_from(wall.as_nanosecond()).unwrap_or(i64::MAX).saturating_sub(nanos(now));
        let before = self.ahead.load(Ordering::Relaxed);
        let ahead = if before.abs_diff(ahead) < SET { before } else { ahead };
        self.ahead.store(ahead, Ordering::Relaxed);
        // Beyond what a calendar can show: as far as it can.
        let shown = i128::from(nanos(moment)) + i128::from(ahead);
        Timestamp::from_nanosecond(shown).unwrap_or(wall)
    }

    /// Both clocks at one moment: read again where something came between.
    fn both(&self) -> (Timestamp, Moment) {
        let mut read = (self.wall(), self.now());
        for _ in 0..10 {
            let before = self.now();
            read = (self.wall(), self.now());
            if (read.1 - before).as_nanos() < u128::from(SET / 4) {
                break;
            }
        }
        read
    }

    /// When the daemon was started.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Which boot this is.
    pub fn boot(&self) -> &BootId {
        &self.boot
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_shown_alike_each_time() {
        let clock = Clock::start();
        let moment = clock.now();
        let shown = clock.show(moment);
        assert!((0..1000).all(|_| clock.show(moment) == shown));
        let later = clock.show(moment.saturating_add(Duration::from_secs(60)));
        assert_eq!(later.duration_since(shown).as_millis(), 60_000);
        let far = clock.wall().duration_since(shown);
        assert!(far.as_secs() < 60 && !far.is_negative(), "{far:?}");
    }
}
