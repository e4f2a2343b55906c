//! A process that may not be signalled: what a session started belongs to another user by now.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    process::Command,
};

use super::{
    SLEEPER,
    harness::{Atm, executable, is_alive, is_root, signal, wait_until},
};

/// The daemon's user, and the one that a process of its session becomes. Neither needs an account.
const OWNER: u32 = 54_322;
const OTHER: u32 = 54_323;

/// A directory of `OWNER`'s with a daemon of `OWNER`'s, and in it a program that becomes `OTHER`; `None`, with a word
/// why, where that cannot be had.
fn daemon_of_somebody() -> Option<Atm> {
    if !is_root() {
        eprintln!("skipped: only root can make a program that changes its user");
        return None;
    }
    let mut atm = Atm::new();
    let helper = atm.path("become");
    match fs::read("/usr/bin/setpriv") {
        Ok(bytes) => executable(&helper, &bytes),
        Err(error) => {
            eprintln!("skipped: /usr/bin/setpriv: {error}");
            return None;
        }
    }
    for path in [atm.path(""), atm.specs()] {
        chown(&path, Some(OWNER), Some(OWNER)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    atm.write_config("maxSessions: 2\n");
    fs::set_permissions(atm.path("atm.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    // The setuid bit last: a change of its owner takes it away.
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o4755)).unwrap();
    let ids = |id: u32| [format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned()];
    let mut tried = Command::new("setpriv");
    tried.args(ids(OWNER)).arg(&helper).args(ids(OTHER)).args(["id", "-ru"]);
    let tried = tried.current_dir("/").output().unwrap();
    if String::from_utf8_lossy(&tried.stdout).trim() != OTHER.to_string() {
        eprintln!("skipped: no setuid programs on this file system");
        return None;
    }
    atm.through = [vec!["setpriv".to_owned()], ids(OWNER).to_vec()].concat();
    atm.up();
    Some(atm)
}

#[test]
fn what_outlives_sigkill_keeps_its_name_and_slot_and_others_go_on_until_it_ends() {
    let Some(atm) = daemon_of_somebody() else { return };
    let text = format!(
        "command: [sh, -c, '{} --reuid={OTHER} --regid={OTHER} --clear-groups sleep 1000 & echo made $!.; wait']\n\
         terminal: false\nterminationGracePeriod: 1s\nworkingDir: /\n",
        atm.path("become").display()
    );
    let drop_spec = |name: &str, text: &str| {
        atm.drop_spec(name, text);
        chown(atm.spec_path(name), Some(OWNER), Some(OWNER)).unwrap();
    };
    drop_spec("stuck", &text);
    let main = atm.wait_pid("stuck");
    let said = atm.wait_output("stuck", ".");
    let foreign: i32 = said.trim().trim_start_matches("made ").trim_end_matches('.').parse().unwrap();
    let is_others = || {
        let status = fs::read_to_string(format!("/proc/{foreign}/status")).unwrap_or_default();
        status.contains(&format!("Uid:\t{OTHER}\t{OTHER}\t{OTHER}"))
    };
    assert!(wait_until(is_others), "the helper never became another user");

    atm.ok(&["stop", "stuck", "--no-wait"]);
    let session = atm.wait("stuck", "told as unkillable", |s| s["status"]["reason"] == "Unkillable");
    assert_eq!(session["status"]["phase"], "Stopping", "{session:#}");
    assert!(!is_alive(main) && is_alive(foreign));
    assert_eq!(atm.count_events("stuck", "Unkillable"), 1);

    // Others go on, in what room there is beside it.
    let sleeper = format!("{SLEEPER}workingDir: /\n");
    drop_spec("other", &sleeper);
    let other = atm.wait_pid("other");
    drop_spec("third", &sleeper);
    let waiting = atm.wait_phase("third", "Pending");
    assert_eq!(waiting["status"]["reason"], "MaxSessions", "{waiting:#}");
    atm.ok(&["restart", "other"]);
    assert!(!is_alive(other));
    atm.ok(&["start", "stuck", "--no-wait"]);
    atm.ok(&["restart", "other"]); // time enough to start the wrong one
    assert_eq!(atm.get("stuck")["status"]["phase"], "Stopping", "the name is not free");
    assert_eq!(atm.get("third")["status"]["phase"], "Pending", "the slot is not free");
    assert_eq!(atm.keepers().len(), 2);
    atm.ok(&["stop", "stuck", "--no-wait"]);

    signal(foreign, 9);
    atm.wait_phase("stuck", "Suspended");
    atm.wait_pid("third");
    assert!(!is_alive(foreign));
}

/// Where procfs shows a user its own processes alone, what is not seen is not taken for dead.
#[test]
fn what_procfs_hides_is_not_taken_for_dead() {
    let Some(mut atm) = daemon_of_somebody() else { return };
    atm.kill_daemon();
    let hide = "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"";
    let mut through: Vec<String> = ["unshare", "-m", "sh", "-c", hide, "sh"].map(str::to_owned).into();
    through.append(&mut atm.through);
    atm.through = through;
    atm.up();
    let text = format!(
        "command: [sh, -c, '{} --reuid={OTHER} --regid={OTHER} --clear-groups sleep 1000 & \
         ls /proc/1/stat 2>&1; echo made $!.; wait']\nterminal: false\nterminationGracePeriod: 1s\nworkingDir: /\n",
        atm.path("become").display()
    );
    atm.drop_spec("a", &text);
    chown(atm.spec_path("a"), Some(OWNER), Some(OWNER)).unwrap();
    let main = atm.wait_pid("a");
    let said = atm.wait_output("a", ".");
    assert!(said.contains("No such file"), "nothing is hidden: {said}");
    let foreign = said.split("made ").nth(1).and_then(|rest| rest.split('.').next());
    let foreign: i32 = foreign.unwrap().parse().unwrap();
    let keepers = |atm: &Atm| atm.keepers().iter().map(|keeper| keeper.pid).collect::<Vec<_>>();
    let before = keepers(&atm);
    atm.restart_daemon();
    atm.settle_as(OWNER);
    assert_eq!(atm.wait_pid("a"), main);
    assert_eq!(keepers(&atm), before);

    // What it may neither see nor signal is still there: it waits for it to end.
    atm.ok(&["stop", "a", "--no-wait"]);
    let session = atm.wait("a", "told as unkillable", |s| s["status"]["reason"] == "Unkillable");
    assert!(is_alive(foreign) && !is_alive(main), "{session:#}");
    signal(foreign, 9);
    atm.wait_phase("a", "Suspended");
}

impl Atm {
    /// As [`Atm::settle`], with files of this user.
    fn settle_as(&self, uid: u32) {
        self.drop_spec("zz-settled", &format!("{SLEEPER}workingDir: /\n"));
        chown(self.spec_path("zz-settled"), Some(uid), Some(uid)).unwrap();
        self.wait_pid("zz-settled");
        self.remove_spec("zz-settled");
        self.wait_gone("zz-settled");
    }
}
