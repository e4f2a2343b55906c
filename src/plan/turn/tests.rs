use proptest::prelude::*;

use super::*;
use crate::{
    api::{cause::Actor, hook::CancelReason},
    plan::{
        activity::{Look, Seen, doing, proven_idle},
        testing::{NOW, PERSON, cause, look, run, secs, seen_quiet},
    },
};

const ENDS: Word = Word::Ends { background: Some(false) };

fn after(seconds: u64) -> Moment {
    NOW.checked_add(secs(seconds)).unwrap()
}

fn by_person(reason: CancelReason) -> Interruption {
    Interruption { reason, by: Some(PERSON) }
}

/// A run that was looked at, and that heard these words, one each second.
fn heard(words: &[Word]) -> Run {
    let mut run = Run { seen: Some(seen_quiet(Duration::ZERO)), ..run() };
    for (word, second) in words.iter().zip(0..) {
        hear(&mut run, *word, after(second));
    }
    run
}

#[test]
fn words_say_what_it_does_and_which_turn_it_is_in() {
    use Activity::{Busy, Idle, Unknown, Waiting};
    use Word::{Begins, Helps, Lives, Opens, Prompts, Waits, Works};
    const BEHIND: Word = Word::Ends { background: Some(true) };
    for (words, activity, number, in_flight) in [
        (&[Opens][..], Unknown, 0, false),
        (&[Opens, Begins], Busy, 1, true),
        (&[Begins, Waits], Waiting, 1, true),
        (&[Begins, Waits, Works], Busy, 1, true),
        (&[Begins, Works, ENDS], Idle, 1, false),
        (&[Begins, Word::Ends { background: None }], Idle, 1, false),
        // What it began goes on behind it: it is not idle, and there is no turn to interrupt.
        (&[Begins, BEHIND], Busy, 1, false),
        (&[Begins, BEHIND, Begins, ENDS], Idle, 2, false),
        (&[Begins, BEHIND, Prompts], Busy, 1, false),
        // A prompt that was waiting is taken in the middle of a turn.
        (&[Begins, Begins], Busy, 2, true),
        // Somebody had it go on, or the begin was missed.
        (&[Begins, ENDS, Works], Busy, 2, true),
        (&[Works], Busy, 1, true),
        // Nobody says that a person interrupted; a minute later it says that it waits for a prompt.
        (&[Begins, Waits, Prompts], Idle, 1, false),
        (&[Waits, Prompts], Idle, 0, false),
        (&[Begins, ENDS, Prompts], Idle, 1, false),
        // Helpers prove no turn.
        (&[Begins, Helps], Busy, 1, true),
        (&[Begins, Waits, Helps], Busy, 1, true),
        (&[Begins, ENDS, Helps], Idle, 1, false),
        (&[Helps], Unknown, 0, false),
        (&[Begins, ENDS, Lives], Idle, 1, false),
        (&[Begins, Lives], Busy, 1, true),
        (&[Begins, Opens], Unknown, 1, false),
    ] {
        let run = heard(words);
        let said = run.said.map(|said| said.activity);
        assert_eq!(
            (said, run.turn.number, run.turn.in_flight),
            (Some(activity), number, in_flight),
            "{words:?}"
        );
    }
}

fn any_word() -> impl Strategy<Value = Word> {
    let background = prop_oneof![Just(None), Just(Some(true)), Just(Some(false))];
    prop_oneof![
        Just(Word::Lives),
        Just(Word::Begins),
        Just(Word::Works),
        Just(Word::Helps),
        Just(Word::Waits),
        background.prop_map(|background| Word::Ends { background }),
        Just(Word::Prompts),
        Just(Word::Opens),
    ]
}

proptest! {
    /// Whatever is said, in whatever order: numbers go up, each turn ends once, and only one in flight does.
    #[test]
    fn a_turn_ends_once(words in prop::collection::vec((any_word(), 0_u64..20), 0..60)) {
        let mut run = heard(&[]);
        let mut over = Vec::new();
        for (word, second) in words {
            let before = run.turn;
            let ended = hear(&mut run, word, after(second));
            prop_assert!(run.turn.number >= before.number && run.turn.number <= before.number + 1);
            prop_assert!(ended.is_none_or(|ended| before.in_flight && ended.number == before.number));
            prop_assert!(!run.turn.in_flight || run.turn.number > 0);
            prop_assert!(run.turn.in_flight || !before.in_flight || ended.is_some());
            over.extend(ended.map(|over| over.number));
        }
        over.extend(close(&mut run, after(99)).map(|over| over.number));
        let told: Vec<u64> = (1..=run.turn.number).collect();
        prop_assert_eq!(over, told);
    }
}

#[test]
fn idle_time_counts_from_the_end_of_the_turn_and_a_sign_of_life_does_not_put_it_off() {
    let mut run = heard(&[Word::Begins, ENDS]);
    hear(&mut run, Word::Lives, after(5));
    run.seen = Some(Seen { quiet_since: after(9), ..Seen::first(look(after(9)), after(9)) });
    assert_eq!(proven_idle(&run), Some(secs(8)), "since the second second, whatever it printed since");
}

#[test]
fn what_comes_late_does_not_undo_what_came_since() {
    let mut run = heard(&[Word::Begins, ENDS]);
    let before = run.clone();
    assert_eq!(hear(&mut run, Word::Works, NOW), None);
    assert_eq!(run, before);
}

#[test]
fn a_stale_number_interrupts_nothing() {
    let mut turn = heard(&[Word::Begins, ENDS, Word::Begins]).turn;
    let wish = by_person(CancelReason::ClientRpc);
    assert_eq!(turn.cancel(Some(1), wish), Wish::Stale);
    assert_eq!(turn.cancel(Some(3), wish), Wish::Stale);
    assert_eq!(turn.cancel, None);
    assert_eq!(turn.cancel(Some(2), wish), Wish::Holds { number: 2 });
    assert_eq!(turn.cancel(None, by_person(CancelReason::AdminKill)), Wish::Holds { number: 2 });
    assert_eq!(turn.cancel.map(|cancel| cancel.cause), Some(wish), "the first cause stays");
    turn.end(NOW);
    assert_eq!(turn.cancel(Some(2), wish), Wish::NoTurn);
    assert_eq!(Turn::default().cancel(None, wish), Wish::NoTurn);
}

#[test]
fn the_cause_is_handed_out_once_with_the_turns_end() {
    let wish = by_person(CancelReason::ClientRpc);
    let over = Some(Over { number: 1, cancel: Some(wish) });
    for end in [ENDS, Word::Prompts, Word::Begins, Word::Opens] {
        let mut run = heard(&[Word::Begins]);
        run.turn.cancel(Some(1), wish);
        assert_eq!(hear(&mut run, Word::Works, after(1)), None);
        assert_eq!(hear(&mut run, end, after(2)), over, "{end:?}");
        let again = hear(&mut run, ENDS, after(3));
        assert!(again.is_none_or(|over| over.cancel.is_none() && over.number == 2), "{end:?}: {again:?}");
    }
    let mut run = heard(&[Word::Begins]);
    run.turn.cancel(None, wish);
    assert_eq!((close(&mut run, after(1)), close(&mut run, after(2))), (over, None));
}

/// A run in a turn, or with a question, since [`NOW`]; looked at after so many seconds, quiet since so many before.
fn silent(word: Word, seconds: u64, quiet: u64) -> Run {
    let mut run = heard(&[Word::Begins, word]);
    let at = after(seconds);
    let quiet_since = Moment::from_nanos(at.as_nanos() - quiet * 1_000_000_000);
    run.seen = Some(Seen { quiet_since, ..Seen::first(look(at), at) });
    run
}

fn typed(mut run: Run, at: Moment) -> Run {
    let seen = run.seen.unwrap();
    run.seen = Some(Seen { look: Look { input: Some(at), ..seen.look }, ..seen });
    run
}

#[test]
fn silence_alone_ends_no_turn_and_answers_no_question() {
    for (word, activity) in [(Word::Works, Activity::Busy), (Word::Waits, Activity::Waiting)] {
        let run = silent(word, 1_000_000, 999_990);
        assert_eq!((doing(&run), proven_idle(&run)), (activity, None));
        // Typed before it spoke: its prompt.
        assert_eq!(doing(&typed(run, NOW)), activity);
    }
}

#[test]
fn who_may_have_been_interrupted_and_does_nothing_at_all_any_more_is_in_no_turn() {
    for word in [Word::Works, Word::Waits] {
        let interrupted = |quiet| typed(silent(word, 100, quiet), after(40));
        let before = doing(&interrupted(59));
        assert!(matches!(before, Activity::Busy | Activity::Waiting), "{word:?}: {before:?}");
        let mut run = interrupted(60);
        assert_eq!((doing(&run), proven_idle(&run)), (Activity::Idle, Some(secs(60))), "{word:?}");
        assert_eq!(lapse(&mut run), Some(Over { number: 1, cancel: None }));
        assert_eq!((run.turn.in_flight, doing(&run)), (false, Activity::Idle));
        assert_eq!(lapse(&mut run), None);
        // It was at work after all.
        hear(&mut run, Word::Works, after(101));
        assert_eq!((run.turn.number, run.said.unwrap().activity), (2, Activity::Busy));
    }
}

#[test]
fn what_was_said_while_nobody_listened_is_doubted_too() {
    let mut run = silent(Word::Works, 1000, 600);
    assert_eq!(doing(&run), Activity::Busy);
    run.turn.unheard = true;
    assert_eq!(doing(&run), Activity::Idle);
    run.seen = run.seen.map(|seen| Seen { quiet_since: after(401), ..seen });
    assert_eq!(doing(&run), Activity::Busy, "less than ten minutes");
    hear(&mut run, Word::Works, after(1000));
    assert!(!run.turn.unheard);
}

#[test]
fn a_turn_that_was_interrupted_on_request_is_over_after_ten_quiet_seconds() {
    let mut run = silent(Word::Works, 20, 10);
    run.turn.cancel(Some(1), by_person(CancelReason::ClientRpc));
    assert_eq!(lapse(&mut run), None, "nothing was sent yet");
    run.turn.cancel = run.turn.cancel.map(|cancel| Cancel { sent: Some(after(10)), ..cancel });
    let over = lapse(&mut run).unwrap();
    assert_eq!(over.cancel.map(|cancel| cancel.reason), Some(CancelReason::ClientRpc));
    assert_eq!(lapse(&mut run), None);
}

#[test]
fn a_stop_tells_the_turn_why() {
    let stopped = |reason, by: Option<Actor>| interrupted_by(&Cause { by, ..cause(reason) }).reason;
    assert_eq!(stopped(StopReason::ClientStop, Some(PERSON)), CancelReason::AdminKill);
    assert_eq!(stopped(StopReason::Suspended, Some(PERSON)), CancelReason::AdminKill);
    assert_eq!(stopped(StopReason::Suspended, None), CancelReason::SessionRemoved);
    assert_eq!(stopped(StopReason::SpecRemoved, None), CancelReason::SessionRemoved);
    assert_eq!(stopped(StopReason::MemoryPressure, None), CancelReason::SessionRemoved);
}

#[test]
fn a_budget_waits_for_the_end_of_a_turn_and_not_for_ever() {
    let grace = secs(900);
    let until = |words: &[Word]| waited_for_until(&heard(words), grace);
    assert_eq!(until(&[Word::Begins, Word::Works]), Some(after(900)), "since it began");
    assert_eq!(until(&[Word::Begins, Word::Waits]), Some(after(900)), "it asks in the middle of it");
    assert_eq!(until(&[Word::Waits]), None);
    assert_eq!(until(&[Word::Begins, ENDS]), None);
    assert_eq!(until(&[]), None);
}
