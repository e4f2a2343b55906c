//! The end of a daemon in the foreground, and its reload.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, signal, wait_until},
};

const DEAF: &str = "command: [sh, -c, \"trap '' TERM HUP; echo deaf; while :; do sleep 0.1; done\"]\nterminationGracePeriod: 2s\n";

#[test]
fn sigterm_in_the_foreground_ends_all_sessions_within_their_graces_at_the_same_time() {
    let mut atm = Atm::start();
    let names = ["deaf1", "deaf2", "deaf3"];
    for name in names {
        atm.drop_spec(name, DEAF);
        atm.wait_output(name, "deaf");
    }
    atm.drop_spec("quick", SLEEPER);
    let pids: Vec<i32> = names.iter().chain(&["quick"]).map(|name| atm.wait_pid(name)).collect();
    let asked = Instant::now();
    assert_eq!(atm.stop_daemon(), 0);
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(2), "a grace was cut: {took:?}");
    assert!(took < Duration::from_millis(5500), "one after the other: {took:?}");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(atm.marked().is_empty(), "left: {:?}", atm.marked());
    // They were ended with the daemon and not by a person: the next one runs them.
    atm.up();
    for name in names {
        atm.wait_pid(name);
        let events = atm.events(&[name]);
        assert!(events.iter().any(|e| e["reason"] == "Shutdown"), "{events:#?}");
        assert_eq!(atm.get(name)["status"]["restarts"], 0);
    }
}

/// As it is started by a program that takes its own signals by descriptor.
#[test]
fn a_daemon_that_was_started_with_all_signals_blocked_hears_them() {
    let mut atm = Atm::new();
    atm.through = ["env", "--block-signal"].map(str::to_owned).into();
    atm.up();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    assert_eq!(atm.stop_daemon(), 0);
    assert!(atm.marked().is_empty(), "left: {:?}", atm.marked());
}

#[test]
fn a_second_interrupt_does_not_wait_for_graces() {
    let atm = Atm::start();
    atm.drop_spec("a", &DEAF.replace("2s", "10m"));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "deaf");
    signal(atm.daemon_pid(), 2);
    assert!(wait_until(|| atm.get("a")["status"]["phase"] == "Stopping"));
    signal(atm.daemon_pid(), 2);
    assert!(wait_until(|| !is_alive(pid) && !is_alive(atm.daemon_pid())));
    assert!(wait_until(|| atm.marked().is_empty()));
}

/// `timeout` sends its signal to the process and to the process's group.
#[test]
fn a_doubled_sigterm_is_one_request_and_a_later_one_is_a_second() {
    let slow = "trap 'sleep 1; echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let spec = format!("command: [sh, -c, {slow:?}]\nterminal: false\nterminationGracePeriod: 10m\n");
    let mut atm = Atm::start();
    atm.drop_spec("a", &spec);
    atm.wait_output("a", "up");
    let daemon = atm.daemon_pid();
    signal(daemon, 15);
    std::thread::sleep(Duration::from_millis(50)); // so that they are two signals, not one that is pending
    signal(daemon, 15);
    assert!(wait_until(|| !is_alive(daemon)));
    assert!(atm.log("a").contains("saved"), "its grace was cut: {}", atm.log("a"));
    assert!(atm.marked().is_empty(), "left: {:?}", atm.marked());
    atm.kill_daemon(); // it is reaped by that
    atm.remove_spec("a");

    atm.up();
    atm.drop_spec("deaf", &DEAF.replace("2s", "10m"));
    let pid = atm.wait_pid("deaf");
    atm.wait_output("deaf", "deaf");
    signal(atm.daemon_pid(), 15);
    assert!(wait_until(|| atm.get("deaf")["status"]["phase"] == "Stopping"));
    std::thread::sleep(Duration::from_millis(350));
    signal(atm.daemon_pid(), 15);
    assert!(wait_until(|| !is_alive(pid) && !is_alive(atm.daemon_pid())));
}

#[test]
fn with_on_shutdown_keep_sessions_outlive_the_daemon() {
    let mut atm = Atm::start_with("onShutdown: Keep\n");
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    assert_eq!(atm.stop_daemon(), 0);
    assert!(is_alive(pid));
    atm.up();
    assert_eq!(atm.wait_pid("a"), pid);
    atm.write_config("onShutdown: Stop\n");
    atm.wait_health("changed", |_| atm.ok(&["config"]).contains("onShutdown: Stop"));
    assert_eq!(atm.stop_daemon(), 0);
    assert!(!is_alive(pid));
}

/// SIGHUP looks at the config and at every spec, also where no event told of a change.
#[test]
fn sighup_reloads_config_and_specs() {
    let mut atm = Atm::start_with("maxSessions: 7\nresyncInterval: 1h\n");
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    // Written through another name: nothing tells.
    fs::hard_link(atm.path("atm.yaml"), atm.path("config-elsewhere")).unwrap();
    fs::create_dir(atm.path("elsewhere")).unwrap();
    fs::rename(atm.path("config-elsewhere"), atm.path("elsewhere/config")).unwrap();
    fs::hard_link(atm.spec_path("a"), atm.path("elsewhere/a")).unwrap();
    fs::write(atm.path("elsewhere/config"), "maxSessions: 9\nresyncInterval: 1h\n").unwrap();
    fs::write(atm.path("elsewhere/a"), format!("{SLEEPER}priority: 3\n")).unwrap();
    signal(atm.daemon_pid(), 1);
    let said = atm.wait_notified("RELOADING=1");
    assert!(said.contains("MONOTONIC_USEC="), "{said}");
    atm.wait_notified("READY=1");
    atm.wait_health("reloaded", |h| h["maxSessions"] == 9);
    atm.wait("a", "at priority 3", |s| s["spec"]["priority"] == 3);
    assert_eq!(atm.wait_pid("a"), pid);
}
