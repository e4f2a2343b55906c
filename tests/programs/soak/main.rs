//! A soak: one daemon under everything that people and sessions do, for as long as is asked for, and whether anything
//! grew by it.
//!
//! ```text
//! cargo run --release --example soak -- --minutes 30 [--sessions N] [--seed S]
//! ```
//!
//! After a warm-up, and again at the end, all of it comes to rest in the same state: the same sessions run, nobody does
//! anything. What the daemon and the keepers that were never ended hold then must be the same: descriptors by kind,
//! threads, watches, processes, groups, mounts, files; and their memory may not have grown by more than is said in
//! `judge`. In between the memory is looked at each ten seconds. The table is printed; the exit status is 1 where
//! anything grew, and where a verb failed as none may.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::missing_panics_doc)]
#![allow(clippy::disallowed_methods, reason = "it lives on the real clock")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

#[allow(dead_code, reason = "a client of the tests, of which not all is used")]
#[path = "../../terminal/client.rs"]
mod client;
mod crowd;
#[path = "../../chaos/dice.rs"]
mod dice;
mod field;
#[path = "../../support/group.rs"]
mod group;
#[path = "../../harness/mod.rs"]
mod harness;
#[path = "../../harness/interrupt.rs"]
mod interrupt;
mod judge;
mod people;
#[allow(dead_code, reason = "as above")]
#[path = "../../registered/support.rs"]
mod registered;
mod sample;
#[allow(dead_code, reason = "as above")]
#[path = "../../socket/client.rs"]
mod socket;

use std::{
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;

use crowd::Crowd;
use field::Field;
use group::Group;
use harness::{Atm, pause, program};
use interrupt::is_told_to_stop;
use judge::Judge;
use sample::Sample;

/// Runs a daemon under load, and says what grew by it.
#[derive(Debug, Parser)]
struct Args {
    /// How long, warm-up included
    #[arg(long, default_value_t = 30)]
    minutes: u32,
    /// Sessions that are declared all the time
    #[arg(long, default_value_t = 24)]
    sessions: usize,
    /// Repeats a run's choices
    #[arg(long)]
    seed: Option<u64>,
}

/// Between two looks at what everybody holds.
const EACH: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|role| role == field::ROLE) {
        return field::main(&words[1..]);
    }
    let args = Args::parse();
    interrupt::hear();
    build();
    let clock = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    if soak(&args, args.seed.unwrap_or(clock)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn soak(args: &Args, seed: u64) -> bool {
    let whole = Duration::from_secs(u64::from(args.minutes) * 60);
    let warm_up = (whole / 5).min(Duration::from_secs(300));
    eprintln!("--minutes {} --sessions {} --seed {seed} · {}", args.minutes, args.sessions, machine());

    let group = Group::new("soak");
    let groups = group.as_ref().map(|group| group.path.clone());
    let mut atm = Atm::new();
    atm.args.extend(groups.iter().map(|path| format!("--cgroup={}", path.display())));
    let field = Field::new(&atm, args.sessions);
    field.rest(&atm);
    atm.up();

    let mut judge = Judge::default();
    let look = |atm: &Atm| Sample::take(atm, groups.as_deref());
    for (part, time) in [("warm-up", warm_up), ("load", whole.saturating_sub(warm_up))] {
        let crowd = Crowd::new(seed, part);
        let end = Instant::now() + time;
        crowd.work(&atm, &field, || {
            while Instant::now() < end && !is_told_to_stop() {
                let next = Instant::now() + EACH;
                while Instant::now() < next.min(end) && !is_told_to_stop() {
                    thread::sleep(Duration::from_millis(100));
                }
                atm.drain_notices();
                judge.note(part == "load", look(&atm));
            }
        });
        judge.faults(crowd.faults());
        field.rest(&atm);
        judge.rests(&atm, &field, || look(&atm));
        if is_told_to_stop() {
            eprintln!("interrupted");
            return false;
        }
    }
    // What is forgotten goes when a daemon starts, and each hour.
    Field::forget_soon(&atm);
    atm.restart_daemon();
    judge.files(&atm, &field);
    let code = atm.stop_daemon();
    judge.check(code == 0, || format!("the daemon ended with {code}"));
    judge.left(&sample::of_ours(&atm));
    println!("\n{}\n{}", judge.table(), machine());
    judge.is_content()
}

/// Builds the program beside this one, as this one was built.
fn build() {
    if std::env::var_os("ATM_BIN").is_some() {
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--locked",
        "--bin",
        "atm",
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    assert!(command.status().unwrap().success(), "atm is not built");
    assert!(program().exists(), "{} is missing; ATM_BIN says where it is", program().display());
}

fn machine() -> String {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    format!("{cpus} CPUs, load {}, Linux {}", text("/proc/loadavg"), text("/proc/sys/kernel/osrelease"))
}
