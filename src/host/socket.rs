//! Stream sockets in a directory, whatever the length of its path.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    libc,
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use crate::api::cause::Actor;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

fn stream(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | flags;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Calls `with` on an address of `path`: itself, or one through the directory's descriptor, as an address
/// holds 107 bytes.
pub(super) fn with_address<T>(
    path: &Path,
    with: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<T>,
) -> io::Result<T> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return Ok(with(&address)?);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory: File =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(parent)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory)));
    Ok(with(&SocketAddrUnix::new(short.join(name))?)?)
}

/// Listens at `path`, mode 0600, in the place of whatever is there: for the one owner of that path. Never
/// blocks.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = stream(SocketFlags::NONBLOCK)?;
    with_address(path, |address| rustix::net::bind(&socket, address))?;
    // Nobody can connect before `listen`, so the mode is in time.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next connection, non-blocking; `None`: no more.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        return match rustix::net::accept_with(&listener, flags) {
            Ok(connection) => Ok(Some(connection)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Sends `bytes` with a copy of `descriptor`, as one datagram to whom `socket` is connected.
pub fn send_descriptor(socket: impl AsFd, bytes: &[u8], descriptor: BorrowedFd) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let flags = SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut ancillary, flags)?;
    Ok(())
}

/// Whether `descriptor` is a socket of streams that listens in the file system's name space.
pub fn is_listening(descriptor: impl AsFd) -> bool {
    let listens = rustix::net::sockopt::socket_acceptconn(&descriptor).unwrap_or(false);
    let domain = rustix::net::sockopt::socket_domain(&descriptor);
    let kind = rustix::net::sockopt::socket_type(&descriptor);
    listens && domain == Ok(AddressFamily::UNIX) && kind == Ok(SocketType::STREAM)
}

/// Who is at the other end: as the kernel noted when it connected.
pub fn peer(connection: impl AsFd) -> io::Result<Actor> {
    let peer = getsockopt(&connection, PeerCredentials)?;
    Ok(Actor { uid: peer.uid(), pid: peer.pid() })
}

/// Connects to `path`. Connecting, and each read and write of what is returned, gives up after `patience`
/// with `WouldBlock`: a listener that does not accept has a full backlog sooner or later.
pub fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::from(stream(SocketFlags::empty())?);
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?; // the kernel's own limit on a connect, too
    with_address(path, |address| rustix::net::connect(&stream, address))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_reachable_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(150));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("s");
        let listener = listen(&path).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let _client = connect(&path, Duration::from_secs(1)).unwrap();
        let connection = accept(&listener).unwrap().expect("a connection waits");
        assert_eq!(peer(&connection).unwrap().pid, std::process::id().cast_signed());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        listen(&path).expect("a stale socket is replaced");
    }
}
