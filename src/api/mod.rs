//! What people write and programs see: values with their rules, and no IO.
//!
//! - written by people: [`spec`], [`config`] (with [`rules`], [`yaml`] and [`diagnose`] to read
//!   them and say what is wrong, [`defaults`] for what is not written, [`schema`] for editors)
//! - shown to people and programs: [`status`] (with [`git`] and [`upload`]), [`event`], [`control`], [`registered`] and
//!   [`send`] (the daemon's socket)
//! - between daemon and keeper: [`record`] and [`kept`] (files), [`keeper`] (socket), [`activity`] (shared page)
//! - between keeper and readers of output: [`log_index`]; and attached terminals: [`attach`], [`keys`]
//! - shared words: [`name`], [`quantity`], [`time`], [`cause`], [`conversation`]

pub mod activity;
pub mod attach;
pub mod cause;
pub mod config;
pub mod control;
pub mod conversation;
pub mod defaults;
pub mod diagnose;
pub mod event;
pub mod git;
pub mod hook;
pub mod keeper;
pub mod kept;
pub mod keys;
pub mod log_index;
pub mod name;
pub mod overrides;
pub mod quantity;
pub mod record;
pub mod registered;
pub mod rules;
pub mod schema;
pub mod send;
pub mod spec;
pub mod status;
pub mod time;
pub mod upload;
pub mod yaml;
