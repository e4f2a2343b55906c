//! The units that ship, and the installed program under a real systemd in namespaces of its own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, says what it skips, and waits on the real clock"
)]

#[path = "systemd/budgets.rs"]
mod budgets;
#[path = "systemd/config.rs"]
mod config;
mod harness;
#[path = "systemd/inheritance.rs"]
mod inheritance;
#[path = "systemd/install.rs"]
mod install;
#[path = "systemd/journal.rs"]
mod journal;
#[path = "systemd/machine.rs"]
mod machine;
#[path = "systemd/restart.rs"]
mod restart;
#[path = "systemd/stop.rs"]
mod stop;
#[path = "systemd/units.rs"]
mod units;
#[path = "systemd/users.rs"]
mod users;
