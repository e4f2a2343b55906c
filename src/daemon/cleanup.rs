//! `atm cleanup` and `atm touch`: evict now, and say that a session lives.

use super::{
    core::{Daemon, Key},
    keepers::Keepers,
    store::Entry,
    view::Viewer,
    wills::VerbError,
};
use crate::{
    api::{
        cause::{Actor, Cause, StopReason},
        control::{CleanupParams, Eviction},
        hook::Word,
        name::SessionName,
        status::Activity,
    },
    controller::Reason,
    plan::{
        Desired, Observed, RunRequest, Session, Verdict,
        activity::Said,
        eviction,
        fleet::{self, Decisions},
        turn,
    },
};

impl<K: Keepers> Daemon<K> {
    /// What budgets end now, of what `viewer` may see; and has it ended, unless it is only to be told.
    pub fn clean_up_now(&self, params: &CleanupParams, viewer: Viewer, by: Actor) -> Vec<Eviction> {
        let evictions = self.evictions(params.emergency.then_some(by));
        if !params.dry_run {
            self.store.edit_world(|world| world.counters.cleanup_runs += 1);
            for eviction in evictions.iter().filter(|_| params.emergency) {
                self.store.edit(&eviction.name, |entry| {
                    let run_id = entry.plan.observed.run_id();
                    entry.plan.history.cleanup_requested = run_id.map(|run_id| RunRequest { run_id, by });
                });
            }
            // In this turn: a request is for what is over the thresholds now.
            self.decide();
            self.look_at(Key::Fleet, Reason::Requested);
        }
        let world = self.store.look();
        let seen =
            |eviction: &Eviction| world.sessions.get(&eviction.name).is_some_and(|e| viewer.may_see(e));
        evictions.into_iter().filter(seen).collect()
    }

    /// What budgets end as things are, and with `emergency` what its thresholds would.
    fn evictions(&self, emergency: Option<Actor>) -> Vec<Eviction> {
        let now = self.clock.now();
        let world = self.store.look();
        let Decisions { verdicts, .. } = world.decide(now);
        let threshold = |session: &Session| {
            let (by, Desired::Spec(wanted)) = (emergency?, &session.desired) else { return None };
            let Observed::Running(run) = &session.observed else { return None };
            let over = eviction::emergency(&wanted.spec, run, &world.config.emergency, now)?;
            Some(Cause::asked(StopReason::IdleTimeout, by, over))
        };
        let over = |((name, entry), verdict): ((&SessionName, &Entry), Verdict)| {
            let cause = match verdict {
                Verdict::Stop(cause) if fleet::is_eviction(cause.reason) => Some(cause),
                Verdict::Run(_) => threshold(&entry.plan),
                Verdict::Stop(_) | Verdict::Wait(_) | Verdict::Done(_) => None,
            };
            Some(Eviction { name: name.clone(), cause: cause? })
        };
        world.sessions.iter().zip(verdicts).filter_map(over).collect()
    }

    /// A sign of life of `name`, and what it is doing, where that is told.
    pub fn touch(&self, name: &SessionName, activity: Option<Activity>) -> Result<(), VerbError> {
        if self.sign_of_life(name, activity) {
            return Ok(());
        }
        let at = self.clock.now();
        let word = activity.map(|activity| match activity {
            Activity::Busy => Word::Works,
            Activity::Waiting => Word::Waits,
            Activity::Idle => Word::Ends { background: Some(false) },
            Activity::Unknown => Word::Opens,
        });
        let over = self
            .store
            .edit(name, |entry| match &mut entry.plan.observed {
                Observed::Running(run) => {
                    let over = word.and_then(|word| turn::hear(run, word, at));
                    entry.memory.turns = entry.memory.turns.max(run.turn.number);
                    // However little is said: idle time begins anew.
                    let activity = run.said.map_or(Activity::Unknown, |said| said.activity);
                    run.said = Some(Said { activity, at });
                    Ok(over.map(|over| (run.run_id, over)))
                }
                Observed::Absent
                | Observed::Starting { .. }
                | Observed::Stopping { .. }
                | Observed::Unknown { .. } => {
                    Err(VerbError::Conflict(format!("{name} is not running: `atm start {name}` starts it")))
                }
            })
            .ok_or_else(|| VerbError::NoSuchSession(name.clone()))??;
        if let Some((run_id, over)) = over {
            self.turn_has_ended(name, run_id, over, self.interrupts.so_far(name));
        }
        self.look_at_repository(name);
        self.store.touch(name);
        self.acted(name);
        Ok(())
    }
}
