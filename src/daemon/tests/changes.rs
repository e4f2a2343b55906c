//! Specs and limits that change while sessions run.

use super::*;
use crate::api::{cause::StopReason, event::EventKind};

#[tokio::test(start_paused = true)]
async fn limits_change_live_and_who_stays_within_them_is_not_touched() {
    with_daemon("maxSessions: 1", async |field| {
        let names = ["a", "b", "c"].map(|name| field.write(name, "command: x"));
        field.until_phase(&names[0], Phase::Running).await;
        let first = field.entry(&names[0], |entry| entry.plan.observed.run_id());
        field.config("maxSessions: 3");
        field.until("three running", |world| world.counts.running == 3).await;

        field.keepers().behave(&names[1], |manner| manner.ends = secs(5));
        field.config("maxSessions: 1");
        field.until("one running", |world| world.counts.running == 1 && world.counts.stopping == 0).await;
        field.pass(secs(3600)).await;
        let running = field.keepers().live();
        assert_eq!(running.len(), 1, "{}", field.shows());
        for name in names.iter().filter(|name| !running.contains(name)) {
            let cause = field.entry(name, |entry| entry.plan.history.last.clone().unwrap().cause.unwrap());
            assert_eq!(cause.reason, StopReason::MaxSessions);
            assert_eq!(field.told(name, EventKind::Evicted).len(), 1);
        }
        assert_eq!(field.keepers().starts(&running[0]).len(), 1, "who stays was not touched");
        if running[0] == names[0] {
            assert_eq!(field.entry(&names[0], |entry| entry.plan.observed.run_id()), first);
        }
        assert_eq!(field.keepers().most(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_refuses_a_changed_spec_is_replaced_all_the_same() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\nterminationGracePeriod: 10m\nonChange: Restart");
        field.until_phase(&name, Phase::Running).await;
        field.keepers().behave(&name, |manner| {
            manner.refuses_updates = true;
            manner.ends = NEVER;
        });
        field.write("a", "command: x\nterminationGracePeriod: 10s\nonChange: Restart");
        field.pass(secs(3600)).await;
        assert_eq!(field.shows(), "a Running");
        assert_eq!(field.keepers().refused(), 1, "asked once for one change");

        field.write("a", "command: y\nterminationGracePeriod: 10s\nonChange: Restart");
        field.pass(secs(9)).await;
        assert_eq!(field.keepers().starts(&name).len(), 1);
        field.pass(secs(2)).await;
        assert_eq!(
            field.keepers().starts(&name).len(),
            2,
            "stopped by the grace in force: {}",
            field.shows()
        );
        let cause = field.entry(&name, |entry| entry.plan.history.last.clone().unwrap().cause.unwrap());
        assert_eq!(cause.reason, StopReason::SpecChanged);
    })
    .await;
}
