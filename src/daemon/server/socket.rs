//! The listening socket, and the file that leads to it.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    time::{Instant, sleep, sleep_until},
};

use crate::host::{dirwatch::DirectoryWatch, files};

/// Between two bindings at least: somebody who binds the same path again and again is not to make a busy loop of it.
const SPACING: Duration = Duration::from_secs(1);

/// The socket that clients connect to.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the file that was bound: no other file gets them while it is listened on.
    file: (u64, u64),
    /// Absent where inotify is not to be had.
    watch: Option<DirectoryWatch>,
    bound: Instant,
}

impl Socket {
    /// Binds `path`, mode 0666: who may do what is decided by the peer's uid, as the kernel tells it. A file that is
    /// there already is replaced: the daemon's lock says that nobody listens on it.
    pub fn bind(path: &Path) -> io::Result<Self> {
        // Bound under another name and renamed, so that there is no moment without a socket and none with a
        // socket of wrong permissions; through a descriptor, because a socket's path is limited to 107 bytes.
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let temporary = format!(".{}.new", name.to_string_lossy());
        let held = std::fs::File::open(directory)?;
        let short =
            |name: &str| Path::new("/proc/self/fd").join(held.as_fd().as_raw_fd().to_string()).join(name);
        files::remove_if_there(&short(&temporary))?;
        let listener = std::os::unix::net::UnixListener::bind(short(&temporary))?;
        std::fs::set_permissions(short(&temporary), std::fs::Permissions::from_mode(0o666))?;
        let file = identity(&short(&temporary))?;
        std::fs::rename(short(&temporary), path)?;
        Self::new(path, listener, file)
    }

    /// A socket that listens already, and that clients find at `path`.
    pub fn taken_over(path: &Path, listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        let file = identity(path)?;
        Self::new(path, listener, file)
    }

    fn new(path: &Path, listener: std::os::unix::net::UnixListener, file: (u64, u64)) -> io::Result<Self> {
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        listener.set_nonblocking(true)?;
        let watch = DirectoryWatch::new(directory)
            .inspect_err(|error| {
                tracing::warn!(path = %directory.display(), %error, "cannot watch: a socket that is removed is missed until the next resync");
            })
            .ok();
        Ok(Self {
            path: path.to_owned(),
            listener: UnixListener::from_std(listener)?,
            file,
            watch,
            bound: Instant::now(),
        })
    }

    /// The next client.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Waits until the path does not lead here any more. It is looked at when its directory changes, and in any
    /// case after `interval`, as everything is. May be dropped and called again.
    pub async fn is_lost(&self, interval: Duration) {
        while identity(&self.path).is_ok_and(|file| file == self.file) {
            let changed = async {
                match &self.watch {
                    Some(watch) if watch.changed().await.is_ok() => {}
                    Some(_) | None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = sleep(interval) => {}
            }
        }
        sleep_until(self.bound + SPACING).await;
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}
