//! Turns: what follows from an agent's words.
//!
//! A turn is what an agent does for one prompt. It has a number that no other turn of the session has, so that whoever
//! asks for its interruption means it and no later one. An agent's words come one by one ([`Word`]); [`hear`] takes
//! one in, and is the only place where a turn begins. Turns end by a word, by what is seen ([`lapse`]), or with the
//! run ([`close`]); how one ended before the agent was done with it is handed out there, once.

use std::time::Duration;

use super::{
    Run,
    activity::{self, Said},
};
use crate::api::{
    cause::{Cause, StopReason},
    hook::{CancelReason, Interruption, Word},
    status::Activity,
    time::Moment,
};

/// The turn that a run is in, or was in last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// Counts up over all runs of a session; 0: none was heard of.
    pub number: u64,
    /// Whether it goes on.
    pub in_flight: bool,
    /// When it began; of one that is over: when it ended. Absent before the first.
    pub since: Option<Moment>,
    /// Why it is to end, or ended, before the agent was done with it.
    pub cancel: Option<Cancel>,
    /// Words may have been missed since the last one that was heard.
    pub unheard: bool,
}

/// The interruption of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel {
    /// Why, and who asked: recorded before anything is sent.
    pub cause: Interruption,
    /// When it was sent last; absent: not yet.
    pub sent: Option<Moment>,
}

/// A turn that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub number: u64,
    /// Why it ended before the agent was done with it.
    pub cancel: Option<Interruption>,
}

/// What becomes of a wish to interrupt a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It holds: this turn is to be interrupted.
    Holds {
        /// Which.
        number: u64,
    },
    /// No turn is in flight.
    NoTurn,
    /// Another turn is in flight than the one that was meant.
    Stale,
}

impl Turn {
    /// Of a run whose session was in so many turns before.
    pub fn after(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// When an interruption of it was sent.
    pub fn interrupted_at(&self) -> Option<Moment> {
        self.cancel.and_then(|cancel| cancel.sent)
    }

    fn begin(&mut self, at: Moment) {
        let number = self.number.saturating_add(1);
        *self = Self { number, in_flight: true, since: Some(at), cancel: None, unheard: false };
    }

    fn end(&mut self, at: Moment) -> Option<Over> {
        if !self.in_flight {
            return None;
        }
        (self.in_flight, self.since) = (false, Some(at));
        Some(Over { number: self.number, cancel: self.cancel.map(|cancel| cancel.cause) })
    }

    /// Whether turn `meant` can be interrupted; absent: whichever is in flight. Where it can, why is kept: of several
    /// causes the first.
    pub fn cancel(&mut self, meant: Option<u64>, cause: Interruption) -> Wish {
        if meant.is_some_and(|meant| meant != self.number) {
            return Wish::Stale;
        }
        if !self.in_flight {
            return Wish::NoTurn;
        }
        self.cancel.get_or_insert(Cancel { cause, sent: None });
        Wish::Holds { number: self.number }
    }
}

/// Takes in what the agent of `run` said at `at`, and gives the turn that ended by it. What is older than the last word
/// changes nothing: it was overtaken on its way.
pub fn hear(run: &mut Run, word: Word, at: Moment) -> Option<Over> {
    if run.said.is_some_and(|said| said.at > at) {
        return None;
    }
    let doing = run.said.map_or(Activity::Unknown, |said| said.activity);
    let (over, activity) = match word {
        Word::Begins => {
            let over = run.turn.end(at);
            run.turn.begin(at);
            (over, Activity::Busy)
        }
        Word::Works => {
            if !run.turn.in_flight {
                run.turn.begin(at);
            }
            (None, Activity::Busy)
        }
        Word::Helps if run.turn.in_flight => (None, Activity::Busy),
        Word::Helps => match doing {
            Activity::Busy | Activity::Waiting => (None, Activity::Busy),
            Activity::Idle | Activity::Unknown => return lives(run, at),
        },
        Word::Waits => (None, Activity::Waiting),
        Word::Ends { background } => {
            let goes_on = background == Some(true);
            (run.turn.end(at), if goes_on { Activity::Busy } else { Activity::Idle })
        }
        Word::Prompts => match (run.turn.end(at), doing) {
            (Some(over), _) => (Some(over), Activity::Idle),
            (None, Activity::Waiting) => (None, Activity::Idle),
            (None, Activity::Busy | Activity::Idle | Activity::Unknown) => return lives(run, at),
        },
        // It has nothing to do yet, but what it was started with may come as its prompt at once.
        Word::Opens => (run.turn.end(at), Activity::Unknown),
        Word::Lives => return lives(run, at),
    };
    run.turn.unheard = false;
    run.said = Some(Said { activity, at });
    over
}

/// A sign of life says nothing against a word. Where there was none yet, idle time begins anew.
fn lives(run: &mut Run, at: Moment) -> Option<Over> {
    if run.said.is_none_or(|said| said.activity == Activity::Unknown) {
        run.said = Some(Said { activity: Activity::Unknown, at });
    }
    None
}

/// Ends a turn that is over by what is seen ([`activity::is_moot`]), and forgets the word that says otherwise.
pub fn lapse(run: &mut Run) -> Option<Over> {
    if !activity::is_moot(run) {
        return None;
    }
    let at = run.seen.map_or(run.since, |seen| seen.quiet_since);
    run.said = run.said.map(|said| Said { activity: Activity::Unknown, ..said });
    run.turn.end(at)
}

/// Ends the turn of a run that is over itself.
pub fn close(run: &mut Run, at: Moment) -> Option<Over> {
    run.turn.end(at)
}

/// What a stop of the session is to a turn that it interrupts.
pub fn interrupted_by(cause: &Cause) -> Interruption {
    let reason = match cause.reason {
        StopReason::ClientStop | StopReason::ClientKill | StopReason::ClientRestart => {
            CancelReason::AdminKill
        }
        StopReason::Suspended if cause.by.is_some() => CancelReason::AdminKill,
        StopReason::Suspended
        | StopReason::IdleTimeout
        | StopReason::MaxAgeExceeded
        | StopReason::SessionMemory
        | StopReason::MemoryPressure
        | StopReason::MaxSessions
        | StopReason::SlotTaken
        | StopReason::ProcessLimit
        | StopReason::SpecChanged
        | StopReason::SpecRemoved
        | StopReason::Shutdown
        | StopReason::KeeperLost => CancelReason::SessionRemoved,
    };
    Interruption { reason, by: cause.by }
}

/// Whether `run` may finish what it is in before a budget ends it: a turn, whether it works or waits for an answer in
/// the middle of it, or what goes on behind one.
pub fn is_under_way(run: &Run) -> bool {
    match activity::doing(run) {
        Activity::Busy => true,
        Activity::Waiting => run.turn.in_flight,
        Activity::Idle | Activity::Unknown => false,
    }
}

/// Until when a budget that is exceeded waits for the end of what `run` is in; `None`: it waits for nothing.
pub fn waited_for_until(run: &Run, grace: Duration) -> Option<Moment> {
    let since = run.turn.since.or(run.said.map(|said| said.at)).unwrap_or(run.since);
    is_under_way(run).then(|| since.saturating_add(grace))
}

#[cfg(test)]
mod tests;
