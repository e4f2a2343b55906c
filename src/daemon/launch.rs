//! The daemon's part of a start: what is remembered before it, what the keeper is told, and what is taken back.

use super::{
    core::Daemon,
    keepers::{Keepers, LaunchError},
    memory::Begun,
    reconcile::ReconcileError,
    store::{Limits, RunFacts},
};
use crate::{
    api::{
        name::{RunId, SessionName},
        record::{Intent, RECORD_VERSION, RunAs, StartError},
        spec::RestartPolicy,
    },
    controller::Action,
    host::errors::words,
    plan::{Desired, Grant, Observed, Verdict, Wanted, restart},
};

impl<K: Keepers> Daemon<K> {
    /// Starts a run: the protocol of [`crate::keeper`], up to the keeper's own part of it.
    pub(super) async fn launch(&self, name: &SessionName) -> Result<Action, ReconcileError> {
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

    /// Whose session a spec is whose file is `uid`'s. In user mode every session is the daemon's own user's, whoever
    /// owns the file.
    pub fn owner_of(&self, uid: u32) -> u32 {
        if self.system { uid } else { self.uid }
    }

    fn intent(&self, name: &SessionName, run_id: RunId, wanted: &Wanted) -> Intent {
        let world = self.store.look();
        let source = world.sessions.get(name).and_then(|entry| entry.memory.spec.clone());
        let owner = source.as_ref().map_or(self.uid, |spec| self.owner_of(spec.owner));
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
}
