//! With the daemon down: what still works, and what says 69.

use super::{
    SLEEPER,
    harness::{Atm, is_alive, told},
};

#[test]
fn get_and_its_like_say_69_and_the_way_out() {
    let atm = Atm::new();
    for verb in [&["get"][..], &["describe", "a"], &["status"], &["start", "a"], &["events"], &["plan"]] {
        let (code, out, err) = told(&atm.atm(verb));
        assert_eq!((code, out.as_str()), (Some(69), ""), "{verb:?}: {err}");
        assert!(err.contains("daemon"), "{verb:?}: {err}");
    }
}

/// Sessions have `ATM_SOCKET`: what one of them writes while its daemon is down must not go to another daemon's.
#[test]
fn what_is_meant_for_a_daemon_goes_to_no_other_while_it_is_down() {
    let atm = Atm::new();
    let file = atm.path("new.yaml").display().to_string();
    std::fs::write(&file, SLEEPER).unwrap();
    for (verb, flag) in [
        (&["apply", &file][..], "--sessions-dir"),
        (&["delete", "new"], "--sessions-dir"),
        (&["validate"], "--sessions-dir"),
        (&["config"], "--config"),
    ] {
        let (code, out, err) = told(&atm.atm(verb));
        assert_eq!((code, out.as_str()), (Some(69), ""), "{verb:?}: {err}");
        assert!(err.contains("atm.sock") && err.contains(flag), "{verb:?}: {err}");
    }
}

#[test]
fn stop_and_kill_go_to_the_keeper_and_the_will_is_honoured() {
    let mut atm = Atm::start();
    for name in ["a", "b", "c", "d"] {
        atm.drop_spec(name, SLEEPER);
    }
    let pids: Vec<i32> = ["a", "b", "c", "d"].iter().map(|name| atm.wait_pid(name)).collect();
    atm.kill_daemon();
    let (code, out, err) = told(&atm.atm_with_flags(&["stop", "a"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("a stopped") && err.contains("daemon down"), "{out}{err}");
    assert!(!is_alive(pids[0]) && is_alive(pids[1]));
    let (code, out, _) = told(&atm.atm_with_flags(&["kill", "b"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("b stopped"), "{out}");
    assert!(!is_alive(pids[1]));
    assert_eq!(atm.atm_with_flags(&["kill", "-s", "CONT", "c"]).status.code(), Some(0));
    let (code, _, err) = told(&atm.atm_with_flags(&["stop", "nobody"]));
    assert_eq!(code, Some(69), "{err}");
    // The daemon is back: what was stopped stays so, by whom is known, the rest was never touched.
    atm.up();
    for name in ["a", "b"] {
        let session = atm.wait_phase(name, "Suspended");
        assert_eq!(session["status"]["reason"], "Stopped");
        assert_eq!(session["status"]["cause"]["by"]["uid"], rustix::process::geteuid().as_raw());
    }
    assert_eq!(atm.get("b")["status"]["cause"]["reason"], "ClientKill");
    assert_eq!((atm.wait_pid("c"), atm.wait_pid("d")), (pids[2], pids[3]));
    atm.ok(&["start", "a", "b"]);
    atm.wait_pid("a");
}

#[test]
fn specs_can_be_written_and_removed_without_a_daemon() {
    let mut atm = Atm::start();
    atm.drop_spec("old", SLEEPER);
    let pid = atm.wait_pid("old");
    atm.kill_daemon();
    std::fs::write(atm.path("new.yaml"), SLEEPER).unwrap();
    let (code, out, err) = told(&atm.atm_with_flags(&["apply", &atm.path("new.yaml").display().to_string()]));
    assert_eq!((code, out.as_str()), (Some(0), "new created\n"), "{err}");
    assert!(err.contains("daemon down"), "{err}");
    let (code, out, err) = told(&atm.atm_with_flags(&["delete", "old"]));
    assert_eq!((code, out.as_str()), (Some(0), "old deleted\n"), "{err}");
    assert!(is_alive(pid));
    atm.up();
    atm.wait_pid("new");
    atm.wait_gone("old");
    assert!(!is_alive(pid));
}

#[test]
fn a_daemon_that_cannot_work_says_why() {
    let atm = Atm::start();
    let mut args = vec!["daemon".to_owned()];
    args.extend(atm.flags());
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (code, _, err) = told(&atm.atm(&words));
    assert_eq!(code, Some(75));
    assert!(err.contains(&atm.daemon_pid().to_string()), "{err}");
    // The state of another runtime directory's daemon is not shared either.
    let other = atm.path("other").display().to_string();
    let words: Vec<&str> = words
        .iter()
        .map(|word| if *word == atm.path("run").display().to_string() { other.as_str() } else { word })
        .collect();
    let (code, _, err) = told(&atm.atm(&words));
    assert_eq!(code, Some(75), "{err}");
}
