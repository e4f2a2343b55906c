//! A daemon that serves what a test tells it to, on a real socket, and the real command line beside it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

/// What the fake daemon knows, and what it will do.
#[derive(Default)]
pub struct World {
    /// By name.
    pub sessions: BTreeMap<String, Value>,
    /// Results of methods without a rule of their own.
    pub results: BTreeMap<String, Value>,
    /// Methods that fail, with the kind of the error.
    pub failures: BTreeMap<String, &'static str>,
    /// What follows a verb, in order, once it is answered.
    pub scripts: BTreeMap<String, Vec<Change>>,
    /// `get` and `watch` of an unknown name fail, instead of leaving it out.
    pub strict: bool,
    /// Every request, as `method params`.
    pub requests: Vec<String>,
    watchers: Vec<UnixStream>,
}

/// A change of the world.
#[derive(Clone)]
pub enum Change {
    /// A session is like this now.
    Now(Value),
    /// A session is gone.
    Gone(&'static str),
    /// Something happened.
    Event(Value),
}

pub struct Daemon {
    pub directory: tempfile::TempDir,
    pub world: Arc<Mutex<World>>,
}

/// A session as the daemon shows it: `PHASE REASON`.
pub fn session(name: &str, state: &str) -> Value {
    let (phase, reason) = state.split_once(' ').unwrap();
    json!({
        "name": name, "origin": "Declared", "generation": 1, "runId": "0190aaaa-0000-7000-8000-000000000001",
        "status": {"phase": phase, "reason": reason, "restarts": 0},
    })
}

/// The same, with more of its status.
pub fn session_with(name: &str, state: &str, status: &Value) -> Value {
    let mut session = session(name, state);
    for (key, value) in status.as_object().unwrap() {
        session["status"][key] = value.clone();
    }
    session
}

/// The same, in another run.
pub fn in_run(mut session: Value, run: u8) -> Value {
    session["runId"] = json!(format!("0190aaaa-0000-7000-8000-00000000000{run}"));
    session
}

/// Its effective spec.
pub fn with_spec(mut session: Value, more: &Value) -> Value {
    let mut spec = json!({
        "command": ["claude", "--permission-mode", "acceptEdits"], "workingDir": "~/src/web", "env": {},
        "envFile": [], "terminal": {"columns": 120, "rows": 40}, "agent": "claude", "resume": "auto",
        "restartPolicy": "OnFailure", "backoff": {"initial": "1s", "max": "5m", "resetAfter": "10m"},
        "terminationGracePeriod": "10s", "stopSignal": "TERM", "onChange": "WhenIdle", "maxIdle": "1h",
        "maxAge": "1d", "maxMemory": "never", "maxProcesses": "512", "cpuWeight": 100, "priority": 0,
        "pinned": false, "suspend": false, "identity": "x", "labels": {},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    session["spec"] = spec;
    session
}

impl Daemon {
    /// A daemon with these sessions.
    pub fn with(sessions: impl IntoIterator<Item = Value>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for sub in ["run", "sessions.d", "log", "state"] {
            std::fs::create_dir(directory.path().join(sub)).unwrap();
        }
        let named = |session: Value| (session["name"].as_str().unwrap().to_owned(), session);
        let world = World { sessions: sessions.into_iter().map(named).collect(), ..World::default() };
        let daemon = Self { directory, world: Arc::new(Mutex::new(world)) };
        daemon.listen();
        daemon
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/atm.sock")
    }

    fn directories(&self) -> Value {
        json!({
            "config": self.path("atm.yaml"), "sessions": self.path("sessions.d"), "runtime": self.path("run"),
            "state": self.path("state"), "log": self.path("log"),
        })
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let (world, directories) = (self.world.clone(), self.directories());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (world, directories) = (world.clone(), directories.clone());
                std::thread::spawn(move || serve(&stream, &world, &directories));
            }
        });
    }

    pub fn tell(&self, set: impl FnOnce(&mut World)) {
        set(&mut self.world.lock().unwrap());
    }

    /// Makes a change, and tells the watchers.
    pub fn change(&self, change: Change) {
        self.world.lock().unwrap().apply(change);
    }

    pub fn requests(&self) -> Vec<String> {
        self.world.lock().unwrap().requests.clone()
    }

    /// Runs the command line against this daemon.
    pub fn atm(&self, arguments: &[&str]) -> Done {
        finish(self.command(arguments).spawn().unwrap())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = atm(self.directory.path(), arguments);
        command.env("ATM_SOCKET", self.socket());
        command
    }
}

/// The real program in a world of its own: no variable of the tester's reaches it.
pub fn atm(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atm"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("XDG_RUNTIME_DIR", home.join("xdg-run"))
        .env("TZ", "UTC")
        .env("PATH", std::env::var_os("PATH").unwrap())
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// All of it, as one text for a snapshot.
    pub fn transcript(&self) -> String {
        format!("{}--- stderr\n{}--- exit {}", self.stdout, self.stderr, self.code)
    }
}

pub fn finish(child: Child) -> Done {
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().expect("not ended by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command that goes on until it is ended, or dropped.
pub struct Following {
    child: Child,
    lines: Option<BufReader<std::process::ChildStdout>>,
}

impl Following {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines }
    }

    /// The next line; waits for it.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Closes the reading end, and waits for the end of the command.
    pub fn close(mut self) -> i32 {
        self.lines = None;
        self.child.wait().unwrap().code().expect("not ended by a signal")
    }

    /// Ends it, and returns what it wrote to stderr.
    pub fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut talk = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
        talk
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    fn apply(&mut self, change: Change) {
        let notification = match change {
            Change::Now(session) => {
                self.sessions.insert(session["name"].as_str().unwrap().to_owned(), session.clone());
                json!({"jsonrpc": "2.0", "method": "changed", "params": session})
            }
            Change::Gone(name) => {
                self.sessions.remove(name);
                json!({"jsonrpc": "2.0", "method": "removed", "params": {"name": name}})
            }
            Change::Event(event) => json!({"jsonrpc": "2.0", "method": "event", "params": event}),
        };
        self.watchers.retain_mut(|watcher| writeln!(watcher, "{notification}").is_ok());
    }

    fn answer(&mut self, method: &str, params: &Value, directories: &Value) -> Result<Value, &'static str> {
        if let Some(kind) = self.failures.get(method) {
            return Err(kind);
        }
        let names: Vec<&str> =
            params["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match method {
            "initialize" => {
                Ok(json!({"protocol": 1, "version": "0.1.0", "pid": 77, "directories": directories}))
            }
            "list" => Ok(json!({"sessions": self.sessions.values().collect::<Vec<_>>()})),
            "get" | "watch" => {
                if self.strict && names.iter().any(|name| !self.sessions.contains_key(*name)) {
                    return Err("NoSuchSession");
                }
                let found = self
                    .sessions
                    .values()
                    .filter(|session| names.is_empty() || names.contains(&session["name"].as_str().unwrap()));
                Ok(json!({"sessions": found.collect::<Vec<_>>()}))
            }
            "start" | "stop" | "restart" | "suspend" | "resume" | "kill" => {
                let session = self.sessions.get(params["name"].as_str().unwrap()).ok_or("NoSuchSession")?;
                Ok(json!({"changed": self.scripts.contains_key(method), "session": session}))
            }
            other => self.results.get(other).cloned().ok_or("MethodNotFound"),
        }
    }
}

fn serve(stream: &UnixStream, world: &Mutex<World>, directories: &Value) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap();
        let method = request["method"].as_str().unwrap();
        let mut world = world.lock().unwrap();
        world.requests.push(format!("{method} {}", request["params"]));
        let answer = match world.answer(method, &request["params"], directories) {
            Ok(result) => json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
            Err(kind) => json!({"jsonrpc": "2.0", "id": request["id"],
                "error": {"code": -32000, "message": format!("the daemon says {kind}"), "data": {"kind": kind}}}),
        };
        if writeln!(writer, "{answer}").is_err() {
            return;
        }
        let watches = method == "watch" || request["params"]["watch"] == json!(true);
        if watches && answer.get("result").is_some() {
            world.watchers.push(writer.try_clone().unwrap());
        }
        for change in world.scripts.get(method).cloned().unwrap_or_default() {
            world.apply(change);
        }
    }
}
