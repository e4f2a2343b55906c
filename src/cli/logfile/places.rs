//! Where in the output something begins: what came since a time, and the run before the last one.

use std::{io, ops::Range};

use super::{Kept, Piece};
use crate::api::{
    log_index::{INTERVAL, Kind},
    name::RunId,
    time::Timestamp,
};

/// A place in all that is kept, and what a person should know about how it was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Place<T> {
    /// In bytes over all files.
    pub at: T,
    /// Why it shows more than was asked for, or less.
    pub notes: Vec<String>,
}

/// Where in one file that begins which came since a time.
enum Since {
    /// At this byte.
    At(u64),
    /// All of it did, and maybe more in the file before it.
    All,
    /// Nothing of it did.
    Nothing,
}

/// A run of which something is kept.
#[derive(Debug, Clone, Copy)]
struct Run {
    id: RunId,
    /// Its first byte, over all files.
    from: u64,
    /// Whether that is where it began.
    whole: bool,
}

impl Kept {
    /// Where that begins which came at `at` or later. Where that is not known, more is told rather than less.
    pub fn since(&self, at: Timestamp) -> Place<u64> {
        let (mut start, mut end) = (self.total(), self.total());
        let mut notes = Vec::new();
        for piece in self.pieces.iter().rev().filter(|piece| piece.length > 0) {
            let begin = end - piece.length;
            match piece.since(at, &mut notes) {
                Since::At(offset) => return Place { at: begin + offset.min(piece.length), notes },
                Since::Nothing => break,
                Since::All => start = begin,
            }
            end = begin;
        }
        Place { at: start, notes }
    }

    /// The bytes of the run before the last one; `None` where no earlier run is known.
    pub fn previous_run(&self) -> Option<Place<Range<u64>>> {
        let mut runs: Vec<Run> = Vec::new();
        let mut notes = Vec::new();
        let mut end = self.total();
        for piece in self.pieces.iter().rev() {
            let begin = end - piece.length;
            let mut older = piece.runs(begin).unwrap_or_else(|_| {
                notes.push(format!("the index of `{}` is damaged: a run may be missing", piece.name()));
                Vec::new()
            });
            if let (Some(last), Some(first)) = (older.last(), runs.first())
                && last.id == first.id
            {
                runs.remove(0); // the same one, from the file before on
            }
            older.append(&mut runs);
            runs = older;
            if let [.., previous, last] = runs.as_slice()
                && previous.whole
                && last.whole
            {
                break;
            }
            end = begin;
        }
        let [.., previous, last] = runs.as_slice() else { return None };
        if !previous.whole || !last.whole {
            notes.push("a part of its output is not kept, or not marked as its own".to_owned());
        }
        Some(Place { at: previous.from..last.from.max(previous.from), notes })
    }

    /// Bytes of output that could not be written, as far as it is known.
    pub fn lost(&self) -> u64 {
        let gaps = self.pieces.iter().filter_map(|piece| piece.index.as_ref()).flat_map(|index| {
            index.records().map_while(Result::ok).filter_map(|record| match record.kind {
                Kind::Gap(gap) => Some(gap.bytes),
                Kind::Time(_) | Kind::RunStart(_) | Kind::RunEnd(_) | Kind::Stream(_) => None,
            })
        });
        gaps.fold(0, u64::saturating_add)
    }
}

impl Piece {
    fn since(&self, at: Timestamp, notes: &mut Vec<String>) -> Since {
        // The kernel's own time of the last write, which needs no index.
        let written = self.file.metadata().and_then(|about| about.modified()).ok();
        let written = written.and_then(|time| Timestamp::try_from(time).ok());
        if written.is_some_and(|written| written < at) && self.index.is_none() {
            return Since::Nothing;
        }
        let known = self.index.as_ref().map_or(Ok(None), |index| {
            // What a record tells holds for what was written until an interval after it.
            let early = at.checked_sub(INTERVAL).unwrap_or(Timestamp::MIN);
            let number = index.search(|record| record.at <= early)?;
            let before = number.checked_sub(1).map_or(Ok(None), |number| index.record(number))?;
            Ok::<_, io::Error>(Some((before, index.record(number)?)))
        });
        let name = self.name();
        match known {
            Ok(Some((Some(_), Some(from)))) => Since::At(from.offset),
            Ok(Some((Some(last), None))) => {
                let late = last.at.checked_add(INTERVAL * 2).unwrap_or(Timestamp::MAX);
                if written.is_none_or(|written| written < at || written <= late) {
                    return Since::Nothing;
                }
                notes.push(format!("the newest times are missing beside `{name}`: more of it is shown"));
                Since::At(last.offset)
            }
            Ok(Some((None, Some(first)))) => {
                if first.offset > 0 {
                    let bytes = first.offset;
                    notes.push(format!(
                        "no times are kept of the first {bytes} bytes of `{name}`: they are shown"
                    ));
                }
                Since::All
            }
            Ok(None | Some((None, None))) => {
                notes.push(format!("no times are kept beside `{name}`: all of it is shown"));
                Since::All
            }
            Err(_) => {
                notes.push(format!("the index of `{name}` is damaged: all of it is shown"));
                Since::All
            }
        }
    }

    /// The runs in this file, which begins at `begin`.
    fn runs(&self, begin: u64) -> io::Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        let Some(index) = &self.index else { return Ok(runs) };
        for record in index.records() {
            let record = record?;
            let (id, whole) = match record.kind {
                Kind::RunStart(id) => (id, true),
                Kind::Time(id) => (id, false),
                Kind::RunEnd(_) | Kind::Stream(_) | Kind::Gap(_) => continue,
            };
            if runs.last().is_none_or(|run| run.id != id) {
                runs.push(Run { id, from: begin + record.offset.min(self.length), whole });
            }
        }
        Ok(runs)
    }

    fn name(&self) -> std::path::Display<'_> {
        self.path.file_name().map_or_else(|| self.path.display(), |name| std::path::Path::new(name).display())
    }
}
