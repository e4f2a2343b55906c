//! The wiring: sources of triggers, the store, reconcilers, the server, systemd.
//!
//! ```text
//!   specs (thread) ──┐                              ┌─► keepers ──► atm keeper …
//!   config (thread) ─┤                              │
//!   looks (thread) ──┤                              │
//!   keepers' ends ───┼─► Input ─► absorb ─► queue ─► reconcile ─► store ─► server, STATUS=
//!   clients ─────────┤              │                    ▲            └──► state (thread)
//!   signals ─────────┘              └──── store ─────────┘
//! ```
//!
//! One thread runs the loop ([`event_loop`]); what can block has a thread of its own. [`core`] holds what the daemon
//! is made of, [`absorb`](core::Daemon::absorb) takes news in, [`reconcile`] acts. [`adopt`] classifies what is
//! found of a name and `takeover` acts on that; [`ends`] counts how runs ended, `loss` those whose keeper died.
//! `recovery` takes in what an earlier daemon left, before the loop turns. [`wills`] records what people ask for.
//! `cleanup` has evicted what is over its budget now, [`looks`] sees what sessions do, [`repositories`] where,
//! [`registered`] keeps those that people started outside atm. [`kept`] keeps what runs that were stopped showed last.
//! `hooks` hears what agents say, [`turns`] interrupts what they are in, `sends` types for clients. `server` answers
//! those, each [`watcher`] collects what one of them is still to be told; [`metrics`] counts, `http` shows that to others.

mod absorb;
pub mod adopt;
pub mod agent_facts;
mod cleanup;
pub mod clock;
pub mod config_file;
mod conversations;
pub mod core;
mod directories;
mod ends;
pub mod event_loop;
pub mod events;
mod fdstore;
mod floods;
mod hooks;
pub(crate) mod http;
mod journal;
pub mod keepers;
pub mod kept;
mod launch;
mod leftovers;
mod logging;
pub mod looks;
mod loss;
pub(crate) mod manager;
pub mod memory;
pub mod metrics;
mod overrides;
pub mod paths;
mod prune;
pub mod reconcile;
mod recovery;
pub mod registered;
pub mod repositories;
mod sends;
pub(crate) mod server;
mod shutdown;
pub mod specs;
mod startup;
pub mod state_files;
pub mod store;
mod systemd;
mod takeover;
#[cfg(test)]
mod tests;
pub mod turns;
mod uploads;
pub mod view;
pub mod watcher;
pub mod wills;
pub mod writer;

use std::path::PathBuf;

use crate::api::control::Directories;

pub use startup::{StartupError, main};

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it works.
    pub directories: Directories,
    /// Whether sessions belong to several users: the daemon is root.
    pub system: bool,
    /// The control socket, where it is not in the runtime directory.
    pub socket: Option<PathBuf>,
    /// A cgroup2 directory that may be used for sessions, where it is not the daemon's own delegated one.
    pub cgroup: Option<PathBuf>,
}
