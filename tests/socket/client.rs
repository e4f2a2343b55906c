//! A client of the socket that says what it likes.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::harness::{Atm, LIMIT};

pub struct Client {
    pub stream: UnixStream,
    reader: BufReader<UnixStream>,
    notices: VecDeque<Value>,
    id: u64,
}

impl Client {
    pub fn connect(atm: &Atm) -> Self {
        Self::to(&atm.runtime().join("atm.sock"))
    }

    pub fn to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader, notices: VecDeque::new(), id: 0 }
    }

    /// A connection that watches all sessions, and its snapshot.
    pub fn watching(atm: &Atm) -> (Self, Value) {
        let mut client = Self::connect(atm);
        let snapshot = client.ok("watch", &json!({}));
        (client, snapshot)
    }

    /// Writes bytes; a daemon that has closed is no failure.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The next line; `None`: the daemon closed the connection.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// The next line, if one comes in time.
    pub fn line_within(&mut self, limit: Duration) -> Option<Value> {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        self.stream.set_read_timeout(Some(LIMIT)).unwrap();
        match read {
            Ok(count) if count > 0 => Some(serde_json::from_str(&line).unwrap()),
            _ if line.is_empty() => None,
            // Begun in time: the rest comes.
            _ => {
                self.reader.read_line(&mut line).unwrap();
                Some(serde_json::from_str(&line).unwrap())
            }
        }
    }

    pub fn ask(&mut self, method: &str, params: &Value) -> u64 {
        self.id += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        self.say(format!("{request}\n"));
        self.id
    }

    /// Asks, and gives the whole answer; notifications are put aside.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = self.ask(method, params);
        loop {
            let line = self.line().unwrap_or_else(|| panic!("closed before the answer to {method}"));
            if line["id"] == id || line["id"].is_null() && line["error"].is_object() {
                return line;
            }
            self.notices.push_back(line);
        }
    }

    /// Asks for what must be answered well.
    pub fn ok(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.call(method, params);
        assert!(answer["error"].is_null(), "{method}: {answer:#}");
        answer["result"].take()
    }

    /// The next notification.
    pub fn notice(&mut self) -> Value {
        self.notices.pop_front().unwrap_or_else(|| self.line().unwrap_or_else(|| panic!("closed")))
    }

    /// The next notification, if one comes in time.
    pub fn notice_within(&mut self, limit: Duration) -> Option<Value> {
        self.notices.pop_front().or_else(|| self.line_within(limit))
    }

    /// Waits for a notification that satisfies `condition`, and gives all up to it.
    pub fn notices_until(&mut self, condition: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.notice());
            if condition(&seen[seen.len() - 1]) {
                return seen;
            }
        }
    }

    pub fn touch(&mut self, name: &str, activity: &str) {
        self.ok("touch", &json!({"name": name, "activity": activity}));
    }
}

/// The kind of an error.
pub fn kind(answer: &Value) -> &str {
    answer["error"]["data"]["kind"].as_str().unwrap_or("none")
}

/// Descriptors that a process has open.
pub fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory of a process, in bytes.
pub fn memory(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Time of a processor that a process has used, in hundredths of a second.
pub fn cpu(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
