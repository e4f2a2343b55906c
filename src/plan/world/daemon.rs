//! What the daemon does in the simulated world.

use super::*;

impl World {
    /// One `Fleet` reconcile. Gives whether a verdict changed.
    pub(in crate::plan) fn fleet(&mut self) -> bool {
        let decisions =
            decide(self.sessions.iter(), &self.config, &self.mode, self.relief.as_ref(), self.now);
        self.relief = decisions.relief;
        self.next = decisions.next;
        let verdicts = self.sessions.keys().cloned().zip(decisions.verdicts).collect();
        let changed = self.verdicts != verdicts;
        self.verdicts = verdicts;
        changed
    }

    /// One `Session` reconcile. Gives whether it did anything.
    pub(in crate::plan) fn session(&mut self, text: &str) -> bool {
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
            Step::Terminate { cause, now } => {
                assert!(!session.is_registered(), "a person's own session was signalled: {text}");
                self.terminate(text, cause, now);
            }
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
        self.causes.entry(session.observed.run_id().unwrap()).or_insert_with(|| cause.clone());
        session.observed = match session.observed.clone() {
            Observed::Running(run) => {
                Observed::Stopping { run, cause, since: now, kill_at, unkillable: false }
            }
            Observed::Stopping { run, cause: first, since, kill_at: before, unkillable } => {
                assert!(kill_at < before, "a stop can only be shortened");
                Observed::Stopping { run, cause: first, since, kill_at, unkillable }
            }
            Observed::Starting { run_id, since } => {
                let run = Run {
                    run_id,
                    generation: 1,
                    launch: digest("launch 1"),
                    since,
                    said: None,
                    turn: crate::plan::turn::Turn::default(),
                    seen: None,
                };
                Observed::Stopping { run, cause, since: now, kill_at, unkillable: false }
            }
            observed @ (Observed::Absent | Observed::Unknown { .. }) => {
                panic!("{text} was signalled while {observed:?}")
            }
        };
    }

    /// Reconciles until nothing changes any more, while processes are made and end as they are asked to.
    pub(in crate::plan) fn settle(&mut self) {
        self.settle_seeing(|_| {});
    }

    /// The same, with a look at the world after each step.
    pub(in crate::plan) fn settle_seeing(&mut self, mut see: impl FnMut(&Self)) {
        for _ in 0..100 {
            let mut changed = self.fleet();
            see(self);
            let names: Vec<_> = self.sessions.keys().cloned().collect();
            for name in &names {
                changed |= self.session(name.as_str());
            }
            see(self);
            for name in &names {
                let session = &self.sessions[name];
                match (&session.observed, &session.desired) {
                    (Observed::Starting { .. }, Desired::Spec(_)) => self.up(name.as_str()),
                    (Observed::Stopping { .. }, _)
                        if self.bodies.get(name).is_some_and(|body| body.stubborn) =>
                    {
                        continue;
                    }
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
    pub(in crate::plan) fn shut_down(&mut self) {
        self.mode = Mode::EndAll(cause(StopReason::Shutdown));
    }
}
