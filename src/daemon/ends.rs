//! The end of a run: found out, cleaned up after, and counted once.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{
    core::{Daemon, Key},
    events::News,
    keepers::Keepers,
};
use crate::{
    api::{
        cause::{Cause, StopReason},
        event::EventKind,
        name::{RunId, SessionName},
        quantity::Dur,
        record::{Exit, ExitRecord, Record, StartError},
        spec::{Backoff, RestartPolicy, WrittenSpec},
    },
    controller::Reason,
    host::{
        failpoint::{self, Place},
        signals as signal,
    },
    plan::{Desired, Ended, Observed, Will, fleet, restart, turn},
};

impl<K: Keepers> Daemon<K> {
    /// Counts an exit that a keeper recorded; one that was counted before only frees the name.
    pub(super) fn count_exit(&self, name: &SessionName, record: Option<&Record>, exit: ExitRecord) {
        // Also of one that was counted: the daemon that did may have been killed before.
        self.keep_run(name, &exit);
        if self.was_counted(name, exit.run_id) {
            return;
        }
        for pid in &exit.leftovers {
            let message = format!("Cleaned up zombie process for session {name}: pid {pid}");
            self.tell(EventKind::ZombieCleaned, name, Some(exit.run_id), None, message);
        }
        if exit.lost_output > 0 {
            let message =
                format!("{} bytes of output could not be written: `atm logs` tells where", exit.lost_output);
            self.tell(EventKind::OutputLost, name, Some(exit.run_id), None, message);
        }
        for pid in &exit.escaped {
            let message = format!("pid {pid} had left the session's cgroup, and was ended with it");
            self.tell(EventKind::Escaped, name, Some(exit.run_id), None, message);
        }
        self.honour_will(name, &exit);
        let ended = Ended {
            run_id: exit.run_id,
            generation: record.map_or_else(|| self.generation(name), |r| r.intent.generation),
            launch: record.map(|r| r.intent.launch.clone()),
            exit: exit.exit,
            start_error: exit.start_error,
            cause: exit.cause,
            interrupted: false,
            stop_signal: record.map_or(signal::TERM, |r| r.intent.spec.stop_signal.0),
            ran: Duration::from_millis(exit.ran_millis),
            at: exit.ended_at,
            memory: None,
            continued: record.and_then(|r| r.intent.agent.as_ref()).and_then(|agent| agent.continues.clone()),
            refused: false,
        };
        self.count(name, ended);
    }

    /// A stop that was asked of the keeper while the daemon was down is a will like any other.
    fn honour_will(&self, name: &SessionName, exit: &ExitRecord) {
        let Some(Cause { reason: StopReason::ClientStop | StopReason::ClientKill, by: Some(by), .. }) =
            exit.cause
        else {
            return;
        };
        self.store.edit(name, |entry| {
            // One that the daemon knew of has set the will already, and a later `start` may have lifted it.
            let known = entry.memory.stop_asked == Some(exit.run_id);
            if known || entry.plan.history.start_requested {
                return;
            }
            if let Desired::Spec(wanted) = &mut entry.plan.desired
                && wanted.will == Will::AsDeclared
            {
                wanted.will = Will::Stopped { by, now: false };
            } else if matches!(entry.plan.desired, Desired::NeverGood | Desired::Unseen) {
                entry.memory.will = Will::Stopped { by, now: false }.into();
            }
        });
    }

    /// A keeper that ended before it had a record.
    pub(super) fn count_nothing(&self, name: &SessionName) {
        let begun = {
            let world = self.store.look();
            world.sessions.get(name).and_then(|entry| {
                let current = entry.plan.observed.run_id();
                entry.memory.begun.clone().filter(|begun| current == Some(begun.run_id))
            })
        };
        match begun {
            // This daemon started it, and it came to nothing: the machine's doing, tried again soon.
            Some(begun) => {
                let said = self.store.edit(name, |entry| entry.start_error.take()).flatten();
                let error = said.unwrap_or_else(|| StartError::Host {
                    action: "start the keeper".into(),
                    reason: "it ended before it reported".into(),
                    transient: true,
                });
                self.count_failed_start(name, begun.run_id, begun.generation, error);
            }
            None => self.name_is_free(name),
        }
    }

    /// Counts a start that failed on the daemon's side.
    pub(super) fn count_failed_start(
        &self,
        name: &SessionName,
        run_id: RunId,
        generation: u64,
        error: StartError,
    ) {
        let ended = Ended {
            run_id,
            generation,
            launch: None,
            exit: None,
            start_error: Some(error),
            cause: None,
            interrupted: false,
            stop_signal: signal::TERM,
            ran: Duration::ZERO,
            at: self.clock.wall(),
            memory: None,
            continued: None,
            refused: false,
        };
        // No file tells of it, and those of the run before may still be there: that one stays the last counted.
        self.conclude(name, ended);
    }

    /// Counts a run that the machine went down under.
    pub(super) fn count_interrupted(&self, name: &SessionName, run_id: RunId) {
        self.count_without_files(name, run_id, None);
    }

    /// Counts a run of this boot that has left neither files nor processes.
    pub(super) fn count_vanished(&self, name: &SessionName, run_id: RunId) {
        let cause = Cause::rule(StopReason::KeeperLost, "its keeper and the files of its run are gone");
        self.count_without_files(name, run_id, Some(cause));
    }

    /// `cause`: absent where the machine went down.
    fn count_without_files(&self, name: &SessionName, run_id: RunId, cause: Option<Cause>) {
        if self.was_counted(name, run_id) {
            return;
        }
        let ended = Ended {
            run_id,
            generation: self.generation(name),
            launch: None,
            exit: None,
            start_error: None,
            interrupted: cause.is_none(),
            cause,
            stop_signal: signal::TERM,
            ran: Duration::ZERO,
            at: self.clock.wall(),
            memory: None,
            continued: None,
            refused: false,
        };
        self.count(name, ended);
    }

    /// Frees the name where the end of `run_id` was counted before, and says whether it was.
    ///
    /// The files of a counted run stay until a keeper is started for the next one. So a next one that was begun
    /// has none, and never came to a process: what was asked for is still asked for.
    pub(super) fn was_counted(&self, name: &SessionName, run_id: RunId) -> bool {
        let counted =
            self.store.look().sessions.get(name).is_some_and(|entry| entry.memory.counted == Some(run_id));
        if counted {
            self.take_back(name);
            self.name_is_free(name);
        }
        counted
    }

    fn generation(&self, name: &SessionName) -> u64 {
        let world = self.store.look();
        world.sessions.get(name).and_then(|e| e.memory.spec.as_ref()).map_or(0, |spec| spec.generation)
    }

    pub(super) fn name_is_free(&self, name: &SessionName) {
        self.store.edit(name, |entry| {
            entry.plan.observed = Observed::Absent;
            entry.run = None;
            entry.run_gone = false;
            entry.adopted = false;
            entry.losing = false;
            entry.stray = None;
            entry.memory.stop_asked = None;
            entry.start_error = None;
            entry.launched = None;
            entry.agent_start = None;
            entry.logs = None;
            entry.limits = None;
            entry.plan.identity = None;
            entry.repository.forget();
        });
        self.refresh_spec(name); // what was overridden was so for the run that is over
        self.tell_live(name, false);
        self.look_at(Key::Fleet, Reason::Observed);
        self.look_at(Key::Session(name.clone()), Reason::Observed);
    }

    /// Counts the end of a run: once, and before anything follows from it.
    pub(super) fn count(&self, name: &SessionName, ended: Ended) {
        let _ = failpoint::hit(Place::CountEnd);
        self.store.edit(name, |entry| entry.memory.counted = Some(ended.run_id));
        self.conclude(name, ended);
    }

    fn conclude(&self, name: &SessionName, mut ended: Ended) {
        self.judge_conversation(name, &mut ended);
        self.tell_end(name, &ended);
        let (before, cause) = (self.restarts(name), ended.cause.as_ref().map(|cause| cause.reason));
        let now = self.clock.now();
        let (policy, backoff) = self.what_follows(name);
        let run_id = ended.run_id;
        let over = self.store.edit(name, |entry| {
            entry.memory.begun = None;
            entry.memory.overrides = None;
            let over = match &mut entry.plan.observed {
                Observed::Running(run) | Observed::Stopping { run, .. } if run.run_id == ended.run_id => {
                    ended.memory = run.seen.map(|seen| seen.look.memory.bytes);
                    // A keeper that was asked past this daemon stopped it for a cause that nobody kept here.
                    if let Some(cause) = &ended.cause {
                        run.turn.cancel(None, turn::interrupted_by(cause));
                    }
                    turn::close(run, now)
                }
                _ => {
                    ended.memory = None;
                    None
                }
            };
            entry.plan.history =
                restart::after_end(&entry.plan.history, ended, policy, &backoff, now, jitter());
            over
        });
        if let Some(over) = over.flatten() {
            self.turn_is_over(name, run_id, over);
        }
        let restarts = self.restarts(name).saturating_sub(before);
        self.store.edit_world(|world| {
            let how = cause.map_or_else(|| "Exited".to_owned(), |reason| reason.to_string());
            *world.counters.ended.entry(how).or_default() += 1;
            world.counters.evictions += u64::from(cause.is_some_and(fleet::is_eviction));
            world.counters.restarts += restarts;
        });
        let _ = failpoint::hit(Place::Counted);
        self.save_next(name);
        self.name_is_free(name);
    }

    fn restarts(&self, name: &SessionName) -> u64 {
        self.store.look().sessions.get(name).map_or(0, |entry| entry.plan.history.restarts)
    }

    /// The restart policy that an end of `name` is counted by: its spec's, also while its file is unseen.
    fn what_follows(&self, name: &SessionName) -> (RestartPolicy, Backoff) {
        let world = self.store.look();
        let spec = world.sessions.get(name).and_then(|entry| match &entry.plan.desired {
            Desired::Spec(wanted) => Some(Arc::clone(&wanted.spec)),
            Desired::Unseen => {
                let good = entry.memory.spec.as_ref()?;
                let written = WrittenSpec::parse(&good.text, &good.file).ok()?;
                Some(Arc::new(written.resolve(name, &world.config)))
            }
            Desired::Gone | Desired::NeverGood | Desired::Registered(_) => None,
        });
        // Nothing follows where there is no spec; the figures are never looked at.
        spec.map_or((RestartPolicy::Never, NO_BACKOFF), |spec| (spec.restart_policy, spec.backoff))
    }

    fn tell_end(&self, name: &SessionName, ended: &Ended) {
        let how = match (&ended.start_error, ended.exit) {
            (Some(error), _) => error.to_string(),
            (None, Some(Exit::Code(code))) => format!("exited with status {code}"),
            (None, Some(Exit::Signal(number))) => {
                format!("ended by SIG{}", crate::api::spec::StopSignal(number))
            }
            (None, None) if ended.interrupted => "the machine went down under it".into(),
            (None, None) => "its result is not known".into(),
        };
        let ran = humantime::format_duration(Duration::from_millis(
            u64::try_from(ended.ran.as_millis()).unwrap_or(u64::MAX),
        ));
        let (kind, reason) = match (&ended.start_error, &ended.cause) {
            (Some(_), _) => (EventKind::StartFailed, None),
            (None, Some(cause)) => {
                self.tell_unheard(name, ended.run_id, cause);
                (EventKind::Stopped, Some(cause.reason.to_string()))
            }
            (None, None) => (EventKind::Exited, None),
        };
        let news = self.news(kind, name, Some(ended.run_id), reason, format!("{how} after {ran}"));
        self.events.tell(News { exit: ended.exit, ..news }, &self.clock, &self.writer);
    }

    /// Tells a cause that is found with a stop or with the end itself: the kernel ended the session for want of memory,
    /// a stop was asked of its keeper while no daemon ran, or the daemon that asked was killed before it could tell.
    pub(super) fn tell_unheard(&self, name: &SessionName, run_id: RunId, cause: &Cause) {
        if !self.events.has_told_cause(run_id) {
            self.tell_cause(name, Some(run_id), cause);
        }
    }

    /// Tells why a session is ended.
    pub(super) fn tell_cause(&self, name: &SessionName, run_id: Option<RunId>, cause: &Cause) {
        let kind = if fleet::is_eviction(cause.reason) { EventKind::Evicted } else { EventKind::Stopping };
        self.tell(kind, name, run_id, Some(cause.reason.to_string()), cause.message.clone());
    }

    /// Has `name` looked at again after a while.
    pub(super) fn look_again(&self, name: &SessionName, after: Duration) {
        let (inputs, key) = (self.inputs.clone(), Key::Session(name.clone()));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(after).await;
            let _ = inputs.send(super::core::Input::Look(key, Reason::Observed)); // the loop may have ended
        });
    }
}

/// For an end that nothing follows.
const NO_BACKOFF: Backoff =
    Backoff { initial: Dur(Duration::ZERO), max: Dur(Duration::ZERO), reset_after: Dur(Duration::ZERO) };

/// From -1 to 1, so that sessions that failed together do not come back together.
fn jitter() -> f64 {
    // The standard library seeds each of these from the system's randomness.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX) * 2.0 - 1.0
}
