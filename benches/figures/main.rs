//! The figures of the README and their budgets, measured on the real binary with real processes: one table.
//!
//! `cargo bench` measures all of them in some minutes; `cargo bench -- --quick` a part with fewer repetitions in
//! less than one. What each row means is in `benches/README.md`. Run it on a machine that has nothing else to do:
//! the first row says what the machine itself takes to start a command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::missing_panics_doc)]
#![allow(clippy::disallowed_methods, reason = "it measures the real clock, and waits between measurements")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

mod fleet;
#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../../tests/harness/interrupt.rs"]
mod interrupt;
mod processes;
mod stamp;
mod table;

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use atm::host::clock::monotonic;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use fleet::Fleet;
use stamp::{Stamp, Stamps};
use table::{Table, Unit, quantile};

/// How much is measured.
#[derive(Debug)]
pub struct Plan {
    /// Sessions that are there already.
    pub sizes: &'static [usize],
    /// Starts of a daemon with so many specs, of which the median is told.
    pub colds: usize,
    /// Specs dropped per size and kind.
    pub declares: usize,
    /// Ends of a command that runs again.
    pub restarts: usize,
    /// Kills of the daemon.
    pub restarted_daemons: usize,
    /// How long the daemon is watched doing nothing.
    pub idle: Duration,
}

const FULL: Plan = Plan {
    sizes: &[0, 100, 1000],
    colds: 3,
    declares: 200,
    restarts: 100,
    restarted_daemons: 5,
    idle: Duration::from_secs(30),
};
const QUICK: Plan = Plan {
    sizes: &[0, 100],
    colds: 1,
    declares: 30,
    restarts: 20,
    restarted_daemons: 2,
    idle: Duration::from_secs(3),
};

/// Ends the benchmark in good order, sessions included, where somebody asked for its end.
///
/// # Panics
///
/// Where somebody did: what is measured is dropped on the way out, and with it what was started.
pub fn stop_if_told() {
    assert!(!interrupt::is_told_to_stop(), "interrupted");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|role| role == stamp::ROLE) {
        return stamp::main(&words[1..]);
    }
    let plan = if words.iter().any(|word| word == "--quick") { QUICK } else { FULL };
    interrupt::hear();
    let descriptors = raise_descriptors();

    let directory = tempfile::tempdir().unwrap();
    let stamp = Stamp::build(directory.path());
    let conditions = conditions(&stamp, directory.path(), descriptors);
    eprintln!("{}", conditions.join("\n"));
    let mut table = Table::default();
    machine(&stamp, directory.path(), &plan, &mut table);
    for terminal in [false, true] {
        for &size in plan.sizes {
            measure(&stamp, size, terminal, &plan, &mut table);
        }
    }
    println!("\n{}", table.text(&conditions));
}

fn measure(stamp: &Stamp, size: usize, terminal: bool, plan: &Plan, table: &mut Table) {
    let mut fleet = Fleet::prepare(stamp, size, terminal);
    let mut colds = vec![fleet.cold()];
    while colds.len() < plan.colds && size > 0 {
        drop(fleet); // ends all of it first
        fleet = Fleet::prepare(stamp, size, terminal);
        colds.push(fleet.cold());
    }
    if size > 0 {
        let budget = if size <= 100 { 0.2 } else { 1.8 };
        let values = [(quantile(&colds, 0.5), Some(budget))];
        table.row(fleet.title("cold daemon → all running, p50"), Unit::Seconds, &values);
        fleet.keepers(table);
    }
    if !terminal {
        fleet.idle(plan, table);
    }
    if size > 0 {
        fleet.ready_again(plan, table);
    }
    fleet.declared(plan, table);
    if size <= 100 {
        fleet.again(plan, table);
    }
}

/// What the machine takes to start the command without anybody between: nothing can be faster, and a budget
/// that this is near to is the machine's to miss.
fn machine(stamp: &Stamp, directory: &Path, plan: &Plan, table: &mut Table) {
    let stamps = Stamps::new(directory.join("stamps"));
    let mut took = Vec::new();
    for _ in 0..=plan.declares {
        let words = stamp.command(&stamps.fifo, "machine", &["exit", "0"]);
        let began = monotonic().as_nanos();
        let mut child = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).spawn().unwrap();
        let started = stamps.started("machine");
        child.wait().unwrap();
        #[expect(clippy::cast_precision_loss)]
        took.push(started.saturating_sub(began) as f64);
    }
    let values = [(quantile(&took, 0.5), None), (quantile(&took, 0.99), None)];
    table.row("the machine itself: spawn → first instruction, p50 / p99", Unit::Millis, &values);

    // A keeper without arguments ends at once: what is left is what it takes to load one.
    let mut took = Vec::new();
    for _ in 0..=plan.declares {
        let began = monotonic().as_nanos();
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_atm"));
        let status = keeper.arg("keeper").stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(!status.success(), "a keeper without a session has nothing to do");
        #[expect(clippy::cast_precision_loss)]
        took.push(monotonic().as_nanos().saturating_sub(began) as f64);
    }
    let values = [(quantile(&took, 0.5), None), (quantile(&took, 0.99), None)];
    table.row("the machine itself: a keeper executed → ended, p50 / p99", Unit::Millis, &values);
}

fn conditions(stamp: &Stamp, directory: &Path, descriptors: u64) -> Vec<String> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let load = text("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    vec![
        format!(
            "atm {} · Linux {} · {cpus} CPUs · load {load} · {descriptors} descriptors · {}",
            env!("CARGO_PKG_VERSION"),
            text("/proc/sys/kernel/osrelease"),
            if rustix::process::geteuid().is_root() { "root" } else { "a user" },
        ),
        format!(
            "specs, state and logs on {} ({}), runtime on {}, no cgroup; command: {}",
            processes::file_system(directory),
            std::env::temp_dir().display(),
            processes::file_system(runtime_base().unwrap_or(directory)),
            stamp.kind,
        ),
    ]
}

/// Where runtime directories go: to memory, as `/run` is, where the machine has such a place.
pub fn runtime_base() -> Option<&'static Path> {
    let shared = Path::new("/dev/shm");
    (processes::file_system(shared) == "tmpfs").then_some(shared)
}

/// A thousand sessions are more than a thousand descriptors.
fn raise_descriptors() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.min(65536).max(soft);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    wanted
}
