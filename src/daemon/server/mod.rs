//! The control socket: newline-delimited JSON-RPC 2.0, one task a connection.

mod connection;
pub(crate) mod failure;
pub(crate) mod lines;
pub(crate) mod methods;
pub mod places;
mod registered;
pub(crate) mod request;
mod send;
mod socket;
mod tell;

use std::{fs::File, rc::Rc, time::Duration};

use futures::FutureExt;
use tokio::{net::UnixStream, time::Instant};

use super::{core::Daemon, directories, fdstore, keepers::Keepers, view::Viewer};
use crate::api::cause::Actor;
pub use methods::LastList;
pub use socket::Socket;

/// Room for connections that do not watch: hooks, and verbs. Each lasts for milliseconds.
pub const ROOM: places::Room =
    places::Room { connections: 512, of_one_user: 256, bytes: 16 << 20, most_bytes: 64 << 20 };

/// A shortage of descriptors is over when nothing was short of them for so long.
const SHORTAGE: Duration = Duration::from_secs(1);

/// What the accepting of clients warns of.
const TOPIC: &str = "clients";

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// For causes: who asked.
    pub actor: Actor,
    /// What they may see.
    pub viewer: Viewer,
}

/// Serves until the loop ends.
pub async fn serve<K: Keepers + 'static>(daemon: Rc<Daemon<K>>, mut socket: Socket) {
    let mut spare = Spare::new();
    let mut short_at: Option<Instant> = None;
    loop {
        let interval = daemon.store.look().config.resync_interval.0;
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = socket.is_lost(interval) => {
                match bind_anew(&daemon).await {
                    Ok(anew) => socket = anew,
                    Err(error) => {
                        let path = daemon.paths.socket.display();
                        tracing::error!(%path, %error, "the control socket is gone and cannot be bound anew");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
                continue;
            }
        };
        match accepted {
            Ok(stream) => {
                // One that is accepted between two that are not ends no shortage.
                if short_at.is_some_and(|at| at.elapsed() > SHORTAGE) {
                    short_at = None;
                    daemon.mended(TOPIC);
                }
                admit(&daemon, stream);
            }
            Err(error) => {
                if short_at.replace(Instant::now()).is_none() {
                    daemon.warn(TOPIC, format!("cannot accept clients: {error}"));
                }
                // With the spare descriptor at least one is told. Without a pause the loop would spin: the queue
                // stays readable.
                if spare.give_up()
                    && let Some(Ok(stream)) = socket.accept().now_or_never()
                {
                    turn_away(&daemon, &stream);
                }
                spare.restore();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit<K: Keepers + 'static>(daemon: &Rc<Daemon<K>>, stream: UnixStream) {
    let Some(peer) = identify(&stream, daemon.uid) else { return };
    let Some(place) = daemon.metrics.places().enter(peer.actor.uid) else {
        return turn_away(daemon, &stream);
    };
    let daemon = Rc::clone(daemon);
    tokio::task::spawn_local(async move { connection::serve(&daemon, stream, peer, &place).await });
}

/// Tells a client that there is no place for it, if that can be done without waiting.
fn turn_away<K: Keepers>(daemon: &Daemon<K>, stream: &UnixStream) {
    daemon.metrics.refused();
    let _ = stream.try_write(&connection::busy());
}

/// A descriptor that is kept for when there are none: by giving it up, a client can be told so.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn restore(&mut self) {
        if self.0.is_none() {
            *self = Self::new();
        }
    }

    fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Makes the way to the socket anew, and the directory that it is in. Who is connected stays so.
async fn bind_anew<K: Keepers>(daemon: &Daemon<K>) -> std::io::Result<Socket> {
    directories::make(&daemon.paths, daemon.system).map_err(std::io::Error::other)?;
    let socket = Socket::bind(&daemon.paths.socket)?;
    fdstore::keep(&daemon.paths.socket, &socket).await;
    tracing::warn!(path = %daemon.paths.socket.display(), "the control socket was removed or replaced: bound anew");
    Ok(socket)
}

fn identify(stream: &UnixStream, own_uid: u32) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    let uid = credentials.uid();
    Some(Peer {
        actor: Actor { uid, pid: credentials.pid().unwrap_or(0) },
        viewer: Viewer { uid, privileged: uid == 0 || uid == own_uid },
    })
}
