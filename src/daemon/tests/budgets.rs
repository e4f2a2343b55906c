//! Budgets over hours of simulated time: looks, decisions and stops together.

use super::*;
use crate::api::{control::CleanupParams, event::EventKind, status::Activity};

const MIB: u64 = 1 << 20;

fn spec(more: &str) -> String {
    format!("command: x\n{more}")
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_goes_at_its_limit_and_one_that_works_does_not() {
    with_daemon("{}", async |field| {
        let idle = field.write("idle", &spec("maxIdle: 1h"));
        let works = field.write("works", &spec("maxIdle: 1h"));
        field.looker.does(&works, |doing| doing.computes = true);
        field.until_phase(&idle, Phase::Running).await;
        let began = field.daemon.clock.now();
        field.until_phase(&idle, Phase::Evicted).await;
        let lasted = field.daemon.clock.now() - began;
        assert!((secs(3600)..secs(3602)).contains(&lasted), "evicted after {lasted:?}");
        assert_eq!(field.shows(), "idle Evicted/IdleTimeout, works Running");
        assert_eq!(field.told(&idle, EventKind::Evicted), ["idle for longer than its maxIdle of 1h"]);

        // An hour of silence is two looks a minute, and nothing else.
        let looks = field.looker.looks_at(&idle);
        assert!((100..200).contains(&looks), "{looks} looks");
        field.pass(secs(86400)).await;
        assert_eq!(field.looker.looks_at(&idle), looks, "what does not run is not looked at");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_wakes_between_the_decision_and_the_signal_stays() {
    with_daemon("{}", async |field| {
        let name = field.write("a", &spec("maxIdle: 60s"));
        field.until_phase(&name, Phase::Running).await;
        field.pass(secs(59)).await;
        // The next look finds it idle for too long; the one before the signal finds a client.
        field.looker.wakes_after_looks(&name, 1);
        field.pass(secs(30)).await;
        assert_eq!(field.shows(), "a Running");
        assert!(field.looker.has_woken(&name), "the second look was taken");
        assert_eq!(field.told(&name, EventKind::Evicted), Vec::<String>::new());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_waited_for_and_its_end_is_acted_on_at_once() {
    with_daemon("ageGrace: 1h", async |field| {
        let name = field.write("a", &spec("maxAge: 10m\nrestartPolicy: Never"));
        field.until_phase(&name, Phase::Running).await;
        field.daemon.touch(&name, Some(Activity::Busy)).unwrap();
        field.pass(secs(1800)).await;
        assert_eq!(field.shows(), "a Running");
        field.daemon.touch(&name, Some(Activity::Idle)).unwrap();
        let began = field.daemon.clock.now();
        field.until_phase(&name, Phase::Evicted).await;
        assert!(field.daemon.clock.now() - began < secs(1));
        assert_eq!(field.shows(), "a Evicted/MaxAgeExceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn under_pressure_one_goes_at_a_time_and_each_comes_back_when_it_fits() {
    with_daemon("maxMemory: 1000MiB", async |field| {
        let names = ["a", "b", "c"].map(|name| field.write(name, &spec("")));
        for name in &names {
            field.looker.does(name, |doing| doing.memory = 300 * MIB);
            field.until_phase(name, Phase::Running).await;
        }
        field.pass(secs(60)).await;
        assert_eq!(field.shows(), "a Running, b Running, c Running");
        field.looker.does(&names[2], |doing| (doing.memory, doing.computes) = (500 * MIB, true));
        field.until_phase(&names[0], Phase::Pending).await;
        field.pass(secs(600)).await;
        assert_eq!(field.shows(), "a Pending/MemoryBudget, b Running, c Running");
        field.looker.does(&names[2], |doing| doing.memory = 100 * MIB);
        field.until_phase(&names[0], Phase::Running).await;
        field.pass(secs(600)).await;
        assert_eq!(field.shows(), "a Running, b Running, c Running");
        assert_eq!(field.keepers().starts(&names[0]).len(), 2, "it does not flap");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_does_not_take_an_eviction_is_counted_and_the_others_go_on() {
    with_daemon("{}", async |field| {
        let deaf = field.write("deaf", &spec("maxIdle: 60s"));
        let other = field.write("other", &spec("maxIdle: 60s"));
        field.until_phase(&deaf, Phase::Running).await;
        field.keepers().behave(&deaf, |manner| manner.answers = None);
        field.until_phase(&other, Phase::Evicted).await;
        field.until("counted", |world| world.counters.cleanup_errors > 1).await;
        field.keepers().behave(&deaf, |manner| manner.answers = Some(secs(0)));
        field.until_phase(&deaf, Phase::Evicted).await;
        let counters = field.daemon.store.look().counters.clone();
        assert_eq!((counters.started, counters.evictions), (2, 2));
        assert_eq!(counters.ended.get("IdleTimeout"), Some(&2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cleanup_by_hand_ends_who_is_over_the_emergency_thresholds() {
    with_daemon("emergency: {maxIdle: 5m, maxAge: 1h}", async |field| {
        let idle = field.write("idle", &spec(""));
        let works = field.write("works", &spec(""));
        field.looker.does(&works, |doing| doing.computes = true);
        field.until_phase(&idle, Phase::Running).await;
        field.pass(secs(400)).await;
        let params = CleanupParams { emergency: true, dry_run: true, ..CleanupParams::default() };
        let viewer = crate::daemon::view::Viewer { uid: 0, privileged: true };
        let names = |params: &CleanupParams| {
            let evictions = field.daemon.clean_up_now(params, viewer, PERSON);
            evictions.into_iter().map(|eviction| eviction.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&params), std::slice::from_ref(&idle));
        field.pass(secs(60)).await;
        assert_eq!(field.shows(), "idle Running, works Running");
        assert_eq!(names(&CleanupParams { dry_run: false, ..params }), std::slice::from_ref(&idle));
        field.until_phase(&idle, Phase::Evicted).await;
        assert_eq!(field.shows(), "idle Evicted/IdleTimeout, works Running");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_limit_of_the_config_holds_from_its_edit_on() {
    with_daemon("{}", async |field| {
        let lasting = "maxIdle: never, maxAge: never, maxMemory: never, sessionMemory: never";
        field.config(&format!("{{{lasting}}}"));
        // Each with the edit that ends it, and as what.
        let cases = [
            ("maxIdle: 1h", Activity::Idle, "Evicted/IdleTimeout"),
            ("maxAge: 2h", Activity::Waiting, "Evicted/MaxAgeExceeded"),
            ("maxAge: 2h, ageGrace: 0s", Activity::Busy, "Evicted/MaxAgeExceeded"),
            ("sessionMemory: 200MiB", Activity::Busy, "Evicted/SessionMemory"),
            ("maxMemory: 200MiB", Activity::Waiting, "Pending/MemoryBudget"),
            ("maxSessions: 0", Activity::Waiting, "Pending/MaxSessions"),
        ];
        for (number, (edit, activity, expect)) in cases.into_iter().enumerate() {
            let name = field.write(&format!("s{number}"), &spec("restartPolicy: Never"));
            field.until_phase(&name, Phase::Running).await;
            field.looker.does(&name, |doing| doing.memory = 300 * MIB);
            field.daemon.touch(&name, Some(activity)).unwrap();
            field.pass(secs(3 * 3600)).await;
            assert_eq!(field.shows(), format!("{name} Running"), "{edit}");
            field.config(&format!("{{{lasting}, {edit}}}").replace(
                // The later of two would be a mistake.
                &format!("{}: never, ", edit.split(':').next().unwrap()),
                "",
            ));
            let what = format!("{edit} did not hold");
            let seen = field.daemon.store.reader();
            let ended = seen.wait_until(|world| world.sessions[&name].shown.phase != Phase::Running);
            assert!(tokio::time::timeout(secs(60), ended).await.is_ok(), "{what}");
            field.pass(secs(1)).await;
            assert_eq!(field.shows(), format!("{name} {expect}"), "{edit}");
            field.config(&format!("{{{lasting}}}"));
            field.remove(&name);
            field.until("gone", |world| world.sessions.is_empty()).await;
        }
    })
    .await;
}
