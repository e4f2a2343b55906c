//! Arguments → a role (client, daemon, keeper) → an exit status.

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything else: a keeper is started a thousand times, and needs no grammar.
    if arguments.get(1).is_some_and(|role| role == "keeper") {
        return atm::keeper::main();
    }
    // An agent waits for each of its hooks, and takes some of their failures for an order to stop.
    if let Some(code) = atm::cli::hook::main(&arguments) {
        return code;
    }
    atm::cli::main(arguments)
}
