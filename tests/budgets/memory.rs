//! `maxMemory` of a session and of all together, and `maxProcesses`.

use super::{
    SLEEPER, event,
    harness::{Atm, wait_until},
    seconds_between, wait_over,
};

/// Holds so many MiB, without a page of them shared.
fn holds(mib: u32) -> String {
    format!("{{ head -c {mib}M /dev/zero; sleep 1000; }} | tail")
}

#[test]
fn a_tree_over_its_memory_is_ended_within_seconds_and_one_that_fits_is_not() {
    let atm = Atm::start();
    let four = format!("({}) &", holds(60)).repeat(4);
    let spec = |memory: &str| {
        format!("command: [sh, -c, '{four} wait']\nmaxMemory: {memory}\nrestartPolicy: Never\n")
    };
    atm.drop_spec("fits", &spec("600MiB"));
    atm.drop_spec("large", &spec("150MiB"));
    let over = wait_over(&atm, "large", "Evicted", "SessionMemory");
    assert!(over["status"]["message"].to_string().contains("maxMemory of 150.0 MiB"), "{over:#}");
    let took =
        seconds_between(&event(&atm, "large", "Started")["at"], &event(&atm, "large", "Evicted")["at"]);
    assert!(took < 20.0, "ended after {took} s");
    let fits = atm.wait("fits", "measured", |s| s["status"]["memoryBytes"].as_u64() > Some(200 << 20));
    assert_eq!(fits["status"]["phase"], "Running");
    assert_eq!(atm.count_events("fits", "Evicted"), 0);
}

/// An idle session is looked at rarely; what it takes all at once is seen in time all the same.
#[test]
fn a_session_that_was_quiet_for_long_and_grows_at_once_is_seen_in_time() {
    let atm = Atm::start();
    let fifo = atm.path("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let late = format!("read x < {}; {}", fifo.display(), holds(240));
    atm.drop_spec("late", &format!("command: [sh, -c, '{late}']\nmaxMemory: 150MiB\nrestartPolicy: Never\n"));
    atm.wait_pid("late");
    // By then its looks are far apart.
    atm.wait("late", "idle", |s| s["status"]["activity"] == "Idle");
    std::fs::write(&fifo, "x\n").unwrap();
    let since = super::harness::now();
    wait_over(&atm, "late", "Evicted", "SessionMemory");
    assert!(since.elapsed().as_secs() < 20, "ended after {:?}", since.elapsed());
}

#[test]
fn memory_that_forks_share_is_counted_once() {
    let atm = Atm::start();
    // A shell with a variable of 60 MiB and ten children that only wait: eleven times its resident set.
    let shares = "x=$(head -c 60000000 /dev/zero | tr \"\\\\0\" x); i=0; while [ $i -lt 10 ]; do \
                  (read y < fifo) & i=$((i+1)); done; echo up; wait";
    let dir = atm.path("work");
    std::fs::create_dir(&dir).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    atm.drop_spec(
        "shares",
        &format!(
            "command: [bash, -c, '{}']\nworkingDir: {}\nmaxMemory: 400MiB\nrestartPolicy: Never\n",
            shares.replace("\\\\", "\\"),
            dir.display()
        ),
    );
    atm.wait_output("shares", "up");
    let measured = atm.wait("shares", "measured", |s| s["status"]["processes"].as_u64() >= Some(11));
    // Beside it, one that is over its memory is found twice: looks were taken meanwhile.
    let control = format!("command: [sh, -c, '{}']\nmaxMemory: 20MiB\nbackoff: {{initial: 0s}}\n", holds(40));
    atm.drop_spec("control", &control);
    assert!(wait_until(|| atm.count_events("control", "Evicted") >= 2), "{measured:#}");
    let shares = atm.get("shares");
    assert_eq!(shares["status"]["phase"], "Running", "{shares:#}");
    assert!(shares["status"]["memoryBytes"].as_u64() < Some(400 << 20), "{shares:#}");
}

#[test]
fn under_pressure_the_idle_one_goes_and_comes_back_by_itself_when_there_is_room() {
    let atm = Atm::start_with("maxMemory: 400MiB\n");
    let fifo = atm.path("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let spec = |command: &str| format!("command: [sh, -c, '{command}']\n");
    atm.drop_spec("idle", &spec(&holds(150)));
    atm.drop_spec("busy", &spec(&holds(150)));
    let grows = format!(
        "read x < {}; {{ head -c 120M /dev/zero; read x < {0}; }} | tail -n 1 | wc -c; sleep 1000",
        fifo.display()
    );
    atm.drop_spec("grows", &spec(&grows));
    for name in ["idle", "busy", "grows"] {
        atm.wait_pid(name);
    }
    atm.ok(&["touch", "busy", "grows", "--activity", "busy"]);
    for name in ["idle", "busy"] {
        atm.wait(name, "grown", |s| s["status"]["memoryBytes"].as_u64() > Some(140 << 20));
    }
    let (busy, growing) = (atm.wait_pid("busy"), atm.wait_pid("grows"));
    std::fs::write(&fifo, "x\n").unwrap();
    let victim = wait_over(&atm, "idle", "Pending", "MemoryBudget");
    assert_eq!(victim["status"]["cause"]["reason"], "MemoryPressure", "{victim:#}");
    assert!(victim["status"]["nextStartAt"].is_string(), "{victim:#}");
    // What comes now waits for room as well.
    std::fs::write(&fifo, "x\n").unwrap();
    let back = wait_until(|| atm.get("idle")["status"]["phase"] == "Running");
    // A minute at the earliest: the limit of one wait is about as long.
    let back = back || wait_until(|| atm.get("idle")["status"]["phase"] == "Running");
    assert!(back, "{:#}", atm.get("idle"));
    assert_eq!((atm.wait_pid("busy"), atm.wait_pid("grows")), (busy, growing));
    assert_eq!(atm.count_events("idle", "Evicted"), 1, "it does not flap");
}

#[test]
fn no_session_starts_while_memory_is_short() {
    let atm = Atm::start_with("maxMemory: 100MiB\n");
    atm.drop_spec("large", &format!("command: [sh, -c, '{}']\npinned: true\n", holds(95)));
    atm.wait("large", "grown", |s| s["status"]["memoryBytes"].as_u64() > Some(92 << 20));
    atm.drop_spec("next", SLEEPER);
    let next = wait_over(&atm, "next", "Pending", "MemoryBudget");
    assert!(next["status"]["message"].to_string().contains("maxMemory"), "{next:#}");
    atm.write_config("maxMemory: 1GiB\n");
    atm.wait_pid("next");
}

#[test]
fn too_many_processes_are_a_failure() {
    let atm = Atm::start();
    atm.drop_spec(
        "many",
        "command: [sh, -c, 'for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait']\nmaxProcesses: 5\nrestartPolicy: Never\n",
    );
    let over = atm.wait_phase("many", "Failed");
    assert_eq!(over["status"]["reason"], "ProcessLimit", "{over:#}");
    assert!(over["status"]["message"].to_string().contains("maxProcesses of 5"), "{over:#}");
}

/// What was found running is measured before anything is let in beside it.
#[test]
fn a_restart_of_the_daemon_lets_nobody_in() {
    let mut atm = Atm::start_with("maxMemory: 100MiB\n");
    atm.drop_spec("large", &format!("command: [sh, -c, '{}']\npinned: true\n", holds(95)));
    atm.wait("large", "grown", |s| s["status"]["memoryBytes"].as_u64() > Some(92 << 20));
    atm.drop_spec("next", SLEEPER);
    wait_over(&atm, "next", "Pending", "MemoryBudget");
    for _ in 0..3 {
        atm.restart_daemon();
        wait_over(&atm, "next", "Pending", "MemoryBudget");
        assert_eq!(atm.count_events("next", "Started"), 0, "{:#}", atm.get("next"));
    }
    wait_over(&atm, "next", "Pending", "MemoryBudget");
}
