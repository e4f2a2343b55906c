//! Sessions that a person started outside atm, and that told of themselves.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "registered/budgets.rs"]
mod budgets;
mod harness;
#[path = "registered/life.rs"]
mod life;
#[path = "registered/orders.rs"]
mod orders;
#[path = "registered/restarts.rs"]
mod restarts;
#[path = "registered/support.rs"]
mod support;
#[path = "registered/users.rs"]
mod users;
