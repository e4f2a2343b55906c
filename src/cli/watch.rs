//! Following sessions: what they are now, then each change.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    client::{Client, ClientError},
    context::{Context, get},
    error::CliResult,
};
use crate::{
    api::{
        control::{ErrorKind, ListResult, NamesParams, Notice, Removed, RpcNotification, Snapshot},
        name::SessionName,
        status::SessionView,
        time::Moment,
    },
    host::clock,
};

/// How often is asked where no place for a watcher is free.
const POLL: Duration = Duration::from_millis(200);

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A session is new, or not what it was.
    Now(Box<SessionView>),
    /// A session is no more.
    Gone(SessionName),
}

/// A stream of changes. Where the daemon has no place for one more watcher, it asks again and again: waiting
/// for a start must not fail because ten people watch.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    names: Vec<SessionName>,
    /// What was told last, to find out what changed where a whole is told anew.
    seen: BTreeMap<SessionName, SessionView>,
    changes: VecDeque<Change>,
    polls: bool,
}

/// What to do where all places for watchers are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Ask again and again.
    Poll,
    /// Say so.
    Fail,
}

impl Watch {
    /// Follows `names`, or all where none is given, on a connection of its own. Answers with what they are now.
    pub fn open(
        client: &Client,
        names: &[SessionName],
        full: WhenFull,
    ) -> Result<(Vec<SessionView>, Self), ClientError> {
        Self::on(client.another()?, names, full)
    }

    fn on(
        mut client: Client,
        names: &[SessionName],
        full: WhenFull,
    ) -> Result<(Vec<SessionView>, Self), ClientError> {
        let asked = subscribe(&mut client, names);
        let asked = match asked {
            // A name that is not there yet: watch all, and look for it here.
            Err(error) if error.kind() == Some(ErrorKind::NoSuchSession) => subscribe(&mut client, &[]),
            other => other,
        };
        let (mut sessions, polls) = match asked {
            Err(error) if full == WhenFull::Poll && error.kind() == Some(ErrorKind::MaxClientsReached) => {
                (get(&mut client, names)?, true)
            }
            other => (other?, false),
        };
        sessions.retain(|session| names.is_empty() || names.contains(&session.name));
        sessions.sort_by(|a, b| a.name.cmp(&b.name));
        let seen = by_name(sessions.clone());
        Ok((sessions, Self { client, names: names.to_vec(), seen, changes: VecDeque::new(), polls }))
    }

    /// From now on waiting ends when nobody reads stdout any more.
    pub fn mind_output(&mut self) {
        self.client.mind_output();
    }

    /// The next change, also over a restart of the daemon: that is told on stderr.
    pub fn next_of_any_daemon(&mut self, context: &mut Context) -> CliResult<Change> {
        loop {
            match self.next(None) {
                Ok(Some(change)) => return Ok(change),
                Ok(None) => {}
                Err(ClientError::Closed) => {
                    let client = back(&self.client, context)?;
                    match Self::on(client, &self.names, WhenFull::Poll) {
                        Ok((sessions, anew)) => {
                            (self.client, self.polls) = (anew.client, anew.polls);
                            self.compare(sessions);
                        }
                        Err(ClientError::Closed) => {} // gone again
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next change; `None`: the deadline has passed.
    pub fn next(&mut self, deadline: Option<Moment>) -> Result<Option<Change>, ClientError> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(Some(change));
            }
            let left = deadline.map(|deadline| deadline.since(clock::monotonic()));
            if self.polls {
                if left.is_some_and(|left| left.is_zero()) {
                    return Ok(None);
                }
                // Nothing is sent unasked here: this waits, and notices where the daemon goes.
                let _ = self.client.notification(Some(left.map_or(POLL, |left| left.min(POLL))))?;
                let now = get(&mut self.client, &self.names)?;
                self.compare(now);
                continue;
            }
            let Some(notification) = self.client.notification(left)? else { return Ok(None) };
            self.take(notification)
                .map_err(|error| ClientError::Protocol { method: "watch".into(), why: error.to_string() })?;
        }
    }

    fn take(&mut self, RpcNotification { method, params, .. }: RpcNotification) -> serde_json::Result<()> {
        match Notice::of(&method) {
            Some(Notice::Changed) => {
                let session: Box<SessionView> = serde_json::from_value(params)?;
                if self.is_asked_for(&session.name) {
                    self.seen.insert(session.name.clone(), (*session).clone());
                    self.changes.push_back(Change::Now(session));
                }
            }
            Some(Notice::Removed) => {
                let Removed { name } = serde_json::from_value(params)?;
                if self.is_asked_for(&name) {
                    self.seen.remove(&name);
                    self.changes.push_back(Change::Gone(name));
                }
            }
            // What was between is lost, and would have been merged where it came any faster.
            Some(Notice::Snapshot) => {
                let Snapshot { mut sessions, dropped: _ } = serde_json::from_value(params)?;
                sessions.retain(|session| self.is_asked_for(&session.name));
                self.compare(sessions);
            }
            // Another subscription's, or a newer daemon's.
            Some(Notice::Event | Notice::Missed) | None => {}
        }
        Ok(())
    }

    fn is_asked_for(&self, name: &SessionName) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }

    fn compare(&mut self, sessions: Vec<SessionView>) {
        let now = by_name(sessions);
        let gone = self.seen.keys().filter(|name| !now.contains_key(*name)).cloned().map(Change::Gone);
        self.changes.extend(gone);
        let changed = now.values().filter(|session| self.seen.get(&session.name) != Some(*session));
        self.changes.extend(changed.cloned().map(|session| Change::Now(Box::new(session))));
        self.seen = now;
    }
}

fn by_name(sessions: Vec<SessionView>) -> BTreeMap<SessionName, SessionView> {
    sessions.into_iter().map(|session| (session.name.clone(), session)).collect()
}

fn subscribe(client: &mut Client, names: &[SessionName]) -> Result<Vec<SessionView>, ClientError> {
    client.call("watch", &NamesParams { names: names.to_vec() }).map(|ListResult { sessions }| sessions)
}

/// Waits for the daemon that comes in the place of the one that has gone, and says so.
pub fn back(gone: &Client, context: &mut Context) -> CliResult<Client> {
    context.out.note("the daemon closed the connection; waiting for it to come back")?;
    let client = gone.reopen()?;
    context.out.note("connected again")?;
    Ok(client)
}
