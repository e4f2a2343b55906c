//! What becomes of sessions when everything that can happen to a machine happens all the time: the real daemon under
//! random changes, kills, stops, full and vanished directories, clocks and clients, judged by what is there and not by
//! what atm says.
//!
//! ```text
//! cargo run --example chaos -- --minutes 5 --seed 1
//! cargo run --example chaos -- --kills 1000 --plain --within 2000 --seed 7
//! ```
//!
//! `--sessions 50` run at once, `--rate 10` changes a second; `--plain` leaves the changes and the SIGKILLs of the daemon
//! and nothing else. It fails with the first thing that is wrong, and says how that scene is played again: `--seed S
//! --first N`. The choices are the same then; what the machine makes of them is a matter of its timing too, so that it
//! may take more than once. `ATM_BIN` names another program than the one that is built for this.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::missing_panics_doc, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "it waits on the real clock")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

#[path = "../../chaos/blows.rs"]
mod blows;
#[path = "../../chaos/client.rs"]
mod client;
#[path = "../../chaos/dice.rs"]
mod dice;
#[path = "../../chaos/disks.rs"]
mod disks;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../chaos/field.rs"]
mod field;
#[path = "../../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../chaos/judge.rs"]
mod judge;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../chaos/stage.rs"]
mod stage;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../chaos/storm.rs"]
mod storm;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use clap::Parser as _;

use storm::{Plan, Until};

#[derive(Debug, clap::Parser)]
#[command(about = "Sessions under chaos")]
struct Args {
    /// How long, in minutes; the last scene is played to its end
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Instead: until the daemon was sent SIGKILL so often
    #[arg(long)]
    kills: Option<usize>,
    /// What the choices come from [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// The scene to begin with
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Sessions at once
    #[arg(long, default_value_t = 50)]
    sessions: usize,
    /// Changes a second
    #[arg(long, default_value_t = 10)]
    rate: u64,
    /// Rounds of a scene
    #[arg(long, default_value_t = 40)]
    rounds: u64,
    /// Nothing but changes and SIGKILLs of the daemon
    #[arg(long)]
    plain: bool,
    /// How long a recovery may take, in milliseconds
    #[arg(long)]
    within: Option<u64>,
}

/// Set in the environment of who was started in a namespace of its own.
const INSIDE: &str = "ATM_CHAOS_INSIDE";

fn main() -> ExitCode {
    let args = Args::parse();
    if !rustix::process::geteuid().is_root() && std::env::var_os(INSIDE).is_none() {
        // Who is root in a namespace may mount there.
        let inside = ["--user", "--map-root-user", "--"];
        if Command::new("unshare").args(inside).arg("true").status().is_ok_and(|status| status.success()) {
            let mut again = Command::new("unshare");
            again.args(inside).arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1));
            panic!("{}", again.env(INSIDE, "").exec());
        }
        eprintln!("no namespaces: file systems and clocks stay as they are");
    }
    harness::PROGRAM.set(program()).unwrap();
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let seed = args.seed.unwrap_or(u64::from(clock));
    let end = Instant::now() + Duration::from_secs_f64(args.minutes * 60.0);
    let plan = Plan {
        seed,
        first: args.first,
        sessions: args.sessions,
        rate: args.rate,
        plain: args.plain,
        until: args.kills.map_or(Until::Time(end), Until::Kills),
        rounds: args.rounds,
        within: args.within.map(Duration::from_millis),
    };
    println!("--seed {seed}, {}", harness::program().display());
    let began = Instant::now();
    let (tally, failed) = storm::run(&plan);
    print!("{}", tally.text());
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    println!("{:>8}  s, load {}", began.elapsed().as_secs(), load.trim());
    let Some(scene) = failed else { return ExitCode::SUCCESS };
    let Plan { sessions, rate, rounds, .. } = plan;
    let more = if plan.plain { " --plain" } else { "" };
    println!(
        "failed; again: --seed {seed} --first {scene} --sessions {sessions} --rate {rate} --rounds {rounds}{more}"
    );
    ExitCode::FAILURE
}

/// The program under test: built as this was, and beside it.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("ATM_BIN") {
        return fs::canonicalize(&named)
            .unwrap_or_else(|error| panic!("ATM_BIN={}: {error}", named.display()));
    }
    let own = std::env::current_exe().unwrap();
    let directory = own.parent().and_then(Path::parent).unwrap();
    // Debug is what cargo calls the place of the profile `dev`.
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--locked", "--bin", "atm", "--profile", profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().unwrap().success(), "atm could not be built");
    directory.join("atm")
}
