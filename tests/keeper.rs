//! The real keeper, started as the daemon starts it, without a daemon.

mod support;

#[path = "keeper/end.rs"]
mod end;
#[path = "keeper/isolation.rs"]
mod isolation;
#[path = "keeper/output.rs"]
mod output;
#[path = "keeper/start.rs"]
mod start;
