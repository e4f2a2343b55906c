//! What a session has of whoever started the daemon: nothing, whichever way it was started.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::harness::{Atm, is_root, pause, wait_until};

/// A person without privileges, with an account.
const SOMEBODY: u32 = 65534;

/// Tells what the session's main process has, a line each, and stays. `ls` is a child: it lists the shell's descriptors.
const SHOW: &str = "printf 'fd '; ls -m /proc/$$/fd; \
    grep -E '^(SigBlk|SigIgn|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Groups):' /proc/$$/status | tr '\\t' ' '; \
    echo umask $(umask); echo nice $(nice); echo oom $(cat /proc/$$/oom_score_adj); echo shown; exec sleep 1000";

/// Starts the daemon with descriptors, capabilities, signals, a umask and a priority that no session is to have.
const HOSTILE: &str = "exec 5</etc/passwd 7>/dev/null 9<>/dev/null; trap '' USR2 PIPE QUIT ALRM; umask 000; \
    echo 300 > /proc/self/oom_score_adj; \
    exec setpriv --inh-caps +net_raw,+chown --ambient-caps +net_raw nice -n -5 \"$@\"";

/// A group for sessions, where there is a hierarchy that can be written.
struct Group(Option<PathBuf>);

impl Group {
    fn new() -> Self {
        let name = format!("atm-test-{}-inheritance", std::process::id());
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let made =
            roots.into_iter().filter(|root| root.join("cgroup.procs").exists()).map(|root| root.join(&name));
        let made = made.into_iter().find(|path| fs::create_dir(path).is_ok());
        if made.is_none() {
            eprintln!("without groups: there is no cgroup2 hierarchy that can be written");
        }
        Self(made)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        let _ = fs::write(path.join("cgroup.kill"), "1");
        for _ in 0..1000 {
            for group in fs::read_dir(path).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(group.path());
            }
            if fs::remove_dir(path).is_ok() {
                return;
            }
            pause();
        }
    }
}

fn spec(terminal: bool) -> String {
    let show = format!("{SHOW:?}").replace("\\'", "'");
    format!("command: [sh, -c, {show}]\nworkingDir: /\nterminal: {terminal}\nterminationGracePeriod: 1s\n")
}

/// What each run of a session showed of itself.
fn shown(atm: &Atm, name: &str, runs: usize) -> Vec<Vec<String>> {
    let log = || atm.log(name).replace('\r', "");
    let met = wait_until(|| log().matches("shown\n").count() >= runs);
    assert!(met, "{name}, {runs} runs: {}\n{}", log(), atm.daemon_log());
    let blocks = log();
    let blocks = blocks.split("shown\n").take(runs);
    blocks.map(|block| block.lines().map(|line| line.trim().to_owned()).collect()).collect()
}

#[test]
fn however_it_is_started_a_session_has_nothing_of_who_started_the_daemon() {
    if !is_root() {
        return;
    }
    // Before the daemon: it goes when all that is in it is gone.
    let group = Group::new();
    let mut atm = Atm::new();
    fs::set_permissions(atm.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let bounding = |line: &str| line.starts_with("CapBnd:");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| bounding(line)).unwrap().replace('\t', " ");
    atm.through = ["sh", "-c", HOSTILE, "sh"].map(str::to_owned).into();
    atm.up();
    // The first start: pipes, a terminal, by a person who is attached, as another user.
    atm.drop_spec("pipes", &spec(false));
    atm.drop_spec("terminal", &spec(true));
    let theirs = atm.path("theirs.part");
    fs::write(&theirs, spec(false)).unwrap();
    chown(&theirs, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    fs::rename(&theirs, atm.spec_path("theirs")).unwrap();
    let attach = ["run", "--attach", "--name", "attached", "--dir", "/", "--", "sh", "-c", SHOW];
    let words = [&[env!("CARGO_BIN_EXE_atm")], &attach[..]].concat();
    let mut person = Command::new("script");
    person.args(["-qec", &shell_words::join(words), "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut person =
        person.env("ATM_SOCKET", atm.runtime().join("atm.sock")).env("TERM", "xterm").spawn().unwrap();
    let all = ["pipes", "terminal", "theirs", "attached"];
    for name in all {
        shown(&atm, name, 1);
    }
    // Detaches, and ends.
    let _ = std::io::Write::write_all(&mut person.stdin.take().unwrap(), b"\x1d");
    assert!(wait_until(|| person.try_wait().unwrap().is_some()), "the client does not detach");
    // Once more by the same daemon.
    atm.ok(&["restart", "pipes"]);
    shown(&atm, "pipes", 2);
    // By another daemon that took them over, in groups where there are any.
    atm.kill_daemon();
    if let Some(path) = &group.0 {
        atm.args = vec!["--cgroup".into(), path.display().to_string()];
    }
    atm.up();
    for name in all {
        atm.ok(&["restart", name]);
    }
    atm.drop_spec("later", &spec(false));
    let mut runs = shown(&atm, "pipes", 3);
    runs.extend(["terminal", "theirs", "attached"].iter().flat_map(|name| shown(&atm, name, 2)));
    runs.extend(shown(&atm, "later", 1));
    assert_eq!(runs.len(), 10);
    if let Some(path) = &group.0 {
        assert!(path.join("s-later").exists(), "it is in a group");
    }
    for run in &runs {
        for line in [
            "fd 0, 1, 2",
            "SigBlk: 0000000000000000",
            "SigIgn: 0000000000000000",
            "umask 0022",
            "nice 0",
            "oom 0",
        ] {
            assert!(run.iter().any(|shown| shown == line), "{line} is not in {run:#?}");
        }
        // What sudo needs in a session.
        assert!(run.contains(&own) && run.contains(&"NoNewPrivs: 0".to_owned()), "{own}: {run:#?}");
    }
    for run in shown(&atm, "theirs", 2) {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(run.contains(&format!("{set}: 0000000000000000")), "{set}: {run:#?}");
        }
        let groups = run.iter().find_map(|line| line.strip_prefix("Groups:")).unwrap().trim();
        assert!(["", "65534"].contains(&groups), "{groups}");
    }
}
