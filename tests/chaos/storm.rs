//! The storm: changes that never pause, and under them whatever can be done to a machine, as often as is asked for.
//!
//! It is cut into scenes. Each has directories, a config and a machine of its own, and ends with a stop of everything and
//! a judgement of every byte that was written. All that is done is chosen by the seed and the number of the scene: the
//! changes by one generator, what strikes between them by another, so that the one's sequence does not depend on how
//! long the other took.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    blows::{Held, Target},
    client::{self, Manner, misbehave},
    dice::Dice,
    disks::{self, Area},
    field::Kind,
    harness::{self, Atm, LIMIT, Seen, signal, wall::WallClock},
    judge::look,
    stage::{Chaos, Unsettled},
};

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

/// What was done and what came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub scenes: u64,
    pub actions: BTreeMap<String, u64>,
    /// SIGKILLs of the daemon.
    pub kills: usize,
    /// From a SIGKILL until the next daemon answers and all is as it was declared when it fell.
    pub recoveries: Vec<Duration>,
    /// From the end of a disturbance until all is as declared.
    pub healings: Vec<(Duration, String)>,
    /// How often what went wrong: a failure ends the storm.
    pub wrongs: BTreeMap<&'static str, u64>,
}

/// The words that failures begin with: see [`crate::stage::Wrong`].
const WRONGS: [&str; 6] = ["Lost", "Doubled", "Orphan", "Signalled", "Output", "Told"];

impl Tally {
    fn count(&mut self, action: impl Into<String>) {
        *self.actions.entry(action.into()).or_default() += 1;
    }

    fn wrong(&mut self, said: &str) {
        let word = WRONGS.into_iter().find(|word| said.starts_with(&format!("{word}: ")));
        *self.wrongs.entry(word.unwrap_or("Other")).or_default() += 1;
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (action, count) in &self.actions {
            writeln!(text, "{count:>8}  {action}").unwrap();
        }
        writeln!(text, "{:>8}  scenes", self.scenes).unwrap();
        writeln!(text, "{:>8}  SIGKILLs of the daemon", self.kills).unwrap();
        let healings: Vec<Duration> = self.healings.iter().map(|(took, _)| *took).collect();
        let longest = self.healings.iter().max().map_or("", |(_, what)| what);
        for (what, mut spans, after) in
            [("recoveries", self.recoveries.clone(), ""), ("healings", healings, longest)]
        {
            spans.sort_unstable();
            let Some(last) = spans.len().checked_sub(1) else { continue };
            let [p50, p99, max] = [50, 99, 100].map(|percent| spans[last * percent / 100].as_millis());
            write!(text, "{:>8}  {what}: p50 {p50} ms, p99 {p99} ms, max {max} ms", spans.len()).unwrap();
            writeln!(text, "{}{after}", if after.is_empty() { "" } else { " after " }).unwrap();
        }
        for word in WRONGS.into_iter().chain(["Other"]) {
            let count = self.wrongs.get(word).copied().unwrap_or_default();
            let said = match word {
                "Lost" => "lost",
                "Doubled" => "doubled",
                "Orphan" => "orphans",
                "Signalled" => "foreign signals",
                "Output" => "wrong output",
                "Told" => "wrongly told, or never again as declared",
                _ => "failures of other kinds",
            };
            writeln!(text, "{count:>8}  {said}").unwrap();
        }
        text
    }
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

/// Configs that hold, all with room for every session, and keeping every byte of output.
fn configs(sessions: usize) -> [String; 5] {
    let room = 2 * sessions + 40;
    let logs = |size: &str| format!("logs: {{maxSize: {size}, maxFiles: 900, maxAge: 3650d}}\n");
    [
        format!("maxSessions: {room}\n{}", logs("1MiB")),
        format!("maxSessions: {}\n# more\n{}", room + 1, logs("16KiB")),
        format!("{}maxSessions: {room}\nresyncInterval: 1s\n", logs("64KiB")),
        format!("maxSessions: {room}\n{}clients: {{max: 3, buffer: 5}}\n", logs("4KiB")),
        format!("maxSessions: {room}\nmaxIdle: 1h\nonShutdown: Auto\nenv: {{A: b}}\n{}", logs("10MiB")),
    ]
}

/// What is no config, or no spec.
const BROKEN: [&str; 7] = [
    "",
    "command: [sh, -c\n",
    "maxSessions: many\ncommand: {a: b}\n",
    "nonsense: true\n",
    "\tcommand: x\n",
    "command: ['true']\ncommand: ['true']\n",
    "\u{0}\u{1b}[2J\n",
];

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

    /// One thing that a person might do to the files.
    fn change(&mut self) {
        let is_lasting = self.chaos.dice.percent(90);
        let (pool, kinds) =
            if is_lasting { (&self.lasting, &Kind::LASTING[..]) } else { (&self.ending, &Kind::ENDING[..]) };
        let name = self.chaos.dice.pick(pool).unwrap().clone();
        let roll = self.chaos.dice.below(100);
        let count = self.chaos.declared.keys().filter(|name| name.starts_with('s')).count();
        let Some(declared) = self.chaos.declared.get(&name) else {
            if !is_lasting || count < self.plan.sessions + 3 {
                self.tally.lock().unwrap().count("new spec");
                self.chaos.declare(&name, kinds);
            } else {
                self.meddle_with_config(roll < 50);
            }
            return;
        };
        // A good one is in force only once it was read.
        let settled = declared.process.is_some() && !declared.shaken || declared.over;
        let what = match roll {
            0..25 => "changed command",
            25..45 if is_lasting => "changed live field",
            60..68 if settled => "broken spec",
            68..74 => "other ending of the name",
            74..86 if !is_lasting || count > self.plan.sessions => "removed spec",
            86..92 => "removed and added spec",
            92..98 => return self.meddle_with_config(roll < 95),
            98.. => "reload",
            _ => "reformatted spec",
        };
        self.tally.lock().unwrap().count(what);
        match what {
            "changed command" => self.chaos.declare(&name, kinds),
            "changed live field" => self.chaos.reprioritise(&name),
            "broken spec" => self.spoil(&name),
            "other ending of the name" => self.turn(&name),
            "removed spec" => self.chaos.forget(&name),
            "removed and added spec" => self.chaos.replace(&name, kinds),
            // As service managers do: one that is not up yet has not said what SIGHUP means to it.
            "reload" => {
                if client::list(&self.chaos.atm.runtime()).is_some() && !self.chaos.atm.has_ended() {
                    signal(self.chaos.atm.daemon_pid(), 1);
                }
            }
            _ => self.chaos.reformat(&name),
        }
    }

    fn meddle_with_config(&mut self, good: bool) {
        let text = if good {
            self.chaos.dice.pick(&configs(self.plan.sessions)).unwrap().clone()
        } else {
            (*self.chaos.dice.pick(&BROKEN[1..]).unwrap()).to_owned()
        };
        self.act(if good { "config" } else { "broken config" }, &format!("{text:?}"));
        let path = self.chaos.atm.path("atm.yaml");
        self.chaos.put(&path, &text, text.len() / 2);
    }

    /// Its file is no spec any more.
    fn spoil(&mut self, name: &str) {
        let text = *self.chaos.dice.pick(&BROKEN).unwrap();
        self.chaos.note(format!("spoil {name}: {text:?}"));
        self.chaos.declared.get_mut(name).unwrap().spoiled = true;
        let path = self.chaos.file(name);
        self.chaos.put(&path, text, text.len() / 2);
    }

    /// `.yaml` becomes `.yml`, or the other way round.
    fn turn(&mut self, name: &str) {
        self.chaos.note(format!("turn {name}"));
        let before = self.chaos.file(name);
        let declared = self.chaos.declared.get_mut(name).unwrap();
        declared.yml = !declared.yml;
        std::fs::rename(before, self.chaos.file(name)).unwrap();
    }

    // What strikes.

    fn any_name(&mut self) -> String {
        let index = usize::try_from(self.dice.next() >> 1).unwrap();
        let all = self.lasting.len() + self.ending.len();
        let index = index % all;
        self.lasting.iter().chain(&self.ending).nth(index).unwrap().clone()
    }

    fn keeper_of(&self, name: &str) -> Option<Seen> {
        self.chaos
            .atm
            .keepers()
            .into_iter()
            .find(|keeper| keeper.argv.last().is_some_and(|last| last == name))
    }

    /// The process that runs a session, if it is the one that is declared.
    fn child_of(&self, name: &str) -> Option<Seen> {
        let token = &self.chaos.declared.get(name)?.token;
        look(&self.chaos.mark).runs(token).first().cloned()
    }

    fn blow(&mut self, round: u64) {
        let (roll, name, millis) = (self.dice.below(100), self.any_name(), self.dice.below(1500));
        let seed = self.dice.next();
        let until = harness::now() + Duration::from_millis(2 * millis);
        match roll {
            0..12 => self.end_keeper(&name),
            12..24 => {
                if let Some(target) = self.child_of(&name).and_then(|child| Target::seen(&child)) {
                    self.act("SIGKILL of a child", &name);
                    self.chaos.bereave(&name);
                    target.end();
                }
            }
            24..30 => {
                // What it starts itself: no business of anybody's.
                let child = self.child_of(&name);
                let below = child
                    .and_then(|child| harness::processes().into_iter().find(|one| one.parent == child.pid));
                if let Some(target) = below.and_then(|below| Target::seen(&below)) {
                    self.act("SIGKILL of a grandchild", &name);
                    target.end();
                }
            }
            30..38 => {
                let pid = self.chaos.atm.daemon_pid();
                if let Some(target) = harness::start_time(pid).and_then(|born| Target::of(pid, born)) {
                    self.act("SIGSTOP of the daemon", &format!("for {millis} ms"));
                    self.held.push(Held::new(target, "", until));
                    self.pass(millis);
                }
            }
            38..46 => self.hold(&name, "SIGSTOP of a keeper", until, Self::keeper_of),
            46..54 => self.hold(&name, "SIGSTOP of a child", until, Self::child_of),
            54..72 => {
                let manner = *self.dice.pick(&Manner::ALL).unwrap();
                self.act("misbehaving client", &format!("{manner:?}"));
                self.guests.push(misbehave(manner, &self.chaos.atm.runtime(), &name, seed));
            }
            72..76 => {
                let hours = i64::try_from(seed % 2000).unwrap() - 1000;
                if let Some(clock) = &self.clock {
                    clock.set(hours * 3600);
                    self.act("step of the wall clock", &format!("{hours} h"));
                }
            }
            _ => self.disturb(round, seed, millis),
        }
    }

    fn end_keeper(&mut self, name: &str) {
        if let Some(target) = self.keeper_of(name).and_then(|keeper| Target::seen(&keeper)) {
            self.act("SIGKILL of a keeper", name);
            self.chaos.bereave(name);
            target.end();
        }
    }

    fn hold(&mut self, name: &str, what: &str, until: Instant, find: fn(&Self, &str) -> Option<Seen>) {
        if self.held.iter().any(|held| held.name == name) {
            return;
        }
        if let Some(target) = find(self, name).and_then(|seen| Target::seen(&seen)) {
            self.act(what, name);
            self.held.push(Held::new(target, name, until));
        }
    }

    /// Something of the machine is not as it should be for a while.
    fn disturb(&mut self, round: u64, seed: u64, millis: u64) {
        let mut dice = Dice::new(seed);
        let area = *dice.pick(&Area::ALL).unwrap();
        let (kind, strikes) = (dice.below(3), dice.percent(50));
        if kind < 2 && !self.parted {
            return;
        }
        let what = ["full", "read-only", "vanished"][usize::try_from(kind).unwrap()];
        let what = format!("{what} {area:?}");
        self.act(&what, &format!("for {millis} ms"));
        // A daemon that is stopped would be so for longer than is meant.
        self.held.clear();
        self.paused = area == Area::Specs;
        match kind {
            0 => {
                self.tear(area);
                disks::fill(&self.chaos.atm, area);
                self.scribble(area, &mut dice);
            }
            1 => disks::forbid(&self.chaos.atm, area),
            _ => self.vanish(area, dice.percent(50)),
        }
        self.pass(millis / 2);
        if strikes {
            self.strike();
        }
        self.pass(millis / 2);
        self.chaos.note(format!("no more {what}"));
        match kind {
            0 => {
                disks::clear(&self.chaos.atm, area);
                self.tear(area);
            }
            1 => disks::allow(&self.chaos.atm, area),
            _ => std::fs::create_dir_all(area.of(&self.chaos.atm)).unwrap(),
        }
        self.chaos.tearing = false;
        if area == Area::Specs {
            for name in self.chaos.declared.keys().cloned().collect::<Vec<_>>() {
                self.chaos.write(&name);
            }
        }
        let began = harness::now();
        self.converge();
        self.paused = false;
        let what = format!("{what}, round {round} of scene {}", self.number);
        self.tally.lock().unwrap().healings.push((began.elapsed(), what));
    }

    /// Of whoever writes now, not all may be kept.
    fn tear(&mut self, area: Area) {
        if area == Area::Log {
            self.chaos.tearing = true;
            self.chaos.torn.extend(self.chaos.declared.values().map(|declared| declared.token.clone()));
            self.chaos.torn.extend(look(&self.chaos.mark).all.into_keys());
        }
    }

    /// People write their files while there is no room for them: what they leave is empty.
    fn scribble(&mut self, area: Area, dice: &mut Dice) {
        if area != Area::Specs {
            return;
        }
        for _ in 0..5 {
            let Some(name) = dice.pick(&self.lasting).cloned() else { continue };
            let Some(declared) = self.chaos.declared.get_mut(&name) else { continue };
            if declared.process.is_some() && !declared.shaken {
                declared.spoiled = true;
                let _ = std::fs::write(self.chaos.file(&name), "command: [sh, -c, ");
            }
        }
    }

    /// A directory goes with all that is in it, under the daemon or between two.
    fn vanish(&mut self, area: Area, under: bool) {
        if !under {
            self.chaos.atm.kill_daemon();
            self.tally.lock().unwrap().kills += 1;
        }
        match area {
            Area::Runtime => self.chaos.wipe(),
            Area::Log => {
                self.tear(area);
                self.remove(area);
            }
            Area::State => {
                // What is good stands in no other place while its file is broken.
                let spoiled = |(name, declared): (&String, &crate::field::Declared)| {
                    declared.spoiled.then(|| name.clone())
                };
                for name in self.chaos.declared.iter().filter_map(spoiled).collect::<Vec<_>>() {
                    self.chaos.write(&name);
                }
                let config = configs(self.plan.sessions)[0].clone();
                std::fs::write(self.chaos.atm.path("atm.yaml"), config).unwrap();
                for declared in self.chaos.declared.values_mut().filter(|declared| declared.kind.is_once()) {
                    declared.bereft = true;
                    declared.forgotten += 1;
                    self.chaos.disturbed.insert(declared.token.clone());
                }
                self.remove(area);
            }
            Area::Specs => self.remove(area),
        }
        if !under {
            self.chaos.atm.launch();
        }
    }

    fn remove(&mut self, area: Area) {
        if let Err(error) = std::fs::remove_dir_all(area.of(&self.chaos.atm)) {
            self.chaos.note(format!("not all of it: {error}"));
        }
    }

    /// SIGKILL of the daemon, and of some that follow it, each of which gets as far as it comes. Gives the moment of the
    /// last.
    fn strike(&mut self) -> Instant {
        let (more, name, orphans) = (self.dice.percent(15), self.any_name(), self.dice.percent(10));
        let early = self.dice.below(3) + 1;
        self.chaos.note("SIGKILL of the daemon");
        let mut fell = harness::now();
        self.chaos.atm.kill_daemon();
        self.tally.lock().unwrap().kills += 1;
        if orphans && !self.plan.plain {
            self.end_keeper(&name);
        }
        for _ in 0..if more { early } else { 0 } {
            self.chaos.atm.launch();
            let most = if self.dice.percent(50) { 15 } else { 250 };
            self.dice.pause(most);
            self.chaos.note("and again");
            fell = harness::now();
            self.chaos.atm.kill_daemon();
            self.tally.lock().unwrap().kills += 1;
        }
        self.chaos.atm.launch();
        fell
    }

    // What has to follow.

    fn recover(&mut self, fell: Instant) {
        self.until_settled(fell);
        let took = fell.elapsed();
        self.chaos.note(format!("recovered after {} ms", took.as_millis()));
        self.tally.lock().unwrap().recoveries.push(took);
        if let Some(within) = self.plan.within.filter(|within| took > *within) {
            self.chaos.fail((
                crate::stage::Wrong::Told,
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
        let deadline = harness::now() + LIMIT;
        loop {
            self.pump();
            self.revive();
            match self.unsettled(moment) {
                None => break,
                Some(why) if harness::now() > deadline => {
                    self.held.clear();
                    self.chaos.fail(why)
                }
                Some(_) => {}
            }
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
    let seed = std::env::var("ATM_STORM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let until = Until::Scenes(1);
    let plan = Plan { seed, first: 0, sessions: 6, rate: 15, plain: false, until, rounds: 8, within: None };
    let (tally, failed) = run(&plan);
    eprintln!("{}", tally.text());
    assert_eq!(failed, None, "it is played again by ATM_STORM_SEED={seed}");
    assert!(tally.kills > 0 && !tally.healings.is_empty(), "nothing happened: {tally:?}");
}
