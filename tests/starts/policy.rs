//! What follows an end, by policy, with back-off, over restarts of the daemon.

use std::fs;

use super::harness::Atm;

#[test]
fn restart_policy_says_which_ends_are_followed_by_a_start() {
    let atm = Atm::start();
    let rows = [
        ("Always", "exit 0", None, "Pending", "BackOff"),
        ("Always", "exit 1", None, "Pending", "BackOff"),
        ("Always", "kill -9 $$", None, "Pending", "BackOff"),
        ("OnFailure", "exit 0", Some(("code", 0)), "Succeeded", "Completed"),
        ("OnFailure", "exit 1", None, "Pending", "BackOff"),
        ("OnFailure", "kill -9 $$", None, "Pending", "BackOff"),
        ("Never", "exit 0", Some(("code", 0)), "Succeeded", "Completed"),
        ("Never", "exit 1", Some(("code", 1)), "Failed", "Error"),
        ("Never", "kill -9 $$", Some(("signal", 9)), "Failed", "Signaled"),
    ];
    for (n, (policy, script, ..)) in rows.iter().enumerate() {
        atm.drop_spec(
            &format!("r{n}"),
            &format!(
                "command: [sh, -c, '{script}']\nrestartPolicy: {policy}\nbackoff: {{initial: 1h, max: 1h}}\n"
            ),
        );
    }
    for (n, (policy, script, exit, phase, reason)) in rows.iter().enumerate() {
        let name = format!("r{n}");
        let session = atm.wait(&name, phase, |s| s["status"]["reason"] == *reason);
        let status = &session["status"];
        assert_eq!(status["phase"], *phase, "{policy} after {script}");
        assert_eq!(status["restarts"], u64::from(*reason == "BackOff"), "{policy} after {script}");
        assert_eq!(
            status["nextStartAt"].is_string(),
            *reason == "BackOff",
            "{policy} after {script}: {session:#}"
        );
        if let Some((key, value)) = exit {
            assert_eq!(status["exit"][key], *value, "{policy} after {script}");
        }
        assert_eq!(atm.count_events(&name, "Exited"), 1);
    }
}

/// Seconds from now to an RFC 3339 time, by `date`.
fn seconds_to(time: &serde_json::Value) -> i64 {
    let run = |args: &[&str]| {
        let output = std::process::Command::new("date").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
    };
    run(&["-d", time.as_str().unwrap(), "+%s"]) - run(&["+%s"])
}

#[test]
fn a_back_off_is_visible_survives_the_daemon_and_ends_with_a_changed_spec() {
    let mut atm = Atm::start();
    let spec = |priority: u32| {
        format!(
            "command: [sh, -c, 'echo run; exit 3']\nterminal: false\nbackoff: {{initial: 100s, max: 400s}}\npriority: {priority}\n"
        )
    };
    let runs = |atm: &Atm| atm.log("a").matches("run").count();
    atm.drop_spec("a", &spec(1));
    let first = atm.wait("a", "waiting", |s| s["status"]["nextStartAt"].is_string());
    let wait = seconds_to(&first["status"]["nextStartAt"]);
    assert!((80..=111).contains(&wait), "100 s ± 10 %, a moment ago: {wait}");
    assert!(first["status"]["exit"]["code"] == 3, "{first:#}");
    assert!(atm.ok(&["describe", "a"]).contains("next try in "));

    atm.restart_daemon();
    let again = atm.wait("a", "waiting", |s| s["status"]["nextStartAt"].is_string());
    let drift = seconds_to(&again["status"]["nextStartAt"]) - seconds_to(&first["status"]["nextStartAt"]);
    assert!(drift.abs() <= 1, "the date moved by {drift} s");
    assert_eq!(runs(&atm), 1);
    assert_eq!(again["status"]["restarts"], 1);

    // A changed spec is another try, at the foot of the ladder.
    atm.drop_spec("a", &spec(2));
    let changed =
        atm.wait("a", "waiting anew", |s| runs(&atm) == 2 && s["status"]["nextStartAt"].is_string());
    let wait = seconds_to(&changed["status"]["nextStartAt"]);
    assert!((80..=111).contains(&wait), "{wait}");
    // A person does not wait either.
    let _ = atm.atm(&["start", "a", "--no-wait"]);
    atm.wait("a", "waiting longer", |s| runs(&atm) == 3 && s["status"]["nextStartAt"].is_string());
}

#[test]
fn each_failure_doubles_the_wait_and_others_are_not_affected() {
    let atm = Atm::start();
    atm.drop_spec("a", "command: ['false']\nbackoff: {initial: 20ms, max: 100s}\n");
    atm.drop_spec("b", "command: [sleep, '1000']\n");
    let pid = atm.wait_pid("b");
    // 20, 40, 80, … 1280 ms: the sum of seven waits is at least 2.2 s.
    let began = std::time::Instant::now();
    atm.wait("a", "at its eighth run", |s| s["status"]["restarts"].as_u64().is_some_and(|n| n >= 8));
    let took = began.elapsed().as_millis();
    assert!(took >= 2_000, "eight runs in {took} ms");
    assert_eq!(atm.wait_pid("b"), pid);
}

/// A finished `Never` session is done, however often the daemon comes back.
#[test]
fn never_means_one_run_over_restarts_of_the_daemon() {
    let mut atm = Atm::start();
    let ran = atm.path("ran");
    let runs = || fs::read_to_string(&ran).unwrap_or_default().lines().count();
    let spec = |exit: u32| {
        format!("command: [sh, -c, 'echo x >> {}; exit {exit}']\nrestartPolicy: Never\n", ran.display())
    };
    atm.drop_spec("a", &spec(5));
    for _ in 0..3 {
        let session = atm.wait_phase("a", "Failed");
        assert_eq!(session["status"]["exit"]["code"], 5);
        assert_eq!(runs(), 1);
        atm.restart_daemon();
    }
    // Written anew with the same meaning it is done still.
    atm.drop_spec("a", &format!("# again\n{}", spec(5)));
    atm.drop_spec("z", "command: [sleep, '1000']\n");
    atm.wait_pid("z");
    assert_eq!(runs(), 1);
    // A person may run it again, and so may a changed spec.
    let _ = atm.atm(&["start", "a", "--no-wait"]);
    atm.wait("a", "run twice", |s| runs() == 2 && s["status"]["phase"] == "Failed");
    atm.drop_spec("a", &spec(0));
    atm.wait("a", "run a third time", |s| runs() == 3 && s["status"]["phase"] == "Succeeded");
    atm.restart_daemon();
    atm.wait_phase("a", "Succeeded");
    assert_eq!(runs(), 3);
}

/// P05: commands that end at once are counted once each, and with their exit.
#[test]
fn exits_during_the_start_are_counted_once_each() {
    let atm = Atm::start();
    for n in 0..30 {
        atm.drop_spec(
            &format!("t{n}"),
            &format!("command: [sh, -c, 'exit {n}']\nrestartPolicy: Never\nterminal: {}\n", n % 2 == 0),
        );
    }
    for n in 0..30 {
        let name = format!("t{n}");
        let phase = if n == 0 { "Succeeded" } else { "Failed" };
        let session = atm.wait_phase(&name, phase);
        assert_eq!(session["status"]["exit"]["code"], n);
        assert_eq!(atm.count_events(&name, "Exited"), 1, "{name}");
    }
}

/// A session that fails without a pause fills no journal: what is told of it is cut short, and of others it is not.
#[test]
fn a_session_that_fails_without_a_pause_does_not_flood_the_log() {
    let atm = Atm::start();
    atm.drop_spec("loud", "command: ['false']\nterminal: false\nbackoff: {initial: 0s}\n");
    atm.wait("loud", "at its five hundredth run", |s| s["status"]["restarts"].as_u64() >= Some(500));
    atm.drop_spec("other", "command: [sleep, '1000']\n");
    atm.wait_pid("other");
    let log = atm.daemon_log();
    let of_loud = log.lines().filter(|line| line.contains("atm_session=\"loud\"")).count();
    let windows = log.matches("events were not told here").count() + 1;
    assert!(of_loud <= windows * 202, "{of_loud} lines in {windows} windows");
    assert!(log.contains("the next ones are not told here; `atm events loud` has them"), "{log}");
    assert!(log.contains("other: started"), "{log}");
    // What happened is known all the same.
    assert!(atm.count_events("loud", "Exited") > 300);
}
