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
        time::Moment,
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

/// A keeper that has said hello.
#[derive(Debug)]
pub struct Greeted {
    connection: Connection,
    /// What it said.
    pub hello: Hello,
}

/// Asks the keeper of the session in `session_dir`, and waits for the answer until `deadline` is over.
pub fn ask(session_dir: &Path, request: &Request, deadline: Duration) -> Result<Reply, ClientError> {
    let Greeted { mut connection, .. } = greet(session_dir, deadline)?;
    let answer = connection.send(request).and_then(|()| connection.receive(FrameKind::Reply));
    answer.map_err(|source| {
        let path = connection.path;
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(path),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => ClientError::Garbled(path),
            _ => ClientError::Io { path, source },
        }
    })
}

/// Connects to the keeper of the session in `session_dir`, and hears its hello. All that is done with the connection
/// is done before `deadline` is over.
pub fn greet(session_dir: &Path, deadline: Duration) -> Result<Greeted, ClientError> {
    let path = session_dir.join(SOCKET_FILE);
    let until = monotonic().saturating_add(deadline);
    let connected = socket::connect(&path, deadline.max(Duration::from_millis(1)));
    hear_hello(connected, &path, until)
}

/// Hears the hello of the keeper at the other end of a connection to `path`.
pub(crate) fn hear_hello(
    connected: io::Result<UnixStream>,
    path: &Path,
    until: Moment,
) -> Result<Greeted, ClientError> {
    let shown = path.to_string_lossy().escape_debug().to_string();
    let greeted = connected.and_then(|stream| {
        let mut connection = Connection { stream, path: shown.clone(), until, input: Vec::new() };
        let hello: Hello = connection.receive(FrameKind::Hello)?;
        Ok(Greeted { connection, hello })
    });
    let greeted = greeted.map_err(|error| before_hello(shown, error))?;
    if greeted.hello.protocol != KEEPER_PROTOCOL {
        return Err(ClientError::Version { path: greeted.connection.path, theirs: greeted.hello.protocol });
    }
    Ok(greeted)
}

impl Greeted {
    /// Its socket, as it is shown to people; what it said after its hello; and the connection, to go on with.
    pub fn into_parts(self) -> (String, Vec<u8>, UnixStream) {
        let Connection { path, input, stream, .. } = self.connection;
        (path, input, stream)
    }
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    path: String,
    until: Moment,
    input: Vec<u8>,
}

impl Connection {
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

/// Why nobody says hello. A keeper closes at once on those whom it does not serve, and at its own end: then those who
/// wait to be let in are closed upon, as if nobody had been there.
fn before_hello(path: String, source: io::Error) -> ClientError {
    match source.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => ClientError::NotRunning(path),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(path),
        io::ErrorKind::InvalidData => ClientError::Garbled(path),
        _ => ClientError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What one who asks is told by a keeper that says `words` to whoever connects, and closes.
    fn told_by(words: Vec<u8>) -> ClientError {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET_FILE)).unwrap();
        let keeper = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(&words).unwrap();
        });
        let told = ask(dir.path(), &Request::Ping, Duration::from_secs(30)).unwrap_err();
        keeper.join().unwrap();
        told
    }

    #[test]
    fn a_keeper_that_closes_before_its_hello_is_not_there() {
        assert!(matches!(told_by(Vec::new()), ClientError::NotRunning(_)));
        let begun = encode(FrameKind::Hello, b"{\"protocol\":1}").unwrap();
        assert!(matches!(told_by(begun[..9].to_vec()), ClientError::NotRunning(_)));
        assert!(matches!(told_by(begun), ClientError::Garbled(_)), "it lacks most of a hello");
        assert!(matches!(told_by(b"HTTP/1.1 400".to_vec()), ClientError::Garbled(_)));
    }
}
