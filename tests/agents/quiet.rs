//! `atm hook` in trouble: it is quick, says nothing and ends with 0, whatever happens.

use std::{
    io::Write,
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::{
    harness::{Atm, signal},
    stand_in::does,
};

const STOP: &str = r#"{"session_id":"a1","hook_event_name":"Stop","background_tasks":[]}"#;

/// Far beyond what is promised, on a machine that does other things too; and far below what a hook may wait for.
const SOON: Duration = Duration::from_secs(10);

fn hook(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atm"));
    command.arg("hook").env_remove("ATM_SOCKET").arg("--socket").arg(socket);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for its end, which is a good one without a word.
fn is_quiet(what: &str, child: Child, begun: Instant) {
    let output = child.wait_with_output().unwrap();
    let took = begun.elapsed();
    eprintln!("{what}: {took:?}");
    assert_eq!(output.status.code(), Some(0), "{what}");
    let said = [output.stdout, output.stderr].concat();
    assert!(said.is_empty(), "{what}: {}", String::from_utf8_lossy(&said));
    assert!(took < SOON, "{what}: {took:?}");
}

/// With this on standard input, which is closed then.
fn tells(what: &str, socket: &Path, payload: &[u8]) {
    let begun = Instant::now();
    let mut child = hook(socket).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let payload = payload.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&payload)));
    is_quiet(what, child, begun);
    writer.join().unwrap();
}

#[test]
fn with_nobody_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("atm.sock");
    tells("no socket", &socket, STOP.as_bytes());
    drop(UnixListener::bind(&socket).unwrap());
    tells("a socket of a daemon that is down", &socket, STOP.as_bytes());
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "").unwrap();
    tells("a file in its place", &socket, STOP.as_bytes());
    tells("no such directory", &dir.path().join("none/atm.sock"), STOP.as_bytes());
}

#[test]
fn with_somebody_who_does_not_listen() {
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("silent.sock");
    let _silent = UnixListener::bind(&silent).unwrap();
    tells("nobody accepts", &silent, STOP.as_bytes());

    let full = dir.path().join("full.sock");
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&full).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&full).unwrap();
    tells("the queue is full", &full, STOP.as_bytes());
}

#[test]
fn with_a_daemon_that_was_stopped() {
    let atm = Atm::start();
    let socket = atm.runtime().join("atm.sock");
    signal(atm.daemon_pid(), 19);
    for _ in 0..5 {
        tells("stopped by SIGSTOP", &socket, STOP.as_bytes());
    }
    signal(atm.daemon_pid(), 18);
    atm.ok(&["get"]);
    tells("and going on", &socket, STOP.as_bytes());
}

#[test]
fn with_any_input() {
    let atm = Atm::start();
    let socket = atm.runtime().join("atm.sock");
    let large = format!(r#"{{"hook_event_name":"PostToolUse","tool_response":"{}"}}"#, "x".repeat(12 << 20));
    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    for (what, input) in [
        ("a payload", STOP.as_bytes()),
        ("nothing", b""),
        ("no JSON", b"\xff\xfe{{{"),
        ("half an object", br#"{"hook_event_name":"#),
        ("a list", b"[1,2,3]"),
        ("an event of tomorrow", br#"{"hook_event_name":"Tomorrow","session_id":{"a":[]}}"#),
        ("twelve megabytes", large.as_bytes()),
        ("a million levels", deep.as_bytes()),
    ] {
        tells(what, &socket, input);
    }
    let begun = Instant::now();
    let closed = Command::new("sh")
        .args(["-c", "exec \"$0\" hook <&- 2>&1", env!("CARGO_BIN_EXE_atm")])
        .env("ATM_SOCKET", &socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    is_quiet("standard input closed", closed, begun);
    for arguments in
        [&["--no-such-flag"][..], &["--agent"], &["--agent", "nobody"], &["x", "y"], &["not json"]]
    {
        let begun = Instant::now();
        is_quiet("odd arguments", hook(&socket).args(arguments).stdin(Stdio::null()).spawn().unwrap(), begun);
    }
}

#[test]
fn with_an_input_that_never_ends() {
    let atm = Atm::start();
    let socket = atm.runtime().join("atm.sock");
    for payload in ["", STOP, r#"{"hook_event_name":"#] {
        let begun = Instant::now();
        let mut child = hook(&socket).spawn().unwrap();
        let mut held = child.stdin.take().unwrap();
        held.write_all(payload.as_bytes()).unwrap();
        is_quiet("standard input that stays open", child, begun);
        drop(held);
    }
}

#[test]
fn at_a_terminal_and_when_asked_to_print() {
    let atm = Atm::start();
    let bin = env!("CARGO_BIN_EXE_atm");
    let script = atm.path("typed.sh");
    std::fs::write(&script, format!("{bin} hook; echo \"ended $?\"; exec sleep 1000")).unwrap();
    atm.drop_spec("a", &format!("command: [sh, {}]\n", script.display()));
    let output = atm.wait_output("a", "ended");
    assert_eq!(output.trim(), "ended 0");

    let line = r#"{"model":{"id":"claude-opus-5","display_name":"Opus 5"}}"#;
    let script = atm.path("line.sh");
    let text = format!("printf '%s' '{line}' | {bin} hook --pass | sed 's/^/shown /'; echo; exec sleep 1000");
    std::fs::write(&script, text).unwrap();
    atm.drop_spec("b", &format!("command: [sh, {}]\nagent: claude\n", script.display()));
    assert_eq!(atm.wait_output("b", "shown").trim(), format!("shown {line}"));
    atm.wait("b", "told what it uses", |session| session["status"]["usage"]["model"] == "Opus 5");
}

#[test]
fn codex_tells_by_its_notifications_too() {
    let atm = Atm::start();
    let bin = env!("CARGO_BIN_EXE_atm");
    let done = |turn: &str| {
        format!(
            r#"{{"type":"agent-turn-complete","thread-id":"b5f6c1c2","turn-id":"{turn}","cwd":"/","input-messages":["x"]}}"#
        )
    };
    let begin =
        r#"{"session_id":"b5f6c1c2","turn_id":"t2","hook_event_name":"UserPromptSubmit","prompt":"x"}"#;
    let script = atm.path("codex.sh");
    // It does not wait for its notifications: that of the first turn is heard in the second.
    let (first, second) = (done("t1"), done("t2"));
    let text = format!(
        "echo '{begin}' | {bin} hook\n{bin} hook --agent codex '{first}'\necho late\nread line\n{bin} hook '{second}'\nexec sleep 1000\n"
    );
    std::fs::write(&script, text).unwrap();
    atm.drop_spec("a", &format!("command: [sh, {}]\nagent: codex\n", script.display()));
    atm.wait_output("a", "late");
    assert_eq!(does(&atm, "a", "Busy")["status"]["turn"]["inFlight"], true);
    atm.ok(&["send", "a", "go on"]);
    let status =
        atm.wait("a", "done with its turn", |session| session["status"]["turn"]["inFlight"] == false);
    assert_eq!(status["status"]["activity"], "Idle");
}
