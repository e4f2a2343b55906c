//! What people ask for by hand: recorded durably, then reconciled like everything else.

use super::{
    core::{Daemon, Key},
    keepers::{AskError, Keepers},
};
use crate::{
    api::{cause::Actor, event::EventKind, keeper::Request, name::SessionName, time::Moment},
    controller::Reason,
    plan::{Desired, Observed, RunRequest, Session, Will},
};

/// A verb on one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Run it, whatever its last result; lifts a stop.
    Start,
    /// Not to run until started, or its spec changes.
    Stop,
    /// The same, with SIGKILL now.
    Kill,
    /// Another run in place of this one.
    Restart,
    /// Not to run until resumed.
    Suspend,
    /// Lifts a suspension.
    Resume,
}

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// There is no such session.
    #[error("no such session: {0}")]
    NoSuchSession(SessionName),
    /// It is not in a state that allows it; the text says what to do instead.
    #[error("{0}")]
    Conflict(String),
    /// No spec of it was ever good.
    #[error("its spec is not valid: mend the file, or see `atm describe {0}`")]
    InvalidSpec(SessionName),
    /// The will could not be recorded, so nothing was done.
    #[error("cannot record what was asked for {name}")]
    State {
        /// The session.
        name: SessionName,
        /// The system's words.
        source: std::io::Error,
    },
    /// The keeper gave no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The process of a registered session cannot be signalled.
    #[error("cannot signal the process of {name}")]
    Signal {
        /// The session.
        name: SessionName,
        /// The system's words.
        source: std::io::Error,
    },
}

/// An error with its causes, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl<K: Keepers> Daemon<K> {
    /// Records `verb` for `name` and has it looked at. The answer says whether anything changed by it.
    ///
    /// It is on the disk before it is answered, and so survives a power cut.
    pub async fn order(&self, verb: Verb, name: &SessionName, by: Actor) -> Result<bool, VerbError> {
        if let Some(done) = self.order_guest(verb, name, by) {
            return done;
        }
        let before = self.store.edit(name, |entry| Asked::of(&entry.plan));
        let changed = self
            .store
            .edit(name, |entry| apply(verb, entry, by, name))
            .ok_or_else(|| VerbError::NoSuchSession(name.clone()))??;
        let asked = self.store.edit(name, |entry| Asked::of(&entry.plan));
        if changed {
            if let Err(source) = self.save_durably(name).await {
                // What could not be recorded was not done: it would be forgotten by the next daemon.
                if let Some(before) = before {
                    self.store.edit(name, |entry| {
                        // What somebody else has asked for since stands.
                        if asked.is_none_or(|asked| asked == Asked::of(&entry.plan)) {
                            before.put_back(&mut entry.plan);
                        }
                    });
                    self.save(name); // what was to be written before is, as soon as it can be
                }
                return Err(VerbError::State { name: name.clone(), source });
            }
            let message =
                format!("{} asked for by uid {} (pid {})", word(verb).to_lowercase(), by.uid, by.pid);
            self.tell(EventKind::Requested, name, None, Some(word(verb).into()), message);
            self.store.touch(name);
        }
        self.look_at(Key::Fleet, Reason::Requested);
        self.look_at(Key::Session(name.clone()), Reason::Requested);
        Ok(changed)
    }

    /// Sends `signal` to every process of a session. No stop, and no will.
    pub async fn signal(&self, name: &SessionName, signal: i32) -> Result<(), VerbError> {
        {
            let world = self.store.look();
            let entry = world.sessions.get(name).ok_or_else(|| VerbError::NoSuchSession(name.clone()))?;
            if !matches!(entry.plan.observed, Observed::Running(_) | Observed::Stopping { .. }) {
                return Err(VerbError::Conflict(format!(
                    "{name} is not running: there is nothing to signal"
                )));
            }
            if entry.plan.is_registered() {
                drop(world);
                return self.signal_guest(name, signal);
            }
        }
        Ok(self.keepers.ask(name, Request::Signal { signal }).await?)
    }
}

/// All that a verb changes.
#[derive(PartialEq)]
struct Asked {
    will: Option<Will>,
    start: bool,
    restart: Option<RunRequest>,
    not_before: Option<Moment>,
}

impl Asked {
    fn of(session: &Session) -> Self {
        let will = match &session.desired {
            Desired::Spec(wanted) => Some(wanted.will),
            Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => None,
        };
        let history = &session.history;
        Self {
            will,
            start: history.start_requested,
            restart: history.restart_requested,
            not_before: history.not_before,
        }
    }

    fn put_back(self, session: &mut Session) {
        if let (Some(will), Desired::Spec(wanted)) = (self.will, &mut session.desired) {
            wanted.will = will;
        }
        session.history.start_requested = self.start;
        session.history.restart_requested = self.restart;
        session.history.not_before = self.not_before;
    }
}

fn apply(
    verb: Verb,
    entry: &mut super::store::Entry,
    by: Actor,
    name: &SessionName,
) -> Result<bool, VerbError> {
    let live = entry.plan.observed.is_live();
    let stopping = matches!(entry.plan.observed, Observed::Stopping { .. });
    let run_id = entry.plan.observed.run_id();
    if matches!(entry.plan.desired, Desired::Unseen) {
        return Err(VerbError::Conflict(format!(
            "the spec file of {name} has not been seen since the daemon was started: see `atm status`"
        )));
    }
    let Desired::Spec(wanted) = &mut entry.plan.desired else {
        return Err(VerbError::InvalidSpec(name.clone()));
    };
    let history = &mut entry.plan.history;
    let before = (wanted.will, history.start_requested, history.restart_requested);
    let suspended = match wanted.will {
        Will::Suspended { .. } => Some(format!("{name} is suspended: `atm resume {name}` lifts that")),
        Will::AsDeclared | Will::Stopped { .. } if wanted.spec.suspend => {
            Some(format!("the spec of {name} says `suspend: true`: `atm edit {name}` to change that"))
        }
        Will::AsDeclared | Will::Stopped { .. } => None,
    };
    match verb {
        Verb::Start | Verb::Restart => {
            if let Some(why) = suspended {
                return Err(VerbError::Conflict(why));
            }
            wanted.will = Will::AsDeclared;
            if live && !stopping {
                if verb == Verb::Restart {
                    history.restart_requested = run_id.map(|run_id| RunRequest { run_id, by });
                }
            } else {
                history.start_requested = true;
                // A person who asks does not wait for the rest of a back-off.
                history.not_before = None;
            }
        }
        Verb::Stop | Verb::Kill => {
            if matches!(wanted.will, Will::Suspended { .. }) && !live {
                return Ok(false); // it does not run, and what keeps it from running is stronger
            }
            history.start_requested = false;
            history.restart_requested = None;
            wanted.will = match wanted.will {
                Will::Stopped { by, now } if verb == Verb::Stop => Will::Stopped { by, now },
                Will::Stopped { by, now: true } => Will::Stopped { by, now: true },
                Will::Stopped { .. } | Will::AsDeclared | Will::Suspended { .. } => {
                    Will::Stopped { by, now: verb == Verb::Kill }
                }
            };
        }
        Verb::Suspend => {
            history.start_requested = false;
            history.restart_requested = None;
            if !matches!(wanted.will, Will::Suspended { .. }) {
                wanted.will = Will::Suspended { by };
            }
        }
        Verb::Resume => match wanted.will {
            Will::Suspended { .. } => wanted.will = Will::AsDeclared,
            Will::AsDeclared | Will::Stopped { .. } => {
                return match suspended {
                    Some(why) => Err(VerbError::Conflict(why)),
                    None => Ok(false),
                };
            }
        },
    }
    Ok(before != (wanted.will, history.start_requested, history.restart_requested))
}

/// The reason of its event.
fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "Start",
        Verb::Stop => "Stop",
        Verb::Kill => "Kill",
        Verb::Restart => "Restart",
        Verb::Suspend => "Suspend",
        Verb::Resume => "Resume",
    }
}
