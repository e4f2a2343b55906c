//! Terminals: real sessions, real clients on real pseudo-terminals.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, says what it skips, and waits on the real clock"
)]

#[path = "terminal/answers.rs"]
mod answers;
#[path = "terminal/attach.rs"]
mod attach;
#[path = "terminal/client.rs"]
mod client;
mod harness;
#[path = "terminal/leaving.rs"]
mod leaving;
#[path = "terminal/looks.rs"]
mod looks;
#[path = "terminal/sameness.rs"]
mod sameness;
#[path = "terminal/storms.rs"]
mod storms;
#[path = "terminal/top.rs"]
mod top;
