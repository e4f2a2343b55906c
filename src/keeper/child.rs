//! The child's way from the copy of a keeper to the session's command.
//!
//! All that can be prepared is prepared before the gate, beside the keeper's own preparations; after it there
//! is only the exec. It runs in a copy of the keeper, so a name service that hangs, crashes or leaks takes
//! nothing but this child with it.

use std::{
    ffi::{CString, OsStr},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use super::environ::{self, Environment, clip};
use crate::{
    api::{
        record::{AgentStart, Intent, RunAs, StartError},
        spec::Terminal,
    },
    host::{
        descriptors,
        errors::{is_transient, words},
        failpoint::{self, Place},
        files,
        line::{Line, Word},
        program::{self, NotExecuted},
        pty, signals,
        spawn::{self, Inherited},
        users::{self, Account},
    },
};

/// Longest environment file.
const LONGEST_FILE: u64 = 1 << 20;

/// What the child is given.
#[derive(Debug)]
pub struct Job<'a> {
    /// What to run.
    pub intent: &'a Intent,
    /// The session's standard input.
    pub input: BorrowedFd<'a>,
    /// The session's standard output.
    pub output: BorrowedFd<'a>,
    /// The session's standard error.
    pub error: BorrowedFd<'a>,
    /// The child's end of the line.
    pub line: &'a Line,
    /// Limits to give back.
    pub inherited: Inherited,
}

/// Becomes the session's command. Returns, with an exit code, only if it did not.
pub fn run(job: &Job) -> u8 {
    let _ = spawn::die_with_parent(true); // the gate holds without it; it ends a name service that hangs
    // The lock goes here too: were it held on, a keeper that is killed now would seem to live.
    let Ok(fd) = descriptors::keep_only([job.input, job.output, job.error], job.line.fd().as_fd()) else {
        return 1;
    };
    let line = Line::from_fd(fd);
    match prepare(job, &line) {
        Ok(command) => {
            // Only text goes into a record.
            let directory = std::env::current_dir().ok().filter(|path| path.to_str().is_some());
            line.say(&Word::Ready { directory });
            if !line.wait() {
                return 0;
            }
            line.say(&Word::Failed(command.execute()));
            127
        }
        Err(error) => {
            line.say(&Word::Failed(error));
            126
        }
    }
}

/// All that an exec takes.
struct Command {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    path: String,
    uid: u32,
}

fn prepare(job: &Job, line: &Line) -> Result<Command, StartError> {
    let terminal = matches!(job.intent.spec.terminal, Terminal::Pty { .. });
    signals::reset().map_err(|error| host("reset signals", &error))?;
    spawn::lead_session().map_err(|error| host("begin a session", &error))?;
    if terminal {
        pty::control(io::stdin()).map_err(|error| host("take the terminal", &error))?;
    }
    spawn::set_umask(0o022);

    let account = resolve(job.intent)?;
    line.say(&Word::Resolved { uid: account.uid, gid: account.gid });
    // Before the change of user: afterwards `/proc/self` is root's until exec.
    spawn::shed_privileges_of_place(job.inherited);
    if users::own().0 != account.uid {
        if terminal {
            let given = pty::give_to(io::stdin().as_fd(), account.uid);
            given.map_err(|error| host("give the terminal to its user", &error))?;
        }
        spawn::leave_keyring().map_err(|error| host("leave the keyring of the daemon", &error))?;
        users::become_user(&account)
            .map_err(|error| StartError::SwitchUser { user: account.name.clone(), reason: words(&error) })?;
        let _ = spawn::die_with_parent(true); // forgotten by the change of user
    }

    let mut env = environ::login(job.intent, &account);
    read_env_files(job.intent, &mut env)?;
    environ::finish(&mut env, job.intent);

    let directory = environ::expand(&job.intent.spec.working_dir, &env)?;
    enter(&directory, account.uid)?;
    let words = environ::expand_command(&job.intent.spec.command, &env)?;
    let mut arguments = words.into_iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
    if let Some(AgentStart { flags, .. }) = &job.intent.agent {
        let at = flags.at.min(arguments.len());
        let words = flags.words.iter().cloned().map(c_string).collect::<Result<Vec<_>, _>>()?;
        arguments.splice(at..at, words);
    }
    let path = env.get("PATH").cloned().unwrap_or_else(|| environ::DEFAULT_PATH.to_owned());
    let pairs = env.into_iter().map(|(name, value)| c_string(format!("{name}={value}")));
    let environment = pairs.collect::<Result<_, _>>()?;
    Ok(Command { arguments, environment, path, uid: account.uid })
}

fn resolve(intent: &Intent) -> Result<Account, StartError> {
    let user = &intent.user;
    let _ = failpoint::hit(Place::ResolveUser);
    let (shown, found) = match user {
        RunAs::Uid(uid) => (uid.to_string(), users::by_uid(*uid)),
        RunAs::Name(name) | RunAs::OwnersName { name, .. } => (name.clone(), users::by_name(name)),
    };
    let found = found.map_err(|error| host(&format!("look up user `{}`", clip(&shown)), &error))?;
    match (found, user) {
        (Some(account), RunAs::OwnersName { uid, .. }) if account.uid != *uid => {
            let reason =
                format!("its spec file is owned by user {uid}, and only one of root's may name others");
            Err(StartError::SwitchUser { user: clip(&shown), reason })
        }
        (Some(account), _) => Ok(account),
        // A container often runs as a number without a name. It is who we are, so nothing has to be known.
        (None, RunAs::Uid(uid)) if *uid == users::own().0 => Ok(Account {
            uid: *uid,
            gid: users::own().1,
            name: shown,
            home: intent.base_env.get("HOME").cloned().unwrap_or_else(|| "/".to_owned()),
            shell: "/bin/sh".to_owned(),
        }),
        (None, _) => Err(StartError::NoSuchUser { user: clip(&shown) }),
    }
}

fn read_env_files(intent: &Intent, env: &mut Environment) -> Result<(), StartError> {
    if intent.spec.env_file.is_empty() {
        return Ok(());
    }
    // Paths may use what the spec sets, so they see it although it is laid on top again later.
    let mut seen = env.clone();
    environ::finish(&mut seen, intent);
    for written in &intent.spec.env_file {
        let path = environ::expand(written, &seen)?;
        let wrong = |reason| StartError::EnvFile { file: clip(&path), reason };
        // As the user, whose links may lead anywhere that the user may go.
        let bytes = files::read_following(Path::new(&path), LONGEST_FILE);
        let bytes = bytes.map_err(|error| wrong(words(&error)))?;
        env.extend(environ::parse_file(&bytes).map_err(wrong)?);
    }
    Ok(())
}

fn enter(directory: &str, uid: u32) -> Result<(), StartError> {
    std::env::set_current_dir(directory).map_err(|error| StartError::WorkingDirectory {
        reason: words(&error),
        directory: clip(directory),
        uid,
    })
}

fn c_string(text: String) -> Result<CString, StartError> {
    CString::new(text).map_err(|error| StartError::CannotExecute {
        program: clip(&String::from_utf8_lossy(&error.into_vec())),
        reason: "a NUL byte in the command or its environment".to_owned(),
    })
}

impl Command {
    fn execute(&self) -> StartError {
        let _ = spawn::die_with_parent(false); // from here on the session outlives us
        if let Err(error) = descriptors::close_at_exec() {
            return host("close descriptors", &error);
        }
        self.explain(&program::execute(&self.arguments, &self.environment, &self.path))
    }

    fn explain(&self, failed: &NotExecuted) -> StartError {
        let file = Path::new(OsStr::from_bytes(failed.file.as_bytes()));
        let program = clip(&file.to_string_lossy());
        let searched = self.arguments.first().is_some_and(|program| !program.as_bytes().contains(&b'/'));
        match failed.error.kind() {
            io::ErrorKind::NotFound if file.exists() && program.contains('/') => {
                let reason = match program::interpreter(file) {
                    Some(interpreter) => format!("its interpreter `{}` does not exist", clip(&interpreter)),
                    None => "the loader that it names does not exist".to_owned(),
                };
                StartError::CannotExecute { program, reason }
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                StartError::NoSuchFile { program, search_path: searched.then(|| clip(&self.path)) }
            }
            io::ErrorKind::PermissionDenied => StartError::PermissionDenied { program, uid: self.uid },
            _ if is_transient(&failed.error) => host(&format!("execute `{program}`"), &failed.error),
            _ => StartError::CannotExecute { program, reason: words(&failed.error) },
        }
    }
}

/// A fault of the machine, while `action` was tried.
pub fn host(action: &str, error: &io::Error) -> StartError {
    StartError::Host { action: action.to_owned(), reason: words(error), transient: is_transient(error) }
}
