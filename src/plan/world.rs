//! A small simulated machine around the plan: sessions that start, end and stop as they would, without a process.
//!
//! It does what the daemon does (decide together, act alone) and nothing more, so a test can let the two kinds of
//! reconciles and the world's own events happen in any order. Each act checks the promises that no order may break.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Desired, Ended, Observed, RestartRequest, Run, Session, Verdict, Wanted, Will,
    activity::{Said, Seen},
    fleet::{Mode, decide},
    restart,
    session::{Step, step},
    status::derive,
    testing::{NOW, PERSON, cause, config, digest, given, look, name, run_id, timestamp},
};
use crate::api::{
    cause::StopReason,
    config::Config,
    name::SessionName,
    record::{Exit, StartError},
    spec::SessionSpec,
    status::{Activity, Phase},
    time::Moment,
};

/// The machine, its sessions, and what the daemon last decided about them.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: Moment,
    pub(super) config: Config,
    pub(super) mode: Mode,
    pub(super) sessions: BTreeMap<SessionName, Session>,
    pub(super) verdicts: BTreeMap<SessionName, Verdict>,
    /// When the last decision asked to be made again.
    pub(super) next: Option<Moment>,
    runs: u64,
    edits: i64,
}

impl World {
    pub(super) fn new(max_sessions: u32) -> Self {
        Self {
            now: NOW,
            config: config(max_sessions),
            mode: Mode::Converge,
            sessions: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            next: None,
            runs: 0,
            edits: 0,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.sessions.values().filter(|session| session.observed.is_live()).count()
    }

    /// What people see, one word each: `a Running, b Pending/MaxSessions`.
    pub(super) fn shows(&self) -> String {
        let show = |(name, session): (&SessionName, &Session)| {
            let (phase, reason, _) = derive(session, self.verdicts.get(name), self.now);
            if phase == Phase::Running {
                format!("{name} {phase}")
            } else {
                format!("{name} {phase}/{reason}")
            }
        };
        self.sessions.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    // What people do.

    /// Writes a spec file: a new session, or a changed one. What `change` does to `command` needs a new run.
    pub(super) fn write(&mut self, text: &str, change: impl FnOnce(&mut SessionSpec)) {
        self.edits += 1;
        let fresh = given(text);
        let session = self.sessions.entry(fresh.name).or_insert(fresh.session);
        let Desired::Spec(fresh) = given(text).session.desired else { unreachable!() };
        let before = match &session.desired {
            Desired::Spec(wanted) => wanted.clone(),
            Desired::Gone | Desired::NeverGood | Desired::Unseen => {
                Wanted { generation: 0, first_seen: timestamp(self.edits), ..fresh }
            }
        };
        let mut spec = (*before.spec).clone();
        change(&mut spec);
        let launch = digest(&spec.command.join(" "));
        // A changed spec lifts a stop, and not a suspension.
        let will = match before.will {
            Will::Suspended { by } => Will::Suspended { by },
            Will::AsDeclared | Will::Stopped { .. } => Will::AsDeclared,
        };
        let generation = before.generation + 1;
        session.desired = Desired::Spec(Wanted { spec: Arc::new(spec), generation, launch, will, ..before });
    }

    pub(super) fn remove(&mut self, text: &str) {
        if let Some(session) = self.sessions.get_mut(text) {
            session.desired = Desired::Gone;
        }
    }

    pub(super) fn break_file(&mut self, text: &str) {
        // Only a name that never had a good spec; others keep their last good one.
        let fresh = given(text);
        self.sessions.entry(fresh.name).or_insert(Session { desired: Desired::NeverGood, ..fresh.session });
    }

    pub(super) fn will(&mut self, text: &str, will: Will) {
        if let Some(Session { desired: Desired::Spec(wanted), .. }) = self.sessions.get_mut(text) {
            wanted.will = will;
        }
    }

    /// `atm start`.
    pub(super) fn start(&mut self, text: &str) {
        if let Some(session) = self.sessions.get_mut(text)
            && let Desired::Spec(wanted) = &mut session.desired
        {
            if matches!(wanted.will, Will::Stopped { .. }) {
                wanted.will = Will::AsDeclared;
            }
            session.history.start_requested = !matches!(session.observed, Observed::Running(_));
        }
    }

    /// `atm restart` of a session that runs.
    pub(super) fn restart(&mut self, text: &str) {
        if let Some(session) = self.sessions.get_mut(text)
            && let Observed::Running(run) = &session.observed
        {
            session.history.restart_requested = Some(RestartRequest { run_id: run.run_id, by: PERSON });
        }
    }

    /// Edits the limit. The config and the slots are one matter: the fleet is decided before anything acts.
    pub(super) fn limit(&mut self, max_sessions: u32) {
        self.config.max_sessions = max_sessions;
        self.fleet();
    }

    // What the world does.

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap();
    }

    /// Every tree is looked at, and nothing new is seen.
    pub(super) fn look(&mut self) {
        let now = self.now;
        for session in self.sessions.values_mut() {
            if let Observed::Running(run) = &mut session.observed {
                let seen =
                    run.seen.map_or_else(|| Seen::first(look(now), run.since), |seen| seen.then(look(now)));
                run.seen = Some(seen);
            }
        }
    }

    pub(super) fn doing(&mut self, text: &str, activity: Activity) {
        let now = self.now;
        if let Some(Session { observed: Observed::Running(run), .. }) = self.sessions.get_mut(text) {
            run.said = Some(Said { activity, at: now });
            run.seen = Some(Seen::first(look(now), run.since));
        }
    }

    /// The process that was being made is there.
    pub(super) fn up(&mut self, text: &str) {
        let Some(session) = self.sessions.get_mut(text) else {
            return;
        };
        let Observed::Starting { run_id, since } = session.observed else {
            return;
        };
        let Desired::Spec(wanted) = &session.desired else {
            return;
        };
        session.observed = Observed::Running(Run {
            run_id,
            generation: wanted.generation,
            launch: wanted.launch.clone(),
            since,
            said: None,
            seen: None,
        });
    }

    /// It ends by itself, or what was to end is gone.
    pub(super) fn ends(&mut self, text: &str, exit: Exit) {
        self.over(text, Some(exit), None);
    }

    /// Its process could not be made.
    pub(super) fn cannot_start(&mut self, text: &str, error: StartError) {
        if self
            .sessions
            .get(text)
            .is_some_and(|session| matches!(session.observed, Observed::Starting { .. }))
        {
            self.over(text, None, Some(error));
        }
    }

    fn over(&mut self, text: &str, exit: Option<Exit>, start_error: Option<StartError>) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(text) else {
            return;
        };
        let (run, since, cause) = match &session.observed {
            Observed::Running(run) => (Some(run.clone()), run.since, None),
            Observed::Stopping { run, cause, .. } => (Some(run.clone()), run.since, Some(cause.clone())),
            Observed::Starting { since, .. } => (None, *since, None),
            Observed::Absent | Observed::Unknown { .. } => return,
        };
        let spec = match &session.desired {
            Desired::Spec(wanted) => Arc::clone(&wanted.spec),
            Desired::Gone | Desired::NeverGood | Desired::Unseen => Arc::new(super::testing::spec(text)),
        };
        let known = match &session.desired {
            Desired::Spec(wanted) => (wanted.generation, Some(wanted.launch.clone())),
            Desired::Gone | Desired::NeverGood | Desired::Unseen => (1, None),
        };
        let (generation, launch) = run.map_or(known, |run| (run.generation, Some(run.launch)));
        let ended = Ended {
            run_id: session.observed.run_id().unwrap(),
            generation,
            launch,
            exit,
            start_error,
            cause,
            interrupted: false,
            stop_signal: 15,
            ran: now.since(since),
            at: timestamp(0),
        };
        session.history =
            restart::after_end(&session.history, ended, spec.restart_policy, &spec.backoff, now, 0.0);
        session.observed = Observed::Absent;
        session.identity = None;
    }

    /// Its keeper stops answering, or answers again.
    pub(super) fn silence(&mut self, text: &str) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(text)
            && let Observed::Running(_) = session.observed
        {
            session.observed = Observed::Unknown { since: now, why: "timed out".to_owned() };
        }
    }

    // What the daemon does.

    /// One `Fleet` reconcile. Gives whether a verdict changed.
    pub(super) fn fleet(&mut self) -> bool {
        let decisions = decide(self.sessions.iter(), &self.config, &self.mode, self.now);
        self.next = decisions.next;
        let verdicts = decisions.verdicts.into_iter().collect();
        let changed = self.verdicts != verdicts;
        self.verdicts = verdicts;
        changed
    }

    /// One `Session` reconcile. Gives whether it did anything.
    pub(super) fn session(&mut self, text: &str) -> bool {
        let (live, limit) = (self.live(), self.config.max_sessions as usize);
        let Some(verdict) = self.verdicts.get(text) else {
            return false;
        };
        let Some(session) = self.sessions.get(text) else {
            return false;
        };
        let what = step(session, verdict, self.now);
        match what {
            Step::Start => {
                let Desired::Spec(wanted) = &session.desired else {
                    panic!("started without a spec: {text}")
                };
                let identity = wanted.spec.identity.clone();
                assert!(live < limit, "{text} was started beyond the limit of {limit}: {}", self.shows());
                let holder = self.sessions.iter().find(|(_, other)| {
                    other.observed.is_live() && other.identity.as_deref() == Some(identity.as_str())
                });
                assert!(holder.is_none(), "{text} has the identity `{identity}` of {holder:?}");
                self.runs += 1;
                let (run_id, since) = (run_id(1000 + self.runs), self.now);
                let session = self.sessions.get_mut(text).unwrap();
                session.history = restart::begun(&session.history);
                session.observed = Observed::Starting { run_id, since };
                session.identity = Some(identity.into());
            }
            Step::Terminate { cause, now } => self.terminate(text, cause, now),
            Step::Update => {
                let session = self.sessions.get_mut(text).unwrap();
                let (Desired::Spec(wanted), Observed::Running(run)) =
                    (&session.desired, &mut session.observed)
                else {
                    panic!("nothing to update: {text}")
                };
                assert_ne!(run.generation, wanted.generation, "{text} knew that already");
                run.generation = wanted.generation;
            }
            Step::Rest { until } => {
                assert!(until.is_none_or(|until| until > self.now), "{text} rests until a time that is over");
                return false;
            }
        }
        true
    }

    fn terminate(&mut self, text: &str, cause: crate::api::cause::Cause, at_once: bool) {
        let now = self.now;
        let session = self.sessions.get_mut(text).unwrap();
        let grace = if at_once { Duration::ZERO } else { Duration::from_secs(10) };
        let kill_at = now.checked_add(grace).unwrap();
        session.observed = match session.observed.clone() {
            Observed::Running(run) => {
                Observed::Stopping { run, cause, since: now, kill_at, unkillable: false }
            }
            Observed::Stopping { run, cause: first, since, kill_at: before, unkillable } => {
                assert!(kill_at < before, "a stop can only be shortened");
                Observed::Stopping { run, cause: first, since, kill_at, unkillable }
            }
            Observed::Starting { run_id, since } => {
                let run =
                    Run { run_id, generation: 1, launch: digest("launch 1"), since, said: None, seen: None };
                Observed::Stopping { run, cause, since: now, kill_at, unkillable: false }
            }
            observed @ (Observed::Absent | Observed::Unknown { .. }) => {
                panic!("{text} was signalled while {observed:?}")
            }
        };
    }

    /// Reconciles until nothing changes any more, while processes are made and end as they are asked to.
    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            let mut changed = self.fleet();
            let names: Vec<_> = self.sessions.keys().cloned().collect();
            for name in &names {
                changed |= self.session(name.as_str());
            }
            for name in &names {
                let session = &self.sessions[name];
                match (&session.observed, &session.desired) {
                    (Observed::Starting { .. }, Desired::Spec(_)) => self.up(name.as_str()),
                    (Observed::Starting { .. } | Observed::Stopping { .. }, _) => {
                        self.ends(name.as_str(), Exit::Signal(15));
                    }
                    (Observed::Absent, Desired::Gone) => {
                        self.sessions.remove(name);
                        self.verdicts.remove(name);
                    }
                    (Observed::Absent | Observed::Running(_) | Observed::Unknown { .. }, _) => continue,
                }
                changed = true;
            }
            if !changed {
                return;
            }
        }
        panic!("it does not settle: {}", self.shows());
    }

    /// Ends every session.
    pub(super) fn shut_down(&mut self) {
        self.mode = Mode::EndAll(cause(StopReason::Shutdown));
    }

    pub(super) fn wanted(&self, text: &str) -> &Wanted {
        match &self.sessions[&name(text)].desired {
            Desired::Spec(wanted) => wanted,
            Desired::Gone | Desired::NeverGood | Desired::Unseen => panic!("{text} has no spec"),
        }
    }
}
