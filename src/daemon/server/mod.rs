//! The control socket: newline-delimited JSON-RPC 2.0, one task a connection.

mod connection;
mod methods;

use std::{
    cell::Cell,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    rc::Rc,
    time::Duration,
};

use tokio::net::{UnixListener, UnixStream};

use super::{core::Daemon, keepers::Keepers, view::Viewer};
use crate::{api::cause::Actor, host::files};

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

/// Binds the control socket at `path`, mode 0666: who may do what is decided by the peer's uid, as the
/// kernel tells it. A socket file that is there already is replaced: the daemon's lock says that nobody
/// listens on it.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    // Bound under another name and renamed, so that there is no moment without a socket and none with a
    // socket of wrong permissions; through a descriptor, because a socket's path is limited to 107 bytes.
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = format!(".{}.new", name.to_string_lossy());
    let held = std::fs::File::open(directory)?;
    let short = |name: &str| Path::new("/proc/self/fd").join(held.as_fd().as_raw_fd().to_string()).join(name);
    files::remove_if_there(&short(&temporary))?;
    let listener = std::os::unix::net::UnixListener::bind(short(&temporary))?;
    std::fs::set_permissions(short(&temporary), std::fs::Permissions::from_mode(0o666))?;
    std::fs::rename(short(&temporary), path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
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
pub async fn serve<K: Keepers + 'static>(daemon: Rc<Daemon<K>>, listener: UnixListener) {
    let open = Rc::new(Cell::new(0_u32));
    loop {
        if open.get() >= MAX_CONNECTIONS {
            // Clients queue in the kernel meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
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
