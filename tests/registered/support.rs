//! Agents that a person starts, and the socket as a program speaks it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};

use super::harness::{Atm, executable, is_alive, signal, start_time, wait_until};

/// A process of the test's own that stands for an agent in a terminal. It is gone with its children when dropped.
pub struct Own {
    child: Child,
    signals: PathBuf,
}

impl Own {
    /// One that does nothing, and ends by any signal.
    pub fn new(directory: &Path) -> Self {
        Self::spawn(directory, Command::new("sleep").arg("1000"))
    }

    /// The same as another user's.
    pub fn of_user(directory: &Path, uid: u32) -> Self {
        Self::spawn(directory, Command::new("sleep").arg("1000").uid(uid))
    }

    /// Another user's, until [`Own::rise`].
    pub fn that_rises(directory: &Path, uid: u32) -> Self {
        fs::create_dir_all(directory).unwrap();
        let risen = directory.join("risen");
        executable(&risen, &fs::read("/bin/sleep").unwrap());
        fs::set_permissions(&risen, fs::Permissions::from_mode(0o4755)).unwrap();
        let text = "until [ -e rise ]; do sleep 0.05; done; exec ./risen 1000";
        Self::spawn(directory, Command::new("sh").args(["-c", text]).uid(uid))
    }

    /// It executes a program that is root's.
    pub fn rise(&self) {
        let command = || fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap();
        fs::write(self.signals.with_file_name("rise"), "").unwrap();
        assert!(wait_until(|| command().starts_with(b"./risen")), "it has not executed it");
    }

    /// One that writes down each signal that it gets, and goes on.
    pub fn recording(directory: &Path) -> Self {
        let text = "for name in HUP INT QUIT USR1 USR2 TERM CONT TSTP WINCH; do
                trap \"echo $name >> signals\" $name
            done
            echo ready >> signals
            while :; do sleep 1000 & wait $!; kill $!; done";
        let own = Self::spawn(directory, Command::new("bash").args(["-c", text]));
        assert!(wait_until(|| own.signals().contains("ready")), "it is not up");
        own
    }

    fn spawn(directory: &Path, command: &mut Command) -> Self {
        fs::create_dir_all(directory).unwrap();
        let signals = directory.join("signals");
        let child = command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, signals }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn start_time(&self) -> u64 {
        start_time(self.pid()).unwrap()
    }

    /// The signals that it got.
    pub fn signals(&self) -> String {
        fs::read_to_string(&self.signals).unwrap_or_default()
    }

    /// SIGKILL, and reaped. Its group is named by its pid, which is nobody else's before that.
    pub fn end(&mut self) {
        signal_group(self.pid(), 9);
        self.child.wait().unwrap();
    }

    /// SIGKILL, and left as a zombie.
    pub fn end_unreaped(&mut self) {
        signal(self.pid(), 9);
        assert!(wait_until(|| !is_alive(self.pid())), "it does not end");
    }

    /// Whether it has ended by itself. What it has started ends with it.
    pub fn has_ended(&mut self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = Pid::from_raw(self.pid()).unwrap();
        // Gone where it was reaped before.
        let ended = waitid(WaitId::Pid(pid), look).is_ok_and(|status| status.is_some());
        if ended {
            self.end();
        }
        ended || self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.end();
        }
    }
}

fn signal_group(pid: i32, number: i32) {
    let group = Pid::from_raw(pid).unwrap();
    let number = rustix::process::Signal::from_named_raw(number).unwrap();
    let _ = rustix::process::kill_process_group(group, number);
}

/// One connection to a daemon.
pub struct Socket {
    stream: BufReader<UnixStream>,
}

impl Socket {
    pub fn open(path: &Path) -> Self {
        Self { stream: BufReader::new(UnixStream::connect(path).unwrap()) }
    }

    pub fn of(atm: &Atm) -> Self {
        Self::open(&atm.runtime().join("atm.sock"))
    }

    /// The result, or the error.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        writeln!(self.stream.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        if answer["error"].is_null() { Ok(answer["result"].take()) } else { Err(answer["error"].take()) }
    }

    /// Registers, and gives the whole answer.
    pub fn register(&mut self, params: &Value) -> Value {
        self.call("register", params).unwrap_or_else(|error| panic!("{params}: {error}"))
    }

    /// Registers a process as claude's, and gives the session's name.
    pub fn claude(&mut self, own: &Own, conversation: &str) -> String {
        let params = json!({"pid": own.pid(), "agent": "claude", "conversationId": conversation});
        name_in(&self.register(&params))
    }

    /// The kind of error that a request meets, and its sentence.
    pub fn refused(&mut self, method: &str, params: &Value) -> (String, String) {
        let error = self.call(method, params).unwrap_err();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&error["data"]["kind"]), text(&error["message"]))
    }
}

/// The name in the answer to `register`.
pub fn name_in(answer: &Value) -> String {
    answer["session"]["name"].as_str().unwrap().to_owned()
}

/// The name that a person reads: phase and reason.
pub fn shows(session: &Value) -> String {
    let word = |key: &str| session["status"][key].as_str().unwrap_or("-").to_owned();
    format!("{}/{}", word("phase"), word("reason"))
}

impl Socket {
    /// A sign of life; gives the name that the process is known by.
    pub fn claude_again(&mut self, own: &Own) -> String {
        name_in(&self.register(&json!({"pid": own.pid(), "agent": "claude"})))
    }
}
