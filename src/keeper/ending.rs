//! How a session ends: asked, then made to, then told.

use std::{collections::BTreeSet, time::Duration};

use super::{session::Session, stop::Stop};
use crate::{
    api::{
        cause::{Cause, StopReason},
        kept::{KEPT_HISTORY, KEPT_OUTPUT, KeptRun},
        record::{Exit, ExitRecord, ProcessId, RECORD_VERSION, Stopping},
    },
    host::{
        children,
        clock::{monotonic, wall},
        failpoint::{self, Place},
        poll,
        process::Process,
        tree,
    },
};

/// What is read after the last process died is what the kernel still held: this bounds a writer from outside
/// the tree that would never let us end.
const LAST_READS: usize = 1024;
/// A chain that forks and exits is chased for so long before the loop turns again.
const CHASE: Duration = Duration::from_millis(20);

/// How long an exit record that cannot be written is tried.
const TELLING: Duration = Duration::from_secs(10);
/// The pause between two tries.
const TELL_AGAIN: Duration = Duration::from_millis(200);

const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

impl Session {
    /// Whether nothing of the session is left.
    pub fn is_over(&self) -> bool {
        self.course.exit.is_some() && self.course.childless && !self.is_group_populated()
    }

    fn is_group_populated(&self) -> bool {
        // A group that cannot be read is gone, and with it what was in it.
        self.group.as_ref().is_some_and(|group| group.is_populated().unwrap_or(false))
    }

    /// The command ended by itself and left something running.
    pub fn end_leftovers(&mut self) {
        self.course.leftovers = self.members().iter().map(|id| id.pid).collect();
        self.begin_stop(self.grace(), self.stop_signal(), None);
    }

    /// How long a stop waits, where nobody says otherwise.
    pub fn grace(&self) -> Duration {
        self.record.intent.spec.termination_grace_period.0
    }

    /// The first signal of a stop, where nobody says otherwise.
    pub fn stop_signal(&self) -> i32 {
        self.record.intent.spec.stop_signal.0
    }

    /// All processes of the session that live.
    pub fn members(&mut self) -> Vec<ProcessId> {
        // Before the group: what is born between is in both, and none is taken for one that escaped.
        let mut members = tree::descendants().unwrap_or_default();
        let Some(group) = &self.group else { return members };
        let grouped: BTreeSet<_> = group.members().into_iter().collect();
        for away in members.iter().filter(|id| !grouped.contains(id)) {
            // One that ended between is in neither, and one that was moved within the group may be missed.
            let lives = Process::find(*away).ok().flatten().is_some_and(|it| !it.has_ended().unwrap_or(true));
            if lives && !group.is_group_of(away.pid) && !self.course.escaped.contains(&away.pid) {
                self.course.escaped.push(away.pid);
            }
        }
        let known: BTreeSet<_> = members.iter().copied().collect();
        members.extend(grouped.into_iter().filter(|id| !known.contains(id)));
        members
    }

    /// Begins a stop, or shortens the one in progress. The cause is in the record before the first signal.
    pub fn begin_stop(&mut self, grace: Duration, signal: i32, cause: Option<Cause>) {
        let now = monotonic();
        let first = self.course.stop.is_none();
        let stop = self.course.stop.get_or_insert_with(|| Stop::new(now, grace));
        let shorter = stop.shorten(now.saturating_add(grace));
        let kill_at = stop.kill_at();
        let named = self.course.cause.is_none() && cause.is_some();
        if named {
            self.course.cause = cause;
            // Before the first signal: a program that is asked to end clears its screen.
            self.course.last_screen = self.terminal.as_mut().and_then(|terminal| terminal.seen(KEPT_HISTORY));
        }
        if let Some(stopping) = &mut self.record.stopping {
            stopping.kill_at = kill_at;
        } else if let Some(cause) = self.course.cause.clone() {
            self.record.stopping = Some(Stopping { cause, since: now, kill_at, unkillable: false });
        }
        let members = if first { self.members() } else { Vec::new() };
        if first {
            self.record.members.clone_from(&members);
        }
        if first || shorter || named {
            self.save();
        }
        let _ = failpoint::hit(Place::StopRecorded);
        if first && !grace.is_zero() {
            self.ask_to_end(&members, signal);
        }
        self.tick(now);
    }

    fn ask_to_end(&mut self, members: &[ProcessId], signal: i32) {
        let has_terminal = self.source.held.is_some();
        let send = |members: &[ProcessId]| {
            tree::signal(members, signal);
            if has_terminal {
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
    pub fn kill(&mut self) {
        let _ = failpoint::hit(Place::Kill);
        if let Some(group) = &self.group {
            let _ = group.kill(); // too old a kernel: the sweep below does it
        }
        let until = monotonic().saturating_add(CHASE);
        let mut seen = BTreeSet::new();
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

    /// The end: the log's last byte, then the exit record, then what nobody needs any more.
    pub fn finish(mut self) {
        self.source.held = None; // our own hold on the terminal would hide its end
        for _ in 0..LAST_READS {
            if !self.pump(monotonic()) {
                break;
            }
        }
        let lost_output = self.log.end();
        let (exit, ended) = self.course.exit.unzip();
        let usage = children::usage();
        let exit = ExitRecord {
            version: RECORD_VERSION,
            run_id: self.record.intent.run_id,
            exit,
            start_error: None,
            cause: self.course.cause.take().or_else(|| self.killed_for_memory()),
            leftovers: std::mem::take(&mut self.course.leftovers),
            escaped: std::mem::take(&mut self.course.escaped),
            cpu_micros: usage.cpu_micros,
            max_rss_kib: usage.max_rss_kib,
            lost_output,
            started_at: Some(self.record.started_at),
            ended_at: wall(),
            ran_millis: millis(ended.unwrap_or_else(monotonic).since(self.record.started)),
        };
        self.keep(&exit);
        self.tell(&exit);
        let _ = failpoint::hit(Place::ExitTold);
        self.farewell(&exit);
        self.files.remove_socket();
        if let Some(group) = &self.group {
            let _ = group.remove(); // the next run takes it over
        }
    }
}

impl Session {
    /// The kernel was faster than the daemon, or there was none.
    fn killed_for_memory(&self) -> Option<Cause> {
        let killed = matches!(self.course.exit, Some((Exit::Signal(SIGKILL), _)));
        self.group.as_ref().filter(|group| killed && group.oom_kills() > 0)?;
        let limit = self.record.intent.spec.max_memory.at();
        let over =
            limit.map_or_else(String::new, |limit| format!(" over its maxMemory of {}", limit.human()));
        Some(Cause::rule(StopReason::SessionMemory, format!("ended by the kernel for want of memory{over}")))
    }

    /// Keeps what a run that was stopped showed last. Where there is no room for that it is not: the exit matters.
    fn keep(&mut self, exit: &ExitRecord) {
        if exit.cause.is_none() {
            return;
        }
        let last = self.course.last_screen.take();
        let screen = last.or_else(|| self.terminal.as_mut()?.seen(KEPT_HISTORY));
        let printed = self.course.output_bytes.saturating_sub(exit.lost_output);
        let mut output = self.log.tail(printed.min(KEPT_OUTPUT)).unwrap_or_default();
        // The rest is more than is kept, or was rotated away.
        if printed > output.len() as u64 {
            // From a line on, where there is one.
            let line = output.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            output.drain(..line);
        }
        let kept = KeptRun {
            version: RECORD_VERSION,
            name: self.record.intent.name.clone(),
            run_id: self.record.intent.run_id,
            uid: self.record.uid,
            generation: self.record.intent.generation,
            spec: self.record.intent.spec.clone(),
            exit: exit.clone(),
            screen,
            output: String::from_utf8_lossy(&output).into_owned(),
            output_is_cut: printed > output.len() as u64,
        };
        let _ = self.files.write_kept(&kept);
    }

    /// Writes the exit record; where that fails, as on a full disk, for a while again: without it the daemon tells
    /// the run as lost.
    fn tell(&mut self, exit: &ExitRecord) {
        let until = monotonic().saturating_add(TELLING);
        while failpoint::hit(Place::TellExit).and_then(|()| self.files.write_exit(exit)).is_err() {
            match self.files.remake(&self.record) {
                Ok(true) if self.files.write_exit(exit).is_ok() => return,
                Ok(false) => return, // another run's by now
                Ok(true) | Err(_) if monotonic() >= until => return,
                Ok(true) | Err(_) => {}
            }
            let _ = poll::wait(&[], Some(TELL_AGAIN)); // an interrupted pause is only shorter
        }
    }
}

/// Whole milliseconds of a span.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
