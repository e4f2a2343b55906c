//! A session as people and programs see it.

use super::{
    clock::Clock,
    paths::Paths,
    store::{Entry, SpecError, World},
};
use crate::{
    api::{
        control::{Counts, HealthResult},
        diagnose::Diagnostics,
        name::SessionName,
        status::{ExitView, Origin, SessionStatus, SessionView},
    },
    plan::{
        Desired, Observed, Verdict, Wait,
        summary::{self, Overview},
    },
};

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// Of the peer, as the kernel tells it.
    pub uid: u32,
    /// Root, or the daemon's own user.
    pub privileged: bool,
}

impl Viewer {
    /// Whether `entry` is this viewer's to see and steer: it runs, or would run, as them.
    pub fn may_see(self, entry: &Entry) -> bool {
        let runs_as = entry.run.and_then(|run| run.uid);
        let owner = entry.memory.spec.as_ref().map(|spec| spec.owner);
        self.privileged || runs_as.or(owner) == Some(self.uid)
    }

    /// Whether this viewer may read what is secret in `entry`: root, or the user it runs as.
    fn may_read_secrets(self, entry: &Entry) -> bool {
        let runs_as = entry.run.and_then(|run| run.uid);
        let owner = entry.memory.spec.as_ref().map(|spec| spec.owner);
        self.uid == 0 || runs_as.or(owner) == Some(self.uid)
    }
}

/// What stands in place of a value that the viewer may not read.
pub const HIDDEN: &str = "(hidden)";

/// One session for one viewer.
pub fn session(
    name: &SessionName,
    entry: &Entry,
    viewer: Viewer,
    clock: &Clock,
    paths: &Paths,
) -> SessionView {
    let (spec, generation) = match &entry.plan.desired {
        Desired::Spec(wanted) => (Some((*wanted.spec).clone()), wanted.generation),
        Desired::Gone | Desired::NeverGood | Desired::Unseen => {
            (None, entry.memory.spec.as_ref().map_or(0, |spec| spec.generation))
        }
    };
    let secrets = viewer.may_read_secrets(entry);
    let spec = spec.map(|mut spec| {
        if !secrets {
            spec.env.values_mut().for_each(|value| HIDDEN.clone_into(value));
        }
        spec
    });
    let last = entry.plan.history.last.as_ref();
    let run = entry.run;
    let live = entry.plan.observed.is_live();
    let (activity, attached, quiet_since) = match &entry.plan.observed {
        Observed::Running(run) => (Some(run.activity), Some(run.attached), Some(run.quiet_since)),
        Observed::Stopping { .. }
        | Observed::Absent
        | Observed::Starting { .. }
        | Observed::Unknown { .. } => (None, None, None),
    };
    let cause = match &entry.plan.observed {
        Observed::Stopping { cause, .. } => Some(cause.clone()),
        Observed::Absent => last.and_then(|last| last.cause.clone()),
        Observed::Starting { .. } | Observed::Running(_) | Observed::Unknown { .. } => None,
    };
    let next_start_at = match &entry.verdict {
        Some(Verdict::Wait(Wait::BackOff { until } | Wait::HostError { until })) if !live => {
            Some(clock.show(*until))
        }
        Some(_) | None => None,
    };
    let spec_error = spec_error(entry, viewer);
    SessionView {
        name: name.clone(),
        run_id: entry.plan.observed.run_id().or_else(|| last.map(|last| last.run_id)),
        origin: Origin::Declared,
        generation,
        spec,
        status: SessionStatus {
            phase: entry.shown.phase,
            reason: entry.shown.reason,
            message: entry.shown.message.clone(),
            since: Some(entry.shown.since),
            activity,
            pid: run.and_then(|run| run.child).map(|id| id.pid),
            keeper_pid: run.and_then(|run| run.keeper).map(|id| id.pid),
            uid: run.and_then(|run| run.uid),
            started_at: run.map(|run| run.started_at),
            last_activity_at: quiet_since.map(|at| clock.show(at)),
            restarts: entry.plan.history.restarts,
            memory_bytes: None,
            cpu_percent: None,
            processes: None,
            attached,
            exit: last.and_then(|last| last.exit).map(ExitView::from),
            cause,
            next_start_at,
            spec_error,
            spec_file: entry.memory.spec.as_ref().map(|spec| spec.file.display().to_string()),
            log_file: Some(paths.log(name).display().to_string()),
            git: None,
        },
    }
}

/// What is wrong with the file. A source line is only for those who may read it.
fn spec_error(entry: &Entry, viewer: Viewer) -> Option<Diagnostics> {
    let SpecError { owner, error } = entry.spec_error.as_ref()?;
    Some(if viewer.uid == 0 || viewer.uid == *owner { error.clone() } else { error.clone().without_source() })
}

/// The line of `systemctl status`.
pub fn summary(world: &World) -> String {
    summary::summary(&Overview {
        counts: world.counts,
        max_sessions: world.config.max_sessions,
        memory: None,
        invalid_specs: usize::try_from(world.invalid_specs).unwrap_or(usize::MAX),
        config_error: world.config_error.is_some(),
        specs_unavailable: world.specs_unavailable.as_deref(),
    })
}

/// What `atm status` shows.
pub fn health(world: &World, viewer: Viewer, facts: Facts<'_>) -> HealthResult {
    let spec_errors = world.sessions.values().filter(|entry| viewer.may_see(entry));
    let counts: Counts = world.counts;
    let mut warnings: Vec<String> = world.warnings.values().cloned().collect();
    if !viewer.privileged {
        warnings.push("only your own sessions are shown".into());
    }
    HealthResult {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id().cast_signed(),
        started_at: facts.clock.started_at(),
        instance: facts.instance,
        directories: facts.paths.directories.clone(),
        containment: if facts.cgroup { "cgroup" } else { "procfs" }.into(),
        summary: summary(world),
        counts,
        max_sessions: world.config.max_sessions,
        config_error: world.config_error.clone(),
        spec_errors: spec_errors.filter_map(|entry| spec_error(entry, viewer)).collect(),
        specs_unavailable: world.specs_unavailable.clone(),
        warnings,
    }
}

/// What does not change while the daemon runs.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// When it was started.
    pub clock: &'a Clock,
    /// Whose state this is.
    pub instance: crate::api::name::InstanceId,
    /// Where it works.
    pub paths: &'a Paths,
    /// Whether sessions have cgroups of their own.
    pub cgroup: bool,
}
