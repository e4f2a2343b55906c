//! A session's output on disk: appended whole, rotated by size, count and age.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::libc;

use super::{
    clock,
    failpoint::{self, Place},
    lock::is_still_at,
    log_index::{self, Index},
};
use crate::api::{config::Logs, log_index::Stream, name::RunId, time::Moment};

/// A rotation that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(10);

/// The current file and those before it: `NAME.log`, `NAME.log.1` (the newest of the old), `NAME.log.2`…
///
/// Every byte goes to exactly one file, in order, and nothing else does. What is known of them, and how many could
/// not be written, as on a full disk, is told by the [`Index`] beside each file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Whether `file` is new, so that nobody else can have it open.
    made: bool,
    size: u64,
    limits: Logs,
    owner: Option<(u32, u32)>,
    index: Index,
    lost: u64,
    /// The last write lost something.
    losing: bool,
    rotate_after: Option<Moment>,
}

/// Opens the file at `path`, and says whether this made it.
fn open(path: &Path) -> io::Result<(File, bool)> {
    match open_with(path, true) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((open_with(path, false)?, false)),
        made => Ok((made?, true)),
    }
}

fn open_with(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK);
    let file = options.create_new(new).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

impl LogFile {
    /// Opens the log at `path`, to append.
    pub fn open(path: &Path, limits: Logs) -> io::Result<Self> {
        let (file, made) = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            made,
            size,
            limits,
            owner: None,
            index: Index::of(path),
            lost: 0,
            losing: false,
            rotate_after: None,
        })
    }

    /// Makes the log its user's, this file and those that follow. To be called before the first write.
    ///
    /// A file that was there and is another's is moved away as it is, and a new one begun: given on, it would
    /// show its new owner what an earlier session of that name wrote, and written on, it would show its old
    /// owner what this one writes.
    pub fn give_to(&mut self, uid: u32, gid: u32) -> io::Result<()> {
        self.owner = Some((uid, gid));
        self.index.give_to(uid, gid);
        if self.file.metadata()?.uid() == uid {
            return Ok(());
        }
        if self.made {
            return self.give(&self.file);
        }
        self.try_rotate(clock::monotonic())
    }

    fn give(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((uid, gid)) if file.metadata()?.uid() != uid => fchown(file, Some(uid), Some(gid)),
            _ => Ok(()),
        }
    }

    /// Changes the limits: from the next write on, and for old files at once.
    pub fn limit(&mut self, limits: Logs, now: Moment) {
        self.limits = limits;
        self.rotate_after = None;
        self.tidy(now);
    }

    /// What is written from here on is of `run`.
    pub fn begin(&mut self, run: RunId, now: Moment) {
        self.index.begin(run, &self.file, self.size, now);
    }

    /// The run has written its last byte. Says how many bytes of it could not be written.
    pub fn end(&mut self) -> u64 {
        self.index.end(&self.file, self.size);
        self.lost
    }

    /// The last bytes that were written, `count` at most: of this file, and of the one before where that has the rest
    /// and is the same user's. It may have been moved there because it is not.
    pub fn tail(&self, count: u64) -> io::Result<Vec<u8>> {
        let owner = self.file.metadata()?.uid();
        let here = end_of(&self.path, count, owner)?;
        let missing = count.saturating_sub(here.len() as u64);
        if missing == 0 {
            return Ok(here);
        }
        let mut bytes = end_of(&self.old(1), missing, owner).unwrap_or_default();
        bytes.extend(here);
        Ok(bytes)
    }

    /// Appends what came by `stream`, where a session has two, and rotates first where the file would grow beyond
    /// its size. Never fails: see [`Self::end`].
    pub fn write(&mut self, bytes: &[u8], stream: Option<Stream>, now: Moment) {
        let most = usize::try_from(self.limits.max_size.0).unwrap_or(usize::MAX).max(1);
        let mut rest = bytes;
        while !rest.is_empty() {
            let full = self.index.is_full(self.limits.max_size.0);
            let size = usize::try_from(self.size).unwrap_or(usize::MAX);
            let room = if full { 0 } else { most.saturating_sub(size) };
            let fits = rest.len() <= room || self.size == 0 || self.rotate(now);
            // Where rotation fails, too large a file is better than a gap.
            let (piece, after) = rest.split_at(if fits { rest.len().min(most) } else { rest.len() });
            self.append(piece, stream, now);
            rest = after;
        }
    }

    fn append(&mut self, bytes: &[u8], stream: Option<Stream>, now: Moment) {
        // While nothing can be written there is nothing that a time would belong to; a gap is told before what
        // follows it.
        if self.losing {
            self.index.flush();
        } else if self.index.is_due(stream, now) {
            self.check_size(now);
            self.index.mark(&self.file, self.size, stream, now);
        }
        let place = self.size;
        let (written, error) = write_some(&mut self.file, bytes);
        self.size += written as u64;
        if self.losing && written > 0 {
            self.index.mark(&self.file, place, stream, now);
        }
        self.losing = error.is_some();
        if let Some(error) = error {
            let lost = (bytes.len() - written) as u64;
            self.lost += lost;
            self.index.lose(self.size, lost, error.raw_os_error().unwrap_or(0));
        }
    }

    /// Somebody may have emptied the file: then places in its index mean nothing any more.
    fn check_size(&mut self, now: Moment) {
        if let Ok(about) = self.file.metadata()
            && about.len() < self.size
        {
            self.size = about.len();
            self.index.restart(&self.file, self.size, now);
        }
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }

    /// Begins a new file. `true`: the current file has room now.
    fn rotate(&mut self, now: Moment) -> bool {
        if self.rotate_after.is_some_and(|after| now < after) {
            return false;
        }
        let rotated = self.try_rotate(now).is_ok();
        if rotated {
            self.tidy(now);
        }
        self.rotate_after = if rotated { None } else { now.checked_add(RETRY) };
        rotated
    }

    fn try_rotate(&mut self, now: Moment) -> io::Result<()> {
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".new");
        let next = self.path.with_file_name(name);
        // The new file is made before anything moves: if there is no room for it, nothing has changed.
        let _ = fs::remove_file(&next); // a keeper that was killed here
        let file = open_with(&next, true)?;
        let shifted =
            failpoint::hit(Place::Rotate).and_then(|()| self.give(&file)).and_then(|()| self.shift());
        let moved = shifted.and_then(|free| fs::rename(&next, &self.path).map(|()| free));
        // Only now the indices: they are known by their logs' inodes, and the new log is empty until this is done.
        match moved {
            Ok(free) => {
                let _ = failpoint::hit(Place::Rotated);
                self.shift_indices(free);
            }
            Err(error) => {
                let _ = fs::remove_file(&next); // best effort: the error that matters is the first
                return Err(error);
            }
        }
        self.file = file;
        self.made = true;
        self.size = 0;
        self.index.restart(&self.file, 0, now);
        Ok(())
    }

    /// Moves `NAME.log` to `.1`, `.1` to `.2`…, as far as the first free number, and says which that was. An empty
    /// one is only replaced.
    fn shift(&self) -> io::Result<Option<u32>> {
        let keep = self.limits.max_files.saturating_sub(1);
        // What stands at the path may be another's by now: it is not ours to move.
        if keep == 0 || self.size == 0 || !is_still_at(&self.file, &self.path)? {
            return Ok(None);
        }
        let free = (1..=keep).find(|n| fs::symlink_metadata(self.old(*n)).is_err()).unwrap_or(keep);
        for number in (1..free).rev() {
            fs::rename(self.old(number), self.old(number + 1))?;
        }
        fs::rename(&self.path, self.old(1))?;
        Ok(Some(free))
    }

    /// Moves the indices as the logs were moved. What is left out is found missing by who reads it.
    fn shift_indices(&self, free: Option<u32>) {
        let Some(free) = free else { return };
        let old = |number| log_index::path_of(&self.old(number));
        let moved = |from: &Path, to: &Path| {
            if fs::rename(from, to).is_err() {
                let _ = fs::remove_file(to); // of a log that is elsewhere by now
            }
        };
        for number in (1..free).rev() {
            moved(&old(number), &old(number + 1));
        }
        moved(&log_index::path_of(&self.path), &old(1));
    }

    /// Removes an old log with its index. Says whether it was there.
    fn remove(&self, number: u32) -> bool {
        let path = self.old(number);
        let _ = fs::remove_file(log_index::path_of(&path)); // it may have none
        fs::remove_file(path).is_ok()
    }

    fn check_owner(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((uid, _)) if file.metadata()?.uid() != uid => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(()),
        }
    }

    /// Removes files that are too many or too old, and makes the log anew where it was removed.
    pub fn tidy(&mut self, now: Moment) {
        if let Ok(false) = is_still_at(&self.file, &self.path)
            && let Ok((file, made)) = open(&self.path)
            // Another's file is neither given away nor written to: then the one without a name goes on.
            && (if made { self.give(&file) } else { self.check_owner(&file) }).is_ok()
        {
            self.size = file.metadata().map_or(0, |meta| meta.len());
            self.file = file;
            self.made = made;
            self.index.follow(&self.file, self.size, now);
        }
        self.index.look_after(&self.file, self.size, now);
        let mut number = self.limits.max_files.max(1);
        while self.remove(number) {
            number += 1;
        }
        let age = i64::try_from(self.limits.max_age.0.as_secs()).unwrap_or(i64::MAX);
        let oldest = clock::wall().as_second().saturating_sub(age);
        for number in 1..self.limits.max_files {
            let path = self.old(number);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.mtime() < oldest) {
                self.remove(number); // tried again within the hour
            }
        }
    }
}

/// The last bytes of the file at `path`, `count` at most, if it is a regular file of the user `owner`.
fn end_of(path: &Path, count: u64, owner: u32) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.uid() != owner {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file of the session's user"));
    }
    let length = about.len().min(count);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, about.len() - length)?;
    Ok(bytes)
}

/// Writes until all is written or an error; says how far it came.
fn write_some(file: &mut File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        log_index::{Gap, Header, Kind, Record},
        quantity::{Dur, Size},
    };

    const DAY: Duration = Duration::from_secs(86400);
    const NOW: Moment = Moment::from_nanos(1);

    fn limits(max_size: u64, max_files: u32) -> Logs {
        Logs { max_size: Size(max_size), max_files, max_age: Dur(DAY) }
    }

    fn read(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap_or_default()
    }

    #[test]
    fn the_tail_goes_back_over_one_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&dir.path().join("a.log"), limits(10, 9)).unwrap();
        assert_eq!(log.tail(5).unwrap(), b"");
        log.write(b"0123456789abcdef", None, NOW);
        for (count, expected) in
            [(0, ""), (3, "def"), (6, "abcdef"), (8, "89abcdef"), (99, "0123456789abcdef")]
        {
            assert_eq!(log.tail(count).unwrap(), expected.as_bytes(), "{count}");
        }
        if std::os::unix::fs::chown(dir.path().join("a.log.1"), Some(54_321), None).is_ok() {
            assert_eq!(log.tail(99).unwrap(), b"abcdef", "the one before is another user's");
        }
    }

    #[test]
    fn no_byte_is_lost_or_doubled_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&dir.path().join("a.log"), limits(100, 1000)).unwrap();
        let mut expected = String::new();
        for number in 0..500 {
            let line = format!("{number}{}\n", "x".repeat(number % 230));
            log.write(line.as_bytes(), None, NOW);
            expected.push_str(&line);
        }
        let mut all = String::new();
        for number in (1..1000).rev() {
            let part = read(dir.path(), &format!("a.log.{number}"));
            assert!(part.len() <= 100);
            all.push_str(&part);
        }
        all.push_str(&read(dir.path(), "a.log"));
        assert_eq!(all, expected);
    }

    #[test]
    fn the_current_file_counts_and_a_gap_is_filled_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&dir.path().join("a.log"), limits(2, 3)).unwrap();
        for text in ["a\n", "b\n", "c\n", "d\n"] {
            log.write(text.as_bytes(), None, NOW);
        }
        let names = ["a.log", "a.log.1", "a.log.2", "a.log.3"];
        assert_eq!(names.map(|name| read(dir.path(), name)), ["d\n", "c\n", "b\n", ""]);
        fs::remove_file(dir.path().join("a.log.1")).unwrap();
        log.write(b"e\n", None, NOW);
        assert_eq!(names.map(|name| read(dir.path(), name)), ["e\n", "d\n", "b\n", ""]);
    }

    #[test]
    fn too_many_and_too_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        for number in 1..=5 {
            fs::write(dir.path().join(format!("a.log.{number}")), "old").unwrap();
        }
        let long_ago = std::time::UNIX_EPOCH + DAY;
        let second = File::options().write(true).open(dir.path().join("a.log.2")).unwrap();
        second.set_modified(long_ago).unwrap();
        let mut log = LogFile::open(&dir.path().join("a.log"), limits(10, 4)).unwrap();
        log.tidy(NOW);
        let left: Vec<bool> = (1..=5).map(|n| dir.path().join(format!("a.log.{n}")).exists()).collect();
        assert_eq!(left, [true, false, true, false, false]);
    }

    fn records(log: &Path) -> Vec<(u64, Kind)> {
        let index = fs::read(log_index::path_of(log)).unwrap();
        let (blocks, rest) = index.as_chunks();
        assert_eq!(rest, [0_u8; 0]);
        let inode = fs::metadata(log).unwrap().ino();
        assert_eq!(Header::decode(&blocks[0]), Some(Header { inode }));
        let records = blocks[1..].iter().map(|bytes| Record::decode(bytes).unwrap());
        records.map(|record| (record.offset, record.kind)).collect()
    }

    #[test]
    fn what_was_removed_is_made_anew_with_an_index_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, limits(10, 4)).unwrap();
        let run = RunId::generate();
        log.begin(run, NOW);
        log.write(b"gone", None, NOW);
        for file in [&path, &log_index::path_of(&path)] {
            fs::remove_file(file).unwrap();
            log.tidy(NOW);
            assert_eq!(read(dir.path(), "a.log"), "");
            assert_eq!(records(&path), [(0, Kind::Time(run))]);
        }
        log.write(b"here", Some(Stream::Error), NOW);
        assert_eq!(read(dir.path(), "a.log"), "here");
        assert_eq!(records(&path), [(0, Kind::Time(run)), (0, Kind::Stream(Stream::Error))]);
    }

    #[test]
    fn a_write_that_needs_no_mark_costs_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, limits(1 << 20, 4)).unwrap();
        let run = RunId::generate();
        let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
        log.begin(run, at(0));
        for millis in (0..2500).step_by(10) {
            log.write(b"x", None, at(millis));
        }
        assert_eq!(
            records(&path),
            [(0, Kind::RunStart(run)), (100, Kind::Time(run)), (200, Kind::Time(run))]
        );
    }

    #[test]
    fn what_a_full_disk_cost_is_told_beside_the_log_and_not_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, limits(1 << 20, 4)).unwrap();
        let run = RunId::generate();
        log.begin(run, NOW);
        log.write(b"before\n", None, NOW);
        let good = std::mem::replace(&mut log.file, File::options().write(true).open("/dev/full").unwrap());
        log.write(b"gone", None, NOW);
        log.write(b" too", None, NOW);
        log.file = good;
        log.write(b"after\n", None, NOW);
        assert_eq!(log.end(), 8);
        assert_eq!(read(dir.path(), "a.log"), "before\nafter\n");
        let gap = Gap { bytes: 8, errno: libc::ENOSPC };
        let told = [(0, Kind::RunStart(run)), (7, Kind::Gap(gap)), (13, Kind::RunEnd(run))];
        assert_eq!(records(&path), told);
    }

    #[test]
    fn a_link_or_a_fifo_is_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        LogFile::open(&path, limits(10, 4)).unwrap_err();
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        LogFile::open(&path, limits(10, 4)).unwrap_err();
    }
}
