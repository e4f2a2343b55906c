//! The spec directory as people, editors, package managers and accidents treat it: the real binary on each
//! row of the fault catalogue that a test can make.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits on the real clock"
)]

#[path = "spec_files/contents.rs"]
mod contents;
#[allow(dead_code, reason = "not all choices are made here")]
#[path = "chaos/dice.rs"]
mod dice;
#[path = "spec_files/directory.rs"]
mod directory;
#[path = "spec_files/fuse.rs"]
mod fuse;
#[path = "spec_files/hanging.rs"]
mod hanging;
mod harness;
#[path = "spec_files/kinds.rs"]
mod kinds;
#[path = "spec_files/names.rs"]
mod names;
#[path = "spec_files/removal.rs"]
mod removal;
#[path = "spec_files/storms.rs"]
mod storms;
#[path = "spec_files/writing.rs"]
mod writing;

/// Runs until it is stopped.
const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";
