//! What an agent said of itself beside what it does, and how that bears on what it says next.

use std::collections::BTreeSet;

use crate::{
    agents::{Subagent, Told, Trouble},
    api::{
        hook::{Condition, ConditionKind, Usage, Word},
        name::RunId,
        time::Timestamp,
    },
};

/// Helpers of one agent that are told apart. Of more it counts only that there are some.
const MOST_SUBAGENTS: usize = 256;

/// A limit with so much of it used up keeps the agent from working.
const USED_UP: f64 = 99.5;

/// What an agent said of itself that only people and programs want to know, and what is needed to understand its next
/// words. Of one run, and gone with the daemon: its next words bring it back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentFacts {
    /// Which run.
    pub run_id: Option<RunId>,
    /// What it uses.
    pub usage: Option<Usage>,
    /// What keeps it from working.
    pub condition: Option<Condition>,
    /// Where it works now.
    pub cwd: Option<String>,
    /// Its helpers that work.
    pub subagents: BTreeSet<String>,
    /// The turn that it is in, by its own id.
    pub turn_id: Option<String>,
}

impl AgentFacts {
    /// Keeps what `told` says, and gives the word as it is to be heard, knowing what was said before.
    pub fn take_in(&mut self, told: Told, in_flight: bool, now: Timestamp) -> Option<Word> {
        match told.subagent {
            Some(Subagent::Started(id)) if self.subagents.len() < MOST_SUBAGENTS => {
                self.subagents.insert(id);
            }
            Some(Subagent::Stopped(id)) => {
                self.subagents.remove(&id);
            }
            Some(Subagent::Started(_)) | None => {}
        }
        if let Some(usage) = told.usage {
            self.usage = Some(Usage { at: Some(now), ..usage });
        }
        match told.trouble {
            Trouble::Untold => {}
            Trouble::Over => self.condition = None,
            Trouble::Is(condition) => {
                let resets_at = condition.resets_at.or_else(|| self.reset_of(condition.kind, now));
                self.condition = Some(Condition { since: Some(now), resets_at, ..condition });
            }
        }
        if told.cwd.is_some() {
            self.cwd = told.cwd;
        }
        let known = self.turn_id.is_some() && told.turn_id.is_some();
        let same = known && self.turn_id == told.turn_id;
        match told.word? {
            // Of a turn before the one that it is in.
            _ if told.late && known && !same => Some(Word::Lives),
            // Its hooks are installed twice.
            Word::Begins if same && in_flight => Some(Word::Works),
            Word::Begins => {
                self.turn_id = told.turn_id;
                Some(Word::Begins)
            }
            Word::Ends { background: None } => {
                Some(Word::Ends { background: Some(!self.subagents.is_empty()) })
            }
            // It knows best: the end of a helper may never have been told.
            word @ (Word::Ends { background: Some(false) } | Word::Opens) => {
                self.subagents.clear();
                Some(word)
            }
            word => Some(word),
        }
    }

    /// What of it people are shown. That the same was told again is no news.
    pub fn shown(&self) -> impl PartialEq + use<> {
        let usage = self.usage.clone().map(|usage| Usage { at: None, ..usage });
        (usage, self.condition.clone(), self.subagents.len())
    }

    /// When the limit begins anew that keeps it from working, as far as its usage tells.
    fn reset_of(&self, kind: ConditionKind, now: Timestamp) -> Option<Timestamp> {
        let usage = self.usage.as_ref().filter(|_| kind == ConditionKind::RateLimited)?;
        let used_up = usage.limits.iter().filter(|limit| limit.used_percent >= USED_UP);
        used_up.filter_map(|limit| limit.resets_at).filter(|at| *at > now).max()
    }

    /// What keeps it from working at `now`: what has passed by itself is over.
    pub fn condition_at(&self, now: Timestamp) -> Option<&Condition> {
        self.condition.as_ref().filter(|condition| condition.resets_at.is_none_or(|at| at > now))
    }
}
