//! What is seen of running sessions: the real binary on commands that work, grow, fork, fall silent and are stopped.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits on the real clock"
)]

mod harness;
#[path = "budgets/observing.rs"]
mod observing;
