//! Clocks that stand still, jump and are shown in another zone.

use std::process::Command;

use super::{
    SLEEPER,
    harness::{Atm, descendants, is_alive, is_root, signal, wait_until, wall::WallClock},
};

fn over(atm: &Atm, name: &str, reason: &str) {
    atm.wait(name, reason, |s| s["status"]["phase"] == "Evicted" && s["status"]["reason"] == reason);
}

fn next_at(atm: &Atm, name: &str) -> jiff::Timestamp {
    let plan: serde_json::Value = serde_json::from_str(&atm.ok(&["plan", "-o", "json"])).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == name).unwrap();
    step["nextAt"].as_str().unwrap_or_else(|| panic!("{plan:#}")).parse().unwrap()
}

/// As after a night in suspend: the clock that counts it is eight hours before the one that does not. Ages and idle
/// times are of the latter, also where the start of a process is told by the former.
#[test]
fn hours_that_the_machine_slept_make_nobody_old() {
    let through = ["unshare", "--time", "--boottime", "28800", "--fork", "--kill-child"];
    let possible = Command::new(through[0]).args(&through[1..]).arg("true").output();
    if !is_root() || !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs time namespaces");
        return;
    }
    let mut atm = Atm::new();
    atm.through = through.map(str::to_owned).into();
    atm.up();
    atm.drop_spec("a", &format!("{SLEEPER}maxAge: 1h\nmaxIdle: 2h\n"));
    atm.drop_spec("idle", &format!("{SLEEPER}maxIdle: 2s\n"));
    atm.drop_spec("fails", "command: ['false']\nbackoff: {initial: 1h, max: 1h}\n");
    let pid = atm.wait_pid("a");
    for _ in 0..2 {
        over(&atm, "idle", "IdleTimeout");
        atm.ok(&["start", "idle"]);
        atm.wait("fails", "waiting", |s| s["status"]["reason"] == "BackOff");
        assert_eq!(atm.wait_pid("a"), pid);
        let left = next_at(&atm, "a").duration_since(jiff::Timestamp::now()).as_secs();
        assert!((3000..=3600).contains(&left), "{left} s are left of its hour");
        // The daemon itself: the harness knows who waits for its end.
        let daemon = descendants(atm.daemon_pid())[0];
        signal(daemon, 9);
        assert!(wait_until(|| !is_alive(atm.daemon_pid())));
        atm.restart_daemon();
    }
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.get("fails")["status"]["restarts"], 1);
}

/// Years forward and back, while the daemon runs and while it does not: what is shown moves, and nothing happens.
#[test]
fn a_wall_clock_that_jumps_ends_nothing_and_starts_nothing() {
    let mut atm = Atm::new();
    let Some(clock) = WallClock::new(&atm) else { return };
    let year = 365 * 24 * 3600;
    atm.env = clock.env().into();
    atm.up();
    atm.drop_spec("a", &format!("{SLEEPER}maxAge: 1h\nmaxIdle: 2h\n"));
    atm.drop_spec("fails", "command: [sh, -c, 'exit 3']\nbackoff: {initial: 1h, max: 1h}\n");
    atm.drop_spec("idle", &format!("{SLEEPER}maxIdle: 2s\n"));
    let pid = atm.wait_pid("a");
    atm.wait("fails", "waiting", |s| s["status"]["reason"] == "BackOff");
    let mut dates = Vec::new();
    for (round, seconds) in [year, -year, 1, 0].into_iter().enumerate() {
        if round % 2 == 0 {
            clock.set(seconds);
        } else {
            atm.kill_daemon();
            clock.set(seconds);
            atm.up();
        }
        // Time is counted on all the same.
        over(&atm, "idle", "IdleTimeout");
        atm.ok(&["start", "idle"]);
        over(&atm, "idle", "IdleTimeout");
        atm.ok(&["start", "idle"]);
        assert_eq!(atm.wait_pid("a"), pid, "{seconds} s");
        assert_eq!(atm.count_events("a", "Evicted"), 0, "{seconds} s");
        let fails = atm.get("fails");
        assert_eq!(
            (&fails["status"]["reason"], &fails["status"]["restarts"]),
            (&"BackOff".into(), &1.into()),
            "{seconds} s: {fails:#}"
        );
        let date: jiff::Timestamp = fails["status"]["nextStartAt"].as_str().unwrap().parse().unwrap();
        dates.push(date.as_second() - seconds);
    }
    // The date is shown by the clock of the moment, and is an hour after the failure by any.
    let first = dates.first().copied().unwrap();
    assert!(dates.iter().all(|date| (date - first).abs() <= 2), "the back-off moved: {dates:?}");
}

/// What is written down is of no zone.
#[test]
fn another_time_zone_changes_nothing_that_is_kept() {
    let mut atm = Atm::new();
    atm.env = vec![("TZ".to_owned(), "America/New_York".to_owned())];
    atm.up();
    atm.drop_spec("a", &format!("{SLEEPER}maxAge: 1h\n"));
    atm.drop_spec("fails", "command: [sh, -c, 'exit 3']\nbackoff: {initial: 1h, max: 1h}\n");
    let pid = atm.wait_pid("a");
    atm.wait("fails", "waiting", |s| s["status"]["reason"] == "BackOff");
    let told = |atm: &Atm| {
        let event = atm.events(&["a"]).into_iter().find(|event| event["kind"] == "Started").unwrap();
        [atm.get("a")["status"]["startedAt"].clone(), event["at"].clone()].map(|time| {
            let time = time.as_str().unwrap();
            assert!(time.ends_with('Z'), "{time}");
            time.parse::<jiff::Timestamp>().unwrap().as_second()
        })
    };
    let before = told(&atm);
    atm.kill_daemon();
    atm.env = vec![("TZ".to_owned(), "Asia/Kathmandu".to_owned())];
    atm.up();
    assert_eq!(atm.wait_pid("a"), pid);
    let same = told(&atm).iter().zip(before).all(|(after, before)| (after - before).abs() <= 1);
    assert!(same, "{:?} {before:?}", told(&atm));
    assert_eq!(atm.get("fails")["status"]["restarts"], 1);
    assert_eq!(atm.count_events("fails", "Started"), 1);
}
