//! Interrupting a turn: that turn, and never the next.
//!
//! Three things make it so. Whether the turn that is meant is in flight is looked at in the same turn of the loop in
//! which its interruption is sent off ([`Daemon::cancel`]). The keeper passes it on at once or not at all, and not after
//! the time that it is given. And an agent that says that its turn is over is answered only when that is decided
//! ([`Interrupts::settled`]): agents begin no turn before their hooks of the last one have returned.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    core::Daemon,
    keepers::{AskError, Keepers},
    memory::StoredCancel,
    wills::VerbError,
};
use crate::{
    agents,
    api::{
        cause::{Actor, Cause},
        hook::{CancelOutcome, CancelParams, CancelReason, Interruption},
        keeper::{Interrupt, Request},
        name::{RunId, SessionName},
        spec::{Agent, Terminal},
    },
    host::signals,
    plan::{
        Desired, Observed,
        turn::{self, Cancel, Over, Wish},
    },
};

/// How long an interruption may be on its way: less than a hook waits for its answer.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

/// A busy machine may be late now and then.
const TRIES: u32 = 20;

/// Interruptions that are on their way to keepers, one a session at most.
#[derive(Debug, Default)]
pub struct Interrupts {
    under_way: RefCell<BTreeMap<SessionName, Rc<Passage>>>,
}

#[derive(Debug)]
struct Passage {
    /// Not on its way any more after this, whatever becomes of its answer.
    until: Instant,
    /// Whether it arrived; absent: not decided.
    arrived: Cell<Option<bool>>,
    decided: Notify,
    /// A turn that ended before it was decided, to be told of by whoever hears that it arrived.
    ended: Cell<Option<(RunId, Over)>>,
}

/// What is known of the interruption of a turn that ended.
#[derive(Debug)]
pub enum Settled {
    /// None is on its way: what was recorded was done.
    Nothing,
    /// It came in time.
    Arrived,
    /// It did not, and will not.
    Dropped,
    /// Its time is over, and what became of it is not known yet.
    Open(Open),
}

/// An interruption whose time is over.
#[derive(Debug)]
pub struct Open(Rc<Passage>);

impl Open {
    /// Leaves the end of the turn that was meant to be told when it is known whether it arrived.
    pub fn leave(self, run_id: RunId, over: Over) {
        self.0.ended.set(Some((run_id, over)));
    }
}

/// One interruption on its way. Dropped before it is said to have arrived, it did not.
struct Sent<'a> {
    interrupts: &'a Interrupts,
    name: &'a SessionName,
    passage: Rc<Passage>,
}

impl Sent<'_> {
    /// Gives the turn whose end is still to be told.
    fn has_arrived(self) -> Option<(RunId, Over)> {
        self.passage.arrived.set(Some(true));
        self.passage.ended.take()
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if self.passage.arrived.get().is_none() {
            self.passage.arrived.set(Some(false));
        }
        self.passage.decided.notify_waiters();
        let mut under_way = self.interrupts.under_way.borrow_mut();
        if under_way.get(self.name).is_some_and(|passage| Rc::ptr_eq(passage, &self.passage)) {
            under_way.remove(self.name);
        }
    }
}

impl Interrupts {
    fn send<'a>(&'a self, name: &'a SessionName) -> Sent<'a> {
        let until = Instant::now() + ON_ITS_WAY;
        let passage = Rc::new(Passage {
            until,
            arrived: Cell::default(),
            decided: Notify::new(),
            ended: Cell::default(),
        });
        self.under_way.borrow_mut().insert(name.clone(), Rc::clone(&passage));
        Sent { interrupts: self, name, passage }
    }

    /// Waits until no interruption is on its way to `name`, and says what became of the last one.
    pub async fn settled(&self, name: &SessionName) -> Settled {
        let passage = self.under_way.borrow().get(name).cloned();
        let Some(passage) = passage else { return Settled::Nothing };
        let decided = passage.decided.notified();
        tokio::pin!(decided);
        decided.as_mut().enable();
        if passage.arrived.get().is_none() {
            let _ = tokio::time::timeout_at(passage.until, decided).await; // then nothing is done any more
        }
        passage.outcome()
    }

    /// What is known of the interruption that is on its way to `name`, without waiting for it.
    pub fn so_far(&self, name: &SessionName) -> Settled {
        self.under_way.borrow().get(name).map_or(Settled::Nothing, Passage::outcome)
    }
}

impl Passage {
    fn outcome(self: &Rc<Self>) -> Settled {
        match self.arrived.get() {
            Some(true) => Settled::Arrived,
            Some(false) => Settled::Dropped,
            None => Settled::Open(Open(Rc::clone(self))),
        }
    }
}

/// What is to be done for a wish.
enum Next {
    Send(Interrupt, u64),
    Nothing(CancelOutcome),
}

impl<K: Keepers> Daemon<K> {
    /// Interrupts a turn that is in flight. Why, and who asked, is kept before anything is sent.
    pub async fn cancel(&self, params: &CancelParams, by: Actor) -> Result<CancelOutcome, VerbError> {
        let name = &params.name;
        let mut meant = params.turn;
        for tried in 0..TRIES {
            // One after the other, so that each is decided.
            self.interrupts.settled(name).await;
            let (by, number) = match self.wish(params, meant, by)? {
                Next::Send(by, number) => (by, number),
                Next::Nothing(_) if tried > 0 => return Ok(CancelOutcome::TooLate),
                Next::Nothing(outcome) => return Ok(outcome),
            };
            meant = Some(number);
            let sent = self.interrupts.send(name);
            let not_after = self.clock.now().saturating_add(ON_ITS_WAY);
            match self.keepers.ask(name, Request::Interrupt { by, not_after }).await {
                Ok(()) => {
                    self.note_sent(name, number);
                    if let Some((run_id, over)) = sent.has_arrived() {
                        self.turn_is_over(name, run_id, over);
                    }
                    return Ok(CancelOutcome::Interrupted);
                }
                Err(AskError::Late { .. }) if tried + 1 < TRIES => self.take_back_cancel(name, number),
                Err(error) => {
                    self.take_back_cancel(name, number);
                    return Err(error.into());
                }
            }
        }
        Ok(CancelOutcome::TooLate)
    }

    /// Whether there is something to interrupt, and by what. Keeps why.
    fn wish(&self, params: &CancelParams, meant: Option<u64>, by: Actor) -> Result<Next, VerbError> {
        let name = &params.name;
        let cause = Interruption { reason: CancelReason::ClientRpc, by: Some(by) };
        let wished = self.store.edit(name, |entry| {
            if matches!(entry.plan.desired, Desired::Registered(_)) {
                return Err(VerbError::Conflict(format!(
                    "{name} was started outside atm: interrupt it in its own terminal"
                )));
            }
            let Observed::Running(run) = &mut entry.plan.observed else {
                return Ok(Next::Nothing(CancelOutcome::NoTurn));
            };
            if params.run_id.is_some_and(|run_id| run_id != run.run_id) {
                return Ok(Next::Nothing(CancelOutcome::Stale));
            }
            Ok(match run.turn.cancel(meant, cause) {
                Wish::NoTurn => Next::Nothing(CancelOutcome::NoTurn),
                Wish::Stale => Next::Nothing(CancelOutcome::Stale),
                Wish::Holds { number } => {
                    entry.memory.cancel = run.turn.cancel.map(|Cancel { cause, sent }| StoredCancel {
                        run_id: run.run_id,
                        turn: number,
                        cause,
                        sent,
                    });
                    let spec = match &entry.plan.desired {
                        Desired::Spec(wanted) => Some(&wanted.spec),
                        Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => None,
                    };
                    let agent = spec.map_or(Agent::Generic, |spec| spec.agent);
                    let by = if spec.is_none_or(|spec| spec.terminal != Terminal::PIPES) {
                        Interrupt::Key(agents::interrupting_key(agent))
                    } else {
                        Interrupt::Signal(signals::INT)
                    };
                    Next::Send(by, number)
                }
            })
        });
        let wished = wished.ok_or_else(|| VerbError::NoSuchSession(name.clone()))??;
        if matches!(wished, Next::Send(..)) {
            self.save_next(name);
            self.store.touch(name);
        }
        Ok(wished)
    }

    fn note_sent(&self, name: &SessionName, number: u64) {
        let now = self.clock.now();
        self.store.edit(name, |entry| {
            if let Observed::Running(run) = &mut entry.plan.observed
                && run.turn.number == number
                && let Some(cancel) = &mut run.turn.cancel
            {
                cancel.sent = Some(now);
                if let Some(stored) = &mut entry.memory.cancel {
                    stored.sent = Some(now);
                }
            }
        });
        self.save(name);
        self.store.touch(name);
    }

    /// Nothing was done about it, so it is no cause of what becomes of the turn.
    fn take_back_cancel(&self, name: &SessionName, number: u64) {
        self.store.edit(name, |entry| {
            if let Observed::Running(run) = &mut entry.plan.observed
                && run.turn.number == number
                && run.turn.interrupted_at().is_none()
            {
                run.turn.cancel = None;
                entry.memory.cancel = None;
            }
        });
        self.save(name);
        self.store.touch(name);
    }

    /// Keeps for the turn of a session that is about to be stopped why it ends.
    pub(super) fn cancel_for(&self, name: &SessionName, cause: &Cause) {
        self.store.edit(name, |entry| {
            if let Observed::Running(run) = &mut entry.plan.observed {
                run.turn.cancel(None, turn::interrupted_by(cause));
            }
        });
    }
}
