//! The real command line: against a fake daemon on a real socket, and against real keepers without a daemon.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "all of this is a test, its helpers too"
)]

#[path = "cli/fake.rs"]
mod fake;
#[path = "cli/logs.rs"]
mod logs;
#[path = "cli/offline.rs"]
mod offline;
#[path = "cli/reading.rs"]
mod reading;
#[path = "cli/steering.rs"]
mod steering;
#[expect(dead_code, reason = "shared with the keeper's tests, which need more of it")]
mod support;
#[path = "cli/talking.rs"]
mod talking;
#[path = "cli/writing.rs"]
mod writing;
