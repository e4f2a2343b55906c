//! What outlives a session's runs and the daemon: the last good spec, wills, results, restart counts.
//!
//! One file per session below the state directory, written whole (see [`super::writer`]).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::registered::Registered;
use crate::{
    api::{
        cause::{Actor, Cause},
        config::Config,
        conversation::{Conversation, ConversationId},
        hook::Interruption,
        name::{InstanceId, RunId},
        overrides::RunOverrides,
        record::{Exit, GoodSpec, StartError},
        spec::{Digest, WrittenSpec},
        time::{BootId, Moment, Timestamp},
        upload::Upload,
    },
    host::specfile::DirId,
    plan::{Ended, History, RunRequest, Will},
};

/// Version of the state files that this program writes, and the newest that it reads.
pub const STATE_VERSION: u32 = 1;

/// What is remembered of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// [`STATE_VERSION`] of the writer.
    pub version: u32,
    /// The last good spec; absent where none was ever good.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec: Option<GoodSpec>,
    /// Its spec is gone, and it is to be forgotten: where the directory cannot be read later, what is known of that spec
    /// speaks for it no more.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub removed: bool,
    /// When the name was first seen.
    pub first_seen: Timestamp,
    /// What a person asked for.
    #[serde(default)]
    pub will: StoredWill,
    /// The run that was begun last; without a result of its own it was interrupted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub begun: Option<Begun>,
    /// The run whose end was counted last, so that an end counts once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counted: Option<RunId>,
    /// The run that a daemon asked to stop: its exit's cause is no news, and no will.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop_asked: Option<RunId>,
    /// As whom the last run ran that came to a process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ran_as: Option<RanAs>,
    /// Where that run was started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_dir: Option<PathBuf>,
    /// What is overridden of a run while it lives.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overrides: Option<RunOverrides>,
    /// What people gave it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub uploads: Vec<Upload>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// Ends in a row that the back-off counts.
    #[serde(default)]
    pub ends: u32,
    /// Starts in a row for which the machine was short of something.
    #[serde(default)]
    pub host_errors: u32,
    /// Starts that followed an end.
    #[serde(default)]
    pub restarts: u64,
    /// Turns that its agent was in, so that no two have the same number.
    #[serde(default)]
    pub turns: u64,
    /// The interruption of the turn that it is in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancel: Option<StoredCancel>,
    /// The back-off in progress.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_before: Option<Deadline>,
    /// The last end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<StoredEnd>,
    /// A person asked for a run.
    #[serde(default)]
    pub start_requested: bool,
    /// A person asked for another run in place of this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restart_requested: Option<StoredRestart>,
    /// The run whose agent spoke by the hooks that it was passed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hooked: Option<RunId>,
    /// What is known of one that a person started outside atm; absent: it is declared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub registered: Option<Registered>,
    /// The conversations that its agent named, the last one last: see [`crate::plan::conversation`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub conversations: Vec<Conversation>,
}

/// A point on the monotonic clock of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadline {
    /// Which boot.
    pub boot_id: BootId,
    /// When, on its clock.
    pub at: Moment,
}

/// As whom a run ran. A spec may name a user, and only a run shows whom that name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RanAs {
    /// Which run.
    pub run_id: RunId,
    /// Its user.
    pub uid: u32,
    /// The spec has been given to somebody else since: this says nothing of its next run.
    #[serde(default)]
    pub outdated: bool,
}

/// Why a turn is to end before its agent is done with it: the next daemon tells, where this one cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredCancel {
    /// Of which run.
    pub run_id: RunId,
    /// Which turn.
    pub turn: u64,
    /// Why, and who asked.
    pub cause: Interruption,
    /// When it was sent, on the clock of the run's boot; absent: not yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent: Option<Moment>,
}

/// A run that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// Which.
    pub run_id: RunId,
    /// In which boot.
    pub boot_id: BootId,
    /// Which generation of the spec.
    pub generation: u64,
    /// A person asked for it: should it never come to a process, they still do.
    #[serde(default)]
    pub requested: bool,
    /// It came to a process, as far as was seen: it was no start in vain, whatever becomes of its files.
    #[serde(default)]
    pub ran: bool,
    /// When.
    pub at: Timestamp,
}

/// [`Will`], as stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum StoredWill {
    /// Nothing beyond the file.
    #[default]
    AsDeclared,
    /// `atm stop` or `atm kill`.
    Stopped {
        /// Who.
        by: Actor,
    },
    /// `atm suspend`.
    Suspended {
        /// Who.
        by: Actor,
    },
}

impl From<Will> for StoredWill {
    fn from(will: Will) -> Self {
        match will {
            Will::AsDeclared => Self::AsDeclared,
            // That no grace was wanted mattered to the run that was killed, and to no other.
            Will::Stopped { by, now: _ } => Self::Stopped { by },
            Will::Suspended { by } => Self::Suspended { by },
        }
    }
}

impl From<StoredWill> for Will {
    fn from(will: StoredWill) -> Self {
        match will {
            StoredWill::AsDeclared => Self::AsDeclared,
            StoredWill::Stopped { by } => Self::Stopped { by, now: false },
            StoredWill::Suspended { by } => Self::Suspended { by },
        }
    }
}

/// [`RunRequest`], as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredRestart {
    /// The run that is to be replaced.
    pub run_id: RunId,
    /// Who.
    pub by: Actor,
}

/// [`Ended`], as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredEnd {
    run_id: RunId,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    launch: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exit: Option<Exit>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    start_error: Option<StartError>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cause: Option<Cause>,
    #[serde(default)]
    interrupted: bool,
    stop_signal: i32,
    ran_millis: u64,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    continued: Option<ConversationId>,
    #[serde(default)]
    refused: bool,
}

impl From<&Ended> for StoredEnd {
    fn from(ended: &Ended) -> Self {
        Self {
            run_id: ended.run_id,
            generation: ended.generation,
            launch: ended.launch.clone(),
            exit: ended.exit,
            start_error: ended.start_error.clone(),
            cause: ended.cause.clone(),
            interrupted: ended.interrupted,
            stop_signal: ended.stop_signal,
            ran_millis: u64::try_from(ended.ran.as_millis()).unwrap_or(u64::MAX),
            at: ended.at,
            memory: ended.memory,
            continued: ended.continued.clone(),
            refused: ended.refused,
        }
    }
}

impl From<StoredEnd> for Ended {
    fn from(end: StoredEnd) -> Self {
        Self {
            run_id: end.run_id,
            generation: end.generation,
            launch: end.launch,
            exit: end.exit,
            start_error: end.start_error,
            cause: end.cause,
            interrupted: end.interrupted,
            stop_signal: end.stop_signal,
            ran: Duration::from_millis(end.ran_millis),
            at: end.at,
            memory: end.memory,
            continued: end.continued,
            refused: end.refused,
        }
    }
}

impl Memory {
    /// Of a name that was never seen before.
    pub fn new(first_seen: Timestamp) -> Self {
        Self {
            version: STATE_VERSION,
            spec: None,
            removed: false,
            first_seen,
            will: StoredWill::AsDeclared,
            begun: None,
            counted: None,
            stop_asked: None,
            ran_as: None,
            working_dir: None,
            overrides: None,
            uploads: Vec::new(),
            failures: 0,
            ends: 0,
            host_errors: 0,
            restarts: 0,
            turns: 0,
            cancel: None,
            not_before: None,
            last: None,
            start_requested: false,
            restart_requested: None,
            hooked: None,
            registered: None,
            conversations: Vec::new(),
        }
    }

    /// Learns that this run came to a process.
    pub fn has_run(&mut self, run_id: RunId) {
        if let Some(begun) = self.begun.as_mut().filter(|begun| begun.run_id == run_id) {
            begun.ran = true;
        }
    }

    /// Learns that a run of the spec's `generation` runs as `uid`.
    pub fn learn_user(&mut self, run_id: RunId, generation: u64, uid: u32) {
        if self.ran_as.is_some_and(|known| known.run_id == run_id) {
            return; // known since it began; the spec may have been given to somebody else since
        }
        let outdated = self.spec.as_ref().is_some_and(|spec| spec.generation != generation);
        self.ran_as = Some(RanAs { run_id, uid, outdated });
    }

    /// Forgets as whom the next run would run, where a spec with this owner and user says otherwise than the one
    /// before: what is in it is not for the user of the run before.
    pub fn check_user(&mut self, owner: u32, spec: &WrittenSpec, digest: &Digest) {
        let Some(ran_as) = self.ran_as.as_mut().filter(|ran_as| !ran_as.outdated) else { return };
        let same = self.spec.as_ref().is_some_and(|before| {
            let user = || WrittenSpec::parse(&before.text, &before.file).map(|before| before.user);
            before.owner == owner
                && (before.digest == *digest || user().is_ok_and(|before| before == spec.user))
        });
        ran_as.outdated = !same;
        if !same {
            self.conversations.clear(); // they are the other user's
        }
    }

    /// As whom the spec runs, as far as that is known; where it is not, its owner answers for it.
    pub fn user(&self) -> Option<u32> {
        let ran_as = self.ran_as.filter(|ran_as| !ran_as.outdated).map(|ran_as| ran_as.uid);
        ran_as.or_else(|| self.spec.as_ref().map(|spec| spec.owner))
    }

    /// Takes over what the plan keeps.
    pub fn remember(&mut self, history: &History, will: Will, boot: &BootId) {
        self.will = will.into();
        self.failures = history.failures;
        self.ends = history.ends;
        self.host_errors = history.host_errors;
        self.restarts = history.restarts;
        self.not_before = history.not_before.map(|at| Deadline { boot_id: boot.clone(), at });
        self.last = history.last.as_ref().map(StoredEnd::from);
        self.start_requested = history.start_requested;
        self.restart_requested =
            history.restart_requested.map(|RunRequest { run_id, by }| StoredRestart { run_id, by });
    }

    /// What the plan goes on from. A back-off of another boot is over: its clock is gone, and a machine that
    /// was down has waited long enough.
    pub fn recall(&self, boot: &BootId) -> History {
        History {
            failures: self.failures,
            ends: self.ends,
            host_errors: self.host_errors,
            restarts: self.restarts,
            not_before: self.not_before.as_ref().filter(|d| d.boot_id == *boot).map(|d| d.at),
            last: self.last.clone().map(Ended::from),
            start_requested: self.start_requested,
            restart_requested: self
                .restart_requested
                .map(|StoredRestart { run_id, by }| RunRequest { run_id, by }),
            cleanup_requested: None,
        }
    }
}

/// Whose state a directory is, and which spec directory it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// [`STATE_VERSION`] of the writer.
    pub version: u32,
    /// Whose keepers these are.
    pub instance: InstanceId,
    /// The spec directory that was believed last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub specs: Option<DirId>,
    /// The directory of running sessions, all of which this state knows. One that was made anew since has lost files
    /// of runs, whoever made it: another daemon that was killed early, or a keeper that lost its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runs: Option<DirId>,
}

/// The config that was in force last: effective, so it holds whatever the file says now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastConfig {
    /// [`STATE_VERSION`] of the writer.
    pub version: u32,
    /// What was in force.
    pub config: Config,
    /// The keys of it that somebody wrote.
    #[serde(default)]
    pub written: Vec<String>,
}
