//! The verbs that follow: `get -w`, `events -w`, `describe -w`, also over a restart of the daemon.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use super::{
    SLEEPER,
    harness::{Atm, Talker, signal, wait_until},
};

fn lines(talker: &Talker) -> Vec<Value> {
    let said = talker.said();
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn following_goes_on_with_the_next_daemon() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("b", SLEEPER);
    let pid = atm.wait_pid("a");
    atm.wait_pid("b");
    let mut table = atm.follow(&["get", "-w"]);
    let mut json = atm.follow(&["get", "-w", "-o", "json"]);
    let mut events = atm.follow(&["events", "-w", "-o", "json"]);
    let mut page = atm.follow(&["describe", "a", "-w", "-o", "json"]);
    for talker in [&table, &json, &events, &page] {
        talker.wait("a");
    }
    atm.kill_daemon();
    for talker in [&table, &json, &events, &page] {
        talker.wait("the daemon closed the connection; waiting for it to come back");
    }
    // What happens meanwhile is told when there is a daemon again.
    atm.remove_spec("b");
    atm.up();
    for talker in [&table, &json, &events, &page] {
        talker.wait("connected again");
    }
    json.wait("\"removed\":true");
    assert_eq!(atm.wait_pid("a"), pid);
    atm.drop_spec("later", SLEEPER);
    table.wait("later ");
    json.wait("\"later\"");
    events.wait("\"later\"");
    atm.ok(&["stop", "a"]);
    page.wait("\"Suspended\"");
    let ids: Vec<u64> = lines(&events).iter().filter_map(|event| event["id"].as_u64()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "each event once, in order: {ids:?}");

    // A daemon that was stopped is not waited for.
    atm.stop_daemon();
    for talker in [&mut table, &mut json, &mut events, &mut page] {
        assert_eq!(talker.end(), Some(69), "{}", talker.said());
    }
}

#[test]
fn describe_follows_one_session_until_it_is_no_more() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    let mut page = atm.follow(&["describe", "a", "-w"]);
    let mut json = atm.follow(&["describe", "-w", "a", "-o", "json"]);
    page.wait("Running");
    json.wait("\"Running\"");
    atm.ok(&["stop", "a"]);
    page.wait("Suspended");
    json.wait("\"Suspended\"");
    assert!(page.said().contains("\n---\n"), "{}", page.said());
    atm.remove_spec("a");
    assert_eq!((page.end(), json.end()), (Some(0), Some(0)), "{}", page.said());
    assert!(page.said().contains("`a` is no more"), "{}", page.said());
    for line in json.said().lines().filter(|line| !line.contains("is no more")) {
        let whole: Value = serde_json::from_str(line).unwrap();
        assert!(whole["name"] == "a" && whole["events"].is_array(), "{line}");
    }
    assert_eq!(atm.atm(&["describe", "nobody", "-w"]).status.code(), Some(3));
}

#[test]
fn a_follower_ends_with_its_reader_and_on_an_interrupt() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    for verb in
        [&["get", "-w"][..], &["get", "-w", "-o", "json"], &["events", "-w"], &["describe", "a", "-w"]]
    {
        let start = || {
            // Where the tests themselves run in the background, an interrupt is ignored from birth.
            std::process::Command::new("env")
                .args(["--default-signal=INT", env!("CARGO_BIN_EXE_atm")])
                .args(verb)
                .env("ATM_SOCKET", atm.runtime().join("atm.sock"))
                .env("NO_COLOR", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        // Nothing happens: it notices that its reader has gone all the same.
        let mut child = start();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.read_line(&mut String::new()).unwrap();
        drop(reader);
        assert!(wait_until(|| child.try_wait().unwrap().is_some()), "{verb:?} goes on without a reader");
        assert_eq!(child.wait().unwrap().code(), Some(141), "{verb:?}");

        let mut child = start();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.read_line(&mut String::new()).unwrap();
        signal(child.id().cast_signed(), 2);
        assert!(wait_until(|| child.try_wait().unwrap().is_some()), "{verb:?} is not interrupted");
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{verb:?}: {status}");
    }
    assert!(wait_until(|| atm.health()["clients"]["watchers"] == 0), "their places are free");
}
