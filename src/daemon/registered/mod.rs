//! Sessions that people started outside atm, and that told of themselves.
//!
//! Each is an entry of the store like any other, so that it is listed, watched and counted like any other; what is
//! wanted of it is [`Desired::Registered`], and so no rule speaks to it. It has no keeper, no files but one of what is
//! remembered, and its end is told by a pidfd. Nobody but a person who orders it ever has it signalled.

mod hooked;
mod listing;
mod naming;
mod orders;
mod recall;
mod registry;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::registry::Conversation;
pub use self::{
    hooked::Hooked,
    recall::{Remembered, set_apart},
    registry::Registry,
};
use super::{
    core::{Daemon, Key},
    keepers::Keepers,
};
use crate::{
    api::{
        name::{RunId, SessionName},
        record::ProcessId,
        spec::Agent,
        status::Activity,
        time::{BootId, Timestamp},
    },
    controller::{Action, Reason},
    host::process::Process,
    plan::{Desired, Observed, activity::Said},
};

/// One that was asked to end and speaks later than this goes on: nothing more is done to a person's own agent.
const HEEDED_WITHIN: Duration = Duration::from_secs(10);

/// What is remembered of a registered session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// Its process.
    pub process: ProcessId,
    /// Of which boot, and of which pid namespace: elsewhere its pid means another process.
    pub boot_id: BootId,
    /// Inode of that namespace.
    pub pid_namespace: u64,
    /// As whom it runs.
    pub uid: u32,
    /// Which agent.
    pub agent: Agent,
    /// The agent's own id of the conversation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversation: Option<String>,
    /// Where it works.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_dir: Option<String>,
    /// The identity that it asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// This process of it.
    pub run_id: RunId,
    /// When that registered.
    pub started_at: Timestamp,
}

/// A process that is to be on the list. That it is the process that is meant, whose it is, and that it is in no
/// declared session, is for the caller to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Which process.
    pub process: ProcessId,
    /// As whom it runs.
    pub uid: u32,
    /// Which agent.
    pub agent: Agent,
    /// The agent's own id of the conversation; absent: as before.
    pub conversation: Option<String>,
    /// Where it works; absent: as before, else the directory of the process.
    pub working_dir: Option<String>,
    /// The identity that it asks for; absent: as before, else its name.
    pub identity: Option<String>,
    /// What it is to be called; absent: a name is chosen.
    pub name: Option<SessionName>,
    /// What it is doing; absent: as before.
    pub activity: Option<Activity>,
}

/// Why a process is not on the list.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It has ended.
    #[error("process {0} has ended")]
    Gone(i32),
    /// It cannot be watched.
    #[error("cannot watch process {pid}")]
    Unwatchable {
        /// Which.
        pid: i32,
        /// The system's words.
        source: std::io::Error,
    },
    /// Another session is called so.
    #[error("another session is called {0}: leave `name` out to have one chosen")]
    NameTaken(SessionName),
    /// There are too many.
    #[error(
        "{count} registered sessions are as many as {} may have: end one, or `unregister` it",
        if *of_all { "all users together" } else { "one user" }
    )]
    TooMany {
        /// So many there are.
        count: usize,
        /// Of all users, and not of this one alone.
        of_all: bool,
    },
}

/// How a registration went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The session.
    pub name: SessionName,
    /// Whether more is known by it than that it lives.
    pub changed: bool,
    /// What its person should know.
    pub warnings: Vec<String>,
}

impl<K: Keepers> Daemon<K> {
    /// Puts a process on the list; one that is on it gave a sign of life, and said what has changed. A process that
    /// comes with the conversation of a session on the list is that session's from now on, unless the session's own
    /// process lives and is the younger one.
    pub fn register(&self, newcomer: &Newcomer) -> Result<Registration, RegisterError> {
        let conversation = newcomer.conversation.clone().map(|id| Conversation {
            uid: newcomer.uid,
            agent: newcomer.agent,
            id,
        });
        let (known, talking) = {
            let registry = self.registry.borrow();
            let talking = conversation.as_ref().and_then(|talk| registry.of_conversation(talk)).cloned();
            (registry.of_process(newcomer.process).cloned(), talking)
        };
        if let Some(name) = known {
            let changed = self.hear_again(&name, newcomer, conversation);
            // Said again only with news: this is on the way of every hook.
            let warnings = if changed { self.warnings_of(&name) } else { Vec::new() };
            return Ok(Registration { name, changed, warnings });
        }
        let process = match Process::find(newcomer.process) {
            Ok(Some(process)) if !process.has_ended().unwrap_or(false) => process,
            Ok(_) => return Err(RegisterError::Gone(newcomer.process.pid)),
            Err(source) => return Err(RegisterError::Unwatchable { pid: newcomer.process.pid, source }),
        };
        if let Some(name) = talking {
            if self.is_followed_by(&name, newcomer.process) {
                self.take_over_guest(&name, newcomer, process)?;
                return Ok(Registration { changed: true, warnings: self.warnings_of(&name), name });
            }
            self.sign_of_life(&name, newcomer.activity);
            return Ok(Registration { name, changed: false, warnings: Vec::new() });
        }
        let name = self.admit_guest(newcomer, conversation, process)?;
        Ok(Registration { changed: true, warnings: self.warnings_of(&name), name })
    }

    /// The registered session of this process.
    pub fn registered_as(&self, process: ProcessId) -> Option<SessionName> {
        self.registry.borrow().of_process(process).cloned()
    }

    /// Takes a session off the list. Nothing is done to it.
    pub fn unregister(&self, name: &SessionName) {
        self.depart(name, "Unregistered", "taken off the list; it goes on, and atm does not look after it");
    }

    /// A sign of life of a registered session, and what it is doing, where that is told. `false`: there is none of that
    /// name.
    pub(super) fn sign_of_life(&self, name: &SessionName, activity: Option<Activity>) -> bool {
        let at = self.clock.now();
        let heard = self.store.edit(name, |entry| {
            let Desired::Registered(guest) = &mut entry.plan.desired else { return None };
            let was_stale = guest.is_stale(at);
            guest.heard = Some(at);
            let (mut spoke, mut goes_on) = (false, false);
            if let Observed::Stopping { run, since, .. } = &entry.plan.observed
                && at.since(*since) >= HEEDED_WITHIN
            {
                entry.plan.observed = Observed::Running(run.clone());
                goes_on = true;
            }
            if let Some(run) = entry.plan.observed.run_mut()
                && let Some(activity) = activity
            {
                spoke = run.said.is_none_or(|said| said.activity != activity);
                run.said = Some(Said { activity, at });
            }
            Some((was_stale, spoke, goes_on))
        });
        let Some((was_stale, spoke, goes_on)) = heard.flatten() else { return false };
        if goes_on {
            self.look_at(Key::Fleet, Reason::Observed);
        }
        if was_stale {
            // When it becomes stale is a date that nobody waits for any more.
            self.look_at(Key::Session(name.clone()), Reason::Observed);
        }
        if spoke {
            self.store.touch(name);
        }
        true
    }

    /// A process that is on the list told of itself again.
    fn hear_again(&self, name: &SessionName, newcomer: &Newcomer, talk: Option<Conversation>) -> bool {
        self.sign_of_life(name, newcomer.activity);
        let told = self.store.edit(name, |entry| {
            let known = entry.memory.registered.as_mut()?;
            let before = known.clone();
            known.agent = newcomer.agent;
            for (known, told) in [
                (&mut known.conversation, &newcomer.conversation),
                (&mut known.working_dir, &newcomer.working_dir),
                (&mut known.identity, &newcomer.identity),
            ] {
                if told.is_some() {
                    known.clone_from(told);
                }
            }
            entry.plan.identity = known.identity.as_deref().map(Into::into);
            Some((before != *known, before.identity != known.identity))
        });
        let (changed, is_another) = told.flatten().unwrap_or_default();
        if changed {
            let mut registry = self.registry.borrow_mut();
            if let Some(mut held) = registry.remove(name) {
                held.conversation = talk.or(held.conversation);
                registry.insert(name, held);
            }
            drop(registry);
            self.save(name);
            self.store.touch(name);
        }
        if is_another {
            // Before anything acts: an identity that was free a moment ago is not any more.
            self.decide();
            self.look_at(Key::Fleet, Reason::Observed);
        }
        changed
    }

    /// What a `Session` reconcile does for a registered one: it sees whether its process lives, where that could not be
    /// seen before, and that its mark is up to date. `None`: it is none.
    pub(super) fn attend(&self, name: &SessionName) -> Option<Action> {
        if !self.store.look().sessions.get(name)?.plan.is_registered() {
            return None;
        }
        self.see_again(name);
        // What people see is derived anew: it may have become stale since.
        let until = self.store.edit(name, |entry| match &entry.plan.desired {
            Desired::Registered(guest) => guest.stale_at(self.clock.now()),
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Spec(_) => None,
        });
        let wait = until.flatten().map(|at| at - self.clock.now());
        Some(wait.map_or_else(Action::await_change, Action::requeue))
    }

    /// The config says another `staleAfter`.
    pub(super) fn set_stale_after(&self, stale_after: Duration) -> Vec<SessionName> {
        let names: Vec<SessionName> = {
            let world = self.store.look();
            let guests = world.sessions.iter().filter(|(_, entry)| entry.plan.is_registered());
            guests.map(|(name, _)| name.clone()).collect()
        };
        for name in &names {
            self.store.edit(name, |entry| {
                if let Desired::Registered(guest) = &mut entry.plan.desired {
                    guest.stale_after = stale_after;
                }
            });
        }
        names
    }

    /// Those of which it could not be seen yet whether their process lives.
    pub(super) fn unseen_guests(&self) -> Vec<SessionName> {
        self.registry.borrow().unwatched().cloned().collect()
    }

    /// That more sessions live than there are places, where persons' own ones are why.
    pub fn full_house(&self) -> Option<String> {
        super::view::full_house(&self.store.look())
    }

    /// What the person of a registered session should know.
    fn warnings_of(&self, name: &SessionName) -> Vec<String> {
        self.full_house().into_iter().chain(self.identity_conflict(name)).collect()
    }

    /// Which other live session has the identity of `name`.
    fn identity_conflict(&self, name: &SessionName) -> Option<String> {
        let world = self.store.look();
        let identity = world.sessions.get(name)?.plan.identity.clone()?;
        let holder = world.sessions.iter().find(|(other, entry)| {
            let theirs = entry.plan.identity.as_deref().unwrap_or(other.as_str());
            *other != name && entry.plan.observed.is_live() && *theirs == *identity
        });
        holder.map(|_| format!("another live session has the identity `{identity}`"))
    }
}
