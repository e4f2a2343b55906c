//! What a session inherits, and what it does not.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

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

/// A library that writes down whose process it was loaded into.
const LOADED: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%d %d\n", (int)getuid(), (int)geteuid());
    int file = open("LOADED", O_WRONLY | O_APPEND);
    if (file >= 0 && write(file, text, length) == length)
        close(file);
}
"#;

/// What a spec sets is for its command alone: not for its keeper, and not for what sets its user up.
#[test]
fn what_a_spec_puts_into_the_environment_acts_only_as_its_user() {
    if !crate::support::is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    let at = |name: &str| bench.root.path().join(name);
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let told = at("told");
    fs::write(&told, "").unwrap();
    fs::set_permissions(&told, fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(at("loaded.c"), LOADED.replace("LOADED", told.to_str().unwrap())).unwrap();
    let compile = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([at("loaded.so"), at("loaded.c")])
        .status();
    if !compile.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs a C compiler");
        return;
    }
    let mut intent = bench.intent("a", &["sh", "-c", "id -u; BASH_ENV= true; exec sleep 1000"]);
    intent.user = atm::api::record::RunAs::Uid(65534);
    intent.spec.working_dir = "/".to_owned();
    let library = at("loaded.so").display().to_string();
    let nasty = [
        ("LD_PRELOAD", library.as_str()),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("LD_AUDIT", "/nowhere"),
        ("IFS", "/"),
        ("BASH_ENV", "/nowhere"),
        ("GCONV_PATH", "/nowhere"),
        ("LOCALDOMAIN", "/nowhere"),
    ];
    for (name, value) in nasty {
        intent.spec.env.insert(name.to_owned(), value.to_owned());
    }
    let mut keeper = bench.start(intent);
    keeper.running();
    keeper.logged("65534\n");
    let said = fs::read_to_string(&told).unwrap();
    assert!(!said.is_empty() && said.lines().all(|line| line == "65534 65534"), "{said}");
    let environ = fs::read(format!("/proc/{}/environ", keeper.process.id())).unwrap();
    let environ = String::from_utf8_lossy(&environ).into_owned();
    for (name, _) in nasty {
        assert!(!environ.contains(&format!("{name}=")), "{name} is the keeper's: {environ}");
    }
    keeper.stop(Some(0));
    keeper.exit();
}

/// The keyring of a login or a service, with a key in it: it is a thread's own, and what the thread starts inherits it.
/// `false`, with a message, where there are no keys to be had.
#[expect(unsafe_code, reason = "there is no safe wrapper of keyctl and add_key")]
fn own_a_key(description: &std::ffi::CStr) -> bool {
    use nix::libc;
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const SESSION_KEYRING: libc::c_long = -3;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: both only read texts that live through the calls, of the lengths that they are told.
    let added = unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, none) >= 0
            && libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                description.as_ptr(),
                c"secret".as_ptr(),
                6_usize,
                SESSION_KEYRING,
            ) >= 0
    };
    if !added {
        eprintln!("skipped: no keys: {}", std::io::Error::last_os_error());
    }
    added
}

/// Who runs in the keyring of root's login could read root's keys, and hand keys to every other session.
#[test]
fn another_users_session_is_in_no_keyring_of_roots() {
    if !crate::support::is_root("switching users") || !own_a_key(c"atm-test-canary") {
        return;
    }
    let keys = || fs::read_to_string("/proc/keys");
    if !keys().is_ok_and(|keys| keys.contains("atm-test-canary")) {
        eprintln!("skipped: this kernel does not show keys");
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let told = |uid: u32, name: &str| {
        let mut intent = bench.intent(name, &["sh", "-c", "cat /proc/keys; echo all"]);
        intent.user = atm::api::record::RunAs::Uid(uid);
        intent.spec.working_dir = "/".to_owned();
        let mut keeper = bench.start(intent);
        keeper.running();
        keeper.exit();
        keeper.log()
    };
    let theirs = told(65534, "theirs");
    assert!(theirs.contains("all") && !theirs.contains("atm-test-canary"), "{theirs}");
    // The daemon's own user keeps what it has: there is nobody to keep it from.
    let own = told(0, "own");
    assert!(own.contains("atm-test-canary"), "{own}");
}

/// Output and keys pass through a keeper: no core file has them, and no session gets at its keeper.
#[test]
fn a_keeper_leaves_no_core_and_is_out_of_its_sessions_reach() {
    if !crate::support::is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let tries = "exec 2>/dev/null; for file in environ mem maps stack; do head -c 1 /proc/$PPID/$file && echo read $file; done; \
                 ls /proc/$PPID/fd && echo listed; for s in KILL STOP USR2; do kill -$s $PPID && echo sent $s; done; \
                 echo tried; exec sleep 1000";
    let mut intent = bench.intent("a", &["sh", "-c", tries]);
    intent.user = atm::api::record::RunAs::Uid(65534);
    intent.spec.working_dir = "/".to_owned();
    let mut keeper = bench.start(intent);
    let child = keeper.running();
    keeper.logged("tried\n");
    assert_eq!(keeper.log(), "tried\n");
    let core = |pid: u32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        line.split_whitespace().nth(4).unwrap().to_owned()
    };
    assert_eq!(core(keeper.process.id()), "0");
    // The session has what it would have without us.
    assert_eq!(core(child.cast_unsigned()), core(std::process::id()));
    keeper.stop(Some(0));
    keeper.exit();
}
