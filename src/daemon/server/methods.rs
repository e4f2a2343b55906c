//! The methods of the control socket.

use std::{collections::BTreeSet, io, rc::Rc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Peer, registered};
use crate::{
    api::{
        control::{
            CONTROL_PROTOCOL, CleanupParams, CleanupResult, ConfigResult, ErrorKind, EventsParams,
            EventsResult, InitializeParams, InitializeResult, KillParams, ListResult, NameParams,
            NamesParams, OverrideParams, PlanResult, PlanStep, PreviousParams, PreviousResult, RpcRequest,
            TouchParams, UploadedParams, VerbResult,
        },
        diagnose::Diagnostics,
        event::Event,
        name::SessionName,
        status::SessionView,
    },
    daemon::{
        core::Daemon,
        keepers::Keepers,
        overrides::OverrideError,
        view::{self, Facts},
        wills::{Verb, VerbError, with_causes},
    },
    plan::{session, status},
};

/// A failure, as a client is told.
#[derive(Debug)]
pub struct Failure {
    /// The word for programs.
    pub kind: ErrorKind,
    /// The sentence for people.
    pub message: String,
}

impl Failure {
    /// Of this kind, with this sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(ErrorKind::Failed, format!("cannot put the answer into words: {error}"))
    }
}

impl From<VerbError> for Failure {
    fn from(error: VerbError) -> Self {
        let kind = match &error {
            VerbError::NoSuchSession(_) => ErrorKind::NoSuchSession,
            VerbError::Conflict(_) => ErrorKind::Conflict,
            VerbError::InvalidSpec(_) => ErrorKind::InvalidSpec,
            VerbError::State { .. } | VerbError::Ask(_) | VerbError::Signal { .. } => ErrorKind::Failed,
        };
        Self::new(kind, with_causes(&error))
    }
}

impl From<OverrideError> for Failure {
    fn from(error: OverrideError) -> Self {
        match error {
            OverrideError::Invalid(message) => Self::new(ErrorKind::InvalidRequest, message),
            OverrideError::Forbidden(message) => Self::new(ErrorKind::Forbidden, message),
            OverrideError::Verb(error) => error.into(),
        }
    }
}

/// A snapshot, and the names that are in it.
type Snapshot = (Value, BTreeSet<SessionName>);

/// Makes a snapshot, once changes are being collected: so none falls between the two.
type MakeSnapshot<K> = Box<dyn FnOnce(&Daemon<K>) -> io::Result<Snapshot>>;

/// What a method came to.
pub enum Outcome<K> {
    /// An answer, and nothing more.
    Value(Value),
    /// An answer, and from now on every change of these sessions.
    Watch {
        /// Which; empty: all.
        names: BTreeSet<SessionName>,
        /// Makes the answer.
        snapshot: MakeSnapshot<K>,
    },
    /// An answer, and from now on every event of these sessions.
    Events {
        /// Which; empty: all.
        names: BTreeSet<SessionName>,
        /// The last event in the answer.
        after: u64,
        /// The answer.
        value: Value,
    },
}

/// Calls one method.
pub async fn call<K: Keepers + 'static>(
    daemon: &Rc<Daemon<K>>,
    peer: Peer,
    request: &RpcRequest,
) -> Result<Outcome<K>, Failure> {
    if request.jsonrpc != "2.0" {
        return Err(Failure::new(ErrorKind::InvalidRequest, "`jsonrpc` must be \"2.0\""));
    }
    let value = match request.method.as_str() {
        "initialize" => initialize(daemon, &params(request)?)?,
        "list" => sessions(daemon, peer, &BTreeSet::new())?.0,
        "get" => {
            let names = known(daemon, peer, params::<NamesParams>(request)?.names)?;
            sessions(daemon, peer, &names)?.0
        }
        "watch" => {
            let names: BTreeSet<_> = params::<NamesParams>(request)?.names.into_iter().collect();
            let wanted = names.clone();
            let snapshot = Box::new(move |daemon: &Daemon<K>| {
                sessions(daemon, peer, &wanted).map_err(|failure| io::Error::other(failure.message))
            });
            return Ok(Outcome::Watch { names, snapshot });
        }
        "events" => return events(daemon, peer, params(request)?),
        "plan" => plan(daemon, peer)?,
        "start" => verb(daemon, peer, Verb::Start, &params::<NameParams>(request)?.name).await?,
        "stop" => verb(daemon, peer, Verb::Stop, &params::<NameParams>(request)?.name).await?,
        "restart" => verb(daemon, peer, Verb::Restart, &params::<NameParams>(request)?.name).await?,
        "suspend" => verb(daemon, peer, Verb::Suspend, &params::<NameParams>(request)?.name).await?,
        "resume" => verb(daemon, peer, Verb::Resume, &params::<NameParams>(request)?.name).await?,
        "kill" => kill(daemon, peer, &params(request)?).await?,
        "touch" => {
            let TouchParams { name, activity } = params(request)?;
            known(daemon, peer, vec![name.clone()])?;
            daemon.touch(&name, activity)?;
            outcome(daemon, peer, &name, true)?
        }
        "register" => registered::register(daemon, peer, params(request)?)?,
        "unregister" => registered::unregister(daemon, peer, params(request)?)?,
        "override" => {
            let OverrideParams { name, clear, overrides } = params(request)?;
            known(daemon, peer, vec![name.clone()])?;
            let changed = daemon.override_run(&name, clear, overrides, peer.viewer, peer.actor).await?;
            outcome(daemon, peer, &name, changed)?
        }
        "uploads" => {
            let NameParams { name } = params(request)?;
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
        "config" => config(daemon, peer)?,
        "health" => {
            let world = daemon.store.look();
            let facts = Facts {
                clock: &daemon.clock,
                instance: daemon.here.instance,
                paths: &daemon.paths,
                containment: &daemon.containment,
            };
            serde_json::to_value(view::health(&world, peer.viewer, facts))?
        }
        other => {
            let message = format!("no such method: `{}`", other.escape_debug());
            return Err(Failure::new(ErrorKind::MethodNotFound, message));
        }
    };
    Ok(Outcome::Value(value))
}

fn params<T: DeserializeOwned>(request: &RpcRequest) -> Result<T, Failure> {
    let params =
        if request.params.is_null() { Value::Object(serde_json::Map::new()) } else { request.params.clone() };
    serde_json::from_value(params).map_err(|error| {
        let message = format!("wrong parameters for `{}`: {error}", request.method.escape_debug());
        Failure::new(ErrorKind::InvalidRequest, message)
    })
}

fn initialize<K: Keepers>(daemon: &Daemon<K>, params: &InitializeParams) -> Result<Value, Failure> {
    if params.protocol < CONTROL_PROTOCOL {
        let message = format!(
            "this daemon (atm {}) speaks version {CONTROL_PROTOCOL} of the protocol, the client {}",
            env!("CARGO_PKG_VERSION"),
            params.protocol,
        );
        return Err(Failure::new(ErrorKind::ProtocolVersion, message));
    }
    Ok(serde_json::to_value(InitializeResult {
        protocol: CONTROL_PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id().cast_signed(),
        directories: daemon.paths.directories.clone(),
    })?)
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

fn sessions<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    names: &BTreeSet<SessionName>,
) -> Result<Snapshot, Failure> {
    let world = daemon.store.look();
    let visible = world
        .sessions
        .iter()
        .filter(|(name, entry)| (names.is_empty() || names.contains(*name)) && peer.viewer.may_see(entry));
    let mut told = BTreeSet::new();
    let mut sessions = Vec::new();
    for (name, entry) in visible {
        told.insert(name.clone());
        sessions.push(view::session(name, entry, peer.viewer, &daemon.clock, &daemon.paths));
    }
    Ok((serde_json::to_value(ListResult { sessions })?, told))
}

/// Whether an event is for this peer's ears, and among what it asked for.
pub fn may_hear(peer: Peer, names: &BTreeSet<SessionName>, event: &Event) -> bool {
    let asked = names.is_empty() || event.session.as_ref().is_some_and(|name| names.contains(name));
    asked && peer.viewer.may_hear(event.uid)
}

fn events<K: Keepers>(daemon: &Daemon<K>, peer: Peer, params: EventsParams) -> Result<Outcome<K>, Failure> {
    let names: BTreeSet<_> = params.names.into_iter().collect();
    let kept = daemon.events.after(0);
    let after = kept.last().map_or(0, |event| event.id);
    let heard = kept.iter().filter(|event| may_hear(peer, &names, event));
    let value =
        serde_json::to_value(EventsResult { events: heard.map(|event| (**event).clone()).collect() })?;
    Ok(if params.watch { Outcome::Events { names, after, value } } else { Outcome::Value(value) })
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
    name: &SessionName,
) -> Result<Value, Failure> {
    known(daemon, peer, vec![name.clone()])?;
    let changed = daemon.order(verb, name, peer.actor).await?;
    outcome(daemon, peer, name, changed)
}

async fn kill<K: Keepers>(daemon: &Daemon<K>, peer: Peer, params: &KillParams) -> Result<Value, Failure> {
    known(daemon, peer, vec![params.name.clone()])?;
    match params.signal {
        Some(signal) => {
            daemon.signal(&params.name, signal).await?;
            outcome(daemon, peer, &params.name, true)
        }
        None => verb(daemon, peer, Verb::Kill, &params.name).await,
    }
}

fn outcome<K: Keepers>(
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
