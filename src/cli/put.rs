//! `atm put`: gives a session files, where its agent can read them.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    client::{Client, ClientError},
    complete,
    context::Context,
    error::{CliError, CliResult, Kind},
    text::escape,
};
use crate::{
    api::{
        control::{NameParams, UploadedParams, UploadsResult, VerbResult},
        name::SessionName,
        quantity::Size,
        time::Timestamp,
        upload::{LARGEST_UPLOAD, Upload, file_name},
    },
    host::{
        assume::{Rights, with_rights},
        client::{self as host, Links, open_regular},
        errors::words,
        uploads::{Received, UploadError, Uploads},
        users,
    },
};

const AFTER: &str = "\
Each file is copied to `.atm/uploads/` in the session's working directory, where its agent can read it, and the path of
the copy is printed. It is named by its content: the same content is there once. Git is told to ignore it there. At most
100 MiB a file. The copies are removed with what is left of the session, `logs.maxAge` after that is gone.

Examples:
  atm put fix-login screenshot.png
  atm send fix-login \"look at $(atm put fix-login screenshot.png)\"
  git diff | atm put fix-login - --name changes.diff
  tar -c docs | atm put fix-login - --name docs.tar";

/// Arguments of `atm put`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The session
    #[arg(value_name = "NAME", add = complete::sessions())]
    name: SessionName,
    /// Files; `-` reads standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What to call it, of one file or of standard input [default: its own name]
    #[arg(long = "name", value_name = "FILENAME")]
    called: Option<String>,
}

/// Ends well when every file is there and the daemon knows of it.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    if args.called.is_some() && args.files.len() > 1 {
        return Err(CliError::new(Kind::Usage, "--name is for one file"));
    }
    let mut client = context.connect()?;
    let asked =
        client.call::<UploadsResult>("uploads", &NameParams { name: args.name.clone(), run_id: None });
    let place = asked.map_err(|error| {
        let error = CliError::from(error);
        if error.kind == Kind::NoSuchSession {
            context.no_such_session(&mut client, &args.name)
        } else {
            error
        }
    })?;
    let rights = rights(&args.name, place.uid)?;
    let mut errors = Vec::new();
    for file in &args.files {
        // Opened as who asks; only what is written is written as the session's user.
        let done = open(file).and_then(|source| {
            let called = args.called.clone().unwrap_or_else(|| called(file));
            let put = || put(&mut client, &args.name, &place.directory, source, &called);
            let put = match &rights {
                None => put(),
                Some(rights) => with_rights(rights, put).map_err(|error| {
                    CliError::io(format_args!("cannot act as user {}", place.uid), &error)
                })?,
            };
            put.map_err(|error| tell(error, file, &place.directory))
        });
        match done {
            Ok(path) => {
                let path = path.display().to_string();
                // A program takes it as it is.
                let shown = if context.out.is_terminal() { escape(&path) } else { path.as_str().into() };
                context.out.line(&shown)?;
            }
            Err(error) => errors.push(error),
        }
    }
    CliError::gather(errors)
}

/// The rights of the session's user, where they are not our own.
fn rights(name: &SessionName, uid: u32) -> CliResult<Option<Rights>> {
    let own = host::uid();
    if uid == own {
        return Ok(None);
    }
    if own != 0 {
        return Err(super::attach::reach::forbidden(name));
    }
    let account = users::by_uid(uid).and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()));
    let rights = account.and_then(|account| Rights::of_account(&account));
    rights.map(Some).map_err(|error| CliError::io(format_args!("cannot look up user {uid}"), &error))
}

/// What is read, and how much of it at most.
struct Source {
    from: Box<dyn Read>,
    limit: u64,
}

fn open(path: &Path) -> CliResult<Source> {
    if path == Path::new("-") {
        return Ok(Source { from: Box::new(io::stdin().lock()), limit: LARGEST_UPLOAD });
    }
    let shown = path.display();
    let opened = open_regular(path, Links::Follow).and_then(|file| {
        let length = file.metadata()?.len();
        Ok((file, length))
    });
    let (file, length): (File, u64) = opened.map_err(|error| {
        let told = CliError::io(format_args!("cannot read `{shown}`"), &error);
        match error.kind() {
            io::ErrorKind::PermissionDenied => told.hint("make it readable for you, or be its owner"),
            _ if fs::metadata(path).is_ok_and(|about| about.is_dir()) => {
                CliError::failed(format!("`{shown}` is a directory"))
                    .hint(format!("put an archive of it: `tar -c {shown} | atm put NAME - --name NAME.tar`"))
            }
            io::ErrorKind::InvalidInput => {
                told.hint(format!("put what it gives: `atm put NAME - --name FILENAME < {shown}`"))
            }
            _ => told,
        }
    })?;
    // One that grows meanwhile is taken as it was; one without a length, as in /proc, as it comes.
    let limit = if length == 0 { LARGEST_UPLOAD } else { length };
    if limit > LARGEST_UPLOAD {
        return Err(too_long(path));
    }
    let from: Box<dyn Read> = if length == 0 { Box::new(file) } else { Box::new(file.take(length)) };
    Ok(Source { from, limit })
}

fn called(path: &Path) -> String {
    if path == Path::new("-") {
        return "stdin".to_owned();
    }
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

enum PutError {
    Upload(UploadError),
    Daemon(ClientError),
}

impl From<UploadError> for PutError {
    fn from(error: UploadError) -> Self {
        Self::Upload(error)
    }
}

fn put(
    client: &mut Client,
    name: &SessionName,
    directory: &Path,
    source: Source,
    called: &str,
) -> Result<PathBuf, PutError> {
    let uploads = Uploads::make(directory)?;
    let received = uploads.receive(source.from, source.limit)?;
    let same = uploads.same(&received);
    let upload = describe(directory, &received, same.as_deref(), called);
    let path = upload.path();
    let file = upload.file.clone();
    // Told first: what the daemon knows it removes some day.
    let told = client.call::<VerbResult>("uploaded", &UploadedParams { name: name.clone(), upload });
    told.map_err(PutError::Daemon)?;
    if same.is_none() {
        received.settle(&file)?;
    }
    Ok(path)
}

fn describe(directory: &Path, received: &Received<'_>, same: Option<&str>, called: &str) -> Upload {
    let file = same.map(str::to_owned).or_else(|| file_name(&received.sha256, called)).unwrap_or_default();
    Upload {
        directory: directory.to_owned(),
        file,
        sha256: received.sha256.clone(),
        bytes: received.bytes,
        at: Timestamp::default(),
    }
}

fn too_long(path: &Path) -> CliError {
    let most = Size(LARGEST_UPLOAD);
    CliError::failed(format!("`{}` is longer than {most}", path.display()))
        .hint("put it where the session can read it, and tell its agent the path")
}

fn tell(error: PutError, file: &Path, directory: &Path) -> CliError {
    let (shown, into) = (file.display(), directory.display());
    match error {
        PutError::Daemon(error) => error.into(),
        PutError::Upload(UploadError::TooLong) => too_long(file),
        PutError::Upload(UploadError::Source(error)) => {
            CliError::io(format_args!("cannot read `{shown}`"), &error)
        }
        PutError::Upload(UploadError::NotOurs(what)) => CliError::failed(format!(
            "cannot put `{shown}` into `{into}`: `{what}` there is not a directory of the session's user"
        ))
        .hint("move it away: atm makes one"),
        PutError::Upload(UploadError::Host { action, source }) => {
            let why = words(&source);
            let told =
                CliError::failed(format!("cannot put `{shown}` into `{into}`: cannot {action}: {why}"));
            match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    told.hint("the session's user must be able to write there")
                }
                io::ErrorKind::NotFound => told.hint("the working directory was removed or renamed"),
                _ => told,
            }
        }
    }
}
