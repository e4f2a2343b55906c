//! What a person may order of a registered session: its end, or a signal. All else takes a keeper.

use crate::{
    api::{
        cause::{Actor, Cause, StopReason},
        event::EventKind,
        name::SessionName,
    },
    controller::Reason,
    daemon::{
        core::{Daemon, Key},
        keepers::Keepers,
        wills::{Verb, VerbError},
    },
    host::{process::is_gone, signals as signal},
    plan::Observed,
};

impl<K: Keepers> Daemon<K> {
    /// Does `verb` to a registered session. `None`: it is none.
    pub fn order_guest(&self, verb: Verb, name: &SessionName, by: Actor) -> Option<Result<bool, VerbError>> {
        if !self.store.look().sessions.get(name)?.plan.is_registered() {
            return None;
        }
        let reason = match verb {
            Verb::Stop => StopReason::ClientStop,
            Verb::Kill => StopReason::ClientKill,
            Verb::Start | Verb::Restart | Verb::Suspend | Verb::Resume => {
                return Some(Err(VerbError::Conflict(not_ours(name))));
            }
        };
        Some(self.end_guest(name, reason, by))
    }

    /// Ends the process of a registered session at a person's order. There is no grace after which more is done: it is
    /// theirs, and so is the decision to kill it.
    fn end_guest(&self, name: &SessionName, reason: StopReason, by: Actor) -> Result<bool, VerbError> {
        let (number, how) = match reason {
            StopReason::ClientKill => (signal::KILL, "killed by `atm kill`"),
            _ => (signal::TERM, "stopped by `atm stop`"),
        };
        let run_id = self.store.look().sessions.get(name).and_then(|entry| entry.plan.observed.run_id());
        // Before the signal: there is no end without its cause.
        let message = format!("{how}, asked for by uid {} (pid {})", by.uid, by.pid);
        self.tell(EventKind::Requested, name, run_id, Some(reason.to_string()), message);
        self.signal_guest(name, number)?;
        let since = self.clock.now();
        self.store.edit(name, |entry| {
            if let Some(run) = entry.plan.observed.run() {
                let (run, cause) = (run.clone(), Cause::asked(reason, by, how));
                entry.plan.observed =
                    Observed::Stopping { run, cause, since, kill_at: since, unkillable: false };
            }
        });
        self.look_at(Key::Fleet, Reason::Requested);
        Ok(true)
    }

    /// Signals the process of a registered session, by its pidfd.
    pub fn signal_guest(&self, name: &SessionName, number: i32) -> Result<(), VerbError> {
        self.see_again(name);
        let held = {
            let registry = self.registry.borrow();
            registry
                .get(name)
                .and_then(|held| Some((held.uid, std::rc::Rc::clone(&held.watch.as_ref()?.exit))))
        };
        let Some((uid, exit)) = held else {
            return Err(VerbError::Conflict(format!(
                "whether the process of {name} lives cannot be seen now: it is not signalled by its number alone"
            )));
        };
        let failed = |source| VerbError::Signal { name: name.clone(), source };
        // It was its user's when it registered. What it has executed since may run as somebody else, whom the kernel
        // would not let that user signal; the daemon may, and must not do it for them.
        match exit.process().user() {
            Ok(now) if now == Some(uid) => {}
            Err(error) if is_gone(&error) => return Ok(()), // there is nobody to signal
            Err(error) => return Err(failed(error)),
            Ok(_) => {
                return Err(VerbError::Conflict(format!(
                    "the process of {name} runs as another user now than the one who registered it: it is not \
                     signalled"
                )));
            }
        }
        exit.process().signal(number).map_err(failed)?;
        // One that its person has stopped, by ctrl-z in its shell, would not hear that it is to end.
        if number == signal::TERM && exit.process().is_stopped().unwrap_or(false) {
            exit.process().signal(signal::CONT).map_err(failed)?;
        }
        Ok(())
    }
}

/// Why what takes a keeper cannot be done.
fn not_ours(name: &SessionName) -> String {
    format!(
        "{name} was started by a person outside atm, which has no keeper for it: it can be listed, watched, stopped \
         and killed; declare it to have it run by atm: `atm run`"
    )
}
