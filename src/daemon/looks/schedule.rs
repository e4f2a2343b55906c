//! Which session is looked at when. Plain values: `plan::looks` has the rules, this keeps their dates in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{
        name::{RunId, SessionName},
        time::Moment,
    },
    host::look::Reading,
    plan::{
        activity::Look,
        looks::{Limits, SHORT, Tide, early, may_be_outgrown, near},
    },
};

/// Sessions in one batch: the loop has the answer after some milliseconds, and those that are due next wait no
/// longer.
const BATCH: usize = 128;

/// All dates of looks.
#[derive(Debug, Default)]
pub struct Schedule {
    watched: BTreeMap<SessionName, Watch>,
    queue: BTreeSet<(Moment, SessionName)>,
    /// The memory that all sessions share.
    shared: Option<u64>,
    tide: Tide,
    reading: Option<Reading>,
    read_at: Option<Moment>,
}

#[derive(Debug)]
struct Watch {
    run_id: RunId,
    limits: Limits,
    due: Moment,
    look: Option<Look>,
    /// At the last look, never less than its memory.
    resident: u64,
    /// The tide before the last look.
    mark: Tide,
}

impl Schedule {
    /// The memory that all sessions share, or none.
    pub fn share(&mut self, bytes: Option<u64>) {
        self.shared = bytes;
    }

    /// Has a run looked at from now on, first at `due`; of one that is known only the limits are new.
    pub fn watch(&mut self, name: &SessionName, run_id: RunId, limits: Limits, due: Moment) {
        if let Some(watch) = self.watched.get_mut(name).filter(|watch| watch.run_id == run_id) {
            watch.limits = limits;
            return;
        }
        self.forget(name);
        let watch = Watch { run_id, limits, due, look: None, resident: 0, mark: self.tide };
        self.watched.insert(name.clone(), watch);
        self.queue.insert((due, name.clone()));
    }

    /// Looks at it no more.
    pub fn forget(&mut self, name: &SessionName) {
        if let Some(watch) = self.watched.remove(name) {
            self.queue.remove(&(watch.due, name.clone()));
        }
    }

    /// Which run of it is looked at, and what bounds it.
    pub fn watched(&self, name: &SessionName) -> Option<(RunId, Limits)> {
        self.watched.get(name).map(|watch| (watch.run_id, watch.limits))
    }

    /// Whether there was a look at the run of it that is looked at.
    pub fn is_looked_at(&self, name: &SessionName) -> bool {
        self.watched.get(name).is_some_and(|watch| watch.look.is_some())
    }

    /// When it is looked at next, or was to be looked at where that is under way.
    pub fn due(&self, name: &SessionName) -> Option<Moment> {
        self.watched.get(name).map(|watch| watch.due)
    }

    /// Sets when it is looked at next.
    pub fn plan(&mut self, name: &SessionName, due: Moment) {
        if let Some(watch) = self.watched.get_mut(name) {
            self.queue.remove(&(watch.due, name.clone()));
            self.queue.insert((due, name.clone()));
            watch.due = due;
        }
    }

    /// Somebody wants to know how these are: what is shown is as of the last look. Says whether any is looked at earlier.
    pub fn ask<'a>(&mut self, names: impl Iterator<Item = &'a SessionName>, now: Moment) -> bool {
        let mut any = false;
        for name in names {
            let Some(watch) = self.watched.get(name) else { continue };
            let Some(look) = &watch.look else { continue };
            let soon = look.at.saturating_add(SHORT).max(now);
            if watch.due > soon {
                self.plan(name, soon);
                any = true;
            }
        }
        any
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Moment> {
        let look = self.queue.first().map(|(due, _)| *due);
        let read =
            self.reads().then(|| self.read_at.map_or(Moment::from_nanos(0), |at| at.saturating_add(SHORT)));
        look.into_iter().chain(read).min()
    }

    /// Whether a budget may be passed between two looks.
    pub fn reads(&self) -> bool {
        let outgrown = || self.watched.values().any(|watch| watch.limits.can_be_outgrown());
        !self.watched.is_empty() && (self.shared.is_some() || outgrown())
    }

    /// Those that are due, and those that are due soon after: they leave the queue until they are planned anew.
    pub fn take(&mut self, now: Moment) -> Vec<SessionName> {
        let horizon = now.saturating_add(early(super::LONGEST));
        let soon = self.queue.iter().take_while(|(due, _)| *due <= horizon);
        let taken = soon.filter(|(due, name)| {
            let last = self.watched.get(name).and_then(|watch| watch.look).map_or(*due, |look| look.at);
            *due <= now.saturating_add(early(*due - last))
        });
        let taken: Vec<_> = taken.take(BATCH).cloned().collect();
        // For a date that is merely near nobody wakes.
        if taken.iter().all(|(due, _)| *due > now) && !self.reads_at(now) {
            return Vec::new();
        }
        self.read_at = Some(now);
        for due in &taken {
            self.queue.remove(due);
        }
        taken.into_iter().map(|(_, name)| name).collect()
    }

    fn reads_at(&self, now: Moment) -> bool {
        self.reads() && self.read_at.is_none_or(|at| at.saturating_add(SHORT) <= now)
    }

    /// Takes in a reading of the machine; `None`: it does not say.
    pub fn read(&mut self, reading: Option<Reading>) {
        if let Some((before, now)) = self.reading.zip(reading) {
            self.tide = self.tide.then([before.available, now.available], [before.forks, now.forks]);
        }
        self.reading = reading.or(self.reading);
    }

    /// Takes in what a look showed. Of a quick one, between two readings, the tide before it is not known.
    pub fn looked(&mut self, name: &SessionName, look: Look, resident: u64, after_reading: bool) {
        if let Some(watch) = self.watched.get_mut(name) {
            watch.look = Some(look);
            if after_reading {
                (watch.resident, watch.mark) = (resident, self.tide);
            } else {
                watch.resident = watch.resident.max(resident);
            }
        }
    }

    /// Memory of all sessions at their last looks.
    fn sum(&self, of: impl Fn(&Watch) -> u64) -> u64 {
        self.watched.values().map(of).fold(0, u64::saturating_add)
    }

    /// Whether all sessions together are near the memory they share.
    pub fn is_pressed(&self) -> bool {
        let sum = || self.sum(|watch| watch.look.map_or(0, |look| look.memory.bytes));
        self.shared.is_some_and(|shared| sum() > near(shared))
    }

    /// Whether they may be, as far as resident sets tell: then what they share is to count once.
    pub fn may_be_pressed(&self) -> bool {
        self.shared.is_some_and(|shared| self.sum(|watch| watch.resident) > near(shared))
    }

    /// Has those looked at that may have passed a budget since their last look. `told`: the machine was read.
    pub fn suspect(&mut self, told: bool) {
        let pressed = self.is_pressed();
        let since = |watch: &Watch| {
            let unknown = Tide { fallen: u64::MAX, forks: u64::MAX };
            if told { self.tide.since(watch.mark) } else { unknown }
        };
        let looked = || self.watched.values().filter(|watch| watch.look.is_some());
        let taken = looked().map(|watch| since(watch).most_taken()).max().unwrap_or(0);
        let known = self.sum(|watch| watch.look.map_or(0, |look| look.memory.bytes));
        let all = pressed || self.shared.is_some_and(|shared| known.saturating_add(taken) > near(shared));
        let mut suspects = Vec::new();
        for (name, watch) in &self.watched {
            let Some(look) = &watch.look else { continue };
            let soon = look.at.saturating_add(SHORT);
            if watch.due > soon && (all || may_be_outgrown(look, &watch.limits, since(watch))) {
                suspects.push((name.clone(), soon));
            }
        }
        for (name, due) in suspects {
            self.plan(&name, due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{activity::MemoryUse, testing};

    const MIB: u64 = 1 << 20;

    fn second(second: u64) -> Moment {
        Moment::from_nanos(second * 1_000_000_000)
    }

    fn name(text: &str) -> SessionName {
        SessionName::new(text).unwrap()
    }

    fn look(at: Moment, bytes: u64) -> Look {
        Look { memory: MemoryUse { bytes, exact: false }, ..testing::look(at) }
    }

    /// Each was looked at in second 0 and is due at its second.
    fn schedule(dues: &[(&str, u64)], limits: Limits) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.read(Some(Reading { available: 1000 * MIB, forks: 0 }));
        for (text, due) in dues {
            schedule.watch(&name(text), RunId::generate(), limits, second(0));
            schedule.looked(&name(text), look(second(0), 10 * MIB), 10 * MIB, true);
            schedule.plan(&name(text), second(*due));
        }
        schedule
    }

    fn own(memory: u64) -> Limits {
        Limits { memory: Some(memory), ..Limits::default() }
    }

    #[test]
    fn without_sessions_nobody_wakes() {
        let mut schedule = Schedule::default();
        schedule.share(Some(MIB));
        assert_eq!(schedule.next(), None);
        schedule.watch(&name("a"), RunId::generate(), own(MIB), second(1));
        schedule.forget(&name("a"));
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn without_budgets_the_machine_is_not_read() {
        assert_eq!(schedule(&[("a", 30)], Limits::default()).next(), Some(second(30)));
        assert!(schedule(&[("a", 30)], own(MIB)).next() < Some(second(30)));
        let mut all = schedule(&[("a", 30)], Limits::default());
        all.share(Some(MIB));
        assert!(all.next() < Some(second(30)));
    }

    #[test]
    fn what_is_due_soon_goes_with_what_is_due() {
        let mut due = schedule(&[("a", 26), ("b", 28), ("c", 30), ("d", 2)], Limits::default());
        assert_eq!(due.take(second(1)), vec![]);
        assert_eq!(due.take(second(2)), vec![name("d")]);
        assert_eq!(due.take(second(26)), vec![name("a"), name("b")], "an eighth of their interval early");
        assert_eq!(due.next(), Some(second(30)));
    }

    #[test]
    fn what_somebody_asks_for_is_looked_at_and_not_all_the_time() {
        let mut asked = schedule(&[("a", 30), ("b", 30)], Limits::default());
        assert!(asked.ask([name("a"), name("nobody")].iter(), second(10)));
        assert_eq!(asked.take(second(10)), vec![name("a")]);
        asked.looked(&name("a"), look(second(10), MIB), MIB, true);
        asked.plan(&name("a"), second(40));
        assert!(asked.ask([name("a")].iter(), second(11)));
        assert!(!asked.ask([name("a")].iter(), second(11)));
        assert_eq!(asked.queue.first(), Some(&(second(12), name("a"))));
    }

    #[test]
    fn a_run_that_is_replaced_is_planned_anew() {
        let mut schedule = schedule(&[("a", 30)], Limits::default());
        let run = RunId::generate();
        schedule.watch(&name("a"), run, own(5), second(40));
        assert_eq!(schedule.watched(&name("a")), Some((run, own(5))));
        assert_eq!(schedule.queue.len(), 1);
    }

    #[test]
    fn what_may_have_grown_past_its_budget_is_looked_at_soon_and_no_other() {
        let mut grown = schedule(&[("a", 30)], own(200 * MIB));
        grown.watch(&name("b"), RunId::generate(), own(900 * MIB), second(0));
        grown.looked(&name("b"), look(second(0), 0), 0, true);
        grown.plan(&name("b"), second(30));
        grown.read(Some(Reading { available: 950 * MIB, forks: 0 }));
        grown.suspect(true);
        assert_eq!(grown.queue.first().unwrap().0, second(30), "twice 50 and slack are less than 190");
        grown.read(Some(Reading { available: 900 * MIB, forks: 0 }));
        grown.suspect(true);
        assert_eq!(
            grown.queue.iter().cloned().collect::<Vec<_>>(),
            [(second(2), name("a")), (second(30), name("b"))]
        );
    }

    #[test]
    fn where_the_machine_does_not_say_all_with_a_budget_are_looked_at() {
        let mut blind = schedule(&[("a", 30)], own(200 * MIB));
        blind.suspect(false);
        assert_eq!(blind.queue.first().unwrap().0, second(2));
        let mut without = schedule(&[("a", 30)], Limits::default());
        without.suspect(false);
        assert_eq!(without.queue.first().unwrap().0, second(30));
    }

    #[test]
    fn all_are_looked_at_where_together_they_may_be_near_what_they_share() {
        let mut together = schedule(&[("a", 30), ("b", 30)], Limits::default());
        together.share(Some(200 * MIB));
        together.suspect(true);
        assert_eq!(together.queue.first().unwrap().0, second(30), "20 of 200 are used");
        assert!(!together.is_pressed());
        together.read(Some(Reading { available: 900 * MIB, forks: 0 }));
        together.suspect(true);
        assert!(together.queue.iter().all(|(due, _)| *due == second(2)), "100 are gone");
        together.looked(&name("b"), look(second(2), 160 * MIB), 160 * MIB, true);
        assert!(together.is_pressed() && together.may_be_pressed());
    }

    #[test]
    fn what_is_shared_may_press_by_resident_sets_and_not_by_what_counts_once() {
        let mut shared = schedule(&[("a", 30)], Limits::default());
        shared.share(Some(100 * MIB));
        shared.looked(&name("a"), look(second(2), 50 * MIB), 500 * MIB, true);
        assert!(shared.may_be_pressed() && !shared.is_pressed());
    }
}
