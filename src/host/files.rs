//! Files written so that a reader never sees half of one, and opened so that no file can block or fool us.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use nix::libc;

use super::failpoint::{self, Place};

/// Whether a written file must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Whole or not at all, as seen by other processes.
    Atomic,
    /// The same, and on the disk when the call returns.
    Synced,
}

/// Puts `bytes` at `path` by writing a sibling and renaming it, mode 0600.
///
/// The sibling's name is fixed (`.NAME.new`), so a writer that was killed leaves at most one, and the next
/// one replaces it. Each path must have one writer.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    replace_with(path, bytes, durability, None)
}

/// The same, the file being the user `uid`'s own.
pub fn replace_for(path: &Path, bytes: &[u8], uid: u32) -> io::Result<()> {
    replace_with(path, bytes, Durability::Atomic, Some(uid))
}

fn replace_with(path: &Path, bytes: &[u8], durability: Durability, owner: Option<u32>) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut sibling = std::ffi::OsString::from(".");
    sibling.push(name);
    sibling.push(".new");
    let temporary = path.with_file_name(sibling);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)?;
    let given = match owner {
        Some(uid) if file.metadata()?.uid() != uid => fchown(&file, Some(uid), None),
        Some(_) | None => Ok(()),
    };
    let written = given.and_then(|()| file.write_all(bytes)).and_then(|()| match durability {
        Durability::Atomic => Ok(()),
        Durability::Synced => file.sync_all(),
    });
    drop(file);
    let written = written.and_then(|()| failpoint::hit(Place::Written));
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        let _ = fs::remove_file(&temporary); // best effort: the error that matters is the first
        return Err(error);
    }
    if durability == Durability::Synced
        && let Some(parent) = path.parent()
    {
        File::open(parent)?.sync_all()?;
    }
    failpoint::hit(Place::Replaced)
}

/// Reads at most `limit` bytes of a regular file, never blocking on a FIFO or a device and never following
/// a link. More than `limit` bytes is an error: the size that `stat` tells is not believed.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_with(path, limit, libc::O_NOFOLLOW)
}

/// The same, following links: for a path that its own user wrote, opened as that user.
pub fn read_following(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_with(path, limit, 0)
}

fn read_with(path: &Path, limit: u64, flags: libc::c_int) -> io::Result<Vec<u8>> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // Room for all of it and for the read that finds the end: one call each instead of one a doubling.
    let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(limit)).unwrap_or(0) + 32);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Holds on to a directory: the handle means it also after its path means another.
pub fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

/// Makes `path` and what is missing above it, as [`make_above`] does; a directory that this call makes gets `mode`.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_above(path, mode)?;
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the directories above `path` that are missing, with `mode` less what the umask takes. With the umask alone they
/// would be open to everybody where it takes nothing, and whoever may write to a directory may replace what is below it.
pub fn make_above(path: &Path, mode: u32) -> io::Result<()> {
    match path.parent() {
        Some(parent) => fs::DirBuilder::new().recursive(true).mode(mode).create(parent),
        None => Ok(()),
    }
}

/// Removes the file `path`; that there is none is no error.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// What stands at `path`, links not followed; `None`: nothing.
pub fn stat_if_there(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes `path` an empty directory with `mode`: one that is there is emptied, and replaced if it is no directory.
///
/// For directories of our own, whose one writer is the caller. Nothing is followed out of it.
pub fn make_empty_directory(path: &Path, mode: u32) -> io::Result<()> {
    match stat_if_there(path)? {
        Some(found) if found.is_dir() => {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            return fs::set_permissions(path, fs::Permissions::from_mode(mode));
        }
        Some(_) => fs::remove_file(path)?,
        None => {}
    }
    make_directory(path, mode)
}
