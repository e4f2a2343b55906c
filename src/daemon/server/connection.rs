//! One client: requests answered in order, and notifications where it asked for them.

use std::{collections::BTreeSet, io, rc::Rc, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWriteExt},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::broadcast,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Peer,
    failure::Failure,
    lines::{Line, Lines},
    methods::{self, Outcome},
    places::Place,
    request::Request,
    tell::{self, Told},
};
use crate::{
    api::{
        control::{ErrorKind, RpcError, RpcResponse, Supported},
        name::SessionName,
    },
    daemon::{
        core::Daemon,
        keepers::Keepers,
        metrics::Counted,
        watcher::{News, Watcher},
    },
};

/// Who connects has something to say.
const FIRST_BYTE: Duration = Duration::from_secs(5);

/// From the first byte of a request to its last.
const REQUEST: Duration = Duration::from_secs(30);

/// Between two requests. Watchers may be silent for ever.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a request may take: less than clients wait for an answer. What takes longer waits for a disk that does
/// not answer, and with it would take the places of all others.
const CALL: Duration = Duration::from_secs(25);

/// For an answer to be read.
const STALLED: Duration = Duration::from_secs(30);

/// The same for watchers: whoever suspends a pager for a minute is to go on with what is then.
const STALLED_WATCHER: Duration = Duration::from_secs(300);

/// A longer answer is not copied behind its head.
const LONG: usize = 16 << 10;

/// What ends an answer.
const END: &[u8] = b"}\n";

/// Answers to lines that are no request, before the connection is closed.
const PATIENCE: u32 = 3;

/// Serves one client until it goes, or has to.
pub async fn serve<K: Keepers + 'static>(
    daemon: &Rc<Daemon<K>>,
    stream: UnixStream,
    peer: Peer,
    place: &Place,
) {
    let limit = daemon.store.look().config.clients.max_message.0;
    let (read, write) = stream.into_split();
    let mut lines = Lines::new(read, usize::try_from(limit).unwrap_or(usize::MAX));
    let mut client = Client {
        daemon: Rc::clone(daemon),
        peer,
        place,
        write,
        is_mid_line: false,
        watches: None,
        sessions: None,
        events: None,
        silent_until: Instant::now() + FIRST_BYTE,
        nonsense: 0,
    };
    let sent_away = tokio::select! {
        biased;
        () = place.lost() => true,
        // An error here is a client that went or stalled: nothing is lost by it but its connection.
        _ = client.run(&mut lines) => false,
    };
    if sent_away && !client.is_mid_line {
        let _ = client.write.try_write(&busy()); // told if it can be without waiting
    }
    if sent_away {
        daemon.metrics.refused();
    }
}

/// The line for a client that finds no place, or loses it to others.
pub fn busy() -> Vec<u8> {
    let message = "the daemon serves as many connections as it can: try again";
    error_line(Value::Null, &Failure::new(ErrorKind::Busy, message)).unwrap_or_default()
}

fn error_line(id: Value, failure: &Failure) -> serde_json::Result<Vec<u8>> {
    let supported = (failure.kind == ErrorKind::ProtocolVersion).then_some(Supported::OURS);
    let error = RpcError {
        code: failure.kind.code(),
        message: failure.message.clone(),
        data: crate::api::control::ErrorData { kind: failure.kind, supported },
    };
    to_line(&RpcResponse { jsonrpc: "2.0".into(), id, result: None, error: Some(error) })
}

fn to_line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

struct Client<'a, K> {
    daemon: Rc<Daemon<K>>,
    peer: Peer,
    place: &'a Place,
    write: OwnedWriteHalf,
    /// A line was begun and is not written whole.
    is_mid_line: bool,
    /// This connection's place among the watchers.
    watches: Option<Counted>,
    sessions: Option<Rc<Watcher>>,
    events: Option<EventFeed>,
    /// When a client that asked for nothing that lasts is let go, unless it begins to ask.
    silent_until: Instant,
    nonsense: u32,
}

struct EventFeed {
    numbers: broadcast::Receiver<u64>,
    after: u64,
    names: BTreeSet<SessionName>,
}

enum Wake {
    Read,
    End,
    News(News),
    Events,
}

impl<K: Keepers + 'static> Client<'_, K> {
    async fn run<R: AsyncRead + Unpin>(&mut self, lines: &mut Lines<R>) -> io::Result<()> {
        loop {
            match lines.take() {
                Some(Line::Whole(line)) => self.answer(&line).await?,
                Some(Line::TooLong) => {
                    let message = format!("a message has at most {} bytes", lines.limit());
                    return self.fail(Value::Null, &Failure::new(ErrorKind::MessageTooLarge, message)).await;
                }
                None => match self.wait(lines).await? {
                    Wake::Read => {}
                    Wake::End => return Ok(()),
                    Wake::News(news) => self.send_news(&news).await?,
                    Wake::Events => self.send_events().await?,
                },
            }
            if self.nonsense >= PATIENCE {
                return Ok(());
            }
            // A client that sends many requests at once has its turn with the others after each.
            tokio::task::yield_now().await;
        }
    }

    async fn wait<R: AsyncRead + Unpin>(&mut self, lines: &mut Lines<R>) -> io::Result<Wake> {
        let until = match lines.begun() {
            Some(begun) => Some(begun + REQUEST),
            None if self.watches.is_some() => None,
            None => Some(self.silent_until),
        };
        let deadline = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            match &self.sessions {
                Some(watcher) => watcher.news().await,
                None => std::future::pending().await,
            }
        };
        let events = async {
            match &mut self.events {
                Some(feed) => drop(feed.numbers.recv().await), // one that fell behind reads on from the kept events
                None => std::future::pending().await,
            }
        };
        let _waiting = self.place.wait(lines.held());
        tokio::select! {
            more = lines.read_on() => Ok(if more? { Wake::Read } else { Wake::End }),
            news = news => Ok(Wake::News(news)),
            () = events => Ok(Wake::Events),
            () = deadline => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn answer(&mut self, line: &[u8]) -> io::Result<()> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let request = match Request::parse(line) {
            Ok(request) => request,
            Err((id, failure)) => {
                self.nonsense += 1;
                return self.fail(id, &failure).await;
            }
        };
        let id = request.id.clone();
        let call = methods::call(&self.daemon, self.peer, self.write.as_ref(), &request);
        let outcome = timeout(CALL, call).await.unwrap_or_else(|_elapsed| Err(unanswered()));
        self.silent_until = Instant::now() + SILENCE;
        let result = match outcome {
            Ok(Outcome::Value(value)) => Ok(Rc::new(serde_json::to_vec(&value)?)),
            Ok(Outcome::Json(json)) => Ok(json),
            Ok(Outcome::Watch(names)) => self.watch_sessions(names).map(Rc::new),
            Ok(Outcome::Events { names, after, json }) => self.watch_events(names, after, json).map(Rc::new),
            Err(failure) => Err(failure),
        };
        match (id, result) {
            (None, _) => Ok(()), // no answer is wanted
            (Some(id), Ok(result)) => {
                let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":");
                if result.len() < LONG {
                    self.send(&[&[head.as_bytes(), &result, END].concat()]).await
                } else {
                    self.send(&[head.as_bytes(), &result, END]).await
                }
            }
            (Some(id), Err(failure)) => self.fail(id, &failure).await,
        }
    }

    /// Takes a place among the watchers, unless this connection has one.
    fn become_watcher(&mut self) -> Result<(), Failure> {
        if self.watches.is_some() {
            return Ok(());
        }
        let most = self.daemon.store.look().config.clients.max;
        let watchers = self.daemon.metrics.watchers();
        if watchers >= most {
            self.daemon.metrics.refused();
            let message = format!("Server at capacity ({watchers}/{most}). Try again later.");
            return Err(Failure::new(ErrorKind::MaxClientsReached, message));
        }
        self.watches = Some(self.daemon.metrics.watch());
        self.place.leave();
        Ok(())
    }

    fn watch_sessions(&mut self, names: BTreeSet<SessionName>) -> Result<Vec<u8>, Failure> {
        self.become_watcher()?;
        let clients = self.daemon.store.look().config.clients;
        // Changes are collected first: none falls between the snapshot and them.
        let watcher = self.daemon.store.reader().watch(Watcher::new(self.peer.viewer, names, clients));
        let (snapshot, told) = tell::everything(&self.daemon, self.peer, &watcher)?;
        watcher.tells_all(told);
        self.sessions = Some(watcher);
        Ok(serde_json::to_vec(&snapshot)?)
    }

    fn watch_events(
        &mut self,
        names: BTreeSet<SessionName>,
        after: u64,
        json: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        self.become_watcher()?;
        self.events = Some(EventFeed { numbers: self.daemon.events.listen(), after, names });
        Ok(json)
    }

    async fn fail(&mut self, id: Value, failure: &Failure) -> io::Result<()> {
        self.send(&[&error_line(id, failure)?]).await
    }

    async fn send_news(&mut self, news: &News) -> io::Result<()> {
        let Some(watcher) = self.sessions.clone() else { return Ok(()) };
        watcher.adjust(self.daemon.store.look().config.clients);
        let told = match news {
            News::Session(name) => tell::session(&self.daemon, self.peer, &watcher, name)?,
            News::Everything { dropped } => {
                self.daemon.metrics.dropped(*dropped);
                Told::Line(tell::snapshot(&self.daemon, self.peer, &watcher, *dropped)?)
            }
        };
        match told {
            Told::Line(line) => self.send(&[&line]).await,
            Told::Known => Ok(()),
        }
    }

    /// Everything that happened since, one by one: meanwhile nothing is kept for this client but its place in the
    /// events that are kept anyway.
    async fn send_events(&mut self) -> io::Result<()> {
        loop {
            let Some(feed) = &mut self.events else { return Ok(()) };
            let Some(event) = self.daemon.events.next_after(feed.after) else { return Ok(()) };
            let missed = event.id.saturating_sub(feed.after).saturating_sub(1);
            feed.after = event.id;
            let heard = methods::may_hear(self.peer, &feed.names, &event);
            if missed > 0 {
                self.daemon.metrics.dropped(missed);
                self.send(&[&tell::missed(missed)?]).await?;
            }
            if heard {
                self.send(&[&tell::event(&event)?]).await?;
            }
        }
    }

    /// Sends one line, in parts.
    async fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let patience = if self.watches.is_some() { STALLED_WATCHER } else { STALLED };
        let _waiting = self.place.wait(parts.iter().map(|part| part.len()).sum());
        self.is_mid_line = true;
        let write = &mut self.write;
        let all = async {
            for part in parts {
                write.write_all(part).await?;
            }
            io::Result::Ok(())
        };
        timeout(patience, all).await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.is_mid_line = false;
        Ok(())
    }
}

fn unanswered() -> Failure {
    let message = format!(
        "not done within {} s: the state directory does not answer (`atm status`); it may still be done",
        CALL.as_secs()
    );
    Failure::new(ErrorKind::Failed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{defaults::CLIENTS, quantity::Size, registered, send, upload},
        daemon::{events, keepers::ANSWER_WITHIN, server::ROOM},
    };

    /// What people and programs are promised in docs/protocol.md.
    #[test]
    fn the_limits_are_those_that_are_documented() {
        let text = include_str!("../../../docs/protocol.md");
        let seconds = |limit: Duration| format!("{} s", limit.as_secs());
        for row in [
            format!("| a request | `clients.maxMessage`, {}; 128 levels deep |", CLIENTS.max_message),
            format!("| from connecting to the first byte | {} |", seconds(FIRST_BYTE)),
            format!("| from a request's first byte to its last | {} |", seconds(REQUEST)),
            format!("| between requests, for who does not watch | {} |", seconds(SILENCE)),
            format!(
                "| an answer that is not read; for watchers | {}; {} min |",
                seconds(STALLED),
                STALLED_WATCHER.as_secs() / 60
            ),
            format!("| lines that are no requests | {PATIENCE} |"),
            format!(
                "| connections that do not watch | {}, of one user {}; of unfinished requests and unread answers {} for longer than a second, {} in any case |",
                ROOM.connections,
                ROOM.of_one_user,
                Size(ROOM.bytes as u64),
                Size(ROOM.most_bytes as u64)
            ),
            format!("| connections that watch | `clients.max`, {} |", CLIENTS.max),
            format!(
                "| what is sent at once: text; keys | {}; {} |",
                Size(send::LONGEST_TEXT as u64),
                send::MOST_KEYS
            ),
            format!(
                "| a program that does not read what is sent; what was sent to it before | {0}; {0} |",
                seconds(ANSWER_WITHIN)
            ),
            format!(
                "| registered sessions | {} of one user, {} of all |",
                registered::MAX_OF_A_USER,
                registered::MAX_OF_ALL
            ),
            format!(
                "| files put for a session | {} of {} |",
                upload::MOST_UPLOADS,
                Size(upload::LARGEST_UPLOAD)
            ),
        ] {
            // People write a space before a unit.
            let spaced = row.replace("MiB", " MiB").replace("KiB", " KiB");
            assert!(text.contains(&spaced), "{spaced}");
        }
        assert_eq!(events::KEPT, 2000, "two thousand");
    }
}
