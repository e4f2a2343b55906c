//! S30: the file system of the spec directory does not answer.

use super::{
    SLEEPER,
    fuse::Mount,
    harness::{Atm, is_alive, is_root, now, signal, wait_until},
};

#[test]
fn a_spec_directory_that_does_not_answer_delays_specs_and_nothing_else() {
    if !is_root() {
        eprintln!("skipped: only root may mount");
        return;
    }
    let mut atm = Atm::new();
    atm.write_config("resyncInterval: 2s\n");
    let Some(mount) = Mount::over(&atm.specs()) else { return };
    mount.put("a.yaml", SLEEPER);
    mount.put("again.yaml", "command: [sleep, '1000']\nrestartPolicy: Always\nbackoff: {initial: 0s}\n");
    atm.up();
    let (a, again) = (atm.wait_pid("a"), atm.wait_pid("again"));

    mount.hang(true);
    mount.put("late.yaml", SLEEPER);
    let warns = |health: &serde_json::Value| health["warnings"].to_string().contains("has not answered for");
    let health = atm.wait_health("waiting for the directory", warns);
    assert!(health["specsUnavailable"].is_null(), "slow is not gone: {health:#}");
    assert!(atm.ok(&["status"]).contains("the spec directory has not answered for"));

    // Everybody else goes on.
    signal(again, 9);
    assert!(wait_until(|| atm.get("again")["status"]["pid"]
        .as_i64()
        .is_some_and(|pid| pid != i64::from(again))));
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(a));
    atm.ok(&["start", "a"]);
    let a = atm.wait_pid("a");
    let begun = now();
    assert_eq!(atm.list().len(), 2);
    assert!(begun.elapsed().as_secs() < 3, "a question about sessions waits for the directory");

    mount.hang(false);
    atm.wait_pid("late");
    atm.wait_health("well again", |health| !warns(health));
    assert_eq!(atm.wait_pid("a"), a);

    // And sessions that are to end with the daemon do not wait for it. The daemon's own process can go only when the
    // kernel lets its thread go, which is in a system call that not even SIGKILL ends.
    mount.hang(true);
    atm.wait_health("waiting for the directory", warns);
    signal(atm.daemon_pid(), 15);
    assert!(wait_until(|| !is_alive(a) && atm.keepers().is_empty()));
    mount.hang(false);
    assert_eq!(atm.stop_daemon(), 0);
}
