//! `atm touch`: a sign of life of a session, and what it is doing.

use super::{
    context::Context,
    error::{CliError, CliResult},
    select::Targets,
    steer::resolve,
};
use crate::api::{
    control::{TouchParams, VerbResult},
    status::Activity,
};

const AFTER: &str = "\
For agents that tell atm what they do: a busy session finishes its turn, one that waits for a person waits,
and idle time counts from the moment at which it says that it is idle.

Examples:
  atm touch fix-login                     it lives: idle time begins anew
  atm touch fix-login --activity busy     a turn begins
  atm touch fix-login --activity idle     the turn is over";

/// Arguments of `atm touch`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// What it is doing from now on
    #[arg(long, value_enum)]
    activity: Option<Doing>,
}

/// What a session can say of itself.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Doing {
    /// A turn is in progress
    Busy,
    /// It waits for a person
    Waiting,
    /// Its turn is over
    Idle,
}

impl From<Doing> for Activity {
    fn from(doing: Doing) -> Self {
        match doing {
            Doing::Busy => Self::Busy,
            Doing::Waiting => Self::Waiting,
            Doing::Idle => Self::Idle,
        }
    }
}

/// Ends well when every session meant runs and was touched.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    let mut errors = Vec::new();
    let names = resolve(context, &mut client, &args.targets, &mut errors)?;
    for name in names {
        let params = TouchParams { name, activity: args.activity.map(Activity::from) };
        if let Err(error) = client.call::<VerbResult>("touch", &params) {
            errors.push(error.into());
        }
    }
    CliError::gather(errors)
}
