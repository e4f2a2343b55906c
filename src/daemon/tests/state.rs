//! State that cannot be written.

use super::*;
use crate::{
    api::{event::EventKind, record::Exit, status::Reason},
    plan::Observed,
};

/// What is no directory cannot be written into. One that is only missing is made anew.
fn block(directory: &std::path::Path, aside: &std::path::Path) {
    std::fs::rename(directory, aside).unwrap();
    std::fs::write(directory, "").unwrap();
}

fn unblock(directory: &std::path::Path, aside: &std::path::Path) {
    std::fs::remove_file(directory).unwrap();
    std::fs::rename(aside, directory).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_remembered_is_not_begun_and_tried_again_on_the_host_ladder() {
    for policy in ["Always", "OnFailure", "Never"] {
        with_daemon("{}", async |field| {
            let memories = field.daemon.paths.memories();
            let aside = memories.with_extension("aside");
            block(&memories, &aside);
            let name = field.write("a", &format!("command: x\nrestartPolicy: {policy}"));
            field
                .until("host error", |world| {
                    let entry = world.sessions.get(&name);
                    entry.is_some_and(|e| {
                        (e.shown.phase, e.shown.reason) == (Phase::Pending, Reason::HostError)
                    })
                })
                .await;
            field.until("a warning", |world| world.warnings.contains_key("state")).await;
            // 0.1 + 0.2 + 0.4 + … + 6.4 = 12.7 s for the first seven, then one each 10 s; all ± 10 %.
            field.pass(secs(60)).await;
            let tries = field.told(&name, EventKind::StartFailed);
            assert!((11..=13).contains(&tries.len()), "{policy}: {} tries in a minute", tries.len());
            assert!(tries[0].contains("cannot write"), "{}", tries[0]);
            assert_eq!(field.keepers().starts(&name), [], "{policy}: begun without being remembered");
            assert_eq!(field.entry(&name, |entry| entry.plan.observed.clone()), Observed::Absent);
            assert_eq!(field.entry(&name, |entry| entry.plan.history.failures), 0, "no fault of its own");

            unblock(&memories, &aside);
            let mended = field.daemon.clock.now();
            field.until_phase(&name, Phase::Running).await;
            assert!(field.daemon.clock.now() - mended < secs(12), "a session waits for more than the ladder");
            field.until("no warning", |world| !world.warnings.contains_key("state")).await;
            assert_eq!(field.keepers().starts(&name).len(), 1);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_while_state_cannot_be_written_is_written_when_it_can_be() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x");
        field.until_phase(&name, Phase::Running).await;
        let memories = field.daemon.paths.memories();
        let aside = memories.with_extension("aside");
        block(&memories, &aside);
        field.keepers().exit(&name, Exit::Code(0));
        field.until_phase(&name, Phase::Succeeded).await;
        field.until("a warning", |world| world.warnings.contains_key("state")).await;
        field.pass(secs(60)).await; // so that nothing else is left to be written, and only the retry can help
        unblock(&memories, &aside);
        field.until("no warning", |world| !world.warnings.contains_key("state")).await;
        let kept = std::fs::read_to_string(field.daemon.paths.memory(&name)).unwrap();
        let counted = field.entry(&name, |entry| entry.memory.counted.unwrap());
        assert!(kept.contains(&format!("\"counted\":\"{counted}\"")), "{kept}");
    })
    .await;
}
