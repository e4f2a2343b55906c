//! A keeper that died: what it left running is ended, and the run counts as lost.

use std::time::Duration;

use super::{
    core::Daemon,
    keepers::Keepers,
    leftovers::{self, Remains},
    reconcile::ReconcileError,
};
use crate::{
    api::{
        cause::{Cause, StopReason},
        event::EventKind,
        name::SessionName,
        record::Record,
    },
    plan::{Ended, Observed, Run, Verdict, turn::Turn},
};

/// A run whose keeper is gone without a word.
#[derive(Debug)]
pub(super) struct Loss {
    run: Run,
    /// Why it was being stopped. A loss during a stop keeps that cause: it was going to end in any case.
    stopping: Option<Cause>,
    stop_signal: i32,
    remains: Remains,
}

impl Loss {
    /// Of a run whose record is there.
    pub(super) fn of_record(record: Record) -> Self {
        Self {
            run: Run {
                run_id: record.intent.run_id,
                generation: record.intent.generation,
                launch: record.intent.launch,
                since: record.started,
                said: None,
                turn: Turn::default(),
                seen: None,
            },
            stopping: record.stopping.map(|stopping| stopping.cause),
            stop_signal: record.intent.spec.stop_signal.0,
            remains: Remains {
                run_id: record.intent.run_id,
                known: record.members.into_iter().chain([record.child]).collect(),
                group: record.group,
            },
        }
    }
}

impl<K: Keepers> Daemon<K> {
    /// The loss of a run that this daemon saw running and whose files were removed under it; `None` where no
    /// such run was seen.
    pub(super) fn loss_without_record(&self, name: &SessionName) -> Option<Loss> {
        let world = self.store.look();
        let entry = world.sessions.get(name)?;
        let (run, stopping) = match &entry.plan.observed {
            Observed::Running(run) => (run.clone(), None),
            Observed::Stopping { run, cause, .. } => (run.clone(), Some(cause.clone())),
            Observed::Absent | Observed::Starting { .. } | Observed::Unknown { .. } => return None,
        };
        let known = entry.run.and_then(|facts| facts.child).into_iter().collect();
        let remains = Remains { run_id: run.run_id, known, group: None };
        Some(Loss { run, stopping, stop_signal: crate::host::signals::TERM, remains })
    }

    /// Ends what is left of a lost run, then counts it.
    pub(super) async fn clean_up(&self, name: &SessionName, loss: Loss) -> Result<(), ReconcileError> {
        let Loss { run, stopping, stop_signal, mut remains } = loss;
        let run_id = run.run_id;
        if self.was_counted(name, run_id) {
            return Ok(());
        }
        let cause = stopping
            .or_else(|| self.was_ending(name))
            .unwrap_or_else(|| Cause::rule(StopReason::KeeperLost, "its keeper died"));
        self.begin_clean_up(name, &run, &cause);

        remains.known.extend(self.keepers.orphans());
        let (lock, instance) = (self.paths.lock(name), self.here.instance);
        let ended = tokio::task::spawn_blocking(move || {
            leftovers::end(&lock, instance, &remains, leftovers::PATIENCE)
        });
        let ended = ended.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        let left = ended.map_err(|source| ReconcileError::Leftovers { name: name.clone(), source })?;
        if !left.is_empty() {
            let pids: Vec<String> = left.iter().map(|id| id.pid.to_string()).collect();
            self.tell_unkillable(name, &format!("pid {}", pids.join(", ")));
            // Whoever they belong to, no other clean-up is to wait for them.
            self.keepers.give_up_on(&left);
            // Others go on; this name stays taken and is tried again.
            self.look_again(name, Duration::from_secs(1));
            return Ok(());
        }
        if !self.keepers.orphans().is_empty() {
            // What forked while it was looked for has left its child to us: this was not all.
            self.look_again(name, Duration::from_millis(20));
            return Ok(());
        }
        let ended = Ended {
            run_id,
            generation: run.generation,
            launch: Some(run.launch),
            exit: None,
            start_error: None,
            cause: Some(cause),
            interrupted: false,
            stop_signal,
            ran: self.clock.now() - run.since,
            at: self.clock.wall(),
            memory: None,
            continued: None,
            refused: false,
        };
        self.count(name, ended);
        Ok(())
    }

    /// Why it was to end already, though its keeper had not recorded it: one that does not answer to a kill is
    /// killed itself. `None` where it was to stay.
    fn was_ending(&self, name: &SessionName) -> Option<Cause> {
        let world = self.store.look();
        let entry = world.sessions.get(name)?;
        match (&entry.plan.observed, &entry.verdict) {
            (Observed::Stopping { cause, .. }, _) | (_, Some(Verdict::Stop(cause))) => Some(cause.clone()),
            (
                Observed::Absent
                | Observed::Starting { .. }
                | Observed::Running(_)
                | Observed::Unknown { .. },
                Some(Verdict::Run(_) | Verdict::Wait(_) | Verdict::Done(_)) | None,
            ) => None,
        }
    }

    /// Shows the session as one that is being ended; the first time, that is news.
    fn begin_clean_up(&self, name: &SessionName, run: &Run, cause: &Cause) {
        let since = self.clock.now();
        let first = self.store.edit(name, |entry| {
            entry.run_gone = true;
            if !std::mem::replace(&mut entry.losing, true) {
                // What its agent said is known here, and not in its record.
                let known = entry.plan.observed.run().filter(|known| known.run_id == run.run_id);
                let (run, cause) = (known.unwrap_or(run).clone(), cause.clone());
                entry.plan.observed =
                    Observed::Stopping { run, cause, since, kill_at: since, unkillable: false };
                return true;
            }
            false
        });
        if first == Some(true) {
            let message = "its keeper died: what it left is ended";
            self.tell(EventKind::KeeperLost, name, Some(run.run_id), None, message);
        }
    }

    pub(super) fn tell_unkillable(&self, name: &SessionName, which: &str) {
        let was = self.store.edit(name, |entry| match &mut entry.plan.observed {
            Observed::Stopping { run, unkillable, .. } => {
                (!std::mem::replace(unkillable, true)).then_some(run.run_id)
            }
            Observed::Absent
            | Observed::Starting { .. }
            | Observed::Running(_)
            | Observed::Unknown { .. } => None,
        });
        if let Some(run_id) = was.flatten() {
            let message = format!("does not end after SIGKILL: {which}");
            self.tell(EventKind::Unkillable, name, Some(run_id), None, message);
        }
    }
}
