//! On the list and off it: how a registered session's entry is made, changes its process or its name, and goes.

use std::rc::Rc;

use super::{
    Newcomer, RegisterError, Registered,
    naming::{self, Mark},
    registry::{Conversation, Held, Watch},
};
use crate::{
    api::{
        event::EventKind,
        name::{RunId, SessionName},
        record::ProcessId,
        registered::{MAX_OF_A_USER, MAX_OF_ALL},
        spec::Digest,
        time::{Moment, Timestamp},
    },
    controller::{Reason, Trigger},
    daemon::{
        core::{Daemon, Input, Key},
        keepers::Keepers,
        memory::Memory,
        store::{Entry, RunFacts},
    },
    host::{exit::ExitWatch, process::Process},
    plan::{Desired, Observed, Run, Session, activity::Said, registered::Guest, turn::Turn},
};

impl<K: Keepers> Daemon<K> {
    /// Whether a session whose conversation `process` brings is that process's from now on: two that live would else
    /// take it from each other without end.
    pub(super) fn is_followed_by(&self, name: &SessionName, process: ProcessId) -> bool {
        let registry = self.registry.borrow();
        let Some(held) = registry.get(name) else { return true };
        let lives =
            held.watch.as_ref().is_none_or(|watch| !watch.exit.process().has_ended().unwrap_or(false));
        let age = |process: ProcessId| (process.start_time, process.pid);
        !lives || age(held.process) < age(process)
    }

    /// A new process goes on with the conversation of a session on the list.
    pub(super) fn take_over_guest(
        &self,
        name: &SessionName,
        newcomer: &Newcomer,
        process: Process,
    ) -> Result<(), RegisterError> {
        let watch = self.watch_guest(process)?;
        let (before, run_id) = (self.registry.borrow_mut().remove(name), RunId::generate());
        let held = Held {
            uid: newcomer.uid,
            process: newcomer.process,
            conversation: before.and_then(|held| held.conversation.clone()),
            watch: Some(watch),
        };
        self.registry.borrow_mut().insert(name, held);
        let since = self.clock.now();
        let (started_at, said) =
            (self.clock.wall(), newcomer.activity.map(|activity| Said { activity, at: since }));
        self.store.edit(name, |entry| {
            entry.plan.observed = Observed::Running(Run { said, ..run_of(run_id, since) });
            entry.run = Some(run_facts(newcomer.process, newcomer.uid, started_at));
            if let Some(known) = &mut entry.memory.registered {
                known.process = newcomer.process;
                (known.run_id, known.started_at) = (run_id, started_at);
            }
        });
        self.hear_again(name, newcomer, None);
        let message = format!("its conversation goes on in another process, pid {}", newcomer.process.pid);
        self.tell(EventKind::Registered, name, Some(run_id), Some("Resumed".into()), message);
        self.save(name);
        self.store.touch(name);
        Ok(())
    }

    pub(super) fn admit_guest(
        &self,
        newcomer: &Newcomer,
        conversation: Option<Conversation>,
        process: Process,
    ) -> Result<SessionName, RegisterError> {
        {
            let registry = self.registry.borrow();
            let (own, all) = (registry.count_of(newcomer.uid), registry.count());
            if own >= MAX_OF_A_USER || all >= MAX_OF_ALL {
                let of_all = own < MAX_OF_A_USER;
                return Err(RegisterError::TooMany { count: if of_all { all } else { own }, of_all });
            }
        }
        // The directory it was started in: what it works in changes with what it does, and its name does not.
        let started_in = process.working_dir().ok().map(|path| path.to_string_lossy().into_owned());
        let record = Registered {
            process: newcomer.process,
            boot_id: self.clock.boot().clone(),
            pid_namespace: self.here.pid_namespace,
            uid: newcomer.uid,
            agent: newcomer.agent,
            conversation: newcomer.conversation.clone(),
            working_dir: newcomer.working_dir.clone().or_else(|| started_in.clone()),
            identity: newcomer.identity.clone(),
            run_id: RunId::generate(),
            started_at: self.clock.wall(),
        };
        let directory = started_in.or_else(|| record.working_dir.clone());
        let name = match &newcomer.name {
            Some(name) if self.store.look().sessions.contains_key(name) => {
                return Err(RegisterError::NameTaken(name.clone()));
            }
            Some(name) => name.clone(),
            None => self
                .free_name(&record, directory.as_deref())
                .ok_or(RegisterError::TooMany { count: self.registry.borrow().count(), of_all: true })?,
        };
        let watch = self.watch_guest(process)?;
        let mut memory = Memory::new(record.started_at);
        let run_id = record.run_id;
        memory.registered = Some(record);
        let said = newcomer.activity.map(|activity| Said { activity, at: self.clock.now() });
        self.put_on_list(&name, memory, conversation, Some(watch), said);
        let full = self.full_house();
        let reason = full.is_some().then(|| "MaxSessions".to_owned());
        let rest = full.map(|full| format!("; {full}")).unwrap_or_default();
        let message = format!("a person started it, pid {}{rest}", newcomer.process.pid);
        self.tell(EventKind::Registered, &name, Some(run_id), reason, message);
        self.save(&name);
        // Before anything acts: a place or an identity that was given a moment ago is given no more.
        self.decide();
        self.look_at(Key::Fleet, Reason::Observed);
        self.look_at(Key::Session(name.clone()), Reason::Observed);
        Ok(name)
    }

    /// Makes the entry of a session whose process lives, or may; `watch` is absent where that could not be seen.
    pub(super) fn put_on_list(
        &self,
        name: &SessionName,
        memory: Memory,
        conversation: Option<Conversation>,
        watch: Option<Watch>,
        said: Option<Said>,
    ) {
        let Some(record) = memory.registered.clone() else { return };
        let now = self.clock.now();
        let guest = Guest {
            uid: record.uid,
            heard: watch.is_some().then_some(now),
            stale_after: self.store.look().config.stale_after.0,
        };
        let plan = Session {
            desired: Desired::Registered(guest),
            observed: Observed::Running(Run { said, ..run_of(record.run_id, now) }),
            identity: record.identity.as_deref().map(Into::into),
            ..Session::unknown()
        };
        let mut entry = Entry::new(plan, memory, &self.clock);
        entry.run = Some(run_facts(record.process, record.uid, record.started_at));
        self.store.insert(name, entry);
        let held = Held { uid: record.uid, process: record.process, conversation, watch };
        self.registry.borrow_mut().insert(name, held);
    }

    /// A name that no session has.
    pub(super) fn free_name(&self, record: &Registered, directory: Option<&str>) -> Option<SessionName> {
        let conversation = conversation_of(record);
        let mark = conversation.as_ref().map_or(Mark::Process(record.process), Mark::Conversation);
        let world = self.store.look();
        naming::choose(record.agent, directory, mark, |name| world.sessions.contains_key(name))
    }

    pub(super) fn watch_guest(&self, process: Process) -> Result<Watch, RegisterError> {
        let id = process.id();
        let exit =
            ExitWatch::new(process).map_err(|source| RegisterError::Unwatchable { pid: id.pid, source })?;
        let exit = Rc::new(exit);
        let (ended, inputs) = (Rc::clone(&exit), self.inputs.clone());
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = ended.ended().await {
                tracing::warn!(pid = id.pid, %error, "cannot wait for the end of a registered process");
            }
            let _ = inputs.send(Input::Departed(id)); // the loop has ended
        });
        Ok(Watch { exit, task: task.abort_handle() })
    }

    /// The process of a registered session has ended, as its watch says.
    pub(in crate::daemon) fn absorb_departed(&self, process: ProcessId) -> Vec<Trigger<Key>> {
        let Some(name) = self.registered_as(process) else { return Vec::new() };
        {
            let mut registry = self.registry.borrow_mut();
            let Some(watch) = registry.watch_of(&name) else { return Vec::new() };
            let ended = watch.as_ref().is_none_or(|watch| watch.exit.process().has_ended().unwrap_or(false));
            if !ended {
                *watch = None; // the waiting failed: it is looked at again at the next resync
                return Vec::new();
            }
        }
        let asked = {
            let world = self.store.look();
            world.sessions.get(&name).and_then(|entry| match &entry.plan.observed {
                Observed::Stopping { cause, .. } => Some(cause.clone()),
                Observed::Running(_)
                | Observed::Absent
                | Observed::Starting { .. }
                | Observed::Unknown { .. } => None,
            })
        };
        let reason = asked.as_ref().map_or("Exited".to_owned(), |cause| cause.reason.to_string());
        let how = asked.map_or_else(String::new, |cause| format!(", {}", cause.message));
        self.depart(&name, &reason, &format!("its process has ended (pid {}){how}", process.pid));
        Vec::new()
    }

    /// Forgets a registered session.
    pub(in crate::daemon) fn depart(&self, name: &SessionName, reason: &str, message: &str) {
        let run_id = self.store.look().sessions.get(name).and_then(|entry| entry.plan.observed.run_id());
        // Told first: afterwards nobody knows any more whom it concerned.
        self.tell(EventKind::Unregistered, name, run_id, Some(reason.to_owned()), message);
        self.registry.borrow_mut().remove(name);
        self.store.remove(name);
        self.writer.remove(self.paths.memory(name));
        self.look_at(Key::Fleet, Reason::Observed);
    }

    /// A spec file has taken the name of a registered session: that session goes on under another one.
    pub(in crate::daemon) fn give_up_name(&self, name: &SessionName) {
        let record = {
            let world = self.store.look();
            let entry = world.sessions.get(name).filter(|entry| entry.plan.is_registered());
            entry.and_then(|entry| entry.memory.registered.clone())
        };
        let Some(record) = record else { return };
        let Some(next) = self.free_name(&record, record.working_dir.as_deref()) else {
            return self.depart(
                name,
                "NameTaken",
                "a spec file has taken its name, and no other one is free",
            );
        };
        let Some(entry) = self.store.remove(name) else { return };
        self.store.insert(&next, entry);
        self.registry.borrow_mut().rename(name, &next);
        self.writer.remove(self.paths.memory(name));
        self.save(&next);
        let message = format!("was called {name}, a name that a spec file has now");
        self.tell(EventKind::Registered, &next, Some(record.run_id), Some("Renamed".into()), message);
        self.look_at(Key::Session(next), Reason::Observed);
    }
}

pub(super) fn conversation_of(record: &Registered) -> Option<Conversation> {
    let id = record.conversation.clone()?;
    Some(Conversation { uid: record.uid, agent: record.agent, id })
}

/// A run that no spec has started.
fn run_of(run_id: RunId, since: Moment) -> Run {
    Run {
        run_id,
        generation: 0,
        launch: Digest(String::new()),
        since,
        said: None,
        turn: Turn::default(),
        seen: None,
    }
}

fn run_facts(process: ProcessId, uid: u32, started_at: Timestamp) -> RunFacts {
    RunFacts { keeper: None, child: Some(process), uid: Some(uid), started_at }
}
