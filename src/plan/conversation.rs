//! Which conversation a run continues, and what its end says of that.
//!
//! An agent refuses a conversation by ending at once: it is gone, or belongs to another directory. Other things make it
//! end at once too, a broken config or a network that is not up, and a conversation is not to be lost over them. So a
//! refusal is held against the conversation until a fresh start has fared no better.

use std::time::Duration;

use super::{Ended, restart::End};
use crate::api::{
    conversation::{Conversation, ConversationId},
    name::RunId,
    record::Exit,
    spec::{Resume, SessionSpec},
};

/// How many conversations of a session are remembered.
pub const KEPT: usize = 8;

/// A run that ends later than this was no refusal. A real one takes half a second, and some on a machine that is busy.
pub const REFUSED_WITHIN: Duration = Duration::from_secs(15);

/// The conversation that a run with `spec` continues: the last one, if it is this agent's and of this directory, and
/// anything was said in it.
///
/// Never an earlier one: what a person has left behind is not for atm to bring back.
pub fn to_continue<'a>(known: &'a [Conversation], spec: &SessionSpec) -> Option<&'a ConversationId> {
    let last = known.last()?;
    let fits = match spec.resume {
        Resume::Auto => {
            last.begun && !last.refused && last.agent == spec.agent && last.working_dir == spec.working_dir
        }
        Resume::Never => false,
    };
    fits.then_some(&last.id)
}

/// Learns which conversation a run is in. `false`: nothing that was not known.
pub fn learn(known: &mut Vec<Conversation>, named: Conversation) -> bool {
    if known.last().is_some_and(|last| tells_nothing(last, &named.id, named.run_id, named.begun)) {
        return false;
    }
    let begun = named.begun || known.iter().any(|one| one.id == named.id && one.begun);
    known.retain(|one| one.id != named.id);
    known.push(Conversation { begun, ..named });
    known.drain(..known.len().saturating_sub(KEPT));
    true
}

/// Whether it is known that this run is in this conversation. Each of an agent's events says so, and nearly none is news.
pub fn tells_nothing(last: &Conversation, id: &ConversationId, run_id: RunId, begun: bool) -> bool {
    last.id == *id && last.run_id == run_id && (last.begun || !begun) && !last.refused
}

/// Holds the end of a run against the conversation that it was to continue, or no longer, and says whether the run was
/// refused: see [`Ended::refused`].
pub fn judge(known: &mut [Conversation], ended: &Ended) -> bool {
    let spoke = known.iter().any(|one| one.run_id == ended.run_id);
    let at_once = ended.kind() == End::Failed
        && ended.cause.is_none()
        && matches!(ended.exit, Some(Exit::Code(_)))
        && ended.ran < REFUSED_WITHIN
        && !spoke;
    let Some(last) = known.last_mut().filter(|_| at_once) else { return false };
    let refused = ended.continued.as_ref().is_some_and(|continued| *continued == last.id);
    last.refused = refused || (last.refused && ended.continued.is_some());
    refused
}

#[cfg(test)]
mod tests;
