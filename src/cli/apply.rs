//! `atm apply`: puts spec files into force. All are checked before any is written.

use std::path::{Path, PathBuf};

use super::{
    complete,
    context::Context,
    documents,
    error::{CliError, CliResult, Kind},
    specfiles::{SEEN, SpecFiles, wait_until_seen, watch},
};
use crate::{
    api::{diagnose::Diagnostics, name::SessionName, quantity::Dur},
    host::put::Place,
};

const AFTER: &str = "\
A file's stem is the session's name. All files are checked before any is written.

Examples:
  atm apply fix-login.yaml build.yaml
  generate | atm apply - --name fix-login";

/// Arguments of `atm apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Spec files; `-` is standard input
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// The session's name, for standard input or instead of one file's stem
    #[arg(long, value_name = "NAME", add = complete::sessions())]
    name: Option<SessionName>,
    /// Do not wait until the daemon has seen the files
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// Wait at most this long [default: 60s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Dur>,
}

struct Given {
    name: SessionName,
    bytes: Vec<u8>,
}

/// Ends well when every file is in force.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let given = read_all(args)?;
    let mut specs = SpecFiles::find(context)?;
    specs.prepare(context)?;
    if specs.client.is_none() {
        context.out.note("daemon down: the files will be in force when it is back")?;
    }

    let names: Vec<SessionName> = given.iter().map(|given| given.name.clone()).collect();
    let wait = !args.no_wait;
    let watched = match specs.client.take_if(|_| wait) {
        Some(client) => Some(watch(&client, &names)?),
        None => None,
    };
    let mut written = Vec::new();
    for Given { name, bytes } in given {
        let current = specs.current(&name)?;
        let words = match &current {
            Some(current) if documents::same_meaning(&current.bytes, &bytes, &name, current.owner) => {
                "unchanged"
            }
            Some(_) => "configured",
            None => "created",
        };
        if words != "unchanged" {
            let (path, place) = match &current {
                Some(current) => (current.path.clone(), Place::Replace),
                None => (specs.new_path(&name), Place::New),
            };
            specs.write(&path, &bytes, place)?;
            let before = watched
                .as_ref()
                .and_then(|(sessions, _)| sessions.iter().find(|session| session.name == name));
            written.push((name.clone(), before.cloned()));
        }
        context.out.line(&format!("{name} {words}"))?;
        context.out.flush()?;
    }
    match watched {
        Some((_, watch)) if !written.is_empty() => {
            let limit = args.timeout.map_or(SEEN, |Dur(limit)| limit);
            CliError::gather(wait_until_seen(watch, written, limit)?)
        }
        _ => Ok(()),
    }
}

fn read_all(args: &Args) -> CliResult<Vec<Given>> {
    if args.name.is_some() && args.files.len() > 1 {
        return Err(CliError::new(Kind::Usage, "--name is for one file")
            .hint("apply the files one by one, or name them as their sessions"));
    }
    let (mut given, mut errors) = (Vec::<Given>::new(), Vec::new());
    for file in &args.files {
        match read_one(args, file)? {
            Ok(one) if given.iter().any(|other| other.name == one.name) => {
                return Err(CliError::new(Kind::Usage, format!("two files are named for `{}`", one.name)));
            }
            Ok(one) => given.push(one),
            Err(diagnostics) => errors.push(CliError::invalid(&diagnostics)),
        }
    }
    CliError::gather(errors)?;
    Ok(given)
}

fn read_one(args: &Args, file: &Path) -> CliResult<Result<Given, Diagnostics>> {
    let stdin = file == Path::new("-");
    let name = match (&args.name, stdin) {
        (Some(name), _) => name.clone(),
        (None, true) => {
            return Err(CliError::new(Kind::Usage, "standard input has no name").hint("say --name NAME"));
        }
        (None, false) => match documents::session_of(file) {
            Some(Ok(name)) => name,
            Some(Err(diagnostics)) => return Ok(Err(diagnostics)),
            None => {
                return Err(CliError::new(
                    Kind::Usage,
                    format!("`{}` is no NAME.yaml or NAME.yml", file.display()),
                )
                .hint("rename it, or say --name NAME"));
            }
        },
    };
    let bytes = if stdin {
        documents::read_stdin()?
    } else {
        documents::read(file)
            .map_err(|error| CliError::io(format_args!("cannot read `{}`", file.display()), &error))?
    };
    let shown = if stdin { Path::new("<stdin>") } else { file };
    Ok(documents::parse_spec(&bytes, shown).map(|_| Given { name, bytes }))
}
