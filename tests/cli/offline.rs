//! The daemon is down: real keepers are asked instead.

use atm::api::{cause::StopReason, record::Exit};

use crate::{
    fake::{Done, atm, finish},
    support::{Bench, Keeper, lives},
};

fn run(bench: &Bench, arguments: &[&str]) -> Done {
    let runtime = bench.runtime();
    let at = ["--runtime-dir", runtime.to_str().unwrap()];
    finish(atm(bench.root.path(), &[arguments, &at].concat()).spawn().unwrap())
}

fn started(bench: &Bench, name: &str, script: &str) -> (Keeper, i32) {
    let mut keeper = bench.start(bench.intent(name, &["sh", "-c", script]));
    let pid = keeper.running();
    (keeper, pid)
}

#[test]
fn stop_goes_to_the_keeper_with_the_person_as_cause() {
    let bench = Bench::new();
    let (mut keeper, pid) = started(&bench, "a", "exec sleep 1000");
    let done = run(&bench, &["stop", "a"]);
    insta::assert_snapshot!(done.transcript(), @r"
    a stopped
    --- stderr
    daemon down: asking the keepers; the daemon will honour it when it is back
    --- exit 0
    ");
    assert!(!lives(pid));
    let record = keeper.exit();
    assert_eq!(record.exit, Some(Exit::Signal(15)));
    let cause = record.cause.unwrap();
    assert_eq!(cause.reason, StopReason::ClientStop);
    assert_eq!(cause.by.unwrap().uid, rustix::process::geteuid().as_raw());
}

#[test]
fn kill_does_not_wait_for_a_grace() {
    let bench = Bench::new();
    let (mut keeper, pid) = started(&bench, "a", "trap '' TERM HUP; while :; do sleep 1000; done");
    let done = run(&bench, &["kill", "--all"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "a stopped\n"), "{}", done.stderr);
    assert!(!lives(pid));
    assert_eq!(keeper.exit().cause.unwrap().reason, StopReason::ClientKill);
}

#[test]
fn a_signal_is_only_sent() {
    let bench = Bench::new();
    let (mut keeper, pid) =
        started(&bench, "a", "trap 'echo got it; exit 5' USR1; echo ready; while :; do sleep 0.01; done");
    keeper.logged("ready");
    let done = run(&bench, &["kill", "-s", "USR1", "a"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "a signalled\n"), "{}", done.stderr);
    let record = keeper.exit();
    assert!(!lives(pid) && record.cause.is_none());
    keeper.logged("got it");
}

#[test]
fn a_stop_that_takes_too_long_is_told() {
    let bench = Bench::new();
    let (keeper, pid) = started(&bench, "a", "trap '' TERM HUP; echo ready; while :; do sleep 1000; done");
    keeper.logged("ready");
    let done = run(&bench, &["stop", "a", "--timeout", "50ms"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr.contains("has not ended after 50ms") && done.stderr.contains("atm kill a"),
        "{}",
        done.stderr
    );
    assert!(lives(pid), "its grace is not over");
}

#[test]
fn one_that_has_no_process_needs_the_daemon() {
    let bench = Bench::new();
    let (_keeper, pid) = started(&bench, "a", "exec sleep 1000");
    let done = run(&bench, &["stop", "b"]);
    assert_eq!(done.code, 69);
    assert!(
        done.stderr.contains("`b` has no process") && done.stderr.contains("hint: start it"),
        "{}",
        done.stderr
    );
    assert!(lives(pid), "another session is left alone");

    let done = run(&bench, &["stop", "b", "a"]);
    assert_eq!((done.code, done.stdout.as_str()), (69, "a stopped\n"));
    assert!(!lives(pid));
}

#[test]
fn output_is_found_by_the_keepers_record() {
    let bench = Bench::new();
    let (mut keeper, _) = started(&bench, "a", "echo hello from a");
    keeper.exit();
    assert_eq!(run(&bench, &["logs", "a"]).stdout, "hello from a\n");
}
