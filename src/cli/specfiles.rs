//! Spec files in the sessions directory: found, compared, written whole, and seen by the daemon.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    client::{Client, after},
    context::Context,
    dirs::Mode,
    documents,
    error::{CliError, CliResult, Kind},
    watch::{Change, Watch, WhenFull},
};
use crate::{
    api::{name::SessionName, status::SessionView},
    host::{
        client::uid,
        errors::words,
        files::make_directory,
        put::{Manner, Place, put},
    },
};

/// For the daemon to see a changed file: a full look comes each `resyncInterval` in any case.
pub const SEEN: Duration = Duration::from_secs(60);

/// The sessions directory, and the daemon that reads it where one answers.
#[derive(Debug)]
pub struct SpecFiles {
    /// Where specs are.
    pub directory: PathBuf,
    /// The daemon.
    pub client: Option<Client>,
}

/// The file of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whose it is.
    pub owner: u32,
}

impl SpecFiles {
    /// The directory of the daemon that answers, else the one that is meant where none does.
    pub fn find(context: &mut Context) -> CliResult<Self> {
        match context.connect() {
            Ok(client) => Ok(Self { directory: client.directories().sessions.clone(), client: Some(client) }),
            Err(down) if down.kind == Kind::Unreachable => {
                let said = context.places.sessions_dir.as_deref();
                let directory = context.while_down(said, "sessions-dir")?.directories.sessions;
                Ok(Self { directory, client: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the directory where it is missing and no daemon watches over it.
    pub fn prepare(&self, context: &Context) -> CliResult {
        if self.client.is_some() || self.directory.is_dir() {
            return Ok(());
        }
        // As the daemon makes it.
        let mode = match context.places.mode(&context.environment) {
            Mode::System => 0o755,
            Mode::User => 0o700,
        };
        make_directory(&self.directory, mode)
            .map_err(|error| CliError::io(format_args!("cannot make `{}`", self.directory.display()), &error))
    }

    fn paths(&self, name: &SessionName) -> [PathBuf; 2] {
        ["yaml", "yml"].map(|extension| self.directory.join(format!("{name}.{extension}")))
    }

    /// Every file that declares `name`: one, or two that are in conflict.
    pub fn files_of(&self, name: &SessionName) -> Vec<PathBuf> {
        self.paths(name).into_iter().filter(|path| fs::symlink_metadata(path).is_ok()).collect()
    }

    /// The file of a session, to be replaced: a real file, as writing through somebody's link, or over it,
    /// could be meant or not.
    pub fn current(&self, name: &SessionName) -> CliResult<Option<SpecFile>> {
        let Some(path) = self.files_of(name).into_iter().next() else {
            return Ok(None);
        };
        if let Ok(target) = fs::read_link(&path) {
            return Err(CliError::failed(format!(
                "`{}` is a link to `{}`",
                path.display(),
                target.display()
            ))
            .hint("edit that file, or remove the link first"));
        }
        match documents::read(&path) {
            Ok(bytes) => {
                let owner = fs::symlink_metadata(&path).map_or_else(|_| uid(), |file| file.uid());
                Ok(Some(SpecFile { path, bytes, owner }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::io(format_args!("cannot read `{}`", path.display()), &error)),
        }
    }

    /// Where a new session's file goes.
    pub fn new_path(&self, name: &SessionName) -> PathBuf {
        self.directory.join(format!("{name}.yaml"))
    }

    /// Writes a spec whole.
    pub fn write(&self, path: &Path, bytes: &[u8], place: Place<'_>) -> CliResult {
        put(path, bytes, Manner::of_spec(place)).map_err(|error| {
            let told = CliError::io(format_args!("cannot write `{}`", path.display()), &error);
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    CliError::failed(format!("`{}` exists already", path.display()))
                        .hint("choose another --name, or `atm apply` a file of that name")
                }
                io::ErrorKind::PermissionDenied => {
                    told.hint("sessions of the machine's daemon are root's to write: sudo, or --user")
                }
                io::ErrorKind::NotFound => {
                    told.hint("the sessions directory is missing: `atm status` tells more")
                }
                _ => told,
            }
        })
    }
}

/// How a written spec is seen to be in force: the session is there, and its generation or its error is new.
pub fn is_seen(before: Option<&SessionView>, now: &SessionView) -> Option<CliResult> {
    let error = now.status.spec_error.as_ref();
    let fresh = before.is_none_or(|before| {
        before.generation != now.generation || before.status.spec_error.as_ref() != error
    });
    if !fresh {
        return None;
    }
    Some(match error {
        Some(error) => Err(CliError::invalid(error)),
        None => Ok(()),
    })
}

/// Waits until the daemon has seen each of `written`, with what was known of them before.
pub fn wait_until_seen(
    mut watch: Watch,
    mut written: Vec<(SessionName, Option<SessionView>)>,
    limit: Duration,
) -> CliResult<Vec<CliError>> {
    let deadline = after(limit);
    let mut errors = Vec::new();
    let mut look = |session: &SessionView, written: &mut Vec<(SessionName, Option<SessionView>)>| {
        let Some(at) = written.iter().position(|(name, _)| *name == session.name) else {
            return;
        };
        let before = written.get(at).and_then(|(_, before)| before.as_ref());
        if let Some(seen) = is_seen(before, session) {
            errors.extend(seen.err());
            written.swap_remove(at);
        }
    };
    while !written.is_empty() {
        match watch.next(deadline)? {
            Some(Change::Now(session)) => look(&session, &mut written),
            Some(Change::Gone(_)) => {}
            None => break,
        }
    }
    errors.extend(written.into_iter().map(|(name, _)| {
        CliError::failed(format!("the daemon has not taken up the file of `{name}`"))
            .hint(format!("`atm status` and `atm describe {name}` may tell why"))
    }));
    Ok(errors)
}

/// Opens a watch before specs are written.
pub fn watch(client: &Client, names: &[SessionName]) -> CliResult<(Vec<SessionView>, Watch)> {
    Ok(Watch::open(client, names, WhenFull::Poll)?)
}

/// Removes a file; one that is gone is no error.
pub fn remove(path: &Path) -> CliResult {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CliError::failed(format!("cannot remove `{}`: {}", path.display(), words(&error))))
        }
        _ => Ok(()),
    }
}
