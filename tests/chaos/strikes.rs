//! What strikes between the changes: processes, file systems, directories, clocks, clients.

use std::time::{Duration, Instant};

use crate::{
    blows::{Held, Target},
    client::{Manner, misbehave},
    dice::Dice,
    disks::{self, Area},
    field::Order,
    harness::{self, Seen},
    judge::look,
};

use super::{Storm, changes::configs};

impl Storm<'_> {
    pub fn any_name(&mut self) -> String {
        let index = usize::try_from(self.dice.next() >> 1).unwrap();
        let all = self.lasting.len() + self.ending.len();
        let index = index % all;
        self.lasting.iter().chain(&self.ending).nth(index).unwrap().clone()
    }

    pub fn keeper_of(&self, name: &str) -> Option<Seen> {
        self.chaos
            .atm
            .keepers()
            .into_iter()
            .find(|keeper| keeper.argv.last().is_some_and(|last| last == name))
    }

    /// The process that runs a session, if it is the one that is declared.
    pub fn child_of(&self, name: &str) -> Option<Seen> {
        let token = &self.chaos.declared.get(name)?.token;
        look(&self.chaos.mark).runs(token).first().cloned()
    }

    pub fn blow(&mut self, round: u64) {
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

    pub fn end_keeper(&mut self, name: &str) {
        if let Some(target) = self.keeper_of(name).and_then(|keeper| Target::seen(&keeper)) {
            self.act("SIGKILL of a keeper", name);
            self.chaos.bereave(name);
            target.end();
        }
    }

    pub fn hold(&mut self, name: &str, what: &str, until: Instant, find: fn(&Self, &str) -> Option<Seen>) {
        if self.held.iter().any(|held| held.name == name) {
            return;
        }
        if let Some(target) = find(self, name).and_then(|seen| Target::seen(&seen)) {
            self.act(what, name);
            self.held.push(Held::new(target, name, until));
        }
    }

    /// Something of the machine is not as it should be for a while.
    pub fn disturb(&mut self, round: u64, seed: u64, millis: u64) {
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
        if kind == 2 && self.paused {
            // A file that goes in the moment before its directory is one that is not back later: until a person says that
            // this was meant, it counts as lost.
            self.converge();
        }
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
        self.paused = true;
        let began = harness::now();
        self.converge();
        self.paused = false;
        let what = format!("{what}, round {round} of scene {}", self.number);
        self.tally.lock().unwrap().healings.push((began.elapsed(), what));
    }

    /// Of whoever writes now, not all may be kept.
    pub fn tear(&mut self, area: Area) {
        if area == Area::Log {
            self.chaos.tearing = true;
            self.chaos.torn.extend(self.chaos.declared.values().map(|declared| declared.token.clone()));
            self.chaos.torn.extend(look(&self.chaos.mark).all.into_keys());
        }
    }

    /// People write their files while there is no room for them: what they leave is empty.
    pub fn scribble(&mut self, area: Area, dice: &mut Dice) {
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
    pub fn vanish(&mut self, area: Area, under: bool) {
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
                // So does what a person asked for.
                for declared in self.chaos.declared.values_mut().filter(|one| one.order == Order::Stop) {
                    declared.order = Order::Unheard;
                }
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

    pub fn remove(&mut self, area: Area) {
        if let Err(error) = std::fs::remove_dir_all(area.of(&self.chaos.atm)) {
            self.chaos.note(format!("not all of it: {error}"));
        }
    }

    /// SIGKILL of the daemon, and of some that follow it, each of which gets as far as it comes. Gives the moment of the
    /// last.
    pub fn strike(&mut self) -> Instant {
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
}
