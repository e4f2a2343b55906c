//! `atm cleanup`: evicts now what is over its budget, and takes the sessions directory for the truth.

use super::{
    context::Context,
    error::CliResult,
    output::{PlainForm, Table},
};
use crate::api::control::{CleanupParams, CleanupResult};

const AFTER: &str = "\
Budgets are looked after without it; this is for now, and to see what they would do. With --emergency it
evicts idle sessions over the `emergency` thresholds of the config, as when all places are taken. Pinned,
busy and attached sessions stay.

When the sessions directory is gone, or is another one than before, the daemon stops nothing. Where the
directory is right as it is now, --accept-removals says so: sessions whose files are missing are ended.

Examples:
  atm cleanup --dry-run
  atm cleanup --emergency
  atm cleanup --accept-removals";

/// Arguments of `atm cleanup`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Evict idle sessions over the emergency thresholds too
    #[arg(long)]
    emergency: bool,
    /// Only say what would be evicted
    #[arg(long)]
    dry_run: bool,
    /// Take the sessions directory as it is now for the truth
    #[arg(long, conflicts_with = "dry_run")]
    accept_removals: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = PlainForm::Table)]
    output: PlainForm,
}

/// Ends well when the daemon has taken it up.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let params = CleanupParams {
        accept_removals: args.accept_removals,
        emergency: args.emergency,
        dry_run: args.dry_run,
    };
    let result: CleanupResult = context.connect()?.call("cleanup", &params)?;
    if args.accept_removals {
        context.out.note("the sessions directory is taken as it is now")?;
    }
    match args.output {
        PlainForm::Json => return context.out.json(&result),
        PlainForm::Yaml => return context.out.yaml(&result),
        PlainForm::Table => {}
    }
    if result.evictions.is_empty() {
        return context.out.note("no session is over its budget");
    }
    let would = if args.dry_run { "WOULD END AS" } else { "ENDS AS" };
    let mut table = Table::new(&["NAME", would, "WHY"]);
    for eviction in &result.evictions {
        table.row(vec![
            eviction.name.as_str().into(),
            eviction.cause.reason.to_string().as_str().into(),
            eviction.cause.message.as_str().into(),
        ]);
    }
    context.out.bytes(table.render(context.out.colour()).as_bytes())
}
