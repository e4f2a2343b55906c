//! The program `atm`: arguments to a role, a role to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else is read: a keeper's start is part of every session's.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "keeper") {
        return atm::keeper::main();
    }
    ExitCode::FAILURE
}
