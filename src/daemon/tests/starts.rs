//! Who is started, and when.

use super::*;
use crate::{api::event::EventKind, plan::Observed};

#[tokio::test(start_paused = true)]
async fn those_seen_first_are_started_first_and_the_others_when_there_is_room() {
    with_daemon("maxSessions: 2", async |field| {
        let names: Vec<_> = ["d", "c", "b", "a"].map(|name| field.write(name, "command: x")).into();
        field.until("two running", |world| world.counts.running == 2).await;
        field.pass(secs(3600)).await;
        assert_eq!(field.shows(), "a Pending/MaxSessions, b Pending/MaxSessions, c Running, d Running");
        let said = field.entry(&names[3], |entry| entry.shown.message.clone());
        assert_eq!(said, "Maximum 2 sessions supported. Destroy a session to create a new one.");

        field.remove(&names[0]);
        field.until_phase(&names[2], Phase::Running).await;
        assert_eq!(field.shows(), "a Pending/MaxSessions, b Running, c Running");
        assert_eq!(field.keepers().most(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_reports_late_has_its_slot_meanwhile() {
    with_daemon("maxSessions: 1", async |field| {
        let slow = SessionName::new("slow").unwrap();
        field.keepers().behave(&slow, |manner| manner.reports = Some(secs(600)));
        field.write("slow", "command: x");
        field.until("started", |_| !field.keepers().starts(&slow).is_empty()).await;
        let other = field.write("other", "command: x");
        field.pass(secs(590)).await;
        assert_eq!(field.shows(), "other Pending/MaxSessions, slow Pending/Starting");

        field.until_phase(&slow, Phase::Running).await;
        assert_eq!(field.told(&slow, EventKind::Started).len(), 1);
        assert!(field.keepers().starts(&other).is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_never_reports_is_not_taken_for_dead_until_it_is() {
    with_daemon("{}", async |field| {
        let name = SessionName::new("a").unwrap();
        field.keepers().behave(&name, |manner| manner.reports = None);
        field.write("a", "command: x");
        field.pass(secs(24 * 3600)).await;
        assert_eq!(field.shows(), "a Pending/Starting");
        assert_eq!(field.keepers().starts(&name).len(), 1);

        field.keepers().behave(&name, |manner| manner.reports = Some(secs(1)));
        field.keepers().vanish(&name);
        field.until_phase(&name, Phase::Running).await;
        assert_eq!(field.keepers().starts(&name).len(), 2);
        assert_eq!(field.told(&name, EventKind::StartFailed).len(), 1);
        assert!(matches!(field.entry(&name, |entry| entry.plan.observed.clone()), Observed::Running(_)));
    })
    .await;
}
