//! `atm logs`: lines, following through rotation and restart, and without a daemon.

use super::harness::{Atm, wait_until};

/// Numbers that a session wrote, one a line.
fn numbers(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.trim().strip_prefix("n ")?.parse().ok()).collect()
}

#[test]
fn logs_give_the_last_lines_raw_or_plain() {
    let atm = Atm::start();
    atm.drop_spec(
        "a",
        "command: [sh, -c, \"for i in 1 2 3 4 5; do printf '\\\\033[3%sm%s\\\\033[0m\\\\n' $i $i; done; exec sleep 1000\"]\nterminal: false\n",
    );
    atm.wait_output("a", "\u{1b}[35m5\u{1b}[0m\n");
    // In a pipe every byte comes as it was written.
    assert_eq!(atm.ok(&["logs", "a", "-n", "2"]), "\u{1b}[34m4\u{1b}[0m\n\u{1b}[35m5\u{1b}[0m\n");
    assert_eq!(atm.ok(&["logs", "a", "-n", "3", "--plain"]), "3\n4\n5\n");
    assert_eq!(atm.ok(&["logs", "a", "--plain"]), "1\n2\n3\n4\n5\n");
    assert_eq!(atm.ok(&["logs", "a", "-n", "0"]), "");
    assert_eq!(atm.ok(&["logs", "a"]), atm.log("a"));
}

/// Every line once, while the log is rotated away under the reader and the session is restarted.
#[test]
fn following_loses_nothing_through_rotation_and_restart() {
    let atm = Atm::start_with("logs: {maxSize: 64KiB, maxFiles: 50}\n");
    let counter = atm.path("counter");
    std::fs::write(&counter, "0").unwrap();
    // Goes on counting where the run before it left off.
    let script = format!(
        "i=$(cat {0}); trap 'echo $i > {0}; exit 0' TERM; while :; do i=$((i+1)); echo n $i; \
         [ $((i % 200)) = 0 ] && sleep 0.05; [ $i -lt 40000 ] || {{ echo done; sleep 1000; }}; done",
        counter.display()
    );
    atm.drop_spec("a", &format!("command: [sh, -c, {script:?}]\nterminal: false\n"));
    atm.wait_output("a", "n 1\n");
    let follower = atm.follow(&["logs", "a", "-f"]);
    assert!(wait_until(|| numbers(&follower.said()).last().is_some_and(|n| *n > 3000)));
    atm.ok(&["restart", "a"]);
    let after = numbers(&follower.said()).last().copied().unwrap();
    assert!(wait_until(|| numbers(&follower.said()).last().is_some_and(|n| *n > after + 20_000)));
    atm.ok(&["stop", "a"]);
    let last: u32 = std::fs::read_to_string(&counter).unwrap().trim().parse().unwrap();
    assert!(wait_until(|| numbers(&follower.said()).last() == Some(&last)), "the end is missing");
    let said = numbers(&follower.said());
    let expected: Vec<u32> = (1..=last).collect();
    assert!(said == expected, "{} lines of {last}", said.len());
    assert!(atm.path("log/a.log.1").exists(), "the log was never rotated");
    // All that is kept, in order, over the rotated files.
    let all = atm.ok(&["logs", "a"]);
    assert!(numbers(&all) == expected, "{} lines of {last}", numbers(&all).len());
    let lines: Vec<&str> = all.lines().collect();
    let tail = atm.ok(&["logs", "a", "-n", "5000"]);
    assert!(tail.lines().collect::<Vec<_>>() == lines[lines.len() - 5000..], "another tail");
}

#[test]
fn logs_need_no_daemon() {
    let mut atm = Atm::start();
    let go = atm.path("go");
    let script = format!(
        "echo before; while [ ! -e {} ]; do sleep 0.02; done; echo after; exec sleep 1000",
        go.display()
    );
    atm.drop_spec("a", &format!("command: [sh, -c, {script:?}]\nterminal: false\n"));
    atm.wait_output("a", "before");
    atm.kill_daemon();
    let output = atm.atm_with_flags(&["logs", "a"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "before\n");
    std::fs::write(&go, "").unwrap();
    assert!(wait_until(
        || String::from_utf8_lossy(&atm.atm_with_flags(&["logs", "a"]).stdout) == "before\nafter\n"
    ));
}
