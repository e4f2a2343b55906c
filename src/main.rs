//! Arguments → a role (client, daemon, keeper) → an exit status.

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything else: a keeper is started a thousand times, and needs no grammar.
    if arguments.get(1).is_some_and(|role| role == "keeper") {
        return atm::keeper::main();
    }
    atm::cli::main(arguments)
}
