//! `atm cleanup`: tells the daemon to clean up now.

use super::{
    context::Context,
    error::{CliError, CliResult, Kind},
};
use crate::api::control::CleanupParams;

const AFTER: &str = "\
When the sessions directory is gone, or is another one than before, the daemon stops nothing. Where the
directory is right as it is now, --accept-removals says so: sessions whose files are missing are ended.

Examples:
  atm cleanup --accept-removals";

/// Arguments of `atm cleanup`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Take the sessions directory as it is now for the truth
    #[arg(long)]
    accept_removals: bool,
}

/// Ends well when the daemon has taken it up.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    if !args.accept_removals {
        return Err(CliError::new(Kind::Usage, "nothing to clean up was named")
            .hint("`atm cleanup --accept-removals` takes the sessions directory as it is now"));
    }
    let mut client = context.connect()?;
    let params = CleanupParams { accept_removals: args.accept_removals };
    let _: serde_json::Value = client.call("cleanup", &params)?;
    context.out.note("the sessions directory is taken as it is now")
}
