//! Every verb through the real daemon: what it says, in which form, with which exit status.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits on the real clock"
)]

#[path = "verbs/down.rs"]
mod down;
#[path = "verbs/fallback.rs"]
mod fallback;
#[path = "verbs/files.rs"]
mod files;
#[path = "spec_files/fuse.rs"]
mod fuse;
#[path = "verbs/git.rs"]
mod git;
mod harness;
#[path = "verbs/logs.rs"]
mod logs;
#[path = "verbs/output.rs"]
mod output;
#[path = "verbs/overrides.rs"]
mod overrides;
#[path = "verbs/previous.rs"]
mod previous;
#[path = "verbs/put.rs"]
mod put;
#[path = "verbs/reading.rs"]
mod reading;
#[path = "verbs/socket.rs"]
mod socket;
#[path = "verbs/steering.rs"]
mod steering;
#[path = "verbs/users.rs"]
mod users;

/// Runs until it is stopped.
const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";
