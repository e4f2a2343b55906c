//! The conversations of agents: learned from what agents say, continued by later runs.

use super::{core::Daemon, keepers::Keepers, store::Entry};
use crate::{
    agents::launch::Call,
    api::{
        config::Config,
        conversation::{Conversation, ConversationId},
        event::EventKind,
        name::{RunId, SessionName},
        record::{AgentStart, ENV_HOOKS},
        spec::SessionSpec,
    },
    plan::{Ended, conversation},
};

impl<K: Keepers> Daemon<K> {
    /// Learns that the agent of this run is in the conversation `id`, and whether anything was said in that yet: it says
    /// so at its start, whenever it goes over to another one, and with what happens in it. What it said before, or what
    /// no agent says, changes nothing.
    pub fn learn_conversation(&self, name: &SessionName, run_id: RunId, id: &str, begun: bool) {
        let id = match ConversationId::new(id) {
            Ok(id) => id,
            Err(error) => {
                tracing::debug!(%name, %error, "an agent named its conversation");
                return;
            }
        };
        {
            // An edit would show it to those who watch.
            let world = self.store.look();
            let last = world.sessions.get(name).and_then(|entry| entry.memory.conversations.last());
            if last.is_some_and(|last| conversation::tells_nothing(last, &id, run_id, begun)) {
                return;
            }
        }
        let since = self.clock.wall();
        let news = self.store.edit(name, |entry| {
            let current = entry.plan.observed.run_id() == Some(run_id);
            let Some(agent) = entry.agent_start.as_ref().filter(|_| current) else { return false };
            let named = Conversation {
                id,
                agent: agent.agent,
                working_dir: agent.working_dir.clone(),
                run_id,
                since,
                begun,
                refused: false,
            };
            conversation::learn(&mut entry.memory.conversations, named)
        });
        if news == Some(true) {
            self.save_to_disk(name);
            self.store.touch(name);
        }
    }

    /// How the agent of a run with `spec` is to be started; `None` where it is no agent's command that is known.
    pub(super) fn agent_start(
        &self,
        entry: &Entry,
        spec: &SessionSpec,
        config: &Config,
    ) -> Option<AgentStart> {
        let call = Call::of(&spec.command, spec.agent)?;
        let known = conversation::to_continue(&entry.memory.conversations, spec);
        let continues = known.filter(|_| call.takes_conversation()).cloned();
        let hooks = spec.env.get(ENV_HOOKS).or_else(|| config.env.get(ENV_HOOKS));
        let wanted = call.takes_hooks() && hooks.is_none_or(|hooks| hooks != "off");
        let program = self.program.as_deref().filter(|_| wanted);
        let flags = call.flags(continues.as_ref(), program);
        let working_dir = spec.working_dir.clone();
        Some(AgentStart { agent: spec.agent, working_dir, continues, reports: program.is_some(), flags })
    }

    /// Finds out whether the run that ended was refused the conversation that it was to continue.
    pub(super) fn judge_conversation(&self, name: &SessionName, ended: &mut Ended) {
        let judged =
            self.store.edit(name, |entry| conversation::judge(&mut entry.memory.conversations, ended));
        ended.refused = judged == Some(true);
        if let Some(id) = ended.continued.as_ref().filter(|_| ended.refused) {
            let message = format!("the agent did not continue conversation {id}: starting a new one");
            self.tell(EventKind::ConversationRefused, name, Some(ended.run_id), None, message);
        }
    }
}
