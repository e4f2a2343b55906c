//! The writing side of [`crate::api::log_index`]: what is known of a log, beside it.
//!
//! Nothing here fails: an index that cannot be written is incomplete, and the session and its output go on.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use nix::libc;

use super::{clock, lock::is_still_at};
use crate::api::{
    log_index::{Bytes, Gap, Header, INTERVAL, Kind, LENGTH, Record, Stream},
    name::RunId,
    time::{Moment, Timestamp},
};

/// Records that wait for room on the disk.
const MOST_WAITING: usize = 16;
/// An index is never taken for too long below this, however small the log may be.
const LEAST: u64 = 64 << 10;

/// The index of the log at `log`.
pub fn path_of(log: &Path) -> PathBuf {
    let mut name = OsString::from(log);
    name.push(".idx");
    name.into()
}

/// The index of the log that is written.
#[derive(Debug, Default)]
pub struct Index {
    path: PathBuf,
    /// Absent where it could not be made.
    file: Option<File>,
    /// The run that writes. Absent before it began: then there is nothing to tell.
    run: Option<RunId>,
    owner: Option<(u32, u32)>,
    /// Where the next record goes.
    end: u64,
    /// What stands before that, if this process wrote it.
    last: Option<Record>,
    /// `last` has grown since it was written.
    grown: bool,
    waiting: Vec<Record>,
    /// Time of the newest record: none gets an earlier one.
    newest: Timestamp,
    told_at: Option<Moment>,
    stream: Option<Stream>,
}

impl Index {
    /// Nothing is written before a run begins.
    pub fn of(log: &Path) -> Self {
        Self { path: path_of(log), ..Self::default() }
    }

    /// Whom new files are given to.
    pub fn give_to(&mut self, uid: u32, gid: u32) {
        self.owner = Some((uid, gid));
    }

    /// A run begins at the end of `log`, of `size` bytes.
    pub fn begin(&mut self, run: RunId, log: &File, size: u64, now: Moment) {
        self.run = Some(run);
        self.attach(log, size);
        self.told_at = Some(now);
        self.tell(size, Kind::RunStart(run));
    }

    /// The run is over, at the end of `log`, of `size` bytes.
    pub fn end(&mut self, log: &File, size: u64) {
        if let Some(run) = self.run {
            if self.file.is_none() {
                self.attach(log, size);
            }
            self.tell(size, Kind::RunEnd(run));
        }
    }

    /// Whether [`Self::mark`] has anything to tell.
    pub fn is_due(&self, stream: Option<Stream>, now: Moment) -> bool {
        let switched = stream.is_some() && stream != self.stream;
        let late = self.told_at.is_none_or(|told| now.since(told) >= INTERVAL);
        self.run.is_some() && (switched || late || self.grown || !self.waiting.is_empty())
    }

    /// What is written to `log` next comes at `offset`, by `stream` where there are two.
    pub fn mark(&mut self, log: &File, offset: u64, stream: Option<Stream>, now: Moment) {
        let switched = stream.filter(|stream| Some(*stream) != self.stream);
        let late = self.told_at.is_none_or(|told| now.since(told) >= INTERVAL);
        if late && self.file.is_none() && self.run.is_some() {
            self.attach(log, offset);
        }
        self.flush();
        match (switched, self.run) {
            (Some(stream), _) => self.tell(offset, Kind::Stream(stream)),
            (None, Some(run)) if late => self.tell(offset, Kind::Time(run)),
            (None, _) => return,
        }
        self.stream = switched.or(self.stream);
        self.told_at = Some(now);
    }

    /// `bytes` of output are lost, that would have come at `offset`.
    pub fn lose(&mut self, offset: u64, bytes: u64, errno: i32) {
        let more = |record: &mut Record| match &mut record.kind {
            Kind::Gap(gap) if record.offset == offset => {
                *gap = Gap { bytes: gap.bytes.saturating_add(bytes), errno };
                true
            }
            _ => false,
        };
        if self.waiting.last_mut().is_some_and(more) {
            self.flush();
        } else if self.waiting.is_empty() && self.last.as_mut().is_some_and(more) {
            self.grown = true;
            self.flush();
        } else {
            self.tell(offset, Kind::Gap(Gap { bytes, errno }));
        }
    }

    /// Whether it has grown to `most` bytes, as one can whose log grows slowly.
    pub fn is_full(&self, most: u64) -> bool {
        self.end >= most.max(LEAST)
    }

    /// `log` was begun anew or emptied, and has `size` bytes: what stands at the path is of what was before.
    pub fn restart(&mut self, log: &File, size: u64, now: Moment) {
        let _ = fs::remove_file(&self.path); // moved away already, where it is still of use
        self.follow(log, size, now);
    }

    /// Makes the index anew where it was removed.
    pub fn look_after(&mut self, log: &File, size: u64, now: Moment) {
        let file = self.file.as_ref();
        if !file.is_some_and(|file| is_still_at(file, &self.path).unwrap_or(true)) {
            self.follow(log, size, now);
        }
    }

    /// `log` is written now, from `size` bytes on.
    pub fn follow(&mut self, log: &File, size: u64, now: Moment) {
        let Some(run) = self.run else { return };
        self.attach(log, size);
        self.stream = None;
        self.told_at = Some(now);
        self.tell(size, Kind::Time(run));
    }

    /// Opens the index of `log`, or begins it. One that does not fit its log is begun anew.
    fn attach(&mut self, log: &File, size: u64) {
        self.waiting.retain(|record| matches!(record.kind, Kind::RunStart(_) | Kind::Gap(_)));
        for record in &mut self.waiting {
            record.offset = record.offset.min(size);
        }
        (self.last, self.grown) = (None, false);
        let Ok(inode) = log.metadata().map(|meta| meta.ino()) else {
            self.file = None;
            return;
        };
        if let Ok((file, end, last)) = self.reopen(inode, size) {
            (self.file, self.end) = (Some(file), end);
            self.newest = last.map_or(self.newest, |last| last.at.max(self.newest));
            return;
        }
        self.file = self.create(inode).ok();
        self.end = LENGTH as u64;
    }

    fn reopen(&self, inode: u64, size: u64) -> io::Result<(File, u64, Option<Record>)> {
        let unfit = || io::Error::from(io::ErrorKind::InvalidData);
        let file = options().open(&self.path)?;
        let about = file.metadata()?;
        if !about.is_file() || self.owner.is_some_and(|(uid, _)| uid != about.uid()) {
            return Err(unfit());
        }
        let read = |at| -> io::Result<Bytes> {
            let mut bytes = [0; LENGTH];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        };
        if Header::decode(&read(0)?) != Some(Header { inode }) {
            return Err(unfit());
        }
        // A record that was cut off is written over.
        let end = about.len() - about.len() % LENGTH as u64;
        if end == LENGTH as u64 {
            return Ok((file, end, None));
        }
        let last = Record::decode(&read(end - LENGTH as u64)?).filter(|last| last.offset <= size);
        Ok((file, end, Some(last.ok_or_else(unfit)?)))
    }

    fn create(&self, inode: u64) -> io::Result<File> {
        let _ = fs::remove_file(&self.path); // not there, or not to be used
        let file = options().create_new(true).open(&self.path)?;
        if let Some((uid, gid)) = self.owner
            && file.metadata()?.uid() != uid
        {
            fchown(&file, Some(uid), Some(gid))?;
        }
        file.write_all_at(&Header { inode }.encode(), 0)?;
        Ok(file)
    }

    fn tell(&mut self, offset: u64, kind: Kind) {
        if self.run.is_none() {
            return;
        }
        self.newest = clock::wall().max(self.newest);
        let record = Record { offset, at: self.newest, kind };
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push(record);
        } else if let (Kind::Gap(new), Some(Record { kind: Kind::Gap(gap), .. })) =
            (kind, self.waiting.iter_mut().rfind(|record| matches!(record.kind, Kind::Gap(_))))
        {
            gap.bytes = gap.bytes.saturating_add(new.bytes); // its place is the less exact
        }
        self.flush();
    }

    /// Writes what waits, as far as there is room.
    pub fn flush(&mut self) {
        let Some(file) = &self.file else { return };
        if self.grown
            && let Some(last) = self.last
        {
            self.grown = file.write_all_at(&last.encode(), self.end - LENGTH as u64).is_err();
        }
        let mut written = 0;
        for record in &self.waiting {
            if file.write_all_at(&record.encode(), self.end).is_err() {
                break;
            }
            self.end += LENGTH as u64;
            self.last = Some(*record);
            written += 1;
        }
        self.waiting.drain(..written);
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK);
    options
}
