//! What holds whatever people do to the directory, and however many events are lost.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::World;

/// What people do.
#[derive(Debug, Clone)]
enum Act {
    /// Write elsewhere and rename into place.
    RenameIn(usize, u8),
    /// Write in place, slowly, and close.
    Save(usize, u8),
    /// Write in place and never close.
    Leave(usize, u8),
    Remove(usize),
    /// The other suffix.
    Switch(usize),
    Touch(usize),
    /// The path leads nowhere, to a directory of that number, or to something unreadable.
    Turn(Option<u64>),
    Unreadable,
    Events(bool),
    Live(usize, bool),
    Resync,
    Wait(u64),
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const FILES: [&str; 10] =
    ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml", "a.yml", "b.yml", "c.yml", "d.yml", "e.yml"];

fn act() -> impl Strategy<Value = Act> {
    let file = 0..FILES.len();
    prop_oneof![
        4 => (file.clone(), 0..4u8).prop_map(|(file, meaning)| Act::RenameIn(file, meaning)),
        3 => (file.clone(), 0..4u8).prop_map(|(file, meaning)| Act::Save(file, meaning)),
        1 => (file.clone(), 0..4u8).prop_map(|(file, meaning)| Act::Leave(file, meaning)),
        4 => file.clone().prop_map(Act::Remove),
        2 => (0..5usize).prop_map(Act::Switch),
        1 => file.prop_map(Act::Touch),
        1 => prop::option::of(1..4u64).prop_map(Act::Turn),
        1 => Just(Act::Unreadable),
        2 => any::<bool>().prop_map(Act::Events),
        2 => (0..5usize, any::<bool>()).prop_map(|(name, live)| Act::Live(name, live)),
        1 => Just(Act::Resync),
        8 => (0..500u64).prop_map(Act::Wait),
    ]
}

/// `ok MEANING`, long enough to have halves that are valid; meaning 3 is none.
fn text(meaning: u8) -> String {
    if meaning == 3 { "no".to_owned() } else { format!("ok {meaning}-whole") }
}

impl World {
    fn has(&self, file: &str) -> bool {
        matches!(self.path, Ok(Some(ino)) if self.dirs[&ino].contains_key(file))
    }

    fn act(&mut self, act: &Act) {
        let readable = matches!(self.path, Ok(Some(_)));
        match act {
            Act::RenameIn(file, meaning) if readable => self.rename_in(FILES[*file], &text(*meaning)),
            Act::Save(file, meaning) | Act::Leave(file, meaning) if readable => {
                let (file, text) = (FILES[*file], text(*meaning));
                self.open(file);
                for end in 1..=text.len() {
                    self.run(3);
                    self.write(file, &text[..end]);
                }
                if matches!(act, Act::Save(..)) {
                    self.close(file);
                }
            }
            Act::Remove(file) if self.has(FILES[*file]) => self.remove(FILES[*file]),
            Act::Switch(name) => {
                let (one, other) = (FILES[*name], FILES[*name + NAMES.len()]);
                match (self.has(one), self.has(other)) {
                    (true, false) => self.rename(one, other),
                    (false, true) => self.rename(other, one),
                    _ => {}
                }
            }
            Act::Touch(file) if self.has(FILES[*file]) => {
                self.hint(FILES[*file], crate::daemon::specs::looks::What::Attributes);
            }
            Act::Turn(path) => self.turn(Ok(*path)),
            Act::Unreadable => self.turn(Err("stale")),
            Act::Events(on) => self.events = *on,
            Act::Live(name, live) => self.live(NAMES[*name], *live),
            Act::Resync => self.ledger.resync(self.now),
            Act::Wait(milliseconds) => self.run(*milliseconds),
            _ => {}
        }
    }

    /// What the directory wants: for each name the meanings that may be in force.
    fn wanted(&self) -> BTreeMap<String, Vec<String>> {
        let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let Ok(Some(ino)) = self.path else { return wanted };
        for (file, node) in &self.dirs[&ino] {
            let name = file.split('.').next().unwrap().to_owned();
            let meanings = wanted.entry(name).or_default();
            if let Some(meaning) = node.text.as_ref().ok().and_then(|text| text.strip_prefix("ok ")) {
                meanings.push(meaning.to_owned());
            }
        }
        wanted
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// After all is quiet and looked at, what is told is what is there, and the grammar of changes was kept.
    #[test]
    fn what_is_told_becomes_what_is_there(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        world.run(100);
        for act in &acts {
            world.act(act);
        }
        // The right directory is back, and nobody lives, so nothing holds.
        if !matches!(world.path, Ok(Some(_))) {
            world.turn(Ok(Some(1)));
        }
        for name in NAMES {
            world.live(name, false);
        }
        for _ in 0..3 {
            world.ledger.resync(world.now);
            world.run(3000);
        }
        let told = world.heard();
        let force = World::in_force(&told);
        let wanted = world.wanted();
        for (name, meaning) in &force {
            prop_assert!(wanted.contains_key(name), "{} has no file: {:?}", name, told);
            let meanings = &wanted[name];
            prop_assert!(
                meanings.is_empty() || meanings.contains(meaning) || World::errors(&told).contains(name),
                "{} {} {:?} {:?}", name, meaning, meanings, told
            );
        }
        for (name, meanings) in &wanted {
            prop_assert!(force.contains_key(name) || World::errors(&told).contains(name), "{}: {:?}", name, told);
            if let ([only], false) = (meanings.as_slice(), World::errors(&told).contains(name)) {
                prop_assert_eq!(&force[name], only);
            }
        }
        prop_assert_eq!(told.iter().filter(|line| *line == "first").count(), 1);
        check_grammar(&told)?;
    }

    /// With events, a save is never seen half.
    #[test]
    fn no_half_is_ever_told(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        world.run(100);
        for act in acts.iter().filter(|act| !matches!(act, Act::Leave(..) | Act::Events(_))) {
            world.act(act);
        }
        world.run(5000);
        let told = world.heard();
        for line in told.iter().filter(|line| line.starts_with("good")) {
            prop_assert!(line.contains("-whole"), "{}: {:?}", line, told);
        }
    }

    /// A name with a file all the time is never removed, whatever happens to the rest.
    #[test]
    fn what_stays_is_never_removed(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        world.rename_in("e.yaml", "ok stays-whole");
        world.run(1000);
        for act in &acts {
            let touches = match act {
                Act::Remove(file) => FILES[*file].starts_with('e'),
                Act::Switch(name) => NAMES[*name] == "e",
                // Another directory does not have it.
                Act::Turn(path) => path.is_some_and(|ino| ino != 1),
                _ => false,
            };
            if !touches {
                world.act(act);
            }
        }
        world.run(10_000);
        let told = world.heard();
        prop_assert!(!told.iter().any(|line| line == "removed e"), "{:?}", told);
    }

    /// A name that is there for an instant again and again is not missing: whatever the looks hit upon, it is never
    /// missing for the time that a removal takes. Once it stays away, it is gone in that time.
    #[test]
    fn what_comes_back_for_an_instant_is_not_missing(
        pauses in prop::collection::vec((0..290u64, any::<bool>(), 0..3u64), 1..80),
    ) {
        let mut world = World::started(&[("a.yaml", "ok A-whole"), ("b.yaml", "ok B-whole")]);
        world.live("a", true);
        world.remove("a.yaml");
        for (pause, saved, instant) in pauses {
            world.run(pause);
            if saved {
                world.save("a.yaml", "ok A-whole");
            } else {
                world.rename_in("a.yaml", "ok A-whole");
            }
            if instant > 0 {
                world.run(instant);
            }
            world.remove("a.yaml");
        }
        let told = world.heard();
        prop_assert!(!told.iter().any(|line| line == "removed a"), "{:?}", told);
        world.run(1000);
        prop_assert_eq!(world.heard().iter().filter(|line| *line == "removed a").count(), 1);
    }

    /// While sessions live, a directory that is not the right one removes nothing.
    #[test]
    fn what_lives_is_held(path in prop::option::of(2..4u64), acts in prop::collection::vec(act(), 0..20)) {
        let mut world = World::started(&[("a.yaml", "ok A"), ("b.yaml", "ok B")]);
        world.live("a", true);
        world.live("b", true);
        world.turn(Ok(path));
        for act in &acts {
            let brings = match act {
                Act::RenameIn(file, _) | Act::Save(file, _) | Act::Leave(file, _) => FILES[*file].starts_with('a'),
                Act::Turn(path) => *path == Some(1),
                Act::Live(..) => true,
                _ => false,
            };
            if !brings {
                world.act(act);
            }
        }
        world.run(20_000);
        let told = world.heard();
        prop_assert!(!told.iter().any(|line| line == "removed a" || line == "removed b"), "{:?}", told);
    }
}

/// What `specs` promises of the order of changes.
fn check_grammar(told: &[String]) -> Result<(), TestCaseError> {
    let mut force: BTreeMap<&str, &str> = BTreeMap::new();
    let mut bad: BTreeMap<&str, &str> = BTreeMap::new();
    for line in told {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["good" | "remembered", name, meaning, _] => {
                prop_assert_ne!(force.insert(name, meaning), Some(meaning), "told twice: {:?}", told);
            }
            ["rebound", name, _] => prop_assert!(force.contains_key(name), "{}", line),
            ["bad", name, what] => {
                // Two different errors may be the same word.
                bad.insert(name, what);
            }
            ["cleared", name] => prop_assert!(bad.remove(name).is_some(), "{}: {:?}", line, told),
            ["removed", name] => {
                let known = force.remove(name).is_some() | bad.remove(name).is_some();
                prop_assert!(known, "{}: {:?}", line, told);
            }
            _ => {}
        }
    }
    Ok(())
}
