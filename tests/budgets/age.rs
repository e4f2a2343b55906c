//! `maxAge` and `ageGrace`.

use super::{
    SLEEPER, event,
    harness::{Atm, now, wait_until},
    seconds_between, wait_over,
};

#[test]
fn an_old_session_is_started_afresh_and_one_that_runs_once_is_evicted() {
    let atm = Atm::start();
    let busy = "command: [nice, sh, -c, 'while :; do :; done']\nmaxAge: 2s\nterminationGracePeriod: 1s\n";
    atm.drop_spec("again", busy);
    atm.drop_spec("once", &format!("{busy}restartPolicy: Never\n"));
    let first = atm.wait_pid("again");
    let once = wait_over(&atm, "once", "Evicted", "MaxAgeExceeded");
    assert!(once["status"]["message"].to_string().contains("maxAge of 2s"), "{once:#}");
    let second = atm.wait("again", "another run", |s| {
        s["status"]["phase"] == "Running"
            && s["status"]["pid"].as_i64().is_some_and(|pid| pid != i64::from(first))
    });
    assert_eq!(second["status"]["restarts"], 0, "it did not fail");
    let told = event(&atm, "again", "Evicted");
    assert_eq!(told["reason"], "MaxAgeExceeded");
    let counters = atm.health()["counters"].clone();
    assert!(counters["ended"]["MaxAgeExceeded"].as_u64() >= Some(2), "{counters:#}");
    assert!(
        counters["evictions"].as_u64() >= Some(2) && counters["started"].as_u64() >= Some(3),
        "{counters:#}"
    );
}

#[test]
fn a_busy_one_may_finish_its_turn_within_its_grace() {
    let atm = Atm::start_with("ageGrace: 4s\n");
    for name in ["endless", "quick", "control"] {
        atm.drop_spec(name, &format!("{SLEEPER}maxAge: 2s\nrestartPolicy: Never\n"));
        atm.wait_pid(name);
        if name != "control" {
            atm.ok(&["touch", name, "--activity", "busy"]);
        }
    }
    let started = atm.get("endless")["status"]["startedAt"].clone();
    wait_over(&atm, "control", "Evicted", "MaxAgeExceeded");
    atm.ok(&["touch", "quick", "--activity", "idle"]);
    wait_over(&atm, "quick", "Evicted", "MaxAgeExceeded");
    let endless = wait_over(&atm, "endless", "Evicted", "MaxAgeExceeded");
    assert!(endless["status"]["message"].to_string().contains("ageGrace of 4s"), "{endless:#}");
    let age = seconds_between(&started, &event(&atm, "endless", "Evicted")["at"]);
    assert!(age > 6.0, "ended after {age} s");
}

/// Counted from its start, not from when a daemon first saw it.
#[test]
fn an_age_survives_the_daemon() {
    let mut atm = Atm::start();
    atm.drop_spec("a", &format!("{SLEEPER}maxAge: 12s\nrestartPolicy: Never\n"));
    atm.wait_pid("a");
    let begun = now();
    assert!(wait_until(|| begun.elapsed().as_secs() >= 9));
    atm.restart_daemon();
    let restarted = now();
    wait_over(&atm, "a", "Evicted", "MaxAgeExceeded");
    let took = restarted.elapsed();
    assert!(begun.elapsed().as_secs_f64() > 11.5, "too soon");
    assert!(took.as_secs() < 11, "counted anew: ended {took:?} after the restart");
}
