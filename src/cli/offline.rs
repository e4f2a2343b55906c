//! Stopping sessions while the daemon is down: through their keepers, found by their locks.
//!
//! The keeper records the cause with the person behind it before its first signal, and the daemon honours it
//! when it is back: a session that was stopped stays stopped.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    client::after,
    context::Context,
    dirs,
    error::{CliError, CliResult, Kind},
    select::Targets,
    steer::Patience,
};
use crate::{
    api::{
        cause::{Actor, Cause, StopReason},
        keeper::{Reply, Request},
        name::SessionName,
        quantity::Dur,
        record::{RECORD_FILE, Record},
    },
    host::{client as host, clock, errors::words, files, lock, process::Process},
    keeper::client::ask,
};

/// For a keeper to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// On top of a session's own grace.
const AFTER_GRACE: Duration = Duration::from_secs(30);

/// Between two looks at a lock, where its keeper cannot be waited on.
const LOOK: Duration = Duration::from_millis(50);

/// Longest record that is read.
const LONGEST_RECORD: u64 = 4 << 20;

/// What to ask of a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// An end with grace, cause `ClientStop`.
    Stop,
    /// An end with SIGKILL now, cause `ClientKill`.
    Kill,
    /// A signal, and no end.
    Signal(i32),
}

/// A session whose keeper lives.
#[derive(Debug)]
struct Live {
    name: SessionName,
    directory: PathBuf,
    lock: PathBuf,
    /// Absent while the keeper is still starting, or where its record cannot be read.
    record: Option<Record>,
}

/// Ends the targets, or signals them, and waits until each keeper is gone.
pub fn end(
    context: &mut Context,
    down: &CliError,
    how: How,
    targets: &Targets,
    patience: &Patience,
) -> CliResult {
    let live = find(context)?;
    let mut errors = Vec::new();
    for name in targets.distinct_names() {
        if !live.iter().any(|session| session.name == name) {
            errors.push(CliError {
                message: format!("{}; `{name}` has no process that could be asked instead", down.message),
                ..down.clone()
            });
        }
    }
    let meant: Vec<&Live> = live.iter().filter(|session| admits(targets, session)).collect();
    if meant.is_empty() {
        // Nothing was asked of anybody: the daemon, which would remember the request, is what is missing.
        return if errors.is_empty() { Err(down.clone()) } else { CliError::gather(errors) };
    }
    let by = Actor { uid: host::uid(), pid: host::pid() };
    context.out.note("daemon down: asking the keepers; the daemon will honour it when it is back")?;
    let mut asked = Vec::new();
    for session in meant {
        match ask(&session.directory, &request(how, by), ANSWER) {
            Ok(Reply::Ok | Reply::Late | Reply::Screen(_)) => asked.push(session),
            Ok(Reply::Refused { message }) => {
                errors.push(CliError::failed(format!("the keeper of `{}` refuses: {message}", session.name)));
            }
            // It may have ended between the look and the question.
            Err(_) if matches!(how, How::Stop | How::Kill) && !is_held(&session.lock)? => asked.push(session),
            Err(error) => errors.push(
                CliError::failed(format!("the keeper of `{}` does not answer: {error}", session.name))
                    .hint("the daemon can do more: start it, then `atm kill`"),
            ),
        }
    }
    for session in asked {
        let words = match how {
            How::Signal(_) => "signalled",
            How::Stop | How::Kill if patience.no_wait => "stop asked for",
            How::Stop | How::Kill => match wait(session, how, patience)? {
                None => "stopped",
                Some(late) => {
                    errors.push(late);
                    continue;
                }
            },
        };
        context.out.line(&format!("{} {words}", session.name))?;
        context.out.flush()?;
    }
    CliError::gather(errors)
}

fn request(how: How, by: Actor) -> Request {
    let stop = |reason, message: &str, grace_millis| Request::Stop {
        cause: Cause::asked(reason, by, message),
        signal: None,
        grace_millis,
    };
    match how {
        How::Stop => stop(StopReason::ClientStop, "stopped by a person, while the daemon was down", None),
        How::Kill => stop(StopReason::ClientKill, "killed by a person, while the daemon was down", Some(0)),
        How::Signal(signal) => Request::Signal { signal },
    }
}

fn admits(targets: &Targets, session: &Live) -> bool {
    let labels = session.record.as_ref().map(|record| &record.intent.spec.labels);
    targets.all
        || targets.names.contains(&session.name)
        || targets.selector.as_ref().zip(labels).is_some_and(|(selector, labels)| selector.matches(labels))
}

/// Sessions whose lock is held, in the runtime directories that may be meant; the first directory that has a
/// name wins.
fn find(context: &Context) -> CliResult<Vec<Live>> {
    let mut live: Vec<Live> = Vec::new();
    for candidate in context.candidates()? {
        let runtime = &candidate.directories.runtime;
        dirs::check_fallback(runtime, &context.environment)?;
        let sessions = runtime.join("sessions");
        let entries = match std::fs::read_dir(&sessions) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => continue,
            Err(error) => {
                return Err(CliError::io(format_args!("cannot read `{}`", sessions.display()), &error));
            }
        };
        for entry in entries.filter_map(Result::ok) {
            let Some(name) = entry.file_name().to_str().and_then(|name| SessionName::new(name).ok()) else {
                continue;
            };
            let lock = runtime.join("locks").join(name.as_str());
            if live.iter().any(|known| known.name == name) || !is_held(&lock)? {
                continue;
            }
            let directory = entry.path();
            let record = read_record(&directory);
            live.push(Live { name, directory, lock, record });
        }
    }
    live.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(live)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

fn is_held(path: &Path) -> CliResult<bool> {
    lock::is_held(path)
        .map_err(|error| CliError::io(format_args!("cannot look at `{}`", path.display()), &error))
}

/// The record of a session's run; `None` where it is absent, damaged or newer.
pub fn read_record(directory: &Path) -> Option<Record> {
    let bytes = files::read_limited(&directory.join(RECORD_FILE), LONGEST_RECORD).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Waits until the keeper's lock is free: it wrote the exit record before. `Some`: it still holds it.
fn wait(session: &Live, how: How, patience: &Patience) -> CliResult<Option<CliError>> {
    let grace = match (&session.record, how) {
        (Some(record), How::Stop) => record.intent.spec.termination_grace_period.0,
        _ => Duration::ZERO,
    };
    let limit = patience.timeout.map_or_else(|| grace.saturating_add(AFTER_GRACE), |Dur(limit)| limit);
    let deadline = after(limit);
    let mut keeper = match &session.record {
        Some(record) => Process::find(record.keeper).unwrap_or(None),
        None => None,
    };
    // An end of this pipe is ours and never written to: a wait on it is a plain pause.
    let (quiet, _open) = io::pipe().map_err(|error| CliError::io("cannot make a pipe", &error))?;
    while is_held(&session.lock)? {
        let left = deadline.map_or(LOOK, |deadline| deadline.since(clock::monotonic()));
        if left.is_zero() {
            return Ok(Some(
                CliError::failed(format!("`{}` has not ended after {}", session.name, Dur(limit)))
                    .hint(format!("end it now: `atm kill {}`", session.name)),
            ));
        }
        let ended = match &keeper {
            Some(keeper) => host::readable(keeper, left),
            None => host::readable(&quiet, left.min(LOOK)),
        };
        match ended {
            // Gone, and the lock still held: by whoever was handed it, or by a keeper not known here.
            Ok(true) => keeper = None,
            Ok(false) => {}
            Err(error) => {
                return Err(CliError::new(
                    Kind::Failed,
                    format!("cannot wait for `{}`: {}", session.name, words(&error)),
                ));
            }
        }
    }
    Ok(None)
}
