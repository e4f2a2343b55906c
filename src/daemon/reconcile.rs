//! One step for one key: ask the plan, do what it says.

use std::{sync::Arc, time::Duration};

use super::{
    core::{Daemon, Key},
    keepers::{AskError, Keepers, LaunchError},
    memory::Begun,
    store::{Limits, RunFacts},
};
use crate::{
    api::{
        cause::{Cause, StopReason},
        event::EventKind,
        keeper::Request,
        name::{RunId, SessionName},
        record::{Intent, RECORD_VERSION, RunAs, StartError},
        spec::RestartPolicy,
        time::Moment,
    },
    controller::{Action, Reason, Reconciler},
    host::{
        errors::words,
        failpoint::{self, Place},
        signals as signal,
    },
    plan::{
        Desired, Done, Grant, Observed, Verdict, Wait, Wanted,
        fleet::{self, Mode},
        restart, session,
        session::Step,
    },
};

/// Why a reconcile could not do what the plan said. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The keeper gave no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// What a lost keeper left cannot be looked for.
    #[error("cannot look for what the keeper of {name} left running")]
    Leftovers {
        /// The session.
        name: SessionName,
        /// The system's words.
        source: std::io::Error,
    },
}

/// To a keeper that does not answer: it may have been stopped, may never have had a socket, or may have lost it
/// with the directory that it was in.
const WAKE: &[i32] = &[signal::CONT, signal::REMAKE];

impl<K: Keepers> Reconciler<Key> for Daemon<K> {
    type Error = ReconcileError;

    async fn reconcile(&self, key: &Key) -> Result<Action, ReconcileError> {
        let begun = self.clock.now();
        let outcome = match key {
            Key::Fleet => Ok(self.decide()),
            Key::Session(name) => self.act(name).await,
        };
        self.metrics.reconciled(key, self.clock.now() - begun);
        outcome
    }

    fn error_policy(&self, _key: &Key, _error: &ReconcileError, failures: u32) -> Duration {
        // What fails here is the machine's doing and passes: a full disk, a keeper that is stopped.
        Duration::from_millis(100 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(5))
    }
}

impl<K: Keepers> Daemon<K> {
    /// Who may run: stores each changed verdict and has its session looked at.
    pub(super) fn decide(&self) -> Action {
        let (known, mode_is_end) = {
            let world = self.store.look();
            (world.sources.all(), matches!(world.mode, Mode::EndAll(_)))
        };
        if !known && !mode_is_end {
            return Action::await_change(); // the last source to report asks again
        }
        let now = self.clock.now();
        let (changed, next, relief) = {
            let world = self.store.look();
            let decisions = world.decide(now);
            // Verdicts come in the order of the sessions: a thousand look-ups by name would cost more than deciding.
            let changed: Vec<(SessionName, Verdict)> = world
                .sessions
                .iter()
                .zip(decisions.verdicts)
                .filter(|((_, entry), verdict)| entry.verdict.as_ref() != Some(verdict))
                .map(|((name, _), verdict)| (name.clone(), verdict))
                .collect();
            (changed, decisions.next, decisions.relief)
        };
        self.store.note_relief(relief);
        let ends = |(_, verdict): &(SessionName, Verdict)| matches!(verdict, Verdict::Stop(cause) if fleet::is_eviction(cause.reason));
        if changed.iter().any(ends) {
            self.store.edit_world(|world| world.counters.cleanup_runs += 1);
        }
        // Only a changed verdict is news: waking on every pass is how reconcile storms start.
        for (name, verdict) in changed {
            if verdict == Verdict::Done(Done::Gone) {
                self.forget(&name);
                continue;
            }
            self.tell_wait(&name, &verdict);
            self.store.edit(&name, |entry| {
                if !matches!(verdict, Verdict::Stop(_)) {
                    entry.plan.history.cleanup_requested = None; // it woke before it could be asked to go
                }
                entry.verdict = Some(verdict);
            });
            self.look_at(Key::Session(name), Reason::Decided);
        }
        until(next, now)
    }

    /// A session that begins to wait is news; that it still waits is not.
    fn tell_wait(&self, name: &SessionName, verdict: &Verdict) {
        let Verdict::Wait(wait) = verdict else { return };
        let (reason, message) = {
            let world = self.store.look();
            let Some(entry) = world.sessions.get(name) else { return };
            let now = self.clock.now();
            let (_, reason, message) = crate::plan::status::derive(&entry.plan, Some(verdict), now);
            if matches!(wait, Wait::InvalidSpec) {
                return; // told with the error itself
            }
            (reason, message)
        };
        self.tell(EventKind::Pending, name, None, Some(reason.to_string()), message);
    }

    fn forget(&self, name: &SessionName) {
        if self.store.look().sessions.get(name).is_some_and(|entry| entry.plan.is_registered()) {
            return self.depart(name, "Exited", "its process is gone");
        }
        // Told first: afterwards nobody knows any more whom it concerned.
        self.tell(EventKind::SpecRemoved, name, None, None, "its spec file is gone: forgotten");
        self.store.remove(name);
        self.writer.retire(self.paths.memory(name), self.paths.retired(name));
        self.keepers.clear(name);
    }

    async fn act(&self, name: &SessionName) -> Result<Action, ReconcileError> {
        if let Some(attended) = self.attend(name) {
            return Ok(attended);
        }
        if !self.take_stock(name).await? {
            return Ok(Action::await_change()); // gone since the trigger: normal, not an error
        }
        let mut step = self.next_step(name);
        if let Step::Terminate { cause, .. } = &step
            && fleet::is_eviction(cause.reason)
            && self.look_now(name)
        {
            // What was decided may be out of date by a moment, and a session that woke in it is not to end.
            self.decide();
            self.look_at(Key::Fleet, Reason::Observed);
            step = self.next_step(name);
        }
        let now = self.clock.now();
        match step {
            Step::Start => self.launch(name).await,
            Step::Terminate { cause, now: at_once } => self.terminate(name, cause, at_once).await,
            Step::Update => self.update(name).await,
            Step::Rest { .. } if self.logs_changed(name) || self.limits_changed(name) => {
                self.update(name).await
            }
            Step::Rest { until: at } => {
                let settling = self.settling(name, now);
                Ok(until(earliest(at, settling), now))
            }
        }
    }

    /// What the plan says of one session, given the verdict in force.
    fn next_step(&self, name: &SessionName) -> Step {
        let world = self.store.look();
        let entry = world.sessions.get(name);
        // Before the first verdict there is nothing to do but to see how things stand.
        let decided = entry.and_then(|entry| Some((&entry.plan, entry.verdict.as_ref()?)));
        decided.map_or(Step::Rest { until: None }, |(plan, verdict)| {
            session::step(plan, verdict, self.clock.now())
        })
    }

    /// Starts a run: the protocol of [`crate::keeper`], up to the keeper's own part of it.
    async fn launch(&self, name: &SessionName) -> Result<Action, ReconcileError> {
        let Some(wanted) = self.still_wanted(name) else { return Ok(Action::await_change()) };
        let run_id = RunId::generate();
        // It counts as live from here on, so that a slot or an identity is not given twice during the wait below.
        let (since, started_at) = (self.clock.now(), self.clock.wall());
        self.store.edit(name, |entry| {
            // A request asks for one start, also where that fails.
            let requested = entry.plan.history.is_asked_for();
            entry.plan.history = restart::begun(&entry.plan.history);
            entry.plan.identity = Some(wanted.spec.identity.as_str().into());
            entry.plan.observed = Observed::Starting { run_id, since };
            entry.memory.begun = Some(Begun {
                run_id,
                boot_id: self.clock.boot().clone(),
                generation: wanted.generation,
                requested,
                ran: false,
                at: started_at,
            });
            entry.launched = Some(wanted.launch.clone());
            entry.agent_start = None; // what an earlier start was for
            entry.adopted = false;
            entry.run = Some(RunFacts { keeper: None, child: None, uid: None, started_at });
        });
        // One write tells the next daemon of the end before this run, whose files are emptied below, and of the run
        // that begins. What runs once must be known to have begun even after a power cut.
        let saved = match wanted.spec.restart_policy {
            RestartPolicy::Never => self.save_durably(name).await,
            RestartPolicy::Always | RestartPolicy::OnFailure => self.save_now(name).await,
        };
        if let Err(source) = saved {
            // What cannot be remembered is not begun: it would be lost, or begun again.
            let error = StartError::Host {
                action: format!("write {}", self.paths.memory(name).display()),
                reason: words(&source),
                transient: true,
            };
            self.count_failed_start(name, run_id, wanted.generation, error);
            return Ok(Action::await_change());
        }
        if !self.is_granted(name) {
            self.take_back(name);
            self.name_is_free(name);
            self.save(name);
            return Ok(Action::await_change());
        }
        let intent = self.intent(name, run_id, &wanted);
        self.store.edit(name, |entry| {
            entry.logs = Some(intent.logs);
            entry.limits = Some(Limits::of(&intent.spec));
            entry.agent_start.clone_from(&intent.agent);
        });
        match self.keepers.start(&intent) {
            Ok(()) => self.tell_live(name, true),
            Err(error @ LaunchError::NameTaken { .. }) => {
                // By a look at it, for an instant; or by a keeper that we do not know: the next look tells.
                self.take_back(name);
                self.unknown(name, &error.to_string());
            }
            Err(error @ LaunchError::Unwatched { .. }) => {
                tracing::error!(%name, %error, "started a keeper that cannot be watched");
                self.unknown(name, &error.to_string());
            }
            Err(LaunchError::Host { action, path, source }) => {
                let error = StartError::Host {
                    action: format!("{action} {}", path.display()),
                    reason: source.to_string(),
                    transient: true,
                };
                self.count_failed_start(name, run_id, wanted.generation, error);
            }
        }
        Ok(Action::await_change())
    }

    /// The spec to start by, if the fleet still says so and nothing lives.
    fn still_wanted(&self, name: &SessionName) -> Option<Wanted> {
        let world = self.store.look();
        let entry = world.sessions.get(name)?;
        match (&entry.verdict, &entry.plan.observed, &entry.plan.desired) {
            (Some(Verdict::Run(grant)), Observed::Absent, Desired::Spec(wanted))
                if *grant == Grant::of(&entry.plan) =>
            {
                Some(wanted.clone())
            }
            _ => None,
        }
    }

    /// Takes back what was begun and never came to a process.
    pub(super) fn take_back(&self, name: &SessionName) {
        self.store.edit(name, |entry| {
            if let Some(begun) = entry.memory.begun.take() {
                entry.plan.history.start_requested |= begun.requested;
            }
        });
    }

    /// Whether the fleet still lets it run.
    fn is_granted(&self, name: &SessionName) -> bool {
        let world = self.store.look();
        world.sessions.get(name).is_some_and(|entry| matches!(entry.verdict, Some(Verdict::Run(_))))
    }

    fn intent(&self, name: &SessionName, run_id: RunId, wanted: &Wanted) -> Intent {
        let world = self.store.look();
        let source = world.sessions.get(name).and_then(|entry| entry.memory.spec.clone());
        // In user mode every session is the daemon's own user's, whoever owns the file.
        let owner = source.as_ref().map(|spec| spec.owner).filter(|_| self.system).unwrap_or(self.uid);
        let user = match &wanted.spec.user {
            // Only root may name somebody else: a spec is as mighty as whoever could have written it.
            Some(name) if self.system && owner != 0 => RunAs::OwnersName { name: name.clone(), uid: owner },
            Some(name) => RunAs::Name(name.clone()),
            None => RunAs::Uid(owner),
        };
        let mut base_env = self.base_env.clone();
        base_env.extend(world.config.env.clone());
        Intent {
            version: RECORD_VERSION,
            name: name.clone(),
            run_id,
            instance: self.here.instance,
            state_dir: Some(self.paths.directories.state.clone()),
            boot_id: self.here.boot.clone(),
            pid_namespace: self.here.pid_namespace,
            generation: wanted.generation,
            launch: wanted.launch.clone(),
            spec: (*wanted.spec).clone(),
            source,
            user,
            base_env,
            log_file: self.paths.log(name),
            logs: world.config.logs,
            cgroup: self.cgroup.clone(),
            agent: world
                .sessions
                .get(name)
                .and_then(|entry| self.agent_start(entry, &wanted.spec, &world.config)),
        }
    }

    /// Has the keeper stop its session. The keeper records the cause before its first signal, and sees to
    /// grace and SIGKILL by itself.
    async fn terminate(
        &self,
        name: &SessionName,
        cause: Cause,
        at_once: bool,
    ) -> Result<Action, ReconcileError> {
        let (signal, grace) = {
            let world = self.store.look();
            let spec = world.sessions.get(name).and_then(|entry| match &entry.plan.desired {
                Desired::Spec(wanted) => Some(Arc::clone(&wanted.spec)),
                Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => None,
            });
            // A session whose spec is gone stops as it was started: the keeper knows how.
            (spec.as_ref().map(|s| s.stop_signal.0), spec.map(|s| s.termination_grace_period.0))
        };
        let grace = if at_once { Some(Duration::ZERO) } else { grace };
        let request = Request::Stop {
            cause: cause.clone(),
            signal,
            grace_millis: grace.map(|g| u64::try_from(g.as_millis()).unwrap_or(u64::MAX)),
        };
        self.cancel_for(name, &cause);
        let _ = failpoint::hit(Place::AskStop);
        if let Err(error) = self.keepers.ask(name, request).await {
            if fleet::is_eviction(cause.reason) {
                self.store.edit_world(|world| world.counters.cleanup_errors += 1);
                tracing::warn!(%name, %error, "cannot evict, tried again");
            }
            return self.keeper_is_deaf(name, &cause, at_once, error);
        }
        let _ = failpoint::hit(Place::StopAgreed);
        let since = self.clock.now();
        let kill_at = grace.and_then(|g| since.checked_add(g)).unwrap_or(since);
        let run_id = self
            .store
            .edit(name, |entry| {
                let run = match &entry.plan.observed {
                    Observed::Running(run) | Observed::Stopping { run, .. } => run.clone(),
                    Observed::Starting { run_id, since } => entry.started(*run_id, *since),
                    Observed::Absent | Observed::Unknown { .. } => return None,
                };
                let run_id = run.run_id;
                let cause = cause.clone();
                entry.memory.stop_asked = Some(run_id);
                entry.plan.observed = Observed::Stopping { run, cause, since, kill_at, unkillable: false };
                Some(run_id)
            })
            .flatten();
        // The next daemon is not to take this stop for one that a person asked its keeper for.
        self.save(name);
        self.tell_cause(name, run_id, &cause);
        self.look_at(Key::Fleet, Reason::Observed);
        Ok(Action::requeue(Duration::ZERO))
    }

    /// A keeper that does not answer may have been stopped by a signal: wake it, and ask again later. Only a
    /// kill goes further: the keeper is ended, and what it held is ended as after any loss.
    fn keeper_is_deaf(
        &self,
        name: &SessionName,
        cause: &Cause,
        at_once: bool,
        error: AskError,
    ) -> Result<Action, ReconcileError> {
        let force = at_once && cause.reason == StopReason::ClientKill;
        self.signal_keeper(name, if force { &[signal::KILL] } else { WAKE });
        Err(error.into())
    }

    fn signal_keeper(&self, name: &SessionName, signals: &[i32]) {
        for signal in signals {
            if let Err(error) = self.keepers.signal_keeper(name, *signal) {
                tracing::warn!(%name, %error, "cannot signal a keeper that does not answer");
            }
        }
    }

    /// Whether the keeper of a running session works by other limits of output files than the config's.
    fn logs_changed(&self, name: &SessionName) -> bool {
        let world = self.store.look();
        world.sessions.get(name).is_some_and(|entry| {
            // Before the first verdict the config has not been read.
            entry.verdict.is_some()
                && matches!(entry.plan.observed, Observed::Running(_))
                && matches!(entry.plan.desired, Desired::Spec(_))
                && entry.logs.is_some_and(|logs| logs != world.config.logs)
        })
    }

    /// Tells the keeper what changed live, so that it stops by the new grace even without the daemon.
    async fn update(&self, name: &SessionName) -> Result<Action, ReconcileError> {
        let (wanted, logs) = {
            let world = self.store.look();
            match world.sessions.get(name).map(|entry| &entry.plan.desired) {
                Some(Desired::Spec(wanted)) => (wanted.clone(), world.config.logs),
                Some(Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_))
                | None => {
                    return Ok(Action::await_change());
                }
            }
        };
        let request = Request::Update {
            generation: wanted.generation,
            launch: wanted.launch.clone(),
            spec: Box::new((*wanted.spec).clone()),
            logs: Some(logs),
        };
        match self.keepers.ask(name, request).await {
            Ok(()) => {}
            // Whatever this daemon stops it stops by the spec in force: each stop carries its signal and its grace. So
            // the run goes on, and is replaced when that is due; it is told again at the next change or by the next
            // daemon. Asking until it says yes would keep a changed command from ever being run.
            Err(error @ AskError::Refused { .. }) => {
                tracing::warn!(%name, %error, "without this daemon it stops as it was started");
            }
            Err(error @ (AskError::Unreachable { .. } | AskError::Late { .. })) => {
                self.signal_keeper(name, WAKE);
                return Err(error.into());
            }
        }
        self.store.edit(name, |entry| {
            entry.logs = Some(logs);
            entry.limits = Some(Limits::of(&wanted.spec));
            if let Observed::Running(run) = &mut entry.plan.observed {
                run.generation = wanted.generation;
            }
        });
        self.store.touch(name);
        Ok(Action::requeue(Duration::ZERO))
    }
}

fn earliest(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    one.into_iter().chain(other).min()
}

fn until(at: Option<Moment>, now: Moment) -> Action {
    at.map_or_else(Action::await_change, |at| Action::requeue(at - now))
}
