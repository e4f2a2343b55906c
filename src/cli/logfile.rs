//! The files of a session's output: `NAME.log`, and `NAME.log.N`, older with higher numbers; and the index beside
//! each.
//!
//! They are read while a keeper writes and rotates them. A file is known by its inode, and one that is open
//! stays readable whatever it is renamed to: so nothing is missed or told twice.

mod follow;
mod index;
mod places;

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

pub use self::follow::{Follower, Found};
use self::index::Index;
use super::error::{CliError, CliResult};
use crate::{
    api::log_index::{Gap, Kind},
    host::{
        client::{Links, open_regular},
        log_index,
    },
};

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
    path: PathBuf,
    file: File,
    inode: u64,
    length: u64,
    index: Option<Index>,
    /// How many of the index's records were looked at for gaps.
    looked_at: u64,
}

/// What output consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Bytes, as they were written.
    Bytes(&'a [u8]),
    /// Bytes are missing here.
    Gap(Gap),
}

/// What comes after what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Last,
    /// What a follower hands out.
    Followed,
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
                let (inode, length) = (metadata.ino(), metadata.len());
                Ok(Some(Piece { path: path.to_owned(), file, inode, length, index: None, looked_at: 0 }))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens all that is kept; empty where there was no output yet.
    pub fn kept(&self) -> CliResult<Kept> {
        let mut kept = self.open_all().map_err(|error| self.error(&error))?;
        let most = u32::try_from(kept.pieces.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.open_indices(&mut kept.pieces, most);
        Ok(kept)
    }

    /// Opens the index of each of `pieces` that has one. They are known by inode: a number may be another file's by
    /// now.
    fn open_indices<'a>(&self, pieces: impl IntoIterator<Item = &'a mut Piece>, most: u32) {
        let paths =
            std::iter::once(self.current.clone()).chain((1..=most).map(|number| self.rotated(number)));
        let mut indices: Vec<_> = paths.filter_map(|path| Index::open(&log_index::path_of(&path))).collect();
        for piece in pieces {
            let at = indices.iter().position(|(inode, _)| *inode == piece.inode);
            piece.index = at.map(|at| indices.swap_remove(at).1);
        }
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

    /// At most `limit` bytes from the begin and from the end; whether the latter are all there is; and how many bytes
    /// were lost.
    pub fn ends(&self, limit: usize) -> CliResult<(Vec<u8>, Vec<u8>, bool, u64)> {
        let kept = self.kept()?;
        let total = kept.total();
        let from = total.saturating_sub(limit as u64);
        let read = |from, limit| kept.range(from, limit).map_err(|error| self.error(&error));
        Ok((read(0, limit)?, read(from, limit)?, from == 0, kept.lost()))
    }
}

impl Kept {
    /// How many bytes there are.
    pub fn total(&self) -> u64 {
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

    /// Where in `range` its last `lines` lines begin. The end of the last line is no line of its own.
    pub fn tail(&self, files: &LogFiles, range: Range<u64>, lines: u64) -> CliResult<u64> {
        self.tail_of(range, lines).map_err(|error| files.error(&error))
    }

    fn tail_of(&self, range: Range<u64>, lines: u64) -> io::Result<u64> {
        let mut at = range.end;
        let mut left = lines;
        let mut last = true;
        while at > range.start && lines > 0 {
            let from = at.saturating_sub(CHUNK as u64).max(range.start);
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
        Ok(if lines == 0 { range.end } else { range.start })
    }

    /// Hands out what is in `range`, and the gaps in it. One at its very end may still grow, and is told with what
    /// follows it: `end` says whether that is waited for.
    pub fn print(
        &mut self,
        files: &LogFiles,
        range: &Range<u64>,
        end: End,
        mut sink: impl FnMut(Item) -> CliResult,
    ) -> CliResult {
        let failed = |error: io::Error| files.error(&error);
        let mut behind = 0;
        for piece in &mut self.pieces {
            let begin = behind;
            behind += piece.length;
            let mut at = range.start.max(begin) - begin;
            if at > piece.length || range.end < begin {
                continue;
            }
            let to = (range.end - begin).min(piece.length);
            piece.look_from(at);
            while at < to {
                let length = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
                let mut bytes = vec![0; length];
                piece.file.read_exact_at(&mut bytes, at).map_err(failed)?;
                piece.tell(&bytes, at, &mut sink)?;
                at += length as u64;
            }
            if range.end > behind || end == End::Last {
                piece.tell_gaps(to, &mut sink)?;
            }
        }
        Ok(())
    }

    /// What is needed to follow, from the end of all that is kept on.
    pub fn follow(self, files: &LogFiles) -> CliResult<Follower> {
        let mut newest = self.pieces.into_iter().next_back();
        if let Some(piece) = &mut newest {
            piece.file.seek(SeekFrom::Start(piece.length)).map_err(|error| files.error(&error))?;
        }
        Ok(Follower::new(files.clone(), newest))
    }
}

impl Piece {
    /// Gaps before the byte at `at` are not to be told.
    fn look_from(&mut self, at: u64) {
        let search = self.index.as_ref().map(|index| index.search(|record| record.offset < at));
        match search {
            Some(Ok(number)) => self.looked_at = number,
            Some(Err(_)) => self.index = None,
            None => {}
        }
    }

    /// Hands out `bytes`, which stand at `at`, and the gaps that are before or in them.
    fn tell(&mut self, bytes: &[u8], at: u64, sink: &mut impl FnMut(Item) -> CliResult) -> CliResult {
        let (mut place, mut rest) = (at, bytes);
        // Recorded before what follows them was written: whoever sees that, sees them.
        while let Some((offset, gap)) = self.next_gap(at + bytes.len() as u64) {
            let before = usize::try_from(offset.saturating_sub(place)).unwrap_or(0).min(rest.len());
            let (first, second) = rest.split_at(before);
            if !first.is_empty() {
                sink(Item::Bytes(first))?;
            }
            sink(Item::Gap(gap))?;
            (place, rest) = (place + before as u64, second);
        }
        if rest.is_empty() { Ok(()) } else { sink(Item::Bytes(rest)) }
    }

    /// Hands out the gaps up to the byte at `at`.
    fn tell_gaps(&mut self, at: u64, sink: &mut impl FnMut(Item) -> CliResult) -> CliResult {
        while let Some((_, gap)) = self.next_gap(at.saturating_add(1)) {
            sink(Item::Gap(gap))?;
        }
        Ok(())
    }

    /// The next gap before the byte at `end`.
    fn next_gap(&mut self, end: u64) -> Option<(u64, Gap)> {
        loop {
            let record = self.index.as_ref()?.record(self.looked_at).ok().flatten()?;
            if record.offset >= end {
                return None;
            }
            self.looked_at += 1;
            if let Kind::Gap(gap) = record.kind {
                return Some((record.offset, gap));
            }
        }
    }
}

#[cfg(test)]
mod tests;
