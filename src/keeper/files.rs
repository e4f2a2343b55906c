//! A session's directory, as its keeper keeps it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    api::{
        activity::{self, word},
        kept::{KEPT_FILE, KeptRun},
        name::{RunId, SessionName},
        record::{
            ACTIVITY_FILE, EXIT_FILE, ExitRecord, INTENT_FILE, Intent, RECORD_FILE, Record, SOCKET_FILE,
        },
    },
    host::{
        files::{self, Durability},
        lock,
        page::Page,
        socket, users,
    },
};

/// Longest intent: a spec has at most 64 KiB, and its environment may come from the config.
const LONGEST_INTENT: u64 = 1 << 20;

/// The directory, the lock that makes it ours, and what is in it.
///
/// All is read and written below the directory's descriptor, not by its path: should the runtime directory be
/// removed and another run begin at the same path, its files are out of our reach.
#[derive(Debug)]
pub struct Files {
    runtime: PathBuf,
    name: SessionName,
    directory: Directory,
    /// The lock, and further ones taken where the path was removed and made anew.
    locks: Vec<File>,
}

/// A directory that is held on to.
#[derive(Debug)]
struct Directory(File);

impl Directory {
    fn open(path: &Path) -> io::Result<Self> {
        files::open_directory(path).map(Self)
    }

    /// A path that means a file of this very directory.
    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{file}", self.0.as_raw_fd()))
    }
}

/// Why this process is not the keeper that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// What was handed over is not the lock of this session, or somebody else holds it.
    #[error("standard input is not the lock of session {0}")]
    Lock(SessionName),
    /// There is no intent that can be read.
    #[error("cannot read the intent in {}", .0.display())]
    Intent(PathBuf, #[source] io::Error),
    /// The intent is for another run: ours was given up.
    #[error("the intent in {} is for another run", .0.display())]
    OtherRun(PathBuf),
}

impl Files {
    /// Checks that `lock` is that of session `name`, held by us.
    pub fn new(runtime: &Path, name: SessionName, lock: File) -> Result<Self, NotOurs> {
        let path = runtime.join("locks").join(name.as_str());
        // A second flock on the same open file changes nothing; on another's it is refused.
        if lock.try_lock().is_err() || !lock::is_still_at(&lock, &path).unwrap_or(false) {
            return Err(NotOurs::Lock(name));
        }
        let path = Self::directory_of(runtime, &name);
        let directory = Directory::open(&path).map_err(|error| NotOurs::Intent(path, error))?;
        Ok(Self { runtime: runtime.to_owned(), name, directory, locks: vec![lock] })
    }

    fn directory_of(runtime: &Path, name: &SessionName) -> PathBuf {
        runtime.join("sessions").join(name.as_str())
    }

    /// The intent, if it is for `run`.
    pub fn intent(&self, run: RunId) -> Result<Intent, NotOurs> {
        let shown = || Self::directory_of(&self.runtime, &self.name);
        let intent = read_intent(&self.directory).map_err(|error| NotOurs::Intent(shown(), error))?;
        if intent.run_id != run || intent.name != self.name {
            return Err(NotOurs::OtherRun(shown()));
        }
        Ok(intent)
    }

    /// The path of a file in the directory.
    fn path(&self, file: &str) -> PathBuf {
        self.directory.path(file)
    }

    fn put(&self, file: &str, value: &impl Serialize) -> io::Result<()> {
        files::replace(&self.path(file), &serde_json::to_vec(value)?, Durability::Atomic)
    }

    /// Writes the record.
    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        self.put(RECORD_FILE, record)
    }

    /// Writes what is kept of the run.
    pub fn write_kept(&self, kept: &KeptRun) -> io::Result<()> {
        self.put(KEPT_FILE, kept)
    }

    /// Writes the exit record: the last word of a run. What it no longer needs makes room for it.
    pub fn write_exit(&self, exit: &ExitRecord) -> io::Result<()> {
        self.put(EXIT_FILE, exit).or_else(|_| {
            let _ = fs::remove_file(self.path(ACTIVITY_FILE));
            let _ = fs::remove_file(self.path(KEPT_FILE));
            self.put(EXIT_FILE, exit)
        })
    }

    /// Listens on the session's socket.
    pub fn listen(&self) -> io::Result<OwnedFd> {
        socket::listen(&self.path(SOCKET_FILE))
    }

    /// Lets the session's user, where it is another than ours, come to the socket: through the directory, in
    /// which all else is closed to everyone. Where that fails root and the daemon still may.
    pub fn admit(&self, uid: u32) {
        if uid == users::own().0 {
            return;
        }
        let _ = fs::set_permissions(self.path("."), Permissions::from_mode(0o711));
        let _ = std::os::unix::fs::lchown(self.path(SOCKET_FILE), Some(uid), None);
    }

    /// Removes what nobody may use after the end.
    pub fn remove_socket(&self) {
        let _ = fs::remove_file(self.path(SOCKET_FILE)); // gone already, with its directory
    }

    /// Makes the activity page.
    pub fn activity(&self, intent: &Intent) -> io::Result<Page> {
        let page = Page::create(&self.path(ACTIVITY_FILE))?;
        let [first, second] = activity::boot_words(&intent.boot_id);
        page.store(word::VERSION, activity::ACTIVITY_VERSION);
        page.store(word::BOOT_FIRST, first);
        page.store(word::BOOT_SECOND, second);
        page.store(word::MAGIC, activity::MAGIC);
        Ok(page)
    }

    /// Makes the directory and the lock's path again after they were removed. `false`: they are another run's
    /// by now, or cannot be made, and nothing was touched.
    pub fn remake(&mut self, record: &Record) -> io::Result<bool> {
        // A user whose session is not root's own has to come through to its socket.
        let (outer, inner) = if record.uid == users::own().0 { (0o700, 0o700) } else { (0o755, 0o711) };
        files::make_directory(&self.runtime, outer)?;
        let locks = self.runtime.join("locks");
        let path = locks.join(self.name.as_str());
        let held = self.locks.iter().any(|lock| lock::is_still_at(lock, &path).unwrap_or(false));
        if !held {
            files::make_directory(&locks, 0o700)?;
            match lock::try_take(&path)? {
                // Only the lock's holder makes a session's directory.
                None => return Ok(false),
                Some(lock) => self.locks.push(lock),
            }
        }
        files::make_directory(&self.runtime.join("sessions"), inner)?;
        let path = Self::directory_of(&self.runtime, &self.name);
        files::make_directory(&path, inner)?;
        let directory = Directory::open(&path)?;
        // Ours, or empty: an intent that cannot be read may be another run's.
        match read_intent(&directory) {
            Ok(intent) if intent.run_id == record.intent.run_id => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => return Ok(false),
        }
        self.directory = directory;
        self.put(INTENT_FILE, &record.intent)?;
        self.write_record(record)?;
        Ok(true)
    }
}

fn read_intent(directory: &Directory) -> io::Result<Intent> {
    let bytes = files::read_limited(&directory.path(INTENT_FILE), LONGEST_INTENT)?;
    Ok(serde_json::from_slice(&bytes)?)
}
