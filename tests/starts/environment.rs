//! What a session begins with: its environment, its descriptors, its signals, and nothing of the daemon's.

use std::{collections::BTreeMap, fs};

use super::harness::Atm;

fn environment(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.trim_end_matches('\r').split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The account of whoever runs the test, as NSS tells it.
fn account() -> Vec<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let output = std::process::Command::new("getent").args(["passwd", &uid]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().split(':').map(str::to_owned).collect()
}

#[test]
fn the_environment_is_exactly_what_is_promised() {
    let mut atm = Atm::new();
    for (name, value) in [
        ("CANARY", "the daemon's own"),
        ("INVOCATION_ID", "x"),
        ("JOURNAL_STREAM", "1:2"),
        ("WATCHDOG_USEC", "60000000"),
        ("WATCHDOG_PID", "1"),
        ("MANAGERPID", "1"),
        ("CREDENTIALS_DIRECTORY", "/nowhere"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("PATH", "/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
    ] {
        atm.env.push((name.into(), value.into()));
    }
    atm.write_config("env: {LOW: config, MIDDLE: config, HIGH: config}\n");
    atm.up();
    fs::write(atm.path("keys.env"), "# keys\nMIDDLE=file\nexport HIGH='file'\nKEY=\"a b\"\n").unwrap();
    let envfile = format!("envFile: [{}]\nenv: {{HIGH: spec, EMPTY: ''}}\n", atm.path("keys.env").display());
    for (name, terminal) in [("pipes", false), ("tty", true)] {
        atm.drop_spec(
            name,
            &format!("command: [env]\nterminal: {terminal}\nrestartPolicy: Never\n{envfile}"),
        );
        let session = atm.wait_phase(name, "Succeeded");
        let env = environment(&atm.log(name));
        let user = account();
        let instance: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(atm.path("state/instance.json")).unwrap()).unwrap();
        let mut promised: BTreeMap<String, String> = [
            ("HOME", user[5].clone()),
            ("USER", user[0].clone()),
            ("LOGNAME", user[0].clone()),
            ("SHELL", user[6].clone()),
            ("PATH", format!("{0}/.local/bin:{0}/bin:/usr/bin:/bin", user[5])),
            ("LANG", "C.UTF-8".to_owned()),
            ("ATM_SESSION", name.to_owned()),
            ("ATM_RUN_ID", session["runId"].as_str().unwrap().to_owned()),
            ("ATM_INSTANCE", instance["instance"].as_str().unwrap().to_owned()),
            ("ATM_SOCKET", atm.path("run/atm.sock").display().to_string()),
            ("LOW", "config".to_owned()),
            ("MIDDLE", "file".to_owned()),
            ("HIGH", "spec".to_owned()),
            ("KEY", "a b".to_owned()),
            ("EMPTY", String::new()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if terminal {
            promised.insert("TERM".to_owned(), "xterm-256color".to_owned());
        }
        assert_eq!(env, promised);
    }
}

#[test]
fn a_session_has_three_descriptors_clean_signals_and_no_terminal_of_the_daemons() {
    let atm = Atm::start();
    let script = "ls -m /proc/$$/fd; grep -E '^(SigBlk|SigIgn)' /proc/self/status; umask; tty || true";
    for (name, terminal) in [("pipes", false), ("tty", true)] {
        atm.drop_spec(
            name,
            &format!("command: [sh, -c, {script:?}]\nterminal: {terminal}\nrestartPolicy: Never\n"),
        );
        atm.wait_phase(name, "Succeeded");
        let text = atm.log(name).replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].trim(), "0, 1, 2", "{text}");
        assert_eq!(lines[1], "SigBlk:\t0000000000000000", "{text}");
        assert_eq!(lines[2], "SigIgn:\t0000000000000000", "{text}");
        assert_eq!(lines[3], "0022", "{text}");
        assert_eq!(lines[4].starts_with("/dev/pts/"), terminal, "{text}");
    }
}

#[test]
fn words_of_a_command_expand_without_a_shell() {
    let atm = Atm::start();
    let home = &account()[5];
    atm.drop_spec(
        "a",
        "command: \"printf '%s|' '~' ~/x ${GREETING} '$(id)' ; * $HOME $${GREETING} 'a b'\"\nenv: {GREETING: hello you}\nterminal: false\nrestartPolicy: Never\nworkingDir: ${HOME}\n",
    );
    atm.wait_phase("a", "Succeeded");
    assert_eq!(atm.log("a"), format!("{home}|{home}/x|hello you|$(id)|;|*|$HOME|${{GREETING}}|a b|"));
}

/// Values of env are for the session's own user, and for nobody's log.
#[test]
fn values_of_env_are_in_no_log_and_no_event() {
    let atm = Atm::start();
    // Nor are arguments, which anybody can read while it runs and nobody afterwards.
    let command = "command: [sh, -c, 'exec sleep 1000', canary-of-argv]\nenv: {TOKEN: canary-of-env}\n";
    atm.drop_spec("a", command);
    atm.wait_pid("a");
    atm.ok(&["restart", "a"]);
    atm.drop_spec("a", &format!("{command}onChange: Restart\npriority: 1\n"));
    atm.wait("a", "at generation 2", |s| s["generation"] == 2);
    atm.drop_spec("b", &command.replace("sh, ", "/nowhere, "));
    atm.wait("b", "refused", |s| s["status"]["reason"] == "BackOff");
    for canary in ["canary-of-env", "canary-of-argv"] {
        assert!(!atm.daemon_log().contains(canary), "{canary}: {}", atm.daemon_log());
        for verb in [&["events", "-o", "json"][..], &["status"], &["plan"], &["get"]] {
            assert!(!atm.ok(verb).contains(canary), "{canary}: {verb:?}");
        }
    }
    assert!(!atm.ok(&["get", "-o", "wide"]).contains("canary-of-env"));
}
