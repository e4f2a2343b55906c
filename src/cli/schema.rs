//! `atm schema`: JSON Schema, for editors.

use super::{context::Context, documents, error::CliResult};

const AFTER: &str = "\
Examples:
  atm schema session > session.schema.json
  then in a spec: # yaml-language-server: $schema=session.schema.json";

/// Arguments of `atm schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Of what
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// A session's spec
    Session,
    /// The config, atm.yaml
    Config,
}

/// Prints it.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let schema = match args.of {
        Of::Session => documents::session_schema(),
        Of::Config => documents::config_schema(),
    };
    context.out.line(schema.trim_end())
}
