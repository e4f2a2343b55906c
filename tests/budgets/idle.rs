//! `maxIdle`: who is idle, since when, and who never is.

use super::{
    SLEEPER, event,
    harness::{Atm, now, signal, start_time, wait_until},
    seconds_between, wait_over,
};

#[test]
fn a_silent_session_is_evicted_just_after_its_limit_and_stays_so_until_it_is_wanted() {
    let atm = Atm::start();
    atm.drop_spec("a", &format!("{SLEEPER}maxIdle: 3s\n"));
    let started = atm.wait_phase("a", "Running")["status"]["startedAt"].clone();
    let evicted = wait_over(&atm, "a", "Evicted", "IdleTimeout");
    assert!(evicted["status"]["message"].to_string().contains("maxIdle of 3s"), "{evicted:#}");
    assert_eq!(evicted["status"]["cause"]["reason"], "IdleTimeout");
    let told = event(&atm, "a", "Evicted");
    let idle = seconds_between(&started, &told["at"]);
    // The look that proves it comes just after the limit; a loaded machine may be late, and never early.
    assert!((3.0..30.0).contains(&idle), "evicted after {idle} s");
    assert!(told["reason"] == "IdleTimeout" && told["message"].to_string().contains("3s"), "{told:#}");

    atm.settle();
    assert_eq!(atm.get("a")["status"]["phase"], "Evicted");
    atm.ok(&["start", "a"]);
    wait_over(&atm, "a", "Evicted", "IdleTimeout");
    assert_eq!(atm.count_events("a", "Evicted"), 2);
    atm.drop_spec("a", &format!("{SLEEPER}maxIdle: 1h\n"));
    atm.wait_pid("a");
}

/// Beside a session that does nothing and is evicted twice meanwhile.
#[test]
fn who_does_anything_at_all_or_is_held_is_not_idle() {
    let atm = Atm::start();
    let busy = "'while :; do :; done'";
    let specs = [
        ("prints", "command: [sh, -c, 'while :; do echo x; sleep 0.5; done']".to_owned()),
        ("computes", format!("command: [nice, sh, -c, {busy}]")),
        // The one that computes left the session's process group, its terminal and its environment.
        ("beside", format!("command: [sh, -c, \"env -i setsid -f nice sh -c {busy}; exec sleep 1000\"]")),
        ("forks", "command: [sh, -c, 'while :; do sleep 0.7; done']".to_owned()),
        ("pinned", "command: [sleep, '1000']\npinned: true".to_owned()),
        ("stopped", "command: [sleep, '1000']".to_owned()),
    ];
    for (name, spec) in &specs {
        atm.drop_spec(name, &format!("{spec}\nmaxIdle: 3s\nterminationGracePeriod: 1s\n"));
    }
    signal(atm.wait_pid("stopped"), 19);
    atm.drop_spec("off", &format!("{SLEEPER}maxIdle: never\n"));
    atm.drop_spec("unwritten", SLEEPER);
    let pids: Vec<_> = ["off", "unwritten"]
        .into_iter()
        .chain(specs.iter().map(|(name, _)| *name))
        .map(|name| (name, atm.wait_pid(name)))
        .map(|(name, pid)| (name, pid, start_time(pid)))
        .collect();

    atm.drop_spec("idle", &format!("{SLEEPER}maxIdle: 3s\n"));
    wait_over(&atm, "idle", "Evicted", "IdleTimeout");
    atm.ok(&["start", "idle"]);
    wait_over(&atm, "idle", "Evicted", "IdleTimeout");
    for (name, pid, born) in pids {
        assert_eq!(atm.wait_pid(name), pid, "{name} was started anew: {:#}", atm.get(name));
        assert_eq!(start_time(pid), born, "{name}");
        assert_eq!(atm.count_events(name, "Evicted"), 0, "{name}");
    }
    signal(atm.wait_pid("stopped"), 18);
    wait_over(&atm, "stopped", "Evicted", "IdleTimeout");
}

#[test]
fn an_agent_that_says_what_it_does_is_idle_only_when_it_says_so() {
    let atm = Atm::start();
    for name in ["busy", "waits", "control"] {
        atm.drop_spec(name, "command: [sleep, '1000']\nagent: claude\nmaxIdle: 2s\n");
        atm.wait_pid(name);
    }
    atm.ok(&["touch", "busy", "--activity", "busy"]);
    atm.ok(&["touch", "waits", "--activity", "waiting"]);
    assert_eq!(atm.get("busy")["status"]["activity"], "Busy");
    assert_eq!(atm.get("waits")["status"]["activity"], "Waiting");
    assert!(atm.health()["summary"].to_string().contains("(1 busy, 1 waiting)"));
    for _ in 0..2 {
        wait_over(&atm, "control", "Evicted", "IdleTimeout");
        atm.ok(&["start", "control"]);
    }
    for name in ["busy", "waits"] {
        assert_eq!(atm.get(name)["status"]["phase"], "Running", "{name}");
        atm.ok(&["touch", name, "--activity", "idle"]);
        wait_over(&atm, name, "Evicted", "IdleTimeout");
    }
}

#[test]
fn what_an_agent_said_survives_the_daemon() {
    let mut atm = Atm::start();
    for name in ["busy", "control"] {
        atm.drop_spec(name, "command: [sleep, '1000']\nagent: claude\nmaxIdle: 3s\n");
        atm.wait_pid(name);
    }
    atm.ok(&["touch", "busy", "--activity", "busy"]);
    atm.restart_daemon();
    wait_over(&atm, "control", "Evicted", "IdleTimeout");
    assert_eq!(atm.get("busy")["status"]["activity"], "Busy");
}

#[test]
fn a_limit_of_the_config_holds_live_where_the_spec_says_nothing() {
    let atm = Atm::start_with("maxIdle: never\n");
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("b", &format!("{SLEEPER}maxIdle: 1h\n"));
    let pid = atm.wait_pid("b");
    atm.wait_pid("a");
    atm.write_config("maxIdle: 1s\n");
    wait_over(&atm, "a", "Evicted", "IdleTimeout");
    assert_eq!(atm.wait_pid("b"), pid);
    let (code, told) = (atm.ok(&["config"]), atm.ok(&["config", "-o", "json"]));
    assert!(code.contains("maxIdle: 1s\n") && code.contains("maxAge") == told.contains("maxAge"), "{code}");
    assert!(code.contains("ageGrace: 15m  # default\n"), "{code}");
}

/// A daemon that was stopped saw nothing for ten seconds: they prove nothing, and nobody is evicted for them.
#[test]
fn a_daemon_that_was_stopped_evicts_nobody_for_it() {
    let atm = Atm::start();
    atm.drop_spec("a", &format!("{SLEEPER}maxIdle: 7s\n"));
    atm.wait_pid("a");
    // It has been looked at: idle time is under way.
    atm.wait("a", "looked at", |s| s["status"]["processes"].is_u64());
    signal(atm.daemon_pid(), 19);
    let since = now();
    let stopped = wait_until(|| since.elapsed().as_secs() >= 10);
    signal(atm.daemon_pid(), 18);
    assert!(stopped);
    let resumed = now();
    wait_over(&atm, "a", "Evicted", "IdleTimeout");
    assert!(resumed.elapsed().as_secs_f64() > 2.0, "evicted {:?} after it went on", resumed.elapsed());
}

#[test]
fn the_plan_says_what_comes_next_and_when() {
    let atm = Atm::start();
    atm.drop_spec("a", &format!("{SLEEPER}maxIdle: 1h\n"));
    atm.drop_spec("b", &format!("{SLEEPER}maxAge: 2h\n"));
    atm.wait_pid("a");
    atm.wait_pid("b");
    atm.wait("a", "looked at", |s| s["status"]["processes"].is_u64());
    let plan: serde_json::Value = serde_json::from_str(&atm.ok(&["plan", "-o", "json"])).unwrap();
    let [a, b] = plan["steps"].as_array().unwrap().as_slice() else { panic!("{plan:#}") };
    assert!(a["why"].to_string().contains("IdleTimeout") && a["nextAt"].is_string(), "{a:#}");
    assert!(b["why"].to_string().contains("MaxAgeExceeded") && b["nextAt"].is_string(), "{b:#}");
}
