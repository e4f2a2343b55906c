//! The git repository that a process works in, read from its files: no git is started.
//!
//! A user's files may be anything, and what is asked here may hang with the file system that it is asked of: it is for a
//! thread of its own. All is read with the rights of the process itself, so nothing can be shown that it could not see,
//! whatever links lead where; what is shown is a name that git would accept, and the path of a directory above it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::{
    assume::{Rights, with_rights},
    process::identify,
};
use crate::api::{
    git::{self, Head},
    record::ProcessId,
    status::GitView,
};

/// Directories above the working directory that are looked at.
const MOST_LEVELS: usize = 128;
/// Longest file that says one thing: `HEAD`, `.git`, `commondir`.
const LONGEST_LINE: u64 = 4 << 10;
/// Longest config.
const LONGEST_CONFIG: u64 = 64 << 10;

const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A repository that was found.
struct Found {
    root: OwnedFd,
    head: Head,
    /// By its remote.
    name: Option<String>,
    /// The directory that worktrees share.
    shared: Option<OwnedFd>,
}

/// The repository of the working directory of `process`, which is to run as `uid`; `None` where there is none that it
/// may see, or where it runs as another user than that.
///
/// # Errors
/// Where the process is gone or may not be looked at.
pub fn of_process(process: ProcessId, uid: u32) -> io::Result<Option<GitView>> {
    let rights = Rights::of_process(process)?;
    // The process itself, not the path: it may lead elsewhere by now, or only for the process.
    let here = rustix::fs::open(format!("/proc/{}/cwd", process.pid), PLACE, Mode::empty())?;
    if identify(process.pid)? != process {
        return Err(io::ErrorKind::NotFound.into());
    }
    if rights.uid != uid {
        return Ok(None);
    }
    let found = with_rights(&rights, || discover(here, uid))?;
    Ok(found.and_then(view))
}

fn view(found: Found) -> Option<GitView> {
    let root = path_of(&found.root)?;
    let last = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let shared =
        found.shared.as_ref().and_then(path_of).and_then(|path| git::name_of(&path.to_string_lossy()));
    let repo = found.name.or(shared).or_else(|| last(&root)).unwrap_or_else(|| "/".to_owned());
    let branch = match found.head {
        Head::At(name) => Some(name),
        Head::Elsewhere => None,
    };
    Some(GitView { root: root.to_string_lossy().into_owned(), repo, branch })
}

/// Where a directory is; `None` where it was removed, or cannot be reached from here.
fn path_of(directory: &OwnedFd) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
    let is_gone = path.as_os_str().as_bytes().ends_with(b" (deleted)");
    (path.is_absolute() && !is_gone).then_some(path)
}

/// Looks for a repository from `here` upwards, within one file system as git does. What cannot be looked at ends it.
fn discover(here: OwnedFd, uid: u32) -> Option<Found> {
    let mut about = rustix::fs::fstat(&here).ok()?;
    let trusted = [uid, 0, about.st_uid];
    let mut directory = here;
    for _ in 0..MOST_LEVELS {
        match repository(&directory, &trusted) {
            Sight::Nothing => {}
            Sight::Broken => return None,
            Sight::Repository { head, name, shared } => {
                return Some(Found { root: directory, head, name, shared });
            }
        }
        let above = rustix::fs::openat(&directory, "..", PLACE, Mode::empty()).ok()?;
        let next = rustix::fs::fstat(&above).ok()?;
        if next.st_dev != about.st_dev || next.st_ino == about.st_ino {
            return None;
        }
        (directory, about) = (above, next);
    }
    None
}

/// What a directory has by the name `.git`.
enum Sight {
    Nothing,
    /// A link to a repository that is not there, or cannot be read. Git does not look further up either.
    Broken,
    Repository {
        head: Head,
        name: Option<String>,
        shared: Option<OwnedFd>,
    },
}

/// In a directory that many may write to, a repository that one of them put there says nothing of the others.
fn repository(directory: &OwnedFd, trusted: &[u32]) -> Sight {
    let Ok(about) = stat(directory, ".git") else { return Sight::Nothing };
    if !trusted.contains(&about.st_uid) {
        return Sight::Nothing;
    }
    let (place, by_link) = match FileType::from_raw_mode(about.st_mode) {
        FileType::Directory => (rustix::fs::openat(directory, ".git", PLACE, Mode::empty()).ok(), false),
        FileType::RegularFile => (linked(directory), true),
        _ => return Sight::Nothing,
    };
    let head = place.as_ref().and_then(head);
    let Some((place, head)) = place.zip(head) else {
        return if by_link { Sight::Broken } else { Sight::Nothing };
    };
    let shared = read(&place, "commondir", LONGEST_LINE).ok();
    let shared = shared.and_then(|bytes| open_path(&place, git::common(&bytes)?));
    let config = read(shared.as_ref().unwrap_or(&place), "config", LONGEST_CONFIG);
    Sight::Repository { head, name: config.ok().and_then(|bytes| git::name_in_config(&bytes)), shared }
}

/// The directory that a `.git` which is a file leads to.
fn linked(directory: &OwnedFd) -> Option<OwnedFd> {
    open_path(directory, git::link(&read(directory, ".git", LONGEST_LINE).ok()?)?)
}

fn open_path(base: &OwnedFd, path: &str) -> Option<OwnedFd> {
    rustix::fs::openat(base, path, PLACE, Mode::empty()).ok()
}

/// What is checked out; `None`: this is no repository.
fn head(repository: &OwnedFd) -> Option<Head> {
    // Of old, a link that leads to the branch's file.
    if let Ok(target) = rustix::fs::readlinkat(repository, "HEAD", Vec::new()) {
        return git::reference_head(target.to_str().ok()?);
    }
    git::head(&read(repository, "HEAD", LONGEST_LINE).ok()?)
}

fn stat(directory: &OwnedFd, name: &str) -> io::Result<Stat> {
    // An automounter is not asked to mount anything for a look.
    Ok(rustix::fs::statat(directory, name, AtFlags::NO_AUTOMOUNT)?)
}

/// Reads a short regular file. Nothing else is opened: opening a device acts on it, and a FIFO waits.
fn read(directory: &OwnedFd, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let is_file = |about: Stat| FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
    let odd = || io::Error::new(io::ErrorKind::InvalidInput, "not a short regular file");
    if !is_file(stat(directory, name)?) {
        return Err(odd());
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(directory, OsStr::new(name), flags, Mode::empty())?);
    if !is_file(rustix::fs::fstat(&file)?) {
        return Err(odd());
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(odd()) } else { Ok(bytes) }
}

/// The repository of the directory `path`, with our own rights.
pub(crate) fn of_directory(path: &std::path::Path) -> Option<GitView> {
    let here = rustix::fs::openat(rustix::fs::CWD, path, PLACE, Mode::empty()).ok()?;
    discover(here, super::users::own().0).and_then(view)
}

#[cfg(test)]
mod tests;
