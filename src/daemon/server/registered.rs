//! `register` and `unregister`: who asks is known by the kernel, and what they say of a process is looked up.

use serde_json::Value;

use super::{
    Peer,
    failure::Failure,
    methods::{known, result},
};
use crate::{
    api::{
        control::ErrorKind,
        name::SessionName,
        record::ProcessId,
        registered::{RegisterParams, RegisterResult, UnregisterParams, UnregisterResult},
        spec::Agent,
    },
    daemon::{
        core::Daemon,
        keepers::Keepers,
        registered::{Newcomer, RegisterError, Registration},
        wills::with_causes,
    },
    host::{
        ancestors,
        errors::words,
        process::{Process, identify, is_gone},
    },
};

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Self {
        let kind = match &error {
            RegisterError::Gone(_) | RegisterError::NameTaken(_) => ErrorKind::Conflict,
            RegisterError::Unwatchable { .. } => ErrorKind::Failed,
            RegisterError::TooMany { .. } => ErrorKind::TooManyRegistered,
        };
        Self::new(kind, with_causes(&error))
    }
}

/// Puts the process that the caller means on the list, or hears that it lives.
pub fn register<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    params: RegisterParams,
) -> Result<Value, Failure> {
    if let Some(fault) = params.fault() {
        return Err(Failure::new(ErrorKind::InvalidRequest, fault));
    }
    let (process, uid) = verified(peer, &params)?;
    if let Some(name) = declared_around(daemon, process)? {
        // Whose session it is, and what it is called, is not theirs to learn by a process of their own in it.
        known(daemon, peer, vec![name.clone()]).map_err(|_| {
            let message = format!("process {} is in a session of another user's", process.pid);
            Failure::new(ErrorKind::Forbidden, message)
        })?;
        // One that is about to end needs no sign of life.
        let _ = daemon.touch(&name, params.activity);
        return told(daemon, peer, Registration { name, changed: false, warnings: Vec::new() });
    }
    let newcomer = Newcomer {
        process,
        uid,
        agent: params.agent.unwrap_or(Agent::Generic),
        conversation: params.conversation_id,
        working_dir: params.working_dir,
        identity: params.identity,
        name: params.name,
        activity: params.activity,
    };
    let registration = daemon.register(&newcomer)?;
    told(daemon, peer, registration)
}

fn told<K: Keepers>(daemon: &Daemon<K>, peer: Peer, registration: Registration) -> Result<Value, Failure> {
    let Registration { name, changed, warnings } = registration;
    let session = result(daemon, peer, &name)?;
    Ok(serde_json::to_value(RegisterResult { changed, session, warnings })?)
}

/// The process that is meant, if it is the caller's to register: and as whom it runs.
fn verified(peer: Peer, params: &RegisterParams) -> Result<(ProcessId, u32), Failure> {
    let pid = params.pid.unwrap_or(peer.actor.pid);
    if pid <= 0 {
        let message = "your process is in a pid namespace that the daemon does not see: it cannot be watched";
        return Err(Failure::new(ErrorKind::Conflict, message));
    }
    let gone = || Failure::new(ErrorKind::Conflict, format!("process {pid} has ended"));
    let process = Process::open(pid).map_err(|error| {
        if is_gone(&error) {
            return gone();
        }
        Failure::new(ErrorKind::Failed, format!("cannot look at process {pid}: {}", words(&error)))
    })?;
    if process.has_ended().unwrap_or(false)
        || params.start_time.is_some_and(|at| at != process.id().start_time)
    {
        return Err(gone());
    }
    let user = process.user().map_err(|error| {
        if is_gone(&error) {
            return gone();
        }
        let message = format!("cannot see as whom process {pid} runs: {}", words(&error));
        Failure::new(ErrorKind::Failed, message)
    })?;
    match user {
        Some(uid) if uid == peer.viewer.uid || peer.viewer.uid == 0 => Ok((process.id(), uid)),
        // No word of whose it is: that is not the caller's to learn here.
        Some(_) | None => {
            let message =
                format!("process {pid} does not run as you: only its user and root may register it");
            Err(Failure::new(ErrorKind::Forbidden, message))
        }
    }
}

/// The declared session that a process is in, by the processes above it.
fn declared_around<K: Keepers>(
    daemon: &Daemon<K>,
    process: ProcessId,
) -> Result<Option<SessionName>, Failure> {
    if daemon.registered_as(process).is_some() {
        return Ok(None); // known not to be
    }
    let chain = ancestors::of(process.pid).map_err(|error| {
        let message = format!("cannot look at what started process {}: {}", process.pid, words(&error));
        Failure::new(ErrorKind::Failed, message)
    })?;
    Ok(daemon.keepers.above(&chain))
}

/// Takes a session off the list: the one that is named, or the caller's own.
pub fn unregister<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    params: UnregisterParams,
) -> Result<Value, Failure> {
    let own = || identify(peer.actor.pid).ok().and_then(|process| daemon.registered_as(process));
    let Some(name) = params.name.or_else(own) else {
        let message = "your process is not registered: say which session by `name`";
        return Err(Failure::new(ErrorKind::NoSuchSession, message));
    };
    known(daemon, peer, vec![name.clone()])?;
    let is_registered =
        daemon.store.look().sessions.get(&name).is_some_and(|entry| entry.plan.is_registered());
    if !is_registered {
        let message = format!("{name} is declared by its spec file: `atm delete {name}` removes it");
        return Err(Failure::new(ErrorKind::Conflict, message));
    }
    daemon.unregister(&name);
    Ok(serde_json::to_value(UnregisterResult { name })?)
}
