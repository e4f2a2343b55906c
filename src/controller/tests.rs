//! The loop under paused time: what is merged, what is contained, how it ends.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    convert::Infallible,
    future::pending,
    rc::Rc,
};

use futures::{channel::mpsc, stream};
use tokio::time::{sleep, timeout};

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Writes down what happens and when; the key says what it does.
struct Probe {
    born: Instant,
    log: RefCell<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot move `{key}`")]
struct Stuck {
    key: &'static str,
    source: std::num::ParseIntError,
}

impl Probe {
    fn new() -> Self {
        Self { born: Instant::now(), log: RefCell::default() }
    }

    fn note(&self, what: &str) {
        self.log.borrow_mut().push(format!("{:.1}s {what}", self.born.elapsed().as_secs_f32()));
    }

    fn lines(&self) -> Vec<String> {
        self.log.borrow().clone()
    }
}

impl Reconciler<&'static str> for Probe {
    type Error = Stuck;

    async fn reconcile(&self, key: &&'static str) -> Result<Action, Stuck> {
        self.note(key);
        match *key {
            "panics" => panic!("a bug in one key"),
            "fails" => {
                let source = "x".parse::<u8>().unwrap_err();
                return Err(Stuck { key, source });
            }
            "far" => return Ok(Action::requeue(Duration::MAX)),
            "again" => return Ok(Action::requeue(2 * S)),
            "slow" => {
                sleep(5 * S).await;
                self.note("slow ends");
            }
            _ => {}
        }
        Ok(Action::await_change())
    }
}

fn because(reason: Reason, keys: &'static [&'static str]) -> impl Stream<Item = Trigger<&'static str>> {
    stream::iter(keys).map(move |key| Trigger::new(*key, reason)).chain(stream::pending())
}

fn gathering() -> Config {
    Config { gather: 200 * MS, concurrency: 4, ..Config::default() }
}

/// Runs for `time`; what is still running then is dropped.
async fn run_for(time: Duration, probe: &Probe, triggers: impl Stream<Item = Trigger<&'static str>>) {
    let beat = Heartbeat::new();
    let _ = timeout(time, run(probe, triggers, pending(), gathering(), &beat)).await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_edits_is_one_reconcile_counted_from_the_first() {
    let probe = Probe::new();
    run_for(3 * S, &probe, because(Reason::Desired, &["a", "a", "b", "a"])).await;
    assert_eq!(probe.lines(), ["0.2s a", "0.2s b"]);
}

#[tokio::test(start_paused = true)]
async fn edits_that_never_stop_do_not_starve_the_key() {
    let probe = Probe::new();
    let edits = stream::unfold((), |()| async {
        sleep(50 * MS).await;
        Some((Trigger::new("a", Reason::Desired), ()))
    });
    run_for(700 * MS, &probe, edits).await;
    assert!(probe.lines().len() >= 2, "{:?}", probe.lines());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_edit_is_looked_at_at_once() {
    for reason in [Reason::Observed, Reason::Requested, Reason::Decided, Reason::Resync] {
        let probe = Probe::new();
        run_for(S, &probe, because(reason, &["a"])).await;
        assert_eq!(probe.lines(), ["0.0s a"], "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_stays_with_its_key_and_backs_off() {
    let probe = Probe::new();
    run_for(3500 * MS, &probe, because(Reason::Observed, &["panics", "a"])).await;
    assert_eq!(probe.lines(), ["0.0s panics", "0.0s a", "1.0s panics", "3.0s panics"]);
}

#[tokio::test(start_paused = true)]
async fn noise_does_not_wake_a_failed_key_and_a_person_does() {
    let probe = Probe::new();
    let noise = stream::unfold(0, |n| async move {
        sleep(100 * MS).await;
        let reason = if n == 15 { Reason::Requested } else { Reason::Observed };
        Some((Trigger::new("fails", reason), n + 1))
    });
    run_for(4 * S, &probe, noise).await;
    // 0.1 s: fails; 1.1 s: again, then 2 s of quiet, which a person ends after 0.5 s and starts over at 1 s.
    assert_eq!(probe.lines(), ["0.1s fails", "1.1s fails", "1.6s fails", "2.6s fails"]);
}

#[tokio::test(start_paused = true)]
async fn a_requeue_comes_back_by_itself_and_one_beyond_the_clock_does_not() {
    let probe = Probe::new();
    run_for(5 * S, &probe, because(Reason::Observed, &["far", "again"])).await;
    assert_eq!(probe.lines(), ["0.0s far", "0.0s again", "2.0s again", "4.0s again"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_runs_is_not_run_twice_and_a_request_meanwhile_is_kept() {
    let probe = Probe::new();
    let twice = stream::iter([Duration::ZERO, S]).then(|at| async move {
        sleep(at).await;
        Trigger::new("slow", Reason::Observed)
    });
    run_for(7 * S, &probe, twice.chain(stream::pending())).await;
    assert_eq!(probe.lines(), ["0.0s slow", "5.0s slow ends", "5.0s slow"]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_the_running_reconcile_finish_and_starts_no_other() {
    let probe = Probe::new();
    let late = stream::once(async {
        sleep(1500 * MS).await;
        Trigger::new("late", Reason::Observed)
    });
    let triggers = because(Reason::Observed, &["slow"]).take(1).chain(late).chain(stream::pending());
    run(&probe, triggers, sleep(S), gathering(), &Heartbeat::new()).await;
    assert_eq!(probe.lines(), ["0.0s slow", "5.0s slow ends"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_concurrency_run_at_once_and_all_get_their_turn() {
    struct Crowd {
        now: Cell<usize>,
        most: Cell<usize>,
        ran: Cell<usize>,
    }
    impl Reconciler<u32> for Crowd {
        type Error = Infallible;
        async fn reconcile(&self, _: &u32) -> Result<Action, Infallible> {
            self.now.set(self.now.get() + 1);
            self.most.set(self.most.get().max(self.now.get()));
            sleep(MS).await;
            self.now.set(self.now.get() - 1);
            self.ran.set(self.ran.get() + 1);
            Ok(Action::await_change())
        }
    }
    let crowd = Crowd { now: Cell::new(0), most: Cell::new(0), ran: Cell::new(0) };
    let triggers = stream::iter((0..1000).map(|key| Trigger::new(key, Reason::Observed)));
    let config = Config { concurrency: 7, ..Config::default() };
    let _ = timeout(S, run(&crowd, triggers.chain(stream::pending()), pending(), config, &Heartbeat::new()))
        .await;
    assert_eq!((crowd.most.get(), crowd.ran.get()), (7, 1000));
}

#[expect(clippy::disallowed_methods, reason = "to hold the thread up is what it is for")]
fn work_for_a_millisecond() {
    std::thread::sleep(MS); // as long as a process takes to be started
}

#[tokio::test]
async fn what_else_runs_on_the_thread_has_its_turn_between_many_reconciles() {
    struct Work(Cell<u32>);
    impl Reconciler<u32> for Work {
        type Error = Infallible;
        async fn reconcile(&self, _: &u32) -> Result<Action, Infallible> {
            tokio::task::yield_now().await;
            work_for_a_millisecond();
            self.0.set(self.0.get() + 1);
            Ok(Action::await_change())
        }
    }
    let work = Work(Cell::new(0));
    let triggers = stream::iter((0..300).map(|key| Trigger::new(key, Reason::Observed)));
    let config = Config { concurrency: 300, ..Config::default() };
    let mut most = 0;
    let somebody = async {
        let mut last = 0;
        while last < 300 {
            most = most.max(work.0.get() - last);
            last = work.0.get();
            tokio::task::yield_now().await;
        }
    };
    let beat = Heartbeat::new();
    tokio::select! {
        () = run(&work, triggers.chain(stream::pending()), pending(), config, &beat) => {}
        () = somebody => {}
    }
    assert!(most <= 50, "{most} of 300 without a turn for anybody else");
}

/// As in the daemon: what each of many keys finds out concerns one key that is shared by all.
#[tokio::test(start_paused = true)]
async fn a_thousand_keys_that_ask_for_a_shared_one_cause_few_runs_of_it() {
    const SHARED: u32 = 1000;
    struct Shared {
        runs: RefCell<HashMap<&'static str, u32>>,
        decided: mpsc::UnboundedSender<Trigger<u32>>,
    }
    impl Reconciler<u32> for Rc<Shared> {
        type Error = Infallible;
        async fn reconcile(&self, key: &u32) -> Result<Action, Infallible> {
            let kind = if *key == SHARED { "shared" } else { "own" };
            *self.runs.borrow_mut().entry(kind).or_default() += 1;
            if *key != SHARED {
                self.decided.unbounded_send(Trigger::new(SHARED, Reason::Decided)).unwrap();
            }
            Ok(Action::await_change())
        }
    }
    let (decided, requests) = mpsc::unbounded();
    let shared = Rc::new(Shared { runs: RefCell::default(), decided });
    let exits = stream::iter((0..SHARED).map(|key| Trigger::new(key, Reason::Observed)));
    let triggers = stream::select(exits, requests);
    let _ = timeout(S, run(&shared, triggers, pending(), Config::default(), &Heartbeat::new())).await;
    let runs = shared.runs.borrow();
    assert_eq!(runs["own"], 1000);
    assert!(runs["shared"] <= 1000 / 64 + 3, "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn the_heart_beats_while_nothing_happens_and_stops_with_a_stuck_loop() {
    struct Idle;
    impl Reconciler<u8> for Idle {
        type Error = Infallible;
        async fn reconcile(&self, _: &u8) -> Result<Action, Infallible> {
            Ok(Action::await_change())
        }
    }
    let beat = Heartbeat::new();
    let config = Config { turn_at_least: 10 * S, ..Config::default() };
    let quiet = stream::pending::<Trigger<u8>>();
    let _ = timeout(65 * S, run(&Idle, quiet, pending(), config, &beat)).await;
    assert!(beat.age() <= 10 * S, "{:?}", beat.age());
    assert_eq!(beat.turns(), 7);
    // The loop is gone: nothing renews the stamp.
    sleep(100 * S).await;
    assert!(beat.age() >= 100 * S);
}

#[test]
fn a_failure_is_told_with_each_cause_once() {
    let failure = Stuck { key: "a", source: "x".parse::<u8>().unwrap_err() };
    assert_eq!(Chain(&failure).to_string(), "cannot move `a`: invalid digit found in string");
}

#[test]
fn panics_are_told_in_their_own_words() {
    let said = |payload: Box<dyn Any + Send>| panic_message(&*payload).to_owned();
    assert_eq!(said(Box::new("plain")), "plain");
    assert_eq!(said(Box::new("made".to_owned())), "made");
    assert_eq!(said(Box::new(7)), "no message");
}
