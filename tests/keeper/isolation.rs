//! What a session inherits, and what it does not.

use std::{collections::BTreeMap, fs};

use atm::api::spec::Terminal;

use crate::support::{Bench, eventually};

fn log_of(bench: &Bench, script: &str, terminal: bool) -> String {
    let mut intent = bench.intent("a", &["sh", "-c", script]);
    if terminal {
        intent.spec.terminal = Terminal::Pty { columns: 80, rows: 24 };
    }
    let mut keeper = bench.start(intent);
    keeper.running();
    keeper.exit();
    keeper.log().replace('\r', "")
}

#[test]
fn a_session_has_three_descriptors() {
    for terminal in [false, true] {
        let bench = Bench::new();
        // `ls` itself has one more: the directory that it reads.
        let log = log_of(&bench, "exec ls -l /proc/self/fd", terminal);
        let open: BTreeMap<_, _> = log
            .lines()
            .filter_map(|line| line.rsplit_once(" -> "))
            .map(|(left, target)| (left.rsplit_once(' ').unwrap().1, target))
            .filter(|(_, target)| !target.contains("/fd"))
            .collect();
        assert_eq!(open.keys().copied().collect::<Vec<_>>(), ["0", "1", "2"], "{log}");
        let kind = if terminal { "/dev/pts/" } else { "pipe:" };
        assert!(open["1"].starts_with(kind) && open["2"].starts_with(kind), "{log}");
        assert_eq!(open["1"] == open["2"], terminal, "pipes are told apart: {log}");
        assert!(terminal || open["0"] == "/dev/null", "{log}");
    }
}

#[test]
fn a_session_begins_with_a_clean_slate() {
    let bench = Bench::new();
    let script = "grep -E '^(SigBlk|SigIgn):' /proc/self/status; umask; cut -d' ' -f5,6 /proc/self/stat; \
                  env | cut -d= -f1 | sort | tr '\\n' ' '";
    let log = log_of(&bench, script, false);
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[..3], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "0022"]);
    let (group, session) = lines[3].split_once(' ').unwrap();
    assert_eq!(group, session, "it leads its group and its session");
    let names: Vec<_> =
        lines[4].split(' ').filter(|name| !["", "OLDPWD", "_", "SHLVL"].contains(name)).collect();
    let expected =
        ["ATM_INSTANCE", "ATM_RUN_ID", "ATM_SESSION", "HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER"];
    assert_eq!(names, expected);
}

#[test]
fn a_keeper_holds_on_to_nothing_of_the_daemon() {
    let bench = Bench::new();
    let mut keeper = bench.start(bench.intent("a", &["sleep", "1000"]));
    let child = keeper.running();
    let proc = format!("/proc/{}", keeper.process.id());
    for stream in 0..3 {
        // Standard error is let go of after the report.
        let null = || fs::read_link(format!("{proc}/fd/{stream}")).ok().filter(|at| at.ends_with("null"));
        eventually("the daemon's streams are let go of", null);
    }
    assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap(), std::path::Path::new("/"));
    let stat = fs::read_to_string(format!("{proc}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[3], keeper.process.id().to_string(), "it leads a session of its own");
    assert_eq!(fields[4], "0", "without a terminal");
    let holders = |pid: i64| {
        let lock = keeper.lock.as_path();
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == lock)).count()
    };
    assert_eq!((holders(keeper.process.id().into()), holders(child.into())), (1, 0));
    // What ends a process with its terminal or its daemon does nothing.
    for signal in ["HUP", "INT", "QUIT", "PIPE", "TSTP", "USR2", "ALRM"] {
        let pid = keeper.process.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
    assert_eq!(keeper.ask(&atm::api::keeper::Request::Ping), atm::api::keeper::Reply::Ok);
}
