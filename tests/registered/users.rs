//! Whose process it is decides who may register, see and steer it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    harness::{Atm, is_root, told},
    support::{Own, Socket},
};

/// A person without privileges.
const SOMEBODY: u32 = 65534;
/// Another one.
const SOMEBODY_ELSE: u32 = 54_321;

/// Not a test of its own: a program that asks the daemon as another user, and prints the answer.
#[test]
#[ignore = "run by the others, as another user"]
fn asks() {
    let Ok(path) = std::env::var("ATM_TEST_SOCKET") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let params: Value = serde_json::from_str(&variable("ATM_TEST_PARAMS")).unwrap();
    let answer = Socket::open(Path::new(&path)).call(&variable("ATM_TEST_METHOD"), &params);
    println!("answer {}", json!({"ok": answer.as_ref().ok(), "err": answer.as_ref().err()}));
}

/// What the daemon answers to another user.
fn ask_as(atm: &Atm, uid: u32, method: &str, params: &Value) -> Result<Value, Value> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "users::asks", "--ignored", "--nocapture"])
        .env("ATM_TEST_SOCKET", atm.runtime().join("atm.sock"))
        .env("ATM_TEST_METHOD", method)
        .env("ATM_TEST_PARAMS", params.to_string())
        .uid(uid)
        .gid(uid)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = out.lines().find_map(|line| line.split_once("answer ")).map(|(_, answer)| answer.to_owned());
    let answer: Value = serde_json::from_str(&line.unwrap_or_else(|| panic!("no answer: {out}"))).unwrap();
    if answer["err"].is_null() { Ok(answer["ok"].clone()) } else { Err(answer["err"].clone()) }
}

#[test]
fn others_neither_register_nor_see_nor_steer_what_runs_as_somebody() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    for path in [atm.path(""), atm.path("run")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let roots = Own::new(&atm.path("work"));
    let mut theirs = Own::of_user(&atm.path("work"), SOMEBODY);

    let refused = ask_as(&atm, SOMEBODY, "register", &json!({"pid": roots.pid()})).unwrap_err();
    assert_eq!(refused["data"]["kind"], "Forbidden", "{refused}");
    let refused = ask_as(&atm, SOMEBODY_ELSE, "register", &json!({"pid": theirs.pid()})).unwrap_err();
    assert_eq!(refused["data"]["kind"], "Forbidden", "{refused}");
    assert_eq!(atm.list().len(), 0);

    let params = json!({"pid": theirs.pid(), "agent": "claude", "conversationId": "x", "name": "theirs"});
    let answer = ask_as(&atm, SOMEBODY, "register", &params).unwrap();
    assert_eq!(answer["session"]["status"]["uid"], SOMEBODY, "{answer:#}");
    // The same conversation id of another user is another conversation.
    let params = json!({"pid": roots.pid(), "agent": "claude", "conversationId": "x"});
    let own = Socket::of(&atm).register(&params)["session"]["name"].as_str().unwrap().to_owned();
    assert_ne!(own, "theirs");

    for (uid, sees) in [(SOMEBODY, "theirs\n"), (SOMEBODY_ELSE, "")] {
        assert_eq!(told(&atm.atm_as(uid, &["get", "-o", "name"])).1, sees);
    }
    for verb in ["get", "describe", "stop", "kill", "touch"] {
        assert_eq!(told(&atm.atm_as(SOMEBODY_ELSE, &[verb, "theirs"])).0, Some(3), "{verb}");
    }
    let refused = ask_as(&atm, SOMEBODY_ELSE, "unregister", &json!({"name": "theirs"})).unwrap_err();
    assert_eq!(refused["data"]["kind"], "NoSuchSession", "{refused}");
    assert!(!told(&atm.atm_as(SOMEBODY_ELSE, &["events"])).1.contains("theirs"));
    assert!(told(&atm.atm_as(SOMEBODY, &["events"])).1.contains("theirs"));
    assert!(!theirs.has_ended());

    let (code, out, err) = told(&atm.atm_as(SOMEBODY, &["stop", "theirs"]));
    assert_eq!((code, out.as_str()), (Some(0), "theirs ended\n"), "{err}");
    assert!(!roots.signals().contains("TERM"));
    // Root may register anyone's, and it is theirs all the same.
    let again = Own::of_user(&atm.path("work"), SOMEBODY);
    Socket::of(&atm).register(&json!({"pid": again.pid(), "name": "again"}));
    assert_eq!(told(&atm.atm_as(SOMEBODY, &["get", "-o", "name"])).1, "again\n");
}
