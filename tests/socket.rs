//! The control socket of the real daemon: its limits, its watchers, what it makes of nonsense, and its numbers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test fails by panicking, and waits on the real clock"
)]

#[path = "socket/client.rs"]
mod client;
#[path = "socket/crowds.rs"]
mod crowds;
#[path = "socket/following.rs"]
mod following;
mod harness;
#[path = "socket/lines.rs"]
mod lines;
#[path = "socket/numbers.rs"]
mod numbers;
#[path = "socket/sending.rs"]
mod sending;
#[path = "socket/watchers.rs"]
mod watchers;

/// Runs until it is stopped.
const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";
