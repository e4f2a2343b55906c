//! What follows an end.

use super::*;
use crate::{
    api::{
        cause::{Cause, StopReason},
        event::EventKind,
        record::Exit,
        time::Moment,
    },
    plan::{Verdict, Wait},
};

/// Ends `name` with a failure, and tells when it is started again and what date was announced for that.
async fn fail(field: &Field, name: &SessionName) -> (Duration, Moment) {
    let before = field.keepers().starts(name).len();
    let failed_at = field.daemon.clock.now();
    field.keepers().exit(name, Exit::Code(1));
    field
        .until("back-off", |world| {
            matches!(world.sessions[name].verdict, Some(Verdict::Wait(Wait::BackOff { .. })))
        })
        .await;
    let announced = field.entry(name, |entry| entry.plan.history.not_before).expect("a date");
    field.until_phase(name, Phase::Running).await;
    let starts = field.keepers().starts(name);
    assert_eq!(starts.len(), before + 1, "one start for one failure");
    let started = *starts.last().unwrap();
    assert!(started >= announced, "started before its back-off was over");
    assert!(started - announced < Duration::from_millis(20), "late by {:?}", started - announced);
    (started - failed_at, announced)
}

#[tokio::test(start_paused = true)]
async fn a_back_off_of_minutes_is_doubled_up_to_its_limit_and_kept_to_the_date() {
    with_daemon("{}", async |field| {
        let text = "command: x\nrestartPolicy: OnFailure\nbackoff: {initial: 1m, max: 5m, resetAfter: 10m}";
        let name = field.write("a", text);
        field.until_phase(&name, Phase::Running).await;
        for minutes in [1, 2, 4, 5, 5] {
            let (waited, _) = fail(field, &name).await;
            let planned = secs(60 * minutes).as_secs_f64();
            let part = waited.as_secs_f64() / planned;
            assert!((0.9..=1.101).contains(&part), "waited {waited:?} instead of {minutes} min ± 10 %");
        }
        assert_eq!(field.entry(&name, |entry| entry.plan.history.failures), 5);

        // A run that lasts makes it moot.
        field.pass(secs(601)).await;
        let (waited, _) = fail(field, &name).await;
        assert!(waited < secs(67), "{waited:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resync_does_not_cut_a_back_off_short() {
    with_daemon("resyncInterval: 1s", async |field| {
        let name = field.write("a", "command: x\nbackoff: {initial: 1h, max: 1h}");
        field.until_phase(&name, Phase::Running).await;
        let (waited, _) = fail(field, &name).await;
        assert!(waited > secs(54 * 60), "{waited:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_is_the_end_by_its_policy() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x");
        field.until_phase(&name, Phase::Running).await;
        field.keepers().exit(&name, Exit::Code(0));
        field.pass(secs(24 * 3600)).await;
        assert_eq!(field.shows(), "a Succeeded/Completed");
        assert_eq!(field.keepers().starts(&name).len(), 1);
        assert_eq!(field.told(&name, EventKind::Exited).len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_kernel_ended_for_want_of_memory_is_told_as_an_eviction() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\nrestartPolicy: Never\nmaxMemory: 100MiB");
        field.until_phase(&name, Phase::Running).await;
        field.keepers().exhaust(&name, Cause::rule(StopReason::SessionMemory, "over its maxMemory"));
        field.until_phase(&name, Phase::Evicted).await;
        assert_eq!(field.told(&name, EventKind::Evicted), ["over its maxMemory"]);
        assert_eq!(field.told(&name, EventKind::Stopped).len(), 1);
    })
    .await;
}
