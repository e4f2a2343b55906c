//! The thread that writes state: a slow disk delays what must be durable, and nothing else.
//!
//! The thread runs a loop that waits by tokio's time ([`write_all`]). A test runs the same loop beside the daemon's,
//! without a thread: then the time that it waits is the test's own.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::{Instant, timeout, timeout_at},
};

use super::kept;
use crate::host::{
    failpoint::{self, Place},
    files::{self, Durability},
};

enum Job {
    Write { path: PathBuf, bytes: Vec<u8>, when: When, done: Option<Done> },
    Retire { path: PathBuf, aside: PathBuf },
    Remove { path: PathBuf },
    Publish { path: PathBuf, bytes: Vec<u8>, uid: u32, done: Done },
    Keep { from: PathBuf, directory: PathBuf },
    Append { path: PathBuf, line: Vec<u8> },
    Flush { done: Done },
}

/// How soon a file is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// It may wait a little for a newer version of itself.
    Soon(Durability),
    /// Before the next job.
    Now(Durability),
}

type Done = oneshot::Sender<io::Result<()>>;

/// The thread that writes state. Jobs are done in order; dropping it lets the rest be written.
#[derive(Debug)]
pub struct Writer {
    jobs: UnboundedSender<Job>,
}

/// Ends the process where the thread that holds this panics. Without it the daemon would go on and remember nothing;
/// the next one is up in a moment, and no session notices.
struct Indispensable;

impl Drop for Indispensable {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// What is told of writing.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It fails; at the first failure after a success.
    Begins(String),
    /// It does not fail any more.
    Ends,
    /// A directory was removed with all that was in it, and is made anew: what is remembered is to be written again.
    Emptied(PathBuf),
}

/// Hears of trouble.
pub type OnTrouble = Box<dyn Fn(Trouble) + Send>;

impl Writer {
    /// Starts the thread.
    pub fn start(trouble: OnTrouble) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let (jobs, inbox) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let handle = thread::Builder::new().name("state".into()).spawn(move || {
            let _guard = Indispensable;
            runtime.block_on(write_all(inbox, trouble));
        })?;
        Ok((Self { jobs }, handle))
    }

    /// Without a thread: the writing is a task of the loop that calls this.
    #[cfg(test)]
    pub fn start_local(trouble: OnTrouble) -> Self {
        let (jobs, inbox) = unbounded_channel();
        tokio::task::spawn_local(write_all(inbox, trouble));
        Self { jobs }
    }

    /// Writes `bytes` to `path` some time soon, after all earlier jobs.
    pub fn write(&self, path: PathBuf, bytes: Vec<u8>) {
        self.send(Job::Write { path, bytes, when: When::Soon(Durability::Atomic), done: None });
    }

    /// Writes `bytes` to `path` as the next thing; nobody waits for it.
    pub fn write_next(&self, path: PathBuf, bytes: Vec<u8>) {
        self.send(Job::Write { path, bytes, when: When::Now(Durability::Atomic), done: None });
    }

    /// Writes `bytes` to `path` now; the answer says when it is there for the next daemon.
    pub async fn write_now(&self, path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
        let when = When::Now(Durability::Atomic);
        self.ask(|done| Job::Write { path, bytes, when, done: Some(done) }).await
    }

    /// Writes `bytes` to `path` and to the disk; the answer says when it is there.
    pub async fn write_durably(&self, path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
        let when = When::Now(Durability::Synced);
        self.ask(|done| Job::Write { path, bytes, when, done: Some(done) }).await
    }

    /// Writes `bytes` to `path` and to the disk some time soon, after all earlier jobs. Whoever asks again and again
    /// costs a write each 10 ms and no more: others wait behind each of them.
    pub fn write_through(&self, path: PathBuf, bytes: Vec<u8>) {
        self.send(Job::Write { path, bytes, when: When::Soon(Durability::Synced), done: None });
    }

    /// Moves `path` to `aside` after all earlier jobs.
    pub fn retire(&self, path: PathBuf, aside: PathBuf) {
        self.send(Job::Retire { path, aside });
    }

    /// Removes `path` after all earlier jobs: nothing of it is worth keeping.
    pub fn remove(&self, path: PathBuf) {
        self.send(Job::Remove { path });
    }

    /// Writes `bytes` to `path` after all earlier jobs, for the user `uid` to read; the answer need not be waited for.
    pub fn publish(
        &self,
        path: PathBuf,
        bytes: Vec<u8>,
        uid: u32,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (done, answer) = oneshot::channel();
        self.send(Job::Publish { path, bytes, uid, done });
        async { answer.await.unwrap_or_else(|_| Err(ended())) }
    }

    /// Moves what is kept of a run from the file `from` into `directory`.
    pub fn keep(&self, from: PathBuf, directory: PathBuf) {
        self.send(Job::Keep { from, directory });
    }

    /// Appends a line to `path` some time soon.
    pub fn append(&self, path: PathBuf, line: Vec<u8>) {
        self.send(Job::Append { path, line });
    }

    /// Waits until all earlier jobs are done; an error where something cannot be written.
    pub async fn flush(&self) -> io::Result<()> {
        self.ask(|done| Job::Flush { done }).await
    }

    async fn ask(&self, job: impl FnOnce(Done) -> Job) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.send(job(done));
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    fn send(&self, job: Job) {
        // The thread ends only with this sender; a failure would mean that it panicked, and then the next
        // flush says so.
        let _ = self.jobs.send(job);
    }
}

fn ended() -> io::Error {
    io::Error::other("the state thread has ended")
}

/// The event log is begun anew beyond this; one older file is kept.
const MAX_EVENT_LOG: u64 = 4 << 20;

/// What may be written some time soon waits so long for a newer version of itself. Nothing may be lost by it that
/// a killed daemon must know: that is waited for, or told anew by spec files and keepers' records.
const GATHER: Duration = Duration::from_millis(10);
/// Between two tries to write what could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// So many files or bytes of lines are written even where there is always a next job.
const MOST_FILES: usize = 1024;
const MOST_LINES: usize = 64 << 10;

async fn write_all(mut inbox: UnboundedReceiver<Job>, trouble: OnTrouble) {
    let mut desk =
        Desk { pending: BTreeMap::new(), lines: BTreeMap::new(), failing: false, trouble: &trouble };
    loop {
        // What could not be written is tried again also where nothing else is to be.
        let next =
            if desk.pending.is_empty() { Ok(inbox.recv().await) } else { timeout(RETRY, inbox.recv()).await };
        match next {
            Ok(Some(job)) => desk.take(job),
            Ok(None) => break, // the last sender is gone
            Err(_elapsed) => {}
        }
        // Counted from the first job: a stream of them must not put the writing off for ever.
        let until = Instant::now() + GATHER;
        while desk.may_wait()
            && Instant::now() < until
            && let Ok(Some(job)) = timeout_at(until, inbox.recv()).await
        {
            desk.take(job);
        }
        // A failure is kept for the next round, and told to whoever asks by `flush`.
        let _ = desk.clear();
    }
    let _ = desk.clear();
}

/// What is still to be written, and how the writing goes.
struct Desk<'a> {
    pending: BTreeMap<PathBuf, (Vec<u8>, Durability)>,
    /// Lines by file: many are one write.
    lines: BTreeMap<PathBuf, Vec<u8>>,
    failing: bool,
    trouble: &'a OnTrouble,
}

impl Desk<'_> {
    fn take(&mut self, job: Job) {
        match job {
            Job::Write { path, bytes, when: When::Soon(durability), done: _ } => {
                self.put_off(path, bytes, durability);
            }
            Job::Write { path, bytes, when: When::Now(durability), done } => {
                let before = self.pending.remove(&path);
                // What was to reach the disk is in this one, too.
                let durability = before.map_or(durability, |(_, before)| before.max(durability));
                let outcome = self.replace(&path, &bytes, durability);
                self.report(outcome.as_ref().err(), &path);
                if let Some(done) = done {
                    let _ = done.send(outcome); // whoever asked may have gone
                } else if outcome.is_err() {
                    // Nobody hears of it, so nobody would try again.
                    self.put_off(path, bytes, durability);
                }
            }
            Job::Retire { path, aside } => {
                // Written first: what was remembered last is what is kept.
                let written = self.pending.remove(&path);
                let _ = failpoint::hit(Place::Retire);
                let outcome = match written {
                    Some((bytes, _)) => self
                        .replace(&aside, &bytes, Durability::Atomic)
                        .and_then(|()| files::remove_if_there(&path)),
                    None => match std::fs::rename(&path, &aside) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                        outcome => outcome,
                    },
                };
                self.report(outcome.as_ref().err(), &path);
            }
            Job::Remove { path } => {
                self.pending.remove(&path);
                self.report(files::remove_if_there(&path).err().as_ref(), &path);
            }
            // Whoever asked tells of a failure: nothing is remembered there.
            Job::Publish { path, bytes, uid, done } => {
                let _ = done.send(files::replace_for(&path, &bytes, uid)); // whoever asked may have gone
            }
            Job::Keep { from, directory } => {
                // What fails stays where it is, and is tried again within the hour.
                let outcome = kept::store(&from, &directory);
                self.report(outcome.as_ref().err(), &directory);
            }
            Job::Append { path, line } => self.lines.entry(path).or_default().extend(line),
            Job::Flush { done } => drop(done.send(self.clear())),
        }
    }

    /// Keeps the newest version of a file to be written; what one of them promised of the disk holds for it.
    fn put_off(&mut self, path: PathBuf, bytes: Vec<u8>, durability: Durability) {
        let before = self.pending.get(&path).map(|(_, before)| *before);
        let durability = before.map_or(durability, |before| before.max(durability));
        self.pending.insert(path, (bytes, durability));
    }

    /// Whether there is something to write, and not too much of it.
    fn may_wait(&self) -> bool {
        let lines: usize = self.lines.values().map(Vec::len).sum();
        (!self.pending.is_empty() || lines > 0) && self.pending.len() < MOST_FILES && lines < MOST_LINES
    }

    /// Writes what is pending; what fails stays, and the first failure is the answer. Lines that cannot be written
    /// are lost: they are history, not state.
    fn clear(&mut self) -> io::Result<()> {
        for (path, lines) in std::mem::take(&mut self.lines) {
            let outcome = failpoint::hit(Place::Append)
                .and_then(|()| self.in_its_directory(&path, || append(&path, &lines)));
            self.report(outcome.as_ref().err(), &path);
        }
        let mut first = Ok(());
        for (path, (bytes, durability)) in std::mem::take(&mut self.pending) {
            let outcome = self.replace(&path, &bytes, durability);
            self.report(outcome.as_ref().err(), &path);
            if let Err(error) = outcome {
                self.pending.insert(path, (bytes, durability));
                first = first.and(Err(error));
            }
        }
        first
    }

    fn replace(&self, path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
        self.in_its_directory(path, || files::replace(path, bytes, durability))
    }

    /// Does `write`; once more where the directory of `path` was missing. Without that a directory that somebody removes
    /// would keep every session from starting until the daemon is started again, which makes it.
    fn in_its_directory(&self, path: &Path, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match (write(), path.parent()) {
            (Err(error), Some(directory))
                if error.kind() == io::ErrorKind::NotFound && !directory.exists() =>
            {
                // Each closed to others, the one above too.
                for missing in directory.parent().into_iter().chain([directory]) {
                    files::make_directory(missing, 0o700)?;
                }
                (self.trouble)(Trouble::Emptied(directory.to_owned()));
                write()
            }
            (outcome, _) => outcome,
        }
    }

    fn report(&mut self, failure: Option<&io::Error>, path: &std::path::Path) {
        match failure {
            None if self.failing => {
                self.failing = false;
                (self.trouble)(Trouble::Ends);
            }
            Some(error) if !self.failing => {
                self.failing = true;
                (self.trouble)(Trouble::Begins(format!("cannot write {}: {error}", path.display())));
            }
            None | Some(_) => {}
        }
    }
}

/// The one older file of the event log at `path`.
pub fn older(path: &std::path::Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

fn append(path: &std::path::Path, lines: &[u8]) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut file = options.open(path)?;
    if file.metadata()?.len() > MAX_EVENT_LOG {
        std::fs::rename(path, older(path))?;
        file = options.open(path)?;
    }
    file.write_all(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_version_is_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, thread) = Writer::start(Box::new(|_| {})).unwrap();
        let path = dir.path().join("a");
        for n in 0..100 {
            writer.write(path.clone(), n.to_string().into_bytes());
        }
        writer.flush().await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"99");
        writer.write_durably(path.clone(), b"x".to_vec()).await.unwrap();
        writer.write(path.clone(), b"y".to_vec());
        writer.retire(path.clone(), dir.path().join("aside"));
        drop(writer);
        thread.join().unwrap();
        assert!(!path.exists());
        assert_eq!(std::fs::read(dir.path().join("aside")).unwrap(), b"y", "what was last is what is kept");
    }
}
