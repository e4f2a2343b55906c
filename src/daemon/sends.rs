//! Typing for clients of the socket, as `atm send` types.
//!
//! A keeper answers when the program's terminal has taken all, which may be never: it is asked on a thread, and for a
//! bounded time. Of those who send to one session each has its turn, so that one's text is not between another's and its
//! enter; and one user's sends do not take the threads by which keepers are asked to stop.
//!
//! Nothing of it is an event, and what is typed is in no log: it may be a password.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{
    core::Daemon,
    keepers::{ANSWER_WITHIN, AskError, Keepers},
    view::Viewer,
    wills::VerbError,
};
use crate::{
    api::{
        attach::Typed,
        keeper::Request,
        name::{RunId, SessionName},
        send::{AFTER_TEXT, Message, MessageError, SendParams, untaken},
    },
    keeper::client::ClientError,
    plan::Observed,
};

/// For a turn: as long as the one before may take for its text. With both parts of a message it is less than a request
/// may take in all.
const TURN: Duration = ANSWER_WITHIN;

/// Sends of one user at once.
const OF_ONE_USER: usize = 64;

/// Why not all was typed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is nothing that could be typed.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Nothing was typed.
    #[error(transparent)]
    Verb(#[from] VerbError),
    /// The program took some of it at most.
    #[error("{}", untaken(.0))]
    Untaken(SessionName),
    /// The rest was typed.
    #[error("all was typed but the enter")]
    Enter(#[source] Box<SendError>),
}

/// Whose turn it is.
#[derive(Debug)]
pub struct Sends {
    of_session: Turns<SessionName>,
    of_user: Turns<u32>,
}

impl Default for Sends {
    fn default() -> Self {
        Self { of_session: Turns::new(1), of_user: Turns::new(OF_ONE_USER) }
    }
}

/// So many at once of each; others wait in the order in which they came.
#[derive(Debug)]
struct Turns<T> {
    at_once: usize,
    taken: RefCell<BTreeMap<T, Weak<Semaphore>>>,
}

impl<T: Ord + Clone> Turns<T> {
    fn new(at_once: usize) -> Self {
        Self { at_once, taken: RefCell::default() }
    }

    /// Waits for a turn, which lasts until it is dropped. `None` is never given: nothing ends the turns.
    async fn take(&self, of: &T) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut taken = self.taken.borrow_mut();
            taken.retain(|_, turns| turns.strong_count() > 0);
            taken.get(of).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turns = Arc::new(Semaphore::new(self.at_once));
                taken.insert(of.clone(), Arc::downgrade(&turns));
                turns
            })
        };
        turns.acquire_owned().await.ok()
    }
}

impl<K: Keepers> Daemon<K> {
    /// Types into a session that runs and that `viewer` may steer. Done when its program's terminal has taken all; says
    /// whether that was anything.
    pub async fn send(&self, params: &SendParams, viewer: Viewer) -> Result<bool, SendError> {
        let name = &params.name;
        let Message { typed, enter } = Message::new(params.text.as_deref(), &params.keys, params.enter)?;
        let run_id = self.run_to_type_into(name, viewer)?;
        let Sends { of_session, of_user } = &self.sends;
        let turn = async { (of_session.take(name).await, of_user.take(&viewer.uid).await) };
        let _turn = timeout(TURN, turn).await.map_err(|_| {
            VerbError::Conflict(format!(
                "nothing was typed into {name}: what was sent before is still being typed; try again"
            ))
        })?;
        self.is_still(name, viewer, run_id)?;
        let changed = !typed.is_empty() || enter.is_some();
        self.type_in(name, typed).await?;
        if let Some(enter) = enter {
            sleep(AFTER_TEXT).await;
            let pressed = match self.is_still(name, viewer, run_id) {
                Ok(()) => self.type_in(name, enter).await,
                Err(error) => Err(error.into()),
            };
            pressed.map_err(|error| SendError::Enter(Box::new(error)))?;
        }
        Ok(changed)
    }

    async fn type_in(&self, name: &SessionName, typed: Vec<Typed>) -> Result<(), SendError> {
        self.keepers.ask(name, Request::Type { typed }).await.map_err(|error| match error {
            AskError::Unreachable { source: ClientError::Silent(_), .. } => SendError::Untaken(name.clone()),
            error => VerbError::Ask(error).into(),
        })
    }

    /// Fails where what is sent would meet another run, or another user's.
    fn is_still(&self, name: &SessionName, viewer: Viewer, meant: Option<RunId>) -> Result<(), VerbError> {
        Err(VerbError::Conflict(match self.run_to_type_into(name, viewer)? {
            Some(run) if Some(run) == meant => return Ok(()),
            Some(_) => format!("the run of {name} that was meant has ended, and another one runs"),
            None => format!(
                "the keeper of {name} did not answer lately: nobody knows which run that is; try again"
            ),
        }))
    }

    /// The run that has a keeper; absent: one that is not known, as its keeper did not answer lately.
    fn run_to_type_into(&self, name: &SessionName, viewer: Viewer) -> Result<Option<RunId>, VerbError> {
        let world = self.store.look();
        let entry = world.sessions.get(name).filter(|entry| viewer.may_see(entry));
        let entry = entry.ok_or_else(|| VerbError::NoSuchSession(name.clone()))?;
        if entry.plan.is_registered() {
            return Err(VerbError::Conflict(format!(
                "{name} was started outside atm: type in its own terminal"
            )));
        }
        match &entry.plan.observed {
            Observed::Running(_) | Observed::Stopping { .. } | Observed::Unknown { .. } => {
                Ok(entry.plan.observed.run_id())
            }
            Observed::Starting { .. } => {
                Err(VerbError::Conflict(format!("{name} is starting: send when it is running")))
            }
            Observed::Absent => {
                let (phase, reason) = (entry.shown.phase, entry.shown.reason);
                Err(VerbError::Conflict(format!(
                    "{name} does not run: {phase} ({reason}); `atm start {name}`, or the method `start`, starts it"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn each_has_its_turn_and_nothing_is_kept_of_those_who_had_it() {
        let turns = Turns::new(2);
        let take = |of: u32| turns.take(&of).now_or_never().flatten();
        let (first, second) = (take(1), take(1));
        assert!(first.is_some() && second.is_some() && take(1).is_none());
        assert!(take(2).is_some(), "others have turns of their own");
        drop(first);
        let third = take(1);
        assert!(third.is_some() && take(1).is_none());
        drop((second, third));
        assert!(take(3).is_some());
        assert_eq!(turns.taken.borrow().len(), 1);
    }
}
