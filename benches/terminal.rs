//! What an attached terminal costs, beside others that keep terminals, and beside none: one table.
//!
//! `cargo bench --bench terminal` measures all; with `-- --quick` with fewer repetitions. Rounds of all are
//! interleaved, so that what the machine does meanwhile meets all alike. Others are measured where they are installed.
//!
//! The benchmark is also the programs in the sessions: `echo`, `stream`, `feed BYTES` and `paint`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "it measures the real clock, and waits between measurements")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "nanoseconds and bytes for people"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use atm::host::{poll, pty};
use harness::Atm;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

const ROLE: &str = "program-in-a-session";
const LAST: &[u8] = b"@@LAST@@";
const LIMIT: Duration = Duration::from_secs(60);
/// Lines of a flood, and of what is fed: no two alike.
const LINE: usize = 80;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == ROLE) {
        return program(&words[1..]);
    }
    let quick = words.iter().any(|word| word == "--quick");
    let (rounds, keys, bytes, attaches) =
        if quick { (1, 300, 10_000_000, 5) } else { (3, 1000, 100_000_000, 10) };
    let keepers: Vec<Box<dyn Keeps>> = vec![
        Box::new(Bare),
        Box::new(Ours { atm: Atm::start() }),
        Box::new(Tmux { dir: tempfile::tempdir().unwrap() }),
        Box::new(Socket { program: "dtach", dir: tempfile::tempdir().unwrap() }),
        Box::new(Socket { program: "abduco", dir: tempfile::tempdir().unwrap() }),
    ];
    let keepers: Vec<_> = keepers.into_iter().filter(|keeper| keeper.is_there()).collect();
    let mut rows: Vec<Row> =
        keepers.iter().map(|keeper| Row { name: keeper.name(), ..Row::default() }).collect();
    for round in 0..rounds {
        for (keeper, row) in keepers.iter().zip(&mut rows) {
            eprintln!("round {} of {rounds}: {}", round + 1, row.name);
            measure(keeper.as_ref(), row, round, keys, bytes, attaches);
        }
    }
    print(&rows, bytes);
}

fn measure(keeper: &dyn Keeps, row: &mut Row, round: usize, keys: usize, bytes: usize, attaches: usize) {
    let tag = |what: &str| format!("{what}{round}");
    keeper.create(&tag("echo"), &["echo"]);
    row.idle.extend(echo(keeper, &tag("echo"), keys));
    let floods: Vec<Sink> = (0..3)
        .map(|number| {
            let tag = tag(&format!("stream{number}"));
            keeper.create(&tag, &["stream"]);
            Sink::open(keeper, &tag)
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    row.loaded.extend(echo(keeper, &tag("echo"), keys));
    row.flood.push(floods.iter().map(Sink::rate).sum());
    for (number, flood) in floods.into_iter().enumerate() {
        drop(flood);
        keeper.end(&tag(&format!("stream{number}")));
    }
    keeper.end(&tag("echo"));
    keeper.create(&tag("feed"), &["feed", &bytes.to_string()]);
    let (took, got) = feed(keeper, &tag("feed"));
    row.feed.push(bytes as f64 / took.as_secs_f64() / 1e6);
    row.got.push(got as f64 / bytes as f64);
    if let Some(kib) = keeper.memory(&tag("feed")) {
        row.memory.push(kib);
    }
    keeper.end(&tag("feed"));
    if keeper.is_attached_to() {
        keeper.create(&tag("paint"), &["paint"]);
        thread::sleep(Duration::from_millis(300));
        for number in 0..=attaches {
            let took = attach(keeper, &tag("paint"));
            if number > 0 {
                row.attach.extend(took); // the first may change the size
            }
            thread::sleep(Duration::from_millis(50));
        }
        keeper.end(&tag("paint"));
    }
}

/// What was measured of one.
#[derive(Default)]
struct Row {
    name: &'static str,
    idle: Vec<f64>,
    loaded: Vec<f64>,
    flood: Vec<f64>,
    feed: Vec<f64>,
    got: Vec<f64>,
    attach: Vec<f64>,
    memory: Vec<f64>,
}

fn quantile(values: &[f64], at: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * at) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied()
}

type Values = fn(&Row) -> &Vec<f64>;

fn print(rows: &[Row], bytes: usize) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\natm {} · load {}", env!("CARGO_PKG_VERSION"), load.split(' ').next().unwrap_or_default());
    print!("{:<44}", "");
    for row in rows {
        print!("{:>22}", row.name);
    }
    println!();
    let line = |title: &str, of: Values, at: &[f64], scale: f64, digits: usize| {
        print!("{title:<44}");
        for row in rows {
            let values: Vec<String> = at
                .iter()
                .filter_map(|at| quantile(of(row), *at))
                .map(|value| format!("{:.digits$}", value / scale))
                .collect();
            print!("{:>22}", if values.is_empty() { "–".to_owned() } else { values.join(" / ") });
        }
        println!();
    };
    let three = [0.5, 0.95, 0.99];
    line("key echo, idle, p50 / p95 / p99, µs", |row| &row.idle, &three, 1e3, 0);
    line("key echo, 3 floods, p50 / p95 / p99, ms", |row| &row.loaded, &three, 1e6, 2);
    line("  the floods meanwhile, MB/s to their clients", |row| &row.flood, &[0.5], 1.0, 0);
    line(&format!("{} MB of output, MB/s", bytes / 1_000_000), |row| &row.feed, &[0.5], 1.0, 0);
    line("  of it on the terminal, share", |row| &row.got, &[0.0], 1.0, 3);
    line("attach to a full screen, p50 / p99, ms", |row| &row.attach, &[0.5, 0.99], 1e6, 2);
    line("the keeper after that output, PSS, KiB", |row| &row.memory, &[0.5], 1.0, 0);
}

/// One that keeps terminals.
trait Keeps {
    fn name(&self) -> &'static str;
    fn is_there(&self) -> bool;
    /// Begins one of our programs in a session of this name.
    fn create(&self, tag: &str, role: &[&str]);
    /// The command that attaches to it.
    fn attach(&self, tag: &str) -> Vec<String>;
    fn end(&self, tag: &str);
    fn is_attached_to(&self) -> bool {
        true
    }
    /// Of the process that keeps it.
    fn memory(&self, _tag: &str) -> Option<f64> {
        None
    }
}

fn role(words: &[&str]) -> Vec<String> {
    let own = std::env::current_exe().unwrap().display().to_string();
    [own, ROLE.to_owned()].into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
}

fn there(program: &str) -> bool {
    let there =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    there.is_ok_and(|status| status.success())
}

/// Nobody: the program is on the measuring terminal itself.
struct Bare;

impl Keeps for Bare {
    fn name(&self) -> &'static str {
        "bare PTY"
    }
    fn is_there(&self) -> bool {
        true
    }
    fn create(&self, tag: &str, words: &[&str]) {
        let text = role(words).join("\n");
        std::fs::write(std::env::temp_dir().join(format!("atm-bench-{}-{tag}", std::process::id())), text)
            .unwrap();
    }
    fn attach(&self, tag: &str) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("atm-bench-{}-{tag}", std::process::id()));
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }
    fn end(&self, tag: &str) {
        let _ = std::fs::remove_file(
            std::env::temp_dir().join(format!("atm-bench-{}-{tag}", std::process::id())),
        );
    }
    fn is_attached_to(&self) -> bool {
        false
    }
}

struct Ours {
    atm: Atm,
}

impl Keeps for Ours {
    fn name(&self) -> &'static str {
        "atm"
    }
    fn is_there(&self) -> bool {
        true
    }
    fn create(&self, tag: &str, words: &[&str]) {
        let command = serde_json::to_string(&role(words)).unwrap();
        self.atm.drop_spec(tag, &format!("command: {command}\nterminal: {{columns: 80, rows: 24}}\n"));
        self.atm.wait_phase(tag, "Running");
    }
    fn attach(&self, tag: &str) -> Vec<String> {
        let socket = self.atm.runtime().join("atm.sock").display().to_string();
        [env!("CARGO_BIN_EXE_atm"), "--socket", &socket, "attach", "--quiet", tag].map(str::to_owned).to_vec()
    }
    fn end(&self, tag: &str) {
        self.atm.ok(&["kill", tag]);
        self.atm.remove_spec(tag);
        self.atm.wait_gone(tag);
    }
    fn memory(&self, tag: &str) -> Option<f64> {
        let pid = self.atm.get(tag)["status"]["keeperPid"].as_i64()?;
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        rollup.lines().find(|line| line.starts_with("Pss:"))?.split_whitespace().nth(1)?.parse().ok()
    }
}

struct Tmux {
    dir: tempfile::TempDir,
}

impl Tmux {
    fn words(&self, words: &[&str]) -> Vec<String> {
        let socket = self.dir.path().join("s").display().to_string();
        let first = ["tmux", "-S", &socket, "-f", "/dev/null"].map(str::to_owned);
        first.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }
    fn run(words: &[String]) {
        let status = Command::new(&words[0]).args(&words[1..]).env_remove("TMUX").status().unwrap();
        assert!(status.success(), "{words:?}");
    }
}

impl Keeps for Tmux {
    fn name(&self) -> &'static str {
        "tmux"
    }
    fn is_there(&self) -> bool {
        there("tmux")
    }
    fn create(&self, tag: &str, words: &[&str]) {
        let mut command = self.words(&["new-session", "-d", "-s", tag, "-x", "80", "-y", "24", "--"]);
        command.extend(role(words));
        Self::run(&command);
        Self::run(&self.words(&["set", "-g", "status", "off"]));
    }
    fn attach(&self, tag: &str) -> Vec<String> {
        self.words(&["attach", "-t", tag])
    }
    fn end(&self, tag: &str) {
        let command = self.words(&["kill-session", "-t", tag]);
        let _ = Command::new(&command[0]).args(&command[1..]).status();
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let command = self.words(&["kill-server"]);
        let _ = Command::new(&command[0]).args(&command[1..]).stderr(Stdio::null()).status();
    }
}

/// dtach and abduco, which are alike.
struct Socket {
    program: &'static str,
    dir: tempfile::TempDir,
}

impl Socket {
    fn path(&self, tag: &str) -> PathBuf {
        self.dir.path().join(tag)
    }
}

impl Keeps for Socket {
    fn name(&self) -> &'static str {
        self.program
    }
    fn is_there(&self) -> bool {
        there(self.program)
    }
    fn create(&self, tag: &str, words: &[&str]) {
        let path = self.path(tag);
        let status = Command::new(self.program).arg("-n").arg(&path).args(role(words)).status().unwrap();
        assert!(status.success());
    }
    fn attach(&self, tag: &str) -> Vec<String> {
        vec![self.program.to_owned(), "-a".to_owned(), self.path(tag).display().to_string()]
    }
    fn end(&self, tag: &str) {
        let path = self.path(tag).display().to_string();
        for seen in harness::processes() {
            if seen.argv.contains(&path) {
                for pid in harness::descendants(seen.pid) {
                    harness::signal(pid, 9);
                }
                harness::signal(seen.pid, 9);
            }
        }
    }
}

/// A client on a terminal of the benchmark's.
struct Screen {
    child: Child,
    master: File,
    buffer: Vec<u8>,
}

impl Screen {
    fn open(keeper: &dyn Keeps, tag: &str) -> Self {
        let words = keeper.attach(tag);
        let pty::Streams { ours, input, output, .. } = pty::open_terminal(80, 24).unwrap();
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(&words)
            .env("TERM", "xterm-256color")
            .env_remove("TMUX")
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output.try_clone().unwrap()))
            .stderr(Stdio::from(output))
            .spawn()
            .unwrap();
        Self { child, master: File::from(ours), buffer: vec![0; 256 << 10] }
    }

    /// What comes next; empty: nothing within that time.
    fn read(&mut self, patience: Duration) -> &[u8] {
        let watched = [(self.master.as_fd(), poll::Interest::READ)];
        poll::wait(&watched, Some(patience)).unwrap();
        let count = match self.master.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => 0,
        };
        &self.buffer[..count]
    }

    /// Reads until nothing comes for a moment.
    fn settle(&mut self) {
        let until = Instant::now() + Duration::from_secs(3);
        while !self.read(Duration::from_millis(300)).is_empty() && Instant::now() < until {}
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From a key to its echo on the terminal.
fn echo(keeper: &dyn Keeps, tag: &str, keys: usize) -> Vec<f64> {
    let mut screen = Screen::open(keeper, tag);
    screen.settle();
    let mut took = Vec::with_capacity(keys);
    for number in 0..keys {
        let key = b'a' + u8::try_from(number % 26).unwrap();
        let began = Instant::now();
        screen.master.write_all(&[key]).unwrap();
        while !screen.read(LIMIT).contains(&key) {
            assert!(began.elapsed() < LIMIT, "no echo of {tag}");
        }
        took.push(began.elapsed().as_nanos() as f64);
        thread::sleep(Duration::from_millis(2));
    }
    took
}

/// All of a long output, through a client; and how much of it was shown.
fn feed(keeper: &dyn Keeps, tag: &str) -> (Duration, usize) {
    let mut screen = Screen::open(keeper, tag);
    screen.settle();
    screen.master.write_all(b"g").unwrap();
    let began = Instant::now();
    let (mut tail, mut got) = (Vec::new(), 0);
    while !tail.windows(LAST.len()).any(|part| part == LAST) {
        assert!(began.elapsed() < LIMIT, "no end of {tag}: {got} bytes");
        let read = screen.read(LIMIT);
        got += read.len();
        tail.extend_from_slice(&read[read.len().saturating_sub(200)..]);
        tail.drain(..tail.len().saturating_sub(400));
    }
    (began.elapsed(), got)
}

/// From the client's exec to the last of a full screen.
fn attach(keeper: &dyn Keeps, tag: &str) -> Option<f64> {
    let began = Instant::now();
    let mut screen = Screen::open(keeper, tag);
    let mut all = Vec::new();
    while !all.windows(LAST.len()).any(|part| part == LAST) {
        if began.elapsed() > Duration::from_secs(1) {
            return None; // it does not draw what was there before
        }
        let read = screen.read(Duration::from_millis(100)).to_vec();
        all.extend(read);
    }
    Some(began.elapsed().as_nanos() as f64)
}

/// A client that reads all, in a thread of its own.
struct Sink {
    over: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    began: Instant,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sink {
    fn open(keeper: &dyn Keeps, tag: &str) -> Self {
        let mut screen = Screen::open(keeper, tag);
        let (over, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (over.clone(), bytes.clone());
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let read = screen.read(Duration::from_millis(100)).len();
                count.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        Self { over, bytes, began: Instant::now(), thread: Some(thread) }
    }

    fn rate(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64() / 1e6
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The programs in the sessions.
fn program(words: &[String]) {
    let mut raw = tcgetattr(std::io::stdin()).unwrap();
    raw.make_raw();
    tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).unwrap();
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout());
    let mut key = [0; 1];
    let lines = |from: usize, bytes: usize| {
        let mut text = Vec::with_capacity(bytes + LINE);
        let mut number = from;
        while text.len() < bytes {
            number += 1;
            write!(text, "{number:010} {:.<67}\r\n", number.wrapping_mul(2_654_435_761) % (1 << 32)).unwrap();
        }
        text.truncate(bytes);
        text
    };
    match words.first().map(String::as_str) {
        Some("echo") => {
            while input.read(&mut key).is_ok_and(|count| count > 0) {
                output.write_all(&key).unwrap();
                output.flush().unwrap();
            }
        }
        Some("stream") => {
            let text = lines(0, 64_000);
            while output.write_all(&text).is_ok() {}
        }
        Some("feed") => {
            let bytes: usize = words[1].parse().unwrap();
            let text = lines(0, bytes);
            input.read_exact(&mut key).unwrap();
            output.write_all(&text).unwrap();
            output.write_all(LAST).unwrap();
            output.flush().unwrap();
            while input.read(&mut key).is_ok_and(|count| count > 0) {}
        }
        _ => {
            let mut screen = lines(0, LINE * 23);
            screen.splice(0..0, *b"\x1b[2J\x1b[H\x1b[32m");
            screen.extend_from_slice(LAST);
            output.write_all(&screen).unwrap();
            output.flush().unwrap();
            while input.read(&mut key).is_ok_and(|count| count > 0) {}
        }
    }
}
