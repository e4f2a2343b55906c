//! Overrides of a run: limits and the agent's model, changed while it lives and gone with it.
//!
//! They are remembered with the session, and published in its directory for its agent. That file is its user's to read,
//! and so to write as well: what is in force is never read from it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    core::{Daemon, Key},
    keepers::Keepers,
    store::Limits,
    view::Viewer,
    wills::VerbError,
};
use crate::{
    api::{
        cause::Actor,
        event::EventKind,
        name::SessionName,
        overrides::{Overrides, Patch, RunOverrides},
        spec::{SessionSpec, WrittenSpec},
    },
    controller::Reason,
    plan::{Desired, Observed},
};

/// Why nothing was overridden.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// The change makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It is not this caller's to change.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be done now.
    #[error(transparent)]
    Verb(#[from] VerbError),
}

impl<K: Keepers> Daemon<K> {
    /// Changes the overrides of the run of `name` that lives; all are taken back first where `clear`. The answer says
    /// whether anything changed by it.
    ///
    /// A limit may be raised by whoever could write it into the spec: its file's owner, and the privileged.
    pub async fn override_run(
        &self,
        name: &SessionName,
        clear: bool,
        keys: Map<String, Value>,
        viewer: Viewer,
        by: Actor,
    ) -> Result<bool, OverrideError> {
        let patch = Patch::parse(keys).map_err(|error| OverrideError::Invalid(error.to_string()))?;
        let (before, overrides) = {
            let world = self.store.look();
            let entry = world.sessions.get(name).ok_or_else(|| VerbError::NoSuchSession(name.clone()))?;
            if entry.plan.is_registered() {
                return Err(VerbError::Conflict(format!(
                    "{name} was started outside atm: nothing of it is atm's to override"
                ))
                .into());
            }
            let Observed::Running(run) = &entry.plan.observed else {
                return Err(VerbError::Conflict(format!(
                    "{name} is not running, and only a run has overrides: `atm start {name}` starts it"
                ))
                .into());
            };
            let before = entry.memory.overrides.clone().filter(|before| before.run_id == run.run_id);
            let before =
                before.unwrap_or(RunOverrides { run_id: run.run_id, overrides: Overrides::default() });
            let base = if clear { Overrides::default() } else { before.overrides.clone() };
            let overrides = base.with(patch);
            let owns = entry.memory.spec.as_ref().is_some_and(|spec| spec.owner == viewer.uid);
            let meant = entry.written.as_ref().map(|written| written.resolve(name, &world.config));
            if meant.is_none() && !owns && !viewer.privileged {
                return Err(OverrideError::Forbidden(format!(
                    "the spec of {name} cannot be read now, so what would raise a limit of it is not known: only \
                     the owner of its spec file may override it"
                )));
            }
            let raised = meant.and_then(|spec| overrides.raises(&spec, &before.overrides));
            if let Some(limit) = raised.filter(|_| !owns && !viewer.privileged) {
                return Err(OverrideError::Forbidden(format!(
                    "{limit} of {name} may be lowered here, and raised only by the owner of its spec file"
                )));
            }
            (before, overrides)
        };
        if before.overrides == overrides {
            return Ok(false);
        }
        let message = match overrides.to_string() {
            none if none.is_empty() => format!("overrides taken back by uid {} (pid {})", by.uid, by.pid),
            told => format!("overridden by uid {} (pid {}): {told}", by.uid, by.pid),
        };
        let now = RunOverrides { run_id: before.run_id, overrides };
        self.set_overrides(name, now.clone());
        if let Err(source) = self.save_now(name).await {
            // What could not be remembered is not in force: the next daemon would not know of it.
            let in_force = self.store.look().sessions.get(name).and_then(|it| it.memory.overrides.clone());
            if in_force.is_none_or(|in_force| in_force == now) {
                self.set_overrides(name, before);
            }
            return Err(VerbError::State { name: name.clone(), source }.into());
        }
        // What ended meanwhile has no directory to publish in, and the next run has no part in this.
        let runs = self.store.look().sessions.get(name).and_then(|entry| entry.plan.observed.run_id());
        if runs == Some(now.run_id) {
            self.publish(name, &now).await;
        }
        self.tell(EventKind::Requested, name, Some(now.run_id), Some("Override".into()), message);
        self.store.touch(name);
        self.look_at(Key::Fleet, Reason::Requested);
        self.look_at(Key::Session(name.clone()), Reason::Requested);
        Ok(true)
    }

    fn set_overrides(&self, name: &SessionName, overrides: RunOverrides) {
        let of_run = Some(overrides).filter(|it| !it.overrides.is_empty());
        self.store.edit(name, |entry| entry.memory.overrides = of_run);
        self.refresh_spec(name);
    }

    /// Has the file written that the session's agent reads. Where that fails they are in force all the same.
    fn publish(&self, name: &SessionName, of_run: &RunOverrides) -> impl Future<Output = ()> + 'static {
        let uid = self.store.look().sessions.get(name).and_then(|entry| entry.run?.uid).unwrap_or(self.uid);
        let (path, bytes) =
            (self.paths.run(name).overrides(), serde_json::to_vec(of_run).unwrap_or_default());
        let written = self.writer.publish(path.clone(), bytes, uid);
        async move {
            if let Err(error) = written.await {
                tracing::warn!(%error, path = %path.display(), "cannot publish overrides");
            }
        }
    }

    /// Takes up what was overridden of a run that was found living. Its directory may have been made anew since.
    pub(super) fn take_up_overrides(&self, name: &SessionName) {
        self.refresh_spec(name);
        let known = {
            let world = self.store.look();
            world.sessions.get(name).and_then(|entry| {
                let run_id = entry.plan.observed.run_id();
                entry.memory.overrides.clone().filter(|of_run| run_id == Some(of_run.run_id))
            })
        };
        if let Some(of_run) = known {
            drop(self.publish(name, &of_run));
        }
    }

    /// What `written` means for the run of `name` that lives, or for the next one.
    pub fn resolve(&self, name: &SessionName, written: &WrittenSpec) -> Arc<SessionSpec> {
        let world = self.store.look();
        let mut spec = written.resolve(name, &world.config);
        let entry = world.sessions.get(name);
        if let Some(entry) = entry
            && let Some(of_run) = &entry.memory.overrides
            && entry.plan.observed.run_id() == Some(of_run.run_id)
        {
            of_run.overrides.apply(&mut spec);
        }
        Arc::new(spec)
    }

    /// Brings the spec that is in force up to what overrides it. Says whether that changed it.
    pub(super) fn refresh_spec(&self, name: &SessionName) -> bool {
        let written = self.store.look().sessions.get(name).and_then(|entry| entry.written.clone());
        let Some(written) = written else { return false };
        let effective = self.resolve(name, &written);
        let changed = self.store.edit(name, |entry| match &mut entry.plan.desired {
            Desired::Spec(wanted) if wanted.spec != effective => {
                wanted.spec = effective;
                true
            }
            Desired::Spec(_)
            | Desired::Registered(_)
            | Desired::Gone
            | Desired::NeverGood
            | Desired::Unseen => false,
        });
        changed == Some(true)
    }

    /// Whether the keeper of a running session holds it to other limits than its spec's, as far as they are in force.
    pub(super) fn limits_changed(&self, name: &SessionName) -> bool {
        let world = self.store.look();
        world.sessions.get(name).is_some_and(|entry| match (&entry.plan.observed, &entry.plan.desired) {
            (Observed::Running(_), Desired::Spec(wanted)) if entry.verdict.is_some() => {
                entry.limits.is_some_and(|limits| limits != Limits::of(&wanted.spec))
            }
            _ => false,
        })
    }
}
