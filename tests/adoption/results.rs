//! D11, D43, P05: results are counted once, survive the daemon and the machine, and are not repeated.

use std::{fs, time::Instant};

use super::{
    SLEEPER, edit_json,
    harness::{Atm, is_alive, pause, wait_until},
};

#[test]
fn an_exit_while_the_daemon_is_down_counts_once() {
    let mut atm = Atm::start();
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 3", atm.path("go").display());
    let command = atm.counting("a", &script);
    atm.drop_spec("a", &format!("{command}backoff: {{initial: 1h, max: 1h}}\n"));
    let pid = atm.wait_pid("a");
    atm.kill_daemon();
    fs::write(atm.path("go"), "").unwrap();
    assert!(wait_until(|| !is_alive(pid) && atm.keepers().is_empty()));
    let mut first = None;
    for _ in 0..3 {
        atm.up();
        let session = atm.wait("a", "backing off", |s| s["status"]["reason"] == "BackOff");
        let status = &session["status"];
        assert_eq!((&status["restarts"], &status["exit"]["code"]), (&1.into(), &3.into()), "{session:#}");
        let next = first.get_or_insert_with(|| status["nextStartAt"].clone());
        assert!(next.is_string());
        // To the minute: what is shown goes through two clocks.
        assert_eq!(next.as_str().unwrap()[..15], status["nextStartAt"].as_str().unwrap()[..15]);
        assert_eq!(atm.count_events("a", "Exited"), 1);
        atm.kill_daemon();
    }
    assert_eq!(atm.runs("a"), 1);
}

/// The daemon dies more often than the session: the back-off grows all the same.
#[test]
fn a_crash_loop_is_not_sped_up_by_a_daemon_that_crashes_too() {
    let mut atm = Atm::start();
    let command = atm.counting("a", "exit 1");
    let begun = Instant::now();
    atm.drop_spec("a", &format!("{command}backoff: {{initial: 100ms, max: 1m}}\n"));
    assert!(wait_until(|| atm.runs("a") > 0));
    for round in 0..12_u32 {
        for _ in 0..(round * 7) % 15 {
            pause();
        }
        atm.restart_daemon();
    }
    assert!(wait_until(|| atm.runs("a") > 3));
    let runs = atm.runs("a");
    let passed = begun.elapsed().as_secs_f64();
    // 100 ms, 200 ms, 400 ms… each at most a tenth shorter.
    let (mut allowed, mut at) = (1, 0.0);
    while at <= passed {
        at += 0.09 * f64::from(1 << (allowed - 1));
        allowed += 1;
    }
    assert!(runs < allowed, "{runs} runs within {passed} s, {allowed} are too many");
    let restarts =
        atm.wait("a", "backing off", |s| s["status"]["reason"] == "BackOff")["status"]["restarts"].clone();
    let counted = wait_until(|| atm.get("a")["status"]["restarts"] == atm.runs("a"));
    assert!(counted, "{restarts} restarts were counted for {} runs", atm.runs("a"));
}

#[test]
fn what_runs_once_runs_again_only_for_a_change_or_a_person() {
    let mut atm = Atm::start();
    let command = format!("{}restartPolicy: Never\n", atm.counting("a", "exit 4"));
    atm.drop_spec("a", &command);
    let ended = |atm: &Atm, runs: usize| {
        let met = wait_until(|| atm.runs("a") == runs && atm.get("a")["status"]["phase"] == "Failed");
        assert!(met, "ran {} times, not {runs}: {:#}", atm.runs("a"), atm.get("a"));
        assert_eq!(atm.get("a")["status"]["exit"]["code"], 4);
    };
    ended(&atm, 1);
    // The daemon's death, and a file that means the same.
    atm.restart_daemon();
    atm.drop_spec("a", &format!("# other words\n{command}"));
    atm.settle();
    ended(&atm, 1);
    // A reboot: nothing lives, the runtime directory is empty, and moments mean nothing.
    atm.kill_daemon();
    fs::remove_dir_all(atm.runtime()).unwrap();
    atm.up();
    atm.settle();
    ended(&atm, 1);
    atm.kill_daemon();
    atm.fake_reboot("a");
    atm.up();
    atm.settle();
    ended(&atm, 1);
    // A person, by name; and then again nobody.
    atm.ok(&["start", "--no-wait", "a"]);
    ended(&atm, 2);
    atm.restart_daemon();
    atm.settle();
    ended(&atm, 2);
    // A change, made while the daemon was down.
    atm.kill_daemon();
    atm.drop_spec("a", &format!("{command}env: {{X: '1'}}\n"));
    atm.up();
    ended(&atm, 3);
    // And one that it sees.
    atm.drop_spec("a", &format!("{command}env: {{X: '2'}}\n"));
    ended(&atm, 4);
    atm.restart_daemon();
    atm.settle();
    ended(&atm, 4);
}

#[test]
fn a_name_that_was_forgotten_begins_anew() {
    let mut atm = Atm::start();
    let command = format!("{}restartPolicy: Never\n", atm.counting("a", "exit 0"));
    atm.drop_spec("a", &command);
    atm.wait_phase("a", "Succeeded");
    atm.remove_spec("a");
    atm.wait_gone("a");
    atm.restart_daemon();
    assert!(atm.list().is_empty(), "{:#?}", atm.list());
    atm.kill_daemon();
    atm.drop_spec("a", &command);
    atm.up();
    atm.wait_phase("a", "Succeeded");
    assert_eq!(atm.runs("a"), 2);
}

#[test]
fn what_the_machine_went_down_under_is_interrupted() {
    let mut atm = Atm::start();
    for (name, policy) in [("once", "Never"), ("again", "OnFailure")] {
        let command = atm.counting(name, "exec sleep 1000");
        atm.drop_spec(name, &format!("{command}restartPolicy: {policy}\n"));
        atm.wait_pid(name);
    }
    // Once with the files of the run, as on a runtime directory that is no tmpfs, and once without.
    for (round, keep) in [true, false].into_iter().enumerate() {
        atm.kill_daemon();
        for name in ["once", "again"] {
            if atm.keepers().iter().any(|keeper| keeper.argv.last().is_some_and(|last| last == name)) {
                atm.cut(name);
            }
            atm.fake_reboot(name);
        }
        if !keep {
            fs::remove_dir_all(atm.runtime()).unwrap();
        }
        atm.up();
        let session = atm.wait_phase("once", "Failed");
        assert_eq!(session["status"]["reason"], "Interrupted", "{session:#}");
        atm.wait_pid("again");
        assert_eq!(atm.runs("once"), 1);
        assert_eq!(atm.runs("again"), 2 + round);
    }
    // The other way round: once without files for what runs once.
    let command = atm.counting("bare", "exec sleep 1000");
    atm.drop_spec("bare", &format!("{command}restartPolicy: Never\n"));
    atm.wait_pid("bare");
    atm.kill_daemon();
    for keeper in ["bare", "again"] {
        atm.cut(keeper);
        atm.fake_reboot(keeper);
    }
    fs::remove_dir_all(atm.runtime()).unwrap();
    atm.up();
    assert_eq!(atm.wait_phase("bare", "Failed")["status"]["reason"], "Interrupted");
    atm.restart_daemon();
    atm.settle();
    assert_eq!(atm.wait_phase("bare", "Failed")["status"]["reason"], "Interrupted");
    assert_eq!(atm.runs("bare"), 1);
}

/// Pids are used again: those of a boot before are nobody's that we know.
#[test]
fn no_process_is_signalled_for_a_record_of_another_boot() {
    no_stranger_is_signalled(|atm, _| atm.fake_reboot("a"));
}

/// Nor are those of another pid namespace: a container that was started again on the same boot.
#[test]
fn no_process_is_signalled_for_a_record_of_another_pid_namespace() {
    no_stranger_is_signalled(|atm, _| {
        for (file, pointer) in [("record.json", "/pidNamespace"), ("intent.json", "/pidNamespace")] {
            edit_json(&atm.run_file("a", file), |value| {
                *value.pointer_mut(pointer).expect("it says where it is from") = 4.into();
            });
        }
    });
}

/// And those of this boot that another process has by now.
#[test]
fn no_process_is_signalled_for_its_pid_alone() {
    no_stranger_is_signalled(|atm, born| {
        edit_json(&atm.run_file("a", "record.json"), |value| {
            for id in ["/child", "/keeper", "/members/0"] {
                *value.pointer_mut(id).and_then(|id| id.get_mut("startTime")).unwrap() = (born - 1).into();
            }
        });
    });
}

/// A keeper and its tree die without a word, and their record names a process that is none of ours, with its start
/// time; then `change` makes it another's.
fn no_stranger_is_signalled(change: impl FnOnce(&Atm, u64)) {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    atm.kill_daemon();
    atm.cut("a");
    let mut decoy = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = decoy.id().cast_signed();
    let born = super::harness::start_time(pid).unwrap();
    let as_decoy = |value: &mut serde_json::Value| {
        let id = serde_json::json!({"pid": pid, "startTime": born});
        value["child"] = id.clone();
        value["keeper"] = id.clone();
        value["members"] = serde_json::json!([id]);
    };
    edit_json(&atm.run_file("a", "record.json"), as_decoy);
    change(&atm, born);
    atm.up();
    atm.wait_pid("a");
    let alive = is_alive(pid);
    decoy.kill().unwrap();
    let ended = decoy.wait().unwrap();
    assert!(alive, "a stranger was ended: {ended}");
}
