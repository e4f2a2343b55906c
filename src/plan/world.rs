//! A small simulated machine around the plan: sessions that start, end and stop as they would, without a process.
//!
//! It does what the daemon does (decide together, act alone) and nothing more, so a test can let the two kinds of
//! reconciles and the world's own events happen in any order. Each act checks the promises that no order may break.

mod daemon;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Desired, Ended, Observed, Run, RunRequest, Session, Verdict, Wanted, Will,
    activity::{Look, Seen, memory},
    fleet::{Mode, decide},
    memory::Relief,
    registered::Guest,
    restart,
    session::{Step, step},
    status::derive,
    testing::{NOW, PERSON, USER, cause, config, digest, given, look, name, run, run_id, timestamp},
    turn::{self, Turn},
};
use crate::api::{
    cause::{Cause, StopReason},
    config::Config,
    hook::Word,
    name::{RunId, SessionName},
    record::{Exit, StartError},
    spec::{SessionSpec, WrittenSpec},
    status::{Activity, Phase},
    time::Moment,
};

/// What the processes of a session are like, as a look at them shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    /// As a look would tell it now.
    pub(super) look: Look,
    /// Uses a whole core all the time.
    pub(super) computes: bool,
    /// Prints all the time.
    pub(super) prints: bool,
    /// Ends only when it is made to.
    pub(super) stubborn: bool,
}

impl Body {
    fn new(now: Moment) -> Self {
        Self { look: look(now), computes: false, prints: false, stubborn: false }
    }
}

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
    pub(super) relief: Option<Relief>,
    written: BTreeMap<SessionName, WrittenSpec>,
    /// Why each run was first asked to stop.
    causes: BTreeMap<RunId, Cause>,
    pub(super) bodies: BTreeMap<SessionName, Body>,
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
            relief: None,
            written: BTreeMap::new(),
            causes: BTreeMap::new(),
            bodies: BTreeMap::new(),
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

    /// Writes a spec file of this content.
    pub(super) fn declare(&mut self, text: &str, written: &WrittenSpec) {
        let spec = written.resolve(&name(text), &self.config);
        self.write(text, |before| *before = spec);
        if let Some(Session { desired: Desired::Spec(wanted), .. }) = self.sessions.get_mut(text) {
            wanted.launch = written.launch_digest();
        }
        self.written.insert(name(text), written.clone());
    }

    /// Edits the config: every spec means what it says under the new one.
    pub(super) fn configure(&mut self, config: Config) {
        self.config = config;
        for (name, written) in &self.written {
            if let Some(Session { desired: Desired::Spec(wanted), .. }) = self.sessions.get_mut(name) {
                wanted.spec = Arc::new(written.resolve(name, &self.config));
            }
        }
    }

    /// Writes a spec file: a new session, or a changed one. What `change` does to `command` needs a new run.
    pub(super) fn write(&mut self, text: &str, change: impl FnOnce(&mut SessionSpec)) {
        self.edits += 1;
        let fresh = given(text);
        let unknown = Session { desired: Desired::Gone, ..fresh.session };
        let session = self.sessions.entry(fresh.name).or_insert(unknown);
        let Desired::Spec(fresh) = given(text).session.desired else { unreachable!() };
        let before = match &session.desired {
            Desired::Spec(wanted) => wanted.clone(),
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
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
            session.history.restart_requested = Some(RunRequest { run_id: run.run_id, by: PERSON });
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

    /// `time` passes for the processes alone: no daemon looks.
    pub(super) fn unwatched(&mut self, time: Duration) {
        self.pass(time);
        let now = self.now;
        for body in self.bodies.values_mut() {
            body.look.cpu += if body.computes && !body.look.stopped { time } else { Duration::ZERO };
            if body.prints && !body.look.stopped {
                body.look.output = Some(now);
            }
        }
    }

    /// Every tree is looked at; the next look is due in `planned`.
    pub(super) fn look(&mut self, planned: Duration) {
        let now = self.now;
        for (name, session) in &mut self.sessions {
            if session.is_registered() {
                continue; // nobody looks at what is a person's own
            }
            if let Some(run) = session.observed.run_mut() {
                let body = self.bodies.entry(name.clone()).or_insert_with(|| Body::new(now));
                let look = Look { at: now, ..body.look };
                if let Some(seen) = run.seen {
                    run.said = run.said.map(|said| said.unwatched(seen.unwatched(&look), &look));
                }
                let seen = run.seen.map_or_else(|| Seen::first(look, run.since), |seen| seen.then(look));
                run.seen = Some(Seen { due: now.checked_add(planned).unwrap(), ..seen });
                turn::lapse(run);
            }
        }
    }

    /// `time` passes, with a look and a reconcile each `step`.
    pub(super) fn watch(&mut self, time: Duration, step: Duration, mut see: impl FnMut(&Self)) {
        let end = self.now.checked_add(time).unwrap();
        while self.now < end {
            let pause = step.min(end.since(self.now));
            self.unwatched(pause);
            self.look(step);
            self.settle_seeing(&mut see);
        }
    }

    /// `time` passes with looks and nothing else.
    pub(super) fn observe(&mut self, time: Duration) {
        self.look(time);
        self.unwatched(time);
        self.look(Duration::from_secs(2));
    }

    pub(super) fn body(&mut self, text: &str) -> &mut Body {
        let now = self.now;
        self.bodies.entry(name(text)).or_insert_with(|| Body::new(now))
    }

    /// Its agent, or a person, says what it does.
    pub(super) fn doing(&mut self, text: &str, activity: Activity) {
        let now = self.now;
        if let Some(Session { observed: Observed::Running(run), .. }) = self.sessions.get_mut(text) {
            let word = match activity {
                Activity::Busy => Word::Works,
                Activity::Waiting => Word::Waits,
                Activity::Idle => Word::Ends { background: Some(false) },
                Activity::Unknown => Word::Opens,
            };
            turn::hear(run, word, now);
            if run.seen.is_none() {
                run.seen = Some(Seen::first(look(now), run.since));
            }
        }
    }

    /// A person starts an agent outside atm, and it tells of itself.
    pub(super) fn register(&mut self, text: &str, identity: Option<&str>) {
        self.runs += 1;
        let guest = Guest { uid: USER, heard: Some(self.now), stale_after: self.config.stale_after.0 };
        let run = Run { run_id: run_id(1000 + self.runs), since: self.now, ..run() };
        let session = Session {
            desired: Desired::Registered(guest),
            observed: Observed::Running(run),
            identity: identity.map(Into::into),
            ..Session::unknown()
        };
        self.sessions.insert(name(text), session);
        // Like the limit: it is decided anew before anything acts.
        self.fleet();
    }

    /// It gives a sign of life.
    pub(super) fn hear(&mut self, text: &str) {
        let now = self.now;
        if let Some(Session { desired: Desired::Registered(guest), .. }) = self.sessions.get_mut(text) {
            guest.heard = Some(now);
        }
    }

    /// Its process ends, and with it all that is known of it.
    pub(super) fn leave(&mut self, text: &str) {
        if self.sessions.get(text).is_some_and(Session::is_registered) {
            self.sessions.remove(text);
            self.verdicts.remove(text);
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
            turn: Turn::default(),
            seen: None,
        });
    }

    /// Its keeper dies, and what that left is ended.
    pub(super) fn loses_keeper(&mut self, text: &str) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(text)
            && let Observed::Running(run) = session.observed.clone()
        {
            let cause = Cause::rule(StopReason::KeeperLost, "its keeper died");
            self.causes.insert(run.run_id, cause.clone());
            session.observed = Observed::Stopping { run, cause, since: now, kill_at: now, unkillable: false };
            self.over(text, None, None);
        }
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
        let used = session.observed.run().map(memory);
        let (run, since, cause) = match &session.observed {
            Observed::Running(run) => (Some(run.clone()), run.since, None),
            Observed::Stopping { run, cause, .. } => (Some(run.clone()), run.since, Some(cause.clone())),
            Observed::Starting { since, .. } => (None, *since, None),
            Observed::Absent | Observed::Unknown { .. } => return,
        };
        let spec = match &session.desired {
            Desired::Spec(wanted) => Arc::clone(&wanted.spec),
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
                Arc::new(super::testing::spec(text))
            }
        };
        let known = match &session.desired {
            Desired::Spec(wanted) => (wanted.generation, Some(wanted.launch.clone())),
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => (1, None),
        };
        let (generation, launch) = run.map_or(known, |run| (run.generation, Some(run.launch)));
        let run_id = session.observed.run_id().unwrap();
        assert_eq!(
            cause.as_ref(),
            self.causes.get(&run_id),
            "{text} ends for another cause than it was given"
        );
        let ended = Ended {
            run_id,
            generation,
            launch,
            exit,
            start_error,
            cause,
            interrupted: false,
            stop_signal: 15,
            ran: now.since(since),
            at: timestamp(0),
            memory: used,
            continued: None,
            refused: false,
        };
        session.history =
            restart::after_end(&session.history, ended, spec.restart_policy, &spec.backoff, now, 0.0);
        session.observed = Observed::Absent;
        session.identity = None;
        self.bodies.remove(text);
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

    pub(super) fn wanted(&self, text: &str) -> &Wanted {
        match &self.sessions[&name(text)].desired {
            Desired::Spec(wanted) => wanted,
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
                panic!("{text} has no spec")
            }
        }
    }
}
