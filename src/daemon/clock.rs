//! Where time enters the daemon.

use tokio::time::Instant;

use crate::{
    api::time::{BootId, Moment, Timestamp},
    host::clock,
};

/// The daemon's clock: the machine's monotonic clock, carried by tokio's, so that a test that pauses tokio's
/// time owns this one too.
#[derive(Debug, Clone)]
pub struct Clock {
    base: Moment,
    started: Instant,
    started_at: Timestamp,
    boot: BootId,
}

impl Clock {
    /// Reads the machine's clocks once; from then on it goes with tokio's.
    pub fn start() -> Self {
        Self {
            base: clock::monotonic(),
            started: Instant::now(),
            started_at: clock::wall(),
            boot: clock::boot_id(),
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

    /// `moment` on the clock that is shown, by how far it is from now.
    pub fn show(&self, moment: Moment) -> Timestamp {
        let (now, wall) = (self.now(), self.wall());
        let shifted = if moment >= now {
            jiff::SignedDuration::try_from(moment - now).map(|d| wall.checked_add(d))
        } else {
            jiff::SignedDuration::try_from(now - moment).map(|d| wall.checked_sub(d))
        };
        // Beyond what a calendar can show: as far as it can.
        shifted.ok().and_then(Result::ok).unwrap_or(wall)
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
