//! Processor time, memory, processes and signs of life in the status.

use std::{
    fs,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use atm::{
    api::{activity, time::BootId},
    host::clock::{boot_id, monotonic},
};
use serde_json::Value;

use crate::harness::{Atm, descendants, signal, wait_until};

const MIB: u64 = 1 << 20;

/// Does nothing, and says so once.
const QUIET: &str = "command: [sh, -c, 'echo up; exec sleep 1000']\nterminationGracePeriod: 1s\n";

fn memory(session: &Value) -> u64 {
    session["status"]["memoryBytes"].as_u64().unwrap_or(0)
}

/// A session that holds so much memory.
fn holder(mebibytes: u32) -> String {
    let script = format!("my $x = 'x'; $x x= {mebibytes} << 20; print \"held\\n\"; sleep 1000");
    format!("command: [perl, -e, {script:?}]\nterminationGracePeriod: 1s\n")
}

fn at(session: &Value) -> String {
    session["status"]["lastActivityAt"].as_str().unwrap_or_default().to_owned()
}

/// Idle time that the page of a session tells, as of its last look, and when that was.
fn page(atm: &Atm, name: &str) -> Option<activity::Left> {
    let bytes = fs::read(atm.runtime().join("sessions").join(name).join("activity")).ok()?;
    activity::read(&bytes, &boot()).ok()?.left
}

fn boot() -> BootId {
    boot_id()
}

#[test]
fn a_command_that_computes_shows_what_it_takes_and_one_that_sleeps_shows_nothing() {
    let atm = Atm::start();
    atm.drop_spec("busy", "command: [sh, -c, 'while :; do :; done']\nterminationGracePeriod: 1s\n");
    atm.drop_spec("quiet", QUIET);
    let busy = atm
        .wait("busy", "seen computing", |s| s["status"]["cpuPercent"].as_f64().is_some_and(|cpu| cpu > 20.0));
    let cpu = busy["status"]["cpuPercent"].as_f64().unwrap();
    assert!((cpu * 10.0 - (cpu * 10.0).round()).abs() < 1e-3, "one digit: {cpu}");
    let quiet = atm.wait("quiet", "seen", |s| s["status"]["cpuPercent"].is_number());
    assert!(quiet["status"]["cpuPercent"].as_f64().unwrap() < 5.0);
}

#[test]
fn memory_and_processes_of_the_whole_tree_are_shown() {
    let atm = Atm::start();
    atm.drop_spec("a", &holder(60));
    let script = "sleep 1000 & sleep 1000 & wait";
    atm.drop_spec("b", &format!("command: [sh, -c, {script:?}]\nterminationGracePeriod: 1s\n"));
    let session = atm.wait("a", "seen holding 60 MiB", |s| memory(s) > 60 * MIB);
    assert!(memory(&session) < 200 * MIB, "{session:#}");
    assert_eq!(session["status"]["processes"], 1);
    atm.wait("b", "seen with three processes", |s| s["status"]["processes"] == 3);
    let status = atm.ok(&["status"]);
    assert!(status.contains("; memory "), "{status}");
}

#[test]
fn memory_that_is_shared_counts_once_near_a_budget_and_is_added_up_far_from_it() {
    let atm = Atm::start();
    let script = "$_ = 'x' x (50 << 20); for (1..5) { unless (fork) { sleep 1000; exit } } sleep 1000";
    let spec = format!("command: [perl, -e, {script:?}]\nterminationGracePeriod: 1s\n");
    atm.drop_spec("near", &format!("{spec}maxMemory: 300MiB\n"));
    atm.drop_spec("far", &spec);
    atm.wait("far", "added up", |s| s["status"]["processes"] == 6 && memory(s) > 300 * MIB);
    let near = atm.wait("near", "counted once", |s| {
        s["status"]["processes"] == 6 && (50 * MIB..200 * MIB).contains(&memory(s))
    });
    assert_eq!(near["status"]["phase"], "Running");
    // The same number of times as it takes for the next looks: it does not flap.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert!(memory(&atm.get("near")) < 200 * MIB);
    }
}

#[test]
fn a_session_that_grows_after_it_was_idle_for_long_is_seen_soon() {
    let atm = Atm::start();
    let script = "$| = 1; print qq(up\\n); $n = 200 << 20; \
                  $SIG{USR1} = sub { $x = 'x'; $x x= $n; print qq(grown\\n) }; sleep 1000 while 1";
    // Its own and no temporary copy: 200 MiB of 360 is no reason to end it.
    atm.drop_spec("a", &format!("command: [perl, -e, {script:?}]\nmaxMemory: 360MiB\nterminal: false\n"));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "up");
    // Until looks at it are so rare that none of them would be in time.
    let rare = |left: activity::Left| left.due - left.at > Duration::from_secs(14);
    assert!(wait_until(|| page(&atm, "a").is_some_and(rare)));
    signal(pid, 10);
    atm.wait_output("a", "grown");
    let grown = Instant::now();
    atm.wait("a", "seen grown", |s| memory(s) > 190 * MIB);
    assert!(grown.elapsed() < Duration::from_secs(8), "{:?}", grown.elapsed());
}

#[test]
fn output_moves_the_last_sign_of_life_and_silence_does_not() {
    let atm = Atm::start();
    let spec =
        "command: [sh, -c, 'echo up; read line; echo $line; exec sleep 1000']\nterminationGracePeriod: 1s\n";
    let fifo = atm.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    atm.drop_spec("a", &spec.replace("read line", &format!("read line < {}", fifo.display())));
    atm.wait_output("a", "up");
    let first = atm.wait("a", "looked at twice", |_| {
        page(&atm, "a").is_some_and(|left| {
            left.quiet_since < left.at && left.at - left.quiet_since > Duration::from_secs(3)
        })
    });
    let quiet = page(&atm, "a").unwrap().quiet_since;
    fs::write(&fifo, "word\n").unwrap();
    atm.wait_output("a", "word");
    let moved = atm.wait("a", "seen alive", |_| page(&atm, "a").is_some_and(|left| left.quiet_since > quiet));
    assert!(at(&moved) > at(&first), "{} {}", at(&moved), at(&first));
}

#[test]
fn a_session_that_is_stopped_by_a_signal_is_never_idle() {
    let atm = Atm::start();
    atm.drop_spec("a", QUIET);
    let pid = atm.wait_pid("a");
    atm.wait("a", "idle", |s| s["status"]["activity"] == "Idle");
    signal(pid, 19);
    atm.wait("a", "not idle", |s| s["status"]["activity"] == "Unknown");
    signal(pid, 18);
    atm.wait("a", "idle again", |s| s["status"]["activity"] == "Idle");
}

#[test]
fn idle_time_outlives_the_daemon() {
    let mut atm = Atm::start();
    atm.drop_spec("a", QUIET);
    atm.wait("a", "idle", |s| s["status"]["activity"] == "Idle");
    let before = page(&atm, "a").unwrap();
    atm.kill_daemon();
    atm.up();
    // At the first look of the new daemon: it need not be quiet for another ten seconds.
    let found = Instant::now();
    atm.wait("a", "idle", |s| s["status"]["activity"] == "Idle");
    assert!(found.elapsed() < Duration::from_secs(8), "{:?}", found.elapsed());
    let after = page(&atm, "a").unwrap();
    assert!(after.at > before.at, "it was looked at again");
    // Time in which nobody looked may be left out; what was proven is kept.
    assert!(after.at - after.quiet_since >= before.at - before.quiet_since);
}

#[test]
fn a_page_that_is_damaged_proves_no_idle_time() {
    let mut atm = Atm::start();
    atm.drop_spec("a", QUIET);
    atm.wait("a", "idle", |s| s["status"]["activity"] == "Idle");
    atm.kill_daemon();
    let path = atm.runtime().join("sessions/a/activity");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 8], 8 * activity::word::LEFT as u64).unwrap();
    assert!(page(&atm, "a").is_none());
    let broken = monotonic();
    // What the keeper wrote is whole: it says when there was output, and that is long ago.
    file.write_all_at(&broken.as_nanos().to_le_bytes(), 8 * activity::word::OUTPUT as u64).unwrap();
    atm.up();
    atm.wait("a", "looked at", |_| page(&atm, "a").is_some());
    assert!(page(&atm, "a").unwrap().quiet_since >= broken, "it counts from the last output that is known");
    file.write_all_at(&[0; 8], 0).unwrap();
    // Somebody may be attached: nobody can tell.
    atm.wait("a", "of unknown activity", |s| {
        s["status"]["activity"] == "Unknown" && s["status"]["attached"].is_null()
    });
}

#[test]
fn what_a_keeper_makes_anew_keeps_what_the_daemon_knew() {
    let mut atm = Atm::start();
    atm.drop_spec("a", QUIET);
    atm.wait("a", "idle", |s| s["status"]["activity"] == "Idle");
    let before = page(&atm, "a").unwrap();
    atm.kill_daemon();
    fs::remove_dir_all(atm.runtime()).unwrap();
    atm.up();
    atm.wait("a", "found again", |s| s["status"]["phase"] == "Running");
    assert!(wait_until(|| page(&atm, "a").is_some_and(|left| left.at > before.at)));
    let after = page(&atm, "a").unwrap();
    assert!(after.at - after.quiet_since >= before.at - before.quiet_since);
}

#[test]
fn without_sessions_the_daemon_does_not_wake_to_look() {
    let atm = Atm::start();
    atm.drop_spec("a", QUIET);
    atm.wait("a", "seen", |s| s["status"]["processes"] == 1);
    atm.remove_spec("a");
    atm.wait_gone("a");
    let thread = thread_of(atm.daemon_pid(), "looks");
    let switches = || {
        let text = fs::read_to_string(format!("{thread}/status")).unwrap();
        let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.rsplit('\t').next().unwrap().trim().parse::<u64>().unwrap()
    };
    let before = switches();
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(switches(), before);
    assert!(descendants(atm.daemon_pid()).is_empty());
}

/// The directory of a thread by its name.
fn thread_of(pid: i32, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut named = tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    named.next().unwrap().path().display().to_string()
}
