//! The two clocks of the machine.

use nix::time::{ClockId, clock_gettime};

use crate::api::time::{BootId, Moment, Timestamp};

/// Now, on `CLOCK_MONOTONIC`.
pub fn monotonic() -> Moment {
    // The clock exists on every Linux; a failure could only be a filter on the call itself, and then
    // zero makes every span zero, which ends nothing.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
    let nanos = u64::try_from(now.tv_sec()).unwrap_or(0).saturating_mul(1_000_000_000);
    Moment::from_nanos(nanos.saturating_add(u64::try_from(now.tv_nsec()).unwrap_or(0)))
}

/// Now, in wall time: for display only.
pub fn wall() -> Timestamp {
    Timestamp::now()
}

/// Which boot this is. Empty where the kernel does not say; then every boot looks like this one.
pub fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    BootId(text.trim().to_owned())
}
