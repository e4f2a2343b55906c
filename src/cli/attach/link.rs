//! A connection to a keeper that shows its terminal.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    api::{
        attach::{ATTACH_PROTOCOL, Attach, Attached, Detached, Ended, WindowSize},
        keeper::{FrameKind, Hello, decode, encode},
    },
    host::poll::{self, Got},
    keeper::client::{ClientError, Greeted, greet},
};

/// For the keeper's first word.
const GREETING: Duration = Duration::from_secs(5);
/// Read at once.
const PIECE: usize = 256 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Its keeper is not there, or does not speak as we do.
    #[error(transparent)]
    Keeper(#[from] ClientError),
    /// There is nothing to attach to.
    #[error("it has no terminal: it runs with `terminal: false`, or its keeper is older than this program")]
    NoTerminal,
}

/// The connection.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    input: Vec<u8>,
    /// How much of it was handed out.
    read: usize,
    output: Vec<u8>,
    /// Where the session's files are.
    pub directory: PathBuf,
    /// What the keeper said first.
    pub hello: Hello,
}

/// What the keeper says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The size in force.
    Attached(Attached),
    /// The screen, anew.
    Screen(&'a [u8]),
    /// What is printed.
    Output(&'a [u8]),
    /// We were let go.
    Detached(Detached),
    /// The session is over.
    Ended(Ended),
    /// What only a newer keeper says.
    Other,
}

impl Link {
    /// Connects to the keeper of the session in `session_dir` and attaches.
    pub fn open(session_dir: &Path, attach: &Attach) -> Result<Self, LinkError> {
        Self::open_within(session_dir, attach, GREETING)
    }

    /// The same, with another patience for the keeper's first word.
    pub fn open_within(session_dir: &Path, attach: &Attach, patience: Duration) -> Result<Self, LinkError> {
        Self::over(greet(session_dir, patience)?, session_dir, attach)
    }

    /// Attaches to the keeper of the session in `session_dir`, which has said hello.
    pub(crate) fn over(greeted: Greeted, session_dir: &Path, attach: &Attach) -> Result<Self, LinkError> {
        let hello = greeted.hello.clone();
        let (path, input, stream) = greeted.into_parts();
        let failed = |source: io::Error| match source.kind() {
            // At its own end, just after its hello.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                ClientError::NotRunning(path.clone())
            }
            _ => ClientError::Io { path: path.clone(), source },
        };
        if hello.attach < ATTACH_PROTOCOL {
            return Err(LinkError::NoTerminal);
        }
        stream.set_nonblocking(true).map_err(failed)?;
        let directory = session_dir.to_owned();
        let mut link = Self { stream, input, read: 0, output: Vec::new(), directory, hello };
        link.say(FrameKind::Attach, attach).map_err(failed)?;
        Ok(link)
    }

    /// What to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Bytes that the keeper did not take yet.
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Types.
    pub fn type_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(32 << 10) {
            self.output.extend(encode(FrameKind::Input, piece).map_err(io::Error::other)?);
        }
        self.flush()
    }

    /// Tells the size of our terminal.
    pub fn resize(&mut self, size: WindowSize) -> io::Result<()> {
        self.say(FrameKind::Resize, &size)
    }

    fn say(&mut self, kind: FrameKind, value: &impl serde::Serialize) -> io::Result<()> {
        self.output.extend(encode(kind, &serde_json::to_vec(value)?).map_err(io::Error::other)?);
        self.flush()
    }

    /// Sends what the keeper takes.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(self.output.get(sent..).unwrap_or_default()) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.output.clear();
                    return Err(error);
                }
            }
        }
        self.output.drain(..sent);
        Ok(())
    }

    /// Reads once. The end: the keeper is gone.
    pub fn fill(&mut self) -> io::Result<Got> {
        self.input.drain(..self.read);
        self.read = 0;
        self.input.reserve(PIECE);
        match poll::read(&self.stream, &mut self.input) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Got::End),
            got => got,
        }
    }

    /// The next of what was read; `None`: no more.
    pub fn said(&mut self) -> io::Result<Option<Said<'_>>> {
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let Some((frame, taken)) = decode(self.input.get(self.read..).unwrap_or_default()).map_err(wrong)?
        else {
            return Ok(None);
        };
        self.read += taken;
        let bytes = frame.payload;
        Ok(Some(match FrameKind::from_byte(frame.kind) {
            Some(FrameKind::Attached) => Said::Attached(serde_json::from_slice(bytes)?),
            Some(FrameKind::Screen) => Said::Screen(bytes),
            Some(FrameKind::Output) => Said::Output(bytes),
            Some(FrameKind::Detached) => Said::Detached(serde_json::from_slice(bytes)?),
            Some(FrameKind::Ended) => Said::Ended(serde_json::from_slice(bytes)?),
            _ => Said::Other,
        }))
    }
}
