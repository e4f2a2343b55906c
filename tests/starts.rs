//! Starts, and what follows an end: the real binary on commands that cannot run, that end, and that change.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits on the real clock"
)]

#[path = "starts/admission.rs"]
mod admission;
#[path = "starts/changes.rs"]
mod changes;
#[path = "starts/environment.rs"]
mod environment;
#[path = "starts/failures.rs"]
mod failures;
mod harness;
#[path = "starts/policy.rs"]
mod policy;
#[path = "starts/shutdown.rs"]
mod shutdown;
#[path = "starts/unkillable.rs"]
mod unkillable;

/// Runs until it is stopped.
const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";
