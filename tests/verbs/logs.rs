//! What is known of output beside its bytes: times, runs, gaps; and limits that change live.

use std::fs;

use super::harness::{Atm, is_root, told, wait_until};

/// Prints `first`, waits for the file, prints `second`, and stays.
fn two_steps(atm: &Atm, first: &str, second: &str) -> String {
    let script = format!(
        "{first}; until [ -e {} ]; do sleep 0.02; done; {second}; exec sleep 1000",
        atm.path("go").display()
    );
    format!("command: [sh, -c, {script:?}]\nterminal: false\nterminationGracePeriod: 2s\n")
}

fn go(atm: &Atm) {
    fs::write(atm.path("go"), "").unwrap();
}

#[test]
fn output_since_a_time_also_without_a_daemon() {
    let mut atm = Atm::start();
    atm.drop_spec("a", &two_steps(&atm, "echo before", "echo after >&2"));
    atm.wait_output("a", "before\n");
    // Times are kept to the second: from here on it is later than that.
    let written = fs::metadata(atm.path("log/a.log")).unwrap().modified().unwrap();
    let later = written + std::time::Duration::from_millis(1500);
    assert!(wait_until(|| std::time::SystemTime::now() > later));
    let since = format!("--since={}", jiff::Timestamp::try_from(later).unwrap());
    assert_eq!(atm.ok(&["logs", "a", &since]), "");
    let follower = atm.follow(&["logs", "a", "-f", &since]);
    go(&atm);
    atm.wait_output("a", "after\n");
    assert_eq!(atm.ok(&["logs", "a", &since]), "after\n");
    assert_eq!(atm.ok(&["logs", "a", "--since", "1h"]), "before\nafter\n");
    assert_eq!(atm.ok(&["logs", "a", "--since", "1h", "-n", "1"]), "after\n");
    follower.wait("after\n");
    assert_eq!(follower.said(), "after\n");
    atm.kill_daemon();
    let (code, out, err) = told(&atm.atm_with_flags(&["logs", "a", &since]));
    assert_eq!((code, out.as_str()), (Some(0), "after\n"), "{err}");
}

#[test]
fn the_run_before_the_last_one() {
    let mut atm = Atm::start();
    atm.drop_spec("a", "command: [sh, -c, 'echo run $ATM_RUN_ID; exec sleep 1000']\nterminal: false\n");
    let mut pid = atm.wait_pid("a");
    let mut runs = vec![atm.get("a")["runId"].as_str().unwrap().to_owned()];
    atm.wait_output("a", &runs[0]);
    let (code, out, err) = told(&atm.atm(&["logs", "a", "--previous"]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("no run of `a` before the last one is kept") && err.contains("`atm logs a`"),
        "{err}"
    );
    for _ in 0..2 {
        atm.ok(&["restart", "a"]);
        assert!(wait_until(|| atm.wait_pid("a") != pid));
        pid = atm.wait_pid("a");
        let run = atm.get("a")["runId"].as_str().unwrap().to_owned();
        atm.wait_output("a", &run);
        assert_eq!(atm.ok(&["logs", "a", "--previous"]), format!("run {}\n", runs.last().unwrap()));
        runs.push(run);
    }
    // The last one counts also when it is over, with the daemon down.
    atm.ok(&["stop", "a"]);
    atm.kill_daemon();
    let (_, out, err) = told(&atm.atm_with_flags(&["logs", "a", "--previous"]));
    assert_eq!(out, format!("run {}\n", runs[1]), "{err}");
    // Without an index there is what was kept of that run when it was stopped; and without that, none.
    fs::remove_file(atm.path("log/a.log.idx")).unwrap();
    let (_, out, err) = told(&atm.atm_with_flags(&["logs", "a", "--previous"]));
    assert_eq!(out, format!("run {}\n", runs[1]), "{err}");
    fs::remove_dir_all(atm.path("state/previous")).unwrap();
    assert_eq!(atm.atm_with_flags(&["logs", "a", "--previous"]).status.code(), Some(1));
    assert_eq!(told(&atm.atm_with_flags(&["logs", "a"])).1.lines().count(), 3);
}

/// The limits reach sessions that run, those that an earlier daemon started too, and no session is touched.
#[test]
fn limits_of_output_files_change_live() {
    let mut atm = Atm::start();
    // 600 KiB a step.
    let step = |n: u32| {
        format!("until [ -e {}{n} ]; do sleep 0.02; done; seq {n}00000 {n}99999", atm.path("go").display())
    };
    let script = format!("seq 100000 199999; {}; {}; exec sleep 1000", step(2), step(3));
    atm.drop_spec("a", &format!("command: [sh, -c, {script:?}]\nterminal: false\n"));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "199999\n");
    let old = |number: u32| atm.path(&format!("log/a.log.{number}"));
    assert!(!old(1).exists());
    let recorded = || fs::read_to_string(atm.path("run/sessions/a/record.json")).unwrap();
    atm.write_config("logs: {maxSize: 100KiB, maxFiles: 40}\n");
    assert!(wait_until(|| recorded().contains("\"maxFiles\":40")), "{}", recorded());
    fs::write(atm.path("go2"), "").unwrap();
    atm.wait_output("a", "299999\n");
    assert!(old(6).exists() && fs::metadata(old(1)).unwrap().len() <= 100 << 10);
    let lines = atm.whole_log("a").lines().count();
    assert_eq!(lines, 200_000, "nothing is lost");
    // Changed while no daemon looks.
    atm.kill_daemon();
    atm.write_config("logs: {maxSize: 50KiB, maxFiles: 3}\n");
    atm.up();
    let recorded = || fs::read_to_string(atm.path("run/sessions/a/record.json")).unwrap();
    assert!(wait_until(|| recorded().contains("\"maxFiles\":3")), "{}", recorded());
    let old = |number: u32| atm.path(&format!("log/a.log.{number}"));
    assert!(!old(3).exists());
    fs::write(atm.path("go3"), "").unwrap();
    atm.wait_output("a", "399999\n");
    assert!(old(2).exists() && !old(3).exists() && fs::metadata(old(1)).unwrap().len() <= 50 << 10);
    assert_eq!(atm.wait_pid("a"), pid, "no session was touched");
    let (_, _, err) = told(&atm.atm(&["logs", "a", "--since", "1h"]));
    assert_eq!(err, "");
}

/// A full disk costs output, and nothing else: how much and where is told.
#[test]
fn a_full_disk_is_told_in_its_place() {
    if !is_root() {
        return;
    }
    let mut atm = Atm::new();
    fs::create_dir(atm.path("log")).unwrap();
    let mount = format!("mount -t tmpfs -o size=128k none {} && exec \"$@\"", atm.path("log").display());
    atm.through = ["unshare", "-m", "sh", "-c", &mount, "sh"].map(str::to_owned).into();
    atm.up();
    // The daemon's file systems, as others see them.
    let inside = |name: &str| {
        let path = atm.path(name);
        std::path::PathBuf::from(format!("/proc/{}/root{}", atm.daemon_pid(), path.display()))
    };
    fs::write(inside("log/filler"), vec![0; 64 << 10]).unwrap();
    let size = 300_000;
    let first = format!("head -c {size} /dev/zero | tr '\\0' x; touch {}", atm.path("written").display());
    atm.drop_spec("a", &format!("{}restartPolicy: Never\n", two_steps(&atm, &first, "echo after; exit 3")));
    assert!(wait_until(|| atm.path("written").exists()), "the session goes on");
    let log = inside("log/a.log");
    let lost = || {
        let (_, out, err) =
            told(&atm.atm(&["logs", "a", "--plain", "--log-dir", &inside("log").display().to_string()]));
        let told = out
            .split_once("[atm: ")
            .and_then(|(_, rest)| rest.split_once(" bytes lost here: no space left on device]\n"));
        told.map(|(bytes, after)| (bytes.parse::<u64>().unwrap(), after.to_owned())).ok_or(out + &err)
    };
    let kept = || fs::metadata(&log).unwrap().len();
    assert!(
        wait_until(|| lost().is_ok_and(|(bytes, _)| bytes + kept() == size)),
        "{:?}",
        lost().map_err(|out| out.len())
    );
    assert!(kept() < 128 << 10);
    fs::remove_file(inside("log/filler")).unwrap();
    go(&atm);
    atm.wait_phase("a", "Failed");
    let (bytes, after) = lost().unwrap();
    assert_eq!((bytes + kept(), after.as_str()), (size + 6, "after\n"));
    let raw = fs::read_to_string(&log).unwrap();
    assert!(raw.trim_start_matches('x') == "after\n", "raw bytes stay raw");
    let events = atm.events(&["a"]);
    let told = events.iter().find(|event| event["kind"] == "OutputLost").expect("an event");
    assert!(told["message"].as_str().unwrap().starts_with(&format!("{bytes} bytes of output")), "{told}");
}
