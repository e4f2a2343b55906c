//! Starting: what runs, what cannot, and what is told.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use atm::{
    api::{
        keeper::{Request, StartReport},
        record::{Exit, Intent, RunAs, StartError},
        spec::Terminal,
    },
    host::failpoint::Place,
};

use crate::support::{Bench, Keeper, PATIENCE, eventually, executable::executable, is_root};

#[test]
fn a_command_runs_and_its_exit_is_told() {
    let bench = Bench::new();
    let mut keeper = bench.start(bench.intent("a", &["sh", "-c", "echo out; echo err >&2; exit 3"]));
    let Some(StartReport::Running { child, uid, .. }) = keeper.report() else { panic!("it runs") };
    assert_eq!(uid, rustix::process::geteuid().as_raw());
    let exit = keeper.exit();
    assert_eq!((exit.exit, exit.cause, exit.start_error), (Some(Exit::Code(3)), None, None));
    assert_eq!(exit.run_id, keeper.intent.run_id);
    assert_eq!(keeper.log(), "out\nerr\n");
    let record = keeper.record();
    assert!(record.executed);
    assert_eq!((record.child, record.keeper.pid), (child, keeper.process.id().cast_signed()));
    assert!(keeper.marked().is_empty());
}

#[test]
fn a_terminal_has_its_size_and_is_the_controlling_one() {
    let bench = Bench::new();
    let mut intent = bench.intent("a", &["sh", "-c", "stty size; echo $TERM; echo to tty > /dev/tty"]);
    intent.spec.terminal = Terminal::Pty { columns: 123, rows: 45 };
    let mut keeper = bench.start(intent);
    keeper.running();
    assert_eq!(keeper.exit().exit, Some(Exit::Code(0)));
    assert_eq!(keeper.log(), "45 123\r\nxterm-256color\r\nto tty\r\n");
}

/// Starts what cannot start; checks that nothing is left of it, and returns what was told.
fn fails(bench: &Bench, intent: Intent) -> StartError {
    let mut keeper = bench.start(intent);
    let Some(StartReport::Failed { error }) = keeper.report() else { panic!("it cannot start") };
    let exit = keeper.exit();
    assert_eq!(exit.start_error.as_ref(), Some(&error));
    assert_eq!(exit.exit, None);
    assert!(keeper.marked().is_empty(), "{error}");
    error
}

fn script(bench: &Bench, name: &str, text: &str, mode: u32) -> String {
    let path = bench.root.path().join(name);
    executable(&path, text.as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn each_fault_of_a_command_is_told_with_what_was_tried() {
    let bench = Bench::new();
    let no_interpreter = script(&bench, "no-interpreter", "#!/no/such/sh\n", 0o755);
    let plain = script(&bench, "plain", "x", 0o644);
    let no_program = script(&bench, "no-program", "neither script nor ELF", 0o755);
    let wrong_elf = script(&bench, "wrong-elf", "\x7fELF and then nothing that one could run", 0o755);
    let busy = script(&bench, "busy", "#!/bin/sh\n", 0o755);
    let _writer = fs::OpenOptions::new().write(true).open(&busy).unwrap();
    let directory = bench.root.path().to_str().unwrap().to_owned();
    let long = "x".repeat(200_000);
    for (command, expected) in [
        (vec!["no-such-program"], "no such file: `no-such-program` was not found in PATH="),
        (vec!["/no/such/program"], "no such file: `/no/such/program` was not found"),
        (vec![&no_interpreter], "its interpreter `/no/such/sh` does not exist"),
        (vec![&plain], "permission denied: cannot execute `"),
        (vec![&directory], "permission denied: cannot execute `"),
        (vec![&no_program], "Exec format error"),
        (vec![&wrong_elf], "Exec format error"),
        (vec![&busy], "Text file busy"),
        (vec!["true", &long], "Argument list too long"),
        (vec!["echo", "${NOT_SET}"], "cannot expand `${NOT_SET}`: the variable `NOT_SET` is not set"),
    ] {
        let told = fails(&bench, bench.intent("a", &command)).to_string();
        assert!(told.contains(expected), "{expected:?} in {told:?}");
    }
}

#[test]
fn each_fault_around_a_command_is_told_with_what_was_tried() {
    type Change = fn(&mut Intent, &Path);
    let bench = Bench::new();
    let changes: [(Change, &str); 9] = [
        (|intent, _| intent.spec.working_dir = "/no/such/dir".to_owned(), "cannot enter `/no/such/dir`"),
        (|intent, root| intent.spec.working_dir = root.join("file").display().to_string(), "Not a directory"),
        (|intent, _| intent.user = RunAs::Name("no-such-user".to_owned()), "no such user: `no-such-user`"),
        (|intent, _| intent.user = RunAs::Uid(3_999_999), "no such user: `3999999`"),
        (|intent, _| intent.spec.env_file.push("/no/such.env".to_owned()), "`/no/such.env`: No such file"),
        (|intent, root| intent.spec.env_file.push(root.join("file").display().to_string()), "line 1: "),
        (|intent, root| intent.spec.env_file.push(root.join("fifo").display().to_string()), "regular file"),
        (|intent, _| intent.spec.env_file.push("${NOPE}/x".to_owned()), "cannot expand `${NOPE}/x`"),
        (
            |intent, _| intent.log_file = "/no/such/dir/a.log".into(),
            "cannot open the log `/no/such/dir/a.log`",
        ),
    ];
    fs::write(bench.root.path().join("file"), "not a pair").unwrap();
    nix::unistd::mkfifo(&bench.root.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (change, expected) in changes {
        let mut intent = bench.intent("a", &["true"]);
        change(&mut intent, bench.root.path());
        let told = fails(&bench, intent).to_string();
        assert!(told.contains(expected), "{expected:?} in {told:?}");
    }
}

#[test]
fn a_file_that_may_not_be_executed_does_not_hide_a_later_one() {
    let bench = Bench::new();
    script(&bench, "tool", "", 0o644);
    fs::create_dir(bench.root.path().join("bin")).unwrap();
    script(&bench, "bin/tool", "#!/bin/sh\necho \"$0\"", 0o755);
    let mut intent = bench.intent("a", &["tool"]);
    let root = bench.root.path().display();
    intent.spec.env.insert("PATH".to_owned(), format!("/nowhere:{root}:{root}/bin"));
    let mut keeper = bench.start(intent);
    keeper.running();
    keeper.exit();
    assert_eq!(keeper.log(), format!("{root}/bin/tool\n"));
}

#[test]
fn a_keeper_that_is_not_wanted_does_nothing() {
    let bench = Bench::new();
    let intent = bench.intent("a", &["sh", "-c", "echo started"]);
    let other = bench.intent("a", &["true"]).run_id.to_string();
    let mut keeper = bench.start_with(intent, &[("ATM_RUN_ID", &other)]);
    assert!(keeper.report().is_none());
    assert_eq!(keeper.wait().code(), Some(1));
    let left: Vec<_> = fs::read_dir(&keeper.directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["intent.json"]);
}

#[test]
fn a_keeper_killed_before_the_gate_leaves_no_child_and_no_lock() {
    for point in [Place::Clone, Place::BeforeRecord, Place::BeforeGate] {
        let bench = Bench::new();
        let started = bench.root.path().join("started");
        let intent = bench.intent("a", &["touch", started.to_str().unwrap()]);
        let mut keeper = bench.start_to(intent, point, "kill");
        assert!(keeper.report().is_none());
        keeper.wait();
        eventually("nothing of it lives", || keeper.marked().is_empty().then_some(()));
        keeper.lock_is_free();
        assert!(!started.exists(), "{point:?}: the gate stayed shut");
    }
}

#[test]
fn a_keeper_killed_after_the_gate_leaves_a_record_of_what_runs() {
    let bench = Bench::new();
    let mut keeper = bench.start_to(bench.intent("a", &["sleep", "1000"]), Place::Executed, "kill");
    keeper.wait();
    let child = keeper.record().child.pid;
    assert_eq!(keeper.marked(), [child]);
}

#[test]
fn a_failure_of_the_machine_is_told_as_one() {
    for point in [Place::Clone, Place::BeforeRecord, Place::BeforeGate] {
        let bench = Bench::new();
        let mut keeper = bench.start_to(bench.intent("a", &["true"]), point, "err");
        let Some(StartReport::Failed { error: StartError::Host { .. } }) = keeper.report() else { panic!() };
        assert!(keeper.exit().start_error.is_some());
        assert!(keeper.marked().is_empty());
    }
}

/// It is tried again whatever the policy: nothing has run.
#[test]
fn a_log_directory_that_is_gone_is_told_as_what_may_pass() {
    let bench = Bench::new();
    std::fs::remove_dir(bench.root.path().join("log")).unwrap();
    let mut keeper = bench.start(bench.intent("a", &["true"]));
    let Some(StartReport::Failed { error: StartError::Host { transient, action, .. } }) = keeper.report()
    else {
        panic!("it cannot start")
    };
    assert!(transient && action.contains("open the log"), "{action}");
    keeper.exit();
}

#[test]
fn a_name_service_that_hangs_is_given_up_and_ended() {
    let bench = Bench::new();
    let mut keeper: Keeper = bench.start_to(bench.intent("a", &["true"]), Place::ResolveUser, "delay");
    keeper.running();
    assert_eq!(keeper.exit().exit, Some(Exit::Code(0)), "slow is no failure");
    let mut keeper = bench.start_to(bench.intent("b", &["true"]), Place::ResolveUser, "hang");
    let Some(StartReport::Failed { error }) = keeper.report() else { panic!("it cannot start") };
    assert!(error.to_string().contains("look up user `"), "{error}");
    keeper.exit();
    assert!(keeper.marked().is_empty());
}

#[test]
fn the_environment_is_layered_and_expanded() {
    let bench = Bench::new();
    let file = script(&bench, "keys.env", "FROM_FILE=1\nBOTH=file\nLATE=${X}\n", 0o600);
    let mut intent = bench.intent("a", &["env", "-0"]);
    intent.base_env.insert("BOTH".to_owned(), "base".to_owned());
    intent.base_env.insert("ATM_SOCKET".to_owned(), "/run/atm/atm.sock".to_owned());
    intent.spec.env_file.push(file);
    intent.spec.env.insert("BOTH".to_owned(), "spec".to_owned());
    intent.spec.env.insert("ATM_RUN_ID".to_owned(), "forged".to_owned());
    let mut keeper = bench.start(intent);
    keeper.running();
    keeper.exit();
    let log = keeper.log();
    let get = |name: &str| {
        let mut values = log.split('\0').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let value = values.next().unwrap_or_else(|| panic!("{name} is set")).to_owned();
        assert!(values.next().is_none(), "{name} once");
        value
    };
    assert_eq!([get("FROM_FILE"), get("BOTH"), get("LATE")], ["1", "spec", "${X}"]);
    assert_eq!(get("ATM_RUN_ID"), keeper.intent.run_id.to_string());
    assert_eq!(get("ATM_SOCKET"), "/run/atm/atm.sock");
    let home = get("HOME");
    assert!(get("PATH").starts_with(&format!("{home}/.local/bin:{home}/bin:")));
    assert!(!log.contains("\0TERM="), "no terminal, no TERM");
}

#[test]
fn a_session_runs_as_its_user_and_owns_its_terminal_and_log() {
    if !is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let show = "grep -E '^(Uid|Gid|Groups):' /proc/self/status; stat -c '%u %a' $(tty); echo hi > $(tty); \
                cat /proc/self/oom_score_adj; pwd; \
                grep -hE '^Cap(Inh|Prm|Eff|Amb):.*[1-9a-f]' /proc/self/status; setpriv --reuid 0 id 2>/dev/null || echo stays";
    let mut intent = bench.intent("a", &["sh", "-c", show]);
    intent.user = RunAs::Name("nobody".to_owned());
    intent.spec.working_dir = "/".to_owned();
    intent.spec.terminal = Terminal::Pty { columns: 80, rows: 24 };
    let mut keeper = bench.start(intent);
    keeper.running();
    assert_eq!(keeper.exit().exit, Some(Exit::Code(0)));
    let log = keeper.log().replace('\r', "");
    let lines: Vec<_> = log.lines().map(str::trim_end).collect();
    let ids = "65534\t65534\t65534\t65534";
    assert_eq!(lines[..2], [format!("Uid:\t{ids}"), format!("Gid:\t{ids}")]);
    assert!(["Groups:", "Groups:\t65534"].contains(&lines[2]), "{}", lines[2]);
    assert_eq!(lines[3..], ["65534 620", "hi", "0", "/", "stays"], "and no capability: {log}");
    let meta = fs::metadata(&keeper.intent.log_file).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 65534);
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(keeper.record().uid, 65534);
}

#[test]
fn a_record_that_cannot_be_written_after_the_start_is_written_later() {
    let bench = Bench::new();
    let intent = bench.intent("a", &["sleep", "1000"]);
    let mut keeper = bench.start_to(intent, Place::BeforeGate, "delay");
    // Between the first record and the gate: what would be written next has no place.
    eventually("the first record", || keeper.directory.join("record.json").exists().then_some(()));
    let place = keeper.directory.join(".record.json.new");
    fs::create_dir(&place).unwrap();
    keeper.running();
    assert!(!keeper.record().executed);
    fs::remove_dir(&place).unwrap();
    eventually("it is written", || keeper.record().executed.then_some(()));
    keeper.stop(Some(0));
    keeper.exit();
}

#[test]
fn a_socket_that_could_not_be_made_is_made_when_asked() {
    let bench = Bench::new();
    let intent = bench.intent("a", &["sleep", "1000"]);
    let place = bench.runtime().join("sessions/a/attach.sock");
    fs::create_dir_all(&place).unwrap();
    let mut keeper = bench.start(intent);
    keeper.running();
    fs::remove_dir(&place).unwrap();
    let pid = rustix::process::Pid::from_raw(keeper.process.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    eventually("it can be asked", || {
        atm::keeper::client::ask(&keeper.directory, &Request::Ping, PATIENCE).ok()
    });
    keeper.stop(Some(0));
    keeper.exit();
}

#[test]
fn a_sessions_user_reaches_its_socket_and_nothing_else() {
    if !is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(bench.root.path());
    let mut intent = bench.intent("a", &["sleep", "1000"]);
    intent.user = RunAs::Uid(65534);
    intent.spec.working_dir = "/".to_owned();
    let directory = bench.runtime().join("sessions/a");
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let mut keeper = bench.start(intent);
    keeper.running();
    let check = |closed: &[&str]| {
        let may = |flag: &str, file: &str| {
            let path = directory.join(file);
            let mut test = std::process::Command::new("test");
            std::os::unix::process::CommandExt::uid(test.arg(flag).arg(path), 65534);
            test.status().unwrap().success()
        };
        assert!(may("-w", "attach.sock"));
        for file in closed {
            assert!(directory.join(file).exists() && !may("-r", file), "{file}");
        }
        assert!(!may("-r", "."), "it cannot be listed");
    };
    check(&["record.json", "activity"]);
    fs::remove_dir_all(bench.runtime()).unwrap();
    let pid = rustix::process::Pid::from_raw(keeper.process.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    eventually("it can be asked again", || {
        atm::keeper::client::ask(&directory, &Request::Ping, PATIENCE).ok()
    });
    check(&["intent.json", "record.json", "activity"]);
    keeper.stop(Some(0));
    keeper.exit();
}

#[test]
fn files_are_opened_and_directories_entered_as_the_user() {
    if !is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = bench.root.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    let mut intent = bench.intent("a", &["true"]);
    intent.user = RunAs::Uid(65534);
    intent.spec.working_dir = secret.display().to_string();
    let error = fails(&bench, intent.clone());
    assert!(matches!(error, StartError::WorkingDirectory { uid: 65534, .. }), "{error}");
    let keys = script(&bench, "keys.env", "A=1", 0o600);
    intent.spec.working_dir = "/".to_owned();
    intent.spec.env_file = vec![keys];
    let error = fails(&bench, intent);
    assert!(error.to_string().ends_with("Permission denied"), "{error}");
}

#[test]
fn a_spec_that_is_not_roots_names_its_owner_or_nobody() {
    if !is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    let mut intent = bench.intent("a", &["id", "-u"]);
    intent.user = RunAs::OwnersName { name: "root".to_owned(), uid: 65534 };
    let error = fails(&bench, intent).to_string();
    assert!(error.starts_with("cannot run as `root`: its spec file is owned by user 65534"), "{error}");
    let mut intent = bench.intent("b", &["id", "-u"]);
    intent.user = RunAs::OwnersName { name: "nobody".to_owned(), uid: 65534 };
    intent.spec.working_dir = "/".to_owned();
    let mut keeper = bench.start(intent);
    keeper.running();
    assert_eq!(keeper.exit().exit, Some(Exit::Code(0)));
    assert_eq!(keeper.log(), "65534\n");
}

#[test]
fn a_directory_that_the_user_may_not_search_hides_nothing_and_is_not_blamed() {
    if !is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    let closed = bench.root.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:/usr/bin:/bin", closed.display());
    let intent = |name: &str, program: &str| {
        let mut intent = bench.intent(name, &[program]);
        intent.user = RunAs::Uid(65534);
        intent.spec.working_dir = "/".to_owned();
        intent.spec.env.insert("PATH".to_owned(), path.clone());
        intent
    };
    let error = fails(&bench, intent("a", "no-such-program")).to_string();
    assert!(error.starts_with("no such file: `no-such-program`") && error.contains(&path), "{error}");
    let mut keeper = bench.start(intent("b", "true"));
    keeper.running();
    assert_eq!(keeper.exit().exit, Some(Exit::Code(0)));
}
