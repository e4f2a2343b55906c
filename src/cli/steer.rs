//! What `start`, `stop`, `restart`, `suspend`, `resume` and `kill` share: record the will for every session
//! meant, then wait for what it brings.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    client::{Client, after},
    context::{Context, get, list},
    error::{CliError, CliResult, Kind},
    outcome::{Judge, Outcome},
    select::Targets,
    watch::{Change, Watch, WhenFull},
};
use crate::api::{
    control::{ErrorKind, NameParams, VerbResult},
    name::SessionName,
    quantity::Dur,
    status::{Origin, SessionView},
};

/// For a session to start.
const START: Duration = Duration::from_secs(60);

/// On top of a session's own grace, for what follows SIGKILL.
const AFTER_GRACE: Duration = Duration::from_secs(30);

/// Whether and how long to wait for the outcome.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Patience {
    /// Do not wait for the outcome
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
    /// Wait at most this long: 30s, 5m [default: the session's grace and 30s; where it is to run, 60s at least]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Dur>,
}

/// One verb.
#[derive(Debug, Clone, Copy)]
pub struct Verb {
    /// The daemon's method.
    pub method: &'static str,
    /// What it waits for.
    pub judge: Judge,
    /// Whether a session that is removed meanwhile is what was asked for.
    pub gone_is_done: bool,
    /// Whether its outcome is the end of a process, which has its own grace.
    pub ends: bool,
}

/// Does `verb` to all targets and waits for each.
pub fn steer(
    context: &mut Context,
    client: &mut Client,
    verb: Verb,
    targets: &Targets,
    patience: &Patience,
) -> CliResult {
    steer_with(context, client, verb, targets, patience, |name| {
        serde_json::to_value(NameParams { name: name.clone(), run_id: None })
    })
}

/// The same, with the method's own parameters.
pub fn steer_with(
    context: &mut Context,
    client: &mut Client,
    verb: Verb,
    targets: &Targets,
    patience: &Patience,
    params: impl Fn(&SessionName) -> serde_json::Result<Value>,
) -> CliResult {
    let mut errors = Vec::new();
    let names = resolve(context, client, targets, &mut errors)?;
    if names.is_empty() {
        return CliError::gather(errors);
    }
    // The watch comes first: what happens between the verb and it would else be missed.
    let (before, watch) = if patience.no_wait {
        (get(client, &names)?, None)
    } else {
        let (before, watch) = Watch::open(client, &names, WhenFull::Poll)?;
        (before, Some(watch))
    };
    let before: BTreeMap<SessionName, SessionView> =
        before.into_iter().map(|session| (session.name.clone(), session)).collect();

    let mut waiting = Waiting { verb, before, open: Vec::new(), errors };
    for name in &names {
        let params = params(name).map_err(|error| CliError::failed(error.to_string()))?;
        match client.call::<VerbResult>(verb.method, &params) {
            Ok(result) if patience.no_wait => {
                let words = if result.changed { "asked for" } else { "was so already" };
                context.out.line(&format!("{name} {} {words}", verb.method))?;
            }
            Ok(result) => waiting.begin(context, &result)?,
            Err(error) if error.kind() == Some(ErrorKind::NoSuchSession) => {
                waiting.errors.push(context.no_such_session(client, name));
            }
            Err(error) => {
                let error = CliError::from(error);
                waiting.errors.push(CliError { message: format!("`{name}`: {}", error.message), ..error });
            }
        }
    }
    if let Some(watch) = watch {
        waiting.follow(context, watch, patience)?;
    }
    CliError::gather(waiting.errors)
}

/// The names that are meant. Named ones that do not exist are errors; no match for labels or `--all` is none.
pub fn resolve(
    context: &mut Context,
    client: &mut Client,
    targets: &Targets,
    errors: &mut Vec<CliError>,
) -> CliResult<Vec<SessionName>> {
    if targets.names.is_empty() {
        let sessions = list(client)?;
        let names: Vec<SessionName> = sessions
            .iter()
            .filter(|session| targets.admits(session))
            .map(|session| session.name.clone())
            .collect();
        if names.is_empty() {
            context.out.note("no session is meant by that")?;
        }
        return Ok(names);
    }
    let mut names = targets.distinct_names();
    let found = get(client, &names)?;
    names.retain(|name| {
        let exists = found.iter().any(|session| session.name == *name);
        if !exists {
            errors.push(context.no_such_session(client, name));
        }
        exists
    });
    Ok(names)
}

#[derive(Debug)]
struct Waiting {
    verb: Verb,
    before: BTreeMap<SessionName, SessionView>,
    /// Sessions whose outcome is open, as last seen.
    open: Vec<SessionView>,
    errors: Vec<CliError>,
}

impl Waiting {
    fn begin(&mut self, context: &mut Context, result: &VerbResult) -> CliResult {
        let session = &result.session;
        if !self.judge(context, session, result.changed)? {
            self.open.push(session.clone());
        }
        Ok(())
    }

    /// Whether the session's outcome is settled.
    fn judge(&mut self, context: &mut Context, session: &SessionView, changed: bool) -> CliResult<bool> {
        let before = self.before.get(&session.name).unwrap_or(session);
        match (self.verb.judge)(before, session) {
            Outcome::Waiting => return Ok(false),
            Outcome::Done(words) if changed => context.out.line(&format!("{} {words}", session.name))?,
            Outcome::Done(words) => context.out.line(&format!("{} already {words}", session.name))?,
            Outcome::Failed(error) => self.errors.push(error),
        }
        context.out.flush()?;
        Ok(true)
    }

    fn follow(&mut self, context: &mut Context, mut watch: Watch, patience: &Patience) -> CliResult {
        let limit = patience.timeout.map_or_else(|| self.default_limit(), |Dur(limit)| limit);
        let deadline = after(limit);
        while !self.open.is_empty() {
            match watch.next(deadline)? {
                Some(Change::Now(session)) => {
                    let Some(at) = self.open.iter().position(|open| open.name == session.name) else {
                        continue;
                    };
                    if self.judge(context, &session, true)? {
                        self.open.swap_remove(at);
                    } else if let Some(open) = self.open.get_mut(at) {
                        *open = *session;
                    }
                }
                Some(Change::Gone(name)) => {
                    let Some(at) = self.open.iter().position(|open| open.name == name) else {
                        continue;
                    };
                    let gone = self.open.swap_remove(at);
                    if self.verb.gone_is_done {
                        // One that a person started is on the list while its process lives.
                        let how = if gone.origin == Origin::Registered { "ended" } else { "removed" };
                        context.out.line(&format!("{name} {how}"))?;
                    } else {
                        self.errors.push(CliError::new(
                            Kind::NoSuchSession,
                            format!("`{name}` was removed meanwhile"),
                        ));
                    }
                }
                None => break,
            }
        }
        for session in self.open.drain(..) {
            let (name, status) = (&session.name, &session.status);
            let late = CliError::failed(format!(
                "`{name}` is still {} ({}) after {}",
                status.phase,
                status.reason,
                Dur(limit)
            ));
            self.errors.push(late.hint(format!("the request stands; see `atm describe {name}`")));
        }
        Ok(())
    }

    fn default_limit(&self) -> Duration {
        let grace = |session: &SessionView| {
            session.spec.as_ref().map_or(Duration::ZERO, |spec| spec.termination_grace_period.0)
        };
        let longest = self.open.iter().map(grace).max().unwrap_or_default();
        let end = longest.saturating_add(AFTER_GRACE);
        if self.verb.ends { end } else { START.max(end) }
    }
}
