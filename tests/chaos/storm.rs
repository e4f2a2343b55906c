//! The storm: changes that never pause, and under them whatever can be done to a machine, as often as is asked for.
//!
//! It is cut into scenes. Each has directories, a config and a machine of its own, and ends with a stop of everything and
//! a judgement of every byte that was written. All that is done is chosen by the seed and the number of the scene: the
//! changes by one generator, what strikes between them by another, so that the one's sequence does not depend on how
//! long the other took.

use std::{
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

mod changes;
mod orders;
mod strikes;
mod tally;

use crate::{
    blows::Held,
    dice::Dice,
    disks,
    field::Kind,
    harness::{self, Atm, LIMIT, wall::WallClock},
    stage::{Chaos, Unsettled, Wrong},
};

use changes::configs;
pub use tally::Tally;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// The scene to begin with.
    pub first: u64,
    /// Sessions that run for ever.
    pub sessions: usize,
    /// Changes a second.
    pub rate: u64,
    /// Nothing but changes and SIGKILLs of the daemon.
    pub plain: bool,
    pub until: Until,
    /// Rounds of a scene.
    pub rounds: u64,
    /// How long a recovery may take.
    pub within: Option<Duration>,
}

/// When it is over, at the end of a scene.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Time(Instant),
    Kills(usize),
    Scenes(u64),
}

/// Scene after scene until it is enough, or until one fails; says which did.
pub fn run(plan: &Plan) -> (Tally, Option<u64>) {
    let tally = Arc::new(Mutex::new(Tally::default()));
    for number in plan.first.. {
        let enough = {
            let tally = tally.lock().unwrap();
            match plan.until {
                Until::Time(end) => harness::now() >= end,
                Until::Kills(kills) => tally.kills >= kills,
                Until::Scenes(scenes) => tally.scenes >= scenes,
            }
        };
        if enough {
            break;
        }
        let atm = Atm::new();
        let directory = atm.path("");
        let (shared, its) = (Arc::clone(&tally), plan.clone());
        // Namespaces are a thread's own.
        let played = thread::spawn(move || Storm::new(atm, &its, number, shared).play()).join();
        // What was mounted in it is gone with its thread, and did not let it be removed from there.
        let _ = std::fs::remove_dir_all(directory);
        if let Err(panic) = played {
            let mut tally = take(&tally);
            tally.wrong(panic.downcast_ref::<String>().map_or("", String::as_str));
            return (tally, Some(number));
        }
        let mut tally = tally.lock().unwrap();
        tally.scenes += 1;
        eprintln!("scene {number}: {} SIGKILLs of the daemon so far", tally.kills);
    }
    (take(&tally), None)
}

fn take(tally: &Mutex<Tally>) -> Tally {
    std::mem::take(&mut *tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// What takes longer is told: it may be as it has to be, and somebody should know.
const SLOW: Duration = Duration::from_secs(5);

struct Storm<'a> {
    chaos: Chaos,
    plan: &'a Plan,
    tally: Arc<Mutex<Tally>>,
    /// For what strikes; the stage's own are for the changes.
    dice: Dice,
    lasting: Vec<String>,
    ending: Vec<String>,
    /// No changes for now: the files cannot be written.
    paused: bool,
    next_change: Instant,
    held: Vec<Held>,
    guests: Vec<JoinHandle<()>>,
    clock: Option<WallClock>,
    parted: bool,
    /// When the daemon that had ended by itself may be started again.
    revive_at: Option<Instant>,
    number: u64,
}

impl<'a> Storm<'a> {
    fn new(mut atm: Atm, plan: &'a Plan, number: u64, tally: Arc<Mutex<Tally>>) -> Self {
        let mut choices = Dice::new(plan.seed);
        for _ in 0..number {
            choices.next();
        }
        let mut dice = Dice::new(choices.next());
        let parted = !plan.plain && disks::part(&mut atm);
        // Each choice is made whether or not it can be followed: those after it are the same everywhere.
        let (shifted, slept) = (dice.percent(30), dice.percent(30));
        let clock = if shifted && !plan.plain { WallClock::new(&atm) } else { None };
        if let Some(clock) = &clock {
            atm.env.extend(clock.env());
        }
        let (up, asleep) = (dice.below(30 * 86400), dice.below(400 * 86400));
        if slept && !plan.plain && harness::is_root() {
            let done = disks::sleep_before(up, asleep);
            tally.lock().unwrap().count(if done {
                "a machine that had slept"
            } else {
                "(no time namespace)"
            });
        }
        let config = dice.pick(&configs(plan.sessions)).unwrap().clone();
        let mut chaos = Chaos::down(atm, dice.next(), &config);
        // As quick as many of them can be on a machine with other things to do.
        chaos.pace = if plan.sessions > 10 { "0.5" } else { "0.05" };
        let names = |letter: char, count: usize| (0..count).map(|n| format!("{letter}{n:02}")).collect();
        let (lasting, ending) =
            (names('s', plan.sessions + plan.sessions.div_ceil(5)), names('o', plan.sessions.div_ceil(8)));
        Self {
            chaos,
            plan,
            tally,
            dice,
            lasting,
            ending,
            paused: false,
            next_change: harness::now(),
            held: Vec::new(),
            guests: Vec::new(),
            clock,
            parted,
            revive_at: None,
            number,
        }
    }

    fn play(&mut self) {
        let Plan { seed, .. } = self.plan;
        self.chaos.note(format!("--seed {seed} --first {}", self.number));
        for name in self.lasting.clone().iter().take(self.plan.sessions) {
            self.chaos.declare(name, &Kind::LASTING);
        }
        self.chaos.atm.launch();
        self.paused = true;
        self.converge();
        self.paused = false;
        for round in 0..self.plan.rounds {
            self.chaos.note(format!("-- round {round}"));
            let calm = self.dice.below(1200);
            self.pass(calm);
            if !self.plan.plain {
                for _ in 0..self.dice.below(3) {
                    self.blow(round);
                }
            }
            if self.plan.plain || self.dice.percent(75) {
                let fell = self.strike();
                self.recover(fell);
            } else {
                self.converge();
            }
        }
        self.paused = true;
        self.held.clear();
        for guest in self.guests.drain(..) {
            guest.join().unwrap();
        }
        self.converge();
        self.chaos.end();
    }

    fn act(&mut self, what: &str, detail: &str) {
        self.tally.lock().unwrap().count(what);
        self.chaos.note(format!("{what} {detail}"));
    }

    // What goes on all the time.

    /// Does what is due.
    fn pump(&mut self) {
        let now = harness::now();
        self.held.retain(|held| held.until > now);
        self.chaos.atm.drain_notices();
        let step = Duration::from_micros(1_000_000 / self.plan.rate.max(1));
        if self.paused || now > self.next_change + Duration::from_secs(2) {
            self.next_change = now;
        }
        while !self.paused && now >= self.next_change {
            self.next_change += step;
            self.change();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "so long nothing strikes")]
    fn pass(&mut self, millis: u64) {
        let until = harness::now() + Duration::from_millis(millis);
        while harness::now() < until {
            self.pump();
            self.revive();
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts a daemon that ended by itself, as systemd would.
    fn revive(&mut self) {
        let now = harness::now();
        if !self.chaos.atm.has_ended() {
            self.revive_at = None;
        } else if *self.revive_at.get_or_insert(now + Duration::from_millis(100)) <= now {
            self.revive_at = None;
            let log = self.chaos.atm.daemon_log();
            let last = log.lines().last().unwrap_or_default();
            eprintln!("a daemon ended by itself: {last}");
            self.act("daemon that had ended", last);
            self.chaos.atm.revive();
        }
    }

    // What has to follow.

    fn recover(&mut self, fell: Instant) {
        self.until_settled(fell);
        let took = fell.elapsed();
        self.chaos.note(format!("recovered after {} ms", took.as_millis()));
        self.tally.lock().unwrap().recoveries.push(took);
        if let Some(within) = self.plan.within.filter(|within| took > *within) {
            self.chaos.fail((
                Wrong::Told,
                format!("recovered after {} ms, and not within {} ms", took.as_millis(), within.as_millis()),
            ));
        }
    }

    fn converge(&mut self) {
        self.until_settled(harness::now());
    }

    /// Waits until all is as it was declared at `moment`, while changes go on. Who is held by us, or was changed since,
    /// does not count.
    fn until_settled(&mut self, moment: Instant) {
        let began = harness::now();
        let deadline = began + LIMIT;
        let mut last = String::new();
        let (mut moment, was_paused) = (moment, self.paused);
        loop {
            if began.elapsed() > SLOW && !self.paused {
                // Whoever is changed does not count: after long enough, nobody would.
                self.paused = true;
                moment = harness::now();
            }
            self.pump();
            self.revive();
            if self.insist() && self.paused {
                moment = harness::now(); // what was asked for last counts, too
            }
            let unsettled = self.unsettled(moment);
            last = unsettled.as_ref().map_or(last, |(_, why)| why.clone());
            match unsettled {
                None => break,
                Some(why) if harness::now() > deadline => {
                    self.held.clear();
                    self.chaos.fail(why)
                }
                Some(_) => {}
            }
        }
        self.paused = was_paused;
        if began.elapsed() > SLOW {
            eprintln!(
                "scene {}: settled after {} ms; the last was: {last}",
                self.number,
                began.elapsed().as_millis()
            );
        }
        self.chaos.see_decoys();
        self.guests.retain(|guest| !guest.is_finished());
    }

    fn unsettled(&mut self, moment: Instant) -> Option<Unsettled> {
        let held: Vec<String> = self.held.iter().map(|held| held.name.clone()).collect();
        let changed = self.chaos.changed.clone();
        let counts = |name: &str| {
            !held.iter().any(|one| one == name) && changed.get(name).is_none_or(|at| *at < moment)
        };
        if let Some(why) = self.chaos.unsettled(counts) {
            return Some(why);
        }
        for (name, declared) in &mut self.chaos.declared {
            if counts(name) {
                declared.shaken = false;
            }
        }
        None
    }
}

/// A longer one, and one of other choices, is `cargo run --example chaos`.
#[test]
fn whatever_happens_to_a_machine_nothing_is_lost() {
    let seed = std::env::var("ATM_STORM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let until = Until::Scenes(1);
    let plan = Plan { seed, first: 0, sessions: 6, rate: 15, plain: false, until, rounds: 8, within: None };
    let (tally, failed) = run(&plan);
    eprintln!("{}", tally.text());
    assert_eq!(failed, None, "it is played again by ATM_STORM_SEED={seed}");
    assert!(tally.kills > 0 && !tally.healings.is_empty(), "nothing happened: {tally:?}");
}
