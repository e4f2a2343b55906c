//! From the daemon's intent to a command that runs, so that a SIGKILL of anyone at any instant neither loses
//! nor doubles a session.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    birth::put_away,
    child::host,
    ending::millis,
    files::{Files, NotOurs},
    peers::Peers,
    session::{Course, Session, Source, TURN},
    terminal,
};
use crate::{
    api::{
        keeper::StartReport,
        name::{RunId, SessionName},
        record::{ExitRecord, Intent, RECORD_VERSION, Record, RunAs, StartError},
        spec::Terminal,
        time::{Moment, Timestamp},
    },
    host::{
        cgroup::Group,
        clock, descriptors,
        failpoint::{self, Place},
        line::{Answer, Line, Word},
        log_file::LogFile,
        page::Page,
        process::identify,
        pty::{self, Streams},
        signals::Signals,
        spawn::{self, Inherited},
        users,
    },
};

/// How long a name service, a directory or a file may hold up the child.
const PATIENCE: Duration = Duration::from_secs(10);

/// What begins a keeper.
#[derive(Debug)]
pub struct Begun {
    files: Files,
    intent: Intent,
    signals: Signals,
    inherited: Inherited,
    report: File,
}

/// Makes this process a keeper of its own, or finds that it is not wanted: then nothing has been done.
pub fn begin(runtime: &Path, name: SessionName, run: RunId) -> Result<Begun, BeginError> {
    let handed = descriptors::take_handed()?;
    spawn::lead_session()?;
    let signals = Signals::take_over()?;
    spawn::set_umask(0o077);
    std::env::set_current_dir("/")?;
    let files = Files::new(runtime, name, handed.lock)?;
    let intent = files.intent(run)?;
    failpoint::hit(Place::Begun)?;
    spawn::adopt_orphans()?;
    let inherited = spawn::protect_memory();
    Ok(Begun { files, intent, signals, inherited, report: handed.report })
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// It is not wanted.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    /// It cannot become a process of its own.
    #[error("cannot prepare a keeper")]
    Host(#[from] io::Error),
}

/// A session that runs, but for its loop.
struct Up {
    record: Record,
    streams: Streams,
    log: LogFile,
    listener: Option<OwnedFd>,
    page: Option<Page>,
    group: Option<Group>,
}

/// A start that failed, with what is left of it.
struct Failure {
    error: StartError,
    began: Option<(Timestamp, Moment)>,
    group: Option<Group>,
}

impl From<StartError> for Failure {
    /// A failure before there was anything.
    fn from(error: StartError) -> Self {
        Self { error, began: None, group: None }
    }
}

impl Begun {
    /// Starts the session, or says why not: to the daemon, and in the exit record.
    pub fn start(self) -> Option<Session> {
        let starting = Starting { files: &self.files, intent: &self.intent, inherited: self.inherited };
        let Up { record, streams, log, listener, page, group } = match starting.bring_up() {
            Ok(up) => up,
            Err(failure) => {
                starting.give_up(failure.as_ref());
                say(self.report, &StartReport::Failed { error: failure.error });
                return None;
            }
        };
        let (keeper, child, uid, started) = (record.keeper, record.child, record.uid, record.started);
        let apart = streams.error.is_some();
        let terminal = match record.intent.spec.terminal {
            Terminal::Pty { columns, rows } => Some(terminal::Terminal::new(columns, rows)),
            Terminal::Pipes(_) => None,
        };
        let held = (!apart).then_some(streams.output);
        let error = streams.error.map(|error| error.ours);
        let mut session = Session {
            files: self.files,
            signals: self.signals,
            source: Source { ours: Some(streams.ours), error, apart, held },
            log,
            page,
            group,
            listener,
            peers: Peers::new(&record, users::own().0, terminal.is_some()),
            terminal,
            record,
            buffer: Vec::with_capacity(TURN),
            course: Course::default(),
        };
        session.save();
        let working_dir = session.record.working_dir.clone();
        say(self.report, &StartReport::Running { keeper, child, uid, working_dir, started });
        let _ = failpoint::hit(Place::Reported);
        let _ = descriptors::leave_stderr(); // it only ever carries a panic
        Some(session)
    }
}

/// A start in progress.
pub struct Starting<'a> {
    files: &'a Files,
    /// What to run.
    pub intent: &'a Intent,
    /// Limits that the session gets back.
    pub inherited: Inherited,
}

impl Starting<'_> {
    fn bring_up(&self) -> Result<Up, Box<Failure>> {
        let early = |error: StartError| Box::new(Failure::from(error));
        let streams = failpoint::hit(Place::Streams).and_then(|()| match self.intent.spec.terminal {
            Terminal::Pty { columns, rows } => pty::open_terminal(columns, rows),
            Terminal::Pipes(_) => pty::open_pipes(),
        });
        let streams = streams.map_err(|error| early(host("open a terminal or a pipe", &error)))?;
        let (line, theirs) = Line::pair().map_err(|error| early(host("open a pair of sockets", &error)))?;
        let mut warnings = Vec::new();
        let mut group = self.make_group(&mut warnings).map_err(early)?;
        let pid = match self.make_child(&streams, &theirs, &mut group, &mut warnings) {
            Ok(pid) => pid,
            Err(error) => {
                return Err(Box::new(Failure { group, ..host("make a process", &error).into() }));
            }
        };
        let (started_at, started) = (clock::wall(), clock::monotonic());
        drop(theirs);
        // What takes us time is done here, while the child prepares itself: once it is ready it waits for us.
        let identified =
            identify(pid).map_err(|error| host("identify the child", &error)).and_then(|child| {
                let own = identify(std::process::id().cast_signed());
                Ok((own.map_err(|error| host("identify ourselves", &error))?, child))
            });
        let up = identified.and_then(|(keeper, child)| {
            let mut prepared = self.prepare(&line)?;
            let record = Record {
                intent: self.intent.clone(),
                keeper,
                child,
                uid: prepared.uid,
                working_dir: prepared.directory.take(),
                started_at,
                started,
                executed: false,
                stopping: None,
                members: vec![child],
                group: group.as_ref().map(|group| group.path().to_owned()),
                warnings,
            };
            self.pass_gate(&line, record, prepared)
        });
        match up {
            Ok((record, Prepared { log, listener, page, .. })) => {
                Ok(Up { record, streams, log, listener, page, group })
            }
            Err(error) => {
                drop(line); // the gate will not open any more
                put_away();
                Err(Box::new(Failure { error, began: Some((started_at, started)), group }))
            }
        }
    }

    /// What the keeper makes while the child prepares itself; both are done when this returns.
    fn prepare(&self, line: &Line) -> Result<Prepared, StartError> {
        let path = &self.intent.log_file;
        let at = |action: &str| format!("{action} `{}`", path.display());
        let log = failpoint::hit(Place::OpenLog).and_then(|()| LogFile::open(path, self.intent.logs));
        let mut log = log.map_err(|error| no_log(&at("open the log"), &error))?;
        // Without its socket a session cannot be stopped by a person, without its page its activity is
        // unknown: neither is worth a session.
        let listener = failpoint::hit(Place::Listen).and_then(|()| self.files.listen()).ok();
        let page = self.files.activity(self.intent).ok();
        let user = match &self.intent.user {
            RunAs::Uid(uid) => uid.to_string(),
            RunAs::Name(name) | RunAs::OwnersName { name, .. } => name.clone(),
        };
        let (uid, gid) = match hear(line, PATIENCE, &format!("look up user `{}`", user.escape_debug()))? {
            Some(Word::Resolved { uid, gid }) => (uid, gid),
            other => return Err(unexpected(other.as_ref())),
        };
        log.give_to(uid, gid).map_err(|error| host(&at("give its user the log"), &error))?;
        self.files.admit(uid);
        match hear(line, PATIENCE, "read the environment files and enter the working directory")? {
            Some(Word::Ready { directory }) => Ok(Prepared { uid, directory, log, listener, page }),
            other => Err(unexpected(other.as_ref())),
        }
    }

    /// Record, gate, exec: in this order, so that a command that runs always has a record.
    fn pass_gate(
        &self,
        line: &Line,
        mut record: Record,
        prepared: Prepared,
    ) -> Result<(Record, Prepared), StartError> {
        let written = failpoint::hit(Place::BeforeRecord).and_then(|()| self.files.write_record(&record));
        written.map_err(|error| host("write the record", &error))?;
        let opened = failpoint::hit(Place::BeforeGate).and_then(|()| line.open_gate());
        opened.map_err(|error| host("open the gate", &error))?;
        match hear(line, PATIENCE, "execute the command")? {
            None => {}
            other => return Err(unexpected(other.as_ref())),
        }
        let _ = failpoint::hit(Place::Executed);
        record.executed = true; // the session writes it, and again until it is written
        Ok((record, prepared))
    }

    fn give_up(&self, failure: &Failure) {
        let exit = ExitRecord {
            version: RECORD_VERSION,
            run_id: self.intent.run_id,
            exit: None,
            start_error: Some(failure.error.clone()),
            cause: None,
            leftovers: Vec::new(),
            escaped: Vec::new(),
            cpu_micros: 0,
            max_rss_kib: 0,
            lost_output: 0,
            started_at: failure.began.map(|(at, _)| at),
            ended_at: clock::wall(),
            ran_millis: failure.began.map_or(0, |(_, at)| millis(clock::monotonic().since(at))),
        };
        let _ = self.files.write_exit(&exit); // the report says it too
        self.files.remove_socket();
        if let Some(group) = &failure.group {
            let _ = group.remove(); // the next run takes it over
        }
    }
}

/// The log cannot be opened. Its directory is atm's own: that it was removed, or is on a file system that became
/// read-only, is never the session's fault, and passes when somebody mends it. One that runs but once has not run yet.
fn no_log(action: &str, error: &io::Error) -> StartError {
    use io::ErrorKind::{NotFound, ReadOnlyFilesystem};
    match host(action, error) {
        StartError::Host { action, reason, transient } => {
            let passes = transient || matches!(error.kind(), NotFound | ReadOnlyFilesystem);
            StartError::Host { action, reason, transient: passes }
        }
        other => other,
    }
}

/// What stands beside the child when it is ready.
struct Prepared {
    uid: u32,
    directory: Option<PathBuf>,
    log: LogFile,
    listener: Option<OwnedFd>,
    page: Option<Page>,
}

/// The child's next word; `None`: it has closed its end. `what` names what it was doing, if it stays silent.
fn hear(line: &Line, patience: Duration, what: &str) -> Result<Option<Word>, StartError> {
    match line.hear(patience).map_err(|error| host("hear from the child", &error))? {
        Answer::Said(Word::Failed(error)) => Err(error),
        Answer::Said(word) => Ok(Some(word)),
        Answer::Closed => Ok(None),
        Answer::Silence => Err(StartError::Host {
            action: what.to_owned(),
            reason: format!("no answer within {} s", patience.as_secs()),
            transient: true,
        }),
    }
}

fn unexpected(word: Option<&Word>) -> StartError {
    let reason = match word {
        None => "the child ended before it was ready",
        Some(_) => "the child spoke out of turn",
    };
    StartError::Host { action: "prepare the child".to_owned(), reason: reason.to_owned(), transient: true }
}

/// One line on the start pipe. A daemon that is gone does not hear it; the next one reads the files.
fn say(mut pipe: File, report: &StartReport) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let _ = pipe.write_all(&line);
}
