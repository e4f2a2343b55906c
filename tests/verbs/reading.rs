//! Verbs that tell: get, describe, status, plan, events, config, schema, validate, completion, wait.

use serde_json::Value;

use super::{
    SLEEPER,
    harness::{Atm, assert_harmless, told},
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn get_lists_in_every_form() {
    let atm = Atm::start();
    let (code, out, err) = told(&atm.atm(&["get"]));
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(err.contains("no sessions") && err.contains("sessions.d"), "{err}");

    atm.drop_spec("web", &format!("{SLEEPER}labels: {{team: web}}\n"));
    atm.drop_spec("api", &format!("{SLEEPER}labels: {{team: api}}\nsuspend: true\n"));
    let pid = atm.wait_pid("web").to_string();
    atm.wait_phase("api", "Suspended");
    let table = atm.ok(&["get"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["NAME", "PHASE", "REASON"]);
    assert_eq!(lines[1][..3], ["api", "Suspended", "Suspended"]);
    assert_eq!(lines[2][..3], ["web", "Running", "Started"]);
    assert!(lines[2].contains(&pid.as_str()), "{table}");
    assert_eq!(atm.ok(&["ls"]), table.clone());
    let wide = atm.ok(&["get", "-o", "wide"]);
    assert!(wide.contains("COMMAND") && wide.contains("sleep 1000"), "{wide}");
    assert_eq!(atm.ok(&["get", "-o", "name"]), "api\nweb\n");
    assert_eq!(atm.ok(&["get", "-l", "team=web", "-o", "name"]), "web\n");
    assert_eq!(atm.ok(&["get", "-l", "team!=web", "-o", "name"]), "api\n");
    assert_eq!(atm.ok(&["get", "-l", "team=none", "-o", "name"]), "");
    // One name: an object. None or several: an array.
    let one = json(&atm.ok(&["get", "web", "-o", "json"]));
    assert_eq!(
        (&one["name"], &one["origin"], &one["generation"]),
        (&"web".into(), &"Declared".into(), &1.into())
    );
    assert!(
        one["runId"].is_string()
            && one["spec"]["command"].is_array()
            && one["status"]["startedAt"].is_string()
    );
    assert_eq!(json(&atm.ok(&["get", "-o", "json"])).as_array().unwrap().len(), 2);
    assert_eq!(json(&atm.ok(&["get", "web", "api", "-o", "json"])).as_array().unwrap().len(), 2);
    // Also with its share of a processor in it.
    atm.wait("web", "sampled", |s| s["status"]["cpuPercent"].is_f64());
    assert!(atm.ok(&["get", "web", "-o", "yaml"]).starts_with("name: web\n"));

    let (code, out, err) = told(&atm.atm(&["get", "web", "nobody", "-o", "name"]));
    assert_eq!((code, out.as_str()), (Some(3), "web\n"));
    assert!(err.contains("no such session") || err.contains("no session `nobody`"), "{err}");
}

#[test]
fn get_watch_follows_changes_and_removals() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    let table = atm.follow(&["get", "-w"]);
    let lines = atm.follow(&["get", "-w", "-o", "json"]);
    table.wait("Running");
    lines.wait("\"Running\"");
    atm.ok(&["stop", "a"]);
    table.wait("Stopped");
    atm.drop_spec("b", SLEEPER);
    table.wait("b ");
    atm.wait_pid("b");
    atm.remove_spec("a");
    lines.wait("\"removed\"");
    for line in lines.said().lines() {
        let session = json(line);
        assert!(session["name"] == "a" || session["name"] == "b", "{line}");
    }
    // A watcher outlives a daemon no longer than it has to: it says that the daemon is gone.
    assert!(table.said().contains("Suspended"));
}

#[test]
fn describe_tells_everything_and_why_it_does_not_run() {
    let atm = Atm::start_with("maxSessions: 1\n");
    atm.drop_spec("a", "command: [sh, -c, 'echo first line; exec sleep 1000']\nterminal: false\n");
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "first line");
    let page = atm.ok(&["describe", "a"]);
    for words in [
        "Name:",
        "a",
        "Running",
        &pid.to_string(),
        "a.yaml",
        "Generation:",
        "first line",
        "Started",
        "restartPolicy",
    ] {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
    atm.drop_spec("b", SLEEPER);
    atm.wait("b", "waiting", |s| s["status"]["reason"] == "MaxSessions");
    let page = atm.ok(&["describe", "b"]);
    assert!(page.contains("Maximum 1 sessions supported. Destroy a session to create a new one"), "{page}");
    let whole = json(&atm.ok(&["describe", "b", "-o", "json"]));
    assert_eq!(whole["name"], "b");
    assert!(whole["events"].as_array().unwrap().iter().any(|e| e["kind"] == "Pending"), "{whole:#}");
    assert!(atm.ok(&["describe", "b", "-o", "yaml"]).contains("name: b"));
    assert_eq!(atm.atm(&["describe", "nobody"]).status.code(), Some(3));
}

#[test]
fn status_tells_directories_counts_and_errors() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    atm.write_spec("broken", "command: [\n");
    atm.wait("broken", "refused", |s| s["status"]["reason"] == "InvalidSpec");
    std::fs::write(atm.path("atm.yaml"), "maxSession: 3\n").unwrap();
    atm.wait_health("in error", |h| !h["configError"].is_null());
    let page = atm.ok(&["status"]);
    for words in [
        &atm.specs().display().to_string(),
        &atm.daemon_pid().to_string(),
        "1 of 100 sessions running, 1 pending",
        "1 invalid spec",
        "did you mean `maxSessions`?",
        "broken.yaml",
    ] {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
    let health = json(&atm.ok(&["status", "-o", "json"]));
    assert_eq!(health["counts"]["running"], 1);
    assert!(atm.ok(&["status", "-o", "yaml"]).contains("counts:"));
}

#[test]
fn plan_tells_what_would_be_done_and_why() {
    let atm = Atm::start_with("maxSessions: 1\n");
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    atm.drop_spec("b", SLEEPER);
    atm.drop_spec("c", &format!("{SLEEPER}suspend: true\n"));
    atm.wait("b", "waiting", |s| s["status"]["reason"] == "MaxSessions");
    atm.wait_phase("c", "Suspended");
    let plan = json(&atm.ok(&["plan", "-o", "json"]));
    let step =
        |name: &str| plan["steps"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    assert_eq!((step("a")["action"].as_str(), step("b")["action"].as_str()), (Some("None"), Some("Wait")));
    assert!(step("b")["why"].as_str().unwrap().contains("Maximum 1 sessions"), "{plan:#}");
    assert_eq!(step("c")["action"], "None");
    assert!(atm.ok(&["plan"]).contains("Wait"));
}

#[test]
fn events_tell_what_happened_and_what_happens() {
    let mut atm = Atm::start();
    let watch = atm.follow(&["events", "-w", "-o", "json"]);
    atm.drop_spec("a", "command: [sh, -c, 'exit 4']\nrestartPolicy: Never\n");
    atm.wait_phase("a", "Failed");
    watch.wait("\"Exited\"");
    let kinds = |atm: &Atm| -> Vec<String> {
        atm.events(&["a"]).iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&atm), ["SpecChanged", "Started", "Exited"]);
    let table = atm.ok(&["events", "a"]);
    assert!(table.contains("Exited") && table.contains("status 4"), "{table}");
    let ids: Vec<u64> = watch.said().lines().map(|line| json(line)["id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    // The daemon's own are told where no name is given. Another daemon counts on.
    atm.write_config("maxSessions: 9\n");
    watch.wait("ConfigChanged");
    let last = atm.events(&[]).last().unwrap()["id"].as_u64().unwrap();
    atm.restart_daemon();
    atm.drop_spec("b", SLEEPER);
    atm.wait_pid("b");
    let next = atm.events(&["b"])[0]["id"].as_u64().unwrap();
    assert!(next > last, "{next} after {last}");
}

#[test]
fn config_and_schemas_are_told() {
    let atm = Atm::start_with("maxSessions: 7\n");
    let (code, out, err) = told(&atm.atm(&["config"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("maxSessions: 7") && err.contains("atm.yaml"), "{out}{err}");
    assert_eq!(json(&atm.ok(&["config", "-o", "json"]))["maxSessions"], 7);
    assert!(atm.ok(&["config", "--default"]).contains("maxSessions: 100"));
    std::fs::write(atm.path("atm.yaml"), "maxSessions: none of them\n").unwrap();
    atm.wait_health("in error", |h| !h["configError"].is_null());
    let (code, out, err) = told(&atm.atm(&["config"]));
    assert_eq!(code, Some(4));
    assert!(
        out.contains("maxSessions: 7") && err.contains("atm.yaml:1:14") && err.contains("last good"),
        "{out}{err}"
    );
    for of in ["session", "config"] {
        let schema = json(&atm.ok(&["schema", of]));
        assert!(schema["properties"].is_object(), "{of}");
    }
}

#[test]
fn validate_needs_no_daemon_and_tells_each_mistake() {
    let atm = Atm::new();
    atm.write_spec("good", SLEEPER);
    let good = atm.spec_path("good").display().to_string();
    assert_eq!(told(&atm.atm(&["validate", &good])), (Some(0), format!("{good}: valid\n"), String::new()));
    atm.write_spec("bad", "command: [a]\nmaxIdel: 1h\npriority: x\n");
    let bad = atm.spec_path("bad").display().to_string();
    let (code, out, err) = told(&atm.atm(&["validate", &good, &bad]));
    assert_eq!((code, out), (Some(4), format!("{good}: valid\n")));
    for words in ["bad.yaml:2:1", "2 | maxIdel: 1h", "^^^^^^^", "did you mean `maxIdle`?", "bad.yaml:3:11"] {
        assert!(err.contains(words), "no {words:?} in {err}");
    }
    // Everything, where nothing is named.
    std::fs::write(atm.path("atm.yaml"), "maxSessions: 3\n").unwrap();
    let (code, out, err) = told(&atm.atm_with_flags(&["validate"]));
    assert_eq!(code, Some(4));
    assert!(
        out.contains("atm.yaml: valid") && out.contains("good.yaml: valid") && err.contains("bad.yaml:2:1"),
        "{out}{err}"
    );
    assert_ne!(atm.atm(&["validate", "/nowhere/at.yaml"]).status.code(), Some(0));
}

#[test]
fn validate_says_what_the_daemon_says_of_a_file() {
    let atm = Atm::start();
    let said = |words: &str| {
        let (code, _, err) = told(&atm.atm(&["validate"]));
        assert!(code == Some(4) && err.contains(words), "{err}");
    };
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    std::fs::write(atm.specs().join("a.yml"), SLEEPER).unwrap();
    atm.wait_error("a", "is already defined");
    said("`a` is already defined by a.yaml");
    std::fs::remove_file(atm.specs().join("a.yml")).unwrap();
    if rustix::process::geteuid().is_root() {
        let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(atm.spec_path("a"), writable).unwrap();
        atm.wait_error("a", "others than its owner may write it");
        said("others than its owner may write it (mode 0666)");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(atm.specs(), open).unwrap();
        atm.wait_health("told of the directory", |health| !health["specsUnavailable"].is_null());
        said("others than its owner may replace files in it");
    }
}

#[test]
fn events_of_nobody_are_no_silence() {
    let atm = Atm::start();
    let (code, out, err) = told(&atm.atm(&["events", "nobody"]));
    assert!(code == Some(3) && out.is_empty() && err.contains("no session `nobody`"), "{err}");
    // What it did before it was forgotten is still told.
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    atm.remove_spec("a");
    atm.wait_gone("a");
    assert!(atm.ok(&["events", "a"]).contains("Started"));
}

#[test]
fn completion_speaks_to_every_shell() {
    let atm = Atm::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(atm.ok(&["completion", shell]).contains("atm"), "{shell}");
    }
}

#[test]
fn wait_waits_for_a_phase() {
    let atm = Atm::start();
    let go = atm.path("go");
    let until_told = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 0", go.display());
    atm.drop_spec("a", &format!("command: [sh, -c, {until_told:?}]\n"));
    atm.wait_pid("a");
    assert_eq!(atm.ok(&["wait", "a", "--for", "running"]), "a Running\n");
    let (code, _, err) = told(&atm.atm(&["wait", "a", "--for", "Succeeded", "--timeout", "200ms"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("`a` is Running"), "{err}");
    let mut waiting = atm.follow(&["wait", "a", "--for", "Succeeded", "--timeout", "1m"]);
    std::fs::write(&go, "").unwrap();
    assert_eq!(waiting.end(), Some(0));
    let mut deleted = atm.follow(&["wait", "a", "--for", "Deleted"]);
    atm.remove_spec("a");
    assert_eq!(deleted.end(), Some(0));
    assert_eq!(atm.atm(&["wait", "nobody", "--for", "Running", "--timeout", "100ms"]).status.code(), Some(3));
    assert_eq!(atm.atm(&["wait", "a", "--for", "sideways"]).status.code(), Some(2));
}

#[test]
fn nothing_from_files_or_output_acts_on_a_terminal() {
    let atm = Atm::start();
    atm.drop_spec(
        "a",
        "command: [sh, -c, \"printf '\\\\033]0;title\\\\007\\\\033[2Jred \\\\033[31mtext\\\\n'; exec sleep 1000\", \"\\e[31m\"]\nlabels: {a: \"b\"}\n",
    );
    atm.write_spec("bad", "command: [\"\\e[2J\"\nx: \u{9b}31m\u{202e}\n");
    atm.wait_pid("a");
    atm.wait_output("a", "text");
    atm.wait("bad", "refused", |s| s["status"]["reason"] == "InvalidSpec");
    for verb in [
        &["get"][..],
        &["get", "-o", "wide"],
        &["get", "-o", "yaml"],
        &["describe", "a"],
        &["describe", "bad"],
        &["status"],
        &["events"],
        &["plan"],
        &["logs", "a"],
    ] {
        let text = atm.on_a_terminal(verb);
        assert!(!text.is_empty(), "{verb:?}");
        assert_harmless(&format!("{verb:?}"), &text);
    }
    assert!(atm.on_a_terminal(&["logs", "a"]).contains("red text"));
    assert!(atm.on_a_terminal(&["logs", "a", "--raw"]).contains("\u{1b}[31m"));
}
