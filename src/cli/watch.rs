//! Following sessions: what they are now, then each change.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    client::{Client, ClientError},
    context::get,
};
use crate::{
    api::{
        control::{ErrorKind, ListResult, NamesParams, Removed},
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
    polled: Option<Polled>,
}

#[derive(Debug)]
struct Polled {
    seen: BTreeMap<SessionName, SessionView>,
    changes: VecDeque<Change>,
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
        let asked = Self::subscribe(client, names, names);
        let asked = match asked {
            // A name that is not there yet: watch all, and look for it here.
            Err(error) if error.kind() == Some(ErrorKind::NoSuchSession) => {
                Self::subscribe(client, &[], names)
            }
            other => other,
        };
        match asked {
            Err(error) if full == WhenFull::Poll && error.kind() == Some(ErrorKind::MaxClientsReached) => {
                let mut client = client.another()?;
                let sessions = get(&mut client, names)?;
                let seen = sessions.iter().map(|session| (session.name.clone(), session.clone())).collect();
                let polled = Some(Polled { seen, changes: VecDeque::new() });
                Ok((sessions, Self { client, names: names.to_vec(), polled }))
            }
            other => other,
        }
    }

    fn subscribe(
        client: &Client,
        asked: &[SessionName],
        names: &[SessionName],
    ) -> Result<(Vec<SessionView>, Self), ClientError> {
        let mut client = client.another()?;
        let ListResult { mut sessions } = client.call("watch", &NamesParams { names: asked.to_vec() })?;
        sessions.retain(|session| names.is_empty() || names.contains(&session.name));
        sessions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((sessions, Self { client, names: names.to_vec(), polled: None }))
    }

    /// The next change; `None`: the deadline has passed.
    pub fn next(&mut self, deadline: Option<Moment>) -> Result<Option<Change>, ClientError> {
        loop {
            let left = deadline.map(|deadline| deadline.since(clock::monotonic()));
            let change = match &mut self.polled {
                None => match self.client.notification(left)? {
                    Some(notification) => {
                        let read = read(&notification.method, notification.params);
                        match read.map_err(|error| ClientError::Protocol {
                            method: "watch".into(),
                            why: error.to_string(),
                        })? {
                            Some(change) => change,
                            None => continue,
                        }
                    }
                    None => return Ok(None),
                },
                Some(polled) => match polled.changes.pop_front() {
                    Some(change) => change,
                    None if left.is_some_and(|left| left.is_zero()) => return Ok(None),
                    None => {
                        // Nothing is sent unasked here: this waits, and notices where the daemon goes.
                        let _ = self.client.notification(Some(left.map_or(POLL, |left| left.min(POLL))))?;
                        let now = get(&mut self.client, &self.names)?;
                        polled.compare(now);
                        continue;
                    }
                },
            };
            let name = match &change {
                Change::Now(session) => &session.name,
                Change::Gone(name) => name,
            };
            if self.names.is_empty() || self.names.contains(name) {
                return Ok(Some(change));
            }
        }
    }
}

impl Polled {
    fn compare(&mut self, sessions: Vec<SessionView>) {
        let now: BTreeMap<SessionName, SessionView> =
            sessions.into_iter().map(|session| (session.name.clone(), session)).collect();
        let gone = self.seen.keys().filter(|name| !now.contains_key(*name)).cloned().map(Change::Gone);
        self.changes.extend(gone);
        let changed = now.values().filter(|session| self.seen.get(&session.name) != Some(*session));
        self.changes.extend(changed.cloned().map(|session| Change::Now(Box::new(session))));
        self.seen = now;
    }
}

/// A notification as a change; `None`: of a kind that this program does not know, from a newer daemon.
fn read(method: &str, params: serde_json::Value) -> serde_json::Result<Option<Change>> {
    match method {
        "changed" => serde_json::from_value(params).map(|session| Some(Change::Now(session))),
        "removed" => serde_json::from_value(params).map(|Removed { name }| Some(Change::Gone(name))),
        _ => Ok(None),
    }
}
