//! Processes that are not what one expects, machines that are short of something, and clocks that are not what they
//! were: the real binary.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skips"
)]

#[path = "processes/clocks.rs"]
mod clocks;
mod harness;
#[path = "processes/scarce.rs"]
mod scarce;
#[path = "processes/strange.rs"]
mod strange;

/// Runs until it is stopped.
const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";
