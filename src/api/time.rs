//! Two clocks: one to decide by, one to show.

use std::{ops::Sub, time::Duration};

use serde::{Deserialize, Serialize};

/// A point on the machine's monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds since boot, sleep not counted.
///
/// Every budget is measured on it, so a jump of the wall clock and a night in suspend end nothing. It means
/// something only together with the boot it was taken in: see [`BootId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// A point `nanoseconds` after boot.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + duration`, or `None` where that is beyond the clock: "never".
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        u64::try_from(duration.as_nanos()).ok().and_then(|n| self.0.checked_add(n)).map(Self)
    }

    /// `self + duration`, where "never" is the end of the clock.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self(u64::MAX))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Sub for Moment {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The kernel's `boot_id`: which boot a [`Moment`] or a pid belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// A point in wall time, for display only; RFC 3339 on the wire.
pub type Timestamp = jiff::Timestamp;
