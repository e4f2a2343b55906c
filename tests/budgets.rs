//! Budgets on the real binary: idleness, age, memory, and who makes room.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits on the real clock"
)]

#[path = "budgets/age.rs"]
mod age;
mod harness;
#[path = "budgets/idle.rs"]
mod idle;
#[path = "budgets/memory.rs"]
mod memory;
#[path = "budgets/observing.rs"]
mod observing;
#[path = "budgets/sharing.rs"]
mod sharing;

use harness::Atm;
use serde_json::Value;

/// Does nothing until it is stopped.
const SLEEPER: &str = "command: [sleep, '1000']\n";

/// Waits until the session does not run, for this reason.
fn wait_over(atm: &Atm, name: &str, phase: &str, reason: &str) -> Value {
    let over = format!("{phase}, {reason}");
    atm.wait(name, &over, |s| s["status"]["phase"] == phase && s["status"]["reason"] == reason)
}

/// Seconds between two RFC 3339 times.
fn seconds_between(earlier: &Value, later: &Value) -> f64 {
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    time(later).duration_since(time(earlier)).as_secs_f64()
}

/// The first event of this kind.
fn event(atm: &Atm, name: &str, kind: &str) -> Value {
    let events = atm.events(&[name]);
    events
        .iter()
        .find(|event| event["kind"] == kind)
        .cloned()
        .unwrap_or_else(|| panic!("no {kind}: {events:?}"))
}
