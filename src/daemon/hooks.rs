//! What agents say: found out whose it is, taken in, and kept.
//!
//! A hook is a program that the agent runs, and it tells the daemon over the control socket. Of which session it is,
//! the process that connected says, by its ancestors: what it tells is text that anybody can write.

use std::time::Duration;

use super::{
    agent_facts::AgentFacts,
    core::{Daemon, Key},
    keepers::Keepers,
    registered::Hooked,
    turns::Settled,
    view::Viewer,
};
use crate::{
    agents::{self, Told},
    api::{
        event::EventKind,
        hook::{Conversation, ConversationOrigin, HookParams, HookResult, Interruption},
        name::{RunId, SessionName},
        record::ProcessId,
        spec::Agent,
        time::Moment,
    },
    controller::Reason,
    host::{lineage, process::Process},
    plan::{
        Desired, Observed,
        turn::{self, Over},
    },
};

/// How long a hook waits for news of a session that is just being started: less than its agent waits for the hook.
const NEWS: Duration = Duration::from_millis(50);

/// What hearing a word came to.
struct Heard {
    run_id: RunId,
    /// The turn that ended by it.
    over: Option<Over>,
    /// Whether the session does something else now.
    news: bool,
    /// Whether people are shown something else.
    shown: bool,
    learned: Option<Conversation>,
}

impl<K: Keepers> Daemon<K> {
    /// Takes in what the agent above `process` said. The answer is the same whoever asks: a hook has no use for more.
    pub async fn hook(&self, process: &Process, viewer: Viewer, params: HookParams) -> HookResult {
        let found = self.session_of(process, viewer).await;
        if found.as_ref().is_some_and(|name| !self.is_own_word(name, params.passed)) {
            return HookResult::default();
        }
        let now = self.clock.now();
        let at = params.at.map_or(now, |at| at.min(now));
        let named = params.agent.filter(|agent| *agent != Agent::Generic);
        let heard = if let Some(declared) = found.as_ref().and_then(|name| self.agent_declared(name)) {
            found.zip(Some(agents::read(named.unwrap_or(declared), &params.payload)))
        } else {
            let agent = named.unwrap_or_else(|| agents::looks_like(&params.payload));
            self.hear_of_a_guest(process, viewer, agent, &params, found.is_some()).await
        };
        let Some((name, told)) = heard else { return HookResult::default() };
        self.hear(&name, told, at).await;
        HookResult { session: Some(name) }
    }

    /// Whether a hook is the session's agent's to say. See [`HookParams::passed`]: an agent that was passed hooks may
    /// know nothing of them, and then those that a person has installed are its own.
    fn is_own_word(&self, name: &SessionName, passed: Option<bool>) -> bool {
        let Some(passed) = passed else { return true };
        let news = self.store.edit(name, |entry| {
            let run = entry.plan.observed.run_id()?;
            let heard = entry.memory.hooked == Some(run);
            if passed {
                entry.memory.hooked = Some(run);
            }
            Some((heard, passed && !heard))
        });
        let Some((heard, news)) = news.flatten() else { return true };
        if news {
            self.save(name);
        }
        passed || !heard
    }

    /// The agent of a session that has a spec, or had one; `None`: it is a registered one.
    fn agent_declared(&self, name: &SessionName) -> Option<Agent> {
        match &self.store.look().sessions.get(name)?.plan.desired {
            Desired::Spec(wanted) => Some(wanted.spec.agent),
            Desired::Gone | Desired::NeverGood | Desired::Unseen => Some(Agent::Generic),
            Desired::Registered(_) => None,
        }
    }

    /// An agent that a person started: it is put on the list by its first word, and heard like any other from then on.
    async fn hear_of_a_guest(
        &self,
        process: &Process,
        viewer: Viewer,
        agent: Agent,
        params: &HookParams,
        listed: bool,
    ) -> Option<(SessionName, Told)> {
        let told = agents::read(agent, &params.payload);
        if !listed && (told.exits || !agents::is_of_an_agent(&params.payload)) {
            return None; // it is about to end, and nobody has known it; or whoever says that is no agent
        }
        let hooked = Hooked {
            hook: process.id(),
            uid: viewer.uid,
            agent,
            conversation: told.conversation.as_ref().map(|conversation| conversation.id.clone()),
            working_dir: told.cwd.clone(),
        };
        Some((self.heard_by_hook(hooked).await?, told))
    }

    /// The session that `process` is in and that `viewer` may steer.
    async fn session_of(&self, process: &Process, viewer: Viewer) -> Option<SessionName> {
        let ancestry = lineage::ancestry(process);
        let until = self.clock.now().saturating_add(NEWS);
        let reader = self.store.reader();
        loop {
            let changed = reader.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(name) = self.session_above(&ancestry).or_else(|| self.session_by_group(process)) {
                let world = self.store.look();
                let entry = world.sessions.get(&name)?;
                // Who may see it may steer it: it runs as them.
                return viewer.may_see(entry).then_some(name);
            }
            // Ours, and in no session that is known: its keeper has not reported yet.
            let own = std::process::id().cast_signed();
            let left = until - self.clock.now();
            if left.is_zero() || !ancestry.iter().any(|id| id.pid == own) {
                return None;
            }
            let _ = tokio::time::timeout(left, changed).await; // it is looked at again in either case
        }
    }

    fn session_above(&self, ancestry: &[ProcessId]) -> Option<SessionName> {
        let world = self.store.look();
        ancestry.iter().find_map(|id| world.processes.get(id)).cloned()
    }

    /// By its cgroup, where there are groups: for what has lost its way up, because its keeper died.
    fn session_by_group(&self, process: &Process) -> Option<SessionName> {
        let group = lineage::group_below(process.id().pid, self.cgroup.as_deref()?)?;
        let name = SessionName::new(group.strip_prefix("s-")?).ok()?;
        let lives = !process.has_ended().unwrap_or(true);
        (lives && self.store.look().sessions.contains_key(&name)).then_some(name)
    }

    /// Takes in what the agent of `name` said at `at`.
    pub(super) async fn hear(&self, name: &SessionName, told: Told, at: Moment) {
        self.sign_of_life(name, None);
        let wall = self.clock.wall();
        let heard = self.store.edit(name, |entry| {
            let Observed::Running(run) = &mut entry.plan.observed else { return None };
            let (run_id, facts) = (run.run_id, &mut entry.agent);
            if facts.run_id != Some(run_id) {
                *facts = AgentFacts { run_id: Some(run_id), ..AgentFacts::default() };
            }
            let learned = told.conversation.clone();
            let (before, shown) = ((run.said.map(|said| said.activity), run.turn), facts.shown());
            let word = facts.take_in(told, run.turn.in_flight, wall);
            let over = word.and_then(|word| turn::hear(run, word, at));
            entry.memory.turns = entry.memory.turns.max(run.turn.number);
            let news = before != (run.said.map(|said| said.activity), run.turn);
            Some(Heard { run_id, over, news, shown: facts.shown() != shown, learned })
        });
        let Some(Heard { run_id, over, news, shown, learned }) = heard.flatten() else { return };
        if let Some(conversation) = learned {
            let begun = match conversation.origin {
                ConversationOrigin::Startup | ConversationOrigin::Clear => false,
                ConversationOrigin::Resume
                | ConversationOrigin::Compact
                | ConversationOrigin::Fork
                | ConversationOrigin::Current => true,
            };
            self.learn_conversation(name, run_id, &conversation.id, begun);
        }
        if news || shown {
            self.store.touch(name);
        }
        if news {
            self.acted(name);
        }
        if let Some(over) = over {
            // The agent goes on when this is answered. An interruption that is on its way is meant for this turn: it
            // has to arrive before that, or not at all.
            let settled = self.interrupts.settled(name).await;
            self.turn_has_ended(name, run_id, over, settled);
        }
    }

    /// Tells of a turn that has ended, as far as it is known what became of its interruption.
    pub(super) fn turn_has_ended(&self, name: &SessionName, run_id: RunId, over: Over, settled: Settled) {
        match settled {
            Settled::Nothing | Settled::Arrived => self.turn_is_over(name, run_id, over),
            Settled::Dropped => {}
            Settled::Open(open) => open.leave(run_id, over),
        }
    }

    /// Brings decisions up to a session that does something else now.
    pub(super) fn acted(&self, name: &SessionName) {
        self.look_now(name);
        // A turn that is over may let a changed spec in, or a session that waits for its place.
        self.look_at(Key::Fleet, Reason::Observed);
        self.look_at(Key::Session(name.clone()), Reason::Observed);
    }

    /// Tells of a turn that was interrupted, once.
    pub(super) fn turn_is_over(&self, name: &SessionName, run_id: RunId, over: Over) {
        let Some(Interruption { reason, by }) = over.cancel else { return };
        let by = by.map_or_else(String::new, |by| format!(", asked for by uid {} (pid {})", by.uid, by.pid));
        let message = format!("turn {} was cancelled{by}", over.number);
        self.tell(EventKind::TurnCancelled, name, Some(run_id), Some(reason.to_string()), message);
    }
}
