//! The methods of the control socket.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    rc::{Rc, Weak},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::UnixStream;

use super::{Peer, failure::Failure, registered, request::Request, send};
use crate::{
    api::{
        control::{
            CleanupParams, CleanupResult, ConfigResult, ErrorKind, EventsParams, EventsResult,
            InitializeParams, InitializeResult, KillParams, ListResult, MetricsResult, NameParams,
            NamesParams, OverrideParams, PlanResult, PlanStep, PreviousParams, PreviousResult, Supported,
            TouchParams, UploadedParams, VerbResult,
        },
        diagnose::Diagnostics,
        event::Event,
        hook::{CancelParams, CancelResult, HookParams, HookResult},
        name::{RunId, SessionName},
        status::SessionView,
    },
    daemon::{
        core::Daemon,
        keepers::Keepers,
        view::{self, Facts, Viewer},
        wills::{Verb, VerbError},
    },
    host::lineage,
    plan::{session, status},
};

/// What a method came to.
#[derive(Debug)]
pub enum Outcome {
    /// An answer, and nothing more.
    Value(Value),
    /// The same, as JSON: for what is long.
    Json(Rc<Vec<u8>>),
    /// What these sessions are, and from now on every change of them. Empty: all.
    Watch(BTreeSet<SessionName>),
    /// An answer, and from now on every event of these sessions.
    Events {
        /// Which; empty: all.
        names: BTreeSet<SessionName>,
        /// The last event in the answer.
        after: u64,
        /// The answer, as JSON.
        json: Vec<u8>,
    },
}

/// Calls one method.
pub async fn call<K: Keepers + 'static>(
    daemon: &Rc<Daemon<K>>,
    peer: Peer,
    connection: &UnixStream,
    request: &Request<'_>,
) -> Result<Outcome, Failure> {
    let value = match &*request.method {
        "initialize" => initialize(daemon, &params(request)?)?,
        "list" => {
            let NoParams {} = params(request)?;
            return list(daemon, peer);
        }
        "get" => {
            let names = known(daemon, peer, params::<NamesParams>(request)?.names)?;
            return Ok(Outcome::Json(Rc::new(sessions(daemon, peer, &names)?)));
        }
        "watch" => {
            return Ok(Outcome::Watch(params::<NamesParams>(request)?.names.into_iter().collect()));
        }
        "events" => return events(daemon, peer, params(request)?),
        "plan" => {
            let NoParams {} = params(request)?;
            plan(daemon, peer)?
        }
        "start" => verb(daemon, peer, Verb::Start, &params(request)?).await?,
        "stop" => verb(daemon, peer, Verb::Stop, &params(request)?).await?,
        "restart" => verb(daemon, peer, Verb::Restart, &params(request)?).await?,
        "suspend" => verb(daemon, peer, Verb::Suspend, &params(request)?).await?,
        "resume" => verb(daemon, peer, Verb::Resume, &params(request)?).await?,
        "kill" => kill(daemon, peer, params(request)?).await?,
        "touch" => {
            let TouchParams { name, activity } = params(request)?;
            known(daemon, peer, vec![name.clone()])?;
            daemon.touch(&name, activity)?;
            // As for a hook: what says that its turn is over goes on when this is answered.
            daemon.interrupts.settled(&name).await;
            outcome(daemon, peer, &name, true)?
        }
        "register" => registered::register(daemon, peer, params(request)?)?,
        "unregister" => registered::unregister(daemon, peer, params(request)?)?,
        "hook" => hook(daemon, peer, connection, params(request)?).await?,
        "cancel" => {
            let params: CancelParams = params(request)?;
            known(daemon, peer, vec![params.name.clone()])?;
            let outcome = daemon.cancel(&params, peer.actor).await?;
            let session = result(daemon, peer, &params.name)?;
            to_value(&CancelResult { outcome, session })?
        }
        "send" => send::send(daemon, peer, params(request)?).await?,
        "override" => {
            let OverrideParams { name, clear, overrides } = params(request)?;
            known(daemon, peer, vec![name.clone()])?;
            let changed = daemon.override_run(&name, clear, overrides, peer.viewer, peer.actor).await?;
            outcome(daemon, peer, &name, changed)?
        }
        "uploads" => {
            let NameParams { name, .. } = params(request)?;
            known(daemon, peer, vec![name.clone()])?;
            to_value(&daemon.uploads(&name)?)?
        }
        "uploaded" => {
            let UploadedParams { name, upload } = params(request)?;
            known(daemon, peer, vec![name.clone()])?;
            let changed = daemon.uploaded(&name, upload, peer.actor).await?;
            outcome(daemon, peer, &name, changed)?
        }
        "previous" => previous(daemon, peer, params(request)?).await?,
        "cleanup" => cleanup(daemon, peer, &params(request)?)?,
        "config" => {
            let NoParams {} = params(request)?;
            config(daemon, peer)?
        }
        "health" => {
            let NoParams {} = params(request)?;
            let world = daemon.store.look();
            let facts = Facts {
                clock: &daemon.clock,
                instance: daemon.here.instance,
                paths: &daemon.paths,
                containment: &daemon.containment,
                metrics: &daemon.metrics,
            };
            serde_json::to_value(view::health(&world, peer.viewer, facts))?
        }
        "metrics" => {
            let NoParams {} = params(request)?;
            let text = daemon.metrics_text().map_err(|error| {
                Failure::new(ErrorKind::Failed, format!("cannot put the numbers into words: {error}"))
            })?;
            to_value(&MetricsResult { text })?
        }
        other => {
            let message = format!("no such method: `{}`", other.escape_debug());
            return Err(Failure::new(ErrorKind::MethodNotFound, message));
        }
    };
    Ok(Outcome::Value(value))
}

/// Of a method that has none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

fn params<T: DeserializeOwned>(request: &Request<'_>) -> Result<T, Failure> {
    request.params()
}

fn initialize<K: Keepers>(daemon: &Daemon<K>, params: &InitializeParams) -> Result<Value, Failure> {
    let ours = Supported::OURS;
    let theirs = Supported { min: params.min_protocol.unwrap_or(0), max: params.protocol };
    let Some(protocol) = ours.common(theirs) else {
        let message = format!(
            "this daemon (atm {}) speaks versions {} to {} of the protocol, the client {} to {}",
            env!("CARGO_PKG_VERSION"),
            ours.min,
            ours.max,
            theirs.min,
            theirs.max,
        );
        return Err(Failure::new(ErrorKind::ProtocolVersion, message));
    };
    to_value(&InitializeResult {
        protocol,
        supported: ours,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id().cast_signed(),
        directories: daemon.paths.directories.clone(),
    })
}

/// The names, if all of them are known to the viewer.
pub fn known<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    names: Vec<SessionName>,
) -> Result<BTreeSet<SessionName>, Failure> {
    let world = daemon.store.look();
    for name in &names {
        // A session of somebody else's is told as none: its existence is theirs to tell.
        if !world.sessions.get(name).is_some_and(|entry| peer.viewer.may_see(entry)) {
            return Err(VerbError::NoSuchSession(name.clone()).into());
        }
    }
    Ok(names.into_iter().collect())
}

/// The last answer to `list`, while it is being sent to somebody: who asks the same meanwhile is sent the same, so that
/// a crowd that asks and does not read takes neither time nor memory for each of them.
#[derive(Debug, Default)]
pub struct LastList(RefCell<Kept>);

#[derive(Debug, Default)]
struct Kept {
    version: u64,
    viewer: Option<Viewer>,
    json: Weak<Vec<u8>>,
}

fn list<K: Keepers>(daemon: &Daemon<K>, peer: Peer) -> Result<Outcome, Failure> {
    let (version, viewer) = (daemon.store.version(), Some(peer.viewer));
    {
        let kept = daemon.last_list.0.borrow();
        if (kept.version, kept.viewer) == (version, viewer)
            && let Some(json) = kept.json.upgrade()
        {
            return Ok(Outcome::Json(json));
        }
    }
    let json = Rc::new(sessions(daemon, peer, &BTreeSet::new())?);
    daemon.last_list.0.replace(Kept { version, viewer, json: Rc::downgrade(&json) });
    Ok(Outcome::Json(json))
}

fn sessions<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    names: &BTreeSet<SessionName>,
) -> Result<Vec<u8>, Failure> {
    let world = daemon.store.look();
    let visible = world
        .sessions
        .iter()
        .filter(|(name, entry)| (names.is_empty() || names.contains(*name)) && peer.viewer.may_see(entry));
    daemon.look_soon(visible.clone().map(|(name, _)| name));
    let sessions = visible
        .map(|(name, entry)| view::session(name, entry, peer.viewer, &daemon.clock, &daemon.paths))
        .collect();
    Ok(serde_json::to_vec(&ListResult { sessions })?)
}

/// Whether an event is for this peer's ears, and among what it asked for.
pub fn may_hear(peer: Peer, names: &BTreeSet<SessionName>, event: &Event) -> bool {
    let asked = names.is_empty() || event.session.as_ref().is_some_and(|name| names.contains(name));
    asked && peer.viewer.may_hear(event.uid)
}

fn events<K: Keepers>(daemon: &Daemon<K>, peer: Peer, params: EventsParams) -> Result<Outcome, Failure> {
    let names: BTreeSet<_> = params.names.into_iter().collect();
    let kept = daemon.events.after(0);
    let after = kept.last().map_or(0, |event| event.id);
    let heard = kept.iter().filter(|event| may_hear(peer, &names, event));
    let json = serde_json::to_vec(&EventsResult { events: heard.map(|event| (**event).clone()).collect() })?;
    Ok(if params.watch { Outcome::Events { names, after, json } } else { Outcome::Json(Rc::new(json)) })
}

fn plan<K: Keepers>(daemon: &Daemon<K>, peer: Peer) -> Result<Value, Failure> {
    let now = daemon.clock.now();
    let world = daemon.store.look();
    let decisions = world.decide(now);
    let mut steps = Vec::new();
    for ((name, entry), verdict) in world.sessions.iter().zip(&decisions.verdicts) {
        if !peer.viewer.may_see(entry) {
            continue;
        }
        let step = session::step(&entry.plan, verdict, now);
        let (action, why, next) = status::explain(&entry.plan, verdict, &step, &world.config, now);
        steps.push(PlanStep {
            name: name.clone(),
            action: action.into(),
            why,
            next_at: next.map(|at| daemon.clock.show(at)),
        });
    }
    Ok(serde_json::to_value(PlanResult { steps })?)
}

async fn verb<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    verb: Verb,
    params: &NameParams,
) -> Result<Value, Failure> {
    let NameParams { name, run_id } = params;
    known(daemon, peer, vec![name.clone()])?;
    is_run(daemon, name, *run_id)?;
    let changed = daemon.order(verb, name, peer.actor).await?;
    outcome(daemon, peer, name, changed)
}

async fn kill<K: Keepers>(daemon: &Daemon<K>, peer: Peer, params: KillParams) -> Result<Value, Failure> {
    let KillParams { name, signal, run_id } = params;
    known(daemon, peer, vec![name.clone()])?;
    match signal {
        Some(signal) if !(1..=31).contains(&signal) => {
            Err(Failure::new(ErrorKind::InvalidRequest, format!("{signal} is no signal: 1 to 31 are")))
        }
        Some(signal) => {
            is_run(daemon, &name, run_id)?;
            daemon.signal(&name, signal).await?;
            outcome(daemon, peer, &name, true)
        }
        None => verb(daemon, peer, Verb::Kill, &NameParams { name, run_id }).await,
    }
}

/// Fails where the client means another run than the one there is: it ended meanwhile, or the request is repeated.
pub fn is_run<K: Keepers>(
    daemon: &Daemon<K>,
    name: &SessionName,
    meant: Option<RunId>,
) -> Result<(), Failure> {
    let Some(meant) = meant else { return Ok(()) };
    let world = daemon.store.look();
    let now = world.sessions.get(name).and_then(view::run_id);
    if now == Some(meant) {
        return Ok(());
    }
    let now = now.map_or_else(|| "it never ran".to_owned(), |now| format!("its run is {now}"));
    Err(Failure::new(ErrorKind::Conflict, format!("`{name}` is not in run {meant} any more: {now}")))
}

/// The answer to a verb.
pub fn outcome<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    name: &SessionName,
    changed: bool,
) -> Result<Value, Failure> {
    Ok(serde_json::to_value(VerbResult { changed, session: result(daemon, peer, name)? })?)
}

/// A session as it is after what was done to it.
pub fn result<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    name: &SessionName,
) -> Result<SessionView, Failure> {
    let world = daemon.store.look();
    let entry = world.sessions.get(name).ok_or_else(|| VerbError::NoSuchSession(name.clone()))?;
    Ok(view::session(name, entry, peer.viewer, &daemon.clock, &daemon.paths))
}

/// The method `hook`, of which the connection says whose it is. Who tells about a process that is gone is answered as
/// anybody.
async fn hook<K: Keepers + 'static>(
    daemon: &Rc<Daemon<K>>,
    peer: Peer,
    connection: &UnixStream,
    params: HookParams,
) -> Result<Value, Failure> {
    let result = match lineage::peer(connection) {
        Ok(process) => daemon.hook(&process, peer.viewer, params).await,
        Err(error) => {
            tracing::debug!(%error, "a hook's process is gone");
            HookResult::default()
        }
    };
    to_value(&result)
}

async fn previous<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    params: PreviousParams,
) -> Result<Value, Failure> {
    let PreviousParams { name, before } = params;
    let run = daemon.previous(&name, before, peer.viewer).await;
    if run.is_none() {
        known(daemon, peer, vec![name])?;
    }
    to_value(&PreviousResult { run })
}

fn cleanup<K: Keepers>(daemon: &Daemon<K>, peer: Peer, params: &CleanupParams) -> Result<Value, Failure> {
    if !peer.viewer.privileged && (params.accept_removals || !params.dry_run) {
        let message =
            "only root and the daemon's own user may clean up; --dry-run tells about your own sessions";
        return Err(Failure::new(ErrorKind::Forbidden, message));
    }
    if params.accept_removals
        && !params.dry_run
        && let Some(specs) = daemon.specs.borrow().as_ref()
    {
        specs.accept_removals();
    }
    to_value(&CleanupResult { evictions: daemon.clean_up_now(params, peer.viewer, peer.actor) })
}

fn config<K: Keepers>(daemon: &Daemon<K>, peer: Peer) -> Result<Value, Failure> {
    let world = daemon.store.look();
    let mut config = (*world.config).clone();
    let mut error = world.config_error.clone();
    if !peer.viewer.privileged {
        config.env.values_mut().for_each(|value| view::HIDDEN.clone_into(value));
        error = error.map(Diagnostics::without_source);
    }
    let written = config.written.clone();
    to_value(&ConfigResult { config, file: world.config_file.clone(), written, error })
}

fn to_value(value: &impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(value)?)
}

#[cfg(test)]
mod tests {
    use crate::api::control::METHODS;

    #[test]
    fn every_method_that_is_served_is_documented_and_no_other() {
        let source = include_str!("methods.rs");
        let arms = source.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" =>"));
        let mut served: Vec<&str> = arms.map(|(name, _)| name).collect();
        let mut documented: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
        served.sort_unstable();
        documented.sort_unstable();
        assert_eq!(served, documented, "see api::control::METHODS, and docs/protocol.md");
    }
}
