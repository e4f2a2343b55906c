//! The small program that holds one session: its terminal, its log and its exit record. It outlives the
//! daemon, so nothing that happens to the daemon happens to a session.
//!
//! `atm keeper RUNTIME NAME`, with the locked descriptor on standard input, the start pipe on standard output
//! and the marks `ATM_INSTANCE`, `ATM_RUN_ID` in the environment.
//!
//! ```text
//! start    intent → child behind the gate → record → gate → exec        (start, birth, child, environ)
//! run      output → log; children reaped; peers answered                (session, peers)
//! terminal output → screen and clients; questions answered; typing      (interactive, terminal, questions, screen,
//!                                                                        viewers, outbox, typing)
//! stop     cause into the record → signals → grace → SIGKILL until none (ending, stop)
//! end      the log's last byte → exit record → lock free, with the process
//! ```
//!
//! One thread and one `poll` loop: there are as many keepers as sessions, and each must be small.

pub mod client;

mod birth;
mod child;
mod ending;
pub(crate) mod environ;
mod files;
mod interactive;
mod outbox;
pub(crate) mod peers;
pub(crate) mod questions;
pub(crate) mod screen;
mod session;
mod start;
mod stop;
mod terminal;
mod typing;
pub(crate) mod viewers;

use std::{ffi::OsString, io::Write, path::Path, process::ExitCode};

use crate::{
    api::{name::SessionName, record::ENV_RUN_ID},
    host::failpoint,
};

/// The keeper was not wanted: it has done nothing, and left no trace.
const NOT_OURS: u8 = 1;
/// It was not called as the daemon calls it.
const USAGE: u8 = 2;

/// Runs `atm keeper RUNTIME NAME`. Succeeds whenever the exit record tells what happened, however the session
/// ended.
pub fn main() -> ExitCode {
    failpoint::in_keeper();
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let [runtime, name] = arguments.as_slice() else {
        return fail(USAGE, "atm keeper is started by atm daemon, for one session");
    };
    let name = name.to_str().and_then(|name| SessionName::new(name).ok());
    let run = std::env::var(ENV_RUN_ID).ok().and_then(|run| run.parse().ok());
    let (Some(name), Some(run)) = (name, run) else {
        return fail(USAGE, "atm keeper is started by atm daemon, for one session");
    };
    match start::begin(Path::new(runtime), name, run) {
        Ok(begun) => {
            if let Some(session) = begun.start() {
                session.run();
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            fail(NOT_OURS, &format!("{error}{}", cause.unwrap_or_default()))
        }
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "atm keeper: {}", message.escape_debug());
    ExitCode::from(code)
}
