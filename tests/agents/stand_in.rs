//! Stand-ins for Claude Code: sessions that tell `atm hook` what a test has them tell, as the agent would.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use atm::host::poll;
use serde_json::{Value, json};

use crate::harness::{self, Atm, LIMIT, wait_until};

/// Runs one hook for each line that it is given, by a shell as Claude Code does, and tells how it went.
const SCRIPT: &str = r#"
while read -r line <&3; do
    printf '%s\n' "$line" | sh -c "$HOOK_BIN hook" >"$HOOK_DIR/out" 2>&1
    echo "$? $(wc -c <"$HOOK_DIR/out")" >&4
done
"#;

/// A session that speaks.
pub struct StandIn {
    says: File,
    done: BufReader<File>,
    directory: PathBuf,
}

impl StandIn {
    /// A session of this name, with more lines of its spec.
    pub fn start(atm: &Atm, name: &str, more: &str) -> Self {
        let agent = Self::prepared(atm, name);
        let at = agent.directory.display();
        let bin = env!("CARGO_BIN_EXE_atm");
        let spec = format!(
            "command: [sh, {at}/claude]\nagent: claude\nterminationGracePeriod: 1s\n\
             env: {{HOOK_BIN: {bin}, HOOK_DIR: {at}}}\n{more}"
        );
        atm.drop_spec(name, &spec);
        atm.wait_pid(name);
        agent
    }

    /// One that atm takes for Claude Code by its name, and passes hooks, which it knows nothing of.
    pub fn by_name(atm: &Atm, name: &str) -> Self {
        let agent = Self::prepared(atm, name);
        let at = agent.directory.display();
        let bin = env!("CARGO_BIN_EXE_atm");
        let env = format!("env: {{HOOK_BIN: {bin}, HOOK_DIR: {at}}}\n");
        atm.drop_spec(name, &format!("command: [{at}/claude]\nterminationGracePeriod: 1s\n{env}"));
        atm.wait_pid(name);
        agent
    }

    /// One that a person starts, without atm. It notes each signal that it gets.
    pub fn by_hand(atm: &Atm, name: &str) -> (Self, Child) {
        let agent = Self::prepared(atm, name);
        let process = Command::new(agent.directory.join("claude"))
            .current_dir(&agent.directory)
            .env("HOOK_BIN", env!("CARGO_BIN_EXE_atm"))
            .env("HOOK_DIR", &agent.directory)
            .env("ATM_SOCKET", atm.runtime().join("atm.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        (agent, process)
    }

    /// Which signals it noted.
    pub fn signals(&self) -> String {
        fs::read_to_string(self.directory.join("signals")).unwrap_or_default()
    }

    fn prepared(atm: &Atm, name: &str) -> Self {
        let directory = atm.path(&format!("agent-{name}"));
        fs::create_dir(&directory).unwrap();
        let (says, done) = (directory.join("says"), directory.join("done"));
        for fifo in [&says, &done] {
            let owner = rustix::fs::Mode::RWXU;
            rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, owner, 0).unwrap();
        }
        let (script, at) = (directory.join("claude"), directory.display());
        let noted = "for s in INT QUIT USR1 USR2 CONT; do trap \"echo $s >> $HOOK_DIR/signals\" $s; done";
        let text = format!("#!/bin/sh\n{noted}\nexec 3<>{at}/says 4<>{at}/done\n{SCRIPT}");
        harness::script(&script, &text);
        let open = |path: &PathBuf| File::options().read(true).write(true).open(path).unwrap();
        Self { says: open(&says), done: BufReader::new(open(&done)), directory }
    }

    /// Tells one event of Claude Code's, and waits until its hook has returned. It says nothing and ends well.
    #[expect(clippy::needless_pass_by_value, reason = "a story reads better without borrows")]
    pub fn says(&mut self, event: &str, more: Value) -> Duration {
        let mut payload = json!({
            "session_id": "8bbcceab-0b3e-4e24-98c9-ec146b1ca8c6",
            "transcript_path": "/home/a/.claude/projects/-home-a-web/x.jsonl",
            "cwd": self.directory,
            "permission_mode": "default",
            "hook_event_name": event,
        });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.says_raw(&payload.to_string())
    }

    /// The same with any payload.
    pub fn says_raw(&mut self, payload: &str) -> Duration {
        let begun = Instant::now();
        writeln!(self.says, "{payload}").unwrap();
        // One that is ended by what it tells does not come to say so.
        let waited = poll::wait(&[(self.done.get_ref().as_fd(), poll::Interest::READ)], Some(LIMIT)).unwrap();
        assert!(waited.iter().all(|ready| ready.read), "its hook did not return");
        let mut line = String::new();
        self.done.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "0 0", "{}", fs::read_to_string(self.directory.join("out")).unwrap());
        begun.elapsed()
    }

    /// Ends a turn, for which its session may be ended at once.
    pub fn stops_for_the_last_time(&mut self) {
        writeln!(self.says, r#"{{"hook_event_name": "Stop", "background_tasks": [], "session_crons": []}}"#)
            .unwrap();
    }

    /// Begins a turn.
    pub fn prompts(&mut self) -> Duration {
        self.says("UserPromptSubmit", json!({"prompt": "mend the login"}))
    }

    /// Ends one, with nothing going on behind it.
    pub fn stops(&mut self) -> Duration {
        self.says("Stop", json!({"stop_hook_active": false, "background_tasks": [], "session_crons": []}))
    }
}

/// `atm get -w`, read as it comes.
pub struct Watch {
    process: Child,
    lines: mpsc::Receiver<(Instant, Value)>,
}

impl Watch {
    pub fn start(atm: &Atm, name: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_atm"))
            .args(["get", name, "-w", "-o", "json"])
            .env("ATM_SOCKET", atm.runtime().join("atm.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let out = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if send.send((Instant::now(), value)).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// When the session was first seen to do this.
    pub fn sees(&self, activity: &str) -> Instant {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (at, session) =
                self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("never seen: {activity}"));
            if session["status"]["activity"] == activity {
                return at;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until the session is seen to do this.
pub fn does(atm: &Atm, name: &str, activity: &str) -> Value {
    atm.wait(name, activity, |session| session["status"]["activity"] == activity)
}

/// Waits for an event of this kind, and gives it.
pub fn event(atm: &Atm, name: &str, kind: &str) -> Value {
    let mut found = Value::Null;
    let met = wait_until(|| {
        found = atm.events(&[name]).into_iter().rfind(|event| event["kind"] == kind).unwrap_or_default();
        !found.is_null()
    });
    assert!(met, "no {kind} of {name}");
    found
}
