//! A daemon of one's own: the real binary on directories of the test, cleaned up also when the test fails.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]
#![allow(clippy::indexing_slicing, clippy::print_stderr, reason = "a wrong index is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test waits on the real clock")]

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::{fs::PermissionsExt, net::UnixDatagram, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

#[path = "../support/executable.rs"]
mod executable;
pub mod wall;

pub use executable::executable;

/// Generous: a loaded machine is no failure.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The program under test, where whoever runs this has found it: cargo tells tests and benchmarks, and no example.
pub static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The program under test: `ATM_BIN` where that is set, as to another build; else what cargo built with this test.
/// An example's lies a directory above its own.
pub fn program() -> &'static Path {
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("ATM_BIN") {
            return path.into();
        }
        let above = || std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("atm");
        option_env!("CARGO_BIN_EXE_atm").map_or_else(above, PathBuf::from)
    })
}

/// Directories of one test, and the daemon on them.
pub struct Atm {
    dir: TempDir,
    /// What is not directly in the test's directory, such as on a file system of its own: a name in it, and where.
    pub elsewhere: Vec<(&'static str, PathBuf)>,
    /// File systems of the test's own, in a mount namespace of its own: unmounted when nothing uses them any more.
    pub mounts: Vec<PathBuf>,
    /// Where the runtime directory is, if not with the others.
    runtime: Option<TempDir>,
    daemon: Option<Child>,
    notify: Option<UnixDatagram>,
    /// Added to the daemon's environment.
    pub env: Vec<(String, String)>,
    /// Added to the daemon's arguments.
    pub args: Vec<String>,
    /// A command that ends by executing its arguments, to start the daemon with: `unshare -m`, say.
    pub through: Vec<String>,
    /// Where the daemon finds its directories by itself, without flags, if it is to do so.
    pub found: Option<Found>,
}

/// The directories that a daemon finds by itself.
#[derive(Debug, Clone)]
pub struct Found {
    pub sessions: PathBuf,
    pub runtime: PathBuf,
    pub state: PathBuf,
    pub log: PathBuf,
}

impl Atm {
    /// Directories without a daemon.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("atm-test-").tempdir().unwrap();
        fs::create_dir(dir.path().join("sessions.d")).unwrap();
        Self {
            dir,
            elsewhere: Vec::new(),
            mounts: Vec::new(),
            runtime: None,
            daemon: None,
            notify: None,
            env: Vec::new(),
            args: Vec::new(),
            through: Vec::new(),
            found: None,
        }
    }

    /// Directories without a daemon, the runtime directory below `base`: on machines it is on another file system.
    pub fn with_runtime_in(base: &Path) -> Self {
        let runtime = tempfile::Builder::new().prefix("atm-test-").tempdir_in(base).unwrap();
        let mut atm = Self::new();
        atm.runtime = Some(runtime);
        atm
    }

    /// A daemon that is up.
    pub fn start() -> Self {
        let mut atm = Self::new();
        atm.up();
        atm
    }

    /// A path below the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        let moved = self.elsewhere.iter().find_map(|(first, place)| {
            let rest = name.strip_prefix(first)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| place.join(rest.trim_start_matches('/')))
        });
        moved.unwrap_or_else(|| self.dir.path().join(name))
    }

    /// The runtime directory.
    pub fn runtime(&self) -> PathBuf {
        if let Some(found) = &self.found {
            return found.runtime.clone();
        }
        self.runtime.as_ref().map_or_else(|| self.path("run"), |base| base.path().join("run"))
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.found.as_ref().map_or_else(|| self.path("state"), |found| found.state.clone())
    }

    /// The directory of output.
    pub fn logs(&self) -> PathBuf {
        self.found.as_ref().map_or_else(|| self.path("log"), |found| found.log.clone())
    }

    pub fn spec_path(&self, name: &str) -> PathBuf {
        self.specs().join(format!("{name}.yaml"))
    }

    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.logs().join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The directories as arguments.
    pub fn flags(&self) -> Vec<String> {
        let at = |name: &str| self.path(name).display().to_string();
        [
            ("--config", at("atm.yaml")),
            ("--sessions-dir", at("sessions.d")),
            ("--runtime-dir", self.runtime().display().to_string()),
            ("--state-dir", at("state")),
            ("--log-dir", at("log")),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .env_remove("ATM_SOCKET")
            .env_remove("NOTIFY_SOCKET")
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Starts the daemon without waiting for it.
    pub fn launch(&mut self) {
        assert!(self.daemon.is_none(), "a daemon of this test is up already");
        let path = self.path("notify");
        let _ = fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap(); // the daemon may be another user's
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let mut command = match self.through.split_first() {
            Some((program, arguments)) => {
                let inner = self.command();
                let mut command = Command::new(program);
                command.args(arguments).arg(inner.get_program()).stdin(Stdio::null());
                for (name, value) in inner.get_envs() {
                    match value {
                        Some(value) => command.env(name, value),
                        None => command.env_remove(name),
                    };
                }
                command
            }
            None => self.command(),
        };
        command
            .arg("daemon")
            .args(if self.found.is_some() { Vec::new() } else { self.flags() })
            .args(&self.args)
            .env("NOTIFY_SOCKET", &path)
            .envs(self.env.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        self.daemon = Some(command.spawn().unwrap());
        self.notify = Some(notify);
    }

    /// Starts the daemon and waits until it says that it is up.
    pub fn up(&mut self) {
        self.launch();
        self.wait_notified("READY=1");
    }

    /// Waits for a datagram of the service manager's protocol that contains `text`, and gives it whole.
    pub fn wait_notified(&mut self, text: &str) -> String {
        let notify = self.notify.as_ref().unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let deadline = Instant::now() + LIMIT;
        let mut seen = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            match notify.recv(&mut buffer) {
                Ok(length) => {
                    let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if line.contains(text) {
                        return line;
                    }
                    seen.push(line);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => panic!("{error}"),
            }
            if let Some(status) = self.daemon.as_mut().unwrap().try_wait().unwrap() {
                panic!("the daemon ended with {status} before {text:?}\n{}", self.daemon_log());
            }
            assert!(Instant::now() < deadline, "no {text:?}, only {seen:?}\n{}", self.daemon_log());
        }
    }

    /// Whether there is no daemon, or it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().is_none_or(|daemon| daemon.try_wait().unwrap().is_some())
    }

    /// Starts the daemon where it has ended by itself, and says whether it had.
    pub fn revive(&mut self) -> bool {
        let ended = self.has_ended();
        if ended {
            self.daemon = None;
            self.launch();
        }
        ended
    }

    /// All sessions, as JSON, if there is a daemon that says so.
    pub fn try_list(&self) -> Option<Vec<Value>> {
        let output = self.atm(&["get", "-o", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// What the daemon said on stderr.
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    pub fn daemon_pid(&self) -> i32 {
        self.daemon.as_ref().unwrap().id().cast_signed()
    }

    /// SIGKILL to the daemon.
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// SIGKILL and a new daemon.
    pub fn restart_daemon(&mut self) {
        self.kill_daemon();
        self.up();
    }

    /// SIGTERM, and the exit status of the daemon.
    pub fn stop_daemon(&mut self) -> i32 {
        let mut daemon = self.daemon.take().unwrap();
        signal(daemon.id().cast_signed(), 15);
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = daemon.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                let _ = daemon.kill();
                panic!("the daemon does not end\n{}", self.daemon_log());
            }
            pause();
        }
    }

    /// Writes a spec as editors and `atm apply` do: beside it, and renamed into place.
    pub fn drop_spec(&self, name: &str, text: &str) {
        let temporary = self.specs().with_file_name(format!("{name}.part"));
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, self.spec_path(name)).unwrap();
    }

    pub fn remove_spec(&self, name: &str) {
        fs::remove_file(self.spec_path(name)).unwrap();
    }

    /// Runs a verb.
    pub fn atm(&self, args: &[&str]) -> Output {
        self.command().args(args).env("ATM_SOCKET", self.runtime().join("atm.sock")).output().unwrap()
    }

    /// Runs a verb with the directories given, as one does while the daemon is down.
    pub fn atm_with_flags(&self, args: &[&str]) -> Output {
        self.command().args(args).args(self.flags()).output().unwrap()
    }

    /// Runs a verb that must succeed, and gives its stdout.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.atm(args);
        assert!(
            output.status.success(),
            "atm {args:?} failed: {:?}\n{}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.daemon_log(),
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// All sessions, as JSON.
    pub fn list(&self) -> Vec<Value> {
        serde_json::from_str(&self.ok(&["get", "-o", "json"])).unwrap()
    }

    /// One session as JSON; `Null` where there is none.
    pub fn get(&self, name: &str) -> Value {
        let sessions = self.list();
        sessions.into_iter().find(|session| session["name"] == name).unwrap_or(Value::Null)
    }

    /// Waits until the session satisfies `condition`.
    pub fn wait(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let met = wait_until(|| {
            last = self.get(name);
            condition(&last)
        });
        assert!(met, "{name} is not {what}: {last:#}\n{}", self.daemon_log());
        last
    }

    /// Waits for a phase.
    pub fn wait_phase(&self, name: &str, phase: &str) -> Value {
        self.wait(name, phase, |session| session["status"]["phase"] == phase)
    }

    /// Waits until the session runs, and gives its main process.
    pub fn wait_pid(&self, name: &str) -> i32 {
        let session = self.wait(name, "running", |session| {
            session["status"]["phase"] == "Running" && session["status"]["pid"].is_i64()
        });
        i32::try_from(session["status"]["pid"].as_i64().unwrap()).unwrap()
    }

    /// Waits until no such session is known.
    pub fn wait_gone(&self, name: &str) {
        self.wait(name, "gone", Value::is_null);
    }

    /// Waits until the output of a session contains `text`.
    pub fn wait_output(&self, name: &str, text: &str) -> String {
        let met = wait_until(|| self.log(name).contains(text));
        assert!(met, "no {text:?} in the output of {name}: {:?}\n{}", self.log(name), self.daemon_log());
        self.log(name)
    }

    /// Keepers that were started for this test's runtime directory, as `/proc` shows them: atm is not asked.
    pub fn keepers(&self) -> Vec<Seen> {
        self.keepers_among(processes())
    }

    /// Those of one look at `/proc` that are keepers of this test.
    pub fn keepers_among(&self, all: impl IntoIterator<Item = Seen>) -> Vec<Seen> {
        let runtime = self.runtime().display().to_string();
        let is_keeper = |seen: &Seen| {
            let argv: Vec<&str> = seen.argv.iter().map(String::as_str).collect();
            matches!(argv.as_slice(), [_, "keeper", directory, _] if *directory == runtime)
        };
        all.into_iter().filter(is_keeper).collect()
    }

    /// All that a session ever wrote, as far as it is kept: rotated files first.
    pub fn whole_log(&self, name: &str) -> String {
        let path = self.logs().join(format!("{name}.log"));
        let old = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
        let mut numbers: Vec<u32> = (1..1000).take_while(|number| old(*number).exists()).collect();
        numbers.reverse();
        let mut bytes = Vec::new();
        for file in numbers.into_iter().map(old).chain([path.clone()]) {
            bytes.extend(fs::read(file).unwrap_or_default());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The instance of this test's state directory.
    fn instance(&self) -> Option<String> {
        let text = fs::read_to_string(self.state().join("instance.json")).ok()?;
        let value: Value = serde_json::from_str(&text).ok()?;
        value["instance"].as_str().map(str::to_owned)
    }

    /// Every process of this test's sessions, keepers included, by the marker in its environment.
    pub fn marked(&self) -> Vec<i32> {
        self.instance().map_or_else(Vec::new, |instance| marked_with(&format!("ATM_INSTANCE={instance}")))
    }
}

impl Drop for Atm {
    fn drop(&mut self) {
        // What hid its environment hangs below a keeper, or below the daemon where its keeper died: it is found
        // while those live.
        let mut hidden = self.daemon.as_ref().map_or_else(Vec::new, |d| descendants(d.id().cast_signed()));
        hidden.extend(self.marked().into_iter().flat_map(descendants));
        // Where the state cannot be seen from here, a keeper's arguments tell whose it is.
        for keeper in self.keepers() {
            hidden.extend(descendants(keeper.pid));
            hidden.push(keeper.pid);
        }
        let hidden: Vec<_> = hidden.into_iter().map(|pid| (pid, start_time(pid))).collect();
        self.kill_daemon();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut pids = self.marked();
            let same = hidden.iter().filter(|(pid, started)| is_alive(*pid) && start_time(*pid) == *started);
            pids.extend(same.map(|(pid, _)| *pid));
            pids.extend(pids.clone().into_iter().flat_map(descendants));
            if pids.is_empty() || Instant::now() > end {
                break;
            }
            for pid in pids {
                signal(pid, 9);
            }
            pause();
        }
        for mount in &self.mounts {
            while nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
        }
    }
}

/// A process, as one look at `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub pid: i32,
    pub parent: i32,
    /// Clock ticks since boot: with the pid, who it is.
    pub born: u64,
    pub argv: Vec<String>,
}

/// Every process that has not ended and has a command line.
pub fn processes() -> Vec<Seen> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(cmdline) = fs::read(process.path().join("cmdline")) else { continue };
        let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = fields.split(' ').collect();
        if cmdline.is_empty() || matches!(fields[0], "Z" | "X") {
            continue;
        }
        let text = String::from_utf8_lossy(&cmdline);
        let argv = text.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
        found.push(Seen { pid, parent: fields[1].parse().unwrap(), born: fields[19].parse().unwrap(), argv });
    }
    found
}

/// Pids of processes whose environment has `entry`.
pub fn marked_with(entry: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let mut environ = Vec::new();
        let read =
            fs::File::open(process.path().join("environ")).and_then(|mut f| f.read_to_end(&mut environ));
        if read.is_ok() && environ.split(|b| *b == 0).any(|one| one == entry.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// Pids of everything below `pid`.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut queue = vec![pid];
    while let Some(parent) = queue.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|text| text.parse().ok()) {
                found.push(child);
                queue.push(child);
            }
        }
    }
    found
}

/// Sends a signal; a process that is gone is no failure. One that is to stop has stopped: until each of its threads has
/// heard of it, some go on.
pub fn signal(pid: i32, number: i32) {
    let process = rustix::process::Pid::from_raw(pid).unwrap();
    let signal = rustix::process::Signal::from_named_raw(number).unwrap();
    let _ = rustix::process::kill_process(process, signal);
    if signal == rustix::process::Signal::STOP {
        assert!(wait_until(|| has_stopped(pid)), "{pid} does not stop");
    }
}

fn has_stopped(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads
        .flatten()
        .all(|thread| stat_field(thread.path().join("stat"), 0).is_none_or(|state| "TtZX".contains(&state)))
}

/// A field of a `stat` file of procfs, of those behind the name: 0 is the state.
pub fn stat_field(stat: impl AsRef<Path>, index: usize) -> Option<String> {
    let stat = fs::read_to_string(stat).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(index).map(str::to_owned)
}

/// When `pid` was started, in the kernel's ticks: tells it from a later process with its pid.
pub fn start_time(pid: i32) -> Option<u64> {
    stat_field(format!("/proc/{pid}/stat"), 19)?.parse().ok()
}

/// Whether `pid` is a process that has not ended.
pub fn is_alive(pid: i32) -> bool {
    stat_field(format!("/proc/{pid}/stat"), 0).is_some_and(|state| !"ZX".contains(&state))
}

/// Looks again and again, with a generous limit.
pub fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        pause();
    }
}

/// A short breath between two looks; nothing relies on its length.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Now, for what is asserted about durations.
pub fn now() -> Instant {
    Instant::now()
}

/// Whether this test runs as root; what only root can make is skipped otherwise, and said so.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Writes an executable script.
pub fn script(path: &Path, text: &str) {
    executable(path, text.as_bytes());
}

impl Atm {
    /// Writes the config. Before the daemon is up, or live.
    pub fn write_config(&self, text: &str) {
        let temporary = self.path("atm.yaml.part");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, self.path("atm.yaml")).unwrap();
    }

    /// A daemon that is up, with a config.
    pub fn start_with(config: &str) -> Self {
        let mut atm = Self::new();
        atm.write_config(config);
        atm.up();
        atm
    }

    /// The spec directory.
    pub fn specs(&self) -> PathBuf {
        self.found.as_ref().map_or_else(|| self.path("sessions.d"), |found| found.sessions.clone())
    }

    /// What happened, oldest first; of all sessions where none is named.
    pub fn events(&self, names: &[&str]) -> Vec<Value> {
        let mut args = vec!["events", "-o", "json"];
        args.extend(names);
        self.ok(&args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How often a kind of event happened to a session.
    pub fn count_events(&self, name: &str, kind: &str) -> usize {
        self.events(&[name]).iter().filter(|event| event["kind"] == kind).count()
    }

    /// How the daemon is.
    pub fn health(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "-o", "json"])).unwrap()
    }

    /// Waits until the daemon's health satisfies `condition`.
    pub fn wait_health(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let met = wait_until(|| {
            last = self.health();
            condition(&last)
        });
        assert!(met, "the daemon is not {what}: {last:#}\n{}", self.daemon_log());
        last
    }

    /// Waits until a session's file is told to be wrong, and gives what is told.
    pub fn wait_error(&self, name: &str, says: &str) -> Value {
        self.wait(name, &format!("wrong because of {says:?}"), |session| {
            session["status"]["specError"].to_string().contains(says)
        })
    }

    /// Writes a spec in place, as `>` in a shell does.
    pub fn write_spec(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.spec_path(name), text).unwrap();
    }

    /// Takes what the daemon told its service manager so far: unread, it would hold the daemon's sender up.
    pub fn drain_notices(&self) {
        let notify = self.notify.as_ref().unwrap();
        notify.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 65536];
        while notify.recv(&mut buffer).is_ok() {}
        notify.set_nonblocking(false).unwrap();
    }

    /// Proof that the daemon has looked at all that was done before: another spec is dropped, runs, and goes.
    pub fn settle(&self) {
        self.drop_spec("zz-settled", "command: [sleep, '1000']\n");
        self.wait_pid("zz-settled");
        self.remove_spec("zz-settled");
        self.wait_gone("zz-settled");
    }
}

/// Asserts that nothing in `text` could act on a terminal.
pub fn assert_harmless(what: &str, text: &str) {
    let bad = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        (c.is_control() && c != '\n') || turns
    };
    if let Some(at) = text.find(bad) {
        let from = text[..at].char_indices().rev().nth(60).map_or(0, |(at, _)| at);
        panic!("{what} has a raw {:?} after {:?}", text[at..].chars().next(), &text[from..at]);
    }
}

/// A verb that goes on, and what it says.
pub struct Talker {
    child: Child,
    out: PathBuf,
}

impl Atm {
    /// Starts a verb that goes on until it is dropped.
    pub fn follow(&self, args: &[&str]) -> Talker {
        let number = fs::read_dir(self.dir.path()).unwrap().count();
        let out = self.path(&format!("talk{number}"));
        let file = fs::File::create_new(&out).unwrap();
        let child = self
            .command()
            .args(args)
            .env("ATM_SOCKET", self.runtime().join("atm.sock"))
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Talker { child, out }
    }

    /// Runs a verb as another user does, with an environment of theirs.
    pub fn atm_as(&self, uid: u32, args: &[&str]) -> Output {
        self.command()
            .args(args)
            .env("ATM_SOCKET", self.runtime().join("atm.sock"))
            .env("HOME", "/")
            .uid(uid)
            .gid(uid)
            .current_dir("/")
            .output()
            .unwrap()
    }

    /// Runs a verb with more in its environment, and with something to read.
    pub fn atm_with(&self, env: &[(&str, &str)], input: &str, args: &[&str]) -> Output {
        let mut command = self.command();
        command.args(args).env("ATM_SOCKET", self.runtime().join("atm.sock")).envs(env.iter().copied());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed by the verb where it does not read.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a verb writes to a terminal.
    pub fn on_a_terminal(&self, args: &[&str]) -> String {
        let mut words = vec![program().to_str().unwrap()];
        words.extend(args);
        let output = Command::new("script")
            .args(["-qec", &shell_words::join(words), "/dev/null"])
            .env("ATM_SOCKET", self.runtime().join("atm.sock"))
            .env("NO_COLOR", "1")
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
    }
}

impl Talker {
    /// What was said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Waits until something was said.
    pub fn wait(&self, text: &str) -> String {
        assert!(wait_until(|| self.said().contains(text)), "no {text:?} in {:?}", self.said());
        self.said()
    }

    /// Waits until it ends by itself, and gives its exit status.
    pub fn end(&mut self) -> Option<i32> {
        assert!(wait_until(|| self.child.try_wait().unwrap().is_some()), "goes on: {:?}", self.said());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit status, stdout and stderr of a verb.
pub fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
