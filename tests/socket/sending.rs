//! `send`: typing over the socket.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use super::{
    SLEEPER,
    client::{Client, kind},
    harness::{Atm, is_root, now, wait_until},
};

/// A person without privileges.
const SOMEBODY: u32 = 65534;

/// Keeps what is typed at it in a file `got-NAME`, as soon as there is one `go-NAME`; `modes` is what it says to its
/// terminal before.
fn drop_reader(atm: &Atm, name: &str, modes: &str) {
    let script = format!(
        "stty raw -echo; printf '{modes}ready'; while [ ! -e go-{name} ]; do sleep 0.02; done; exec cat >got-{name}"
    );
    let script = script.replace('\\', "\\\\");
    let directory = atm.path("");
    atm.drop_spec(name, &format!("command: [sh, -c, \"{script}\"]\nworkingDir: {}\n", directory.display()));
    atm.wait_output(name, "ready");
}

fn go(atm: &Atm, name: &str) {
    fs::write(atm.path(&format!("go-{name}")), "").unwrap();
}

fn got(atm: &Atm, name: &str) -> String {
    fs::read_to_string(atm.path(&format!("got-{name}"))).unwrap_or_default()
}

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or("none")
}

#[test]
fn what_is_sent_is_typed_as_by_the_command_and_told_to_nobody_else() {
    let mut atm = Atm::new();
    atm.env.push(("ATM_LOG".into(), "trace".into()));
    atm.up();
    drop_reader(&atm, "a", "");
    go(&atm, "a");
    let mut client = Client::connect(&atm);
    let events = atm.events(&["a"]).len();
    let mut expected = String::new();
    for (mut params, typed) in [
        (json!({"text": "canary words"}), "canary words\r"),
        (json!({"text": "canary", "enter": false}), "canary"),
        (json!({"text": "canary", "enter": true, "keys": []}), "canary\r"),
        (json!({"keys": ["ctrl-c"]}), "\x03"),
        (json!({"text": "x", "keys": ["escape", "up", "alt-f"]}), "x\x1b\x1b[A\x1bf\r"),
        (json!({"text": "a\nb", "enter": false}), "a\rb"),
        (json!({"text": "end\n"}), "end\r"),
        (json!({"text": "\n"}), "\r"),
        (json!({"text": "漢 é", "runId": atm.get("a")["runId"]}), "漢 é\r"),
        (json!({"text": null, "keys": ["enter"]}), "\r"),
        (json!({"text": "z".repeat(160 << 10), "enter": false}), &"z".repeat(160 << 10)),
    ] {
        params["name"] = json!("a");
        let result = client.ok("send", &params);
        assert_eq!((&result["changed"], &result["session"]["name"]), (&json!(true), &json!("a")));
        expected += typed;
        assert!(wait_until(|| got(&atm, "a") == expected), "{params}: {:?}", got(&atm, "a"));
    }
    let nothing = client.ok("send", &json!({"name": "a", "text": ""}));
    assert_eq!(nothing["changed"], false);
    // Typed text may be a secret.
    assert_eq!(atm.events(&["a"]).len(), events);
    assert!(!atm.daemon_log().contains("canary"), "{}", atm.daemon_log());

    drop_reader(&atm, "b", r"\033[?2004h\033[?1h");
    go(&atm, "b");
    client.ok("send", &json!({"name": "b", "text": "a\nb", "keys": ["up"]}));
    let pasted = "\x1b[200~a\rb\x1b[201~\x1bOA\r";
    assert!(wait_until(|| got(&atm, "b") == pasted), "{:?}", got(&atm, "b"));
}

#[test]
fn what_cannot_be_typed_is_refused_with_what_to_do() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("piped", &format!("{SLEEPER}terminal: false\n"));
    atm.drop_spec("stopped", SLEEPER);
    atm.drop_spec("deaf", "command: [sh, -c, 'exec <&- >&- 2>&-; while true; do sleep 1; done']\n");
    for name in ["a", "piped", "stopped", "deaf"] {
        atm.wait_pid(name);
    }
    atm.ok(&["stop", "stopped"]);
    let mut client = Client::connect(&atm);
    let other_run = atm.get("stopped")["runId"].clone();
    let mut refused = |params: &Value, expected: &str, says: &str| {
        let answer = client.call("send", params);
        assert!(kind(&answer) == expected && message(&answer).contains(says), "{params}: {answer}");
        answer
    };
    for (params, expected, says) in [
        (json!({"name": "nobody", "text": "x"}), "NoSuchSession", "no such session: nobody"),
        (json!({"name": "piped", "text": "x"}), "Conflict", "no terminal"),
        (json!({"name": "stopped", "text": "x"}), "Conflict", "`atm start stopped`"),
        (json!({"name": "a", "text": "x", "runId": other_run}), "Conflict", "is not in run"),
        (json!({"name": "a"}), "InvalidRequest", "nothing to type"),
        (json!({"name": "a", "keys": []}), "InvalidRequest", "nothing to type"),
        (json!({"name": "a", "text": "x", "noEnter": true}), "InvalidRequest", "unknown field `noEnter`"),
        (json!({"name": "a", "keys": ["up", "entr"]}), "InvalidRequest", "`entr` is no key"),
        (json!({"name": "a", "keys": "up"}), "InvalidRequest", "wrong parameters"),
        (json!({"name": "a", "text": "x", "enter": "no"}), "InvalidRequest", "wrong parameters"),
        (json!({"name": "a", "text": ["x"]}), "InvalidRequest", "wrong parameters"),
        (json!({"name": "a", "text": "x".repeat((160 << 10) + 1)}), "InvalidRequest", "write it to a file"),
        (json!({"name": "a", "keys": vec!["x"; 1001]}), "InvalidRequest", "1000 keys"),
    ] {
        refused(&params, expected, says);
    }
    // It has closed its terminal as soon as its shell came so far.
    let deaf = json!({"name": "deaf", "text": "x", "enter": false});
    let says = "no process of the session has its terminal open";
    assert!(wait_until(|| message(&Client::connect(&atm).call("send", &deaf)).contains(says)));
    refused(&deaf, "Conflict", says);
}

#[test]
fn a_program_that_does_not_read_holds_nobody_and_is_never_typed_at_later() {
    let atm = Atm::start();
    drop_reader(&atm, "a", "");
    drop_reader(&atm, "b", "");
    go(&atm, "b");
    let begun = now();
    let mut stuck = Client::connect(&atm);
    stuck.ask("send", &json!({"name": "a", "text": "x".repeat(150 << 10), "enter": false}));
    // Meanwhile others are served, and other programs typed at.
    let mut other = Client::connect(&atm);
    other.ok("send", &json!({"name": "b", "text": "through"}));
    assert!(wait_until(|| got(&atm, "b") == "through\r"));
    let others = begun.elapsed();
    let answer = stuck.line().unwrap();
    assert!(others < begun.elapsed() / 2, "they waited for it: {others:?}");
    assert!(kind(&answer) == "Failed" && message(&answer).contains("withdrawn"), "{answer}");
    go(&atm, "a");
    other.ok("send", &json!({"name": "a", "text": "END", "enter": false}));
    assert!(wait_until(|| got(&atm, "a").ends_with("END")));
    let got = got(&atm, "a");
    assert!(got.len() < 100 << 10 && got.trim_start_matches('x') == "END", "{}", got.len());
}

#[test]
fn of_two_who_send_each_has_its_own_enter() {
    let atm = Atm::start();
    drop_reader(&atm, "a", "");
    go(&atm, "a");
    let words: Vec<String> = (0..6).map(|number| format!("word{number}")).collect();
    thread::scope(|scope| {
        for word in &words {
            let mut client = Client::connect(&atm);
            scope.spawn(move || client.ok("send", &json!({"name": "a", "text": word})));
        }
    });
    let whole = words.len() * "word0\r".len();
    assert!(wait_until(|| got(&atm, "a").len() == whole), "{:?}", got(&atm, "a"));
    let got = got(&atm, "a");
    let mut lines: Vec<&str> = got.split_terminator('\r').collect();
    lines.sort_unstable();
    assert_eq!(lines, words);
}

/// Not a test of its own: a program that sends as another user, and prints the answer.
#[test]
#[ignore = "run by the others, as another user"]
fn sends() {
    let Ok(path) = std::env::var("ATM_TEST_SOCKET") else { return };
    let params: Value = serde_json::from_str(&std::env::var("ATM_TEST_PARAMS").unwrap()).unwrap();
    println!("answer {}", Client::to(path.as_ref()).call("send", &params));
}

/// What the daemon answers to another user.
fn send_as(atm: &Atm, uid: u32, params: &Value) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sending::sends", "--ignored", "--nocapture"])
        .env("ATM_TEST_SOCKET", atm.runtime().join("atm.sock"))
        .env("ATM_TEST_PARAMS", params.to_string())
        .uid(uid)
        .gid(uid)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = out.lines().find_map(|line| Some(line.split_once("answer ")?.1));
    serde_json::from_str(answer.unwrap_or_else(|| panic!("no answer: {out}"))).unwrap()
}

#[test]
fn who_may_not_see_a_session_types_nothing_into_it() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    for path in [atm.path(""), atm.path("run")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    drop_reader(&atm, "roots", "");
    go(&atm, "roots");
    let theirs = atm.path("theirs");
    fs::create_dir(&theirs).unwrap();
    let script = "stty raw -echo; printf ready; exec cat >got";
    let beside = atm.path("beside");
    let spec = format!("command: [sh, -c, '{script}']\nworkingDir: {}\n", theirs.display());
    fs::write(&beside, spec).unwrap();
    for path in [&theirs, &beside] {
        chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    fs::rename(&beside, atm.spec_path("theirs")).unwrap();
    atm.wait_output("theirs", "ready");

    let refused = send_as(&atm, SOMEBODY, &json!({"name": "roots", "text": "x"}));
    let unknown = send_as(&atm, SOMEBODY, &json!({"name": "nobody", "text": "x"}));
    assert_eq!(kind(&refused), "NoSuchSession", "{refused}");
    assert_eq!(message(&refused).replace("roots", "nobody"), message(&unknown));
    let answer = send_as(&atm, SOMEBODY, &json!({"name": "theirs", "text": "mine"}));
    assert_eq!(answer["result"]["changed"], true, "{answer}");
    assert!(wait_until(|| fs::read_to_string(theirs.join("got")).unwrap_or_default() == "mine\r"));
    Client::connect(&atm).ok("send", &json!({"name": "roots", "text": "END"}));
    assert!(wait_until(|| !got(&atm, "roots").is_empty()));
    assert_eq!(got(&atm, "roots").get(..1), Some("E"));
}
