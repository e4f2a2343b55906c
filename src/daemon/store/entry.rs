//! One session, as the daemon knows it.

use std::sync::Arc;

use super::super::{agent_facts::AgentFacts, clock::Clock, memory::Memory, repositories::Repository};
use crate::{
    api::{
        config::Logs,
        diagnose::Diagnostics,
        name::RunId,
        quantity::{Limit, Size},
        record::{AgentStart, ProcessId, StartError},
        spec::{Digest, SessionSpec, WrittenSpec},
        status::{Activity, Phase, Reason},
        time::{Moment, Timestamp},
    },
    plan::{
        Desired, Observed, Run, Session, Verdict, Will,
        activity::{self, Look, Seen},
        registered, status,
        turn::Turn,
    },
};

/// One session: what the plan decides by, what is remembered, and what people see.
#[derive(Debug)]
pub struct Entry {
    /// Desired, observed, history.
    pub plan: Session,
    /// What outlives the daemon.
    pub memory: Memory,
    /// The last good spec as it was written, to be resolved again when the config changes.
    pub written: Option<Arc<WrittenSpec>>,
    /// What is wrong with the file now.
    pub spec_error: Option<SpecError>,
    /// What the fleet decided last.
    pub verdict: Option<Verdict>,
    /// The run that lives.
    pub run: Option<RunFacts>,
    /// Its keeper has ended, and what it left is still to be looked at.
    pub run_gone: bool,
    /// Its keeper was started by an earlier daemon, so its start pipe is closed: its files are looked at instead.
    pub adopted: bool,
    /// Its keeper was lost, and what that left is being ended.
    pub losing: bool,
    /// What the run that lives was started with.
    pub launched: Option<Digest>,
    /// How the agent of the run that lives was started; absent where it is none.
    pub agent_start: Option<AgentStart>,
    /// The limits of output files that its keeper knows.
    pub logs: Option<Logs>,
    /// The limits of its processes that its keeper knows.
    pub limits: Option<Limits>,
    /// The process of it that was last found outside its cgroup.
    pub escaped: Option<ProcessId>,
    /// A keeper that has the name without its files being where they belong.
    pub stray: Option<ProcessId>,
    /// What a keeper that could not start its command reported, in case it can record it nowhere.
    pub start_error: Option<StartError>,
    /// What the agent of the last run said of itself, beside what it does.
    pub agent: AgentFacts,
    /// The repository that the run works in.
    pub repository: Repository,
    /// What people see.
    pub shown: Shown,
}

/// The limits of a session's processes that the kernel keeps, where it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    memory: Limit<Size>,
    processes: Limit<u32>,
    cpu_weight: u16,
}

impl Limits {
    /// As a spec has them.
    pub fn of(spec: &SessionSpec) -> Self {
        Self { memory: spec.max_memory, processes: spec.max_processes, cpu_weight: spec.cpu_weight }
    }
}

/// What is wrong with a spec file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// Uid of the file's owner: its lines are for them and root.
    pub owner: u32,
    /// What is wrong.
    pub error: Diagnostics,
}

/// What is known of a run that lives, beyond what the plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFacts {
    /// The keeper, as soon as there is one.
    pub keeper: Option<ProcessId>,
    /// The main process.
    pub child: Option<ProcessId>,
    /// Uid that it runs as.
    pub uid: Option<u32>,
    /// When it was started.
    pub started_at: Timestamp,
}

/// What people see of a session; changes only by [`Store::edit`](super::Store::edit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
    /// Since when it is in this phase.
    pub since: Timestamp,
    /// What it is doing, while it runs.
    pub activity: Option<Activity>,
    pub(super) invalid: bool,
    pub(super) registered: bool,
    /// What was measured, as far as it is news.
    pub measured: Option<Measured>,
}

/// What looks measured, as far as a change of it is news to those who watch. The last look itself has it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measured {
    memory: u64,
    processes: u32,
    attached: u32,
    /// In whole percents of a core.
    cpu: u32,
}

impl Measured {
    /// The change is news from 1 MiB and 1 % of what was told on; and in the use of the processor from 1 % of a
    /// core and a tenth of what was told on.
    fn of(seen: &Seen, told: Option<Self>) -> Self {
        let Look { memory, processes, attached, .. } = seen.look;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let cpu = seen.cpu_percent.round() as u32;
        let Some(told) = told else { return Self { memory: memory.bytes, processes, attached, cpu } };
        let same_memory = memory.bytes.abs_diff(told.memory) <= (1 << 20).max(told.memory / 100);
        let same_cpu = cpu.abs_diff(told.cpu) <= told.cpu / 10;
        Self {
            memory: if same_memory { told.memory } else { memory.bytes },
            processes,
            attached,
            cpu: if same_cpu { told.cpu } else { cpu },
        }
    }
}

impl Entry {
    /// A session as it is known from its memory.
    pub fn new(plan: Session, memory: Memory, clock: &Clock) -> Self {
        let mut entry = Self {
            plan,
            memory,
            written: None,
            spec_error: None,
            verdict: None,
            run: None,
            run_gone: false,
            adopted: false,
            losing: false,
            launched: None,
            agent_start: None,
            logs: None,
            limits: None,
            escaped: None,
            stray: None,
            start_error: None,
            agent: AgentFacts::default(),
            repository: Repository::default(),
            shown: Shown {
                phase: Phase::Pending,
                reason: Reason::Starting,
                message: String::new(),
                since: clock.wall(),
                activity: None,
                invalid: false,
                registered: false,
                measured: None,
            },
        };
        entry.shown = entry.derive(clock);
        entry
    }

    /// The run that this entry was launched with, as far as it is known when it begins.
    pub fn started(&self, run_id: RunId, since: Moment) -> Run {
        let begun = self.memory.begun.as_ref().filter(|begun| begun.run_id == run_id);
        let launch = self.launched.clone().unwrap_or_else(|| Digest(String::new()));
        Run {
            run_id,
            generation: begun.map_or(0, |begun| begun.generation),
            launch,
            since,
            said: None,
            turn: Turn::after(self.memory.turns),
            seen: None,
        }
    }

    /// Whether what is observed is what was decided, so that there is nothing to do but to wait for news.
    pub fn is_settled(&self) -> bool {
        !self.run_gone
            && matches!(
                (&self.verdict, &self.plan.observed),
                (Some(Verdict::Run(_)), Observed::Running(_))
                    | (Some(Verdict::Wait(_) | Verdict::Done(_)) | None, Observed::Absent)
            )
    }

    /// What a person asked for.
    pub fn will(&self) -> Will {
        match &self.plan.desired {
            Desired::Spec(wanted) => wanted.will,
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
                self.memory.will.into()
            }
        }
    }

    /// What looks at the run that lives showed.
    pub fn seen(&self) -> Option<&Seen> {
        self.plan.observed.run().and_then(|run| run.seen.as_ref())
    }

    pub(super) fn memory_in_use(&self) -> u64 {
        self.seen().map_or(0, |seen| seen.look.memory.bytes)
    }

    pub(super) fn derive(&self, clock: &Clock) -> Shown {
        let (phase, reason, message) = status::derive(&self.plan, self.verdict.as_ref(), clock.now());
        let activity = match (&self.plan.observed, &self.plan.desired) {
            (Observed::Running(run), Desired::Registered(_)) => Some(registered::doing(run)),
            (Observed::Running(run), _) => Some(activity::doing(run)),
            _ => None,
        };
        let since = match (&self.plan.observed, &self.plan.history.last) {
            _ if phase == self.shown.phase => self.shown.since,
            // What began or ended while no daemon looked did so then, not when it was found out.
            (Observed::Running(_), _) => self.run.map_or_else(|| clock.wall(), |run| run.started_at),
            (Observed::Absent, Some(last))
                if matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Evicted) =>
            {
                last.at
            }
            _ => clock.wall(),
        };
        let measured = self.seen().map(|seen| Measured::of(seen, self.shown.measured));
        let (invalid, registered) = (self.spec_error.is_some(), self.plan.is_registered());
        Shown { phase, reason, message, since, activity, invalid, registered, measured }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::activity::{Births, MemoryUse};

    pub(in super::super) fn seen(bytes: u64, cpu_percent: f32) -> Seen {
        let at = Moment::from_nanos(1);
        let look = Look {
            at,
            output: None,
            input: None,
            attached: 0,
            cpu: std::time::Duration::ZERO,
            births: Births::default(),
            stopped: false,
            processes: 1,
            memory: MemoryUse { bytes, exact: true },
        };
        Seen { cpu_percent, ..Seen::first(look, at) }
    }

    #[test]
    fn small_changes_of_what_is_measured_are_no_news_however_many() {
        const MIB: u64 = 1 << 20;
        let told = Measured::of(&seen(50 * MIB, 40.0), None);
        let mut now = told;
        for (memory, cpu) in [(50 * MIB + 4096, 40.4), (51 * MIB, 44.0), (49 * MIB, 36.0)] {
            now = Measured::of(&seen(memory, cpu), Some(now));
            assert_eq!(now, told);
        }
        assert_ne!(Measured::of(&seen(52 * MIB, 40.0), Some(told)), told);
        assert_ne!(Measured::of(&seen(50 * MIB, 50.0), Some(told)), told);
        let large = Measured::of(&seen(5000 * MIB, 0.0), None);
        assert_eq!(Measured::of(&seen(5040 * MIB, 0.4), Some(large)), large, "less than a hundredth");
        assert_ne!(Measured::of(&seen(5000 * MIB, 1.0), Some(large)), large, "it begins to work");
    }
}
