//! What keeps users, sessions and terminals apart, each over all that there is of its kind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skips"
)]

#[allow(dead_code, reason = "this program uses its part")]
#[path = "socket/client.rs"]
mod client;
#[path = "security/files.rs"]
mod files;
mod harness;
#[path = "security/inheritance.rs"]
mod inheritance;
#[path = "security/names.rs"]
mod names;
#[path = "security/terminals.rs"]
mod terminals;
