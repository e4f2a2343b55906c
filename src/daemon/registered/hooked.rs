//! An agent that runs a hook: which process it is, and that it is on the list.

use std::{io, sync::Arc, time::Duration};

use super::{Newcomer, RegisterError};
use crate::{
    agents::ancestry::{self, Link},
    api::{name::SessionName, record::ProcessId, spec::Agent},
    daemon::{core::Daemon, keepers::Keepers},
    host::{ancestors, process::Process},
};

/// How long is waited for what processes say of themselves: an agent waits for its hook.
const WITHIN: Duration = Duration::from_millis(50);

/// What a hook that is in no declared session tells of its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooked {
    /// The process of the hook: it lives until it is answered.
    pub hook: ProcessId,
    /// As whom it runs.
    pub uid: u32,
    /// Of which agent it is a hook.
    pub agent: Agent,
    /// The agent's own id of the conversation.
    pub conversation: Option<String>,
    /// Where the agent works.
    pub working_dir: Option<String>,
}

impl<K: Keepers> Daemon<K> {
    /// Hears of the agent whose hook this is, and puts it on the list where it is not on it. The answer is the session
    /// that the hook speaks for; `None` where it speaks for none: its agent is not to be found, is another user's, or
    /// is a helper that a session on the list has started, which is a sign of life of that session and no more.
    pub async fn heard_by_hook(&self, hooked: Hooked) -> Option<SessionName> {
        let chain =
            ancestors::of(hooked.hook.pid).ok().filter(|chain| chain.first() == Some(&hooked.hook))?;
        let known = chain.iter().find_map(|process| Some((self.registered_as(*process)?, *process)));
        if let Some((name, _)) = &known
            && self.may_speak_for(name, &hooked)
        {
            self.sign_of_life(name, None);
            return Some(name.clone());
        }
        // Below a keeper, and of no session that its user may steer: of another user's, or of one that is not known to
        // run yet. It is that session's, and nobody's own.
        if self.keepers.above(&chain).is_some() {
            return None;
        }
        // Another conversation: the agent went on to another one, or it is another agent.
        let process = self.agent_above(&hooked).await?;
        if let Some((name, own)) = known
            && own != process
        {
            self.sign_of_life(&name, None);
            return None;
        }
        let newcomer = Newcomer {
            process,
            uid: hooked.uid,
            agent: hooked.agent,
            conversation: hooked.conversation,
            working_dir: hooked.working_dir,
            identity: None,
            name: None,
            activity: None,
        };
        match self.register(&newcomer) {
            Ok(registration) => Some(registration.name),
            Err(RegisterError::Gone(_)) => None,
            Err(error) => {
                // A person's agent has no use for it, and tells of itself again and again.
                tracing::debug!(pid = process.pid, uid = hooked.uid, %error, "an agent is not listed");
                None
            }
        }
    }

    /// Whether a hook can be one of the agent of `name`, by what it tells.
    fn may_speak_for(&self, name: &SessionName, hooked: &Hooked) -> bool {
        let world = self.store.look();
        let known = world.sessions.get(name).and_then(|entry| entry.memory.registered.as_ref());
        known.is_some_and(|known| {
            known.uid == hooked.uid
                && (hooked.conversation.is_none() || hooked.conversation == known.conversation)
        })
    }

    /// The agent's own process, where it is the hook's user's.
    async fn agent_above(&self, hooked: &Hooked) -> Option<ProcessId> {
        let (hook, agent, uid) = (hooked.hook, hooked.agent, hooked.uid);
        // What a process executes is read from its memory, and that may hang: no more than so many threads with it.
        let reader = Arc::clone(&self.registry.borrow().readers).try_acquire_owned().ok()?;
        let found = tokio::task::spawn_blocking(move || {
            let found = find(hook, agent, uid);
            drop(reader);
            found
        });
        tokio::time::timeout(WITHIN, found).await.ok()?.ok()?.ok()?
    }
}

/// Blocks for as long as one of the processes hangs.
fn find(hook: ProcessId, agent: Agent, uid: u32) -> io::Result<Option<ProcessId>> {
    let chain = ancestors::described(hook.pid)?;
    let links: Vec<Link<'_>> = chain.iter().map(|one| Link { comm: &one.comm, argv: &one.argv }).collect();
    let Some(found) = ancestry::find(agent, &links).and_then(|at| chain.get(at)) else { return Ok(None) };
    // What started everything has started no agent.
    let Some(process) = Process::find(found.id)?.filter(|process| process.id().pid != 1) else {
        return Ok(None);
    };
    Ok((process.user()? == Some(uid)).then_some(found.id))
}
