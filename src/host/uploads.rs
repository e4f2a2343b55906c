//! The directory of files that people give a session: filled and emptied with the rights of the session's user.
//!
//! It is below a directory that its user, and maybe others, write to. Each step is taken from the open directory before
//! it, and no link is followed: what stands in the way is an error and never a way out.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest, Sha256};

use super::{clock, users};
use crate::api::upload::{self, UPLOADS};

/// Says git that nothing here is to be kept by it.
const IGNORE: (&str, &str) = (".gitignore", "*\n");
/// What a copy in progress begins with.
const TEMPORARY: &str = ".new-";
/// A copy in progress that is older was given up.
const GIVEN_UP: Duration = Duration::from_secs(24 * 3600);
/// Bytes that are copied at once.
const CHUNK: usize = 128 << 10;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a file could not be put there.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The machine said no.
    #[error("cannot {action}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// What stands at `.atm` or `.atm/uploads` is not a directory of the session's user.
    #[error("{0} is not a directory of the session's user")]
    NotOurs(&'static str),
    /// The source cannot be read.
    #[error("cannot read it")]
    Source(#[source] io::Error),
    /// The source is longer than is taken.
    #[error("it is too long")]
    TooLong,
}

fn host(action: &'static str) -> impl Fn(Errno) -> UploadError {
    move |error| UploadError::Host { action, source: error.into() }
}

/// The directory, open.
#[derive(Debug)]
pub struct Uploads(OwnedFd);

/// A copy that has no name yet. Without one it goes.
#[derive(Debug)]
pub struct Received<'a> {
    directory: &'a OwnedFd,
    temporary: String,
    /// Of its content, in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

impl Uploads {
    /// Opens it below the working directory `path`, and makes what is missing.
    pub fn make(path: &Path) -> Result<Self, UploadError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base =
            rustix::fs::open(path, flags, Mode::empty()).map_err(host("open the working directory"))?;
        let [outer, inner] = UPLOADS;
        let outer = step(&base, outer)?;
        // One that is there is somebody's own.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(&outer, IGNORE.0, flags, Mode::from_raw_mode(0o644)) {
            let written = File::from(file).write_all(IGNORE.1.as_bytes());
            written.map_err(|source| UploadError::Host { action: "write .atm/.gitignore", source })?;
        }
        let uploads = Self(step(&outer, inner)?);
        uploads.sweep();
        Ok(uploads)
    }

    /// Removes what copies that were given up left.
    fn sweep(&self) {
        let Ok(entries) = Dir::read_from(&self.0) else { return };
        let now = u64::try_from(clock::wall().as_second()).unwrap_or(0);
        for entry in entries.flatten() {
            if !entry.file_name().to_bytes().starts_with(TEMPORARY.as_bytes()) {
                continue;
            }
            let Ok(about) = rustix::fs::statat(&self.0, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let written = UNIX_EPOCH + Duration::from_secs(u64::try_from(about.st_mtime).unwrap_or(0));
            let age = (UNIX_EPOCH + Duration::from_secs(now)).duration_since(written).unwrap_or_default();
            if age > GIVEN_UP {
                let _ = rustix::fs::unlinkat(&self.0, entry.file_name(), AtFlags::empty()); // tried again next time
            }
        }
    }

    /// Copies all of `source`, at most `limit` bytes.
    pub fn receive(&self, mut source: impl Read, limit: u64) -> Result<Received<'_>, UploadError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let temporary = format!("{TEMPORARY}{}", uuid::Uuid::now_v7());
        let file = rustix::fs::openat(&self.0, temporary.as_str(), flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.map_err(host("make a file in .atm/uploads"))?);
        let mut received = Received { directory: &self.0, temporary, sha256: String::new(), bytes: 0 };
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match source.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UploadError::Source(error)),
            };
            let bytes = chunk.get(..count).unwrap_or_default();
            received.bytes += bytes.len() as u64;
            if received.bytes > limit {
                return Err(UploadError::TooLong);
            }
            hash.update(bytes);
            let written = file.write_all(bytes);
            written.map_err(|source| UploadError::Host { action: "write to .atm/uploads", source })?;
        }
        received.sha256 = hex(&hash.finalize());
        Ok(received)
    }

    /// The name of a file that is there with the same content.
    pub fn same(&self, received: &Received<'_>) -> Option<String> {
        let begin = upload::begin(&received.sha256)?;
        let names = Dir::read_from(&self.0)
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        // What was put there may have been changed since.
        names.filter(|name| name.starts_with(&begin)).find(|name| {
            self.open(name)
                .and_then(|file| hash_of(file, received.bytes))
                .is_ok_and(|hash| hash == received.sha256)
        })
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let about = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }
}

impl Received<'_> {
    /// Gives it its name, in place of what has that.
    pub fn settle(mut self, name: &str) -> Result<(), UploadError> {
        let renamed = rustix::fs::renameat(self.directory, self.temporary.as_str(), self.directory, name);
        renamed.map_err(host("rename a file in .atm/uploads"))?;
        self.temporary.clear();
        Ok(())
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if !self.temporary.is_empty() {
            let _ = rustix::fs::unlinkat(self.directory, self.temporary.as_str(), AtFlags::empty()); // swept some day
        }
    }
}

/// A directory in `base` that is the user's own, made where it is missing.
fn step(base: &OwnedFd, name: &'static str) -> Result<OwnedFd, UploadError> {
    match rustix::fs::mkdirat(base, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(host("make a directory in the working directory")(error)),
    }
    let opened = match rustix::fs::openat(base, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(UploadError::NotOurs(name)),
        opened => opened.map_err(host("open a directory in the working directory"))?,
    };
    let owner =
        rustix::fs::fstat(&opened).map_err(host("look at a directory in the working directory"))?.st_uid;
    if owner == users::own().0 { Ok(opened) } else { Err(UploadError::NotOurs(name)) }
}

fn hash_of(mut file: File, bytes: u64) -> io::Result<String> {
    if file.metadata()?.len() != bytes {
        return Ok(String::new());
    }
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(chunk.get(..count).unwrap_or_default()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Removes these files from the working directory `path`, and the directories that are empty then.
///
/// # Errors
/// Where one cannot be removed; one that is gone is no error.
pub fn remove(path: &Path, files: &[String]) -> io::Result<()> {
    let open = |base: &OwnedFd, name: &str| rustix::fs::openat(base, name, DIRECTORY, Mode::empty());
    let gone = |error: &Errno| matches!(*error, Errno::NOENT);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let [outer_name, inner_name] = UPLOADS;
    let base = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(error) if gone(&error) => return Ok(()),
        base => base?,
    };
    let (outer, inner) =
        match open(&base, outer_name).and_then(|outer| Ok((open(&outer, inner_name)?, outer))) {
            Err(error) if gone(&error) => return Ok(()),
            found => found.map(|(inner, outer)| (outer, inner))?,
        };
    let mut first = Ok(());
    for file in files {
        match rustix::fs::unlinkat(&inner, OsStr::new(file), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => first = first.and(Err(error.into())),
        }
    }
    drop(inner);
    // Unless something else is in them.
    if rustix::fs::unlinkat(&outer, inner_name, AtFlags::REMOVEDIR).is_ok() {
        let only_ours = Dir::read_from(&outer)?.flatten().all(|entry| {
            matches!(entry.file_name().to_bytes(), b"." | b"..")
                || entry.file_name().to_bytes() == IGNORE.0.as_bytes()
        });
        if only_ours {
            let _ = rustix::fs::unlinkat(&outer, IGNORE.0, AtFlags::empty());
            let _ = rustix::fs::unlinkat(&base, outer_name, AtFlags::REMOVEDIR);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn content_is_kept_once_and_what_is_not_settled_goes() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::make(dir.path()).unwrap();
        let inside = dir.path().join(".atm/uploads");
        let received = uploads.receive(&b"hello"[..], 5).unwrap();
        assert_eq!(received.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(uploads.same(&received), None);
        let name = upload::file_name(&received.sha256, "a.txt").unwrap();
        received.settle(&name).unwrap();
        let again = uploads.receive(&b"hello"[..], 5).unwrap();
        assert_eq!(uploads.same(&again), Some(name.clone()));
        // One that was changed since is not the same.
        fs::write(inside.join(&name), "hallo").unwrap();
        assert_eq!(uploads.same(&again), None);
        drop(again);
        assert!(matches!(uploads.receive(&b"hello!"[..], 5), Err(UploadError::TooLong)));
        assert_eq!(names(&inside), [name.as_str()]);
        assert_eq!(fs::read_to_string(dir.path().join(".atm/.gitignore")).unwrap(), "*\n");
        remove(dir.path(), &[name, "gone".into()]).unwrap();
        assert!(!dir.path().join(".atm").exists());
        remove(dir.path(), &[]).unwrap();
    }

    #[test]
    fn what_people_have_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".atm")).unwrap();
        fs::write(dir.path().join(".atm/.gitignore"), "uploads\n").unwrap();
        let uploads = Uploads::make(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(".atm/.gitignore")).unwrap(), "uploads\n");
        let inside = dir.path().join(".atm/uploads");
        fs::write(inside.join("own"), "").unwrap();
        let old = inside.join(".new-old");
        fs::write(&old, "").unwrap();
        fs::File::options().write(true).open(&old).unwrap().set_modified(UNIX_EPOCH).unwrap();
        drop(uploads);
        Uploads::make(dir.path()).unwrap();
        assert_eq!(names(&inside), ["own"]);
        remove(dir.path(), &["x".into()]).unwrap();
        assert_eq!(names(&inside), ["own"]);
    }

    #[test]
    fn no_link_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
        fs::create_dir_all(&base).unwrap();
        fs::create_dir_all(outside.join("uploads")).unwrap();
        fs::write(outside.join("uploads/victim"), "").unwrap();
        symlink(&outside, base.join(".atm")).unwrap();
        assert!(matches!(Uploads::make(&base), Err(UploadError::NotOurs(".atm"))));
        assert!(remove(&base, &["victim".into()]).is_err());
        fs::remove_file(base.join(".atm")).unwrap();
        fs::create_dir(base.join(".atm")).unwrap();
        symlink(outside.join("uploads"), base.join(".atm/uploads")).unwrap();
        assert!(matches!(Uploads::make(&base), Err(UploadError::NotOurs("uploads"))));
        assert!(remove(&base, &["victim".into()]).is_err());
        assert_eq!(names(&outside.join("uploads")), ["victim"]);
        // A file that is a link is replaced itself, and its target untouched.
        fs::remove_file(base.join(".atm/uploads")).unwrap();
        let uploads = Uploads::make(&base).unwrap();
        let received = uploads.receive(&b"new"[..], 5).unwrap();
        let name = upload::file_name(&received.sha256, "x").unwrap();
        symlink(outside.join("uploads/victim"), base.join(".atm/uploads").join(&name)).unwrap();
        assert_eq!(uploads.same(&received), None);
        received.settle(&name).unwrap();
        assert_eq!(fs::read(base.join(".atm/uploads").join(&name)).unwrap(), b"new");
        assert_eq!(fs::read(outside.join("uploads/victim")).unwrap(), b"");
    }
}
