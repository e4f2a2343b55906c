//! Machines that have no process, no descriptor and no view of others to give.

use std::{fs, process::Command};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, is_root, now, wait_until},
};

/// Whether the number of processes can be limited for a namespace alone: from Linux 6.14 on. Before, it is the whole
/// machine's, and nothing for a test.
fn limits_by_namespace() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let can = is_root() && version >= (6, 14);
    if !can {
        eprintln!("skipped: needs root and Linux 6.14, not {release}");
    }
    can
}

/// A session takes every process that there is to have, and so that whatever is ended is made again at once. Others
/// run on, the daemon answers, what is to start waits as long as it must, and the bomb ends when it is told to.
#[test]
fn a_fork_bomb_is_its_own_sessions_trouble_and_can_be_ended() {
    if !limits_by_namespace() {
        return;
    }
    let outside = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let mut atm = Atm::new();
    let limit = "echo 400 > /proc/sys/kernel/pid_max && exec \"$@\"";
    let inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", limit, "sh"];
    atm.through = inside.map(str::to_owned).into();
    atm.up();
    assert_eq!(fs::read_to_string("/proc/sys/kernel/pid_max").unwrap(), outside);
    atm.drop_spec("beside", "command: [sh, -c, 'echo on; exec sleep 1000']\n");
    atm.drop_spec("rests", SLEEPER);
    let rests = atm.wait_pid("rests");

    let bomb = "$SIG{TERM} = $SIG{HUP} = q(IGNORE); $| = 1; \
                for (;;) { next if defined fork; print qq(refused\\n) if !$said++; select undef, undef, undef, 0.1 }";
    atm.drop_spec(
        "bomb",
        &format!("command: [perl, -e, {bomb:?}]\nterminal: false\nterminationGracePeriod: 1s\nrestartPolicy: Never\n"),
    );
    atm.wait_output("bomb", "refused\n");
    // Who asks is answered.
    let asked = now();
    assert_eq!(atm.get("rests")["status"]["pid"], rests);
    assert!(asked.elapsed().as_secs() < 10, "answered after {:?}", asked.elapsed());
    // It is nobody's failure that there is no process to be had: it is tried again soon, and counts as no crash.
    atm.drop_spec("next", SLEEPER);
    let next = atm.wait("next", "refused by the machine", |s| s["status"]["reason"] == "HostError");
    assert_eq!(next["status"]["phase"], "Pending", "{next:#}");

    let asked = now();
    atm.ok(&["kill", "bomb"]);
    let took = asked.elapsed();
    assert!(took.as_secs() < 30, "ended after {took:?}");
    atm.wait_pid("next");
    assert_eq!(atm.get("rests")["status"]["pid"], rests);
    let keeper =
        |name: &str| atm.keepers().iter().filter(|one| one.argv.last().is_some_and(|n| n == name)).count();
    assert_eq!((keeper("bomb"), keeper("rests"), keeper("next")), (0, 1, 1));
}

/// The daemon has no descriptor left: what runs stays, what is to start is tried again.
#[test]
fn without_descriptors_nobody_is_lost_and_starts_are_tried_again() {
    let mut atm = Atm::new();
    atm.through = ["prlimit", "--nofile=40:4096"].map(str::to_owned).into();
    atm.up();
    let names: Vec<String> = (0..40).map(|number| format!("s{number:02}")).collect();
    for name in &names {
        atm.drop_spec(name, SLEEPER);
    }
    let daemon = atm.daemon_pid();
    let told = || atm.daemon_log().contains("Too many open files");
    assert!(wait_until(told), "{}", atm.daemon_log());
    // Who asks may have to ask again.
    let mut early = Vec::new();
    assert!(wait_until(|| {
        let output = atm.atm(&["get", "-o", "json"]);
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let running = listed.into_iter().filter(|session| session["status"]["phase"] == "Running");
        let known = running.map(|session| (session["name"].clone(), session["status"]["pid"].clone()));
        early = known.filter(|(_, pid)| pid.is_i64()).collect();
        !early.is_empty()
    }));
    assert!(is_alive(daemon));

    let raised = Command::new("prlimit").args(["--nofile=4096:", "--pid", &daemon.to_string()]).status();
    assert!(raised.unwrap().success());
    for name in &names {
        let pid = atm.wait_pid(name);
        assert!(is_alive(pid));
        assert_eq!(atm.get(name)["status"]["restarts"], 0, "{name}");
        // One whose keeper could not be watched at first was found running.
        let told = ["Started", "Adopted"].map(|kind| atm.count_events(name, kind));
        assert!(told.iter().sum::<usize>() >= 1 && told[0] <= 1, "{name}: {told:?}");
    }
    assert_eq!(atm.keepers().len(), names.len());
    for (name, pid) in early {
        assert_eq!(atm.get(name.as_str().unwrap())["status"]["pid"], pid, "{name} was lost");
    }
}
