//! What was found of a name, taken over: adopted, waited for, or counted as ended.

use std::time::Duration;

use super::{
    adopt::{self, Found},
    core::{Daemon, Key},
    keepers::Keepers,
    loss::Loss,
    reconcile::ReconcileError,
    state_files,
    store::{Limits, RunFacts},
};
use crate::{
    api::{
        event::EventKind,
        name::{RunId, SessionName},
        record::{RECORD_VERSION, Record},
        spec::Digest,
        time::Moment,
    },
    controller::Reason,
    host::{process::Process, signals as signal},
    plan::{Desired, Observed, Run, turn::Turn},
};

/// How long a held lock may be without a record before its keeper counts as one that does not answer.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// From SIGKILL to the look at whether it helped.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);

impl<K: Keepers> Daemon<K> {
    /// Looks at what the host shows of `name` and brings the store up to it. `false`: no such session.
    pub(super) async fn take_stock(&self, name: &SessionName) -> Result<bool, ReconcileError> {
        let (uncertain, overdue) = {
            let world = self.store.look();
            let Some(entry) = world.sessions.get(name) else { return Ok(false) };
            let uncertain = match &entry.plan.observed {
                Observed::Unknown { .. } => true,
                // Its start pipe ended with the daemon that started it: its record says how it goes on.
                Observed::Starting { .. } => entry.run_gone || entry.adopted,
                Observed::Absent | Observed::Running(_) | Observed::Stopping { .. } => entry.run_gone,
            };
            let overdue = match &entry.plan.observed {
                Observed::Stopping { kill_at, unkillable: false, .. } => {
                    kill_at.checked_add(UNKILLABLE_AFTER).is_some_and(|at| at <= self.clock.now())
                }
                _ => false,
            };
            (uncertain, overdue)
        };
        if overdue && !uncertain {
            self.ask_record_whether_unkillable(name);
        }
        if uncertain {
            let mut damaged = Vec::new();
            let found = adopt::classify_one(&self.paths, &self.here, name, &mut damaged);
            for problem in damaged {
                self.tell(EventKind::RecordDamaged, name, None, None, problem.message);
            }
            self.take_over(name, found).await?;
        }
        self.look_if_waiting(name);
        Ok(true)
    }

    /// When a session whose keeper has not settled is to be looked at again.
    pub(super) fn settling(&self, name: &SessionName, now: Moment) -> Option<Moment> {
        let world = self.store.look();
        let entry = world.sessions.get(name)?;
        let (since, slow) = match &entry.plan.observed {
            Observed::Unknown { since, .. } => (*since, Duration::from_secs(1)),
            Observed::Starting { since, .. } if entry.adopted => (*since, Duration::from_millis(200)),
            Observed::Starting { .. }
            | Observed::Absent
            | Observed::Running(_)
            | Observed::Stopping { .. } => {
                return None;
            }
        };
        now.checked_add(if now - since < SETTLES_WITHIN { Duration::from_millis(20) } else { slow })
    }

    /// Acts on what was found of a name.
    pub(super) async fn take_over(&self, name: &SessionName, found: Found) -> Result<(), ReconcileError> {
        match found {
            Found::Live { record, keeper } => self.adopt(name, *record, keeper),
            Found::Settling { keeper } => self.settle(name, keeper.map(|(_, keeper)| keeper)),
            Found::Foreign { why } => self.unknown(name, &why),
            Found::Ended { record, exit } => self.count_exit(name, record.as_deref(), *exit),
            Found::Lost { record } => self.clean_up(name, Loss::of_record(*record)).await?,
            Found::NeverStarted | Found::Nothing => {
                if let Some(stray) = self.living_stray(name) {
                    self.settle(name, Some(stray));
                } else if let Some(loss) = self.loss_without_record(name) {
                    self.clean_up(name, loss).await?;
                } else {
                    self.count_nothing(name);
                }
            }
            Found::Abandoned { run_id } => self.abandoned(name, run_id),
            Found::Interrupted { record } => self.count_interrupted(name, record.intent.run_id),
        }
        Ok(())
    }

    /// Acts on what an earlier daemon left of a name. What takes time is left to the loop.
    pub(super) fn take_over_at_start(&self, name: &SessionName, found: Found, runs_are_kept: bool) {
        match found {
            Found::Live { record, keeper } => self.adopt(name, *record, keeper),
            Found::Settling { keeper } => self.settle(name, keeper.map(|(_, keeper)| keeper)),
            Found::Foreign { why } => self.unknown(name, &why),
            Found::Ended { record, exit } => self.count_exit(name, record.as_deref(), *exit),
            Found::Abandoned { run_id } => self.abandoned(name, run_id),
            Found::Interrupted { record } => self.count_interrupted(name, record.intent.run_id),
            Found::Lost { .. } => self.unknown(name, "its keeper died while no daemon looked"),
            Found::NeverStarted | Found::Nothing => {
                let begun = self.store.edit(name, |entry| entry.memory.begun.clone()).flatten();
                match begun {
                    Some(begun) if begun.boot_id != *self.clock.boot() => {
                        self.count_interrupted(name, begun.run_id);
                    }
                    // An intent is written before a keeper is started: where the directory for it stood all
                    // the time and has none, there was no start.
                    Some(begun) if begun.ran || !runs_are_kept => self.count_vanished(name, begun.run_id),
                    // What a person asked for is still asked for.
                    Some(_) => self.take_back(name),
                    None => {}
                }
            }
        }
    }

    /// A keeper that holds the name without files: it makes them anew, and a later look finds them.
    fn settle(&self, name: &SessionName, keeper: Option<Process>) {
        if let Some(keeper) = keeper {
            if let Err(error) = keeper.signal(signal::REMAKE) {
                tracing::warn!(%name, %error, "cannot ask a keeper to make its files anew");
            }
            // The name is theirs while they live, whatever the files say.
            self.store.edit(name, |entry| entry.stray = Some(keeper.id()));
        }
        self.unknown(name, "its keeper holds the name and has no record that can be read");
    }

    /// A run of which nothing tells but its processes: as if it had been seen running until now, so that it is
    /// ended and counted like any other whose keeper died.
    fn abandoned(&self, name: &SessionName, run_id: RunId) {
        let since = self.clock.now();
        self.store.edit(name, |entry| {
            let (generation, launch) = match &entry.plan.desired {
                Desired::Spec(wanted) => (wanted.generation, wanted.launch.clone()),
                Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
                    (0, Digest(String::new()))
                }
            };
            let turns = entry.memory.turns;
            entry.plan.observed = Observed::Running(Run {
                run_id,
                generation,
                launch,
                since,
                said: None,
                turn: Turn::after(turns),
                seen: None,
            });
            entry.run_gone = true;
            entry.memory.has_run(run_id);
        });
        // A daemon that ends before it has counted this finds neither files nor processes.
        self.save_next(name);
        self.tell_live(name, true);
        self.look_at(Key::Session(name.clone()), Reason::Observed);
    }

    /// The keeper without files that has this name, if it lives.
    fn living_stray(&self, name: &SessionName) -> Option<Process> {
        let id = self.store.look().sessions.get(name)?.stray?;
        Process::find(id).ok().flatten().filter(|keeper| !keeper.has_ended().unwrap_or(false))
    }

    /// The name is held, and by whom is not known: it is kept, and looked at again (see [`Self::settling`]).
    pub(super) fn unknown(&self, name: &SessionName, why: &str) {
        let now = self.clock.now();
        let news = self.store.edit(name, |entry| {
            entry.run_gone = false;
            let news = !matches!(entry.plan.observed, Observed::Unknown { .. });
            if news {
                entry.plan.observed = Observed::Unknown { since: now, why: why.to_owned() };
            }
            news
        });
        if news == Some(true) {
            self.tell_live(name, true);
            self.look_at(Key::Session(name.clone()), Reason::Observed);
        }
    }

    fn ask_record_whether_unkillable(&self, name: &SessionName) {
        let path = self.paths.run(name).record();
        let record = state_files::read_versioned::<Record>(&path, RECORD_VERSION).ok().flatten();
        if record.and_then(|record| record.stopping).is_some_and(|stopping| stopping.unkillable) {
            self.tell_unkillable(name, "see `atm describe`");
        }
    }

    fn adopt(&self, name: &SessionName, record: Record, keeper: Process) {
        let run_id = record.intent.run_id;
        let since = record.started;
        let (said, turn) = self.take_up_looks(name, run_id);
        let run = Run {
            run_id,
            generation: record.intent.generation,
            launch: record.intent.launch.clone(),
            since,
            said,
            turn,
            seen: None,
        };
        let launch = record.intent.launch.clone();
        let identity: std::sync::Arc<str> = record.intent.spec.identity.as_str().into();
        let cause = record.stopping.as_ref().map(|stopping| stopping.cause.clone());
        let observed = match record.stopping {
            Some(stopping) => Observed::Stopping {
                run,
                cause: stopping.cause,
                since: stopping.since,
                kill_at: stopping.kill_at,
                unkillable: stopping.unkillable,
            },
            None if record.executed => Observed::Running(run),
            None => Observed::Starting { run_id, since },
        };
        let first = self
            .store
            .edit(name, |entry| {
                let first = entry.run.and_then(|run| run.keeper) != Some(record.keeper);
                entry.run_gone = false;
                entry.stray = None;
                entry.adopted = true;
                entry.launched = Some(launch);
                entry.agent_start = record.intent.agent;
                entry.logs = Some(record.intent.logs);
                entry.limits = Some(Limits::of(&record.intent.spec));
                entry.plan.identity = Some(identity);
                if !matches!(observed, Observed::Stopping { .. }) {
                    // What was asked for is met by this run; a start asked for during a stop is not yet.
                    entry.plan.history.start_requested = false;
                }
                entry.plan.observed = observed;
                entry.run = Some(RunFacts {
                    keeper: Some(record.keeper),
                    child: Some(record.child),
                    uid: Some(record.uid),
                    started_at: record.started_at,
                });
                entry.memory.learn_user(run_id, record.intent.generation, record.uid);
                entry.memory.working_dir = record.working_dir;
                entry.memory.has_run(run_id);
                first
            })
            .unwrap_or(false);
        self.take_up_overrides(name);
        if first {
            if let Err(error) = self.keepers.adopt(name.clone(), run_id, keeper) {
                tracing::error!(%name, %error, "cannot watch a keeper");
                self.store.edit(name, |entry| entry.run = None); // so that the next look tries again
                return self.unknown(name, "its keeper lives and cannot be watched");
            }
            self.tell_live(name, true);
            let message = format!("found running, pid {}", record.child.pid);
            self.tell(EventKind::Adopted, name, Some(run_id), None, message);
            if let Some(cause) = cause {
                self.tell_unheard(name, run_id, &cause);
            }
            self.look_at(Key::Fleet, Reason::Observed);
            self.look_at(Key::Session(name.clone()), Reason::Observed);
        }
    }
}
