//! atm: the kubelet for AI agent sessions on one Linux machine.
//!
//! A daemon keeps the sessions declared in a directory of YAML files running, within budgets, and never
//! loses one. Each running session is held by a keeper, a small process that outlives the daemon.
//!
//! ```text
//! src/
//! ├── api/         what people write and programs see: spec, config, status, records, both protocols. No IO
//! ├── plan/        what to do, from values alone. No clock, no file, no async
//! ├── controller/  triggers in, reconciles out: work queue, run loop. Knows nothing of sessions
//! ├── host/        Linux: processes, pidfds, cgroups, terminals, files. The only unsafe, nix and procfs
//! ├── keeper/      the small program that holds one session
//! ├── agents/      Claude Code, Codex: what they understand and what they say. Values only
//! ├── daemon/      the wiring: sources of triggers, the store, reconcilers, server, systemd
//! ├── cli/         one file a verb; client, output, errors
//! └── readers/     every reader of what others wrote, by name: for mutation and fuzzing alone
//!
//!    cli                    daemon                 api, controller: nothing of ours
//!      \              /     |     \               plan, host, agents: api
//!       \   controller    plan   host             keeper: api, host
//!        |                  |    /    \           cli: api, host, agents
//!        └────── api ◄──────┴───┘   keeper        daemon: all but cli; `cli::daemon` only starts it
//! ```
//!
//! Invariants, each kept by the type or the room named:
//! - `plan` reads no clock, no file and no process: time comes in as a [`api::time::Moment`].
//! - Only a `Fleet` reconcile hands out slots; only a `Session` reconcile touches a process.
//! - A slot is free when the process is gone, not when it was asked to go.
//! - Every stop has a [`api::cause::Cause`], recorded by the keeper before its first signal.
//! - Only the holder of a name's lock makes, empties or removes that session's directory.
//! - `unsafe` is in the modules that `host/mod.rs` allows it to by name, each with its reason, and nowhere else.

pub mod agents;
pub mod api;
pub mod cli;
pub mod controller;
pub mod daemon;
pub mod host;
pub mod keeper;
pub mod plan;
#[doc(hidden)]
pub mod readers;
