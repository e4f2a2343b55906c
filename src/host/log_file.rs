//! A session's output on disk: appended whole, rotated by size, count and age.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::libc;

use super::{clock, errors::words, lock::is_still_at};
use crate::api::{config::Logs, time::Moment};

/// A rotation that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(10);

/// The current file and those before it: `NAME.log`, `NAME.log.1` (the newest of the old), `NAME.log.2`…
///
/// Every byte goes to exactly one file, in order. A byte that cannot be written, as on a full disk, is
/// counted, and a line in the log says how many are missing as soon as there is room.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Whether `file` is new, so that nobody else can have it open.
    made: bool,
    size: u64,
    limits: Logs,
    owner: Option<(u32, u32)>,
    lost: u64,
    lost_to: String,
    notice: Vec<u8>,
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
            lost: 0,
            lost_to: String::new(),
            notice: Vec::new(),
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
        if self.file.metadata()?.uid() == uid {
            return Ok(());
        }
        if self.made {
            return self.give(&self.file);
        }
        self.try_rotate()
    }

    fn give(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((uid, gid)) if file.metadata()?.uid() != uid => fchown(file, Some(uid), Some(gid)),
            _ => Ok(()),
        }
    }

    /// Bytes that are not in the log and not yet told there.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Appends, and rotates first where the file would grow beyond its size. Never fails: see [`Self::lost`].
    pub fn write(&mut self, bytes: &[u8], now: Moment) {
        let most = usize::try_from(self.limits.max_size.0).unwrap_or(usize::MAX).max(1);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = most.saturating_sub(usize::try_from(self.size).unwrap_or(usize::MAX));
            let fits = rest.len() <= room || self.size == 0 || self.rotate(now);
            // Where rotation fails, too large a file is better than a gap.
            let (piece, after) = rest.split_at(if fits { rest.len().min(most) } else { rest.len() });
            self.append(piece);
            rest = after;
        }
    }

    /// Says what is missing, if there is room now. To be called once more at the end.
    pub fn settle(&mut self) -> bool {
        let fresh = self.notice.is_empty() && self.lost > 0;
        if fresh {
            let (lost, reason) = (self.lost, &self.lost_to);
            self.notice =
                format!("\n[atm: {lost} bytes of output are missing here: {reason}]\n").into_bytes();
        }
        let written = write_some(&mut self.file, &self.notice).0;
        self.size += written as u64;
        if fresh && written == 0 {
            self.notice.clear(); // the count still grows
        } else if fresh {
            self.lost = 0;
        }
        self.notice.drain(..written.min(self.notice.len()));
        self.notice.is_empty() && self.lost == 0
    }

    fn append(&mut self, bytes: &[u8]) {
        if (self.lost > 0 || !self.notice.is_empty()) && !self.settle() {
            self.lost += bytes.len() as u64;
            return;
        }
        let (written, error) = write_some(&mut self.file, bytes);
        self.size += written as u64;
        if let Some(error) = error {
            self.lost += (bytes.len() - written) as u64;
            self.lost_to = words(&error);
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
        let rotated = self.try_rotate().is_ok();
        if rotated {
            self.tidy();
        }
        self.rotate_after = if rotated { None } else { now.checked_add(RETRY) };
        rotated
    }

    fn try_rotate(&mut self) -> io::Result<()> {
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".new");
        let next = self.path.with_file_name(name);
        // The new file is made before anything moves: if there is no room for it, nothing has changed.
        let _ = fs::remove_file(&next); // a keeper that was killed here
        let file = open_with(&next, true)?;
        let moved = self.give(&file).and_then(|()| self.shift()).and_then(|()| fs::rename(&next, &self.path));
        if let Err(error) = moved {
            let _ = fs::remove_file(&next); // best effort: the error that matters is the first
            return Err(error);
        }
        self.file = file;
        self.made = true;
        self.size = 0;
        Ok(())
    }

    /// Moves `NAME.log` to `.1`, `.1` to `.2`…, as far as the first free number. An empty one is only replaced.
    fn shift(&self) -> io::Result<()> {
        let keep = self.limits.max_files.saturating_sub(1);
        // What stands at the path may be another's by now: it is not ours to move.
        if keep == 0 || self.size == 0 || !is_still_at(&self.file, &self.path)? {
            return Ok(());
        }
        let free = (1..=keep).find(|n| fs::symlink_metadata(self.old(*n)).is_err()).unwrap_or(keep);
        for number in (1..free).rev() {
            fs::rename(self.old(number), self.old(number + 1))?;
        }
        fs::rename(&self.path, self.old(1))
    }

    fn check_owner(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((uid, _)) if file.metadata()?.uid() != uid => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(()),
        }
    }

    /// Removes files that are too many or too old, and makes the log anew where it was removed.
    pub fn tidy(&mut self) {
        if let Ok(false) = is_still_at(&self.file, &self.path)
            && let Ok((file, made)) = open(&self.path)
            // Another's file is neither given away nor written to: then the one without a name goes on.
            && (if made { self.give(&file) } else { self.check_owner(&file) }).is_ok()
        {
            self.size = file.metadata().map_or(0, |meta| meta.len());
            self.file = file;
            self.made = made;
        }
        let mut number = self.limits.max_files.max(1);
        while fs::remove_file(self.old(number)).is_ok() {
            number += 1;
        }
        let age = i64::try_from(self.limits.max_age.0.as_secs()).unwrap_or(i64::MAX);
        let oldest = clock::wall().as_second().saturating_sub(age);
        for number in 1..self.limits.max_files {
            let path = self.old(number);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.mtime() < oldest) {
                let _ = fs::remove_file(&path); // tried again within the hour
            }
        }
    }
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
    use crate::api::quantity::{Dur, Size};

    const DAY: Duration = Duration::from_secs(86400);
    const NOW: Moment = Moment::from_nanos(1);

    fn limits(max_size: u64, max_files: u32) -> Logs {
        Logs { max_size: Size(max_size), max_files, max_age: Dur(DAY) }
    }

    fn read(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap_or_default()
    }

    #[test]
    fn no_byte_is_lost_or_doubled_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&dir.path().join("a.log"), limits(100, 1000)).unwrap();
        let mut expected = String::new();
        for number in 0..500 {
            let line = format!("{number}{}\n", "x".repeat(number % 230));
            log.write(line.as_bytes(), NOW);
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
            log.write(text.as_bytes(), NOW);
        }
        let names = ["a.log", "a.log.1", "a.log.2", "a.log.3"];
        assert_eq!(names.map(|name| read(dir.path(), name)), ["d\n", "c\n", "b\n", ""]);
        fs::remove_file(dir.path().join("a.log.1")).unwrap();
        log.write(b"e\n", NOW);
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
        log.tidy();
        let left: Vec<bool> = (1..=5).map(|n| dir.path().join(format!("a.log.{n}")).exists()).collect();
        assert_eq!(left, [true, false, true, false, false]);
    }

    #[test]
    fn a_log_that_was_removed_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, limits(10, 4)).unwrap();
        fs::remove_file(&path).unwrap();
        log.tidy();
        log.write(b"here", NOW);
        assert_eq!(read(dir.path(), "a.log"), "here");
    }

    #[test]
    fn a_full_disk_leaves_a_count_and_later_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&dir.path().join("a.log"), limits(1 << 20, 4)).unwrap();
        log.write(b"before\n", NOW);
        let good = std::mem::replace(&mut log.file, File::options().write(true).open("/dev/full").unwrap());
        log.write(b"gone", NOW);
        log.write(b" too", NOW);
        assert_eq!(log.lost(), 8);
        log.file = good;
        log.write(b"after\n", NOW);
        assert_eq!(log.lost(), 0);
        let expected =
            "before\n\n[atm: 8 bytes of output are missing here: No space left on device]\nafter\n";
        assert_eq!(read(dir.path(), "a.log"), expected);
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
