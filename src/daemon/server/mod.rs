//! The control socket: newline-delimited JSON-RPC 2.0, one task a connection.

mod connection;
mod methods;
mod registered;
mod socket;

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::net::UnixStream;

use super::{core::Daemon, directories, fdstore, keepers::Keepers, view::Viewer};
use crate::api::cause::Actor;
pub use socket::Socket;

/// Connections at once. More wait in the kernel's queue, and are refused by it when that is full.
const MAX_CONNECTIONS: u32 = 512;

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// For causes: who asked.
    pub actor: Actor,
    /// What they may see.
    pub viewer: Viewer,
}

/// One connection among those that are open. It is taken off when dropped, so also by a task that panics: a
/// count that only goes up would close the socket for good in the end.
struct Counted(Rc<Cell<u32>>);

impl Counted {
    fn new(open: &Rc<Cell<u32>>) -> Self {
        open.set(open.get().saturating_add(1));
        Self(Rc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves until the loop ends.
pub async fn serve<K: Keepers + 'static>(daemon: Rc<Daemon<K>>, mut socket: Socket) {
    let open = Rc::new(Cell::new(0_u32));
    loop {
        if open.get() >= MAX_CONNECTIONS {
            // Clients queue in the kernel meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
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
                let (daemon, counted) = (Rc::clone(&daemon), Counted::new(&open));
                tokio::task::spawn_local(async move {
                    let _counted = counted;
                    if let Some(peer) = identify(&stream, daemon.uid) {
                        connection::serve(&daemon, stream, peer).await;
                    }
                });
            }
            Err(error) => {
                // Out of descriptors: the queue stays readable, and a loop without a pause would spin.
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_whose_task_panics_is_counted_no_more() {
        let open = Rc::new(Cell::new(0));
        let counted = Counted::new(&open);
        assert_eq!(open.get(), 1);
        let local = tokio::task::LocalSet::new();
        let task = local.spawn_local(async move {
            let _counted = counted;
            panic!("as a bug would");
        });
        assert!(local.run_until(task).await.unwrap_err().is_panic());
        assert_eq!(open.get(), 0);
    }
}
