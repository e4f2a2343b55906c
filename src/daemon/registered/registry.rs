//! Who is on the list of registered sessions: found by process and by conversation without a walk over all sessions.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use tokio::{sync::Semaphore, task::AbortHandle};

use crate::{
    api::{name::SessionName, record::ProcessId, spec::Agent},
    host::exit::ExitWatch,
};

/// An agent's conversation. Each user has their own, whatever ids they make up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// Whose.
    pub uid: u32,
    /// With which agent.
    pub agent: Agent,
    /// The agent's own id of it.
    pub id: String,
}

/// The process of a session, watched until it ends.
#[derive(Debug)]
pub struct Watch {
    /// Held on to: what is signalled at a person's order is this process and no later one.
    pub exit: Rc<ExitWatch>,
    /// Waits for its end.
    pub task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One session on the list.
#[derive(Debug)]
pub struct Held {
    /// Whose process it is.
    pub uid: u32,
    /// Which.
    pub process: ProcessId,
    /// What it works on.
    pub conversation: Option<Conversation>,
    /// Absent where it could not be looked at yet: it is tried again.
    pub watch: Option<Watch>,
}

/// Threads at once that read what processes execute.
const READERS: usize = 8;

/// All registered sessions.
#[derive(Debug)]
pub struct Registry {
    /// Who may read what processes execute.
    pub readers: Arc<Semaphore>,
    held: HashMap<SessionName, Held>,
    by_process: HashMap<ProcessId, SessionName>,
    by_conversation: HashMap<Conversation, SessionName>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            readers: Arc::new(Semaphore::new(READERS)),
            held: HashMap::new(),
            by_process: HashMap::new(),
            by_conversation: HashMap::new(),
        }
    }
}

impl Registry {
    /// Puts a session on the list, in place of what was known under its name. A conversation that another session
    /// had is this one's from now on.
    pub fn insert(&mut self, name: &SessionName, held: Held) {
        self.remove(name);
        self.by_process.insert(held.process, name.clone());
        if let Some(conversation) = &held.conversation {
            self.by_conversation.insert(conversation.clone(), name.clone());
        }
        self.held.insert(name.clone(), held);
    }

    /// Takes a session off the list.
    pub fn remove(&mut self, name: &SessionName) -> Option<Held> {
        let held = self.held.remove(name)?;
        if self.by_process.get(&held.process) == Some(name) {
            self.by_process.remove(&held.process);
        }
        if let Some(conversation) = &held.conversation
            && self.by_conversation.get(conversation) == Some(name)
        {
            self.by_conversation.remove(conversation);
        }
        Some(held)
    }

    /// Gives a session another name.
    pub fn rename(&mut self, before: &SessionName, after: &SessionName) {
        if let Some(held) = self.remove(before) {
            self.insert(after, held);
        }
    }

    /// What is known of `name`.
    pub fn get(&self, name: &SessionName) -> Option<&Held> {
        self.held.get(name)
    }

    /// The watch of `name`, where it can be set or dropped.
    pub fn watch_of(&mut self, name: &SessionName) -> Option<&mut Option<Watch>> {
        self.held.get_mut(name).map(|held| &mut held.watch)
    }

    /// The session of this process.
    pub fn of_process(&self, process: ProcessId) -> Option<&SessionName> {
        self.by_process.get(&process)
    }

    /// The session that works on this.
    pub fn of_conversation(&self, conversation: &Conversation) -> Option<&SessionName> {
        self.by_conversation.get(conversation)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// How many one user has.
    pub fn count_of(&self, uid: u32) -> usize {
        self.held.values().filter(|held| held.uid == uid).count()
    }

    /// Those whose process is not watched.
    pub fn unwatched(&self) -> impl Iterator<Item = &SessionName> {
        self.held.iter().filter(|(_, held)| held.watch.is_none()).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SessionName {
        SessionName::new(text).unwrap()
    }

    fn process(pid: i32) -> ProcessId {
        ProcessId { pid, start_time: 7 }
    }

    fn talk(id: &str) -> Conversation {
        Conversation { uid: 1, agent: Agent::Claude, id: id.to_owned() }
    }

    fn held(pid: i32, id: Option<&str>) -> Held {
        Held { uid: 1, process: process(pid), conversation: id.map(talk), watch: None }
    }

    #[test]
    fn a_session_is_found_by_its_process_and_its_conversation_until_it_goes() {
        let mut registry = Registry::default();
        registry.insert(&name("a"), held(1, Some("x")));
        assert_eq!(registry.of_process(process(1)), Some(&name("a")));
        assert_eq!(registry.of_conversation(&talk("x")), Some(&name("a")));
        let stranger = Conversation { uid: 2, ..talk("x") };
        assert_eq!(registry.of_conversation(&stranger), None, "another user's is another one");

        registry.rename(&name("a"), &name("b"));
        assert_eq!(registry.of_process(process(1)), Some(&name("b")));
        assert!(registry.get(&name("a")).is_none());

        // Its next process.
        registry.insert(&name("b"), held(2, Some("x")));
        assert_eq!(registry.of_process(process(1)), None);
        assert_eq!((registry.count(), registry.count_of(1), registry.count_of(2)), (1, 1, 0));
        registry.remove(&name("b"));
        assert_eq!((registry.of_process(process(2)), registry.of_conversation(&talk("x"))), (None, None));
    }

    #[test]
    fn a_conversation_that_moved_on_stays_with_its_new_session() {
        let mut registry = Registry::default();
        registry.insert(&name("a"), held(1, Some("x")));
        registry.insert(&name("b"), held(2, Some("x")));
        registry.remove(&name("a"));
        assert_eq!(registry.of_conversation(&talk("x")), Some(&name("b")));
    }
}
