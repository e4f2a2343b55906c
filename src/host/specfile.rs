//! Looking at the files of a directory that strangers may fill, without blocking and without being fooled.
//!
//! Everything goes through the open directory, so that what is seen belongs to the directory that was
//! checked, whatever happens to its path meanwhile. A file is opened in two steps: first as a place
//! (`O_PATH`), which touches nothing, and only when that place is a regular file, for reading. Opening a
//! device or a FIFO acts on it even with `O_NONBLOCK`: a link to `/dev/watchdog` would arm it.

use std::{
    ffi::{CStr, OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

/// Which directory a path led to. The path may lead to another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DirId {
    /// Device, as `st_dev`.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// When it was made: seconds and nanoseconds, where the file system tells. Numbers of deleted inodes are
    /// given out again at once, so that without it a directory made anew passes for the one it replaces.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub born: Option<(i64, u32)>,
}

/// What the kernel says of one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    /// Device and inode.
    pub id: DirId,
    /// Bytes, as the file system says.
    pub size: u64,
    /// When the content changed: seconds and nanoseconds. Anyone may set it.
    pub modified: (i64, u32),
    /// When content or attributes changed. Nobody can set it.
    pub changed: (i64, u32),
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Hard links.
    pub links: u32,
}

impl Inode {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::RegularFile
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Symlink
    }

    /// Whether somebody beside its owner may write to it.
    pub fn is_writable_by_others(&self) -> bool {
        self.mode & 0o022 != 0
    }

    /// What it is, in words.
    fn kind(&self) -> &'static str {
        match FileType::from_raw_mode(self.mode) {
            FileType::RegularFile => "a regular file",
            FileType::Directory => "a directory",
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            FileType::CharacterDevice => "a character device",
            FileType::BlockDevice => "a block device",
            FileType::Unknown => "something unknown",
        }
    }
}

/// What a name in a directory was at one look. Two equal stamps are the best evidence, short of reading,
/// that nothing was changed between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The name itself.
    pub own: Inode,
    /// Where `own` is a link: what it leads to, if it leads anywhere.
    pub target: Option<Box<Inode>>,
}

impl Stamp {
    /// The inode whose content counts.
    pub fn file(&self) -> &Inode {
        self.target.as_deref().unwrap_or(&self.own)
    }
}

/// Why the content of a name that is there could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A link to nothing.
    #[error("it is a link to a file that does not exist")]
    Dangling,
    /// Links that lead to each other.
    #[error("it is a link that leads to itself")]
    Loop,
    /// A FIFO, a device, a directory, a socket.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// More than this many bytes.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// The kernel's answer.
    #[error("it cannot be {doing}: {error}")]
    Refused {
        /// "opened", "read".
        doing: &'static str,
        /// What the kernel said.
        error: Errno,
    },
}

/// One name, looked at and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// The directory has no such name.
    Missing,
    /// It is there.
    Present {
        /// As before reading; absent where even that could not be learned.
        stamp: Option<Stamp>,
        /// All of it, or why not.
        bytes: Result<Vec<u8>, Obstacle>,
        /// The file changed while it was read.
        torn: bool,
    },
}

impl Sight {
    /// A name in a directory that could not be opened: it may be there.
    pub fn unopened(error: &io::Error) -> Self {
        let error = Errno::from_io_error(error).unwrap_or(Errno::IO);
        let obstacle = Obstacle::Refused { doing: "looked for", error };
        Self::Present { stamp: None, bytes: Err(obstacle), torn: false }
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// The directory itself.
    pub inode: Inode,
}

impl Directory {
    /// Opens `path` for looking at single names in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with(path, OFlags::PATH)
    }

    /// Opens `path` for listing it, too.
    pub fn open_for_listing(path: &Path) -> io::Result<Self> {
        Self::with(path, OFlags::RDONLY)
    }

    fn with(path: &Path, flags: OFlags) -> io::Result<Self> {
        let fd = rustix::fs::openat(CWD, path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let inode = inode_of(&fd)?;
        Ok(Self { fd, inode })
    }

    /// Which directory this is.
    pub fn id(&self) -> DirId {
        self.inode.id
    }

    /// The names in it that `wanted` lets through, without `.` and `..`, in no order. A name whose inode
    /// cannot be asked for has no stamp; one that vanishes meanwhile is left out.
    pub fn list(&self, mut wanted: impl FnMut(&OsStr) -> bool) -> io::Result<Vec<(OsString, Option<Stamp>)>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let raw: &CStr = entry.file_name();
            let name = OsStr::from_bytes(raw.to_bytes());
            if matches!(name.as_bytes(), b"." | b"..") || !wanted(name) {
                continue;
            }
            match self.stamp(name) {
                Ok(stamp) => found.push((name.to_owned(), Some(stamp))),
                Err(Errno::NOENT) => {}
                Err(_) => found.push((name.to_owned(), None)),
            }
        }
        Ok(found)
    }

    /// Looks at `name` and reads it, where it is a regular file of at most `limit` bytes. The size that the
    /// file system tells is not believed.
    pub fn read(&self, name: &OsStr, limit: usize) -> Sight {
        let stamp = match self.stamp(name) {
            Ok(stamp) => stamp,
            Err(Errno::NOENT) => return Sight::Missing,
            Err(error) => {
                let bytes = Err(Obstacle::Refused { doing: "looked at", error });
                return Sight::Present { stamp: None, bytes, torn: false };
            }
        };
        match self.content(name, limit) {
            Ok((bytes, before, after)) => {
                // A link may have been turned, or the file replaced, between the stamp and the opening.
                let torn = before != after || *stamp.file() != before;
                Sight::Present { stamp: Some(stamp), bytes: Ok(bytes), torn }
            }
            // The name went, or its link was cut, since the stamp was taken.
            Err(Obstacle::Dangling) if !stamp.own.is_link() => Sight::Missing,
            Err(obstacle) => Sight::Present { stamp: Some(stamp), bytes: Err(obstacle), torn: false },
        }
    }

    fn content(&self, name: &OsStr, limit: usize) -> Result<(Vec<u8>, Inode, Inode), Obstacle> {
        let opened = |error| match error {
            Errno::NOENT => Obstacle::Dangling,
            Errno::LOOP => Obstacle::Loop,
            error => Obstacle::Refused { doing: "opened", error },
        };
        let place = rustix::fs::openat(&self.fd, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(opened)?;
        let before = inode_of(&place).map_err(opened)?;
        if !before.is_file() {
            return Err(Obstacle::NotRegular(before.kind()));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty())
        {
            // No procfs here: by name once more, checked again below.
            Err(Errno::NOENT) => rustix::fs::openat(&self.fd, name, flags, Mode::empty()),
            other => other,
        }
        .map_err(opened)?;
        let read = |error: io::Error| Obstacle::Refused {
            doing: "read",
            error: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        };
        let is = inode_of(&fd).map_err(opened)?;
        if !is.is_file() {
            return Err(Obstacle::NotRegular(is.kind()));
        }
        let mut file = File::from(fd);
        let mut bytes = Vec::with_capacity(usize::try_from(is.size).unwrap_or(limit).min(limit) + 1);
        (&mut file).take(limit as u64 + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() > limit {
            return Err(Obstacle::TooLong(limit));
        }
        let after = inode_of(&file).map_err(opened)?;
        Ok((bytes, before, after))
    }

    fn stamp(&self, name: &OsStr) -> Result<Stamp, Errno> {
        let own = inode_at(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let target =
            if own.is_link() { inode_at(&self.fd, name, AtFlags::empty()).ok().map(Box::new) } else { None };
        Ok(Stamp { own, target })
    }
}

/// For how long nothing changed this inode, by the wall clock; `None` where its times are in the future.
pub fn quiet_for(inode: &Inode) -> Option<Duration> {
    let (seconds, nanoseconds) = inode.modified.max(inode.changed);
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).ok()?;
    let quiet = (i128::from(now.tv_sec()) - i128::from(seconds)) * 1_000_000_000 + i128::from(now.tv_nsec())
        - i128::from(nanoseconds);
    u64::try_from(quiet).ok().map(Duration::from_nanos)
}

/// The inode behind an open descriptor.
fn inode_of(fd: impl AsFd) -> Result<Inode, Errno> {
    inode_at(fd, OsStr::new(""), AtFlags::EMPTY_PATH)
}

fn inode_at(fd: impl AsFd, name: &OsStr, flags: AtFlags) -> Result<Inode, Errno> {
    // An automounter is not asked to mount anything for a look.
    let flags = flags | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(fd, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let tells_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    Ok(Inode {
        id: DirId {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            born: tells_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
        },
        size: stat.stx_size,
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        mode: u32::from(stat.stx_mode),
        uid: stat.stx_uid,
        links: stat.stx_nlink,
    })
}

#[cfg(test)]
mod tests;
