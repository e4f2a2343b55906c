//! What watchers are told, as whole lines.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::Peer;
use crate::{
    api::{
        control::{ListResult, Missed, Notice, Removed, Snapshot},
        event::Event,
        name::SessionName,
        status::SessionView,
    },
    daemon::{core::Daemon, keepers::Keepers, store::Entry, view, watcher::Watcher},
};

/// What there is to tell about one session.
#[derive(Debug)]
pub enum Told {
    /// A line.
    Line(Vec<u8>),
    /// Nothing that the watcher does not know.
    Known,
}

/// One session as it is now.
pub fn session<K: Keepers>(
    daemon: &Rc<Daemon<K>>,
    peer: Peer,
    watcher: &Watcher,
    name: &SessionName,
) -> serde_json::Result<Told> {
    let world = daemon.store.look();
    let Some(entry) = world.sessions.get(name).filter(|entry| watcher.hears(name, entry)) else {
        return Ok(if watcher.tells_gone(name) {
            let removed = Removed { name: name.clone() };
            Told::Line(notification(Notice::Removed, &serde_json::to_vec(&removed)?))
        } else {
            Told::Known
        });
    };
    let mut view = view::session(name, entry, peer.viewer, &daemon.clock, &daemon.paths);
    if !watcher.tells(name, digest(&mut view, entry)?) {
        return Ok(Told::Known);
    }
    Ok(Told::Line(notification(Notice::Changed, &serde_json::to_vec(&view)?)))
}

/// Every session that the watcher is to hear of, and what it will know by that.
pub fn everything<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    watcher: &Watcher,
) -> serde_json::Result<(ListResult, BTreeMap<SessionName, u64>)> {
    let world = daemon.store.look();
    let mut told = BTreeMap::new();
    let mut sessions: Vec<SessionView> = Vec::new();
    for (name, entry) in world.sessions.iter().filter(|(name, entry)| watcher.hears(name, entry)) {
        let mut view = view::session(name, entry, peer.viewer, &daemon.clock, &daemon.paths);
        told.insert(name.clone(), digest(&mut view, entry)?);
        sessions.push(view);
    }
    Ok((ListResult { sessions }, told))
}

/// The line for a watcher that did not keep up.
pub fn snapshot<K: Keepers>(
    daemon: &Daemon<K>,
    peer: Peer,
    watcher: &Watcher,
    dropped: u64,
) -> serde_json::Result<Vec<u8>> {
    let (ListResult { sessions }, told) = everything(daemon, peer, watcher)?;
    watcher.tells_all(told);
    Ok(notification(Notice::Snapshot, &serde_json::to_vec(&Snapshot { dropped, sessions })?))
}

/// The line for one thing that happened.
pub fn event(event: &Event) -> serde_json::Result<Vec<u8>> {
    Ok(notification(Notice::Event, &serde_json::to_vec(event)?))
}

/// The line in place of events that are no longer kept.
pub fn missed(count: u64) -> serde_json::Result<Vec<u8>> {
    Ok(notification(Notice::Missed, &serde_json::to_vec(&Missed { count })?))
}

fn notification(notice: Notice, params: &[u8]) -> Vec<u8> {
    let head = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{}\",\"params\":", notice.method());
    [head.as_bytes(), params, b"}\n"].concat()
}

/// Stands for what is news of a session. What is measured all the time counts as far as [`Shown`] says that it does,
/// and a mere sign of life is none.
///
/// [`Shown`]: crate::daemon::store::Shown
fn digest(view: &mut SessionView, entry: &Entry) -> serde_json::Result<u64> {
    let status = &mut view.status;
    let measured = (status.last_activity_at.take(), status.memory_bytes.take(), status.cpu_percent.take());
    let news = serde_json::to_vec(view);
    let status = &mut view.status;
    (status.last_activity_at, status.memory_bytes, status.cpu_percent) = measured;
    let mut hasher = DefaultHasher::new();
    (news?, &entry.shown.measured).hash(&mut hasher);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::control::RpcNotification;

    #[test]
    fn a_notification_is_one_line_of_json() {
        let line = missed(3).unwrap();
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        let read: RpcNotification = serde_json::from_slice(&line).unwrap();
        assert_eq!((read.method.as_str(), read.params["count"].as_u64()), ("missed", Some(3)));
    }
}
