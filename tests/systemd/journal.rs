//! A session's life as the journal tells it, and a journal that does not listen.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    time::{Duration, Instant},
};

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
    machine.spec("z", "command: [sleep, '1000']\nmaxAge: 1s\nrestartPolicy: Never\n");
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

    // Nobody asked for an eviction, and nothing is wrong.
    let evicted = ["ATM_SESSION=z", "ATM_EVENT=Evicted"];
    machine.wait("z evicted", || !machine.entries(&evicted).is_empty());
    assert_eq!(machine.entries(&evicted)[0]["PRIORITY"], "5");
    // Where it was told, and not where it was written.
    assert_eq!(started["CODE_FILE"], "src/daemon/events.rs");
    assert_eq!(started["SYSLOG_IDENTIFIER"], "atm");

    let explained = machine.journal(&["-x", "ATM_SESSION=y"]);
    assert!(explained.contains("Subject: Session y has ended by itself"), "{explained}");
    assert!(explained.contains("atm logs --previous y"), "{explained}");
}

#[test]
fn a_journal_that_is_stopped_holds_nobody_up_and_what_it_missed_is_counted() {
    let Some(machine) = Machine::installed() else { return };
    // Every trigger of the loop is told then.
    machine.write("/etc/systemd/system/atm.service.d/debug.conf", "[Service]\nEnvironment=ATM_LOG=debug\n");
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["restart", "atm"]);
    let journald = machine.systemctl(&["show", "--value", "-p", "MainPID", "systemd-journald"]);
    machine.spec("one", COUNTER);
    machine.wait_running("one");
    machine.ok(&["kill", "-STOP", journald.trim()]);
    let daemon = machine.main_pid();
    // Far more than the socket and the queue take: each request is told, and triggers.
    machine.spec("s", "command: [sleep, '1000']\nidentity: one\n");
    machine.wait("it waits", || machine.get("s")["status"]["reason"] == "IdentityTaken");
    let socket = UnixStream::connect(machine.root("/run/atm/atm.sock")).unwrap();
    let mut answers = BufReader::new(socket.try_clone().unwrap()).lines();
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    for round in 0..6000 {
        let verb = if round % 2 == 0 { "stop" } else { "start" };
        let asked = Instant::now();
        let request = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{round},\"method\":\"{verb}\",\"params\":{{\"name\":\"s\"}}}}\n"
        );
        (&socket).write_all(request.as_bytes()).unwrap();
        let answer = answers.next().unwrap().unwrap();
        slowest = slowest.max(asked.elapsed());
        assert!(round > 2 || answer.contains("result"), "{answer}");
    }
    eprintln!("6000 requests in {:?}, the slowest {slowest:?}", begun.elapsed());
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    machine.spec("two", COUNTER);
    machine.wait_running("two");
    machine.wait_counting("one");
    machine.ok(&["kill", "-CONT", journald.trim()]);
    machine.wait("what is missing is told", || machine.journal(&["-p", "warning"]).contains(" were lost"));
    machine.spec("three", COUNTER);
    machine.wait("what comes after is told", || {
        !machine.entries(&["ATM_SESSION=three", "ATM_EVENT=Started"]).is_empty()
    });
    assert_eq!(machine.main_pid(), daemon);
}

#[test]
fn a_daemon_starts_while_the_journal_takes_nothing() {
    let Some(machine) = Machine::installed() else { return };
    machine.spec("one", COUNTER);
    let pid = machine.wait_running("one");
    let journald = machine.systemctl(&["show", "--value", "-p", "MainPID", "systemd-journald"]);
    machine.ok(&["kill", "-STOP", journald.trim()]);
    // Full when a socket that has sent nothing can send nothing: one that has may be full itself.
    let socket = machine.root("/run/systemd/journal/socket");
    let fill = || {
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        (0..100_000).take_while(|_| sender.send_to(b"MESSAGE=full\n", &socket).is_ok()).count()
    };
    while fill() > 0 {}
    let daemon = machine.main_pid();
    machine.systemctl(&["restart", "atm"]);
    assert_ne!(machine.main_pid(), daemon);
    assert_eq!(machine.wait_running("one"), pid);
    let journal = || machine.journal(&["MESSAGE_ID=342963812a244635b867ca89b26ca117"]);
    machine.ok(&["kill", "-CONT", journald.trim()]);
    machine.wait("it tells what it did", || journal().contains("one: found running"));
}
