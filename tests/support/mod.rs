//! A bench on which keepers are started, each in a directory of its own, and from which none gets away.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

pub mod executable;
pub mod group;

use atm::{
    api::{
        cause::{Cause, StopReason},
        config::Logs,
        keeper::{Reply, Request, StartReport},
        name::{InstanceId, RunId, SessionName},
        quantity::{Dur, Limit, Size},
        record::{ExitRecord, Intent, RECORD_VERSION, Record, RunAs},
        spec::{Agent, Backoff, Digest, OnChange, RestartPolicy, Resume, SessionSpec, StopSignal, Terminal},
    },
    host::{
        clock,
        failpoint::{ENV_FAILPOINTS, Place, Role},
        lock,
    },
    keeper::client,
};

/// Longer than anything takes on a loaded machine; waiting ends with the condition, not with this.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = clock::monotonic().checked_add(PATIENCE).unwrap();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(clock::monotonic() < until, "never: {what}");
        pause();
    }
}

/// Lets others run before a condition is looked at again.
pub fn pause() {
    rustix::event::poll(&mut [], Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).unwrap();
}

pub struct Bench {
    pub root: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["run/locks", "run/sessions", "log"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        Self { root }
    }

    pub fn runtime(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// An intent for a command with pipes, as the user who runs the test.
    pub fn intent(&self, name: &str, command: &[&str]) -> Intent {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Intent {
            version: RECORD_VERSION,
            name: SessionName::new(name).unwrap(),
            run_id: RunId::generate(),
            instance: InstanceId::generate(),
            state_dir: None,
            boot_id: clock::boot_id(),
            pid_namespace: 0,
            generation: 1,
            launch: Digest("launched".to_owned()),
            spec: spec(command, self.root.path()),
            source: None,
            user: RunAs::Uid(rustix::process::geteuid().as_raw()),
            base_env: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
            log_file: self.root.path().join("log").join(format!("{name}.log")),
            logs: Logs { max_size: Size(10 << 20), max_files: 7, max_age: Dur(Duration::from_secs(86400)) },
            cgroup: None,
            agent: None,
        }
    }

    /// Starts a keeper for `intent`, as the daemon does.
    pub fn start(&self, intent: Intent) -> Keeper {
        self.start_with(intent, &[])
    }

    /// Starts a keeper that does `action` at `place`, once.
    pub fn start_to(&self, intent: Intent, place: Place, action: &str) -> Keeper {
        let armed = self.root.path().join("armed");
        fs::create_dir_all(armed.join("fired")).unwrap();
        fs::write(armed.join(place.file(Role::Keeper)), action).unwrap();
        self.start_with(intent, &[(ENV_FAILPOINTS, armed.to_str().unwrap())])
    }

    pub fn start_with(&self, intent: Intent, env: &[(&str, &str)]) -> Keeper {
        let directory = self.runtime().join("sessions").join(intent.name.as_str());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("intent.json"), serde_json::to_vec(&intent).unwrap()).unwrap();
        let path = self.runtime().join("locks").join(intent.name.as_str());
        let held = lock::try_take(&path).unwrap().expect("the lock is free");
        let mut process = Command::new(env!("CARGO_BIN_EXE_atm"))
            .arg("keeper")
            .arg(self.runtime())
            .arg(intent.name.as_str())
            .env_clear()
            .env("ATM_INSTANCE", intent.instance.to_string())
            .env("ATM_RUN_ID", intent.run_id.to_string())
            .env("ATM_SESSION", intent.name.as_str())
            .envs(env.iter().copied())
            .stdin(held)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let report = BufReader::new(process.stdout.take().unwrap());
        Keeper { process, report, directory, lock: path, intent, status: None }
    }
}

fn spec(command: Vec<String>, home: &Path) -> SessionSpec {
    SessionSpec {
        command,
        working_dir: home.to_str().unwrap().to_owned(),
        env: BTreeMap::new(),
        env_file: Vec::new(),
        user: None,
        terminal: Terminal::PIPES,
        agent: Agent::Generic,
        resume: Resume::Never,
        restart_policy: RestartPolicy::Never,
        backoff: Backoff {
            initial: Dur(Duration::from_secs(1)),
            max: Dur(Duration::from_secs(1)),
            reset_after: Dur(Duration::from_secs(1)),
        },
        termination_grace_period: Dur(Duration::from_secs(10)),
        stop_signal: StopSignal(15),
        on_change: OnChange::Manual,
        max_idle: Limit::Never,
        max_age: Limit::Never,
        max_memory: Limit::Never,
        max_processes: Limit::Never,
        cpu_weight: 100,
        priority: 0,
        pinned: false,
        suspend: false,
        identity: "x".to_owned(),
        owner: None,
        slot: None,
        labels: BTreeMap::new(),
    }
}

pub struct Keeper {
    pub process: Child,
    report: BufReader<ChildStdout>,
    pub directory: PathBuf,
    pub lock: PathBuf,
    pub intent: Intent,
    status: Option<ExitStatus>,
}

impl Keeper {
    /// What the keeper says on the start pipe; `None` where it ends without a word.
    pub fn report(&mut self) -> Option<StartReport> {
        let mut line = String::new();
        self.report.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    /// Waits until the command runs; returns its pid.
    pub fn running(&mut self) -> i32 {
        match self.report() {
            Some(StartReport::Running { child, .. }) => child.pid,
            other => panic!("not running: {other:?}"),
        }
    }

    pub fn ask(&self, request: &Request) -> Reply {
        client::ask(&self.directory, request, PATIENCE).unwrap()
    }

    pub fn stop(&self, grace: Option<u64>) {
        let cause = Cause::rule(StopReason::ClientStop, "a test");
        assert_eq!(self.ask(&Request::Stop { cause, signal: None, grace_millis: grace }), Reply::Ok);
    }

    /// Waits for the keeper's own end.
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("the keeper ends", || self.process.try_wait().unwrap());
        self.status = Some(status);
        status
    }

    /// Waits for the end and reads the exit record.
    pub fn exit(&mut self) -> ExitRecord {
        assert!(self.wait().success());
        self.lock_is_free();
        assert!(!self.directory.join("attach.sock").exists());
        self.read("exit.json")
    }

    /// Waits until the lock is free. Not at once: another test's child has a copy of all that this process
    /// has open, for the moment between its fork and its exec.
    pub fn lock_is_free(&self) {
        eventually("the lock is free", || (!lock::is_held(&self.lock).unwrap()).then_some(()));
    }

    pub fn record(&self) -> Record {
        self.read("record.json")
    }

    pub fn read<T: serde::de::DeserializeOwned>(&self, file: &str) -> T {
        serde_json::from_slice(&fs::read(self.directory.join(file)).unwrap()).unwrap()
    }

    /// The whole log, rotated files first.
    pub fn log(&self) -> String {
        let path = self.intent.log_file.to_str().unwrap();
        let old = (1..1000).rev().map(|number| format!("{path}.{number}"));
        let files = old.chain([path.to_owned()]).filter_map(|file| fs::read(file).ok());
        String::from_utf8(files.flatten().collect()).unwrap()
    }

    /// Waits until the log contains `text`.
    pub fn logged(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }

    /// Live processes that carry this run's mark.
    pub fn marked(&self) -> Vec<i32> {
        let mark = format!("ATM_RUN_ID={}", self.intent.run_id);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes()) {
                found.push(pid);
            }
        }
        found
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.status.is_none() {
            let cause = Cause::rule(StopReason::ClientKill, "the test is over");
            let kill = Request::Stop { cause, signal: None, grace_millis: Some(0) };
            let _ = client::ask(&self.directory, &kill, Duration::from_secs(5));
            for _ in 0..2500 {
                if self.process.try_wait().unwrap().is_some() {
                    break;
                }
                pause();
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        for pid in self.marked() {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Whether a process is there and has not ended.
pub fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Whether tests run as root; says what is skipped where they do not.
pub fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {what} takes root");
    }
    root
}
