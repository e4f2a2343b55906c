//! Waiting, in an event loop, for a change of the names in one directory.

use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::{Interest, unix::AsyncFd};

/// One directory whose names are watched. It is the directory that is watched, not its path: who is told of a
/// change looks at the path again.
#[derive(Debug)]
pub struct DirectoryWatch(AsyncFd<OwnedFd>);

impl DirectoryWatch {
    /// Watches the directory at `path` from now on, in the event loop that runs.
    pub fn new(path: &Path) -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        inotify::add_watch(&queue, path, names | itself)?;
        // SAFETY: the descriptor is owned by the `AsyncFd` from here to its drop, and nobody else has it.
        let watched = unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) };
        Ok(Self(watched?))
    }

    /// Waits until a name in it came or went, or it did itself.
    pub async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.0.get_ref(), &mut room);
        // All that there are: which of them it was says nothing that a look at the path would not say better.
        loop {
            match events.next() {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
