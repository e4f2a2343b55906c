//! `atm config`: the config in force, or the one with every default and its comments.

use serde_json::json;

use super::{
    context::Context,
    documents,
    error::{CliError, CliResult, Kind},
    output::PlainForm,
};
use crate::api::{config::Config, control::ConfigResult};

const AFTER: &str = "\
Examples:
  atm config
  atm config --default > ~/.config/atm/atm.yaml";

/// Arguments of `atm config`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Every key with its default, and what it means: a file to begin with
    #[arg(long, conflicts_with = "output")]
    default: bool,
    /// Form of the output: yaml or json
    #[arg(short, long, value_enum, default_value_t = PlainForm::Yaml)]
    output: PlainForm,
}

/// Ends well when the config in force is also what its file says.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    if args.default {
        return context.out.bytes(documents::DEFAULT_CONFIG.as_bytes());
    }
    let (config, broken) = match context.connect() {
        Ok(mut client) => {
            let ConfigResult { config, file, error } = client.call("config", &json!({}))?;
            match file {
                Some(file) => context.out.note(&format!("in force, from `{}`", file.display()))?,
                None => context.out.note("in force: the defaults")?,
            }
            (config, error)
        }
        Err(down) if down.kind == Kind::Unreachable => (from_file(context)?, None),
        Err(error) => return Err(error),
    };
    match args.output {
        PlainForm::Json => context.out.json(&config)?,
        PlainForm::Yaml | PlainForm::Table => context.out.yaml(&config)?,
    }
    match broken {
        None => Ok(()),
        Some(diagnostics) => {
            let error = CliError::invalid(&diagnostics);
            Err(CliError {
                hint: Some("the last good config is in force until the file is mended".into()),
                ..error
            })
        }
    }
}

fn from_file(context: &mut Context) -> CliResult<Config> {
    let file = context.default_candidate()?.directories.config;
    match documents::read(&file) {
        Ok(bytes) => {
            context.out.note(&format!("daemon down: from `{}`", file.display()))?;
            documents::parse_config(&bytes, &file).map_err(|diagnostics| CliError::invalid(&diagnostics))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && context.places.config.is_none() => {
            context.out.note(&format!("daemon down, and no config at `{}`: the defaults", file.display()))?;
            Ok(documents::default_config())
        }
        Err(error) => Err(CliError::io(format_args!("cannot read `{}`", file.display()), &error)),
    }
}
