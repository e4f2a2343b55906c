//! A running session: one loop over its output, its signals and its peers, until nothing of it is left.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use super::{
    files::Files,
    peers::{Asked, Peers},
    stop::{Due, Stop, later},
};
use crate::{
    api::{
        activity::word,
        cause::{Actor, Cause, StopReason},
        keeper::{Reply, Request},
        record::{Exit, ExitRecord, ProcessId, RECORD_VERSION, Record, Stopping},
        time::Moment,
    },
    host::{
        cgroup::Group,
        children::{self, Reaped},
        clock::{monotonic, wall},
        failpoint,
        log_file::LogFile,
        page::Page,
        poll,
        pty::{self, Got},
        signals::{Heard, Signals},
        tree, users,
    },
};

/// Bytes of output that are taken in one turn, so that a flood does not keep signals and peers waiting.
pub const TURN: usize = 64 << 10;
/// What is read after the last process died is what the kernel still held: this bounds a writer from outside
/// the tree that would never let us end.
const LAST_READS: usize = 1024;
/// Old log files are looked at this often.
const TIDY: Duration = Duration::from_secs(3600);
/// How long a listener rests when there are no descriptors for a connection.
const REST: Duration = Duration::from_secs(1);
/// A chain that forks and exits is chased for so long before the loop turns again.
const CHASE: Duration = Duration::from_millis(20);

/// Where its output comes from.
#[derive(Debug)]
pub struct Source {
    /// Our end; absent once it has ended.
    pub ours: Option<OwnedFd>,
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
    /// Buffer for a turn's output.
    pub buffer: Box<[u8]>,
    /// How the run has gone so far.
    pub course: Course,
}

/// How a run has gone so far.
#[derive(Debug, Default)]
pub struct Course {
    exit: Option<(Exit, Moment)>,
    childless: bool,
    stop: Option<Stop>,
    cause: Option<Cause>,
    leftovers: Vec<i32>,
    output_bytes: u64,
    tidy_at: Option<Moment>,
    listen_at: Option<Moment>,
}

impl Session {
    /// Runs until nothing is left of the session, and writes its exit record.
    pub fn run(mut self) {
        self.log.tidy();
        self.course.tidy_at = Some(later(monotonic(), TIDY));
        self.reap(); // what ended before signals were looked at
        while !self.is_over() {
            if self.turn().is_err() {
                // Without poll there is no way to serve: what can still be kept is the promise that nothing
                // of the session outlives its keeper.
                self.begin_stop(Duration::ZERO, 9, None);
                self.kill();
            }
        }
        self.finish();
    }

    fn is_over(&mut self) -> bool {
        self.course.exit.is_some() && self.course.childless && !self.is_group_populated()
    }

    fn is_group_populated(&self) -> bool {
        // A group that cannot be read is gone, and with it what was in it.
        self.group
            .as_ref()
            .is_some_and(|group| group.is_populated().unwrap_or(false))
    }

    fn next(&self) -> Option<Moment> {
        let stop = self.course.stop.as_ref().map(Stop::next);
        // Somebody from outside in our group: no signal tells when he goes.
        let stranger = self
            .course
            .childless
            .then(|| later(monotonic(), Duration::from_millis(20)));
        [
            stop,
            stranger,
            self.peers.next(),
            self.course.tidy_at,
            self.course.listen_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn turn(&mut self) -> io::Result<()> {
        let patience = self.next().map(|next| next.since(monotonic()));
        let mut watched = vec![(self.signals.as_fd(), false)];
        watched.extend(self.source.ours.as_ref().map(|fd| (fd.as_fd(), false)));
        let listener = self.listener.as_ref().filter(|_| self.course.listen_at.is_none());
        watched.extend(listener.map(|fd| (fd.as_fd(), false)));
        let (has_source, has_listener) = (self.source.ours.is_some(), listener.is_some());
        watched.extend(self.peers.watched());
        let ready = poll::wait(&watched, patience)?;
        let mut ready = ready.as_slice();
        let mut take = |present: bool| {
            let (first, rest) = ready.split_first().filter(|_| present)?;
            ready = rest;
            Some(first.read)
        };
        let signalled = take(true).unwrap_or(false);
        let output = take(has_source).unwrap_or(false);
        let connecting = take(has_listener).unwrap_or(false);

        let now = monotonic();
        if output {
            self.pump(now);
        }
        for asked in self.peers.turn(ready, &mut self.buffer, now) {
            let reply = self.answer(&asked);
            self.peers.answer(&asked, &reply);
        }
        self.peers.sweep(now);
        if signalled {
            self.hear();
        }
        if connecting
            && let Some(listener) = &self.listener
            && self.peers.accept(listener, now).is_err()
        {
            self.course.listen_at = Some(later(now, REST));
        }
        self.tick(monotonic());
        Ok(())
    }

    fn tick(&mut self, now: Moment) {
        self.course.listen_at = self.course.listen_at.filter(|at| now < *at);
        if self.course.tidy_at.is_some_and(|at| at <= now) {
            self.log.tidy();
            self.course.tidy_at = Some(later(now, TIDY));
        }
        match self
            .course
            .stop
            .as_mut()
            .map_or(Due::Nothing, |stop| stop.step(now))
        {
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
    fn pump(&mut self, now: Moment) -> bool {
        let Some(ours) = &self.source.ours else {
            return false;
        };
        let mut filled = 0;
        let mut ended = false;
        while let Some(room) = self.buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            match pty::read(ours, room) {
                Ok(Got::Bytes(count)) => filled += count,
                Ok(Got::Nothing) => break,
                Ok(Got::End) | Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        if let Some(bytes) = self.buffer.get(..filled).filter(|bytes| !bytes.is_empty()) {
            self.log.write(bytes, now);
            self.course.output_bytes += bytes.len() as u64;
            if let Some(page) = &self.page {
                page.store(word::OUTPUT_BYTES, self.course.output_bytes);
                page.store(word::OUTPUT, now.as_nanos());
            }
        }
        if ended {
            self.source.ours = None;
        }
        filled > 0
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

    fn reap(&mut self) {
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

    /// The command ended by itself and left something running.
    fn end_leftovers(&mut self) {
        self.course.leftovers = self.members().iter().map(|id| id.pid).collect();
        self.begin_stop(self.grace(), self.stop_signal(), None);
    }

    fn grace(&self) -> Duration {
        self.record.intent.spec.termination_grace_period.0
    }

    fn stop_signal(&self) -> i32 {
        self.record.intent.spec.stop_signal.0
    }

    /// All processes of the session that live.
    fn members(&self) -> Vec<ProcessId> {
        let mut members = tree::descendants().unwrap_or_default();
        let known: std::collections::BTreeSet<_> = members.iter().copied().collect();
        let grouped = self.group.as_ref().map(Group::members).unwrap_or_default();
        members.extend(grouped.into_iter().filter(|id| !known.contains(id)));
        members
    }

    /// Begins a stop, or shortens the one in progress. The cause is in the record before the first signal.
    fn begin_stop(&mut self, grace: Duration, signal: i32, cause: Option<Cause>) {
        let now = monotonic();
        let first = self.course.stop.is_none();
        let stop = self.course.stop.get_or_insert_with(|| Stop::new(now, grace));
        let shorter = stop.shorten(later(now, grace));
        let kill_at = stop.kill_at();
        let named = self.course.cause.is_none() && cause.is_some();
        if named {
            self.course.cause = cause;
        }
        if let Some(stopping) = &mut self.record.stopping {
            stopping.kill_at = kill_at;
        } else if let Some(cause) = self.course.cause.clone() {
            self.record.stopping = Some(Stopping {
                cause,
                since: now,
                kill_at,
                unkillable: false,
            });
        }
        let members = if first { self.members() } else { Vec::new() };
        if first {
            self.record.members.clone_from(&members);
        }
        if first || shorter || named {
            self.save();
        }
        let _ = failpoint::hit("stop-recorded");
        if first && !grace.is_zero() {
            self.ask_to_end(&members, signal);
        }
        self.tick(now);
    }

    fn ask_to_end(&self, members: &[ProcessId], signal: i32) {
        let send = |members: &[ProcessId]| {
            tree::signal(members, signal);
            if self.source.held.is_some() {
                tree::signal(members, SIGHUP); // a shell ignores SIGTERM, and obeys when its terminal goes
            }
            tree::signal(members, SIGCONT); // one that is stopped hears nothing else
        };
        send(members);
        // Born while the first were signalled, by parents that had not heard yet.
        let later = self.members();
        let missed: Vec<_> = later.into_iter().filter(|id| !members.contains(id)).collect();
        send(&missed);
        if let Some(group) = &self.group {
            let _ = group.thaw(); // not frozen, mostly
        }
    }

    /// SIGKILL to all that is left.
    fn kill(&mut self) {
        if let Some(group) = &self.group {
            let _ = group.kill(); // too old a kernel: the sweep below does it
        }
        let until = later(monotonic(), CHASE);
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let before = seen.len();
            seen.extend(tree::kill_own_children().unwrap_or_default());
            let members = self.members();
            tree::signal(&members, SIGKILL);
            seen.extend(members.iter().map(|id| id.pid));
            self.reap();
            // Until a look finds nobody new: then all that lives has been signalled, and only has to die.
            if self.course.childless || seen.len() == before || monotonic() >= until {
                break;
            }
        }
    }

    fn answer(&mut self, asked: &Asked) -> Reply {
        let refused = |message: String| Reply::Refused { message };
        match &asked.request {
            Err(error) => refused(format!("not a request: {error}")),
            Ok(Request::Ping) => Reply::Ok,
            Ok(Request::Stop {
                cause,
                signal,
                grace_millis,
            }) => {
                let signal = signal.unwrap_or_else(|| self.stop_signal());
                if !(1..=31).contains(&signal) {
                    return refused(format!("{signal} is no signal for a stop"));
                }
                let grace = grace_millis.map_or_else(|| self.grace(), Duration::from_millis);
                let cause = Cause {
                    by: by(cause, asked.actor),
                    ..cause.clone()
                };
                self.begin_stop(grace, signal, Some(cause));
                Reply::Ok
            }
            Ok(Request::Signal { signal }) if (1..=31).contains(signal) => {
                tree::signal(&self.members(), *signal);
                Reply::Ok
            }
            Ok(Request::Signal { signal }) => refused(format!("{signal} is no signal")),
            Ok(Request::Update {
                generation,
                launch: _,
                spec,
            }) => {
                self.record.intent.generation = *generation;
                self.record.intent.spec = (**spec).clone();
                match self.files.write_record(&self.record) {
                    Ok(()) => Reply::Ok,
                    Err(error) => refused(format!("cannot write the record: {error}")),
                }
            }
        }
    }

    /// Writes the record. Without its directory a session lives on, and its keeper still knows.
    fn save(&self) {
        let _ = self.files.write_record(&self.record);
    }

    fn remake(&mut self) {
        if !self.files.remake(&self.record).unwrap_or(false) {
            return;
        }
        if let Ok(page) = self.files.activity(&self.record.intent) {
            page.store(word::OUTPUT_BYTES, self.course.output_bytes);
            for index in [word::OUTPUT, word::INPUT, word::ATTACHED, word::CPU, word::FORKS] {
                page.store(index, self.page.as_ref().map_or(0, |old| old.load(index)));
            }
            self.page = Some(page);
        }
        if let Ok(listener) = self.files.listen() {
            self.listener = Some(listener);
        }
    }

    /// The end: the log's last byte, then the exit record, then what nobody needs any more.
    fn finish(mut self) {
        self.source.held = None; // our own hold on the terminal would hide its end
        for _ in 0..LAST_READS {
            if !self.pump(monotonic()) {
                break;
            }
        }
        self.log.settle();
        let _ = failpoint::hit("before-exit-record");
        let (exit, ended) = self.course.exit.unzip();
        let usage = children::usage();
        let exit = ExitRecord {
            version: RECORD_VERSION,
            run_id: self.record.intent.run_id,
            exit,
            start_error: None,
            cause: self.course.cause.take(),
            leftovers: std::mem::take(&mut self.course.leftovers),
            cpu_micros: usage.cpu_micros,
            max_rss_kib: usage.max_rss_kib,
            started_at: Some(self.record.started_at),
            ended_at: wall(),
            ran_millis: millis(ended.unwrap_or_else(monotonic).since(self.record.started)),
        };
        if self.files.write_exit(&exit).is_err() && self.files.remake(&self.record).unwrap_or(false) {
            let _ = self.files.write_exit(&exit); // without it the daemon tells the run as lost
        }
        self.files.remove_socket();
        if let Some(group) = &self.group {
            let _ = group.remove(); // the next run takes it over
        }
    }
}

const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// A person's stop that comes straight from a client names that person as the kernel does; the daemon speaks
/// for others, whom it has checked itself.
fn by(cause: &Cause, asked: Actor) -> Option<Actor> {
    match cause.by {
        Some(by) if by.uid != asked.uid && asked.uid != 0 && asked.uid != users::own().0 => Some(asked),
        by => by,
    }
}

/// Whole milliseconds of a span.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
