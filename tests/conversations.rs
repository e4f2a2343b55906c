//! Agents' conversations on the real binary: learned by hooks that nobody had to install, and continued by later runs.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "conversations/agent.rs"]
mod agent;
#[path = "conversations/continued.rs"]
mod continued;
mod harness;
#[path = "conversations/installed.rs"]
mod installed;
#[path = "conversations/refused.rs"]
mod refused;
