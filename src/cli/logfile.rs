//! The files of a session's output: `NAME.log`, and `NAME.log.N`, older with higher numbers.
//!
//! They are read while a keeper writes and rotates them. A file is known by its inode, and one that is open
//! stays readable whatever it is renamed to: so nothing is missed or told twice.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::error::{CliError, CliResult};
use crate::host::client::{Links, open_regular};

/// Longest pause between two looks at a file that is followed, should no event come.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Most rotated files that are looked for.
const MOST_FILES: u32 = 10_000;

/// How often is looked again where files are rotated faster than they are opened.
const MOST_LOOKS: u32 = 100;

/// The output of one session.
#[derive(Debug, Clone)]
pub struct LogFiles {
    current: PathBuf,
}

/// One file of it, open.
#[derive(Debug)]
struct Piece {
    file: File,
    inode: u64,
    length: u64,
}

/// All that is kept, as it was when it was opened.
#[derive(Debug)]
pub struct Kept {
    /// Oldest first.
    pieces: Vec<Piece>,
}

impl LogFiles {
    /// The output whose newest file is `current`.
    pub fn at(current: impl Into<PathBuf>) -> Self {
        Self { current: current.into() }
    }

    /// Its newest file.
    pub fn path(&self) -> &Path {
        &self.current
    }

    fn rotated(&self, number: u32) -> PathBuf {
        let mut name = self.current.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn error(&self, error: &io::Error) -> CliError {
        let told = CliError::io(format_args!("cannot read `{}`", self.current.display()), error);
        if error.kind() == io::ErrorKind::PermissionDenied {
            told.hint("it belongs to the session's user: be that user, or root")
        } else {
            told
        }
    }

    fn open(path: &Path) -> io::Result<Option<Piece>> {
        match open_regular(path, Links::Refuse) {
            Ok(file) => {
                let metadata = file.metadata()?;
                Ok(Some(Piece { file, inode: metadata.ino(), length: metadata.len() }))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens all that is kept; empty where there was no output yet.
    pub fn kept(&self) -> CliResult<Kept> {
        self.open_all().map_err(|error| self.error(&error))
    }

    fn open_all(&self) -> io::Result<Kept> {
        let mut kept = self.look()?;
        // A file that became the newest during the look would be taken for an old one: look again.
        for _ in 0..MOST_LOOKS {
            let newest = Self::open(&self.current)?.map(|piece| piece.inode);
            if newest.is_none() || newest == kept.pieces.last().map(|piece| piece.inode) {
                break;
            }
            kept = self.look()?;
        }
        Ok(kept)
    }

    fn look(&self) -> io::Result<Kept> {
        // Newest first: what is rotated meanwhile shows again one number higher, and is known by its inode.
        // While files are moved up one number is missing; behind two missing ones there is nothing.
        let mut pieces: Vec<Piece> = Vec::new();
        pieces.extend(Self::open(&self.current)?);
        let mut missing = 0;
        for number in 1..MOST_FILES {
            match Self::open(&self.rotated(number))? {
                Some(piece) if pieces.iter().any(|known| known.inode == piece.inode) => {}
                Some(piece) => {
                    missing = 0;
                    pieces.push(piece);
                }
                None if missing > 0 => break,
                None => missing += 1,
            }
        }
        pieces.reverse();
        Ok(Kept { pieces })
    }

    /// At most `limit` bytes from the begin and from the end; and whether the latter are all there is.
    pub fn ends(&self, limit: usize) -> CliResult<(Vec<u8>, Vec<u8>, bool)> {
        let kept = self.kept()?;
        let total = kept.total();
        let from = total.saturating_sub(limit as u64);
        let read = |from, limit| kept.range(from, limit).map_err(|error| self.error(&error));
        Ok((read(0, limit)?, read(from, limit)?, from == 0))
    }
}

impl Kept {
    fn total(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }

    /// At most `limit` bytes from the offset `from` on, over all files.
    fn range(&self, from: u64, limit: usize) -> io::Result<Vec<u8>> {
        let (mut bytes, mut begin) = (Vec::new(), 0);
        for piece in &self.pieces {
            let end = begin + piece.length;
            let start = from.max(begin) - begin;
            begin = end;
            if start >= piece.length || bytes.len() >= limit {
                continue;
            }
            let left = u64::try_from(limit - bytes.len()).unwrap_or(u64::MAX).min(piece.length - start);
            let mut part = vec![0; usize::try_from(left).unwrap_or(CHUNK)];
            piece.file.read_exact_at(&mut part, start)?;
            bytes.append(&mut part);
        }
        Ok(bytes)
    }

    /// Where the last `lines` lines begin. The end of the last line is no line of its own.
    fn tail(&self, lines: u64) -> io::Result<u64> {
        let mut at = self.total();
        let mut left = lines;
        let mut last = true;
        while at > 0 && lines > 0 {
            let from = at.saturating_sub(CHUNK as u64);
            let chunk = self.range(from, usize::try_from(at - from).unwrap_or(CHUNK))?;
            for (index, byte) in chunk.iter().enumerate().rev() {
                let ends_all = std::mem::replace(&mut last, false);
                if *byte == b'\n' && !ends_all {
                    left -= 1;
                    if left == 0 {
                        return Ok(from + index as u64 + 1);
                    }
                }
            }
            at = from;
        }
        Ok(if lines == 0 { self.total() } else { 0 })
    }

    /// Hands out all from the last `lines` lines on, or from the begin, and returns what is needed to follow.
    pub fn print(
        self,
        files: &LogFiles,
        lines: Option<u64>,
        mut sink: impl FnMut(&[u8]) -> CliResult,
    ) -> CliResult<Follower> {
        let failed = |error: io::Error| files.error(&error);
        let total = self.total();
        let mut at = lines.map_or(Ok(0), |lines| self.tail(lines)).map_err(failed)?;
        while at < total {
            let bytes = self.range(at, CHUNK).map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            sink(&bytes)?;
        }
        let mut newest = self.pieces.into_iter().next_back();
        if let Some(piece) = &mut newest {
            piece.file.seek(SeekFrom::Start(piece.length)).map_err(failed)?;
        }
        Ok(Follower { files: files.clone(), open: newest, events: None })
    }
}

/// What a follower found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Bytes, handed out.
    Bytes,
    /// Nothing new for now.
    Nothing,
    /// Files were removed before they were read.
    Gap,
}

/// Goes on where printing ended, through rotation and new runs.
#[derive(Debug)]
pub struct Follower {
    files: LogFiles,
    /// The file that is read, at the place that was read to. Held open, its inode cannot be used again.
    open: Option<Piece>,
    events: Option<Events>,
}

#[derive(Debug)]
struct Events {
    inode: u64,
    receiver: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Follower {
    /// Hands out what is new.
    pub fn step(&mut self, mut sink: impl FnMut(&[u8]) -> CliResult) -> CliResult<Found> {
        let files = self.files.clone();
        let failed = |error: io::Error| files.error(&error);
        let Some(open) = &mut self.open else {
            self.open = LogFiles::open(&files.current).map_err(failed)?;
            return Ok(if self.open.is_some() { Found::Bytes } else { Found::Nothing });
        };
        // Asked before reading: a file that was replaced by then gets no more bytes, so reading it to its end
        // after this question leaves nothing behind.
        let replaced = is_replaced(&files.current, open.inode).map_err(failed)?;
        if read_on(open, &mut sink).map_err(|error| error.unwrap_or_else(failed))? {
            return Ok(Found::Bytes);
        }
        if !replaced {
            return Ok(Found::Nothing);
        }
        let (next, found) = self.successor().map_err(failed)?;
        if next.is_none() {
            return Ok(Found::Nothing);
        }
        self.open = next;
        Ok(found)
    }

    /// The file that was begun when the open one was put aside.
    fn successor(&self) -> io::Result<(Option<Piece>, Found)> {
        let Some(open) = &self.open else {
            return Ok((None, Found::Nothing));
        };
        let kept = self.files.open_all()?;
        let at = kept.pieces.iter().position(|piece| piece.inode == open.inode);
        match at {
            Some(at) => Ok((kept.pieces.into_iter().nth(at + 1), Found::Bytes)),
            None => Ok((kept.pieces.into_iter().next(), Found::Gap)),
        }
    }

    /// Waits for an event, or a moment where none is told.
    pub fn wait(&mut self) {
        let inode = self.open.as_ref().map(|piece| piece.inode);
        if self.events.as_ref().map(|events| events.inode) != inode {
            self.events = inode.and_then(|inode| events(&self.files.current, inode));
            if self.events.is_some() {
                return; // what came before the watch began is told by nobody: look once more
            }
        }
        if let Some(events) = &self.events {
            _ = events.receiver.recv_timeout(LOOK);
        } else {
            // Without inotify, or before there is a file: nobody will tell, so this only passes the time.
            let (_sender, receiver) = mpsc::channel::<()>();
            _ = receiver.recv_timeout(LOOK);
        }
    }
}

/// Reads to the end. `Err(Ok(error))` is the sink's own.
fn read_on(
    open: &mut Piece,
    sink: &mut impl FnMut(&[u8]) -> CliResult,
) -> Result<bool, Result<CliError, io::Error>> {
    let place = open.file.stream_position().map_err(Err)?;
    if open.file.metadata().map_err(Err)?.len() < place {
        // Somebody emptied it: what is there now is new.
        open.file.seek(SeekFrom::Start(0)).map_err(Err)?;
    }
    let (mut chunk, mut any) = (vec![0; CHUNK], false);
    loop {
        match open.file.read(&mut chunk) {
            Ok(0) => return Ok(any),
            Ok(count) => {
                any = true;
                sink(chunk.get(..count).unwrap_or_default()).map_err(Ok)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Err(error)),
        }
    }
}

fn is_replaced(path: &Path, inode: u64) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.ino() != inode),
        // Between the rename and the new file, or removed: there is nothing else to read yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn events(path: &Path, inode: u64) -> Option<Events> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let mut watcher = notify::recommended_watcher(move |_| {
        // Full: a look is due anyway.
        let _ = sender.try_send(());
    })
    .ok()?;
    watcher.watch(path, RecursiveMode::NonRecursive).ok()?;
    Some(Events { inode, receiver, _watcher: watcher })
}

#[cfg(test)]
mod tests;
