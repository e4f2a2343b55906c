//! `atm detach`: all terminals that are attached to a session let it go; it goes on.

use super::{
    attach::reach::{IfEnded, ask_keeper},
    complete,
    context::Context,
    error::{CliError, CliResult},
};
use crate::api::{keeper::Request, name::SessionName};

/// Arguments of `atm detach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sessions
    #[arg(value_name = "NAME", required = true, add = complete::sessions())]
    names: Vec<SessionName>,
}

/// Ends well when no terminal is attached to any of them.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut errors = Vec::new();
    for name in &args.names {
        match ask_keeper(context, name, IfEnded::Fail, &Request::Detach) {
            Ok(_) => context.out.line(&format!("{name} detached"))?,
            Err(error) => errors.push(error),
        }
    }
    CliError::gather(errors)
}
