//! One holder per name, kept by the kernel: `flock` on a file that is never unlinked.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::libc;

use super::files::stat_if_there;

/// Takes the lock at `path`, or says `None` where somebody holds it.
///
/// The lock belongs to the open file, so it passes to whoever is handed the descriptor and is free when the
/// last copy is closed, however its holder ends.
pub fn try_take(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = match options.clone().write(true).create(true).truncate(false).open(path) {
        // One that is there can be locked all the same.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => options.open(path)?,
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) if is_still_at(&file, path)? => Ok(Some(file)),
        // Held by somebody; or the path was removed between open and lock, and what we hold is nobody's lock.
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether somebody holds the lock at `path`. A lock that never was is free.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `path` still names the file that is held.
pub fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    let named = stat_if_there(path)?;
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_is_free_when_its_last_copy_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let first = try_take(&path).unwrap().expect("free at first");
        let copy = first.try_clone().unwrap();
        assert!(try_take(&path).unwrap().is_none());
        drop(first);
        assert!(is_held(&path).unwrap(), "the copy still holds it");
        drop(copy);
        assert!(!is_held(&path).unwrap());
    }

    #[test]
    fn a_removed_path_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let held = try_take(&path).unwrap().unwrap();
        assert!(is_still_at(&held, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_still_at(&held, &path).unwrap());
    }
}
