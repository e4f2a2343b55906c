//! From the first word to the end.

use serde_json::json;

use super::{
    harness::{Atm, LIMIT, now},
    support::{Own, Socket, name_in, shows},
};

#[test]
fn it_is_listed_while_its_process_lives() {
    let atm = Atm::start();
    let mut own = Own::new(&atm.path("Web App"));
    let mut socket = Socket::of(&atm);
    let answer = socket.register(&json!({
        "pid": own.pid(), "startTime": own.start_time(), "agent": "claude",
        "conversationId": "5b1e", "activity": "Waiting",
    }));
    assert_eq!((&answer["changed"], &answer["warnings"]), (&json!(true), &json!([])), "{answer:#}");
    let name = name_in(&answer);
    assert!(name.starts_with("claude-web-app-"), "{name}");

    let session = atm.get(&name);
    assert_eq!(shows(&session), "Running/Started");
    assert_eq!(session["origin"], "Registered");
    assert_eq!(session["status"]["pid"], own.pid());
    assert_eq!(session["status"]["activity"], "Waiting");
    assert!(session["status"]["keeperPid"].is_null() && session["spec"].is_null());
    assert_eq!(session["status"]["registered"]["conversationId"], "5b1e");
    let directory = session["status"]["registered"]["workingDir"].as_str().unwrap();
    assert!(directory.ends_with("/Web App"), "{directory}");

    let wide = atm.ok(&["get", "-o", "wide"]);
    assert!(wide.contains("Registered") && wide.contains("Web App"), "{wide}");
    let told = atm.ok(&["describe", &name]);
    for part in ["Origin:        Registered", "Agent:         claude", "Conversation:  5b1e"] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    assert!(!told.contains("Output") && !told.contains("Spec file"), "{told}");
    assert!(atm.ok(&["plan"]).contains("a person started it"));
    assert!(atm.ok(&["status"]).contains("1 registered"), "{}", atm.ok(&["status"]));
    assert_eq!(atm.ok(&["wait", &name, "--for", "Running"]), format!("{name} Running\n"));
    assert_eq!(atm.count_events(&name, "Registered"), 1);

    let mut watching = atm.follow(&["wait", &name, "--for", "Deleted"]);
    let begun = now();
    own.end();
    assert_eq!(watching.end(), Some(0));
    assert!(begun.elapsed() < LIMIT / 6, "its end is told, and not looked for: {:?}", begun.elapsed());
    atm.wait_gone(&name);
    let last = atm.events(&[&name]).pop().unwrap();
    assert_eq!((&last["kind"], &last["reason"]), (&json!("Unregistered"), &json!("Exited")), "{last}");
}

#[test]
fn it_goes_stale_in_silence_and_comes_back_at_each_sign() {
    let atm = Atm::start_with("staleAfter: 1s");
    let own = Own::new(&atm.path("work"));
    let mut socket = Socket::of(&atm);
    let name = socket.claude(&own, "x");
    let is_stale = |what: &str| atm.wait(&name, what, |session| shows(session) == "Running/Stale");
    is_stale("stale");
    assert!(atm.ok(&["get", &name]).contains("Stale"));

    atm.ok(&["touch", &name, "--activity", "busy"]);
    let session = atm.get(&name);
    assert_eq!(session["status"]["activity"], "Busy");
    is_stale("stale after a touch");
    assert_eq!(atm.get(&name)["status"]["activity"], "Busy", "what it said last is not taken back");

    let answer = socket.register(&json!({"pid": own.pid(), "agent": "claude", "conversationId": "x"}));
    assert_eq!(answer["changed"], false, "a sign of life and nothing more");
    assert_eq!(shows(&answer["session"]), "Running/Started");
    is_stale("stale after it told of itself again");

    // Another span holds at once.
    atm.write_config("staleAfter: 1h");
    atm.wait(&name, "not stale", |session| shows(session) == "Running/Started");
    atm.write_config("staleAfter: 1s");
    is_stale("stale by the config");
    assert_eq!(atm.list().len(), 1);
}

#[test]
fn a_conversation_that_goes_on_in_another_process_is_the_same_session() {
    let atm = Atm::start();
    let first = Own::new(&atm.path("work"));
    let mut socket = Socket::of(&atm);
    let name = socket.claude(&first, "x");
    let run = atm.get(&name)["runId"].clone();

    let mut second = Own::new(&atm.path("work"));
    assert_eq!(socket.claude(&second, "x"), name);
    let session = atm.get(&name);
    assert_eq!((atm.list().len(), &session["status"]["pid"]), (1, &json!(second.pid())));
    assert_ne!(session["runId"], run);
    // The older one, which lives on, does not take it back.
    assert_eq!(socket.claude(&first, "x"), name);
    assert_eq!(atm.get(&name)["status"]["pid"], second.pid());

    second.end();
    atm.wait_gone(&name);
    assert_eq!(socket.claude(&first, "x"), name, "the name is the conversation's");
    let third = Own::new(&atm.path("work"));
    assert_ne!(socket.claude(&third, "y"), name);
    // A process whose conversation changes is the session that it was.
    assert_eq!(socket.claude(&first, "z"), name);
    assert_eq!(atm.get(&name)["status"]["registered"]["conversationId"], "z");
    assert_eq!(atm.list().len(), 2);
}

#[test]
fn a_process_that_is_not_there_any_more_is_refused() {
    let atm = Atm::start();
    let mut socket = Socket::of(&atm);
    let mut ended = Own::new(&atm.path("work"));
    let (pid, born) = (ended.pid(), ended.start_time());
    for start in [born + 1, born - 1] {
        let (kind, text) = socket.refused("register", &json!({"pid": pid, "startTime": start}));
        assert_eq!((kind.as_str(), text), ("Conflict", format!("process {pid} has ended")));
    }
    ended.end_unreaped();
    assert_eq!(socket.refused("register", &json!({"pid": pid})).0, "Conflict", "a zombie");
    ended.end();
    assert_eq!(socket.refused("register", &json!({"pid": pid})).0, "Conflict");
    for wrong in [
        json!({"pid": 0}),
        json!({"pid": -1}),
        json!({"conversationId": "a b"}),
        json!({"workingDir": "here"}),
        json!({"name": "NO"}),
        json!({"agent": "vim"}),
        json!({"more": 1}),
    ] {
        assert_eq!(socket.refused("register", &wrong).0, "InvalidRequest", "{wrong}");
    }
    assert_eq!(atm.list().len(), 0);
}

#[test]
fn who_says_no_pid_means_themselves() {
    let atm = Atm::start();
    let mut socket = Socket::of(&atm);
    let name = name_in(&socket.register(&json!({"name": "me"})));
    assert_eq!(atm.get(&name)["status"]["pid"], std::process::id());
    assert_eq!(socket.call("unregister", &json!({})).unwrap(), json!({"name": "me"}));
    assert_eq!(atm.list().len(), 0);
    assert_eq!(socket.refused("unregister", &json!({})).0, "NoSuchSession");
    let last = atm.events(&["me"]).pop().unwrap();
    assert_eq!(last["reason"], "Unregistered", "{last}");
}

#[test]
fn a_process_of_a_declared_session_is_that_session() {
    let atm = Atm::start();
    atm.drop_spec("a", "command: [sh, -c, 'sleep 1000 & echo child $!; wait']\n");
    let pid = atm.wait_pid("a");
    let child: i32 = atm.wait_output("a", "child ").trim().rsplit(' ').next().unwrap().parse().unwrap();
    let mut socket = Socket::of(&atm);
    for inside in [pid, child] {
        let answer = socket.register(&json!({"pid": inside, "agent": "claude", "activity": "Busy"}));
        assert_eq!((name_in(&answer).as_str(), &answer["changed"]), ("a", &json!(false)));
        assert_eq!(answer["session"]["origin"], "Declared");
    }
    assert_eq!(atm.list().len(), 1);
    assert_eq!(atm.get("a")["status"]["activity"], "Busy");
    let (kind, text) = socket.refused("unregister", &json!({"name": "a"}));
    assert!(kind == "Conflict" && text.contains("atm delete a"), "{kind}: {text}");
}

#[test]
fn a_spec_file_has_the_name_that_it_takes() {
    let atm = Atm::start();
    let own = Own::new(&atm.path("work"));
    let mut socket = Socket::of(&atm);
    let answer =
        socket.register(&json!({"pid": own.pid(), "agent": "codex", "conversationId": "x", "name": "web"}));
    assert_eq!(name_in(&answer), "web");
    let run = atm.get("web")["runId"].clone();
    let other = Own::new(&atm.path("work"));
    let taken = socket.refused("register", &json!({"pid": other.pid(), "name": "web"}));
    assert_eq!(taken.0, "Conflict", "{taken:?}");

    atm.drop_spec("web", "command: [sleep, '1000']\n");
    atm.wait("web", "declared", |session| {
        session["origin"] == "Declared" && shows(session) == "Running/Started"
    });
    let renamed = atm.list().into_iter().find(|session| session["origin"] == "Registered").unwrap();
    assert_eq!((&renamed["runId"], &renamed["status"]["pid"]), (&run, &json!(own.pid())));
    let name = renamed["name"].as_str().unwrap();
    assert!(name.starts_with("codex-work-"), "{name}");
    assert_eq!(socket.claude_again(&own), name, "it is known by its process");
    // A file that is wrong takes its name as well.
    let answer = socket.register(&json!({"pid": other.pid(), "name": "api"}));
    assert_eq!(name_in(&answer), "api");
    atm.write_spec("api", "command: [");
    atm.wait("api", "wrong", |session| shows(session) == "Pending/InvalidSpec");
    assert_eq!(atm.list().len(), 4);
    // And a verb that writes a file waits for the session of that file.
    let third = Own::new(&atm.path("work"));
    socket.register(&json!({"pid": third.pid(), "name": "hello"}));
    atm.ok(&["run", "--name", "hello", "--", "sleep", "1000"]);
    assert_eq!(
        (&atm.get("hello")["origin"], shows(&atm.get("hello"))),
        (&json!("Declared"), "Running/Started".into())
    );
}

#[test]
fn what_no_agent_says_registers_nobody() {
    let atm = Atm::start();
    for payload in ["{}", r#"{"foo": 1}"#, r#"{"cwd": "/tmp"}"#] {
        atm.ok(&["hook", payload]);
    }
    assert_eq!(atm.ok(&["get", "-o", "name"]), "");
}
