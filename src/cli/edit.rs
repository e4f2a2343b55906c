//! `atm edit`: a session's spec in the person's editor, checked before it is put into force.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    complete,
    context::Context,
    documents,
    error::{CliError, CliResult, Kind},
    specfiles::{SEEN, SpecFile, SpecFiles, wait_until_seen, watch},
};
use crate::{
    api::{diagnose::Diagnostics, name::SessionName},
    host::{
        client::{pid, uid},
        put::Place,
        signals::run_at_terminal,
    },
};

const AFTER: &str = "\
The editor is $VISUAL, else $EDITOR, else vi. It works on a copy; the session changes only when the copy
is a valid spec.

Examples:
  atm edit fix-login
  EDITOR='code --wait' atm edit fix-login";

/// Arguments of `atm edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Name of a session
    #[arg(value_name = "NAME", add = complete::sessions())]
    name: SessionName,
    /// Do not wait until the daemon has seen the file
    #[arg(long)]
    no_wait: bool,
}

/// Ends well when the edited spec is in force, or nothing was changed.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let name = &args.name;
    let mut specs = SpecFiles::find(context)?;
    let Some(original) = specs.current(name)? else {
        return Err(match &mut specs.client {
            Some(client) => context.no_such_session(client, name),
            None => CliError::new(
                Kind::NoSuchSession,
                format!("no session `{name}`: no such file in `{}`", specs.directory.display()),
            ),
        });
    };
    let copy = Copy::of(&original)?;
    let edited = match edit(context, &copy, &original) {
        Ok(Some(edited)) => edited,
        Ok(None) => {
            copy.remove();
            return context.out.line(&format!("{name} unchanged"));
        }
        Err(error) => return Err(copy.kept(error)),
    };
    let put = put(args, context, &mut specs, &original, &edited);
    match put {
        Ok(()) => {
            copy.remove();
            Ok(())
        }
        Err(error) => Err(copy.kept(error)),
    }
}

/// Runs the editor until the copy is valid; `None`: nothing was changed.
fn edit(context: &mut Context, copy: &Copy, original: &SpecFile) -> CliResult<Option<Vec<u8>>> {
    loop {
        context.out.flush()?;
        run_editor(&copy.file)?;
        let edited = documents::read(&copy.file)
            .map_err(|error| CliError::io(format_args!("cannot read `{}`", copy.file.display()), &error))?;
        if edited == original.bytes {
            return Ok(None);
        }
        match documents::parse_spec(&edited, &copy.file) {
            Ok(_) => return Ok(Some(edited)),
            Err(diagnostics) if wants_another_try(context, &diagnostics)? => {}
            Err(diagnostics) => return Err(CliError::invalid(&diagnostics)),
        }
    }
}

fn wants_another_try(context: &mut Context, diagnostics: &Diagnostics) -> CliResult<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    context.out.talk(&documents::render(diagnostics))?;
    context.out.note("edit it again? [Y/n]")?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok_and(|count| count > 0) && !answer.trim().to_lowercase().starts_with('n'))
}

fn run_editor(file: &Path) -> CliResult {
    let set = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let words = shell_words::split(&editor).map_err(|error| {
        CliError::new(Kind::Usage, format!("the editor `{editor}` cannot be read: {error}"))
    })?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(CliError::new(Kind::Usage, "no editor is set").hint("set EDITOR"));
    };
    let status = run_at_terminal(Command::new(program).args(arguments).arg(file)).map_err(|error| {
        CliError::io(format_args!("cannot run the editor `{program}`"), &error).hint("set EDITOR")
    })?;
    if status.success() {
        return Ok(());
    }
    Err(CliError::failed(match status.signal() {
        Some(signal) => format!("the editor `{program}` was ended by signal {signal}"),
        None => format!("the editor `{program}` failed ({status})"),
    }))
}

fn put(
    args: &Args,
    context: &mut Context,
    specs: &mut SpecFiles,
    original: &SpecFile,
    edited: &[u8],
) -> CliResult {
    let name = &args.name;
    if specs.current(name)?.as_ref() != Some(original) {
        return Err(CliError::failed(format!("`{}` was changed meanwhile", original.path.display()))
            .hint(format!("see what is in it now: `atm edit {name}`")));
    }
    let wait = !args.no_wait && !documents::same_meaning(&original.bytes, edited, name, original.owner);
    let names = [name.clone()];
    let watched = match specs.client.take_if(|_| wait) {
        Some(client) => Some(watch(&client, &names)?),
        None => None,
    };
    specs.write(&original.path, edited, Place::Unchanged(&original.bytes))?;
    context.out.line(&format!("{name} configured"))?;
    context.out.flush()?;
    let Some((sessions, watch)) = watched else {
        return Ok(());
    };
    let before = sessions.first().cloned();
    CliError::gather(wait_until_seen(watch, vec![(name.clone(), before)], SEEN)?)
}

/// A private copy: specs hold values of env, and an editor puts its own files beside what it edits.
struct Copy {
    directory: PathBuf,
    file: PathBuf,
}

impl Copy {
    fn of(original: &SpecFile) -> CliResult<Self> {
        let failed = |error: io::Error| CliError::io("cannot make a copy to edit", &error);
        let base = std::env::temp_dir();
        let mut number = 0;
        let directory = loop {
            let directory = base.join(format!("atm-edit-{}-{}-{number}", uid(), pid()));
            match fs::DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => break directory,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(error) => return Err(failed(error)),
            }
        };
        let file = directory.join(original.path.file_name().unwrap_or_default());
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut copy| io::Write::write_all(&mut copy, &original.bytes))
            .map_err(failed)?;
        Ok(Self { directory, file })
    }

    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.directory); // the directory is private and below the temporary one
    }

    /// The same error, with where the work of the person is.
    fn kept(&self, error: CliError) -> CliError {
        let copy = format!("your copy is kept: `{}`", self.file.display());
        let hint = error.hint.as_ref().map_or_else(|| copy.clone(), |hint| format!("{hint}; {copy}"));
        error.hint(hint)
    }
}
