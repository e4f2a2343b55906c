//! Sessions for tests, said in few words: a good one that never ran, with what is special about it changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Desired, Ended, History, Observed, Run, RunRequest, Session, Verdict, Wait, Wanted, Will,
    activity::{Births, Look, MemoryUse, Said, Seen},
    fleet::{Decisions, Mode, decide},
    registered::Guest,
    turn::Turn,
};
use crate::api::{
    cause::{Actor, Cause, StopReason},
    config::{Clients, Config, Emergency, Http, Logs, OnShutdown},
    name::{RunId, SessionName},
    quantity::{Dur, Limit, Size},
    record::{Exit, StartError},
    spec::{Agent, Backoff, Digest, OnChange, RestartPolicy, Resume, SessionSpec, StopSignal, Terminal},
    status::Activity,
    time::{Moment, Timestamp},
};

/// The moment of a test in which none matters.
pub(super) const NOW: Moment = seconds(1_000_000);
/// Whose sessions all are.
pub(super) const USER: u32 = 1000;
pub(super) const PERSON: Actor = Actor { uid: USER, pid: 42 };

pub(super) const fn seconds(seconds: u64) -> Moment {
    Moment::from_nanos(seconds * 1_000_000_000)
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

/// The run with this number. Later runs have higher ones.
pub(super) fn run_id(number: u64) -> RunId {
    format!("01900000-0000-7000-8000-{number:012x}").parse().unwrap()
}

pub(super) fn digest(text: &str) -> Digest {
    Digest(text.to_owned())
}

pub(super) fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn cause(reason: StopReason) -> Cause {
    Cause::rule(reason, format!("because of {reason}"))
}

pub(super) fn spec(name: &str) -> SessionSpec {
    SessionSpec {
        command: vec!["true".to_owned()],
        working_dir: "~".to_owned(),
        env: BTreeMap::new(),
        env_file: Vec::new(),
        user: None,
        terminal: Terminal::PIPES,
        agent: Agent::Generic,
        resume: Resume::Auto,
        restart_policy: RestartPolicy::OnFailure,
        backoff: backoff("1s", "5m", "10m"),
        termination_grace_period: Dur(secs(10)),
        stop_signal: StopSignal(15),
        on_change: OnChange::WhenIdle,
        max_idle: Limit::Never,
        max_age: Limit::Never,
        max_memory: Limit::Never,
        max_processes: Limit::Never,
        cpu_weight: 100,
        priority: 0,
        pinned: false,
        suspend: false,
        identity: name.to_owned(),
        owner: None,
        slot: None,
        labels: BTreeMap::new(),
    }
}

pub(super) fn backoff(initial: &str, max: &str, reset_after: &str) -> Backoff {
    let [initial, max, reset_after] = [initial, max, reset_after].map(|text| text.parse().unwrap());
    Backoff { initial, max, reset_after }
}

pub(super) fn config(max_sessions: u32) -> Config {
    Config {
        max_sessions,
        max_idle: None,
        max_age: None,
        max_memory: Limit::Never,
        session_memory: Limit::Never,
        stale_after: Dur(secs(90)),
        resync_interval: Dur(secs(30)),
        age_grace: Dur(secs(900)),
        emergency: Emergency { max_idle: Dur(secs(300)), max_age: Dur(secs(3600)), everyone: true },
        on_shutdown: OnShutdown::Auto,
        clients: Clients { max: 10, buffer: 100, max_message: Size(1 << 20), broadcast_rate: 10 },
        logs: Logs { max_size: Size(10 << 20), max_files: 7, max_age: Dur(secs(7 * 86400)) },
        http: Http::Off,
        env: BTreeMap::new(),
        daemon_memory_warning: Size(100 << 20),
        written: Vec::new(),
    }
}

/// A look at a tree of one process in which nothing happens.
pub(crate) fn look(at: Moment) -> Look {
    Look {
        at,
        output: None,
        input: None,
        attached: 0,
        cpu: Duration::ZERO,
        births: Births::default(),
        stopped: false,
        processes: 1,
        memory: MemoryUse { bytes: 0, exact: true },
    }
}

/// What looks until [`NOW`] showed of a session that was quiet for so long.
pub(super) fn seen_quiet(quiet: Duration) -> Seen {
    let quiet_since = Moment::from_nanos(NOW.as_nanos() - u64::try_from(quiet.as_nanos()).unwrap());
    Seen { look: look(NOW), quiet_since, attended: None, cpu_percent: 0.0, due: NOW }
}

/// A run that ended with exit status 0 after a second, as the first of its spec.
pub(super) fn ended() -> Ended {
    Ended {
        run_id: run_id(1),
        generation: 1,
        launch: Some(digest("launch 1")),
        exit: Some(Exit::Code(0)),
        start_error: None,
        cause: None,
        interrupted: false,
        stop_signal: 15,
        ran: secs(1),
        at: timestamp(0),
        memory: None,
        continued: None,
        refused: false,
    }
}

pub(super) fn exited(code: i32) -> Ended {
    Ended { exit: Some(Exit::Code(code)), ..ended() }
}

pub(super) fn signaled(signal: i32) -> Ended {
    Ended { exit: Some(Exit::Signal(signal)), ..ended() }
}

pub(super) fn stopped(reason: StopReason) -> Ended {
    Ended { cause: Some(cause(reason)), ..signaled(15) }
}

pub(super) fn not_started(error: StartError) -> Ended {
    Ended { exit: None, start_error: Some(error), ran: Duration::ZERO, ..ended() }
}

pub(super) fn host_error(transient: bool) -> StartError {
    StartError::Host { action: "fork".to_owned(), reason: "try again".to_owned(), transient }
}

/// One session under construction.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) name: SessionName,
    pub(super) session: Session,
}

/// A session whose spec is good and that never ran.
pub(super) fn given(text: &str) -> Given {
    let wanted = Wanted {
        spec: Arc::new(spec(text)),
        generation: 1,
        launch: digest("launch 1"),
        first_seen: timestamp(0),
        uid: USER,
        will: Will::AsDeclared,
    };
    let session = Session {
        desired: Desired::Spec(wanted),
        observed: Observed::Absent,
        history: History::default(),
        identity: None,
    };
    Given { name: name(text), session }
}

/// The run of a session that lives since [`NOW`], quiet since then, of unknown activity.
pub(super) fn run() -> Run {
    Run {
        run_id: run_id(2),
        generation: 1,
        launch: digest("launch 1"),
        since: NOW,
        said: None,
        turn: Turn::default(),
        seen: None,
    }
}

impl Given {
    pub(super) fn wanted(mut self, change: impl FnOnce(&mut Wanted)) -> Self {
        if let Desired::Spec(wanted) = &mut self.session.desired {
            change(wanted);
        }
        self
    }

    pub(super) fn spec(self, change: impl FnOnce(&mut SessionSpec)) -> Self {
        self.wanted(|wanted| change(Arc::make_mut(&mut wanted.spec)))
    }

    pub(super) fn priority(self, priority: i32) -> Self {
        self.spec(|spec| spec.priority = priority)
    }

    pub(super) fn policy(self, policy: RestartPolicy) -> Self {
        self.spec(|spec| spec.restart_policy = policy)
    }

    pub(super) fn identity(self, identity: &str) -> Self {
        self.spec(|spec| spec.identity = identity.to_owned())
    }

    pub(super) fn will(self, will: Will) -> Self {
        self.wanted(|wanted| wanted.will = will)
    }

    /// Its spec was edited: `launch` is what it is to run now.
    pub(super) fn edited(self, launch: &str) -> Self {
        self.wanted(|wanted| {
            wanted.generation += 1;
            wanted.launch = digest(launch);
        })
    }

    pub(super) fn desired(mut self, desired: Desired) -> Self {
        self.session.desired = desired;
        self
    }

    pub(super) fn observed(mut self, observed: Observed) -> Self {
        self.session.observed = observed;
        self
    }

    pub(super) fn history(mut self, change: impl FnOnce(&mut History)) -> Self {
        change(&mut self.session.history);
        self
    }

    pub(super) fn last(self, ended: Ended) -> Self {
        self.history(|history| history.last = Some(ended))
    }

    pub(super) fn run(self, change: impl FnOnce(&mut Run)) -> Self {
        let mut run = run();
        change(&mut run);
        self.observed(Observed::Running(run))
    }

    pub(super) fn running(self) -> Self {
        self.run(|_| {})
    }

    pub(super) fn doing(self, activity: Activity) -> Self {
        self.run(|run| {
            (run.said, run.seen) = (Some(Said { activity, at: NOW }), Some(seen_quiet(Duration::ZERO)));
        })
    }

    /// Its turn began so long after `begin`.
    pub(super) fn in_turn_since(mut self, begin: Moment, after: Duration) -> Self {
        if let Observed::Running(run) = &mut self.session.observed {
            run.turn =
                Turn { number: 1, in_flight: true, since: begin.checked_add(after), ..Turn::default() };
        }
        self
    }

    /// It lives and has been idle since then, as its agent says.
    pub(super) fn idle_since(self, at: Moment) -> Self {
        let said = Some(Said { activity: Activity::Idle, at });
        self.run(|run| (run.said, run.seen) = (said, Some(seen_quiet(Duration::ZERO))))
    }

    /// What looks at its run showed is this.
    pub(super) fn seen(mut self, change: impl FnOnce(&mut Seen)) -> Self {
        if let Observed::Running(run) = &mut self.session.observed {
            change(run.seen.get_or_insert_with(|| seen_quiet(Duration::ZERO)));
        }
        self
    }

    /// It runs what its spec said before the last edit.
    pub(super) fn outdated(mut self) -> Self {
        if let Observed::Running(run) = &mut self.session.observed {
            run.launch = digest("launch 0");
        }
        self
    }

    pub(super) fn starting(self) -> Self {
        self.observed(Observed::Starting { run_id: run_id(2), since: NOW })
    }

    pub(super) fn stopping(self, reason: StopReason) -> Self {
        let kill_at = NOW.checked_add(secs(10)).unwrap();
        let cause = cause(reason);
        self.observed(Observed::Stopping { run: run(), cause, since: NOW, kill_at, unkillable: false })
    }

    /// SIGKILL did not end it.
    pub(super) fn outliving(mut self) -> Self {
        if let Observed::Stopping { unkillable, .. } = &mut self.session.observed {
            *unkillable = true;
        }
        self
    }

    /// Another user's.
    pub(super) fn of_user(mut self, uid: u32) -> Self {
        match &mut self.session.desired {
            Desired::Registered(guest) => guest.uid = uid,
            Desired::Spec(wanted) => wanted.uid = uid,
            Desired::Gone | Desired::NeverGood | Desired::Unseen => {}
        }
        self
    }

    pub(super) fn unknown(self) -> Self {
        self.observed(Observed::Unknown { since: NOW, why: "timed out".to_owned() })
    }

    /// A person started it outside atm, and it spoke at [`NOW`].
    pub(super) fn registered(self) -> Self {
        let guest = Guest { uid: USER, heard: Some(NOW), stale_after: secs(90) };
        self.desired(Desired::Registered(guest)).running()
    }

    /// The identity that it was started under.
    pub(super) fn known_as(mut self, identity: &str) -> Self {
        self.session.identity = Some(identity.into());
        self
    }

    pub(super) fn restart_requested(self) -> Self {
        let request = RunRequest { run_id: run_id(2), by: PERSON };
        self.history(|history| history.restart_requested = Some(request))
    }
}

pub(super) fn decided(limit: u32, sessions: &[Given], mode: &Mode, now: Moment) -> Decisions {
    decide(sessions.iter().map(|given| (&given.name, &given.session)), &config(limit), mode, None, now)
}

/// A verdict in a word or two.
pub(super) fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Run(_) => "runs".to_owned(),
        Verdict::Stop(cause) => format!("stops {}", cause.reason),
        Verdict::Wait(Wait::MaxSessions { limit }) => format!("waits MaxSessions({limit})"),
        Verdict::Wait(Wait::IdentityTaken { by, .. }) => format!("waits for {by}"),
        Verdict::Wait(Wait::BackOff { .. }) => "waits BackOff".to_owned(),
        Verdict::Wait(Wait::Relieved { .. }) => "waits Relieved".to_owned(),
        Verdict::Wait(Wait::MemoryBudget { .. }) => "waits MemoryBudget".to_owned(),
        Verdict::Wait(Wait::HostError { .. }) => "waits HostError".to_owned(),
        Verdict::Wait(wait @ (Wait::InvalidSpec | Wait::SpecUnseen | Wait::Shutdown)) => {
            format!("waits {wait:?}")
        }
        Verdict::Done(done) => format!("done {}", format!("{done:?}").split(['(', ' ']).next().unwrap()),
    }
}
