//! The real keeper, started as the daemon starts it, without a daemon.

// `cfg(test)` says nothing to the compiler here, and tells clippy that all of this is test code.
#[cfg(test)]
mod support;

#[cfg(test)]
#[path = "keeper/end.rs"]
mod end;
#[cfg(test)]
#[path = "keeper/index.rs"]
mod index;
#[cfg(test)]
#[path = "keeper/isolation.rs"]
mod isolation;
#[cfg(test)]
#[path = "keeper/output.rs"]
mod output;
#[cfg(test)]
#[path = "keeper/start.rs"]
mod start;
