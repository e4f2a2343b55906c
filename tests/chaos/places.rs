//! Death, failure and delay at every named place of the daemon and of the keepers, one at a time: whatever happens
//! there, all is as declared in the end.
//!
//! `ATM_PLACES_ROUNDS` repeats each more often; `ATM_PLACE=daemon.intent` is for one of them alone.

use std::{
    fs,
    panic::catch_unwind,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use atm::host::failpoint::{ENV_FAILPOINTS, Place, Role};

use crate::{
    field::Kind,
    harness::{Atm, signal, wait_until},
    stage::Chaos,
};

const ACTIONS: [&str; 3] = ["kill", "err", "delay"];

/// Each runs on two cores with others beside it.
const AT_ONCE: usize = 4;

/// When a place is armed: before a part of the course in which somebody comes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A daemon that starts its first sessions.
    Begin,
    /// Changed, new and removed specs, a reload.
    Change,
    /// A keeper that has to use SIGKILL.
    Stop,
    /// A daemon that finds what another has left.
    Again,
}

impl Part {
    const ALL: [Self; 4] = [Self::Begin, Self::Change, Self::Stop, Self::Again];
}

/// The parts in which somebody comes to `place`, and so those in which it is tried.
fn parts(role: Role, place: Place) -> Vec<Part> {
    use Part::{Again, Begin, Change, Stop};
    match (role, place) {
        (_, Place::Kill) => vec![Stop],
        (_, Place::Reload | Place::Update | Place::Retire) => vec![Change],
        (_, Place::StopRecorded | Place::AskStop | Place::StopAgreed) => vec![Change, Stop],
        (_, Place::Locked | Place::Classify | Place::TakenOver | Place::Bound | Place::Ready) => {
            vec![Begin, Again]
        }
        (
            Role::Daemon,
            Place::SpecRead | Place::ConfigRead | Place::Written | Place::Replaced | Place::Append,
        ) => {
            vec![Begin, Change, Again]
        }
        (Role::Daemon | Role::Keeper, _) => vec![Begin, Change],
    }
}

struct Course {
    chaos: Chaos,
    armed: PathBuf,
    file: String,
    action: &'static str,
}

impl Course {
    fn new(role: Role, place: Place, action: &'static str, number: u64) -> Self {
        let mut atm = Atm::new();
        let armed = atm.path("armed");
        fs::create_dir_all(armed.join("fired")).unwrap();
        atm.env.push((ENV_FAILPOINTS.to_owned(), armed.display().to_string()));
        let chaos = Chaos::down(atm, number, "logs: {maxSize: 4KiB, maxFiles: 1000}\n");
        Self { chaos, armed, file: place.file(role), action }
    }

    fn arm(&mut self) {
        fs::write(self.armed.join(&self.file), self.action).unwrap();
        self.chaos.note(format!("{} at {}", self.action, self.file));
    }

    /// Whether it happened, with the session whose keeper it was; empty for the daemon.
    fn fired(&self) -> Option<String> {
        fs::read_to_string(self.armed.join("fired").join(&self.file)).ok()
    }

    /// Waits until all is as declared. What a killed keeper had is no loss of atm's, nor what one could not write.
    fn settle(&mut self) {
        let fired = self.armed.join("fired").join(&self.file);
        let of_keepers = self.file.starts_with("keeper.");
        self.chaos.settle_with(|chaos| {
            let Some(name) = fs::read_to_string(&fired).ok().filter(|_| of_keepers) else { return };
            chaos.bereave(&name);
        });
    }

    fn run(&mut self, part: Part) {
        match part {
            Part::Begin => {
                for (name, kind) in [
                    ("ash", Kind::Writer),
                    ("birch", Kind::Flood),
                    ("cedar", Kind::Slow),
                    ("elm", Kind::Once(7)),
                ] {
                    self.chaos.declare_as(name, kind);
                }
                self.chaos.atm.revive();
            }
            Part::Change => {
                self.chaos.declare_as("ash", Kind::Flood);
                self.chaos.declare_as("elm", Kind::Once(0));
                self.chaos.declare_as("fir", Kind::Deaf);
                self.chaos.reprioritise("birch");
                self.chaos.forget("cedar");
                fs::write(self.chaos.atm.path("atm.yaml"), "logs: {maxSize: 8KiB, maxFiles: 1000}\n")
                    .unwrap();
                if !self.chaos.atm.revive() {
                    signal(self.chaos.atm.daemon_pid(), 1);
                }
            }
            Part::Stop => self.chaos.declare_as("fir", Kind::Writer),
            Part::Again => {
                self.chaos.atm.kill_daemon();
                self.chaos.atm.revive();
            }
        }
    }
}

/// Says whether it happened.
fn once(number: usize, (role, place, action, at): (Role, Place, &'static str, Part)) -> bool {
    let mut course = Course::new(role, place, action, number as u64);
    let mut happened = false;
    for part in Part::ALL {
        if part == at {
            course.arm();
        }
        course.run(part);
        course.settle();
        if part == at {
            // Such as a log that is rotated some time later.
            happened = wait_until_or(5, || course.fired().is_some());
            let _ = fs::remove_file(course.armed.join(&course.file));
            course.settle();
        }
    }
    course.chaos.end();
    happened
}

/// A condition that may never come true.
#[expect(clippy::disallowed_methods, reason = "a test waits on the real clock")]
fn wait_until_or(seconds: u64, condition: impl Fn() -> bool) -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    wait_until(|| condition() || std::time::Instant::now() > deadline) && condition()
}

#[test]
fn whatever_happens_at_any_place_all_is_as_declared_in_the_end() {
    let read = |name: &str| std::env::var(name).ok();
    let rounds = read("ATM_PLACES_ROUNDS").and_then(|text| text.parse().ok()).unwrap_or(1);
    let only = read("ATM_PLACE");
    let mut trials = Vec::new();
    for round in 0..rounds {
        for (index, (role, place)) in Place::ALL.iter().enumerate() {
            if only.as_ref().is_some_and(|only| *only != place.file(*role)) {
                continue;
            }
            for (number, action) in ACTIONS.into_iter().enumerate() {
                let parts = parts(*role, *place);
                // Another part for each action and in each round, so that all come up.
                let part = parts[(index + number + round) % parts.len()];
                trials.push((*role, *place, action, part));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(trial) = trials.get(number) else { break };
                    let (role, place, action, part) = *trial;
                    let told = || format!("{action} at {} in {part:?}", place.file(role));
                    // One that fails says so, and the others are tried all the same.
                    match catch_unwind(|| once(number, *trial)) {
                        Ok(true) => {}
                        Ok(false) => missed.lock().unwrap().push(told()),
                        Err(_) => failed.lock().unwrap().push(told()),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), trials.len());
    let missed = missed.into_inner().unwrap();
    eprintln!("{} places, {} trials", Place::ALL.len(), trials.len());
    assert!(missed.is_empty(), "nobody came to {} of {}: {missed:#?}", missed.len(), trials.len());
}
