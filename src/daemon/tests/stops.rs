//! Stops, with keepers that answer late or not at all.

use super::*;
use crate::{
    api::{
        cause::{Cause, StopReason},
        event::EventKind,
        record::Exit,
    },
    daemon::wills::Verb,
    host::signals as signal,
    plan::{Observed, Verdict, fleet::Mode},
};

async fn order(field: &Field, verb: Verb, name: &SessionName) {
    field.daemon.order(verb, name, PERSON).await.unwrap();
}

/// Whether its keeper has said that it ends.
fn stop_is_under_way(field: &Field, name: &SessionName) -> bool {
    field.entry(name, |entry| matches!(entry.plan.observed, Observed::Stopping { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_answers_late_is_stopped_once() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x");
        field.until_phase(&name, Phase::Running).await;
        field.keepers().behave(&name, |manner| manner.answers = Some(secs(4)));
        order(field, Verb::Stop, &name).await;
        field.pass(secs(3)).await;
        assert!(!stop_is_under_way(field, &name), "it has not answered yet");
        assert_eq!(field.shows(), "a Stopping/ClientStop", "what is asked is shown");
        field.until_phase(&name, Phase::Suspended).await;
        assert_eq!(field.told(&name, EventKind::Stopping).len(), 1);
        assert_eq!(field.told(&name, EventKind::Stopped).len(), 1);
        assert_eq!(field.keepers().signals(&name), [] as [i32; 0], "it was slow, not deaf");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_does_not_answer_is_woken_and_asked_again_and_others_go_on() {
    with_daemon("maxSessions: 2", async |field| {
        let deaf = field.write("deaf", "command: x");
        field.until_phase(&deaf, Phase::Running).await;
        field.keepers().behave(&deaf, |manner| manner.answers = None);
        order(field, Verb::Stop, &deaf).await;

        let other = field.write("other", "command: x");
        let asked = field.daemon.clock.now();
        field.until_phase(&other, Phase::Running).await;
        assert!(field.daemon.clock.now() - asked < secs(1), "nobody waits for a deaf keeper");

        let third = field.write("third", "command: x");
        field.pass(secs(3600)).await;
        assert_eq!(field.shows(), "deaf Stopping/ClientStop, other Running, third Pending/MaxSessions");
        assert!(!stop_is_under_way(field, &deaf));
        assert!(field.keepers().signals(&deaf).contains(&signal::CONT));
        assert!(!field.keepers().signals(&deaf).contains(&signal::KILL), "a stop is no kill");

        field.keepers().behave(&deaf, |manner| manner.answers = Some(secs(1)));
        field.until_phase(&third, Phase::Running).await;
        assert_eq!(field.shows(), "deaf Suspended/Stopped, other Running, third Running");
        assert_eq!(field.keepers().most(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_exit_while_a_stop_is_asked_is_counted_once_and_the_will_stands() {
    // Before the answer, at its very time, and after it.
    for exits in [500, 1000, 1001] {
        with_daemon("{}", async |field| {
            let name = field.write("a", "command: x\nrestartPolicy: Always\nbackoff: {initial: 0s}");
            field.until_phase(&name, Phase::Running).await;
            field.keepers().behave(&name, |manner| {
                manner.answers = Some(secs(1));
                manner.ends = secs(5);
            });
            order(field, Verb::Stop, &name).await;
            field.pass(Duration::from_millis(exits)).await;
            if !field.keepers().live().is_empty() {
                field.keepers().exit(&name, Exit::Code(3));
            }
            field.pass(secs(3600)).await;
            assert_eq!(field.shows(), "a Suspended/Stopped", "exit after {exits} ms");
            assert_eq!(field.keepers().starts(&name).len(), 1, "exit after {exits} ms");
            let told = [EventKind::Stopped, EventKind::Exited].map(|kind| field.told(&name, kind).len());
            assert_eq!(told.iter().sum::<usize>(), 1, "exit after {exits} ms");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_takes_its_grace_is_killed_at_its_end_and_has_its_slot_until_then() {
    with_daemon("maxSessions: 1", async |field| {
        let name = field.write("a", "command: x\nterminationGracePeriod: 5m");
        field.until_phase(&name, Phase::Running).await;
        field.keepers().behave(&name, |manner| manner.ends = NEVER);
        let next = field.write("b", "command: x");
        field.until_phase(&next, Phase::Pending).await;
        order(field, Verb::Stop, &name).await;
        field.pass(secs(299)).await;
        assert_eq!(field.shows(), "a Stopping/ClientStop, b Pending/MaxSessions");
        field.pass(secs(2)).await;
        assert_eq!(field.shows(), "a Suspended/Stopped, b Running");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_all_in_parallel_and_starts_none() {
    with_daemon("maxSessions: 3", async |field| {
        let names = ["a", "b", "c", "d"]
            .map(|name| field.write(name, "command: x\nrestartPolicy: Always\nterminationGracePeriod: 1m"));
        field.until("three running", |world| world.counts.running == 3).await;
        for name in &names {
            field.keepers().behave(name, |manner| manner.ends = NEVER);
        }
        let begun = field.daemon.clock.now();
        field.shut_down().await;
        let took = field.daemon.clock.now() - begun;
        assert!((secs(60)..secs(61)).contains(&took), "one grace for all, took {took:?}");
        assert_eq!(field.keepers().live(), []);
        assert_eq!(field.keepers().starts(&names[3]), [], "a free slot is no invitation");
        for name in &names[..3] {
            let cause = field.entry(name, |entry| entry.plan.history.last.clone().unwrap().cause.unwrap());
            assert_eq!(cause.reason, StopReason::Shutdown);
            assert_eq!(field.entry(name, |entry| entry.plan.observed.clone()), Observed::Absent);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_is_done_at_the_next_resync_where_the_word_of_it_was_lost() {
    with_daemon("resyncInterval: 30s", async |field| {
        let name = field.write("a", "command: x");
        field.until_phase(&name, Phase::Running).await;
        // As after a shutdown was decided, without the trigger that goes with it.
        let cause = Cause::rule(StopReason::Shutdown, "the daemon ends");
        field.daemon.store.edit_world(|world| world.mode = Mode::EndAll(cause.clone()));
        field.daemon.store.edit(&name, |entry| entry.verdict = Some(Verdict::Stop(cause)));
        let gone = field.daemon.store.reader();
        let gone = gone.wait_until(|world| world.sessions[&name].plan.observed == Observed::Absent);
        assert!(tokio::time::timeout(secs(40), gone).await.is_ok(), "{}", field.shows());
    })
    .await;
}
