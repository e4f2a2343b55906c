//! The way to a session's keeper: by its files, so that it needs no daemon; and by the daemon, where the session
//! has to be started first.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    api::{
        control::{NameParams, VerbResult},
        keeper::{Reply, Request},
        name::SessionName,
        send::untaken,
        status::{Origin, Phase, Reason, SessionView},
    },
    cli::{
        client::{Client, after},
        context::{Context, get_one},
        error::{CliError, CliResult, Kind},
        outcome::{Outcome, started},
        watch::{Change, Watch, WhenFull},
    },
    host::{clock, errors::words, poll},
    keeper::client::{ClientError, ask},
};

/// For a session to start.
const START: Duration = Duration::from_secs(60);
/// For the keeper of a session that runs to listen.
const LISTEN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// For a keeper to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Why an attempt to speak with a keeper failed.
#[derive(Debug)]
pub enum Miss {
    /// It is not there.
    Absent,
    /// It is there.
    Failed(CliError),
}

/// What to do about a session that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfEnded {
    /// Start it.
    Start,
    /// Say so.
    Fail,
}

/// Does `attempt` with the directory of the session, as soon as its keeper is there.
pub fn reach<T>(
    context: &mut Context,
    name: &SessionName,
    ended: IfEnded,
    mut attempt: impl FnMut(&Path) -> Result<T, Miss>,
) -> CliResult<T> {
    for candidate in context.candidates()? {
        crate::cli::dirs::check_fallback(&candidate.directories.runtime, &context.environment)?;
        match attempt(&directory(&candidate.directories.runtime, name)) {
            Ok(done) => return Ok(done),
            Err(Miss::Absent) => {}
            Err(Miss::Failed(error)) => return Err(error),
        }
    }
    let mut client = context.connect().map_err(|error| CliError {
        message: format!("{}; and `{name}` has no process", error.message),
        ..error
    })?;
    let Some(session) = get_one(&mut client, name)? else {
        return Err(context.no_such_session(&mut client, name));
    };
    if session.origin == Origin::Registered {
        return Err(registered(name));
    }
    let mut started = session.status.phase != Phase::Running;
    if started {
        up(context, &mut client, &session, ended)?;
    }
    let directory = directory(&client.directories().runtime, name);
    let mut deadline = after(LISTEN);
    loop {
        match attempt(&directory) {
            Ok(done) => return Ok(done),
            Err(Miss::Failed(error)) => return Err(error),
            Err(Miss::Absent) if deadline.is_some_and(|deadline| clock::monotonic() < deadline) => {
                let _ = poll::wait(&[], Some(LOOK)); // an interrupted pause is only shorter
                // One whose keeper just ended is said to run until the daemon has seen that.
                let now = if started { None } else { get_one(&mut client, name)? };
                if let Some(now) = now.filter(has_ended) {
                    up(context, &mut client, &now, ended)?;
                    started = true;
                    deadline = after(LISTEN);
                }
            }
            Err(Miss::Absent) => {
                return Err(CliError::failed(format!("the keeper of `{name}` does not listen"))
                    .hint(format!("see `atm describe {name}`")));
            }
        }
    }
}

/// Asks the keeper, and waits for its answer.
pub fn ask_keeper(
    context: &mut Context,
    name: &SessionName,
    ended: IfEnded,
    request: &Request,
) -> CliResult<Reply> {
    reach(context, name, ended, |directory| match ask(directory, request, ANSWER) {
        Ok(Reply::Refused { message }) => {
            Err(Miss::Failed(CliError::failed(format!("the keeper of `{name}` refuses: {message}"))))
        }
        Ok(reply) => Ok(reply),
        Err(ClientError::Silent(_)) if matches!(request, Request::Type { .. }) => {
            let error = CliError::failed(untaken(name));
            Err(Miss::Failed(error.hint(format!("see what the program shows: `atm peek {name}`"))))
        }
        Err(error) => Err(miss(name, error)),
    })
}

/// What it means that the keeper of `name` cannot be spoken with. One that ends before it says hello is not there. One
/// that ends after it was asked may have done what it was asked, and is not asked again.
pub fn miss(name: &SessionName, error: ClientError) -> Miss {
    let failed = CliError::failed(error.to_string());
    Miss::Failed(match error {
        ClientError::NotRunning(_) => return Miss::Absent,
        ClientError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => forbidden(name),
        ClientError::Io { source, .. } => CliError::failed(format!("{}: {}", failed.message, words(&source))),
        ClientError::Version { .. } => failed.hint(format!("`atm restart {name}` gives it a new keeper")),
        ClientError::Silent(_) | ClientError::Garbled(_) => {
            failed.hint(format!("see what the daemon knows of it: `atm describe {name}`"))
        }
    })
}

/// A person started it, in a terminal of theirs.
pub fn registered(name: &SessionName) -> CliError {
    CliError::failed(format!(
        "`{name}` was started by a person outside atm: atm has neither its terminal nor its output"
    ))
    .hint(format!("go to the terminal that it was started in; what atm knows of it: `atm describe {name}`"))
}

/// It is another user's.
pub fn forbidden(name: &SessionName) -> CliError {
    CliError::failed(format!("session `{name}` belongs to another user"))
        .hint("run it as root, or as the session's user")
}

fn directory(runtime: &Path, name: &SessionName) -> PathBuf {
    runtime.join("sessions").join(name.as_str())
}

/// Whether it neither runs nor is about to.
fn has_ended(session: &SessionView) -> bool {
    session.status.phase != Phase::Running && session.status.reason != Reason::Starting
}

/// Starts a session that does not run, where that is meant. One that somebody stopped stays so until somebody says
/// otherwise: to look at it, or to type, does not.
fn up(context: &mut Context, client: &mut Client, session: &SessionView, ended: IfEnded) -> CliResult {
    let name = &session.name;
    let (phase, reason) = (session.status.phase, session.status.reason);
    if ended == IfEnded::Start && phase != Phase::Suspended {
        return start(context, client, name);
    }
    let verb = if reason == Reason::Suspended { "resume" } else { "start" };
    Err(CliError::failed(format!("`{name}` does not run: {phase} ({reason})"))
        .hint(format!("its output: `atm logs {name}`; run it: `atm {verb} {name}`")))
}

fn start(context: &mut Context, client: &mut Client, name: &SessionName) -> CliResult {
    context.out.note(&format!("starting {name}"))?;
    let names = [name.clone()];
    let (before, mut watch) = Watch::open(client, &names, WhenFull::Poll)?;
    let result: VerbResult = client.call("start", &NameParams { name: name.clone(), run_id: None })?;
    let before = before.into_iter().next().unwrap_or_else(|| result.session.clone());
    let deadline = after(START);
    let mut now = result.session;
    loop {
        match started(&before, &now) {
            Outcome::Done(_) => return Ok(()),
            Outcome::Failed(error) => return Err(error),
            Outcome::Waiting => {}
        }
        now = match watch.next(deadline)? {
            Some(Change::Now(session)) => *session,
            Some(Change::Gone(_)) => {
                return Err(CliError::new(Kind::NoSuchSession, format!("`{name}` was removed")));
            }
            None => {
                let (phase, reason) = (now.status.phase, now.status.reason);
                return Err(CliError::failed(format!("`{name}` is still {phase} ({reason})"))
                    .hint(format!("the request stands; see `atm describe {name}`")));
            }
        };
    }
}
