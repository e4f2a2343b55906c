//! Whose process it is decides who may register, see and steer it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    harness::{Atm, is_alive, is_root, script, told},
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

/// A daemon whose socket everybody reaches.
fn open_to_all() -> Atm {
    let atm = Atm::start();
    for path in [atm.path(""), atm.path("run")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    atm
}

#[test]
fn others_neither_register_nor_see_nor_steer_what_runs_as_somebody() {
    if !is_root() {
        return;
    }
    let atm = open_to_all();
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

/// The daemon may signal any process, and a person no other than their own.
#[test]
fn what_has_become_another_users_is_not_signalled_for_the_one_who_registered_it() {
    if !is_root() {
        return;
    }
    let atm = open_to_all();
    let own = Own::that_rises(&atm.path("work"), SOMEBODY);
    ask_as(&atm, SOMEBODY, "register", &json!({"pid": own.pid(), "name": "theirs"})).unwrap();
    own.rise();
    for args in [&["stop", "theirs"][..], &["kill", "theirs"], &["kill", "-s", "STOP", "theirs"]] {
        let (code, _, err) = told(&atm.atm_as(SOMEBODY, args));
        assert_eq!(code, Some(1), "{args:?}: {err}");
        assert!(err.contains("runs as another user now"), "{args:?}: {err}");
    }
    assert!(is_alive(own.pid()));
}

/// To name an identity is all that it takes.
#[test]
fn nobody_keeps_anothers_session_from_running_by_its_identity() {
    if !is_root() {
        return;
    }
    let atm = open_to_all();
    let theirs = Own::of_user(&atm.path("work"), SOMEBODY);
    let params = json!({"pid": theirs.pid(), "name": "theirs", "identity": "web"});
    ask_as(&atm, SOMEBODY, "register", &params).unwrap();
    atm.drop_spec("web", "command: [sleep, '1000']\n");
    atm.wait_phase("web", "Running");
}

/// A session may run a program as somebody else, and that may be an agent with hooks.
#[test]
fn an_agent_in_anothers_session_is_no_session_of_its_own() {
    if !is_root() || Command::new("setpriv").arg("-V").output().is_err() {
        return;
    }
    let atm = open_to_all();
    let claude = atm.path("claude");
    let bin = env!("CARGO_BIN_EXE_atm");
    script(
        &claude,
        &format!(
            "printf '%s' '{{\"hook_event_name\":\"UserPromptSubmit\",\"session_id\":\"x\"}}' | {bin} hook; echo hooked; sleep 1000"
        ),
    );
    let command = format!(
        "command: [setpriv, '--reuid={SOMEBODY}', '--regid={SOMEBODY}', --clear-groups, {}]\n",
        claude.display()
    );
    atm.drop_spec("roots", &command);
    atm.wait_output("roots", "hooked");
    let names: Vec<Value> = atm.list().into_iter().map(|session| session["name"].clone()).collect();
    assert_eq!(names, ["roots"], "{names:?}");
}
