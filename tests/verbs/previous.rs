//! What is kept of runs that were stopped: their screens, the ends of their output, why and how they ended.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
};

use super::harness::{Atm, assert_harmless, is_root, told, wait_until};

/// Prints lines, draws a screen of its own, and clears it when it is asked to end, as agents do.
const DRAWS: &str = "command: [sh, -c, \"trap 'printf \\\"\\\\033[2J\\\\033[?1049l\\\"; echo bye; exit 0' TERM HUP; \
                     seq 1 300; printf '\\\\033[?1049h\\\\033[2J\\\\033[3;5Hwaits for \\\\033[31myou\\\\033[0m'; \
                     sleep 1000 & wait\"]\nterminationGracePeriod: 5s\n";

fn kept(atm: &Atm, name: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(atm.path("state/previous").join(name));
    found.map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

#[test]
fn an_evicted_session_shows_what_was_on_its_screen_and_why_it_went() {
    let atm = Atm::start();
    atm.drop_spec("b", DRAWS);
    atm.wait_pid("b");
    let (code, _, err) = told(&atm.atm(&["describe", "b", "--previous"]));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("nothing is kept of a run of `b`") && err.contains("atm logs b"), "{err}");
    atm.drop_spec("a", &format!("{DRAWS}maxIdle: 1s\nenv: {{TOKEN: canary}}\n"));
    let run = atm.wait("a", "its run", |s| s["runId"].is_string())["runId"].clone();
    atm.wait_phase("a", "Evicted");
    let page = atm.ok(&["describe", "a", "--previous"]);
    assert!(page.contains("Stopped:       IdleTimeout: idle for longer than its maxIdle of 1s"), "{page}");
    assert!(page.contains("Exit:          exit 0") || page.contains("Exit:"), "{page}");
    assert!(page.contains("\nScreen\n  \n  \n      waits for you\n"), "{page}");
    assert!(page.contains("300\n") && page.contains("bye\n"), "the output goes to its last byte: {page}");
    assert_harmless("the page", &page);
    let json: serde_json::Value =
        serde_json::from_str(&atm.ok(&["describe", "a", "--previous", "-o", "json"])).unwrap();
    assert_eq!(json["runId"], run);
    assert_eq!(json["exit"]["cause"]["reason"], "IdleTimeout");
    assert_eq!(json["screen"]["alternate"], true);
    let output = json["output"].as_str().unwrap();
    assert!(output.starts_with("1\r\n2\r\n") && output.ends_with("bye\r\n"), "{output:?}");
    let files = kept(&atm, "a");
    assert_eq!(files.len(), 1);
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!atm.runtime().join("sessions/a/kept.json").exists(), "it was moved");
}

#[test]
fn the_last_three_stopped_runs_are_kept_and_no_crash_of_the_daemon_loses_one() {
    let mut atm = Atm::start();
    atm.drop_spec(
        "a",
        "command: [sh, -c, 'echo run $ATM_RUN_ID; exec sleep 1000']\nterminationGracePeriod: 2s\n",
    );
    let told_of = |atm: &Atm| -> serde_json::Value {
        serde_json::from_str(&atm.ok(&["describe", "a", "--previous", "-o", "json"])).unwrap()
    };
    let run_of = |atm: &Atm| {
        atm.wait_pid("a");
        let run = atm.get("a")["runId"].as_str().unwrap().to_owned();
        atm.wait_output("a", &run);
        run
    };
    for _ in 0..3 {
        let run = run_of(&atm);
        atm.ok(&["restart", "a"]);
        let kept = told_of(&atm);
        assert_eq!(
            (&kept["runId"], &kept["output"]),
            (&run.clone().into(), &format!("run {run}\r\n").into())
        );
        assert_eq!(kept["exit"]["cause"]["reason"], "ClientRestart");
    }
    // Stopped while no daemon looked: the keeper leaves it, the next daemon takes it.
    let run = run_of(&atm);
    atm.kill_daemon();
    let (code, out, err) = told(&atm.atm_with_flags(&["stop", "a"]));
    assert_eq!(code, Some(0), "{out}{err}");
    let left = atm.runtime().join("sessions/a/kept.json");
    assert!(left.exists());
    // And as a daemon leaves it that is killed when it has counted the end.
    let leaving = atm.runtime().join(format!("leaving/a.{run}.json"));
    fs::rename(&left, &leaving).unwrap();
    atm.up();
    assert!(wait_until(|| told_of(&atm)["runId"] == run.as_str()), "{}", told_of(&atm));
    assert!(wait_until(|| !leaving.exists()));
    assert_eq!(kept(&atm, "a").len(), 3, "the oldest has gone");
    // A damaged file is no reason to fail.
    let mut files = kept(&atm, "a");
    files.sort();
    fs::write(files.last().unwrap(), "{\"version\": 1, ").unwrap();
    assert_eq!(told_of(&atm)["runId"], files[1].file_stem().unwrap().to_str().unwrap());
}

#[test]
fn a_session_that_was_removed_leaves_its_last_run_until_that_is_too_old() {
    let mut atm = Atm::start();
    atm.drop_spec("a", &format!("{DRAWS}labels: {{of: a}}\n"));
    atm.wait_output("a", "300");
    atm.remove_spec("a");
    atm.wait_gone("a");
    let page = atm.ok(&["describe", "a", "--previous"]);
    assert!(page.contains("SpecRemoved") && page.contains("waits for you"), "{page}");
    assert_eq!(atm.atm(&["describe", "b", "--previous"]).status.code(), Some(3));
    for file in kept(&atm, "a") {
        fs::File::options().write(true).open(file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    atm.restart_daemon();
    assert!(wait_until(|| !atm.path("state/previous/a").exists()), "{:?}", kept(&atm, "a"));
    assert_eq!(atm.atm(&["describe", "a", "--previous"]).status.code(), Some(3));
}

#[test]
fn logs_of_a_run_that_the_log_no_longer_has_are_what_was_kept() {
    let mut atm = Atm::start_with("logs: {maxSize: 20KiB, maxFiles: 1}\n");
    let script = "[ -e flood ] && seq 1 5000; echo run $ATM_RUN_ID; exec sleep 1000";
    atm.drop_spec(
        "a",
        &format!("command: [sh, -c, {script:?}]\nworkingDir: {}\nterminal: false\n", atm.path("").display()),
    );
    atm.wait_pid("a");
    let first = atm.get("a")["runId"].as_str().unwrap().to_owned();
    atm.wait_output("a", &first);
    fs::write(atm.path("flood"), "").unwrap();
    atm.ok(&["restart", "a"]);
    let second = atm.get("a")["runId"].as_str().unwrap().to_owned();
    atm.wait_output("a", &second);
    assert!(!atm.whole_log("a").contains(&first), "rotated away");
    let (code, out, err) = told(&atm.atm(&["logs", "a", "--previous"]));
    assert_eq!((code, out), (Some(0), format!("run {first}\n")), "{err}");
    assert!(err.contains("was kept when it was stopped"), "{err}");
    // Of a long one it is the end, from a line on.
    fs::remove_file(atm.path("flood")).unwrap();
    atm.ok(&["restart", "a"]);
    let json: serde_json::Value =
        serde_json::from_str(&atm.ok(&["describe", "a", "--previous", "-o", "json"])).unwrap();
    let output = json["output"].as_str().unwrap();
    assert_eq!(json["outputIsCut"], true);
    assert!(output.len() <= 20 << 10 && output.ends_with(&format!("5000\nrun {second}\n")), "{output}");
    assert_eq!(output.lines().next().unwrap().len(), 4, "a whole line: {output}");
    atm.kill_daemon();
    fs::remove_file(atm.path("log/a.log.idx")).unwrap();
    let (code, out, err) = told(&atm.atm_with_flags(&["logs", "a", "--previous", "-n", "1"]));
    assert_eq!((code, out), (Some(0), format!("run {second}\n")), "{err}");
}

#[test]
fn what_is_kept_is_for_the_sessions_user_and_root() {
    const SOMEBODY: u32 = 65534;
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    for path in [atm.path(""), atm.path("run")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let beside = atm.path("beside");
    fs::write(&beside, format!("{DRAWS}workingDir: /\nenv: {{TOKEN: mine}}\n")).unwrap();
    chown(&beside, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    fs::rename(&beside, atm.spec_path("theirs")).unwrap();
    atm.drop_spec("roots", &format!("{DRAWS}env: {{TOKEN: canary}}\n"));
    for name in ["theirs", "roots"] {
        atm.wait_output(name, "300");
        atm.ok(&["stop", name]);
    }
    let (code, out, err) = told(&atm.atm_as(SOMEBODY, &["describe", "theirs", "--previous"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("waits for you") && out.contains("TOKEN: mine"), "{out}");
    let (code, out, _) = told(&atm.atm_as(SOMEBODY, &["describe", "roots", "--previous"]));
    assert_eq!((code, out.as_str()), (Some(3), ""));
    for name in ["theirs", "roots"] {
        for file in kept(&atm, name) {
            let about = fs::metadata(&file).unwrap();
            assert_eq!((about.permissions().mode() & 0o777, about.uid()), (0o600, 0));
        }
    }
}
