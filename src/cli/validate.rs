//! `atm validate`: checks spec files and the config, without a daemon.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    context::Context,
    dirs::Mode,
    documents,
    error::{CliError, CliResult},
    specfiles::SpecFiles,
};
use crate::{
    api::{diagnose::Diagnostics, spec::WrittenSpec},
    daemon::specs::{
        Rules,
        judge::MAX_FILE,
        names::{FileKey, Suffix},
    },
    host::{
        client::uid,
        specfile::{Directory, Sight},
    },
};

const AFTER: &str = "\
Without FILE it checks the config and every spec in the sessions directory, also for who could have written
it and for two files of one name. A file named atm.yaml is taken for a config unless it is in a sessions
directory.

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
        if config_file.exists() || context.places.config.is_some() {
            check(context, &config_file, config(&config_file))?;
        } else {
            context.out.note(&format!("no config at `{}`: the defaults hold", config_file.display()))?;
        }
        let rules = Rules { system: context.places.mode(&context.environment) == Mode::System, uid: uid() };
        for file in spec_files(&directory)? {
            check(context, &file, declared(&directory, &file, rules))?;
        }
    }
    CliError::gather(errors)
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

/// A spec in the sessions directory, as the daemon takes it.
fn declared(directory: &Path, file: &Path, rules: Rules) -> Result<(), Diagnostics> {
    if let Some(Err(diagnostics)) = documents::session_of(file) {
        return Err(diagnostics);
    }
    let unreadable = |error: &io::Error| documents::unreadable(file, error);
    let opened = Directory::open(directory).map_err(|error| unreadable(&error))?;
    let Sight::Present { stamp, bytes, torn: _ } =
        opened.read(file.file_name().unwrap_or_default(), MAX_FILE)
    else {
        return Err(unreadable(&io::ErrorKind::NotFound.into()));
    };
    rules.judge::<WrittenSpec>(stamp.as_ref(), bytes, rules.is_shared(&opened.inode), file)?;
    let key = file.file_name().and_then(|name| FileKey::parse(&name.to_string_lossy()));
    match key.filter(|key| key.suffix == Suffix::Yml) {
        Some(FileKey { name, .. }) if file.with_extension("yaml").exists() => Err(Diagnostics::whole(
            file.display().to_string(),
            format!("`{name}` is defined by {name}.yaml as well: remove one of the two"),
        )),
        _ => Ok(()),
    }
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
