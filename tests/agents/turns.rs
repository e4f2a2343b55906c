//! `atm cancel`: the turn that was meant, and no other.

use serde_json::json;

use crate::{
    harness::{Atm, signal},
    stand_in::{StandIn, does, event},
};

/// Begins a turn, and ends it when it is interrupted: by escape, or by SIGINT. Then it begins the next by a line.
const INTERRUPTED: &str = r#"
import os, signal, subprocess, sys, tty
bin, terminal = sys.argv[1], sys.argv[2] == "terminal"
def tells(event):
    subprocess.run([bin, "hook", '{"hook_event_name": "%s"}' % event], check=True)
def interrupted(*_):
    os.write(1, b"interrupted\n")
    if terminal:
        return
    tells("Stop")
signal.signal(signal.SIGINT, interrupted)
tells("UserPromptSubmit")
os.write(1, b"begun\n")
if terminal:
    tty.setraw(0)
    while True:
        for byte in os.read(0, 100):
            if byte == 27:
                interrupted()
            if byte == ord("s"):
                tells("Stop")
            if byte == ord("p"):
                tells("UserPromptSubmit")
else:
    while True:
        signal.pause()
"#;

fn python() -> bool {
    let there = std::process::Command::new("python3").arg("-V").output().is_ok();
    if !there {
        eprintln!("skipped: needs python3");
    }
    there
}

fn interrupted(atm: &Atm, kind: &str, more: &str) {
    let script = atm.path("agent.py");
    std::fs::write(&script, INTERRUPTED).unwrap();
    let bin = env!("CARGO_BIN_EXE_atm");
    let command = format!("command: [python3, {}, {bin}, {kind}]\nagent: claude\n{more}", script.display());
    atm.drop_spec("a", &command);
    atm.wait_output("a", "begun");
}

#[test]
fn a_turn_is_interrupted_by_escape_and_told_once() {
    if !python() {
        return;
    }
    let atm = Atm::start();
    interrupted(&atm, "terminal", "");
    let says = |args: &[&str], expected: &str| assert_eq!(atm.ok(args).trim(), expected);
    says(&["cancel", "a", "--turn", "7"], "a is not in turn 7, the last one is 1: nothing was done");
    assert!(!atm.log("a").contains("interrupted"));
    says(&["cancel", "a", "--turn", "1"], "a turn 1 interrupted");
    atm.wait_output("a", "interrupted");
    let turn = atm.get("a")["status"]["turn"].clone();
    assert_eq!((&turn["inFlight"], &turn["cancel"]["reason"]), (&json!(true), &json!("ClientRpc")));
    assert!(atm.ok(&["describe", "a"]).contains("cancelled: ClientRpc by uid"));
    assert_eq!(atm.count_events("a", "TurnCancelled"), 0, "it is told with the turn's end");
    atm.ok(&["send", "a", "--no-enter", "s"]);
    does(&atm, "a", "Idle");
    let told = event(&atm, "a", "TurnCancelled");
    assert_eq!(told["reason"], "ClientRpc");
    assert!(told["message"].to_string().contains("turn 1 was cancelled, asked for by uid"), "{told}");
    says(&["cancel", "a", "--turn", "1"], "a is in no turn (turn 1 is over): nothing to cancel");
    atm.ok(&["send", "a", "--no-enter", "p"]);
    does(&atm, "a", "Busy");
    says(&["cancel", "a", "--turn", "1"], "a is not in turn 1, the last one is 2: nothing was done");
    assert_eq!(atm.get("a")["status"]["turn"]["cancel"], serde_json::Value::Null);
    atm.ok(&["send", "a", "--no-enter", "s"]);
    does(&atm, "a", "Idle");
    assert_eq!(atm.log("a").matches("interrupted").count(), 1);
    assert_eq!(atm.count_events("a", "TurnCancelled"), 1);
}

#[test]
fn without_a_terminal_it_is_a_signal() {
    if !python() {
        return;
    }
    let atm = Atm::start();
    interrupted(&atm, "pipes", "terminal: false\n");
    assert_eq!(atm.ok(&["cancel", "a"]).trim(), "a turn 1 interrupted");
    does(&atm, "a", "Idle");
    assert_eq!(event(&atm, "a", "TurnCancelled")["reason"], "ClientRpc");
    assert_eq!(atm.get("a")["status"]["phase"], "Running");
    assert_eq!(atm.ok(&["cancel", "a"]).trim(), "a is in no turn (turn 1 is over): nothing to cancel");
}

/// An agent that says nothing when it is interrupted, as Claude Code: that nothing happens any more says it.
#[test]
fn a_turn_that_was_interrupted_without_a_word_is_over_when_nothing_happens_any_more() {
    let atm = Atm::start();
    let mut agent = StandIn::start(&atm, "a", "");
    agent.prompts();
    assert_eq!(atm.ok(&["cancel", "a"]).trim(), "a turn 1 interrupted");
    let over = atm.wait("a", "over", |session| session["status"]["turn"]["inFlight"] == false);
    assert_eq!(over["status"]["turn"]["cancel"]["reason"], "ClientRpc");
    assert_eq!(event(&atm, "a", "TurnCancelled")["reason"], "ClientRpc");
    does(&atm, "a", "Idle");
}

#[test]
fn why_a_turn_was_interrupted_outlives_daemon_and_keeper() {
    let mut atm = Atm::start();
    let mut agents = ["a", "b"].map(|name| StandIn::start(&atm, name, "restartPolicy: Never\n"));
    for (agent, name) in agents.iter_mut().zip(["a", "b"]) {
        agent.prompts();
        assert_eq!(atm.ok(&["cancel", name]).trim(), format!("{name} turn 1 interrupted"));
    }
    atm.restart_daemon();
    let keeper = atm.keepers().into_iter().find(|keeper| keeper.argv.last().unwrap() == "b").unwrap();
    signal(keeper.pid, 9);
    let told = event(&atm, "b", "TurnCancelled");
    assert_eq!(told["reason"], "ClientRpc", "{told}");
    // Without a word of its agent's: nothing happens any more.
    let told = event(&atm, "a", "TurnCancelled");
    assert_eq!(told["reason"], "ClientRpc", "{told}");
    does(&atm, "a", "Idle");
}

#[test]
fn the_end_of_a_session_is_the_end_of_its_turn_and_says_why() {
    let atm = Atm::start();
    for (name, end, reason) in [
        ("stopped", &["stop", "stopped"][..], "AdminKill"),
        ("killed", &["kill", "killed"], "AdminKill"),
        ("removed", &["delete", "removed"], "SessionRemoved"),
    ] {
        let mut agent = StandIn::start(&atm, name, "");
        agent.prompts();
        atm.ok(end);
        assert_eq!(event(&atm, name, "TurnCancelled")["reason"], reason, "{name}");
    }
    let mut agent = StandIn::start(&atm, "crashed", "restartPolicy: Never\n");
    agent.prompts();
    signal(atm.wait_pid("crashed"), 9);
    atm.wait_phase("crashed", "Failed");
    assert_eq!(atm.count_events("crashed", "TurnCancelled"), 0, "nobody asked for that");
}

/// Turns as fast as they go, each begun by what comes through the terminal, as with any agent. Each escape is noted
/// with the turn that it was read in. Tells the daemon itself: ten thousand processes more would only take time.
const RACER: &str = r#"
import json, os, random, select, socket, sys, tty
turns = int(sys.argv[1])
tty.setraw(0)
daemon = socket.socket(socket.AF_UNIX)
daemon.connect(os.environ["ATM_SOCKET"])
answers = daemon.makefile("rb")
def tells(event):
    params = {"payload": {"hook_event_name": event, "background_tasks": []}}
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "hook", "params": params})
    daemon.sendall(line.encode() + b"\n")
    assert b'"session":"a"' in answers.readline()
read = []
def reads(wait):
    while select.select([0], [], [], wait)[0]:
        read.extend(os.read(0, 1000))
        wait = 0
def escapes():
    found, at = 0, 0
    while at < len(read):
        if read[at] == 27 and bytes(read[at:at + 4]) == b"\x1b[0n":
            at += 4
        else:
            found += read[at] == 27
            at += 1
    return found
def settle():
    # What was typed before comes before the answer to a question that is asked now.
    os.write(1, b"\x1b[5n")
    while b"\x1b[0n" not in bytes(read):
        reads(5)
for turn in range(1, turns + 1):
    read = []
    tells("UserPromptSubmit")
    reads(random.random() * 0.003)
    tells("Stop")
    settle()
    for _ in range(escapes()):
        sys.stderr.write("escape in turn %d.\r\n" % turn)
sys.stderr.write("all turns done\r\n")
sys.stderr.flush()
while True:
    os.read(0, 1)
"#;

/// How often a turn is cancelled while it ends.
const TRIES: u32 = 10_000;

#[test]
fn a_cancel_that_races_with_the_turns_end_never_cancels_the_next() {
    if !python() {
        return;
    }
    let atm = Atm::start();
    let script = atm.path("racer.py");
    std::fs::write(&script, RACER).unwrap();
    let turns = 100_000;
    atm.drop_spec("a", &format!("command: [python3, {}, '{turns}']\nagent: claude\n", script.display()));
    atm.wait("a", "in turns", |session| session["status"]["turn"]["number"].is_u64());
    let mut daemon = Rpc::connect(&atm);
    let mut last = 1;
    let mut interrupted = Vec::new();
    let mut outcomes = std::collections::BTreeMap::<String, u32>::new();
    let begun = std::time::Instant::now();
    for _ in 0..TRIES {
        let result = daemon.call("cancel", &json!({"name": "a", "turn": last}));
        let outcome = result["outcome"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned();
        if outcome == "Interrupted" {
            interrupted.push(last);
        }
        *outcomes.entry(outcome).or_default() += 1;
        last = result["session"]["status"]["turn"]["number"].as_u64().unwrap();
    }
    eprintln!("{TRIES} tries in {:?}, {last} turns: {outcomes:?}", begun.elapsed());
    // Of a turn after the last one that was cancelled all is known of those before.
    let settled = last + 2;
    atm.wait("a", "in a later turn", |session| session["status"]["turn"]["number"].as_u64() > Some(settled));
    signal(atm.wait_pid("a"), 19);
    let log = atm.whole_log("a");
    let read: Vec<u64> = log
        .lines()
        .filter_map(|line| line.split_once("escape in turn ")?.1.split_once('.')?.0.parse().ok())
        .collect();
    assert_eq!(read, interrupted, "each escape in the turn that it was meant for");
    assert!(interrupted.len() > 100, "{outcomes:?}");
    assert!(outcomes.len() > 1, "none raced with an end: {outcomes:?}");
}

/// The control socket, without a command between.
struct Rpc {
    read: std::io::BufReader<std::os::unix::net::UnixStream>,
}

impl Rpc {
    fn connect(atm: &Atm) -> Self {
        let stream = std::os::unix::net::UnixStream::connect(atm.runtime().join("atm.sock")).unwrap();
        Self { read: std::io::BufReader::new(stream) }
    }

    fn call(&mut self, method: &str, params: &serde_json::Value) -> serde_json::Value {
        use std::io::{BufRead, Write};
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        writeln!(self.read.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.read.read_line(&mut line).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
        if answer["error"].is_null() { answer["result"].clone() } else { answer["error"].clone() }
    }
}
