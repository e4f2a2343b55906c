//! A connection to a keeper that shows its terminal.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use crate::{
    api::{
        attach::{ATTACH_PROTOCOL, Attach, Attached, Detached, Ended, WindowSize},
        keeper::{FrameKind, Hello, KEEPER_PROTOCOL, decode, encode},
        record::SOCKET_FILE,
    },
    host::{poll, socket},
};

/// For the keeper's first word.
const GREETING: Duration = Duration::from_secs(5);
/// Read at once.
const PIECE: usize = 256 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens.
    #[error("no keeper listens at `{0}`")]
    Absent(String),
    /// It may not be used.
    #[error("`{0}` may not be used: it belongs to another user")]
    Forbidden(String),
    /// It does not speak as we do.
    #[error("the keeper at `{path}` speaks version {theirs} of its protocol, this program {KEEPER_PROTOCOL}")]
    Version {
        /// Its socket.
        path: String,
        /// Its version.
        theirs: u32,
    },
    /// There is nothing to attach to.
    #[error("it has no terminal: it runs with `terminal: false`, or its keeper is older than this program")]
    NoTerminal,
    /// Anything else.
    #[error("cannot talk to the keeper at `{path}`")]
    Io {
        /// Its socket.
        path: String,
        /// What.
        #[source]
        source: io::Error,
    },
}

/// The connection.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    input: Vec<u8>,
    /// How much of it was handed out.
    read: usize,
    output: Vec<u8>,
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
        let path = session_dir.join(SOCKET_FILE);
        let connected = socket::connect(&path, GREETING);
        Self::over(connected, &path, attach)
    }

    /// Attaches to the keeper at the other end of a connection to `path`.
    pub(crate) fn over(
        connected: io::Result<UnixStream>,
        path: &Path,
        attach: &Attach,
    ) -> Result<Self, LinkError> {
        let shown = || path.to_string_lossy().escape_debug().to_string();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => LinkError::Forbidden(shown()),
            // A keeper closes at once on those whom it does not serve, and at its own end.
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => LinkError::Absent(shown()),
            _ => LinkError::Io { path: shown(), source },
        };
        let mut stream = connected.map_err(failed)?;
        let hello = read_hello(&mut stream).map_err(failed)?;
        if hello.protocol != KEEPER_PROTOCOL {
            return Err(LinkError::Version { path: shown(), theirs: hello.protocol });
        }
        if hello.attach < ATTACH_PROTOCOL {
            return Err(LinkError::NoTerminal);
        }
        stream.set_nonblocking(true).map_err(failed)?;
        let mut link = Self { stream, input: Vec::new(), read: 0, output: Vec::new(), hello };
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

    /// Reads once. `false`: the keeper is gone.
    pub fn fill(&mut self) -> io::Result<bool> {
        self.input.drain(..self.read);
        self.read = 0;
        self.input.reserve(PIECE);
        match poll::read(&self.stream, &mut self.input) {
            Ok(poll::Got::End) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
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

fn read_hello(stream: &mut UnixStream) -> io::Result<Hello> {
    let wrong = |error: &str| io::Error::new(io::ErrorKind::InvalidData, error.to_owned());
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((frame, taken)) = decode(&bytes).map_err(|error| wrong(&error.to_string()))? {
            if FrameKind::from_byte(frame.kind) != Some(FrameKind::Hello) || taken != bytes.len() {
                return Err(wrong("the keeper did not say hello"));
            }
            return Ok(serde_json::from_slice(frame.payload)?);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
