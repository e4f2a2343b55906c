//! What a look showed, folded into what is known of a run, and what is left of that for the next daemon.

use super::super::{core::Daemon, keepers::Keepers, memory::StoredCancel};
use crate::{
    api::{
        activity::{self, ACTIVITY_LENGTH, Left, LeftTurn},
        event::EventKind,
        name::{RunId, SessionName},
    },
    host::{files, look::Facts},
    plan::{
        Observed, Run,
        activity::{ATTACHED_UNKNOWN, Births, Look, MemoryUse, Said, Seen},
        looks::{self, SHORT},
        turn::{self, Cancel, Turn},
    },
};

/// The facts as the plan takes them. A page that says nothing is no proof of quiet: then each look is a sign of
/// life, and somebody may be attached.
fn look_of(facts: &Facts) -> Look {
    let Facts { at, page, .. } = *facts;
    Look {
        at,
        output: page.map_or(Some(at), |page| page.output),
        input: page.map_or(Some(at), |page| page.input),
        attached: page
            .map_or(ATTACHED_UNKNOWN, |page| u32::try_from(page.attached).unwrap_or(ATTACHED_UNKNOWN)),
        cpu: facts.cpu,
        births: Births { youngest: facts.youngest, faults_of_ended: facts.faults_of_ended },
        stopped: facts.stopped,
        processes: facts.processes,
        memory: MemoryUse { bytes: facts.memory, exact: facts.exact },
    }
}

/// What is left of `run` for the next daemon.
fn left_of(run: &Run, seen: &Seen) -> Left {
    Left {
        cpu: seen.look.cpu,
        youngest: seen.look.births.youngest,
        faults_of_ended: seen.look.births.faults_of_ended,
        quiet_since: seen.quiet_since,
        at: seen.look.at,
        due: seen.due,
        said: run.said.map(|said| (said.activity, said.at)),
        attended: seen.attended,
        turn: LeftTurn { number: run.turn.number, in_flight: run.turn.in_flight },
    }
}

/// As far as the next look is folded by it.
fn seen_of(left: &Left) -> Seen {
    let look = Look {
        at: left.at,
        output: None,
        input: None,
        attached: 0,
        cpu: left.cpu,
        births: Births { youngest: left.youngest, faults_of_ended: left.faults_of_ended },
        stopped: false,
        processes: 0,
        memory: MemoryUse::default(),
    };
    Seen { look, quiet_since: left.quiet_since, attended: left.attended, cpu_percent: 0.0, due: left.due }
}

impl<K: Keepers> Daemon<K> {
    /// A process that left its session's cgroup is news once.
    pub(super) fn tell_escape(&self, name: &SessionName, run_id: RunId, facts: &Facts) {
        let Some(escaped) = facts.escaped else { return };
        let first = self.store.edit(name, |entry| {
            entry.plan.observed.run_id() == Some(run_id) && entry.escaped.replace(escaped) != Some(escaped)
        });
        if first == Some(true) {
            let message = format!(
                "pid {} has left the session's cgroup: it is counted and ended with it, but limits of the group do \
                 not hold it",
                escaped.pid
            );
            self.tell(EventKind::Escaped, name, Some(run_id), None, message);
        }
    }

    /// Adds one look to what is known of a run, and plans the next. `None` where it says nothing new: the run is
    /// over, or was looked at since.
    pub(super) fn fold(
        &self,
        name: &SessionName,
        run_id: RunId,
        facts: &Facts,
        thorough: bool,
        pressed: bool,
    ) -> Option<Left> {
        let mut schedule = self.looking.schedule.borrow_mut();
        let (_, limits) = schedule.watched(name).filter(|(watched, _)| *watched == run_id)?;
        let before = self.looking.before.borrow_mut().remove(name);
        let before = before.filter(|(run, _)| *run == run_id).map(|(_, seen)| seen);
        let planned = schedule.due(name);
        let folded = self.store.edit(name, |entry| {
            let is_stopping = matches!(entry.plan.observed, Observed::Stopping { .. });
            let run = entry.plan.observed.run_mut().filter(|run| run.run_id == run_id)?;
            let mut look = look_of(facts);
            // What it needs to run is not what is left of it while it ends.
            if let Some(seen) =
                run.seen.filter(|seen| is_stopping && seen.look.memory.bytes > look.memory.bytes)
            {
                look.memory = seen.look.memory;
            }
            let seen_since = run.seen.is_some_and(|seen| seen.look.at > look.at);
            let mut seen = match (run.seen, before) {
                (Some(_), _) if seen_since && !thorough => return None,
                // A quick look was quicker: what only a thorough one knows is taken from it.
                (Some(seen), _) if seen_since => {
                    Seen { look: Look { memory: look.memory, ..seen.look }, ..seen }
                }
                (Some(seen), _) => {
                    // A quick look adds up resident sets: what is known exactly is not given up for that.
                    if !thorough && seen.look.memory.exact {
                        look.memory = seen.look.memory;
                    }
                    seen.then(look)
                }
                (None, Some(before)) if before.look.at < look.at => before.then(look),
                (None, _) => Seen::first(look, run.since),
            };
            if let Some(last) = run.seen.or(before) {
                let unwatched = last.unwatched(&seen.look);
                run.said = run.said.map(|said| said.unwatched(unwatched, &seen.look));
                // Whoever could not look did not listen either.
                run.turn.unheard |= !unwatched.is_zero();
            }
            run.seen = Some(seen);
            seen.due = looks::due(run, &limits, pressed).unwrap_or_else(|| look.at.saturating_add(SHORT));
            if !thorough {
                // However often somebody looks quickly: it puts off nothing.
                seen.due = planned.map_or(seen.due, |planned| planned.max(look.at).min(seen.due));
            }
            run.seen = Some(seen);
            let over = turn::lapse(run);
            Some((seen, left_of(run, &seen), over))
        });
        let (seen, left, over) = folded.flatten()?;
        if let Some(over) = over {
            self.turn_has_ended(name, run_id, over, self.interrupts.so_far(name));
        }
        schedule.looked(name, seen.look, facts.resident, thorough);
        schedule.plan(name, seen.due);
        Some(left)
    }

    /// What an earlier daemon left of a run: what its agent said last. The looks are gone on with at the next one.
    pub(in super::super) fn take_up_looks(&self, name: &SessionName, run_id: RunId) -> (Option<Said>, Turn) {
        let (turns, cancel) = {
            let world = self.store.look();
            let memory = world.sessions.get(name).map(|entry| &entry.memory);
            memory.map_or((0, None), |memory| (memory.turns, memory.cancel.clone()))
        };
        let page = files::read_limited(&self.paths.run(name).activity(), ACTIVITY_LENGTH as u64);
        let page = page.ok().and_then(|page| activity::read(&page, self.clock.boot()).ok());
        let Some(left) = page.and_then(|page| page.left) else { return (None, Turn::after(turns)) };
        let mut before = self.looking.before.borrow_mut();
        before.insert(name.clone(), (run_id, seen_of(&left)));
        let LeftTurn { number, in_flight } = left.turn;
        let since = left.said.map(|(_, at)| at).filter(|_| number > 0);
        // Nobody listened in between.
        let number = number.max(turns);
        let cancel = cancel.filter(|cancel| cancel.run_id == run_id && cancel.turn == number);
        let cancel = cancel.map(|StoredCancel { cause, sent, .. }| Cancel { cause, sent });
        let turn = Turn { number, in_flight, since, cancel, unheard: true };
        (left.said.map(|(activity, at)| Said { activity, at }), turn)
    }
}
