//! Asking a keeper, for one who may wait: the command line with the daemon down, and tests.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::{
    api::{
        keeper::{FrameKind, Hello, KEEPER_PROTOCOL, Reply, Request, decode, encode},
        record::SOCKET_FILE,
    },
    host::{clock::monotonic, socket},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: the session is over, or its keeper is lost.
    #[error("no keeper listens on {0}")]
    NotRunning(String),
    /// It is there and does not answer.
    #[error("the keeper on {0} does not answer")]
    Silent(String),
    /// It speaks another version.
    #[error("the keeper on {path} speaks version {theirs} of its protocol, this program {KEEPER_PROTOCOL}")]
    Version {
        /// Its socket.
        path: String,
        /// Its version.
        theirs: u32,
    },
    /// What it says is no answer.
    #[error("the keeper on {0} closed the connection or sent what is no answer")]
    Garbled(String),
    /// Something else went wrong.
    #[error("cannot talk to the keeper on {path}")]
    Io {
        /// Its socket.
        path: String,
        /// What.
        #[source]
        source: io::Error,
    },
}

/// Asks the keeper of the session in `session_dir`, and waits for the answer until `deadline` is over.
pub fn ask(session_dir: &Path, request: &Request, deadline: Duration) -> Result<Reply, ClientError> {
    let path = session_dir.join(SOCKET_FILE);
    let shown = || path.to_string_lossy().escape_debug().to_string();
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(shown()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(shown()),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::InvalidData
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => ClientError::Garbled(shown()),
        _ => ClientError::Io { path: shown(), source },
    };
    let mut connection = Connection::open(&path, deadline).map_err(failed)?;
    let hello: Hello = connection.receive(FrameKind::Hello).map_err(failed)?;
    if hello.protocol != KEEPER_PROTOCOL {
        return Err(ClientError::Version { path: shown(), theirs: hello.protocol });
    }
    connection.send(request).map_err(failed)?;
    connection.receive(FrameKind::Reply).map_err(failed)
}

struct Connection {
    stream: UnixStream,
    until: crate::api::time::Moment,
    input: Vec<u8>,
}

impl Connection {
    fn open(path: &Path, deadline: Duration) -> io::Result<Self> {
        let until = monotonic().saturating_add(deadline);
        let stream = socket::connect(path, deadline.max(Duration::from_millis(1)))?;
        Ok(Self { stream, until, input: Vec::new() })
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let json = serde_json::to_vec(request)?;
        let bytes = encode(FrameKind::Request, &json).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }

    /// The next frame, which must be of this kind. Each read waits only for what is left of the deadline, so
    /// that a keeper which sends a byte now and then does not hold us.
    fn receive<T: DeserializeOwned>(&mut self, kind: FrameKind) -> io::Result<T> {
        let mut buffer = [0_u8; 4096];
        loop {
            if let Some((frame, taken)) =
                decode(&self.input).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                if FrameKind::from_byte(frame.kind) != Some(kind) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let value = serde_json::from_slice(frame.payload)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                self.input.drain(..taken);
                return Ok(value);
            }
            let left = self.until.since(monotonic());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
