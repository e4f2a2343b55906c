//! Turns and their interruption, at keepers that are slow.

use super::*;
use crate::{
    agents::Told,
    api::{
        event::EventKind,
        hook::{CancelOutcome, CancelParams, Word},
        time::Moment,
    },
    plan::{Observed, turn::Turn},
};

const ENDS: Word = Word::Ends { background: Some(false) };

/// A number that looks random, and is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

impl Field {
    async fn hears(&self, name: &SessionName, word: Word) {
        self.daemon.hear(name, Told::word(word), self.daemon.clock.now()).await;
    }

    fn turn(&self, name: &SessionName) -> Turn {
        self.entry(name, |entry| match &entry.plan.observed {
            Observed::Running(run) => run.turn,
            other => panic!("not running: {other:?}"),
        })
    }

    async fn cancels(&self, name: &SessionName, turn: Option<u64>) -> CancelOutcome {
        let params = CancelParams { name: name.clone(), run_id: None, turn };
        self.daemon.cancel(&params, PERSON).await.unwrap()
    }
}

/// Each turn ends while interruptions are on their way, at any distance from their arrival.
#[tokio::test(start_paused = true)]
async fn ten_thousand_cancels_that_race_with_the_ends_of_turns_meet_the_turns_they_mean() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\nagent: claude\n");
        field.until_phase(&name, Phase::Running).await;
        let turns: std::cell::RefCell<Vec<(Moment, Moment)>> = std::cell::RefCell::default();
        let agent = async {
            let mut dice = Dice(1);
            for _ in 0..10_000 {
                let transit = Duration::from_millis(dice.below(70));
                field.keepers().behave(&name, |manner| manner.answers = Some(transit));
                field.hears(&name, Word::Begins).await;
                let begun = field.daemon.clock.now();
                field.pass(Duration::from_millis(dice.below(60))).await;
                field.hears(&name, ENDS).await;
                // Only now the agent goes on.
                turns.borrow_mut().push((begun, field.daemon.clock.now()));
                field.pass(Duration::from_millis(1)).await;
            }
        };
        let person = async {
            let mut dice = Dice(2);
            let mut meant = Vec::new();
            loop {
                field.pass(Duration::from_millis(1 + dice.below(20))).await;
                let number = field.turn(&name).number;
                if field.cancels(&name, Some(number)).await == CancelOutcome::Interrupted {
                    meant.push(number);
                }
                if turns.borrow().len() == 10_000 {
                    return meant;
                }
            }
        };
        let ((), meant) = futures::join!(agent, person);
        let turns = turns.borrow();
        let arrived: Vec<u64> = field
            .keepers()
            .interruptions()
            .into_iter()
            .map(|(_, at)| {
                let within = turns.iter().position(|(begun, ended)| (*begun..=*ended).contains(&at));
                within.unwrap_or_else(|| panic!("{at:?} is in no turn")) as u64 + 1
            })
            .collect();
        assert_eq!(arrived, meant);
        assert!(arrived.len() > 1000, "{}", arrived.len());
        let told = field.told(&name, EventKind::TurnCancelled).len();
        assert!(told > 0 && told <= arrived.len(), "{told} of {}", arrived.len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_end_is_answered_when_the_interruption_of_its_turn_is_decided_and_not_later() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\nagent: claude\n");
        field.until_phase(&name, Phase::Running).await;
        for (transit, held, outcome, told) in
            [(20, 20, CancelOutcome::Interrupted, 1), (60, 50, CancelOutcome::TooLate, 1)]
        {
            field.keepers().behave(&name, |manner| manner.answers = Some(Duration::from_millis(transit)));
            field.hears(&name, Word::Begins).await;
            let begun = field.daemon.clock.now();
            let ends = async {
                tokio::task::yield_now().await;
                field.hears(&name, ENDS).await;
                field.daemon.clock.now() - begun
            };
            let (came, took) = futures::join!(field.cancels(&name, None), ends);
            assert_eq!(came, outcome);
            let held = Duration::from_millis(held);
            assert!((held..held * 3).contains(&took), "held for {took:?}");
            assert_eq!(
                field.told(&name, EventKind::TurnCancelled).len(),
                told,
                "{outcome:?}, and the first one"
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_says_no_has_cancelled_nothing() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\nagent: claude\n");
        field.until_phase(&name, Phase::Running).await;
        field.hears(&name, Word::Begins).await;
        field.keepers().behave(&name, |manner| manner.answers = None);
        let params = CancelParams { name: name.clone(), run_id: None, turn: None };
        field.daemon.cancel(&params, PERSON).await.unwrap_err();
        assert_eq!(field.turn(&name).cancel, None);
        field.hears(&name, ENDS).await;
        assert_eq!(field.told(&name, EventKind::TurnCancelled), Vec::<String>::new());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_known_before_decides_what_a_word_means() {
    use crate::agents::Subagent;
    use crate::api::status::Activity;
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\nagent: codex\n");
        field.until_phase(&name, Phase::Running).await;
        let said = async |told: Told| field.daemon.hear(&name, told, field.daemon.clock.now()).await;
        let of = |word, turn: &str| Told { turn_id: Some(turn.into()), ..Told::word(word) };
        let is = |number, in_flight| {
            let turn = field.turn(&name);
            assert_eq!((turn.number, turn.in_flight), (number, in_flight));
        };
        said(of(Word::Begins, "t1")).await;
        said(of(Word::Begins, "t1")).await;
        is(1, true); // Its hooks are installed twice.
        said(of(Word::Ends { background: None }, "t1")).await;
        said(of(Word::Begins, "t2")).await;
        said(Told { late: true, ..of(Word::Ends { background: None }, "t1") }).await;
        is(2, true); // A notification that nobody waited for.
        said(Told { subagent: Some(Subagent::Started("s".into())), ..Told::word(Word::Lives) }).await;
        said(of(Word::Ends { background: None }, "t2")).await;
        is(2, false);
        let doing = || {
            field.entry(&name, |entry| match &entry.plan.observed {
                Observed::Running(run) => run.said.unwrap().activity,
                _ => Activity::Unknown,
            })
        };
        assert_eq!(doing(), Activity::Busy, "a helper works");
        // It knows best, also where the end of a helper was not told.
        said(of(ENDS, "t2")).await;
        assert_eq!(doing(), Activity::Idle);
        field.entry(&name, |entry| assert!(entry.agent.subagents.is_empty()));
    })
    .await;
}
