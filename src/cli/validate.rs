//! `atm validate`: checks spec files and the config, without a daemon.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    context::Context,
    documents,
    error::{CliError, CliResult},
    specfiles::SpecFiles,
};
use crate::api::{
    control::HealthResult,
    diagnose::{Diagnostic, Diagnostics},
};

const AFTER: &str = "\
Without FILE it checks the config and every spec in the sessions directory. Where the daemon answers, it also
tells what no text shows: a file that others may write, two files of one name, a directory that is not
believed. A file named atm.yaml is taken for a config unless it is in a sessions directory.

Examples:
  atm validate
  atm validate fix-login.yaml
  atm validate --config new.yaml";

/// Arguments of `atm validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Spec files, or atm.yaml [default: the config and the whole sessions directory]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

/// Ends well when every file is valid.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut errors = Vec::new();
    let mut check = |context: &mut Context, path: &Path, found: Result<(), Diagnostics>| match found {
        Ok(()) => context.out.line(&format!("{}: valid", super::text::escape(&path.display().to_string()))),
        Err(diagnostics) => {
            errors.push(CliError::invalid(&diagnostics));
            Ok(())
        }
    };
    for file in &args.files {
        let found = if is_config(file) { config(file) } else { spec(file) };
        check(context, file, found)?;
    }
    if args.files.is_empty() {
        let (config_file, directory) = places(context)?;
        let told = told_by_daemon(context, &directory);
        if let Some(why) = told.as_ref().and_then(|told| told.specs_unavailable.as_ref()) {
            let directory = directory.display().to_string();
            check(context, Path::new(&directory), Err(Diagnostics::whole(directory.as_str(), why.as_str())))?;
        }
        if config_file.exists() || context.places.config.is_some() {
            let errors = told.iter().filter_map(|told| told.config_error.as_ref());
            check(context, &config_file, config(&config_file).and_then(|()| refused(&config_file, errors)))?;
        } else {
            context.out.note(&format!("no config at `{}`: the defaults hold", config_file.display()))?;
        }
        for file in spec_files(&directory)? {
            let errors = told.iter().flat_map(|told| &told.spec_errors);
            check(context, &file, spec(&file).and_then(|()| refused(&file, errors)))?;
        }
    }
    CliError::gather(errors)
}

/// What the daemon that reads this directory has against its files.
fn told_by_daemon(context: &mut Context, directory: &Path) -> Option<HealthResult> {
    let mut client = context.connect().ok()?;
    (client.directories().sessions == directory)
        .then(|| client.call("health", &serde_json::json!({})).ok())?
}

/// What is wrong with a file as a whole. What is wrong with its text may be mended by now, and is read here anyway.
fn refused<'a>(file: &Path, told: impl Iterator<Item = &'a Diagnostics>) -> Result<(), Diagnostics> {
    let is_it =
        |error: &&Diagnostic| error.line.is_none() && Path::new(&error.file).file_name() == file.file_name();
    let whole: Vec<Diagnostic> = told.flat_map(|told| &told.0).filter(is_it).cloned().collect();
    if whole.is_empty() { Ok(()) } else { Err(Diagnostics(whole)) }
}

fn places(context: &mut Context) -> CliResult<(PathBuf, PathBuf)> {
    // Where the flags say both, nobody needs to be asked.
    if let (Some(config), Some(sessions)) = (&context.places.config, &context.places.sessions_dir) {
        return Ok((config.clone(), sessions.clone()));
    }
    let found = SpecFiles::find(context)?;
    let config = match &found.client {
        Some(client) => client.directories().config.clone(),
        None => context.while_down(context.places.config.as_deref(), "config")?.directories.config,
    };
    Ok((config, found.directory))
}

fn is_config(file: &Path) -> bool {
    let beside_specs = file.parent().is_some_and(|parent| parent.ends_with("sessions.d"));
    file.file_name().is_some_and(|name| name == "atm.yaml") && !beside_specs
}

fn config(file: &Path) -> Result<(), Diagnostics> {
    let bytes = documents::read(file).map_err(|error| documents::unreadable(file, &error))?;
    documents::parse_config(&bytes, file).map(|_| ())
}

fn spec(file: &Path) -> Result<(), Diagnostics> {
    if let Some(Err(diagnostics)) = documents::session_of(file) {
        return Err(diagnostics);
    }
    let bytes = documents::read(file).map_err(|error| documents::unreadable(file, &error))?;
    documents::parse_spec(&bytes, file).map(|_| ())
}

/// The files of a directory that are specs by their names, in order.
fn spec_files(directory: &Path) -> CliResult<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(CliError::io(format_args!("cannot read `{}`", directory.display()), &error));
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| documents::session_of(path).is_some())
        .collect();
    files.sort();
    Ok(files)
}
