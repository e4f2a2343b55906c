//! Later runs continue what the agent was in.

use super::*;
use crate::{
    api::{event::EventKind, record::Exit},
    plan::conversation::REFUSED_WITHIN,
};

const CLAUDE: &str = "command: [claude, --verbose]\nrestartPolicy: Always\nbackoff: {initial: 1s}\n";

/// The agent of the run that lives names its conversation.
fn name_conversation(field: &Field, name: &SessionName, id: &str) {
    let run_id = field.entry(name, |entry| entry.plan.observed.run_id()).unwrap();
    field.daemon.learn_conversation(name, run_id, id, true);
}

/// What the run that lives was started to continue.
fn continues(field: &Field, name: &SessionName) -> Option<String> {
    let agent = field.entry(name, |entry| entry.agent_start.clone()).expect("an agent");
    let id = agent.continues.map(|id| id.to_string());
    let words = agent.flags.words.join(" ");
    assert_eq!(words.contains("--resume"), id.is_some(), "{words}");
    id
}

fn run_of(field: &Field, name: &SessionName) -> Option<crate::api::name::RunId> {
    field.entry(name, |entry| match &entry.plan.observed {
        crate::plan::Observed::Running(run) => Some(run.run_id),
        _ => None,
    })
}

/// The main process ends; waits for the next run.
async fn rerun(field: &Field, name: &SessionName, exit: Exit) {
    let before = run_of(field, name);
    field.keepers().exit(name, exit);
    next_run(field, name, before).await;
}

async fn next_run(field: &Field, name: &SessionName, before: Option<crate::api::name::RunId>) {
    let is_next = |world: &World| match &world.sessions[name].plan.observed {
        crate::plan::Observed::Running(run) => Some(run.run_id) != before,
        _ => false,
    };
    field.until("another run", is_next).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_continues_what_the_run_before_was_in_last() {
    with_daemon("{}", async |field| {
        let name = field.write("a", CLAUDE);
        field.until_phase(&name, Phase::Running).await;
        assert_eq!(continues(field, &name), None);
        rerun(field, &name, Exit::Code(1)).await;
        assert_eq!(continues(field, &name), None, "nothing was said");
        for id in ["--resume", "a b", ""] {
            name_conversation(field, &name, id);
        }
        for id in ["one", "two", "two"] {
            name_conversation(field, &name, id);
        }
        rerun(field, &name, Exit::Signal(9)).await;
        assert_eq!(continues(field, &name).as_deref(), Some("two"));
        let run = run_of(field, &name);
        field.write(
            "a",
            &CLAUDE.replace("--verbose", "--debug").replace("Always", "Always\nonChange: Restart"),
        );
        next_run(field, &name, run).await;
        assert_eq!(continues(field, &name).as_deref(), Some("two"), "other arguments");
        let run = run_of(field, &name);
        field.write("a", &format!("{CLAUDE}onChange: Restart\nworkingDir: /srv\n"));
        next_run(field, &name, run).await;
        assert_eq!(continues(field, &name), None, "another directory");
        let run = run_of(field, &name);
        field.write("a", &format!("{CLAUDE}onChange: Restart\nresume: never\nenv: {{A: b}}\n"));
        next_run(field, &name, run).await;
        assert_eq!(continues(field, &name), None, "it is not to");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_conversation_is_followed_by_a_fresh_start_at_once() {
    with_daemon("{}", async |field| {
        let name = field.write("a", CLAUDE);
        field.until_phase(&name, Phase::Running).await;
        name_conversation(field, &name, "one");
        rerun(field, &name, Exit::Code(0)).await;
        assert_eq!(continues(field, &name).as_deref(), Some("one"));
        let now = field.daemon.clock.now();
        rerun(field, &name, Exit::Code(1)).await;
        assert!(field.daemon.clock.now() - now < secs(1), "without a back-off");
        assert_eq!(continues(field, &name), None);
        let told = field.told(&name, EventKind::ConversationRefused);
        assert_eq!(told, ["the agent did not continue conversation one: starting a new one"]);
        assert_eq!(field.entry(&name, |entry| entry.plan.history.failures), 0);
        // The fresh run lives: the conversation stays behind, also without a word of another.
        field.pass(REFUSED_WITHIN).await;
        rerun(field, &name, Exit::Code(1)).await;
        assert_eq!(continues(field, &name), None);
        name_conversation(field, &name, "two");
        rerun(field, &name, Exit::Code(1)).await;
        assert_eq!(continues(field, &name).as_deref(), Some("two"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_cannot_start_at_all_loses_no_conversation() {
    with_daemon("{}", async |field| {
        let name = field.write("a", CLAUDE);
        field.until_phase(&name, Phase::Running).await;
        name_conversation(field, &name, "one");
        rerun(field, &name, Exit::Code(0)).await;
        for round in 1..4_u32 {
            assert_eq!(continues(field, &name).as_deref(), Some("one"));
            rerun(field, &name, Exit::Code(1)).await;
            assert_eq!(continues(field, &name), None);
            rerun(field, &name, Exit::Code(1)).await;
            assert_eq!(field.entry(&name, |entry| entry.plan.history.failures), round, "half of them count");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_the_run_that_lives_names_conversations_and_only_an_agents() {
    with_daemon("{}", async |field| {
        let [agent, shell] =
            [field.write("a", CLAUDE), field.write("b", "command: [bash]\nrestartPolicy: Always\n")];
        for name in [&agent, &shell] {
            field.until_phase(name, Phase::Running).await;
            name_conversation(field, name, "one");
            let earlier = crate::api::name::RunId::generate();
            field.daemon.learn_conversation(name, earlier, "two", true);
        }
        let known = |name| field.entry(name, |entry| entry.memory.conversations.len());
        assert_eq!((known(&agent), known(&shell)), (1, 0));
        assert_eq!(field.entry(&shell, |entry| entry.agent_start.clone()), None);
        rerun(field, &agent, Exit::Code(0)).await;
        assert_eq!(continues(field, &agent).as_deref(), Some("one"));
    })
    .await;
}
