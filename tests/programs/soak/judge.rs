//! Whether anything grew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Instant,
};

use crate::{
    field::Field,
    harness::{Atm, Seen, wait_until},
    sample::{Held, Sample, listing},
};

/// What the daemon may hold more of memory than after the warm-up, in KiB. What it learns over time and keeps within
/// bounds (the last events, names of sessions whose log it holds back) was not all there then, and what the allocator
/// has given back differs from one moment to the next.
const DAEMON_MORE: u64 = 2048;
/// And how fast the least that it holds may grow while it is used, in KiB a minute. What is lost each time something
/// is done is lost some ten times a second.
const DAEMON_GROWTH: f64 = 40.0;
/// The same of a keeper that has more than a whole screen with a whole history takes: that need not be full after the
/// warm-up. It is 1 MiB of history, as much again while it is laid out for another width, two screens, what waits for
/// clients, and half a MiB without all that.
const KEEPER_MORE: u64 = 256;
const KEEPER_WHOLE: u64 = 4096;

/// What was seen, and what is wrong with it.
#[derive(Debug)]
pub struct Judge {
    begun: Instant,
    /// Minutes since the begin, and what was held then under load.
    load: Vec<(f64, Sample)>,
    /// At rest: after the warm-up, and at the end.
    rest: Vec<Sample>,
    wrong: Vec<String>,
    /// Lines below the table.
    told: Vec<String>,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            load: Vec::new(),
            rest: Vec::new(),
            wrong: Vec::new(),
            told: Vec::new(),
        }
    }
}

impl Judge {
    pub fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            let text = otherwise();
            eprintln!("WRONG {text}");
            self.wrong.push(text);
        }
    }

    pub fn faults(&mut self, faults: Vec<String>) {
        self.wrong.extend(faults);
    }

    /// One look under load.
    pub fn note(&mut self, counts: bool, sample: Sample) {
        let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
        let Held { rss, pss, private, threads, watches, .. } = &sample.daemon;
        eprintln!(
            "{minutes:6.2} min: daemon {} descriptors, {threads} threads, {watches} watches, RSS {rss} PSS {pss} \
             dirty {private} KiB; {} keepers, PSS {} KiB; {} processes, {} zombies, {} groups, {} mounts; {:?}",
            sample.daemon.open(),
            sample.keepers.len(),
            sample.keepers.values().map(|held| held.pss).sum::<u64>(),
            sample.processes,
            sample.zombies,
            sample.groups,
            sample.mounts,
            sample.files,
        );
        if counts {
            self.load.push((minutes, sample));
        }
    }

    /// All is at rest: waits until what is held is as it is to be, and looks at it.
    pub fn rests(&mut self, atm: &Atm, field: &Field, mut look: impl FnMut() -> Sample) {
        // Threads that have nothing to do end after ten seconds, and what was asked for last has to be over.
        std::thread::sleep(std::time::Duration::from_secs(20));
        let mut sample = look();
        if let Some(first) = self.rest.first() {
            let first = first.clone();
            let mut differs = Vec::new();
            wait_until(|| {
                atm.drain_notices();
                sample = look();
                differs = differences(&first, &sample, field);
                if !differs.is_empty() {
                    std::thread::sleep(std::time::Duration::from_secs(1));
                }
                differs.is_empty()
            });
            self.wrong.extend(differs);
            self.memory(&first, &sample);
        } else {
            self.check(sample.zombies == 0, || format!("{} zombies at rest", sample.zombies));
        }
        self.note(false, sample.clone());
        self.rest.push(sample);
    }

    fn memory(&mut self, first: &Sample, last: &Sample) {
        let (before, after) = (first.daemon.private, last.daemon.private);
        self.check(after <= before + DAEMON_MORE, || format!("the daemon at rest: {before} → {after} KiB"));
        let points = self.load.iter().map(|(minutes, sample)| (*minutes, sample.daemon.private));
        let growth = growth(&points.collect::<Vec<_>>());
        self.told.push(format!(
            "the least of the daemon's private memory under load, first and last third: {growth:+.1} KiB a minute"
        ));
        // What it keeps within bounds (the last two thousand events, say) fills up in the first minutes.
        let long = minutes_of(&self.load) >= 10.0;
        self.check(!long || growth <= DAEMON_GROWTH, || {
            format!("the daemon grows by {growth:.1} KiB a minute")
        });
        for (who, held) in &last.keepers {
            let Some(before) = first.keepers.get(who) else { continue };
            self.check(held.private <= KEEPER_WHOLE.max(before.private + KEEPER_MORE), || {
                format!("the keeper of {}: {} → {} KiB", who.1, before.private, held.private)
            });
        }
    }

    /// Waits until there is no file of a session that is no more.
    pub fn files(&mut self, atm: &Atm, field: &Field) {
        let names: BTreeSet<&str> = field.sessions.iter().map(|session| session.name.as_str()).collect();
        let mut stray = Vec::new();
        wait_until(|| {
            stray = strays(atm, &names);
            let uploads = listing(&field.work.join(".atm/uploads")).into_iter().map(|(name, _)| name);
            stray.extend(uploads.filter(|name| !name.starts_with('.')).map(|name| format!("uploads/{name}")));
            stray.is_empty()
        });
        self.check(stray.is_empty(), || {
            format!("{} files of sessions that are no more: {:?}", stray.len(), &stray[..stray.len().min(20)])
        });
        let locks = listing(&atm.runtime().join("locks")).len();
        self.told.push(format!(
            "files after the next daemon has pruned: state {}, runtime {} and {locks} locks (one for each name there \
             ever was, while the runtime directory stands), log {}",
            listing(&atm.path("state")).len(),
            listing(&atm.runtime()).len() - locks,
            listing(&atm.path("log")).len(),
        ));
    }

    /// Nothing may be left of all once the daemon has ended.
    pub fn left(&mut self, seen: &[Seen]) {
        self.check(seen.is_empty(), || format!("left behind: {seen:?}"));
    }

    pub fn is_content(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The table, and what is wrong.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let [first, .., last] = self.rest.as_slice() else { return "nothing was seen".to_owned() };
        let (mut low, mut high) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
        for (_, sample) in &self.load {
            for (what, value) in rows(sample) {
                low.entry(what).and_modify(|low| *low = value.min(*low)).or_insert(value);
                high.entry(what).and_modify(|high| *high = value.max(*high)).or_insert(value);
            }
        }
        writeln!(text, "{:44} {:>12} {:>12} {:>21}", "", "at rest", "at the end", "under load, from to")
            .unwrap();
        for ((what, before), (_, after)) in rows(first).into_iter().zip(rows(last)) {
            let (low, high) = (low.get(what).copied().unwrap_or(0), high.get(what).copied().unwrap_or(0));
            writeln!(text, "{what:44} {before:>12} {after:>12} {low:>10} {high:>10}").unwrap();
        }
        let both = last.keepers.iter().filter_map(|(who, held)| Some((who, first.keepers.get(who)?, held)));
        for ((_, name), before, after) in both {
            let what = format!("keeper of {name}: descriptors, dirty KiB");
            let [before, after] = [before, after].map(|held| format!("{}, {}", held.open(), held.private));
            writeln!(text, "{what:44} {before:>12} {after:>12}").unwrap();
        }
        for line in &self.told {
            writeln!(text, "{line}").unwrap();
        }
        match self.wrong.as_slice() {
            [] => writeln!(text, "flat").unwrap(),
            wrong => writeln!(text, "NOT FLAT:\n{}", wrong.join("\n")).unwrap(),
        }
        text
    }
}

fn rows(sample: &Sample) -> Vec<(&'static str, u64)> {
    let count = |number: usize| number as u64;
    let kind = |kind: &str| count(sample.daemon.descriptors.get(kind).copied().unwrap_or(0));
    let sum = |of: fn(&Held) -> u64| sample.keepers.values().map(of).sum::<u64>();
    let files = |name: &str| sample.files.get(name).copied().unwrap_or_default();
    vec![
        ("daemon: descriptors", count(sample.daemon.open())),
        ("daemon: pidfds", kind("pidfd")),
        ("daemon: sockets", kind("socket")),
        ("daemon: timers", kind("timerfd")),
        ("daemon: threads", count(sample.daemon.threads)),
        ("daemon: inotify watches", count(sample.daemon.watches)),
        ("daemon: RSS, KiB", sample.daemon.rss),
        ("daemon: PSS, KiB", sample.daemon.pss),
        ("daemon: private dirty, KiB", sample.daemon.private),
        ("keepers", count(sample.keepers.len())),
        ("keepers: descriptors", sum(|held| held.open() as u64)),
        ("keepers: threads", sum(|held| held.threads as u64)),
        ("keepers: RSS, KiB", sum(|held| held.rss)),
        ("keepers: PSS, KiB", sum(|held| held.pss)),
        ("processes below the daemon", count(sample.processes)),
        ("zombies", count(sample.zombies)),
        ("groups", count(sample.groups)),
        ("mounts", count(sample.mounts)),
        ("state: files", count(files("state").0)),
        ("state: KiB", files("state").1),
        ("runtime: files", count(files("runtime").0)),
        ("runtime: KiB", files("runtime").1),
        ("log: files", count(files("log").0)),
        ("log: KiB", files("log").1),
    ]
}

/// What is not held at the end as it was at first.
fn differences(first: &Sample, last: &Sample, field: &Field) -> Vec<String> {
    let mut found = Vec::new();
    let mut equal = |what: &str, before: String, after: String| {
        if before != after {
            found.push(format!("{what}: {before} → {after}"));
        }
    };
    let kinds = |held: &Held| format!("{:?}", held.descriptors);
    equal("descriptors of the daemon", kinds(&first.daemon), kinds(&last.daemon));
    equal("watches of the daemon", first.daemon.watches.to_string(), last.daemon.watches.to_string());
    // Those that had nothing to do for a while end: after the warm-up some were not there so long.
    let threads = first.daemon.threads.max(last.daemon.threads);
    equal("threads of the daemon", first.daemon.threads.to_string(), threads.to_string());
    equal("keepers", first.keepers.len().to_string(), last.keepers.len().to_string());
    equal("processes", first.processes.to_string(), last.processes.to_string());
    equal("zombies", 0.to_string(), last.zombies.to_string());
    equal("groups", first.groups.to_string(), last.groups.to_string());
    equal("mounts", first.mounts.to_string(), last.mounts.to_string());
    for session in field.sessions.iter().filter(|session| session.kind.is_steady()) {
        let of = |sample: &Sample| {
            let mut all = sample.keepers.iter().filter(|((_, name), _)| *name == session.name);
            all.next().map(|((pid, _), held)| (*pid, held.clone()))
        };
        let say = |found: Option<(i32, Held)>| {
            found.map_or_else(
                || "none".to_owned(),
                |(pid, held)| format!("{pid}, {}, {} threads", kinds(&held), held.threads),
            )
        };
        equal(&format!("the keeper of {}", session.name), say(of(first)), say(of(last)));
    }
    found
}

/// Files that are neither the daemon's own nor of a session that is declared. Locks stay.
fn strays(atm: &Atm, names: &BTreeSet<&str>) -> Vec<String> {
    let own = ["instance.json", "config.json", "events.jsonl", "atm.sock", "atm.lock", "lock"];
    let mut found = Vec::new();
    for (what, path) in [("state", atm.path("state")), ("runtime", atm.runtime()), ("log", atm.path("log"))] {
        for (file, _) in listing(&path) {
            let parts: Vec<&str> = file.split('/').collect();
            let known = match parts.as_slice() {
                ["locks", _] => true,
                [file] if what != "log" => own.iter().any(|own| file.starts_with(own)),
                ["sessions" | "previous", name, ..] => names.contains(name.trim_end_matches(".json")),
                [file] => names.contains(file.split(".log").next().unwrap_or_default()),
                _ => false,
            };
            if !known {
                found.push(format!("{what}/{file}"));
            }
        }
    }
    found
}

fn minutes_of(load: &[(f64, Sample)]) -> f64 {
    load.last().map_or(0.0, |last| last.0) - load.first().map_or(0.0, |first| first.0)
}

/// How fast the least of what is held grows. What a burst took is given back when the allocator can, minutes later; what
/// is lost is in the least as well.
#[expect(clippy::cast_precision_loss, reason = "KiB")]
fn growth(points: &[(f64, u64)]) -> f64 {
    let third = points.len() / 3;
    let lowest = |points: &[(f64, u64)]| points.iter().map(|(_, kib)| *kib).min();
    let (Some(first), Some(last)) = (lowest(&points[..third]), lowest(&points[points.len() - third..]))
    else {
        return 0.0;
    };
    let minutes = (points[points.len() - 1].0 - points[0].0) * 2.0 / 3.0;
    (last as f64 - first as f64) / minutes
}
