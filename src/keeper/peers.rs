//! Those who are connected to a keeper's socket. None of them can hold it up.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use super::viewers::Arrival;
use crate::{
    api::{
        attach::{ATTACH_PROTOCOL, Attach},
        cause::Actor,
        keeper::{FrameKind, Hello, KEEPER_PROTOCOL, Reply, Request, decode, encode},
        record::Record,
        time::Moment,
    },
    host::{
        poll::{self, Got, Interest, Ready},
        socket,
    },
};

/// Connections at once. The one that is silent longest makes room for another.
const MOST: usize = 32;
/// A connection that says nothing for so long is closed.
const SILENCE: Duration = Duration::from_secs(30);
/// A peer that asks and does not read is not read further.
const UNREAD: usize = 64 << 10;

/// Least room for a read.
const PIECE: usize = 4096;

#[derive(Debug)]
struct Peer {
    number: u64,
    stream: UnixStream,
    actor: Actor,
    input: Vec<u8>,
    output: Vec<u8>,
    heard: Moment,
    gone: bool,
    /// It is an attached terminal from here on.
    attaches: Option<Attach>,
}

/// The connections.
#[derive(Debug, Default)]
pub struct Peers {
    list: Vec<Peer>,
    last_number: u64,
    hello: Vec<u8>,
    allowed: [u32; 2],
}

/// A request, and whom to answer.
#[derive(Debug)]
pub struct Asked {
    /// The connection, as long as it stands.
    pub peer: u64,
    /// Who asks.
    pub actor: Actor,
    /// What, or why it could not be read.
    pub request: Result<Request, String>,
}

impl Peers {
    /// Nobody yet. Root, the keeper's own user `own` and the session's may ask. `terminal`: one can attach.
    pub fn new(record: &Record, own: u32, terminal: bool) -> Self {
        let hello = Hello {
            protocol: KEEPER_PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: record.intent.name.clone(),
            run_id: record.intent.run_id,
            keeper_pid: record.keeper.pid,
            attach: if terminal { ATTACH_PROTOCOL } else { 0 },
        };
        Self {
            list: Vec::new(),
            last_number: 0,
            hello: frame(FrameKind::Hello, &hello),
            allowed: [own, record.uid],
        }
    }

    /// Takes all connections that wait. An error says that there are no descriptors for more now.
    pub fn accept(&mut self, listener: &OwnedFd, now: Moment) -> io::Result<()> {
        while let Some(connection) = socket::accept(listener)? {
            let Ok(actor) = socket::peer(&connection) else {
                continue;
            };
            if actor.uid != 0 && !self.allowed.contains(&actor.uid) {
                continue;
            }
            self.admit(connection.into(), actor, now);
        }
        Ok(())
    }

    /// Takes one connection in, and greets.
    pub fn admit(&mut self, stream: UnixStream, actor: Actor, now: Moment) {
        if self.list.len() >= MOST
            && let Some((silent, _)) = self.list.iter().enumerate().min_by_key(|(_, peer)| peer.heard)
        {
            self.list.swap_remove(silent);
        }
        self.last_number += 1;
        let mut peer = Peer {
            number: self.last_number,
            stream,
            actor,
            input: Vec::new(),
            output: self.hello.clone(),
            heard: now,
            gone: false,
            attaches: None,
        };
        peer.flush();
        self.list.push(peer);
    }

    /// Each connection, and what to wait for.
    pub fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        self.list.iter().map(|peer| (peer.stream.as_fd(), peer.interest()))
    }

    /// Whether one that asked is still connected.
    pub fn is_there(&self, peer: u64) -> bool {
        self.list.iter().any(|one| one.number == peer && !one.gone)
    }

    /// When the first connection has been silent for too long.
    pub fn next(&self) -> Option<Moment> {
        self.list.iter().map(|peer| peer.heard.saturating_add(SILENCE)).min()
    }

    /// Reads and writes what can be: `ready` is for each connection as [`Self::watched`] told them.
    pub fn turn(&mut self, ready: &[Ready], now: Moment) -> Vec<Asked> {
        let mut asked = Vec::new();
        for (peer, ready) in self.list.iter_mut().zip(ready) {
            if ready.write {
                peer.flush();
            }
            if ready.read {
                peer.read();
            }
            while let Some(request) = peer.next_request() {
                peer.heard = now;
                asked.push(Asked { peer: peer.number, actor: peer.actor, request });
            }
        }
        asked
    }

    /// Answers one that asked; it may be gone.
    pub fn answer(&mut self, peer: u64, reply: &Reply) {
        if let Some(peer) = self.list.iter_mut().find(|one| one.number == peer) {
            peer.output.extend(frame(FrameKind::Reply, reply));
            peer.flush();
        }
    }

    /// Those that became attached terminals: they are no peers any more.
    pub fn arrivals(&mut self) -> Vec<Arrival> {
        let attaching = self.list.extract_if(.., |peer| peer.attaches.is_some() && !peer.gone);
        let arrival = |peer: Peer| {
            let Peer { stream, input, output, attaches, .. } = peer;
            Some(Arrival { stream, input, output, attach: attaches? })
        };
        attaching.filter_map(arrival).collect()
    }

    /// Lets go of those that are gone or silent.
    pub fn sweep(&mut self, now: Moment) {
        self.list.retain(|peer| !peer.gone && now < peer.heard.saturating_add(SILENCE));
    }
}

impl Peer {
    fn interest(&self) -> Interest {
        Interest { read: self.output.len() < UNREAD, write: !self.output.is_empty() }
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }

    fn read(&mut self) {
        self.input.reserve(PIECE);
        match poll::read(&self.stream, &mut self.input) {
            Ok(Got::Bytes(_) | Got::Nothing) => {}
            Ok(Got::End) | Err(_) => self.gone = true,
        }
    }

    fn next_request(&mut self) -> Option<Result<Request, String>> {
        if self.attaches.is_some() {
            return None;
        }
        let (request, taken) = match decode(&self.input) {
            Ok(Some((frame, taken))) if FrameKind::from_byte(frame.kind) == Some(FrameKind::Attach) => {
                match serde_json::from_slice(frame.payload) {
                    Ok(attach) => {
                        self.attaches = Some(attach);
                        self.input.drain(..taken);
                        return None;
                    }
                    Err(error) => (Err(error.to_string()), taken),
                }
            }
            Ok(Some((frame, taken))) if FrameKind::from_byte(frame.kind) == Some(FrameKind::Request) => {
                (serde_json::from_slice(frame.payload).map_err(|error| error.to_string()), taken)
            }
            Ok(None) => return None,
            // Garbage, or a kind that only a newer peer knows: what would follow means nothing either.
            Ok(Some(_)) | Err(_) => {
                self.gone = true;
                self.input.clear();
                return None;
            }
        };
        self.input.drain(..taken);
        // A long request must not be paid for as long as the connection stands.
        if self.input.is_empty() && self.input.capacity() > UNREAD {
            self.input = Vec::new();
        }
        Some(request)
    }
}

fn frame(kind: FrameKind, value: &impl serde::Serialize) -> Vec<u8> {
    // Our own small values: neither can fail, and an empty answer closes nothing.
    serde_json::to_vec(value).ok().and_then(|json| encode(kind, &json).ok()).unwrap_or_default()
}
