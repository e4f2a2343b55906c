//! A running session: one loop over its output, its signals and its peers, until nothing of it is left.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use super::{
    birth::limits,
    files::Files,
    peers::{Asked, Peers},
    stop::{Due, Stop},
    terminal::Terminal,
};
use crate::{
    api::{
        activity::word,
        attach::ScreenView,
        cause::{Actor, Cause, StopReason},
        keeper::{Reply, Request},
        log_index::Stream,
        record::{Exit, Record},
        time::Moment,
    },
    host::{
        cgroup::Group,
        children::{self, Reaped},
        clock::monotonic,
        failpoint::{self, Place},
        log_file::LogFile,
        page::Page,
        poll::{self, Got, Interest, Ready},
        pty,
        signals::{Heard, Signals},
        tree, users,
    },
};

/// Bytes of output that are taken in one turn, so that a flood does not keep signals and peers waiting.
pub const TURN: usize = 64 << 10;
/// Old log files are looked at this often.
const TIDY: Duration = Duration::from_secs(3600);
/// How long a listener rests when there are no descriptors for a connection.
const REST: Duration = Duration::from_secs(1);
/// A socket that could not be made is tried again this often.
const LISTEN_AGAIN: Duration = Duration::from_secs(60);
/// A record that could not be written is tried again this often.
const SAVE_AGAIN: Duration = Duration::from_secs(1);
/// A pause where poll fails.
const BREATH: Duration = Duration::from_millis(10);

/// Where its output comes from.
#[derive(Debug)]
pub struct Source {
    /// Our end of the terminal, or of the pipe that is standard output; absent once it has ended.
    pub ours: Option<OwnedFd>,
    /// Our end of the pipe that is standard error. Absent for a terminal, where both are one.
    pub error: Option<OwnedFd>,
    /// Whether standard error has a pipe of its own.
    pub apart: bool,
    /// The terminal's other end, held so that a session which closes its terminal and lives on does not make
    /// ours readable for ever. Absent for pipes, which simply end.
    pub held: Option<OwnedFd>,
}

/// All that a keeper has for its session.
#[derive(Debug)]
pub struct Session {
    /// Its directory.
    pub files: Files,
    /// Its record, as last written or about to be.
    pub record: Record,
    /// The signals to us.
    pub signals: Signals,
    /// Its output.
    pub source: Source,
    /// Where its output goes.
    pub log: LogFile,
    /// Its activity page, where there is room for one.
    pub page: Option<Page>,
    /// Its own cgroup.
    pub group: Option<Group>,
    /// Where peers connect.
    pub listener: Option<OwnedFd>,
    /// Who is connected.
    pub peers: Peers,
    /// Its terminal, where it has one.
    pub terminal: Option<Terminal>,
    /// Buffer for a turn's output.
    pub buffer: Vec<u8>,
    /// How the run has gone so far.
    pub course: Course,
}

/// How a run has gone so far.
#[derive(Debug, Default)]
pub struct Course {
    /// How and when the main process ended.
    pub exit: Option<(Exit, Moment)>,
    /// There was no child when last looked: nothing that descends from us lives.
    pub childless: bool,
    /// The stop in progress.
    pub stop: Option<Stop>,
    /// Its cause; none where the command ended by itself.
    pub cause: Option<Cause>,
    /// What the terminal showed when that was told.
    pub last_screen: Option<ScreenView>,
    /// What the command left running.
    pub leftovers: Vec<i32>,
    /// Processes that were found outside the session's group.
    pub escaped: Vec<i32>,
    /// Bytes that it printed.
    pub output_bytes: u64,
    /// As the activity page has it.
    pub attached: usize,
    tidy_at: Option<Moment>,
    /// When connections are taken again, or a socket is made again where there is none.
    listen_at: Option<Moment>,
    /// When the record is written again; none where it is as it should be.
    save_at: Option<Moment>,
}

impl Session {
    /// Runs until nothing is left of the session, and writes its exit record.
    pub fn run(mut self) {
        let now = monotonic();
        self.log.begin(self.record.intent.run_id, now);
        self.log.tidy(now);
        self.course.tidy_at = Some(now.saturating_add(TIDY));
        if self.listener.is_none() {
            self.course.listen_at = Some(monotonic().saturating_add(LISTEN_AGAIN));
        }
        self.reap(); // what ended before signals were looked at
        while !self.is_over() {
            self.turn();
        }
        self.finish();
    }

    fn next(&self) -> Option<Moment> {
        let stop = self.course.stop.as_ref().map(Stop::next);
        // Somebody from outside in our group: no signal tells when he goes.
        let stranger = self.course.childless.then(|| monotonic().saturating_add(Duration::from_millis(20)));
        let Course { tidy_at, listen_at, save_at, .. } = self.course;
        let terminal = self.terminal.as_ref().and_then(Terminal::next);
        [stop, stranger, self.peers.next(), tidy_at, listen_at, save_at, terminal].into_iter().flatten().min()
    }

    fn turn(&mut self) {
        let now = monotonic();
        // Somebody who reads it is a little behind: the program waits, as at any terminal.
        let held = self.terminal.as_mut().and_then(|terminal| terminal.holds(now));
        let patience = self.next().into_iter().chain(held).min().map(|next| next.since(now));
        let typed = self.terminal.as_ref().is_some_and(|terminal| terminal.waiting() > 0);
        let mut watched = vec![(self.signals.as_fd(), Interest::READ)];
        let ours = Interest { read: held.is_none(), write: typed };
        watched.extend(self.source.ours.as_ref().map(|fd| (fd.as_fd(), ours)));
        watched.extend(self.source.error.as_ref().map(|fd| (fd.as_fd(), Interest::READ)));
        let listener = self.listener.as_ref().filter(|_| self.course.listen_at.is_none());
        watched.extend(listener.map(|fd| (fd.as_fd(), Interest::READ)));
        let (has_output, has_error) = (self.source.ours.is_some(), self.source.error.is_some());
        let has_listener = listener.is_some();
        watched.extend(self.peers.watched());
        let viewers = watched.len();
        watched.extend(self.terminal.iter().flat_map(Terminal::watched));
        // No memory for a poll is no reason to lose a session: nothing here blocks, so all may be tried.
        let ready = poll::wait(&watched, patience).unwrap_or_else(|_| {
            let _ = poll::wait(&[], Some(BREATH));
            let ready = |(_, interest): &(_, Interest)| Ready { read: interest.read, write: interest.write };
            watched.iter().map(ready).collect()
        });
        let (ready, viewers) = ready.split_at_checked(viewers).unwrap_or_default();
        let mut ready = ready;
        let mut take = |present: bool| {
            let (first, rest) = ready.split_first().filter(|_| present)?;
            ready = rest;
            Some(first.read)
        };
        let signalled = take(true).unwrap_or(false);
        let output = take(has_output).unwrap_or(false) | take(has_error).unwrap_or(false);
        let connecting = take(has_listener).unwrap_or(false);

        let now = monotonic();
        self.type_in(viewers, now);
        if output {
            self.pump(now);
        }
        for asked in self.peers.turn(ready, now) {
            if let Some(reply) = self.answer(&asked) {
                self.peers.answer(asked.peer, &reply);
            }
        }
        self.attend(now);
        self.peers.sweep(now);
        if signalled {
            self.hear();
        }
        if connecting
            && let Some(listener) = &self.listener
            && self.peers.accept(listener, now).is_err()
        {
            self.course.listen_at = Some(now.saturating_add(REST));
        }
        self.tick(monotonic());
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment) {
        if self.course.listen_at.is_some_and(|at| at <= now) {
            self.course.listen_at = None;
            if self.listener.is_none() {
                self.listen();
            }
        }
        if self.course.save_at.is_some_and(|at| at <= now) {
            self.save();
        }
        if self.course.tidy_at.is_some_and(|at| at <= now) {
            self.log.tidy(now);
            self.course.tidy_at = Some(now.saturating_add(TIDY));
        }
        match self.course.stop.as_mut().map_or(Due::Nothing, |stop| stop.step(now)) {
            Due::Nothing => {}
            Due::Kill => self.kill(),
            Due::KillAndTell => {
                self.kill();
                if let Some(stopping) = &mut self.record.stopping {
                    stopping.unkillable = true;
                }
                self.save();
            }
        }
    }

    /// Output to the log: one turn of it. Says whether there was any.
    pub fn pump(&mut self, now: Moment) -> bool {
        let (any, ended) = match &self.source.ours {
            Some(ours) => {
                let ended = fill(ours, &mut self.buffer);
                (self.take_down(self.source.apart.then_some(Stream::Output), now), ended)
            }
            None => (false, false),
        };
        if let Some(ours) = self.source.ours.as_ref().filter(|_| ended) {
            // While we hold its other end a terminal ends only by a hangup.
            self.source.held = self.source.held.take().and_then(|_| pty::open_slave(ours.as_fd()).ok());
            if self.source.held.is_none() {
                self.source.ours = None;
            }
        }
        let Some(error) = &self.source.error else {
            return any;
        };
        if fill(error, &mut self.buffer) {
            self.source.error = None;
        }
        self.take_down(Some(Stream::Error), now) || any
    }

    /// Writes what is in the buffer to the log. Says whether it was anything.
    fn take_down(&mut self, stream: Option<Stream>, now: Moment) -> bool {
        let bytes = self.buffer.as_slice();
        if bytes.is_empty() {
            return false;
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.print(bytes, now);
        }
        self.log.write(bytes, stream, now);
        self.course.output_bytes += bytes.len() as u64;
        if let Some(page) = &self.page {
            page.store(word::OUTPUT_BYTES, self.course.output_bytes);
            page.store(word::OUTPUT, now.as_nanos());
        }
        true
    }

    fn hear(&mut self) {
        while let Ok(Some(heard)) = self.signals.next() {
            match heard {
                Heard::Child => self.reap(),
                Heard::Terminate(sender) => {
                    let cause = Cause::asked(StopReason::Shutdown, sender, "the keeper was sent SIGTERM");
                    self.begin_stop(self.grace(), self.stop_signal(), Some(cause));
                }
                Heard::Remake => self.remake(),
            }
        }
    }

    /// Reaps all that has ended.
    pub fn reap(&mut self) {
        let now = monotonic();
        loop {
            match children::reap() {
                Ok(Reaped::Ended(pid, exit)) => {
                    if pid == self.record.child.pid && self.course.exit.is_none() {
                        self.course.exit = Some((exit, now));
                    }
                    if let Some(stop) = &mut self.course.stop {
                        stop.hurry(now);
                    }
                }
                Ok(Reaped::Alive) => {
                    self.course.childless = false;
                    break;
                }
                Ok(Reaped::None) => {
                    self.course.childless = true;
                    break;
                }
                Err(_) => break,
            }
        }
        if self.course.exit.is_some() && self.course.stop.is_none() && !self.is_over() {
            self.end_leftovers();
        }
    }

    /// The answer; `None`: it comes later.
    fn answer(&mut self, asked: &Asked) -> Option<Reply> {
        match &asked.request {
            Ok(request @ (Request::Detach | Request::Peek { .. } | Request::Type { .. })) => {
                return self.answer_about_terminal(asked.peer, request);
            }
            Ok(Request::Interrupt { by, not_after }) => return Some(self.interrupt(by, *not_after)),
            Ok(_) | Err(_) => {}
        }
        Some(self.answer_about_session(asked))
    }

    fn answer_about_session(&mut self, asked: &Asked) -> Reply {
        let refused = |message: String| Reply::Refused { message };
        match &asked.request {
            Err(error) => refused(format!("not a request: {error}")),
            Ok(
                Request::Ping
                | Request::Detach
                | Request::Peek { .. }
                | Request::Type { .. }
                | Request::Interrupt { .. },
            ) => Reply::Ok,
            Ok(Request::Stop { cause, signal, grace_millis }) => {
                let signal = signal.unwrap_or_else(|| self.stop_signal());
                if !(1..=31).contains(&signal) {
                    return refused(format!("{signal} is no signal for a stop"));
                }
                let grace = grace_millis.map_or_else(|| self.grace(), Duration::from_millis);
                let cause = Cause { by: by(cause, asked.actor), ..cause.clone() };
                self.begin_stop(grace, signal, Some(cause));
                Reply::Ok
            }
            Ok(Request::Signal { signal }) if (1..=31).contains(signal) => {
                tree::signal(&self.members(), *signal);
                Reply::Ok
            }
            Ok(Request::Signal { signal }) => refused(format!("{signal} is no signal")),
            Ok(Request::Update { generation, launch: _, spec, logs }) => {
                self.record.intent.generation = *generation;
                self.record.intent.spec = (**spec).clone();
                if let Some(logs) = *logs {
                    self.record.intent.logs = logs;
                    self.log.limit(logs, monotonic());
                }
                if let Some(group) = &self.group {
                    let _ = group.limit(&limits(spec)); // what it was held to before stays
                }
                match failpoint::hit(Place::Update).and_then(|()| self.files.write_record(&self.record)) {
                    Ok(()) => Reply::Ok,
                    Err(error) => refused(format!("cannot write the record: {error}")),
                }
            }
        }
    }

    /// Writes the record, and sees to it that one that cannot be written is tried again. Without its directory
    /// a session lives on, and its keeper still knows.
    pub fn save(&mut self) {
        let saved = failpoint::hit(Place::SaveRecord).and_then(|()| self.files.write_record(&self.record));
        self.course.save_at = saved.err().map(|_| monotonic().saturating_add(SAVE_AGAIN));
    }

    /// Makes the socket, or sees to it that it is tried again: without one nobody can ask for a stop.
    fn listen(&mut self) {
        if let Ok(listener) = self.files.listen() {
            self.files.admit(self.record.uid);
            self.listener = Some(listener);
            self.course.listen_at = None;
        } else {
            self.listener = None; // one from before has no path any more
            self.course.listen_at = Some(monotonic().saturating_add(LISTEN_AGAIN));
        }
    }

    fn remake(&mut self) {
        if !self.files.remake(&self.record).unwrap_or(false) {
            if self.listener.is_none() {
                self.listen();
            }
            return;
        }
        self.course.save_at = None;
        if let Ok(page) = self.files.activity(&self.record.intent) {
            for index in word::OUTPUT..word::END {
                page.store(index, self.page.as_ref().map_or(0, |old| old.load(index)));
            }
            page.store(word::OUTPUT_BYTES, self.course.output_bytes);
            self.page = Some(page);
        }
        self.listen();
    }
}

/// Reads one turn of output, in place of what the buffer holds. Says whether it has ended.
fn fill(from: &OwnedFd, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    while buffer.len() < buffer.capacity() {
        match poll::read(from, buffer) {
            Ok(Got::Bytes(_)) => {}
            Ok(Got::Nothing) => return false,
            Ok(Got::End) | Err(_) => return true,
        }
    }
    false
}

/// Who is behind a stop. The daemon and root speak for others, whom they have checked; anyone else is who
/// the kernel says.
fn by(cause: &Cause, asked: Actor) -> Option<Actor> {
    if asked.uid == 0 || asked.uid == users::own().0 { cause.by } else { Some(asked) }
}
