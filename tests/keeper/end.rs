//! Stopping: causes, graces, and trees that do not want to end.

use std::{fs, path::PathBuf};

use atm::{
    api::{
        cause::{Cause, StopReason},
        keeper::{Reply, Request, StartReport},
        quantity::Dur,
        record::{Exit, Record},
        spec::Terminal,
    },
    host::{clock::monotonic, failpoint::Place},
};
use std::time::Duration;

use crate::support::{Bench, Keeper, eventually, group::Group, lives};

/// Starts `script`, which writes pids to its output and then `ready`; returns those pids.
fn start(
    bench: &Bench,
    script: &str,
    change: impl FnOnce(&mut atm::api::record::Intent),
) -> (Keeper, Vec<i32>) {
    let mut intent = bench.intent("a", &["sh", "-c", script]);
    change(&mut intent);
    let mut keeper = bench.start(intent);
    keeper.running();
    keeper.logged("ready");
    let log = keeper.log();
    let pids = log.lines().filter_map(|line| line.trim().parse().ok()).collect();
    (keeper, pids)
}

fn all_gone(keeper: &Keeper, pids: &[i32]) {
    for pid in pids {
        assert!(!lives(*pid), "{pid}");
    }
    assert!(keeper.marked().is_empty());
}

#[test]
fn a_stop_ends_the_command_and_tells_its_cause() {
    let bench = Bench::new();
    let mut keeper = bench.start(bench.intent("a", &["sleep", "1000"]));
    keeper.running();
    keeper.stop(None);
    let exit = keeper.exit();
    assert_eq!(exit.exit, Some(Exit::Signal(15)));
    assert_eq!(exit.cause.unwrap().reason, StopReason::ClientStop);
    assert!(keeper.record().stopping.is_some(), "the cause was in the record before the signal");
    assert!(exit.leftovers.is_empty());
}

#[test]
fn a_tree_that_ignores_term_dies_at_its_grace_and_not_before() {
    let bench = Bench::new();
    let script = "trap '' TERM; (trap '' TERM; echo $(exec sh -c 'echo $PPID'); while :; do sleep 0.05; done) & \
                  echo ready; while :; do sleep 0.05; done";
    let (mut keeper, pids) = start(&bench, script, |_| {});
    let began = monotonic();
    keeper.stop(Some(700));
    let exit = keeper.exit();
    let took = monotonic() - began;
    assert_eq!(exit.exit, Some(Exit::Signal(9)));
    assert!(took >= Duration::from_millis(700), "{took:?}");
    assert!(took < Duration::from_millis(1700), "{took:?}");
    all_gone(&keeper, &pids);
}

#[test]
fn a_second_stop_shortens_and_keeps_the_first_cause() {
    let bench = Bench::new();
    let (mut keeper, _) = start(&bench, "trap '' TERM; echo ready; while :; do sleep 0.05; done", |_| {});
    keeper.stop(Some(1_000_000));
    let cause = Cause::rule(StopReason::MemoryPressure, "later");
    let longer = Request::Stop { cause: cause.clone(), signal: None, grace_millis: Some(u64::MAX) };
    assert_eq!(keeper.ask(&longer), Reply::Ok);
    let sooner = Request::Stop { cause, signal: None, grace_millis: Some(0) };
    assert_eq!(keeper.ask(&sooner), Reply::Ok);
    let exit = keeper.exit();
    assert_eq!(exit.exit, Some(Exit::Signal(9)));
    assert_eq!(exit.cause.unwrap().reason, StopReason::ClientStop);
}

/// A descendant that has done all to get away: double-forked, its own session, without an environment.
const AWAY: &str = "env -i setsid -f sh -c 'echo $$; exec sleep 1000'; ";

#[test]
fn descendants_that_cleared_all_marks_end_with_their_session() {
    let bench = Bench::new();
    let script = format!("{AWAY}{AWAY}(sleep 1000 & echo $!); sleep 0.1; echo ready; sleep 1000");
    let (mut keeper, pids) = start(&bench, &script, |_| {});
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| lives(*pid)));
    keeper.stop(None);
    keeper.exit();
    all_gone(&keeper, &pids);
}

#[test]
fn what_forks_when_asked_to_end_ends_too() {
    let bench = Bench::new();
    let script = "trap 'for i in 1 2 3; do setsid -f sh -c \"trap \\\"\\\" TERM; sleep 1000; :\"; done; exit 4' TERM; \
                  echo ready; while :; do sleep 0.05; done";
    let (mut keeper, _) = start(&bench, script, |_| {});
    keeper.stop(Some(300));
    let exit = keeper.exit();
    assert_eq!(exit.exit, Some(Exit::Code(4)));
    all_gone(&keeper, &[]);
}

#[test]
fn a_chain_that_forks_and_exits_is_outrun() {
    for group in [None, Group::new("chain")] {
        let bench = Bench::new();
        let hop = bench.root.path().join("hop");
        fs::write(&hop, "sh \"$0\" &\n").unwrap();
        let script = format!("echo ready; sh {}; sleep 1000", hop.display());
        let cgroup = group.as_ref().map(|group| group.path.clone());
        let (mut keeper, _) = start(&bench, &script, |intent| intent.cgroup = cgroup);
        keeper.stop(Some(0));
        keeper.exit();
        all_gone(&keeper, &[]);
    }
}

#[test]
fn what_the_command_leaves_running_is_ended_and_named() {
    let bench = Bench::new();
    let script = "sleep 1000 & echo $!; setsid -f sleep 1001; echo ready; exit 3";
    for terminal in [false, true] {
        let change = |intent: &mut atm::api::record::Intent| {
            if terminal {
                intent.spec.terminal = Terminal::Pty { columns: 80, rows: 24 };
            }
        };
        fs::remove_file(bench.root.path().join("log/a.log")).ok();
        let began = monotonic();
        let mut intent = bench.intent("a", &["sh", "-c", script]);
        change(&mut intent);
        let mut keeper = bench.start(intent);
        let exit = keeper.exit();
        assert_eq!((exit.exit, exit.cause), (Some(Exit::Code(3)), None));
        assert!(monotonic() - began < Duration::from_secs(8), "told at once, not by the end of output");
        let left: i32 = keeper.log().lines().next().unwrap().trim().parse().unwrap();
        // With a terminal the kernel's own SIGHUP may have been faster.
        assert!(terminal || exit.leftovers.contains(&left), "{:?}", exit.leftovers);
        all_gone(&keeper, &[left]);
    }
}

#[test]
fn leftovers_that_ignore_term_are_killed_at_the_grace() {
    let bench = Bench::new();
    let script = "setsid -f sh -c 'trap \"\" TERM HUP; echo $$; echo ready; while :; do sleep 0.05; done'; \
                  until grep -q ready \"$LOG\"; do sleep 0.01; done; exit 0";
    let (mut keeper, pids) = start(&bench, script, |intent| {
        intent.spec.termination_grace_period = Dur(Duration::from_millis(300));
        let log = intent.log_file.display().to_string();
        intent.spec.env.insert("LOG".to_owned(), log);
    });
    let exit = keeper.exit();
    assert_eq!(exit.exit, Some(Exit::Code(0)));
    assert!(exit.leftovers.contains(&pids[0]));
    all_gone(&keeper, &pids);
}

#[test]
fn a_stopped_session_hears_its_stop() {
    let bench = Bench::new();
    let (mut keeper, _) =
        start(&bench, "trap 'echo bye; exit 7' TERM; echo ready; kill -STOP $$; sleep 1000", |_| {});
    let child = keeper.record().child.pid;
    eventually("it is stopped", || {
        fs::read_to_string(format!("/proc/{child}/stat")).unwrap().contains(") T ").then_some(())
    });
    keeper.stop(None);
    assert_eq!(keeper.exit().exit, Some(Exit::Code(7)));
    assert!(keeper.log().contains("bye"));
}

#[test]
fn an_interactive_shell_on_a_terminal_ends_before_its_grace() {
    let bench = Bench::new();
    let mut intent = bench.intent("a", &["sh", "-i"]);
    intent.spec.env.insert("PS1".to_owned(), "ready>".to_owned());
    intent.spec.terminal = Terminal::Pty { columns: 80, rows: 24 };
    let mut keeper = bench.start(intent);
    keeper.running();
    keeper.logged("ready>");
    let began = monotonic();
    keeper.stop(None);
    assert_ne!(keeper.exit().exit, Some(Exit::Signal(9)));
    assert!(monotonic() - began < Duration::from_secs(8));
}

#[test]
fn a_keeper_told_to_end_ends_its_session_with_a_cause() {
    let bench = Bench::new();
    let (mut keeper, _) =
        start(&bench, "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done", |_| {});
    let pid = rustix::process::Pid::from_raw(keeper.process.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let exit = keeper.exit();
    assert_eq!(exit.exit, Some(Exit::Code(5)));
    let cause = exit.cause.unwrap();
    assert_eq!(cause.reason, StopReason::Shutdown);
    assert_eq!(cause.by.unwrap().pid, std::process::id().cast_signed());
}

#[test]
fn a_keeper_killed_in_a_stop_has_recorded_its_cause() {
    let bench = Bench::new();
    let mut keeper = bench.start_to(bench.intent("a", &["sleep", "1000"]), Place::StopRecorded, "kill");
    let child = keeper.running();
    let cause = Cause::rule(StopReason::IdleTimeout, "idle");
    let stop = Request::Stop { cause: cause.clone(), signal: None, grace_millis: None };
    atm::keeper::client::ask(&keeper.directory, &stop, Duration::from_secs(30)).unwrap_err();
    keeper.wait();
    let record = keeper.record();
    assert_eq!(record.stopping.unwrap().cause, cause);
    assert_eq!(record.members[0].pid, child);
    assert!(lives(child), "no signal was sent before the record was written");
}

#[test]
fn signals_and_updates_are_no_stop() {
    let bench = Bench::new();
    let script = "trap 'echo got usr1' USR1; trap 'echo got int; exit 6' INT; echo ready; while :; do sleep 0.05; done";
    let (mut keeper, _) = start(&bench, script, |_| {});
    assert_eq!(
        keeper.ask(&Request::Signal { signal: 99 }),
        Reply::Refused { message: "99 is no signal".to_owned() }
    );
    // The command takes it, and `sleep` beside it dies of it.
    assert_eq!(keeper.ask(&Request::Signal { signal: 10 }), Reply::Ok);
    keeper.logged("got usr1");
    let mut spec = Box::new(keeper.intent.spec.clone());
    spec.stop_signal = "INT".parse().unwrap();
    let launch = atm::api::spec::Digest("another".to_owned());
    assert_eq!(
        keeper.ask(&Request::Update { generation: 2, launch, spec: spec.clone(), logs: None }),
        Reply::Ok
    );
    let record = keeper.record();
    assert_eq!((record.intent.generation, &record.intent.spec), (2, &*spec));
    assert_eq!(record.intent.launch, keeper.intent.launch, "what it was started with");
    keeper.stop(None);
    assert_eq!(keeper.exit().exit, Some(Exit::Code(6)));
}

#[test]
fn a_removed_runtime_directory_ends_nothing_and_is_made_anew() {
    let bench = Bench::new();
    let (mut keeper, _) = start(&bench, "echo ready; sleep 1000", |_| {});
    fs::remove_dir_all(bench.runtime()).unwrap();
    let child = keeper.intent.clone();
    let pid = rustix::process::Pid::from_raw(keeper.process.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    eventually("it can be asked again", || {
        atm::keeper::client::ask(&keeper.directory, &Request::Ping, Duration::from_secs(1)).ok()
    });
    assert!(atm::host::lock::is_held(&keeper.lock).unwrap());
    assert_eq!(keeper.record().intent, child);
    keeper.stop(None);
    assert_eq!(keeper.exit().exit, Some(Exit::Signal(15)));
}

#[test]
fn another_runs_files_are_never_touched() {
    let bench = Bench::new();
    let (mut first, _) = start(&bench, "echo ready; sleep 1000", |_| {});
    fs::remove_dir_all(bench.runtime()).unwrap();
    fs::create_dir_all(bench.runtime().join("locks")).unwrap();
    let mut second = bench.start(bench.intent("a", &["sleep", "1000"]));
    second.running();
    let record: Record = second.record();
    let pid = rustix::process::Pid::from_raw(first.process.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(first.wait().success());
    assert_eq!(second.record(), record);
    assert_eq!(second.ask(&Request::Ping), Reply::Ok);
    assert!(!second.directory.join("exit.json").exists());
    second.stop(None);
    second.exit();
}

#[test]
fn an_exit_that_cannot_be_written_is_written_later() {
    let bench = Bench::new();
    let mut keeper = bench.start(bench.intent("a", &["sleep", "1000"]));
    keeper.running();
    let place = keeper.directory.join(".exit.json.new");
    fs::create_dir(&place).unwrap();
    keeper.stop(Some(0));
    // It makes room for the exit record after the first try.
    eventually("it was tried", || (!keeper.directory.join("activity").exists()).then_some(()));
    assert!(keeper.process.try_wait().unwrap().is_none(), "it goes on trying");
    fs::remove_dir(&place).unwrap();
    assert_eq!(keeper.exit().exit, Some(Exit::Signal(9)));
}

fn in_group(bench: &Bench, group: &Group, script: &str) -> (Keeper, Vec<i32>, PathBuf) {
    let (keeper, pids) = start(bench, script, |intent| intent.cgroup = Some(group.path.clone()));
    let own = group.path.join("s-a");
    assert_eq!(keeper.record().group.as_ref(), Some(&own), "{:?}", keeper.record().warnings);
    (keeper, pids, own)
}

#[test]
fn a_session_in_a_cgroup_is_in_it_from_the_start_and_leaves_none() {
    let Some(group) = Group::new("start") else { return };
    let bench = Bench::new();
    let script = format!(
        "{AWAY}cat /proc/self/cgroup; sleep 0.1; echo ready; trap '' TERM; while :; do sleep 0.05; done"
    );
    let (mut keeper, pids, own) = in_group(&bench, &group, &script);
    assert!(keeper.log().contains("/s-a\n"), "{}", keeper.log());
    let members = fs::read_to_string(own.join("cgroup.procs")).unwrap();
    assert!(members.lines().any(|line| line == pids[0].to_string()));
    assert!(!members.lines().any(|line| line == keeper.process.id().to_string()), "the keeper is outside");
    fs::create_dir(own.join("made-by-the-session")).unwrap();
    keeper.stop(Some(200));
    assert_eq!(keeper.exit().exit, Some(Exit::Signal(9)));
    all_gone(&keeper, &pids);
    assert!(!own.exists());
}

#[test]
fn a_frozen_group_is_thawed_to_hear_and_what_joined_it_ends_with_it() {
    let Some(group) = Group::new("frozen") else { return };
    let bench = Bench::new();
    let (mut keeper, _, own) =
        in_group(&bench, &group, "trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done");
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(own.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    fs::write(own.join("cgroup.freeze"), "1").unwrap();
    keeper.stop(None);
    assert_eq!(keeper.exit().exit, Some(Exit::Code(8)));
    eventually("who joined the group has ended", || stranger.try_wait().unwrap());
    assert!(!own.exists());
}

#[test]
fn what_left_its_group_ends_all_the_same() {
    let Some(group) = Group::new("escape") else { return };
    let bench = Bench::new();
    let (mut keeper, pids, _) = in_group(&bench, &group, "sleep 1000 & echo $!; echo ready; sleep 1000");
    fs::write(group.path.join("cgroup.procs"), pids[0].to_string()).unwrap();
    keeper.stop(Some(0));
    keeper.exit();
    all_gone(&keeper, &pids);
}

#[test]
fn a_group_that_cannot_be_made_is_told_and_does_without() {
    let bench = Bench::new();
    let (mut keeper, _) = start(&bench, "echo ready; sleep 1000", |intent| {
        intent.cgroup = Some(bench.root.path().to_owned());
    });
    let record = keeper.record();
    assert_eq!(record.group, None);
    assert!(record.warnings[0].contains("not a cgroup2 file system"), "{:?}", record.warnings);
    keeper.stop(None);
    keeper.exit();
}

#[test]
fn commands_that_end_at_once_tell_their_exit() {
    let bench = Bench::new();
    for code in 0..50 {
        let mut keeper = bench.start(bench.intent("a", &["sh", "-c", &format!("exit {code}")]));
        assert!(matches!(keeper.report(), Some(StartReport::Running { .. })));
        assert_eq!(keeper.exit().exit, Some(Exit::Code(code)));
    }
}

/// A session could undo its limits, or move out of them, if its group were its own.
#[test]
fn a_sessions_group_is_not_its_users() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Some(group) = Group::new("owner") else { return };
    if !crate::support::is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = group.path.join("s-a").display().to_string();
    let script = format!(
        "for file in cgroup.procs ../cgroup.procs memory.max pids.max cgroup.freeze; do \
         (echo 0 > {own}/$file) 2>/dev/null && echo wrote $file; done; mkdir {own}/below 2>/dev/null && echo made; \
         echo ready; sleep 1000"
    );
    let (mut keeper, _) = start(&bench, &script, |intent| {
        intent.cgroup = Some(group.path.clone());
        intent.user = atm::api::record::RunAs::Uid(65534);
        intent.spec.working_dir = "/".to_owned();
    });
    assert_eq!(keeper.log(), "ready\n");
    for file in ["", "cgroup.procs", "cgroup.kill"] {
        let about = fs::metadata(group.path.join("s-a").join(file)).unwrap();
        assert_eq!((about.uid(), about.permissions().mode() & 0o022), (0, 0), "{file:?}");
    }
    keeper.stop(Some(0));
    keeper.exit();
}
