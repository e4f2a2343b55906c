//! What stands in a file: encodings, line ends, mistakes, and changes that a running process can live with.

use super::{SLEEPER, harness::Atm};

/// S11, S43: what is left where a disk was full, and what says nothing.
#[test]
fn a_file_without_content_keeps_a_running_session_and_starts_no_new_one() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    for (text, says) in [
        ("", "the file is empty"),
        ("  \n\n", "the file is empty"),
        ("# only\n# words\n", "the file has no content"),
        ("~\n", "the file has no content"),
        ("{}\n", "the file has no content"),
    ] {
        atm.write_spec("a", text);
        let session = atm.wait_error("a", says);
        assert_eq!(session["status"]["phase"], "Running", "{text:?}");
        assert_eq!(session["status"]["pid"], pid, "{text:?}");
        assert_eq!(session["spec"]["command"][0], "sleep", "{text:?}");
        // Between two wrong ones a good one: each error above is of its own text.
        atm.write_spec("a", SLEEPER);
        atm.wait("a", "mended", |s| s["status"]["specError"].is_null());
    }
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.get("a")["generation"], 1);

    atm.write_spec("new", "");
    let session = atm.wait_error("new", "the file is empty");
    assert_eq!(
        (&session["status"]["phase"], &session["status"]["reason"]),
        (&"Pending".into(), &"InvalidSpec".into())
    );
    assert!(session["spec"].is_null());
    atm.write_spec("new", SLEEPER);
    atm.wait_pid("new");
}

/// A broken file holds over a restart of the daemon, too: the last good spec is kept in state.
#[test]
fn the_last_good_spec_outlives_the_daemon() {
    let mut atm = Atm::start();
    atm.drop_spec("a", &format!("{SLEEPER}priority: 7\n"));
    let pid = atm.wait_pid("a");
    atm.write_spec("a", "command: [\n");
    atm.wait_error("a", "a.yaml");
    atm.restart_daemon();
    let session = atm.wait_error("a", "a.yaml");
    assert_eq!(session["spec"]["priority"], 7);
    assert_eq!(atm.wait_pid("a"), pid);
    // Killed while its file is broken, it comes back as the last good spec says.
    atm.ok(&["restart", "a"]);
    let again = atm.wait_pid("a");
    assert_ne!(again, pid);
    assert_eq!(atm.get("a")["spec"]["priority"], 7);
}

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// S12 to S17, S20 to S23: each with its place and what to do.
#[test]
fn every_mistake_is_told_with_its_place_and_a_hint() {
    let good = "command: [sleep, '1000']\n";
    let with = |text: &str| format!("{good}{text}").into_bytes();
    let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("utf16", utf16(good), &["is UTF-16, not UTF-8", "save it as UTF-8"]),
        ("utf32", b"\xff\xfe\0\0c\0\0\0".to_vec(), &["is UTF-32, not UTF-8", "save it as UTF-8"]),
        (
            "not-utf8",
            [good.as_bytes(), b"owner: \xff\n"].concat(),
            &["byte 32 is not UTF-8", "\"line\":2", "save it as UTF-8"],
        ),
        ("nul", with("owner: \"a\0b\"\n"), &["NUL character", "byte 34", "\"line\":2"]),
        ("control", with("owner: \"a\x01b\"\n"), &["control character (U+0001)", "byte 34"]),
        ("lone-cr", b"command: [a]\rpriority: 3\r".to_vec(), &["carriage return without a line feed"]),
        ("tab", with("labels:\n\ta: b\n"), &["a tab cannot indent", "\"line\":3", "use spaces"]),
        ("two", with("---\ncommand: [b]\n"), &["a second document begins here", "\"line\":2"]),
        ("twice", with("command: [b]\n"), &["duplicate key `command`", "first written on line 1"]),
        (
            "twice-below",
            with("env: {A: '1', A: '2'}\n"),
            &["duplicate key `A`", "\"line\":2", "\"column\":15"],
        ),
        ("merge", b"<<: {command: [a]}\n".to_vec(), &["<<"]),
        ("anchor", b"command: &c [a]\nlabels: *c\n".to_vec(), &["anchors are not supported"]),
        ("tag", b"command: !!binary aGVsbG8=\n".to_vec(), &["tags are not supported"]),
        ("typo", with("maxIdel: 1h\n"), &["unknown key `maxIdel`", "did you mean `maxIdle`?"]),
        ("case", with("restartpolicy: Always\n"), &["did you mean `restartPolicy`?"]),
        ("value", with("onChange: whenidle\n"), &["did you mean `WhenIdle`?"]),
        (
            "port",
            with("env: {PORT: 8080}\n"),
            &["env.PORT", "expected a text, found the number `8080`", "put it in quotes"],
        ),
        ("number", with("owner: 1e3\n"), &["expected a name, found the number `1e3`"]),
        ("nothing", with("env: {A: ~}\n"), &["expected a text, found nothing"]),
        ("word", with("priority: high\n"), &["expected a whole number", "found the text `high`"]),
        ("range", with("priority: 99999999999\n"), &["from -2147483648 to 2147483647"]),
        ("span", with("maxIdle: 5 parsecs\n"), &["expected a duration such as `90s`", "5 parsecs"]),
        ("list", b"- a\n".to_vec(), &["expected a mapping", "found a list"]),
        ("missing", b"priority: 3\n".to_vec(), &["the key `command` is missing"]),
        ("quote", b"command: sleep '10\n".to_vec(), &["a quote in the command is not closed"]),
        (
            "many",
            with("prioriti: 3\nterminal: 3\n"),
            &["did you mean `priority`?", "expected `true`, `false`"],
        ),
    ];
    let atm = Atm::start();
    for (name, bytes, _) in &rows {
        atm.write_spec(name, bytes);
    }
    for (name, _, says) in &rows {
        let session = atm.wait_error(name, says[0]);
        let error = session["status"]["specError"].to_string();
        for words in *says {
            assert!(error.contains(words), "{name}: no {words:?} in {error}");
        }
        assert!(error.contains(&format!("{name}.yaml")), "{name}: the file is not named in {error}");
        assert_eq!(session["status"]["reason"], "InvalidSpec", "{name}");
        assert!(session["status"]["pid"].is_null(), "{name}");
    }
    let health = atm.health();
    assert_eq!(health["specErrors"].as_array().unwrap().len(), rows.len());
    assert!(health["summary"].as_str().unwrap().contains(&format!("{} invalid specs", rows.len())));
    // The line itself and a caret, for people.
    let page = atm.ok(&["describe", "typo"]);
    assert!(
        page.contains("typo.yaml:2:1") && page.contains("2 | maxIdel: 1h") && page.contains("^^^^^^^"),
        "{page}"
    );
}

/// S12, S13, S16, S22: what looks odd and is a spec like any other.
#[test]
fn marks_line_ends_and_headers_do_not_change_a_meaning() {
    let atm = Atm::start();
    let good = "command: [sleep, '1000']\nlabels:\n  a: 'no'\n";
    atm.drop_spec("a", good);
    let pid = atm.wait_pid("a");
    for text in [
        format!("\u{feff}{good}"),
        good.replace('\n', "\r\n"),
        format!("---\n{good}"),
        format!("{good}...\n"),
        format!("%YAML 1.2\n---\n{good}"),
        "{labels: {a: no}, command: \"sleep 1000\"}".to_owned(),
        "command: sleep '1000'\n\n\nlabels: {a: \"\\u006eo\"}\n# end".to_owned(),
    ] {
        atm.write_spec("a", &text);
        atm.settle();
        let session = atm.get("a");
        assert!(session["status"]["specError"].is_null(), "{text:?}: {session:#}");
        assert_eq!((&session["generation"], &session["status"]["pid"]), (&1.into(), &pid.into()), "{text:?}");
    }
}

/// S48: everything that applies live, one after the other, on one process.
#[test]
fn a_live_field_keeps_its_process() {
    let atm = Atm::start();
    let base = "command: [sleep, '1000']\nonChange: Restart\n";
    atm.drop_spec("a", base);
    let pid = atm.wait_pid("a");
    for (generation, (field, key)) in (2..).zip([
        ("priority: 5", "priority"),
        ("pinned: true", "pinned"),
        ("labels: {a: b}", "labels"),
        ("maxIdle: 3h", "maxIdle"),
        ("maxAge: 3d", "maxAge"),
        ("maxMemory: 1GiB", "maxMemory"),
        ("maxProcesses: 99", "maxProcesses"),
        ("restartPolicy: Always", "restartPolicy"),
        ("backoff: {initial: 3s, max: 4m}", "backoff"),
        ("cpuWeight: 50", "cpuWeight"),
        ("terminationGracePeriod: 1s", "terminationGracePeriod"),
        ("stopSignal: INT", "stopSignal"),
    ]) {
        atm.drop_spec("a", &format!("{base}{field}\n"));
        let session = atm.wait("a", field, |s| s["generation"] == generation);
        assert!(!session["spec"][key].is_null(), "{field}: {session:#}");
        assert_eq!(atm.wait_pid("a"), pid, "{field}");
    }
    // They hold for the process that runs: it ends by the signal that was set last.
    atm.ok(&["stop", "a"]);
    assert_eq!(atm.get("a")["status"]["exit"]["signal"], 2);
    assert_eq!(atm.count_events("a", "Started"), 1);
}

/// What needs another process, each: a new pid with `onChange: Restart`.
#[test]
fn a_field_of_the_process_replaces_it() {
    let atm = Atm::start();
    let spec = |text: &str| {
        format!("command: [sleep, '1000']\nonChange: Restart\nterminationGracePeriod: 1s\n{text}\n")
    };
    atm.drop_spec("a", &spec(""));
    let mut before = atm.wait_pid("a");
    for text in ["env: {A: b}", "workingDir: /", "terminal: false", "terminal: {columns: 100, rows: 30}"] {
        atm.drop_spec("a", &spec(text));
        let session = atm.wait("a", text, |s| {
            s["status"]["phase"] == "Running"
                && s["status"]["pid"].as_i64().is_some_and(|p| p != i64::from(before))
        });
        before = i32::try_from(session["status"]["pid"].as_i64().unwrap()).unwrap();
    }
    // Changed by rule of the file, not failures: they do not count as restarts.
    assert_eq!(atm.get("a")["status"]["restarts"], 0);
}
