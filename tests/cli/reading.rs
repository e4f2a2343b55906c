//! What is shown: forms, following, describing.

use serde_json::{Value, json};

use crate::fake::{Change, Daemon, Following, session, session_with, with_spec};

fn two() -> Daemon {
    let web = json!({"labels": {"team": "web"}});
    Daemon::with([
        with_spec(
            session_with("fix-login", "Running Started", &json!({"pid": 4242, "activity": "Busy"})),
            &web,
        ),
        with_spec(
            session_with(
                "build",
                "Pending MaxSessions",
                &json!({"message": "Maximum 4 sessions supported."}),
            ),
            &json!({}),
        ),
    ])
}

#[test]
fn get_shows_a_table_of_all() {
    insta::assert_snapshot!(two().atm(&["get"]).transcript(), @r"
    NAME        PHASE     REASON        AGE   RESTARTS   PID    ACTIVITY
    build       Pending   MaxSessions   -     0          -      -
    fix-login   Running   Started       -     0          4242   Busy
    --- stderr
    --- exit 0
    ");
}

#[test]
fn one_name_gives_one_object_and_anything_else_an_array() {
    let daemon = two();
    let parsed =
        |arguments: &[&str]| -> Value { serde_json::from_str(&daemon.atm(arguments).stdout).unwrap() };
    assert_eq!(parsed(&["get", "build", "-o", "json"])["status"]["phase"], "Pending");
    assert_eq!(parsed(&["get", "-o", "json"]).as_array().unwrap().len(), 2);
    assert_eq!(parsed(&["get", "build", "fix-login", "-o", "json"]).as_array().unwrap().len(), 2);
    assert_eq!(parsed(&["get", "-l", "team=web", "-o", "json"])[0]["name"], "fix-login");
    assert_eq!(parsed(&["get", "-l", "team=none", "-o", "json"]), json!([]));
}

#[test]
fn names_and_yaml_are_forms_too() {
    let daemon = two();
    assert_eq!(daemon.atm(&["ls", "-o", "name"]).stdout, "build\nfix-login\n");
    assert_eq!(daemon.atm(&["ps", "-l", "!team", "-o", "name"]).stdout, "build\n");
    assert!(daemon.atm(&["get", "build", "-o", "yaml"]).stdout.starts_with("name: build\n"));
    assert!(daemon.atm(&["get", "-o", "yaml"]).stdout.starts_with("- name: build\n"));
}

#[test]
fn a_missing_name_is_an_error_and_hides_no_other() {
    for strict in [false, true] {
        let daemon = two();
        daemon.tell(|world| world.strict = strict);
        insta::allow_duplicates! {
            insta::assert_snapshot!(daemon.atm(&["get", "biuld", "fix-login", "-o", "name"]).transcript(), @r"
            fix-login
            --- stderr
            error: no session `biuld`
            hint: did you mean `build`?
            --- exit 3
            ");
        }
        let alone = daemon.atm(&["get", "nobody", "-o", "json"]);
        assert_eq!((alone.code, alone.stdout.as_str()), (3, ""), "strict: {strict}");
    }
}

#[test]
fn watching_begins_with_the_table_and_goes_on_with_each_change() {
    let daemon = two();
    let mut watch = Following::start(daemon.command(&["get", "-w"]));
    let mut seen: String = (0..3).map(|_| watch.line()).collect();
    daemon.change(Change::Now(session("new", "Pending Starting")));
    seen.push_str(&watch.line());
    daemon.change(Change::Gone("build"));
    seen.push_str(&watch.line());
    insta::assert_snapshot!(seen, @r"
    NAME        PHASE     REASON        AGE   RESTARTS   PID    ACTIVITY
    build       Pending   MaxSessions   -     0          -      -
    fix-login   Running   Started       -     0          4242   Busy
    new         Pending   Starting      -     0          -      -
    build       removed   -             -     -          -      -
    ");
    assert_eq!(watch.end(), "");
}

#[test]
fn watching_in_json_gives_one_object_a_line() {
    let daemon = two();
    let mut watch = Following::start(daemon.command(&["get", "-l", "team=web", "-w", "-o", "json"]));
    let mut next = || serde_json::from_str::<Value>(&watch.line()).unwrap();
    assert_eq!(next()["name"], "fix-login");
    daemon.change(Change::Now(session("other", "Running Started")));
    daemon.change(Change::Now(session("fix-login", "Failed Error")));
    assert_eq!(next(), json!({"name": "fix-login", "removed": true}), "it has the label no longer");
    daemon.change(Change::Now(with_spec(
        session("third", "Running Started"),
        &json!({"labels": {"team": "web"}}),
    )));
    assert_eq!(next()["name"], "third");
}

#[test]
fn describe_tells_everything() {
    let status = json!({
        "message": "exit status 3", "since": "2026-01-01T00:00:00Z", "restarts": 2, "exit": {"code": 3},
        "cause": {"reason": "ClientStop", "by": {"uid": 1000, "pid": 9}, "message": "atm stop"},
        "specFile": "/s/fix.yaml",
    });
    let daemon = Daemon::with([with_spec(session_with("fix", "Failed Error", &status), &json!({}))]);
    let lines: Vec<String> = (1..=30).map(|line| format!("line {line} \u{1b}[1mbold\u{1b}[0m\r\n")).collect();
    std::fs::write(daemon.path("log/fix.log"), lines.concat()).unwrap();
    let event = json!({"id": 1, "at": "2026-01-01T00:00:00Z", "kind": "Exited", "session": "fix", "message": "exit status 3"});
    daemon.tell(|world| {
        world.results.insert("events".into(), json!({"events": [event]}));
    });
    let done = daemon.atm(&["describe", "fix"]);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\((in )?\d+d(\d+h)?( ago)?\)", "(AGO)");
    settings.bind(|| {
        insta::assert_snapshot!(done.transcript(), @r"
        Name:          fix
        Phase:         Failed (Error)
        Not running:   exit status 3.
        Since:         2026-01-01 00:00:00 (AGO)
        Run:           0190aaaa-0000-7000-8000-000000000001
        Restarts:      2
        Last exit:     exit status 3
        Last stop:     ClientStop, by uid 1000 pid 9: atm stop
        Spec file:     /s/fix.yaml
        Generation:    1

        Spec (effective)
          command:
          - claude
          - --permission-mode
          - acceptEdits
          workingDir: ~/src/web
          env: {}
          envFile: []
          terminal:
            columns: 120
            rows: 40
          agent: claude
          resume: auto
          restartPolicy: OnFailure
          backoff:
            initial: 1s
            max: 5m
            resetAfter: 10m
          terminationGracePeriod: 10s
          stopSignal: TERM
          onChange: WhenIdle
          maxIdle: 1h
          maxAge: 1d
          maxMemory: never
          maxProcesses: 512
          cpuWeight: 100
          priority: 0
          pinned: false
          suspend: false
          identity: x
          labels: {}

        Events
          2026-01-01 00:00:00  Exited         exit status 3

        Output
          line 1 bold
          line 2 bold
          line 3 bold
          line 4 bold
          line 5 bold
          …
          line 21 bold
          line 22 bold
          line 23 bold
          line 24 bold
          line 25 bold
          line 26 bold
          line 27 bold
          line 28 bold
          line 29 bold
          line 30 bold
        --- stderr
        --- exit 0
        ");
    });

    let json: Value = serde_json::from_str(&daemon.atm(&["describe", "fix", "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["name"], &json["events"][0]["kind"]), (&json!("fix"), &json!("Exited")));
}

#[test]
fn plan_config_events_and_status_show_what_the_daemon_says() {
    let daemon = two();
    daemon.tell(|world| {
        let steps = json!([
            {"name": "build", "action": "Wait", "why": "MaxSessions: 4 of 4 in use"},
            {"name": "fix-login", "action": "None", "why": "running as declared"},
        ]);
        world.results.insert("plan".into(), json!({"steps": steps}));
        let events = json!([
            {"id": 1, "at": "2026-01-01T00:00:00Z", "kind": "Started", "session": "fix-login", "message": "pid 4242"},
            {"id": 2, "at": "2026-01-01T00:01:00Z", "kind": "Pending", "session": "build", "reason": "MaxSessions", "message": "no room"},
            {"id": 3, "at": "2026-01-01T00:02:00Z", "kind": "ConfigChanged", "message": "maxSessions 4"},
        ]);
        world.results.insert("events".into(), json!({"events": events}));
    });
    insta::assert_snapshot!(daemon.atm(&["plan"]).transcript(), @r"
    NAME        ACTION   NEXT   WHY
    build       Wait     -      MaxSessions: 4 of 4 in use
    fix-login   None     -      running as declared
    --- stderr
    --- exit 0
    ");
    insta::assert_snapshot!(daemon.atm(&["events"]).transcript(), @r"
    TIME                  SESSION     KIND                    MESSAGE
    2026-01-01 00:00:00   fix-login   Started                 pid 4242
    2026-01-01 00:01:00   build       Pending (MaxSessions)   no room
    2026-01-01 00:02:00   -           ConfigChanged           maxSessions 4
    --- stderr
    --- exit 0
    ");

    let mut watch = Following::start(daemon.command(&["events", "-w", "-o", "json"]));
    for id in 1..=3 {
        assert_eq!(serde_json::from_str::<Value>(&watch.line()).unwrap()["id"], id);
    }
    daemon.change(Change::Event(
        json!({"id": 4, "at": "2026-01-01T00:03:00Z", "kind": "Adopted", "message": "m"}),
    ));
    assert_eq!(serde_json::from_str::<Value>(&watch.line()).unwrap()["kind"], "Adopted");
}

#[test]
fn status_shows_what_a_person_should_know_and_ends_well() {
    let daemon = two();
    let directories = json!({"config": "/c", "sessions": "/s", "runtime": "/r", "state": "/st", "log": "/l"});
    let health = json!({
        "version": "0.1.0", "pid": 77, "startedAt": "2026-01-01T00:00:00Z", "containment": "procfs",
        "instance": "0190aaaa-0000-7000-8000-000000000001", "directories": directories, "maxSessions": 4,
        "summary": "4 of 4 sessions running, 1 pending",
        "counts": {"pending": 1, "running": 4, "busy": 1, "waiting": 1, "stopping": 0, "succeeded": 0, "failed": 0, "evicted": 0, "suspended": 2},
        "configError": [{"file": "/c", "line": 3, "column": 1, "message": "unknown key `maxSesions`", "hint": "did you mean `maxSessions`?"}],
        "specErrors": [[{"file": "/s/bad.yaml", "message": "empty"}]],
        "specsUnavailable": "`/s` is another directory than before",
        "warnings": ["no cgroup controllers"],
    });
    daemon.tell(|world| _ = world.results.insert("health".into(), health));
    let done = daemon.atm(&["status"]);
    assert_eq!(done.code, 0);
    for part in [
        "4 running (1 busy, 1 waiting), 1 pending",
        "procfs",
        "/st",
        "unknown key `maxSesions`",
        "bad.yaml",
        "is another directory",
        "--accept-removals",
        "no cgroup controllers",
    ] {
        assert!(done.stdout.contains(part), "{part} in {}", done.stdout);
    }
    let json: Value = serde_json::from_str(&daemon.atm(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["containment"], "procfs");
}
