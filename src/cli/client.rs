//! A blocking client of the daemon's socket: one request at a time, and notifications in between.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    dirs::{self, Candidate, Environment, Mode, Places},
    error::{CliError, CliResult, Kind},
};
use crate::{
    api::{
        control::{
            CONTROL_PROTOCOL, Directories, ErrorKind, InitializeParams, InitializeResult,
            OLDEST_CONTROL_PROTOCOL, RpcError, RpcNotification, RpcRequest, Supported,
        },
        quantity::Dur,
        time::Moment,
    },
    host::{
        client::{self as host, Waited},
        clock,
        errors::words,
        poll,
    },
};

/// For a connection to be taken and greeted. A daemon that is just being restarted needs a moment.
const GREETING: Duration = Duration::from_secs(5);

/// For a daemon that was restarted to be back, if it has a thousand sessions to adopt and a machine that is busy.
const RETURN: Duration = Duration::from_secs(60);

/// For one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Longest line that is read: a thousand sessions with long specs are some MiB.
const LONGEST_LINE: usize = 64 << 20;

/// Why a request got no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("nobody listens at `{}`", socket.display())]
    Down {
        /// Where.
        socket: PathBuf,
    },
    /// The socket may not be used, or somebody else owns its directory.
    #[error("cannot connect to `{}`: {why}", socket.display())]
    Refused {
        /// Where.
        socket: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Somebody listens and does not answer.
    #[error("the daemon at `{}` did not answer within {}", socket.display(), Dur(*limit))]
    Silent {
        /// Where.
        socket: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection ended.
    #[error("the daemon closed the connection")]
    Closed,
    /// The answer makes no sense.
    #[error("the daemon's answer to `{method}` was not understood: {why}")]
    Protocol {
        /// What was asked.
        method: String,
        /// What is wrong with it.
        why: String,
    },
    /// The daemon says no.
    #[error("{}", .0.message)]
    Daemon(RpcError),
    /// Nobody reads our output any more.
    #[error("nobody reads the output")]
    OutputClosed,
}

impl ClientError {
    /// The daemon's word, where it is the daemon that failed the request.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Daemon(error) => Some(error.data.kind),
            _ => None,
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Daemon(told) => Self::from_daemon(told),
            ClientError::Down { .. }
            | ClientError::Refused { .. }
            | ClientError::Silent { .. }
            | ClientError::Closed => Self::new(Kind::Unreachable, error.to_string())
                .hint("see what it says: `atm status`, `systemctl status atm`"),
            ClientError::OutputClosed => Self::new(Kind::OutputClosed, ""),
            ClientError::Protocol { .. } => Self::failed(error.to_string()).hint(
                "daemon and command may be of different versions: compare `atm status` with `atm --version`",
            ),
        }
    }
}

/// A line from the daemon: an answer has an id, a notification a method.
#[derive(Debug, Deserialize)]
struct Incoming {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<Value>,
}

/// A connection that was greeted.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    notifications: VecDeque<RpcNotification>,
    last_id: u64,
    candidate: Candidate,
    server: InitializeResult,
    /// How long an answer is waited for.
    patience: Duration,
    /// Whether a wait ends when nobody reads stdout any more.
    for_output: bool,
}

impl Client {
    /// Connects to one daemon and greets it, within `limit`.
    pub fn open(candidate: Candidate, limit: Duration) -> Result<Self, ClientError> {
        let socket = &candidate.socket;
        let stream = host::connect(socket, limit).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::Down { socket: socket.clone() }
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Silent { socket: socket.clone(), limit }
            }
            _ => ClientError::Refused { socket: socket.clone(), why: words(&error) },
        })?;
        Self::over(stream, candidate, limit)
    }

    /// Greets the daemon at the other end of `stream`, within `limit`.
    pub(crate) fn over(
        stream: UnixStream,
        candidate: Candidate,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let server = InitializeResult {
            protocol: CONTROL_PROTOCOL,
            supported: Supported::OURS,
            version: String::new(),
            pid: 0,
            directories: candidate.directories.clone(),
        };
        let mut client = Self {
            stream,
            received: Vec::new(),
            notifications: VecDeque::new(),
            last_id: 0,
            candidate,
            server,
            patience: ANSWER,
            for_output: false,
        };
        let deadline = after(limit);
        client.server = client.request(
            "initialize",
            &InitializeParams { protocol: CONTROL_PROTOCOL, min_protocol: Some(OLDEST_CONTROL_PROTOCOL) },
            deadline,
            limit,
        )?;
        Ok(client)
    }

    /// One more connection to the same daemon.
    pub fn another(&self) -> Result<Self, ClientError> {
        Self::open(self.candidate.clone(), GREETING)
    }

    /// A connection to the daemon that comes in the place of the one that has gone.
    ///
    /// A daemon that is restarted leaves its socket behind. One that was stopped takes it away, and is not waited for.
    pub fn reopen(&self) -> Result<Self, ClientError> {
        let deadline = after(RETURN);
        let mut pause = Duration::from_millis(20);
        loop {
            let error = match Self::open(self.candidate.clone(), GREETING) {
                Ok(mut client) => {
                    client.for_output = self.for_output;
                    return Ok(client);
                }
                Err(error) => error,
            };
            let stopped = matches!(error, ClientError::Down { .. }) && !self.candidate.socket.exists();
            if stopped || deadline.is_none_or(|deadline| clock::monotonic() >= deadline) {
                return Err(error);
            }
            poll::wait(&[], Some(pause)).map_err(|_| ClientError::Closed)?;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// From now on an answer is waited for so long.
    pub fn be_patient_for(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// From now on a wait for notifications ends when nobody reads stdout any more: else a quiet daemon would keep
    /// this process after its reader has gone.
    pub fn mind_output(&mut self) {
        self.for_output = true;
    }

    /// Where the daemon works.
    pub fn directories(&self) -> &Directories {
        &self.server.directories
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.candidate.socket
    }

    /// Asks, and waits for the answer.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.request(method, params, after(self.patience), self.patience)
    }

    fn request<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &impl Serialize,
        deadline: Option<Moment>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let protocol = |error: serde_json::Error| ClientError::Protocol {
            method: method.to_owned(),
            why: error.to_string(),
        };
        self.last_id += 1;
        let id = Value::from(self.last_id);
        let request = RpcRequest {
            jsonrpc: "2.0".into(),
            id: Some(id.clone()),
            method: method.to_owned(),
            params: serde_json::to_value(params).map_err(protocol)?,
        };
        let mut line = serde_json::to_vec(&request).map_err(protocol)?;
        line.push(b'\n');
        self.send(&line, limit)?;
        loop {
            let Some(incoming) = self.receive(method, deadline)? else {
                return Err(ClientError::Silent { socket: self.candidate.socket.clone(), limit });
            };
            match (incoming.id, incoming.error) {
                // A null id answers a line that could not be read: ours, as only one is under way.
                (Some(theirs), Some(error)) if theirs == id || theirs.is_null() => {
                    return Err(refusal(method, &error));
                }
                (None, Some(error)) => return Err(refusal(method, &error)),
                (Some(theirs), None) if theirs == id => {
                    return serde_json::from_value(incoming.result).map_err(protocol);
                }
                _ => {}
            }
        }
    }

    /// The next notification, in at most `limit`; `None`: none came.
    pub fn notification(&mut self, limit: Option<Duration>) -> Result<Option<RpcNotification>, ClientError> {
        if let Some(waiting) = self.notifications.pop_front() {
            return Ok(Some(waiting));
        }
        let deadline = limit.and_then(after);
        loop {
            if self.receive("watch", deadline)?.is_none() {
                return Ok(None);
            }
            if let Some(notification) = self.notifications.pop_front() {
                return Ok(Some(notification));
            }
        }
    }

    fn send(&mut self, line: &[u8], limit: Duration) -> Result<(), ClientError> {
        let written = self.stream.set_write_timeout(Some(limit)).and_then(|()| self.stream.write_all(line));
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(ClientError::Silent { socket: self.candidate.socket.clone(), limit })
            }
            // What the daemon said before it closed, such as `MaxClientsReached`, is still to be read.
            Err(error) if is_closed(&error) => Ok(()),
            Err(_) => Err(ClientError::Closed),
        }
    }

    /// One line; notifications are put aside. `None`: the deadline has passed.
    fn receive(&mut self, method: &str, deadline: Option<Moment>) -> Result<Option<Incoming>, ClientError> {
        let Some(line) = self.line(deadline)? else {
            return Ok(None);
        };
        let mut incoming: Incoming = serde_json::from_slice(&line)
            .map_err(|error| ClientError::Protocol { method: method.to_owned(), why: error.to_string() })?;
        if let (None, Some(method)) = (&incoming.id, incoming.method.take()) {
            let params = incoming.params.take();
            self.notifications.push_back(RpcNotification { jsonrpc: "2.0".into(), method, params });
        }
        Ok(Some(incoming))
    }

    fn line(&mut self, deadline: Option<Moment>) -> Result<Option<Vec<u8>>, ClientError> {
        let mut searched = 0;
        loop {
            let new = self.received.get(searched..).unwrap_or_default();
            if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(searched + end + 1);
                return Ok(Some(std::mem::replace(&mut self.received, rest)));
            }
            searched = self.received.len();
            if searched > LONGEST_LINE {
                return Err(ClientError::Closed);
            }
            let wait = deadline.map_or(ANSWER, |deadline| deadline.since(clock::monotonic()));
            let waited = if self.for_output {
                host::readable_or_unread(&self.stream, &io::stdout(), wait)
            } else {
                host::readable(&self.stream, wait)
                    .map(|can| if can { Waited::Readable } else { Waited::Nothing })
            };
            let waited = waited.map_err(|_| ClientError::Closed)?;
            if waited == Waited::Unread {
                return Err(ClientError::OutputClosed);
            }
            if waited == Waited::Nothing {
                if deadline.is_some_and(|deadline| clock::monotonic() >= deadline) {
                    return Ok(None);
                }
                continue;
            }
            let mut chunk = [0; 8 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.received.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(ClientError::Closed),
            }
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A newer daemon may know kinds that this program does not: then its sentence is what counts.
fn refusal(method: &str, error: &Value) -> ClientError {
    if let Ok(known) = RpcError::deserialize(error) {
        return ClientError::Daemon(known);
    }
    match error.get("message").and_then(Value::as_str) {
        Some(message) => ClientError::Daemon(RpcError {
            code: ErrorKind::Failed.code(),
            message: message.to_owned(),
            data: crate::api::control::ErrorData { kind: ErrorKind::Failed, supported: None },
        }),
        None => ClientError::Protocol { method: method.to_owned(), why: "an error without a message".into() },
    }
}

/// The moment `limit` from now; `None`: beyond the clock.
pub fn after(limit: Duration) -> Option<Moment> {
    clock::monotonic().checked_add(limit)
}

/// Connects to the first of the daemons that answers; their directories under the flags.
pub fn connect(places: &Places, environment: &Environment) -> CliResult<Client> {
    connect_within(places, environment, GREETING)
}

/// The same, with less patience.
pub fn connect_within(places: &Places, environment: &Environment, limit: Duration) -> CliResult<Client> {
    let candidates = places.for_client(environment)?;
    let mut failure = None;
    for candidate in &candidates {
        if let Err(error) = dirs::check_fallback(&candidate.directories.runtime, environment) {
            failure.get_or_insert(CliError { kind: Kind::Unreachable, ..error });
            continue;
        }
        match Client::open(candidate.clone(), limit) {
            Ok(mut client) => {
                client.server.directories = places.over(client.server.directories);
                return Ok(client);
            }
            Err(ClientError::Down { .. }) => {}
            Err(error) => _ = failure.get_or_insert(error.into()),
        }
    }
    Err(failure.unwrap_or_else(|| down(&candidates, environment)))
}

fn down(candidates: &[Candidate], environment: &Environment) -> CliError {
    let sockets: Vec<String> =
        candidates.iter().map(|candidate| format!("`{}`", candidate.socket.display())).collect();
    let message = format!("the daemon is not reachable: nobody listens at {}", sockets.join(" or "));
    let service = match candidates.first().and_then(|candidate| candidate.mode) {
        Some(Mode::User) if environment.uid != 0 => {
            "`systemctl --user start atm`, or in a terminal `atm daemon`"
        }
        Some(_) if environment.uid == 0 => "`systemctl start atm`, or in a terminal `atm daemon`",
        Some(_) => "`sudo systemctl start atm`",
        None => "`atm daemon` with the same flags",
    };
    CliError::new(Kind::Unreachable, message).hint(format!("start it: {service}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn candidate(socket: PathBuf) -> Candidate {
        let directories = dirs::table(Mode::System, &Environment::default()).unwrap();
        Candidate { mode: None, socket, directories }
    }

    #[test]
    fn a_daemon_that_says_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = Client::open(candidate(socket), Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, ClientError::Silent { .. }), "{error:?}");
        assert_eq!(CliError::from(error).kind, Kind::Unreachable);
        let limit = Duration::from_secs(90);
        let error = ClientError::Silent { socket: "/run/s".into(), limit };
        assert_eq!(error.to_string(), "the daemon at `/run/s` did not answer within 1m30s");
    }

    #[test]
    fn a_socket_without_a_listener_is_told_from_one_that_may_not_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        drop(UnixListener::bind(&socket).unwrap());
        for path in [socket, dir.path().join("none"), dir.path().join("none/s")] {
            let error = Client::open(candidate(path), Duration::from_secs(5)).unwrap_err();
            assert!(matches!(error, ClientError::Down { .. }), "{error:?}");
        }
    }
}
