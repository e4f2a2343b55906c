//! Files that appear whole, whoever else writes them and wherever it is cut off.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::libc;
use rustix::fs::{CWD, Gid, RenameFlags, Uid};

use super::{
    client::{Links, open_regular, uid},
    files::{remove_if_there, stat_if_there},
    lock::is_still_at,
};

/// What may stand at the path already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Nothing: a file there is `AlreadyExists`.
    New,
    /// Anything.
    Replace,
    /// A file with these bytes: what somebody else has changed since they were read is not lost.
    Unchanged(&'a [u8]),
}

/// What becomes of a link at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLink {
    /// It is an error: whether it or the file that it names is meant, nobody said.
    Refuse,
    /// It stays, and the file that it names is replaced.
    Follow,
    /// It is replaced.
    Replace,
}

/// Whose the file is, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Owner, group and mode of the file that is replaced; a new one is the writer's, mode 0600.
    Kept,
    /// The writer's, with this mode.
    Own(u32),
}

/// How a file is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner<'a> {
    /// What may stand there.
    pub place: Place<'a>,
    /// What becomes of a link there.
    pub link: AtLink,
    /// Who may do what with it.
    pub rights: Rights,
}

impl<'a> Manner<'a> {
    /// A spec's. Specs hold values of env, so a new one is its writer's alone. In system mode the owner of a spec says
    /// whom its session runs as, so a replaced file keeps its owner; where that cannot be done nothing is changed.
    pub fn of_spec(place: Place<'a>) -> Self {
        Self { place, link: AtLink::Refuse, rights: Rights::Kept }
    }
}

/// Puts `bytes` at `path` by writing a sibling and renaming it: nobody sees half a file, nor does a power cut leave one.
///
/// The sibling's name (`.NAME.tmp`) is none that the daemon reads, and always the same: what a killed writer left goes
/// with the next try. One that the same user writes is waited for. Of two users who put a file at the same moment one
/// gets an error, most probably; where they may not write each other's files, nothing tells them from each other for sure.
pub fn put(path: &Path, bytes: &[u8], manner: Manner<'_>) -> io::Result<()> {
    if manner.link == AtLink::Follow && manner.place != Place::New && is_link(stat_if_there(path)?.as_ref()) {
        let target = fs::canonicalize(path)?;
        return put(&target, bytes, Manner { link: AtLink::Refuse, ..manner });
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let file = sibling(&temporary)?;
    // What stands there is looked at now that nobody else of this user writes it.
    let written = replaced(path, manner).and_then(|old| fill(&file, bytes, old.as_ref(), manner.rights));
    if !is_still_at(&file, &temporary)? {
        return Err(io::Error::other("another user writes it at the same time; try again"));
    }
    let named = written.and_then(|()| match manner.place {
        Place::Replace | Place::Unchanged(_) => fs::rename(&temporary, path),
        Place::New => rename_to_new(&temporary, path),
    });
    if named.is_err() {
        let _ = fs::remove_file(&temporary); // best effort: the error that matters is the first
    }
    named
}

fn is_link(there: Option<&fs::Metadata>) -> bool {
    there.is_some_and(fs::Metadata::is_symlink)
}

/// What stands at `path`, where it may be replaced.
fn replaced(path: &Path, manner: Manner<'_>) -> io::Result<Option<fs::Metadata>> {
    let old = stat_if_there(path)?;
    if is_link(old.as_ref()) && manner.place != Place::New && manner.link != AtLink::Replace {
        return Err(io::Error::other("it is a link"));
    }
    if let Place::Unchanged(before) = manner.place {
        let mut there = Vec::new();
        let most = u64::try_from(before.len()).unwrap_or(u64::MAX).saturating_add(1);
        if old.is_none() {
            return Err(io::Error::other("it was removed meanwhile; try again"));
        }
        open_regular(path, Links::Refuse)?.take(most).read_to_end(&mut there)?;
        if there != before {
            return Err(io::Error::other("it was changed meanwhile; try again"));
        }
    }
    Ok(old)
}

/// A new file at `path` that is its holder's alone until it is closed.
///
/// Whoever else of the same user comes to write the same file waits for that: removing what another one still writes
/// would give the name of a file to half of it.
fn sibling(path: &Path) -> io::Result<File> {
    loop {
        // No link that others may plant meanwhile is followed.
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_left(path)?;
                continue;
            }
            opened => opened?,
        };
        let is_taken = match file.try_lock() {
            // One who came between took it for what a killed writer left.
            Err(TryLockError::WouldBlock) => true,
            Ok(()) => !is_still_at(&file, path)?,
            // A file system without locks: those who write at the same time are on their own.
            Err(TryLockError::Error(_)) => false,
        };
        if !is_taken {
            return Ok(file);
        }
    }
}

/// Removes what a killed writer left at `path`, after whoever of this user still writes it. Anybody else could hold it
/// for ever.
fn remove_left(path: &Path) -> io::Result<()> {
    // For writing as well: NFS gives no lock to those who may only read.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let left = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => return remove_if_there(path),
        Ok(left) => left,
    };
    let about = left.metadata()?;
    let is_held = about.is_file() && about.uid() == uid() && left.lock().is_ok();
    if is_held && !is_still_at(&left, path)? { Ok(()) } else { remove_if_there(path) }
}

fn fill(mut file: &File, bytes: &[u8], old: Option<&fs::Metadata>, rights: Rights) -> io::Result<()> {
    match (rights, old) {
        (Rights::Own(mode), _) => file.set_permissions(fs::Permissions::from_mode(mode))?,
        (Rights::Kept, Some(old)) => {
            let mine = file.metadata()?;
            if (mine.uid(), mine.gid()) != (old.uid(), old.gid()) {
                rustix::fs::fchown(file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
            }
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
        }
        (Rights::Kept, None) => {}
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames `from` to `to`, where nothing may stand.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A home directory is on NFS now and then, which cannot do it.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link_to_new(from, to),
        renamed => Ok(renamed?),
    }
}

/// The same in two steps: a name more, and then one less.
fn link_to_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_replaces_nothing_and_a_replaced_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let put = |bytes, place| put(&path, bytes, Manner::of_spec(place));
        put(b"one", Place::New).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = put(b"two", Place::New).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        put(b"two", Place::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(names(dir.path()), ["a.yaml"]);
    }

    #[test]
    fn a_file_system_without_such_a_rename_replaces_nothing_either() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        link_to_new(&from, &to).unwrap();
        assert_eq!((fs::read(&to).unwrap().as_slice(), from.exists()), (b"new".as_slice(), false));
        fs::write(&from, "other").unwrap();
        assert_eq!(link_to_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }

    #[test]
    fn a_planted_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "safe").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(".a.yaml.tmp")).unwrap();
        put(&dir.path().join("a.yaml"), b"new", Manner::of_spec(Place::Replace)).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"safe");
        assert_eq!(names(dir.path()), ["a.yaml", "victim"]);
    }

    #[test]
    fn what_becomes_of_a_link_is_as_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let put = |bytes, link_is| {
            let manner = Manner { place: Place::Replace, link: link_is, rights: Rights::Kept };
            put(&link, bytes, manner)
        };
        put(b"refused", AtLink::Refuse).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"old");
        put(b"followed", AtLink::Follow).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"followed");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        put(b"replaced", AtLink::Replace).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        assert_eq!(fs::read(&file).unwrap(), b"followed");
        assert_eq!(names(dir.path()), ["file", "link"]);
    }

    #[test]
    fn a_file_of_its_writer_has_the_mode_that_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("atm");
        fs::write(&path, "old").unwrap();
        let manner = Manner { place: Place::Replace, link: AtLink::Replace, rights: Rights::Own(0o755) };
        put(&path, b"new", manner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
        // What cannot get its name leaves nothing behind.
        fs::create_dir(dir.path().join("taken")).unwrap();
        put(&dir.path().join("taken"), b"new", manner).unwrap_err();
        assert_eq!(names(dir.path()), ["atm", "taken"]);
    }

    #[test]
    fn many_writers_of_one_file_never_show_half_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let whole = |letter: u8| vec![letter; 100_000];
        put(&path, &whole(b'z'), Manner::of_spec(Place::Replace)).unwrap();
        std::thread::scope(|scope| {
            for letter in b'a'..=b'd' {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..25 {
                        put(path, &whole(letter), Manner::of_spec(Place::Replace)).unwrap();
                        let found = fs::read(path).unwrap();
                        assert!(found == whole(found[0]), "{} bytes", found.len());
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), ["a.yaml"]);
    }

    #[test]
    fn of_two_who_change_what_they_read_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "read").unwrap();
        let change = |to: &'static str| {
            let path = &path;
            move || put(path, to.as_bytes(), Manner::of_spec(Place::Unchanged(b"read"))).is_ok()
        };
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(change("one")), scope.spawn(change("other")));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(one != other, "both said that it is theirs, or neither");
        assert_eq!(fs::read(&path).unwrap(), if one { &b"one"[..] } else { b"other" });
        fs::write(&path, "read, and more").unwrap();
        assert!(!change("one")());
        assert_eq!(names(dir.path()), ["a.yaml"]);
    }

    #[test]
    fn what_a_killed_writer_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".a.yaml.tmp"), "half").unwrap();
        put(&dir.path().join("a.yaml"), b"new", Manner::of_spec(Place::New)).unwrap();
        assert_eq!(names(dir.path()), ["a.yaml"]);
    }
}
