//! One client: requests answered in order, and notifications where it asked for them.

use std::{collections::BTreeSet, io, rc::Rc, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::broadcast,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Peer,
    methods::{self, Failure, Outcome},
};
use crate::{
    api::{
        control::{ErrorData, ErrorKind, Removed, RpcError, RpcNotification, RpcRequest, RpcResponse},
        name::SessionName,
    },
    daemon::{core::Daemon, keepers::Keepers, store::Watcher, view},
};

/// A client that asked for nothing that lasts is let go after this silence.
const SILENCE: Duration = Duration::from_secs(60);

/// A client that does not read is let go after this.
const STALLED: Duration = Duration::from_secs(30);

/// Answers to lines that are no request, before the connection is closed.
const PATIENCE: u32 = 3;

/// Serves one client until it goes, or has to.
pub async fn serve<K: Keepers + 'static>(daemon: &Rc<Daemon<K>>, stream: UnixStream, peer: Peer) {
    let limit = daemon.store.look().config.clients.max_message.0;
    let (read, write) = stream.into_split();
    let mut client = Client {
        daemon: Rc::clone(daemon),
        peer,
        write,
        sessions: None,
        events: None,
        not_before: Instant::now().into_std().into(),
        nonsense: 0,
    };
    let mut lines = Lines { read, buffer: Vec::new(), limit: usize::try_from(limit).unwrap_or(usize::MAX) };
    // An error here is a client that went or stalled: nothing is lost by it but its connection.
    let _ = client.run(&mut lines).await;
}

struct Client<K> {
    daemon: Rc<Daemon<K>>,
    peer: Peer,
    write: OwnedWriteHalf,
    sessions: Option<Sessions>,
    events: Option<EventFeed>,
    /// Changes are sent at most `clients.broadcastRate` times a second.
    not_before: Instant,
    nonsense: u32,
}

struct Sessions {
    watcher: Rc<Watcher>,
    names: BTreeSet<SessionName>,
    /// What the client was told to exist, so that only a real removal is told.
    told: BTreeSet<SessionName>,
}

struct EventFeed {
    numbers: broadcast::Receiver<u64>,
    after: u64,
    names: BTreeSet<SessionName>,
}

enum Wake {
    Line(io::Result<Option<Line>>),
    Changes(BTreeSet<SessionName>),
    Events,
}

impl<K: Keepers + 'static> Client<K> {
    async fn run<R: AsyncRead + Unpin>(&mut self, lines: &mut Lines<R>) -> io::Result<()> {
        loop {
            match self.wait(lines).await? {
                Wake::Line(line) => match line? {
                    None => return Ok(()),
                    Some(Line::Whole(line)) => self.answer(&line).await?,
                    Some(Line::TooLong) => {
                        let message = format!("a message has at most {} bytes", lines.limit);
                        self.fail(Value::Null, &Failure::new(ErrorKind::MessageTooLarge, message)).await?;
                        return Ok(());
                    }
                },
                Wake::Changes(changes) => self.send_changes(&changes).await?,
                Wake::Events => self.send_events().await?,
            }
            if self.nonsense >= PATIENCE {
                return Ok(());
            }
        }
    }

    async fn wait<R: AsyncRead + Unpin>(&mut self, lines: &mut Lines<R>) -> io::Result<Wake> {
        let lasting = self.sessions.is_some() || self.events.is_some();
        let not_before = self.not_before;
        let sessions = self.sessions.as_ref().map(|s| Rc::clone(&s.watcher));
        let changes = async {
            match sessions {
                Some(watcher) => {
                    sleep_until(not_before).await;
                    watcher.changes().await
                }
                None => std::future::pending().await,
            }
        };
        let events = async {
            match &mut self.events {
                Some(feed) => {
                    // A feed that fell behind reads on from the kept events: nothing is lost by it.
                    let _ = feed.numbers.recv().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            line = lines.next() => Ok(Wake::Line(line)),
            changes = changes => Ok(Wake::Changes(changes)),
            () = events => Ok(Wake::Events),
            () = tokio::time::sleep(SILENCE), if !lasting => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn answer(&mut self, line: &[u8]) -> io::Result<()> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let request: RpcRequest = match parse(line) {
            Ok(request) => request,
            Err(failure) => {
                self.nonsense += 1;
                return self.fail(Value::Null, &failure).await;
            }
        };
        let id = request.id.clone();
        let called = if request.method == "hook" {
            methods::hook(&self.daemon, self.peer, self.write.as_ref(), &request).await
        } else {
            methods::call(&self.daemon, self.peer, &request).await
        };
        match called {
            Ok(outcome) => {
                let result = match outcome {
                    Outcome::Value(value) => value,
                    Outcome::Watch { names, snapshot } => {
                        let watcher = self.daemon.store.reader().watch();
                        let (value, told) = snapshot(&self.daemon)?;
                        self.sessions = Some(Sessions { watcher, names, told });
                        value
                    }
                    Outcome::Events { names, after, value } => {
                        let numbers = self.daemon.events.listen();
                        self.events = Some(EventFeed { numbers, after, names });
                        value
                    }
                };
                let Some(id) = id else { return Ok(()) };
                let answer = RpcResponse { jsonrpc: "2.0".into(), id, result: Some(result), error: None };
                self.send(&answer).await
            }
            Err(failure) => match id {
                Some(id) => self.fail(id, &failure).await,
                None => Ok(()),
            },
        }
    }

    async fn fail(&mut self, id: Value, failure: &Failure) -> io::Result<()> {
        let error = RpcError {
            code: failure.kind.code(),
            message: failure.message.clone(),
            data: ErrorData { kind: failure.kind },
        };
        self.send(&RpcResponse { jsonrpc: "2.0".into(), id, result: None, error: Some(error) }).await
    }

    async fn send_changes(&mut self, changes: &BTreeSet<SessionName>) -> io::Result<()> {
        let rate = {
            let world = self.daemon.store.look();
            world.config.clients.broadcast_rate.max(1)
        };
        self.not_before = Instant::now() + Duration::from_secs(1) / rate;
        let mut notifications = Vec::new();
        {
            let Some(sessions) = &mut self.sessions else { return Ok(()) };
            let world = self.daemon.store.look();
            for name in changes {
                if !sessions.names.is_empty() && !sessions.names.contains(name) {
                    continue;
                }
                let seen = world.sessions.get(name).filter(|entry| self.peer.viewer.may_see(entry));
                let (method, params) = if let Some(entry) = seen {
                    sessions.told.insert(name.clone());
                    let (clock, paths) = (&self.daemon.clock, &self.daemon.paths);
                    let view = view::session(name, entry, self.peer.viewer, clock, paths);
                    ("changed", serde_json::to_value(view)?)
                } else if sessions.told.remove(name) {
                    ("removed", serde_json::to_value(Removed { name: name.clone() })?)
                } else {
                    continue;
                };
                notifications.push(notification(method, params));
            }
        }
        for notification in notifications {
            self.send(&notification).await?;
        }
        Ok(())
    }

    async fn send_events(&mut self) -> io::Result<()> {
        let mut notifications = Vec::new();
        if let Some(feed) = &mut self.events {
            for event in self.daemon.events.after(feed.after) {
                feed.after = event.id;
                if methods::may_hear(self.peer, &feed.names, &event) {
                    notifications.push(notification("event", serde_json::to_value(&*event)?));
                }
            }
        }
        for notification in notifications {
            self.send(&notification).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        timeout(STALLED, self.write.write_all(&line)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

fn notification(method: &str, params: Value) -> RpcNotification {
    RpcNotification { jsonrpc: "2.0".into(), method: method.into(), params }
}

/// Reads one request; what is wrong with it is told with its first 100 characters.
fn parse(line: &[u8]) -> Result<RpcRequest, Failure> {
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        let start: String = String::from_utf8_lossy(line).chars().take(100).collect();
        let message = format!("not JSON: {error}: `{}`", start.escape_debug());
        Failure::new(ErrorKind::InvalidJson, message)
    })?;
    serde_json::from_value(value)
        .map_err(|error| Failure::new(ErrorKind::InvalidRequest, format!("not a request: {error}")))
}

/// Splits a stream into lines, never holding more than one message and what came behind it.
struct Lines<R> {
    read: R,
    buffer: Vec<u8>,
    limit: usize,
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The next line; `None` at the end. Cancel-safe: what was read stays in the buffer.
    async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Ok(Some(if line.len() > self.limit { Line::TooLong } else { Line::Whole(line) }));
            }
            if self.buffer.len() > self.limit {
                return Ok(Some(Line::TooLong));
            }
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                // Half a request is none.
                return Ok(None);
            }
        }
    }
}
