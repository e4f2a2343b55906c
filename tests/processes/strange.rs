//! Commands that hide what they are, or become something else.

use std::fs;

use super::{
    SLEEPER,
    harness::{Atm, descendants, is_alive, now, processes, script, signal, wait_until},
};

/// A session that runs this program of Python, without a terminal.
fn python(atm: &Atm, name: &str, program: &str) {
    let path = atm.path(&format!("{name}.py"));
    script(&path, program);
    atm.drop_spec(
        name,
        &format!(
            "command: [python3, {}]\nterminal: false\nterminationGracePeriod: 2s\nbackoff: {{initial: 0s}}\n",
            path.display()
        ),
    );
}

/// One letter for what it does, as the kernel has it.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn keeper(atm: &Atm, name: &str) -> i32 {
    i32::try_from(atm.get(name)["status"]["keeperPid"].as_i64().unwrap()).unwrap()
}

/// As programs do that show their state in `ps`: the mark in its environment is gone with its arguments.
#[test]
fn a_command_that_overwrites_its_environment_is_still_its_sessions() {
    let mut atm = Atm::start();
    let renamed = "$0 = q(x) x 6000; $| = 1; print qq(renamed\\n); sleep 1000";
    atm.drop_spec(
        "a",
        &format!("command: [perl, -e, {renamed:?}]\nterminal: false\nbackoff: {{initial: 0s}}\n"),
    );
    let first = atm.wait_pid("a");
    atm.wait_output("a", "renamed");
    assert!(!atm.marked().contains(&first), "its mark is still there");
    atm.restart_daemon();
    assert_eq!(atm.wait_pid("a"), first);

    // Its keeper dies while nobody looks: what it left is known by its pid and start time.
    let lost = keeper(&atm, "a");
    atm.kill_daemon();
    signal(lost, 9);
    assert!(wait_until(|| !is_alive(lost)));
    atm.up();
    let second = atm.wait("a", "another run", |s| {
        s["status"]["phase"] == "Running" && s["status"]["pid"] != first && s["status"]["pid"].is_i64()
    });
    assert!(!is_alive(first), "two of one name");
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(i32::try_from(second["status"]["pid"].as_i64().unwrap()).unwrap()));
}

/// The kernel shows it as a zombie, and another of its threads works on.
#[test]
fn a_command_whose_first_thread_has_ended_is_alive() {
    let mut atm = Atm::start();
    let program = r#"
import ctypes, os, threading, time
def work():
    number = 0
    while True:
        number += 1
        print("still", number, flush=True)
        time.sleep(0.05)
threading.Thread(target=work).start()
# The system call that ends one thread, and not the process.
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"#;
    python(&atm, "a", program);
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "still 3\n");
    assert!(wait_until(|| state(pid) == Some('Z')), "its first thread lives: {:?}", state(pid));
    atm.settle();
    atm.restart_daemon();
    atm.settle();
    let session = atm.get("a");
    assert_eq!(
        (&session["status"]["phase"], &session["status"]["pid"]),
        (&"Running".into(), &pid.into()),
        "{session:#}"
    );
    let said = atm.log("a").lines().count();
    assert!(wait_until(|| atm.log("a").lines().count() > said), "it does not go on");
    // It counts as one process, and as one that does something.
    let seen = atm.wait("a", "looked at", |s| s["status"]["processes"].is_u64());
    assert_eq!(seen["status"]["processes"], 1, "{seen:#}");
    assert_eq!(atm.count_events("a", "Started"), 1);

    atm.ok(&["stop", "a"]);
    assert_eq!(state(pid), None, "it is left");
    assert_eq!(atm.get("a")["status"]["exit"]["signal"], 15);
}

#[test]
fn orphans_that_end_are_reaped() {
    let atm = Atm::start();
    let orphans = "for i in $(seq 200); do (true &); done; echo made; exec sleep 1000";
    atm.drop_spec("a", &format!("command: [sh, -c, {orphans:?}]\nterminal: false\n"));
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "made");
    let keeper = keeper(&atm, "a");
    assert!(wait_until(|| descendants(keeper) == [pid]), "left: {:?}", descendants(keeper));
}

/// By another thread than its first, and twice more: it is the process that counts.
#[test]
fn a_command_that_becomes_another_is_the_same_session() {
    let mut atm = Atm::start();
    let program = r#"
import os, threading
become = lambda: os.execvp("sh", ["sh", "-c", "echo became $$; exec sleep 1000"])
thread = threading.Thread(target=become)
thread.start()
thread.join()
"#;
    python(&atm, "a", program);
    let pid = atm.wait_pid("a");
    atm.wait_output("a", &format!("became {pid}\n"));
    let sleeps = || processes().iter().any(|one| one.pid == pid && one.argv == ["sleep", "1000"]);
    assert!(wait_until(sleeps));
    atm.restart_daemon();
    atm.settle();
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.count_events("a", "Started"), 1);
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(pid));
}

fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// What is to be looked at grows with the threads of a session; what others feel of it does not.
#[test]
fn thousands_of_threads_cost_little_and_delay_nobody() {
    let atm = Atm::start();
    let program = r#"
import threading, time
threading.stack_size(65536)
end = threading.Event()
for _ in range(3000):
    threading.Thread(target=end.wait, daemon=True).start()
print("up", flush=True)
while True:
    time.sleep(0.2) # so that it is looked at often
    print("alive", flush=True)
"#;
    python(&atm, "a", program);
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "up\n");
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    assert!(threads > 3000, "{threads} threads");
    let (began, before) = (now(), ticks(atm.daemon_pid()));
    for number in 0..5 {
        atm.drop_spec(&format!("other{number}"), SLEEPER);
        atm.wait_pid(&format!("other{number}"));
    }
    assert!(wait_until(|| began.elapsed().as_secs() >= 8));
    // Of 100 a second.
    let used = ticks(atm.daemon_pid()) - before;
    assert!(used < 240, "{used} ticks in {:?}", began.elapsed());
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(pid));
}
