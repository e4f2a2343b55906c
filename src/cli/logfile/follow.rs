//! Following the output: what comes after what is kept, without a gap.

use std::{
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::mpsc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{CHUNK, Item, LogFiles, Piece};
use crate::{
    cli::error::{CliError, CliResult},
    host::files::stat_if_there,
};

/// Longest pause between two looks at a file that is followed, should no event come.
const LOOK: Duration = Duration::from_millis(200);

/// Files by which a writer may be ahead of who looks for the index of the one that is read.
const MOST_AHEAD: u32 = 16;

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
    /// Whether the index of the open file was looked for.
    indexed: bool,
    events: Option<Events>,
}

#[derive(Debug)]
struct Events {
    inode: u64,
    receiver: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Follower {
    /// Goes on in `open` at its place.
    pub(super) fn new(files: LogFiles, open: Option<Piece>) -> Self {
        Self { files, indexed: open.as_ref().is_some_and(|open| open.index.is_some()), open, events: None }
    }

    /// Hands out what is new.
    pub fn step(&mut self, mut sink: impl FnMut(Item) -> CliResult) -> CliResult<Found> {
        let files = self.files.clone();
        let failed = |error: io::Error| files.error(&error);
        let Some(open) = &mut self.open else {
            self.open = LogFiles::open(&files.current).map_err(failed)?;
            self.indexed = false;
            return Ok(if self.open.is_some() { Found::Bytes } else { Found::Nothing });
        };
        // Asked before reading: a file that was replaced by then gets no more bytes, so reading it to its end
        // after this question leaves nothing behind.
        let replaced = is_replaced(&files.current, open.inode).map_err(failed)?;
        if is_emptied(open).map_err(failed)? {
            // What is there now is new, and so is its index.
            open.file.seek(SeekFrom::Start(0)).map_err(failed)?;
            self.indexed = false;
        }
        let found = read_on(&files, open, &mut self.indexed, &mut sink);
        if found.map_err(|error| error.unwrap_or_else(failed))? {
            return Ok(Found::Bytes);
        }
        if !replaced {
            return Ok(Found::Nothing);
        }
        let (next, found) = self.successor().map_err(failed)?;
        if next.is_none() {
            return Ok(Found::Nothing);
        }
        if let Some(open) = &mut self.open {
            open.tell_gaps(u64::MAX, &mut sink)?;
        }
        self.open = next;
        self.indexed = false;
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
    files: &LogFiles,
    open: &mut Piece,
    indexed: &mut bool,
    sink: &mut impl FnMut(Item) -> CliResult,
) -> Result<bool, Result<CliError, io::Error>> {
    let mut place = open.file.stream_position().map_err(Err)?;
    let (mut chunk, mut any) = (vec![0; CHUNK], false);
    loop {
        match open.file.read(&mut chunk) {
            Ok(0) => return Ok(any),
            Ok(count) => {
                any = true;
                if !std::mem::replace(indexed, true) {
                    files.open_indices([&mut *open], MOST_AHEAD);
                    open.look_from(place);
                }
                open.tell(chunk.get(..count).unwrap_or_default(), place, sink).map_err(Ok)?;
                place += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Err(error)),
        }
    }
}

fn is_emptied(open: &mut Piece) -> io::Result<bool> {
    Ok(open.file.metadata()?.len() < open.file.stream_position()?)
}

fn is_replaced(path: &Path, inode: u64) -> io::Result<bool> {
    // Between the rename and the new file, or removed: there is nothing else to read yet.
    Ok(stat_if_there(path)?.is_some_and(|metadata| metadata.ino() != inode))
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
