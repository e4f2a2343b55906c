//! What is continued, what is refused, and what is forgotten, as sentences.

use super::*;
use crate::{
    api::spec::{Agent, RestartPolicy},
    plan::{
        History,
        restart::{self, Want},
        testing::{NOW, backoff, ended, exited, given, run_id, secs, signaled, spec, stopped, timestamp},
    },
};

fn id(text: &str) -> ConversationId {
    ConversationId::new(text).unwrap()
}

fn named(text: &str, run: u32) -> Conversation {
    Conversation {
        id: id(text),
        agent: Agent::Claude,
        working_dir: "~".to_owned(),
        run_id: run_id(run.into()),
        since: timestamp(run.into()),
        begun: true,
        refused: false,
    }
}

fn claude() -> SessionSpec {
    SessionSpec { agent: Agent::Claude, resume: Resume::Auto, working_dir: "~".to_owned(), ..spec("a") }
}

fn known(names: &[&str]) -> Vec<Conversation> {
    names.iter().map(|name| named(name, 1)).collect()
}

#[test]
fn the_last_conversation_is_continued_where_agent_and_directory_are_the_same() {
    let two = known(&["a", "b"]);
    assert_eq!(to_continue(&two, &claude()), Some(&id("b")));
    assert_eq!(to_continue(&[], &claude()), None);
    for other in [
        SessionSpec { agent: Agent::Codex, ..claude() },
        SessionSpec { working_dir: "~/src".to_owned(), ..claude() },
        SessionSpec { resume: Resume::Never, ..claude() },
    ] {
        assert_eq!(to_continue(&two, &other), None);
    }
    let refused = [named("a", 1), Conversation { refused: true, ..named("b", 2) }];
    assert_eq!(to_continue(&refused, &claude()), None, "no earlier one comes back in its place");
}

#[test]
fn each_change_is_learned_once_and_few_are_kept() {
    let mut known = Vec::new();
    assert!(learn(&mut known, named("a", 1)));
    assert!(!learn(&mut known, named("a", 1)), "each event names it");
    assert!(learn(&mut known, named("b", 1)), "`clear`");
    assert!(learn(&mut known, named("a", 1)), "`resume` of the one before");
    assert!(learn(&mut known, named("a", 2)), "another run is in it");
    let ids: Vec<_> = known.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["b", "a"]);
    known[1].refused = true;
    assert!(learn(&mut known, named("a", 2)) && !known[1].refused, "it is in it after all");
    for number in 0..20 {
        learn(&mut known, named(&format!("c{number}"), 3));
    }
    assert_eq!(known.len(), KEPT);
    assert_eq!(to_continue(&known, &claude()), Some(&id("c19")));
}

/// What the end of run 2 says of conversation `a`, which run 1 was in.
fn judged(end: Ended, continued: Option<&str>) -> (bool, bool) {
    let mut known = known(&["a"]);
    let ended = Ended { run_id: run_id(2), continued: continued.map(id), ..end };
    let refused = judge(&mut known, &ended);
    (refused, known[0].refused)
}

#[test]
fn nothing_is_continued_in_which_nothing_was_said() {
    let silent = |run| Conversation { begun: false, ..named("a", run) };
    let mut known = Vec::new();
    assert!(learn(&mut known, silent(1)));
    assert_eq!(to_continue(&known, &claude()), None);
    assert!(!learn(&mut known, silent(1)));
    assert!(learn(&mut known, named("a", 1)), "a prompt");
    assert_eq!(to_continue(&known, &claude()), Some(&id("a")));
    assert!(!learn(&mut known, silent(1)));
    assert!(learn(&mut known, silent(2)), "another run, that says nothing of what was said");
    assert_eq!(to_continue(&known, &claude()), Some(&id("a")));
    learn(&mut known, Conversation { begun: false, ..named("b", 2) });
    assert_eq!(to_continue(&known, &claude()), None, "it was cleared, and what was before is over");
}

#[test]
fn a_conversation_is_refused_by_an_end_at_once_without_a_word() {
    assert_eq!(judged(exited(1), Some("a")), (true, true));
    let soon = |code| Ended { ran: secs(14), ..exited(code) };
    assert_eq!(judged(soon(2), Some("a")), (true, true));
    for (end, why) in [
        (Ended { ran: secs(15), ..exited(1) }, "it ran"),
        (exited(0), "it ended well"),
        (signaled(9), "something ended it"),
        (stopped(crate::api::cause::StopReason::ClientStop), "somebody ended it"),
        (Ended { exit: None, interrupted: true, ..ended() }, "the machine went down"),
    ] {
        assert_eq!(judged(end, Some("a")), (false, false), "{why}");
    }
    assert_eq!(judged(exited(1), None), (false, false), "it was to continue none");
    assert_eq!(judged(exited(1), Some("b")), (false, false), "the agent has named another one since");

    let mut spoke = vec![named("a", 2)];
    let ended = Ended { run_id: run_id(2), continued: Some(id("a")), ..exited(1) };
    assert!(!judge(&mut spoke, &ended) && !spoke[0].refused, "it said that it is in it");
}

#[test]
fn a_refusal_is_forgotten_where_a_fresh_start_fares_no_better() {
    let mut known = known(&["a"]);
    let ends = |run, continued: Option<&str>, end: Ended| Ended {
        run_id: run_id(run),
        continued: continued.map(id),
        ..end
    };
    assert!(judge(&mut known, &ends(2, Some("a"), exited(1))));
    assert_eq!(to_continue(&known, &claude()), None);
    assert!(!judge(&mut known, &ends(3, None, exited(1))), "a config that is broken, say");
    assert_eq!(to_continue(&known, &claude()), Some(&id("a")));

    assert!(judge(&mut known, &ends(4, Some("a"), exited(1))));
    assert!(!judge(&mut known, &ends(5, None, Ended { ran: secs(60), ..exited(1) })));
    assert_eq!(to_continue(&known, &claude()), None, "the fresh start ran: it was the conversation");
}

#[test]
fn a_refused_run_is_followed_by_a_fresh_one_at_once_whatever_the_policy() {
    use RestartPolicy::{Always, Never, OnFailure};
    let refused = Ended { continued: Some(id("a")), refused: true, ..exited(1) };
    for policy in [Always, OnFailure, Never] {
        let before = History { failures: 2, ends: 2, ..History::default() };
        let history =
            restart::after_end(&before, refused.clone(), policy, &backoff("1s", "5m", "10m"), NOW, 0.0);
        assert_eq!((history.failures, history.ends, history.not_before), (2, 2, None), "{policy:?}");
        let crate::plan::Desired::Spec(mut wanted) = given("a").session.desired else {
            panic!("it is wanted")
        };
        wanted.spec = std::sync::Arc::new(SessionSpec { restart_policy: policy, ..claude() });
        assert_eq!(restart::next(&wanted, &history, NOW), Want::Run, "{policy:?}");
    }
}
