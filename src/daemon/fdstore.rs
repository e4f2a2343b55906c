//! The control socket over restarts: systemd keeps it, and clients queue in it meanwhile.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use super::{server::Socket, systemd};
use crate::host::socket::is_listening;

/// What `atm.socket` calls its socket.
const ACTIVATED: &str = "control";

/// The socket that clients connect to.
#[derive(Debug)]
pub struct Control {
    /// Listens.
    pub socket: Socket,
    /// It is another unit's, and stays where it is whatever becomes of the daemon.
    pub is_activated: bool,
}

/// Listens at `path`: by what systemd handed us where that is the socket which clients find there, by a new one
/// otherwise. What else was handed is let go of.
pub async fn listen(path: &Path, handed: Vec<(String, OwnedFd)>) -> io::Result<Control> {
    let expected = name_of(path);
    let mut found = None;
    for (name, descriptor) in handed {
        let is_activated = name == ACTIVATED;
        // A socket's name in the store says which file it is: the path may lead to another one by now.
        let fits = expected.is_some() && (is_activated || expected.as_ref() == Some(&name));
        if fits && found.is_none() && is_listening(&descriptor) {
            found = Some((descriptor, is_activated));
        } else if !is_activated {
            tracing::info!(descriptor = %name, "systemd kept what is of no use any more");
            systemd::forget(&name).await;
        }
    }
    if let Some((descriptor, is_activated)) = found {
        return Ok(Control { socket: Socket::taken_over(path, descriptor.into())?, is_activated });
    }
    let socket = Socket::bind(path)?;
    keep(path, &socket).await;
    Ok(Control { socket, is_activated: false })
}

/// Has systemd keep the socket that was bound at `path`.
pub async fn keep(path: &Path, socket: &Socket) {
    if let Some(name) = name_of(path).filter(|_| systemd::is_service()) {
        systemd::store(&name, socket.as_fd()).await;
    }
}

/// The name in the store of the socket that is at `path`.
fn name_of(path: &Path) -> Option<String> {
    let found = std::fs::metadata(path).ok().filter(|found| found.file_type().is_socket())?;
    Some(format!("control-{:x}-{:x}", found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener as Plain, UnixStream};

    async fn listen_with(path: &Path, handed: Vec<(String, OwnedFd)>) -> Control {
        listen(path, handed).await.unwrap()
    }

    #[tokio::test]
    async fn clients_that_queued_while_nobody_was_there_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let kept = Plain::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let junk = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let name = name_of(&path).unwrap();
        let handed = vec![
            ("other".into(), junk()),
            (name.clone(), junk()),
            (name.clone(), kept.into()),
            (name, junk()),
        ];
        let control = listen_with(&path, handed).await;
        assert!(!control.is_activated);
        control.socket.accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_no_client_finds_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let stale = Plain::bind(&path).unwrap();
        let name = name_of(&path).unwrap();
        let other = dir.path().join("t");
        drop(Plain::bind(&other).unwrap());
        std::fs::rename(&other, &path).unwrap();
        let control = listen_with(&path, vec![(name, stale.into())]).await;
        let _client = UnixStream::connect(&path).unwrap();
        control.socket.accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_of_a_socket_unit_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let theirs = Plain::bind(&path).unwrap();
        let control = listen_with(&path, vec![(ACTIVATED.into(), theirs.into())]).await;
        assert!(control.is_activated);
        let _client = UnixStream::connect(&path).unwrap();
        control.socket.accept().await.unwrap();
    }
}
