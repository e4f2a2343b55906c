//! What is changed about one run while it lives, and gone with it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
};

use serde_json::{Value, json};

use super::{
    SLEEPER,
    harness::{Atm, is_root, told, wait_until},
};

/// A person without privileges.
const SOMEBODY: u32 = 65534;

fn published(atm: &Atm, name: &str) -> Value {
    let text = fs::read_to_string(atm.runtime().join("sessions").join(name).join("overrides.json"));
    text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

fn in_force(atm: &Atm, name: &str) -> Value {
    atm.get(name).pointer("/status/overrides").cloned().unwrap_or(Value::Null)
}

#[test]
fn overrides_are_published_and_gone_with_the_run() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let run = atm.get("a")["runId"].clone();
    assert!(told(&atm.atm(&["override", "a"])).2.contains("nothing is overridden of a"));
    let watch = atm.follow(&["get", "a", "-w", "-o", "json"]);
    watch.wait("\"runId\"");
    let said =
        atm.ok(&["override", "a", "model=opus", "modelProvider=anthropic", "temperature=0.5", "maxIdle=4h"]);
    for word in ["model=opus", "modelProvider=anthropic", "temperature=0.5", "maxIdle=4h"] {
        assert!(said.contains(word), "{said}");
    }
    let expected =
        json!({"model": "opus", "modelProvider": "anthropic", "temperature": 0.5, "maxIdle": "4h"});
    assert_eq!(in_force(&atm, "a"), expected);
    let mut file = expected.clone();
    file["runId"] = run.clone();
    assert_eq!(published(&atm, "a"), file);
    watch.wait("\"opus\"");
    assert_eq!(atm.get("a")["spec"]["maxIdle"], "4h", "the effective spec has them");
    assert!(atm.ok(&["describe", "a"]).contains("Overrides:"));
    let events = atm.ok(&["events", "a"]);
    assert!(events.contains("overridden by uid"), "{events}");
    // A new provider without a model takes the model back.
    atm.ok(&["override", "a", "modelProvider=openai", "temperature-"]);
    assert_eq!(in_force(&atm, "a"), json!({"modelProvider": "openai", "maxIdle": "4h"}));
    // They outlive the daemon, even where their file was lost or damaged meanwhile.
    atm.kill_daemon();
    fs::write(atm.runtime().join("sessions/a/overrides.json"), "{\"runId\": ").unwrap();
    atm.up();
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(in_force(&atm, "a"), json!({"modelProvider": "openai", "maxIdle": "4h"}));
    assert_eq!(atm.get("a")["spec"]["maxIdle"], "4h");
    assert!(wait_until(|| fs::read_to_string(atm.runtime().join("sessions/a/overrides.json"))
        .is_ok_and(|text| text.ends_with('}'))));
    // A changed spec and config change what is below them.
    atm.drop_spec("a", &format!("{SLEEPER}maxIdle: 2h\nmaxAge: 3h\n"));
    atm.wait("a", "the changed spec", |s| s["spec"]["maxAge"] == "3h" && s["spec"]["maxIdle"] == "4h");
    // And the next run has none.
    atm.ok(&["restart", "a"]);
    assert_ne!(atm.wait_pid("a"), pid);
    assert_eq!(in_force(&atm, "a"), Value::Null);
    assert_eq!(atm.get("a")["spec"]["maxIdle"], "2h");
    assert_eq!(published(&atm, "a"), Value::Null);
    atm.ok(&["override", "a", "model=x", "maxAge=1h"]);
    atm.ok(&["override", "a", "--clear", "maxAge=2h"]);
    assert_eq!(in_force(&atm, "a"), json!({"maxAge": "2h"}));
    atm.ok(&["override", "a", "--clear"]);
    assert_eq!(in_force(&atm, "a"), Value::Null);
    assert_eq!(published(&atm, "a").as_object().unwrap().len(), 1, "nothing but whose they are");
}

#[test]
fn a_limit_is_in_force_at_once() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.drop_spec("b", SLEEPER);
    atm.wait_pid("a");
    atm.wait_pid("b");
    // Its keeper, and by it the kernel, knows of it too.
    atm.ok(&["override", "b", "maxMemory=512MiB", "maxProcesses=99"]);
    let record = || fs::read_to_string(atm.runtime().join("sessions/b/record.json")).unwrap();
    assert!(wait_until(|| record().contains("\"maxMemory\":\"512MiB\"")), "{}", record());
    assert!(record().contains("\"maxProcesses\":99"), "{}", record());
    atm.ok(&["override", "b", "maxMemory-"]);
    assert!(wait_until(|| record().contains("\"maxMemory\":\"never\"")), "{}", record());
    // And of what the config says, where neither spec nor override says otherwise.
    atm.write_config("sessionMemory: 600MiB\n");
    assert!(wait_until(|| record().contains("\"maxMemory\":\"600MiB\"")), "{}", record());
    assert!(record().contains("\"maxProcesses\":99"), "{}", record());
    atm.ok(&["override", "a", "maxIdle=1s"]);
    let session = atm.wait_phase("a", "Evicted");
    assert_eq!(session["status"]["cause"]["message"], "idle for longer than its maxIdle of 1s");
    assert_eq!(session["spec"]["maxIdle"], "never", "what was overridden is over");
    atm.ok(&["start", "a"]);
    atm.wait_pid("a");
    assert_eq!(atm.get("a")["spec"]["maxIdle"], "never");
    atm.wait_pid("b");
    let run = atm.get("b")["runId"].clone();
    atm.ok(&["override", "b", "maxAge=1s"]);
    atm.wait("b", "started afresh", |s| s["runId"] != run && s["status"]["phase"] == "Running");
    assert_eq!(in_force(&atm, "b"), Value::Null);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    atm.ok(&["override", "a", "maxIdle=4h"]);
    for (change, code, says) in [
        ("maxIdel=5m", 2, "did you mean `maxIdle`?"),
        ("maxIdle=5", 2, "add a unit"),
        ("maxIdle=0s", 2, "at least"),
        ("temperature=3", 2, "from 0 to 2"),
        ("temperature=warm", 2, "from 0 to 2"),
        ("model=", 2, "model: expected a name"),
        ("maxIdle", 2, "`maxIdle=VALUE`"),
        ("command=x", 2, "command"),
    ] {
        let (found, out, err) = told(&atm.atm(&["override", "a", change]));
        assert_eq!((found, out.as_str()), (Some(code), ""), "{change}: {err}");
        assert!(err.contains(says), "{change}: {err}");
    }
    assert_eq!(in_force(&atm, "a"), json!({"maxIdle": "4h"}));
    assert_eq!(atm.atm(&["override", "nobody", "model=x"]).status.code(), Some(3));
    atm.ok(&["stop", "a"]);
    let (code, _, err) = told(&atm.atm(&["override", "a", "model=x"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("not running") && err.contains("atm start a"), "{err}");
}

#[test]
fn a_user_may_lower_what_roots_spec_says_and_raise_what_their_own_does() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    for path in [atm.path(""), atm.path("run")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let limits = format!("{SLEEPER}workingDir: /\nmaxMemory: 1GiB\nmaxIdle: 1h\n");
    atm.drop_spec("given", &format!("{limits}user: nobody\n"));
    let beside = atm.path("beside");
    fs::write(&beside, &limits).unwrap();
    chown(&beside, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    fs::rename(&beside, atm.spec_path("own")).unwrap();
    atm.drop_spec("roots", SLEEPER);
    for name in ["given", "own", "roots"] {
        atm.wait_pid(name);
    }
    let ask = |args: &[&str]| told(&atm.atm_as(SOMEBODY, args));
    let (code, _, err) = ask(&["override", "given", "maxMemory=512MiB", "model=x", "maxProcesses=10"]);
    assert_eq!(code, Some(0), "{err}");
    for change in ["maxMemory=2GiB", "maxMemory=never", "maxIdle=2h"] {
        let (code, _, err) = ask(&["override", "given", change]);
        assert_eq!(code, Some(1), "{change}: {err}");
        assert!(err.contains("raised only by the owner of its spec file"), "{err}");
    }
    assert_eq!(ask(&["override", "own", "maxMemory=2GiB"]).0, Some(0));
    assert_eq!(ask(&["override", "roots", "model=x"]).0, Some(3));
    atm.ok(&["override", "given", "maxMemory=2GiB"]);
    atm.ok(&["override", "roots", "model=canary"]);
    let (code, _, err) = ask(&["override", "given", "model=y"]);
    assert_eq!(code, Some(0), "what root raised stays: {err}");
    // The session's user reads its file, and nobody else's.
    let file = |name: &str| atm.runtime().join("sessions").join(name).join("overrides.json");
    let about = fs::metadata(file("given")).unwrap();
    assert_eq!((about.uid(), about.permissions().mode() & 0o777), (SOMEBODY, 0o600));
    assert_eq!(fs::metadata(file("roots")).unwrap().uid(), 0);
    // What is written into it is not believed.
    fs::write(file("given"), fs::read_to_string(file("given")).unwrap().replace("2GiB", "never")).unwrap();
    let mut atm = atm;
    atm.restart_daemon();
    assert_eq!(in_force(&atm, "given")["maxMemory"], "2GiB");
}
