//! `atm config`: the config in force, or the one with every default and its comments.

use serde_json::json;

use super::{
    context::Context,
    documents,
    error::{CliError, CliResult, Kind},
    output::{self, PlainForm},
    text::escape,
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
    let (config, written, broken) = match context.connect() {
        Ok(mut client) => {
            let ConfigResult { config, file, written, error } = client.call("config", &json!({}))?;
            match file {
                Some(file) => context.out.note(&format!("in force, from `{}`", file.display()))?,
                None => context.out.note("in force: the defaults")?,
            }
            (config, written, error)
        }
        Err(down) if down.kind == Kind::Unreachable => {
            let config = from_file(context)?;
            let written = config.written.clone();
            (config, written, None)
        }
        Err(error) => return Err(error),
    };
    match args.output {
        PlainForm::Json => context.out.json(&config)?,
        PlainForm::Yaml | PlainForm::Table => {
            let text = annotated(&config, &written)?;
            context.out.bytes(text.as_bytes())?;
        }
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

/// The config as YAML, each key that nobody wrote marked as a default.
fn annotated(config: &Config, written: &[String]) -> CliResult<String> {
    let mut text = String::new();
    for line in output::to_yaml(config)?.lines() {
        text.push_str(&escape(line));
        // A key of the config stands at the margin; what is below it is a part of it.
        if let Some((key, _)) = line.split_once(':')
            && !key.starts_with([' ', '-', '#'])
            && !written.iter().any(|written| written == key)
        {
            text.push_str(match key {
                // Written, it would be for all.
                "emergency" => "  # default: for sessions with a maxIdle only",
                _ => "  # default",
            });
        }
        text.push('\n');
    }
    Ok(text)
}

fn from_file(context: &mut Context) -> CliResult<Config> {
    let file = context.while_down(context.places.config.as_deref(), "config")?.directories.config;
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
