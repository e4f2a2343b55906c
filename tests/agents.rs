//! What agents say of themselves, in the real binary: hooks, turns, and what follows from them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, tells what it measured, and waits on the real clock"
)]

#[path = "agents/by_hand.rs"]
mod by_hand;
mod harness;
#[path = "agents/hooks.rs"]
mod hooks;
#[path = "agents/quiet.rs"]
mod quiet;
#[path = "agents/stand_in.rs"]
mod stand_in;
#[path = "agents/turns.rs"]
mod turns;
