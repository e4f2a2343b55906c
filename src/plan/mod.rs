//! What to do, decided from values alone. Nothing here reads a clock, a file or a process.
//!
//! Two questions, two functions:
//! - [`fleet::decide`]: of all sessions, which may run? Slots are shared, so one place hands them out.
//! - [`session::step`]: given that verdict, what is this session's next move?
//!
//! ```text
//!  desired ─┐                    ┌─ verdict ─┐
//!  observed ┼─► fleet::decide ───┤           ├─► session::step ─► Start | Terminate | Update | Rest
//!  history ─┘   (all sessions)   └───────────┘   (one session)
//! ```
//!
//! Beside them: [`restart`] says what follows the end of a run, [`eviction`] in which order sessions give way,
//! [`turn`] what follows from an agent's words, [`conversation`] what a run continues, [`status`] what people see.
//!
//! Both answers are stable: asked again about their own outcome they change nothing. What will change by the
//! passing of time alone is a date in the answer, so nobody has to ask again before it.

use std::{sync::Arc, time::Duration};

use self::{
    activity::{Said, Seen},
    registered::Guest,
    turn::Turn,
};
use crate::api::{
    cause::{Actor, Cause},
    conversation::ConversationId,
    name::{RunId, SessionName},
    record::{Exit, StartError},
    spec::{Digest, SessionSpec},
    time::{Moment, Timestamp},
};

pub mod activity;
pub mod budget;
pub mod conversation;
pub mod eviction;
pub mod fleet;
pub mod looks;
pub mod memory;
pub mod registered;
pub mod restart;
pub mod session;
pub mod status;
pub mod summary;
pub mod turn;

/// One session as the plan sees it: what is wanted, what is, and what was.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// What the file and the people want.
    pub desired: Desired,
    /// What the host shows.
    pub observed: Observed,
    /// What happened before.
    pub history: History,
    /// The identity that the live run was started under. An edited one holds from the next run, so that no run
    /// ends over it. Absent: not known; then the spec's, else the name.
    pub identity: Option<Arc<str>>,
}

impl Session {
    /// A name of which nothing is known yet.
    pub fn unknown() -> Self {
        Self {
            desired: Desired::NeverGood,
            observed: Observed::Absent,
            history: History::default(),
            identity: None,
        }
    }

    /// Whether a person started it outside atm, and nothing is wanted of it.
    pub fn is_registered(&self) -> bool {
        matches!(self.desired, Desired::Registered(_))
    }
}

/// What the file and the people want.
#[derive(Debug, Clone, PartialEq)]
pub enum Desired {
    /// The spec file is gone: end the session, then forget it.
    Gone,
    /// There is a file, and it was never good.
    NeverGood,
    /// It is known from before, and its file has not been seen since the daemon was started.
    Unseen,
    /// The last good spec.
    Spec(Wanted),
    /// Nothing: a person started it outside atm, and it told of itself. It is on the list while its process lives.
    Registered(Guest),
}

/// A good spec, and what people said beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Effective.
    pub spec: Arc<SessionSpec>,
    /// Counts changes of the spec's meaning.
    pub generation: u64,
    /// Digest of what only a new run can change.
    pub launch: Digest,
    /// When the spec was first seen: who waits longer goes first.
    pub first_seen: Timestamp,
    /// Uid of whose session it is: that of its file's owner.
    pub uid: u32,
    /// What a person asked for.
    pub will: Will,
}

/// A person's lasting will about one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Will {
    /// Nothing beyond the file.
    AsDeclared,
    /// `atm stop`, or `atm kill` where `now`: not to run until `start`, `restart` or a changed spec.
    Stopped {
        /// Who.
        by: Actor,
        /// Without a grace.
        now: bool,
    },
    /// `atm suspend`: not to run until `resume`.
    Suspended {
        /// Who.
        by: Actor,
    },
}

/// What the host shows of one session.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// Its lock is free: no process of it lives.
    Absent,
    /// A keeper was started and has not reported yet.
    Starting {
        /// This run.
        run_id: RunId,
        /// Since when.
        since: Moment,
    },
    /// Its main process lives.
    Running(Run),
    /// It was asked to stop. The keeper sees to grace and SIGKILL by itself.
    Stopping {
        /// What is stopping.
        run: Run,
        /// Why, as the keeper recorded it.
        cause: Cause,
        /// Since when.
        since: Moment,
        /// When SIGKILL follows.
        kill_at: Moment,
        /// SIGKILL was sent a while ago and something still lives.
        unkillable: bool,
    },
    /// Its lock is held, but its keeper does not answer: never taken for dead.
    Unknown {
        /// Since when.
        since: Moment,
        /// What was tried.
        why: String,
    },
}

/// One run, while it lives.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Which.
    pub run_id: RunId,
    /// The generation that the keeper knows.
    pub generation: u64,
    /// What it was started with.
    pub launch: Digest,
    /// When its main process was made.
    pub since: Moment,
    /// What its agent, or a person, said last.
    pub said: Option<Said>,
    /// The turn that it is in, or was in last.
    pub turn: Turn,
    /// What looks at it showed; absent before the first.
    pub seen: Option<Seen>,
}

/// What happened to a session before. Survives the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Failures in a row.
    pub failures: u32,
    /// Ends in a row that the back-off counts: failures, and under `Always` quick clean ends too.
    pub ends: u32,
    /// Starts in a row for which the machine was short of something. No fault of the session's.
    pub host_errors: u32,
    /// Ends by itself that its policy answered with another start.
    pub restarts: u64,
    /// Not to be started before. Means nothing on another boot: whoever loads it there drops it.
    pub not_before: Option<Moment>,
    /// The last run that ended.
    pub last: Option<Ended>,
    /// A person asked for a run, whatever the last one's result. Cleared by [`restart::begun`].
    pub start_requested: bool,
    /// A person asked for a new run in place of this one.
    pub restart_requested: Option<RunRequest>,
    /// A person asked for this run to be ended if an emergency cleanup would end it. Not remembered: a cleanup is
    /// for now.
    pub cleanup_requested: Option<RunRequest>,
}

/// What a person asked for about one run: `atm restart`, `atm cleanup --emergency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRequest {
    /// Which; once another one runs, the request is met.
    pub run_id: RunId,
    /// Who.
    pub by: Actor,
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Which.
    pub run_id: RunId,
    /// The generation that its keeper knew at the end.
    pub generation: u64,
    /// What it was started with; absent where nobody knows any more.
    pub launch: Option<Digest>,
    /// How its main process ended; absent where it was never executed, or nobody saw.
    pub exit: Option<Exit>,
    /// Why it could not be executed.
    pub start_error: Option<StartError>,
    /// Why it was stopped, where it was.
    pub cause: Option<Cause>,
    /// The machine went down under it.
    pub interrupted: bool,
    /// The signal that atm would have sent to stop it: an exit by it, after a stop, is clean.
    pub stop_signal: i32,
    /// How long it ran.
    pub ran: Duration,
    /// When it was over, for display.
    pub at: Timestamp,
    /// What its tree used when it was last looked at, in bytes.
    pub memory: Option<u64>,
    /// The conversation that it was started to continue.
    pub continued: Option<ConversationId>,
    /// Its agent did not take that conversation up: no run of the session's own, and a fresh one takes its place.
    pub refused: bool,
}

/// What a session may do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It may run: start it, or let it run.
    Run(Grant),
    /// It is to run, but not now.
    Wait(Wait),
    /// It lives and is to end.
    Stop(Cause),
    /// It does not live and is not to run.
    Done(Done),
}

/// What a slot was given for: one run, of one spec.
///
/// Once that run has ended, or the spec (and with it the priority and the identity) is another one, the verdict is
/// out of date, and whether it may start is for [`fleet::decide`] to say anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The last run that had ended when this was decided.
    pub after: Option<RunId>,
    /// The generation that was decided about; 0 where there is no good spec.
    pub generation: u64,
}

/// Why a session that is to run does not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// All slots are taken.
    MaxSessions {
        /// The limit in force.
        limit: u32,
    },
    /// Another live or earlier session has its identity.
    IdentityTaken {
        /// Which.
        by: SessionName,
        /// The identity.
        identity: String,
    },
    /// It failed, or ended soon, and waits before the next try.
    BackOff {
        /// When it may go on.
        until: Moment,
    },
    /// It was ended to relieve the memory that all share, and waits a while before it comes back.
    Relieved {
        /// When it may come back, if there is room.
        until: Moment,
    },
    /// Memory in use leaves no room for it.
    MemoryBudget {
        /// The budget of all sessions, in bytes.
        limit: u64,
        /// What it used when it was ended for memory, in bytes; 0 where that is not known.
        needed: u64,
    },
    /// The machine was short of something when it was to start.
    HostError {
        /// When it is tried again.
        until: Moment,
    },
    /// Its spec was never good.
    InvalidSpec,
    /// Its file has not been seen yet.
    SpecUnseen,
    /// The daemon is ending its sessions.
    Shutdown,
}

/// Why a session does not run and is not to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Its last run ended well.
    Succeeded,
    /// Its last run ended badly, and its policy does not restart it.
    Failed,
    /// A budget ended it, until a person wants it again.
    Evicted(Cause),
    /// A person stopped it.
    Stopped(Actor),
    /// A person suspended it; absent: the file says `suspend: true`.
    Suspended(Option<Actor>),
    /// Its file is gone, and so is it; or it was a person's own, and has ended: forget it.
    Gone,
}

impl History {
    /// Whether a person waits for a run: by `start`, or by `restart` of the run that has ended by now.
    pub fn is_asked_for(&self) -> bool {
        let replaced = self
            .restart_requested
            .is_some_and(|request| self.last.as_ref().is_some_and(|last| last.run_id == request.run_id));
        self.start_requested || replaced
    }
}

impl Observed {
    /// Whether it takes a slot and an identity: a slot is free when the process is gone, not when it was asked to go.
    pub fn is_live(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Starting { .. } | Self::Running(_) | Self::Stopping { .. } | Self::Unknown { .. } => true,
        }
    }

    /// The run that has processes.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Stopping { run, .. } => Some(run),
            Self::Absent | Self::Starting { .. } | Self::Unknown { .. } => None,
        }
    }

    /// The same, to be changed.
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Self::Running(run) | Self::Stopping { run, .. } => Some(run),
            Self::Absent | Self::Starting { .. } | Self::Unknown { .. } => None,
        }
    }

    /// The run that lives, where it is known.
    pub fn run_id(&self) -> Option<RunId> {
        match self {
            Self::Starting { run_id, .. } => Some(*run_id),
            Self::Running(run) | Self::Stopping { run, .. } => Some(run.run_id),
            Self::Absent | Self::Unknown { .. } => None,
        }
    }
}

impl Grant {
    /// What would be decided about `session` as it is now.
    pub fn of(session: &Session) -> Self {
        let generation = match &session.desired {
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => 0,
            Desired::Spec(wanted) => wanted.generation,
        };
        Self { after: session.history.last.as_ref().map(|last| last.run_id), generation }
    }
}

impl Verdict {
    /// When it changes by the mere passing of time.
    pub fn changes_at(&self) -> Option<Moment> {
        match self {
            Self::Wait(Wait::BackOff { until } | Wait::HostError { until } | Wait::Relieved { until }) => {
                Some(*until)
            }
            Self::Wait(
                Wait::MaxSessions { .. }
                | Wait::MemoryBudget { .. }
                | Wait::IdentityTaken { .. }
                | Wait::InvalidSpec
                | Wait::SpecUnseen
                | Wait::Shutdown,
            )
            | Self::Run(_)
            | Self::Stop(_)
            | Self::Done(_) => None,
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod world;
