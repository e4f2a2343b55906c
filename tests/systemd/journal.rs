//! A session's life as the journal tells it, and a journal that does not listen.

use std::time::{Duration, Instant};

use super::machine::{COUNTER, Machine};

#[test]
fn the_journal_tells_a_sessions_whole_life_with_causes_and_explains_it() {
    let Some(machine) = Machine::installed() else { return };
    machine.spec("x", COUNTER);
    let pid = machine.wait_running("x");
    machine.systemctl(&["restart", "atm"]);
    machine.wait_running("x");
    machine.atm(&["stop", "x"]);
    machine.spec("y", "command: [sh, -c, 'exit 3']\nbackoff: {initial: 1h, max: 1h}\n");
    machine.wait("y failed", || machine.get("y")["status"]["reason"] == "BackOff");

    machine.wait("the end is told", || !machine.entries(&["ATM_SESSION=x", "ATM_EVENT=Stopped"]).is_empty());
    let life = machine.entries(&["ATM_SESSION=x"]);
    let events: Vec<_> = life.iter().filter_map(|entry| entry["ATM_EVENT"].as_str()).collect();
    for event in ["SpecChanged", "Started", "Adopted", "Stopping", "Stopped"] {
        assert!(events.contains(&event), "{event}: {events:?}");
    }
    let of = |event: &str| life.iter().find(|entry| entry["ATM_EVENT"] == event).unwrap();
    let started = of("Started");
    assert_eq!(started["PRIORITY"], "6");
    assert_eq!(started["ATM_PID"], pid.to_string());
    assert_eq!(started["ATM_GENERATION"], "1");
    assert_eq!(started["ATM_RUN_ID"].as_str().unwrap().len(), 36);
    assert_eq!(started["MESSAGE_ID"].as_str().unwrap().len(), 32);
    assert_eq!(of("Stopping")["ATM_REASON"], "ClientStop");
    assert_eq!(of("Stopped")["ATM_RUN_ID"], started["ATM_RUN_ID"]);

    let exited = machine.entries(&["ATM_SESSION=y", "ATM_EVENT=Exited"]);
    assert_eq!(exited[0]["ATM_EXIT_STATUS"], "3");
    // A loop of failures is a warning, and nothing else of these is.
    let warned = machine.entries(&["-p", "warning", "ATM_SESSION=y"]);
    assert!(warned.iter().all(|entry| entry["ATM_REASON"] == "BackOff"), "{warned:#?}");
    assert!(!warned.is_empty());

    let explained = machine.journal(&["-x", "ATM_SESSION=y"]);
    assert!(explained.contains("Subject: Session y has ended by itself"), "{explained}");
    assert!(explained.contains("atm logs --previous y"), "{explained}");
}

#[test]
fn a_journal_that_is_stopped_holds_nobody_up() {
    let Some(machine) = Machine::installed() else { return };
    let journald = machine.systemctl(&["show", "--value", "-p", "MainPID", "systemd-journald"]);
    machine.spec("one", COUNTER);
    machine.wait_running("one");
    machine.ok(&["kill", "-STOP", journald.trim()]);
    let daemon = machine.main_pid();
    // Far more than the socket and the queue take.
    for number in 0..3000 {
        machine.spec(
            &format!("s{}", number % 10),
            &format!("command: [sleep, '1000']\npriority: {number}\nsuspend: true\n"),
        );
        if number % 500 == 0 {
            let asked = Instant::now();
            machine.atm(&["get", "one"]);
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        }
    }
    machine.spec("two", COUNTER);
    machine.wait_running("two");
    machine.wait_counting("one");
    machine.ok(&["kill", "-CONT", journald.trim()]);
    machine.wait("what came after is told", || {
        machine.entries(&["ATM_SESSION=two", "ATM_EVENT=Started"]).len() == 1
    });
    assert_eq!(machine.main_pid(), daemon);
}
