//! A session as people and programs see it.

use super::{
    clock::Clock,
    metrics::Metrics,
    paths::Paths,
    store::{Entry, SpecError, World},
};
use crate::{
    api::{
        control::{Counts, HealthResult, Healthz, Usage},
        conversation::ConversationView,
        diagnose::Diagnostics,
        hook::TurnView,
        name::{RunId, SessionName},
        quantity::{Limit, Size},
        registered::RegisteredView,
        status::{ExitView, Origin, Reason, SessionStatus, SessionView},
        time::Moment,
    },
    plan::{
        Desired, Observed, Verdict, Wait, activity,
        activity::ATTACHED_UNKNOWN,
        fleet::Mode,
        registered,
        summary::{self, Overview},
        turn::Turn,
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
        self.privileged || subject(entry) == Some(self.uid)
    }

    /// Whether what happened to this user's session is this viewer's to hear. What concerns the daemon, or a user
    /// that nobody knows, is for the privileged.
    pub fn may_hear(self, concerned: Option<u32>) -> bool {
        self.privileged || concerned == Some(self.uid)
    }

    /// Whether this viewer may read what is secret in the spec of `entry`: root, or the user that the spec runs as.
    /// A run that is still another user's does not count: the spec is no longer theirs.
    fn may_read_secrets(self, entry: &Entry) -> bool {
        self.uid == 0 || entry.memory.user() == Some(self.uid)
    }
}

/// The user whose session this is: as whom it runs, or ran last and would again; else the owner of its file, also
/// of one that was never good.
pub fn subject(entry: &Entry) -> Option<u32> {
    let runs_as = entry.run.and_then(|run| run.uid);
    let never_good = || entry.spec_error.as_ref().map(|error| error.owner);
    runs_as.or_else(|| entry.memory.user()).or_else(never_good)
}

/// The user whom something concerns that happened to `entry`, or to this run of it.
pub fn concerned(entry: &Entry, run_id: Option<RunId>) -> Option<u32> {
    let of_run = entry.memory.ran_as.filter(|ran_as| Some(ran_as.run_id) == run_id);
    of_run.map(|ran_as| ran_as.uid).or_else(|| subject(entry))
}

/// The run of a session: the one that lives, else the last.
pub fn run_id(entry: &Entry) -> Option<RunId> {
    entry.plan.observed.run_id().or_else(|| entry.plan.history.last.as_ref().map(|last| last.run_id))
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
        Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
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
        Observed::Running(run) if entry.plan.is_registered() => (Some(registered::doing(run)), None, None),
        Observed::Running(run) => {
            let attached = Some(activity::attached(run)).filter(|attached| *attached != ATTACHED_UNKNOWN);
            (Some(activity::doing(run)), attached, Some(activity::last_sign(run)))
        }
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
        Some(Verdict::Wait(
            Wait::BackOff { until } | Wait::HostError { until } | Wait::Relieved { until },
        )) if !live => Some(*until),
        // It has just ended, and nobody has decided since.
        Some(_) | None if !live && entry.shown.reason == Reason::BackOff => entry.plan.history.not_before,
        Some(_) | None => None,
    }
    .map(|until| clock.show(until));
    let agent = Some(&entry.agent)
        .filter(|agent| agent.run_id.is_some_and(|id| Some(id) == entry.plan.observed.run_id()));
    let spec_error = spec_error(entry, viewer);
    let registered = registered_view(entry);
    let seen = entry.seen();
    let overrides = entry.memory.overrides.as_ref();
    let overrides = overrides.filter(|of_run| entry.plan.observed.run_id() == Some(of_run.run_id));
    SessionView {
        name: name.clone(),
        run_id: run_id(entry),
        origin: if registered.is_some() { Origin::Registered } else { Origin::Declared },
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
            last_activity_at: quiet_since.or(heard(entry)).map(|at| clock.show(at)),
            restarts: entry.plan.history.restarts,
            memory_bytes: seen.map(|seen| seen.look.memory.bytes),
            cpu_percent: seen.map(|seen| (seen.cpu_percent * 10.0).round() / 10.0),
            processes: seen.map(|seen| seen.look.processes),
            attached,
            exit: last.and_then(|last| last.exit).map(ExitView::from),
            cause,
            next_start_at,
            spec_error,
            spec_file: entry.memory.spec.as_ref().map(|spec| spec.file.display().to_string()),
            log_file: registered.is_none().then(|| paths.log(name).display().to_string()),
            turn: turn(&entry.plan.observed, clock),
            conditions: agent
                .and_then(|agent| agent.condition_at(clock.wall()))
                .cloned()
                .into_iter()
                .collect(),
            usage: agent.and_then(|agent| agent.usage.clone()),
            subagents: agent
                .and_then(|agent| u32::try_from(agent.subagents.len()).ok())
                .filter(|count| *count > 0),
            working_dir: entry.memory.working_dir.clone(),
            overrides: overrides.map(|of_run| of_run.overrides.clone()),
            uploads: entry.memory.uploads.clone(),
            git: entry.repository.view().cloned(),
            registered,
            conversation: conversation(entry),
        },
    }
}

/// What a session told of itself when it registered.
fn registered_view(entry: &Entry) -> Option<RegisteredView> {
    let told = entry.memory.registered.as_ref()?;
    Some(RegisteredView {
        agent: told.agent,
        conversation_id: told.conversation.clone(),
        working_dir: told.working_dir.clone(),
        identity: told.identity.clone(),
    })
}

/// When a registered session gave its last sign of life.
fn heard(entry: &Entry) -> Option<Moment> {
    match &entry.plan.desired {
        Desired::Registered(guest) => guest.heard,
        Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Spec(_) => None,
    }
}

/// That more sessions live than there are places, where persons' own ones are why. They are not asked to go; declared
/// ones wait.
pub fn full_house(world: &World) -> Option<String> {
    let Counts { registered, running, stopping, .. } = world.counts;
    let (live, limit) = (running.saturating_add(stopping), world.config.max_sessions);
    (registered > 0 && live > limit).then(|| {
        format!(
            "{live} sessions live, {registered} of them started outside atm, and maxSessions is {limit}: no declared \
             one starts before some end"
        )
    })
}

/// The turn of what runs.
fn turn(observed: &Observed, clock: &Clock) -> Option<TurnView> {
    let run = observed.run()?;
    let Turn { number, in_flight, since, cancel, unheard: _ } = run.turn;
    let since = since.map(|at| clock.show(at));
    (number > 0).then(|| TurnView { number, in_flight, since, cancel: cancel.map(|cancel| cancel.cause) })
}

/// The conversation that the agent named last, and what the current or last run has to do with it.
fn conversation(entry: &Entry) -> Option<ConversationView> {
    let last = entry.memory.conversations.last()?;
    let continued = if entry.plan.observed.is_live() {
        entry.agent_start.as_ref().and_then(|start| start.continues.clone())
    } else {
        entry.plan.history.last.as_ref().and_then(|ended| ended.continued.clone())
    };
    Some(ConversationView { id: last.id.clone(), since: last.since, continued, refused: last.refused })
}

/// What is wrong with the file. A source line is only for those who may read it.
fn spec_error(entry: &Entry, viewer: Viewer) -> Option<Diagnostics> {
    let SpecError { owner, error } = entry.spec_error.as_ref()?;
    Some(if viewer.uid == 0 || viewer.uid == *owner { error.clone() } else { error.clone().without_source() })
}

/// The line of `systemctl status`, with so much memory of all sessions: see [`World::memory`].
pub fn summary(world: &World, memory: u64) -> String {
    summary::summary(&Overview {
        counts: world.counts,
        max_sessions: world.config.max_sessions,
        memory: (memory > 0).then_some((Size(memory), world.config.max_memory)),
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
    warnings.extend(full_house(world));
    if !viewer.privileged {
        warnings.push("only your own sessions are shown".into());
    }
    HealthResult {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id().cast_signed(),
        started_at: facts.clock.started_at(),
        instance: facts.instance,
        directories: facts.paths.directories.clone(),
        containment: facts.containment.into(),
        summary: summary(world, world.memory),
        counts,
        max_sessions: world.config.max_sessions,
        config_error: world.config_error.clone(),
        spec_errors: spec_errors.filter_map(|entry| spec_error(entry, viewer)).collect(),
        specs_unavailable: world.specs_unavailable.clone(),
        warnings,
        counters: world.counters.clone(),
        healthy: troubles(world).is_empty(),
        memory_bytes: world.memory,
        max_memory_bytes: max_memory(world),
        usage: facts.metrics.usage(),
        clients: facts.metrics.clients(world.config.clients.max),
        http: facts.metrics.http.get(),
    }
}

fn max_memory(world: &World) -> Option<u64> {
    match world.config.max_memory {
        Limit::At(Size(limit)) => Some(limit),
        Limit::Never => None,
    }
}

/// What keeps the daemon from doing all that it is for, a word each.
pub fn troubles(world: &World) -> Vec<&'static str> {
    let all = [
        ("starting", !world.sources.all()),
        ("stopping", matches!(world.mode, Mode::EndAll(_))),
        ("specsUnavailable", world.specs_unavailable.is_some()),
        ("specsUnread", world.source_ended || world.warnings.contains_key("specs-io")),
        ("stateUnwritten", world.warnings.contains_key("state")),
    ];
    all.into_iter().filter(|(_, is_so)| *is_so).map(|(word, _)| word).collect()
}

/// What `/healthz` shows: numbers alone, as anybody may ask.
pub fn healthz(world: &World, usage: Usage, clock: &Clock) -> Healthz {
    let troubles = troubles(world);
    Healthz {
        healthy: troubles.is_empty(),
        troubles: troubles.into_iter().map(str::to_owned).collect(),
        sessions: world.counts,
        max_sessions: world.config.max_sessions,
        memory_bytes: world.memory,
        max_memory_bytes: max_memory(world),
        daemon_memory_bytes: usage.memory_bytes,
        uptime_seconds: clock.wall().duration_since(clock.started_at()).as_secs().try_into().unwrap_or(0),
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
    /// How sessions are held.
    pub containment: &'a str,
    /// What is counted.
    pub metrics: &'a Metrics,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{record::GoodSpec, spec::WrittenSpec, time::Timestamp},
        daemon::{memory::Memory, store::RunFacts},
        plan::Session,
    };

    const ANNA: u32 = 1001;
    const BERT: u32 = 1002;

    fn never_seen() -> Entry {
        let clock = Clock::start();
        Entry::new(Session::unknown(), Memory::new(clock.wall()), &clock)
    }

    /// As when a good file is read.
    fn give(entry: &mut Entry, owner: u32, text: &str) {
        let file = std::path::PathBuf::from("/etc/atm/sessions.d/a.yaml");
        let written = WrittenSpec::parse(text, &file).unwrap();
        let (digest, generation) =
            (written.digest(), entry.memory.spec.as_ref().map_or(1, |spec| spec.generation + 1));
        entry.memory.check_user(owner, &written, &digest);
        entry.memory.spec = Some(GoodSpec { file, owner, text: text.into(), digest, generation });
    }

    /// As when a keeper reports.
    fn run(entry: &mut Entry, uid: u32) -> RunId {
        let (run_id, started_at) = (RunId::generate(), Timestamp::default());
        let generation = entry.memory.spec.as_ref().unwrap().generation;
        entry.memory.learn_user(run_id, generation, uid);
        entry.run = Some(RunFacts { keeper: None, child: None, uid: Some(uid), started_at });
        run_id
    }

    fn sees(uid: u32, entry: &Entry) -> bool {
        Viewer { uid, privileged: false }.may_see(entry)
    }

    fn reads(uid: u32, entry: &Entry) -> bool {
        Viewer { uid, privileged: false }.may_read_secrets(entry)
    }

    #[test]
    fn a_session_is_its_users_also_when_it_is_stopped_and_roots_file_says_who() {
        let mut entry = never_seen();
        give(&mut entry, 0, "command: [a]\nuser: anna\n");
        assert!(!sees(ANNA, &entry), "nobody has asked yet whom the name means");
        run(&mut entry, ANNA);
        assert!(sees(ANNA, &entry) && reads(ANNA, &entry) && !sees(BERT, &entry));
        entry.run = None;
        assert!(sees(ANNA, &entry) && reads(ANNA, &entry) && !sees(BERT, &entry));
        give(&mut entry, 0, "command: [b]\nuser: anna\n");
        assert!(sees(ANNA, &entry) && reads(ANNA, &entry), "whom it is for has not changed");
    }

    #[test]
    fn a_spec_given_to_somebody_else_is_no_longer_the_last_users() {
        for (owner, text) in [(BERT, "command: [a]"), (0, "command: [a]\nuser: bert")] {
            let mut entry = never_seen();
            give(&mut entry, ANNA, "command: [a]");
            let first = run(&mut entry, ANNA);
            give(&mut entry, owner, text);
            assert!(sees(ANNA, &entry), "what still runs is hers");
            assert!(!reads(ANNA, &entry), "what is to run next is not");
            entry.run = None;
            assert!(!sees(ANNA, &entry) && reads(owner, &entry));
            assert_eq!(concerned(&entry, Some(first)), Some(ANNA), "its end is still her news");
            assert_eq!(concerned(&entry, None), Some(owner));
            // A daemon that comes later and finds the old run does not believe otherwise.
            entry.memory.learn_user(first, 1, ANNA);
            assert_eq!(entry.memory.user(), Some(owner));
        }
    }

    #[test]
    fn a_run_that_reports_after_its_spec_was_given_away_says_nothing_of_the_next() {
        let mut entry = never_seen();
        give(&mut entry, ANNA, "command: [a]");
        give(&mut entry, BERT, "command: [b]");
        entry.memory.learn_user(RunId::generate(), 1, ANNA);
        assert_eq!(entry.memory.user(), Some(BERT));
    }

    #[test]
    fn a_file_that_was_never_good_is_its_owners_to_see() {
        let mut entry = never_seen();
        assert!(!sees(ANNA, &entry) && !sees(0, &entry), "nobody's");
        entry.spec_error = Some(SpecError { owner: ANNA, error: Diagnostics(Vec::new()) });
        assert!(sees(ANNA, &entry) && !sees(BERT, &entry));
        assert_eq!(concerned(&entry, None), Some(ANNA));
    }

    #[test]
    fn nobody_but_the_privileged_hears_what_concerns_nobody() {
        let (anna, daemon) =
            (Viewer { uid: ANNA, privileged: false }, Viewer { uid: BERT, privileged: true });
        assert!(anna.may_hear(Some(ANNA)) && !anna.may_hear(Some(BERT)) && !anna.may_hear(None));
        assert!(daemon.may_hear(Some(ANNA)) && daemon.may_hear(None));
    }
}
