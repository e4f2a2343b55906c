//! Everything that is done to files, by everybody at once and without a pause.
//!
//! `ATM_STORM=100000 ATM_BIN=target/release/atm cargo test --test spec_files -- storms --nocapture` is the whole of it,
//! and then it may take no longer than a second to come to what is on disk; `ATM_STORM_SEED` repeats its choices.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    dice::Dice,
    harness::{Atm, processes, signal, wait_until},
};

const NAMES: u64 = 50;
/// More missing at once are not believed for seconds: that is a rule of its own, with tests of its own.
const MOST_ABSENT: usize = 5;

struct Storm {
    atm: Atm,
    dice: Dice,
    /// Begins the last argument of each command.
    mark: String,
    serial: u64,
    /// What is on disk: by name, the last argument and the label.
    disk: BTreeMap<String, (String, String)>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        // A sum of numbers is what `sleep` takes: one that adds next to nothing tells the sessions of this test.
        let mark = format!("0.00000{}", std::process::id());
        Self { atm: Atm::start(), dice: Dice::new(seed), mark, serial: 0, disk: BTreeMap::new() }
    }

    /// Another spec for `name`; its command is another one now and then.
    fn text(&mut self, name: &str) -> String {
        self.serial += 1;
        let serial = self.serial;
        let token = match self.disk.get(name) {
            Some((token, _)) if self.dice.percent(80) => token.clone(),
            _ => format!("{}{serial}", self.mark),
        };
        let text = format!(
            "command: [sleep, '100000', '{token}']\nlabels: {{round: '{serial}'}}\nonChange: Restart\n\
             terminal: {}\n",
            name.ends_with('3')
        );
        self.disk.insert(name.to_owned(), (token, serial.to_string()));
        text
    }

    fn act(&mut self) {
        let name = format!("n{:02}", self.dice.below(NAMES));
        let path = self.atm.spec_path(&name);
        let beside = |end: &str| -> PathBuf { self.atm.specs().join(format!("{name}.yaml{end}")) };
        match self.dice.below(12) {
            0..=2 => {
                let text = self.text(&name);
                self.atm.drop_spec(&name, &text);
            }
            3..=4 => {
                let text = self.text(&name);
                fs::write(&path, text).unwrap();
            }
            5 if self.disk.len() + MOST_ABSENT > usize::try_from(NAMES).unwrap()
                && self.disk.contains_key(&name) =>
            {
                fs::remove_file(&path).unwrap();
                self.disk.remove(&name);
            }
            6..=7 => {
                if let Ok(file) = fs::File::options().append(true).open(&path) {
                    file.set_modified(std::time::SystemTime::now()).unwrap();
                }
            }
            8 => {
                // As vim: a swap file, a probe, the old file aside, the new one in its place.
                let (swap, backup) = (self.atm.specs().join(format!(".{name}.yaml.swp")), beside("~"));
                fs::write(&swap, "b0VIM").unwrap();
                fs::write(self.atm.specs().join("4913"), "").unwrap();
                fs::remove_file(self.atm.specs().join("4913")).unwrap();
                if self.disk.contains_key(&name) {
                    fs::rename(&path, &backup).unwrap();
                    let text = self.text(&name);
                    fs::write(&path, text).unwrap();
                    fs::remove_file(&backup).unwrap();
                }
                fs::remove_file(&swap).unwrap();
            }
            9 => {
                // As emacs and gedit: beside it in the same directory, and over it.
                let temporary = self.atm.specs().join(format!("#{name}.yaml#"));
                let text = self.text(&name);
                fs::write(&temporary, text).unwrap();
                fs::rename(&temporary, &path).unwrap();
            }
            10 => {
                // Broken for a moment.
                if self.disk.contains_key(&name) {
                    fs::write(&path, "comand: [").unwrap();
                    let text = self.text(&name);
                    self.atm.drop_spec(&name, &text);
                }
            }
            _ => {
                let temporary = beside(".tmp");
                fs::write(&temporary, "command: [false]\n").unwrap();
                fs::remove_file(&temporary).unwrap();
            }
        }
    }

    /// What differs from what is on disk: in the list, and among the processes that live.
    fn difference(&self) -> Option<String> {
        let found: BTreeSet<String> = processes()
            .into_iter()
            .filter(|process| process.argv.first().is_some_and(|word| word == "sleep"))
            .filter_map(|process| process.argv.last().filter(|word| word.starts_with(&self.mark)).cloned())
            .collect();
        let wanted: BTreeSet<String> = self.disk.values().map(|(token, _)| token.clone()).collect();
        if found != wanted {
            let (more, less) = (found.difference(&wanted).count(), wanted.difference(&found).count());
            return Some(format!("{more} processes too many, {less} too few"));
        }
        let Some(listed) = self.atm.try_list() else { return Some("the daemon does not answer".to_owned()) };
        if listed.len() != self.disk.len() {
            return Some(format!("{} listed, {} on disk", listed.len(), self.disk.len()));
        }
        listed.iter().find_map(|session| {
            let name = session["name"].as_str().unwrap();
            let status = &session["status"];
            let is = ["/spec/command/2", "/spec/labels/round"].map(|path| session.pointer(path)?.as_str());
            let same = self
                .disk
                .get(name)
                .is_some_and(|(token, round)| is == [Some(token.as_str()), Some(round.as_str())]);
            let well = status["phase"] == "Running" && status["specError"].is_null();
            (!same || !well).then(|| format!("{name} is {is:?}, on disk {:?}: {status}", self.disk.get(name)))
        })
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Hundredths of a second of a processor.
fn cpu(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn resident_kib(pid: i32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

#[test]
fn a_storm_of_all_that_is_done_to_files_ends_with_what_is_on_disk() {
    let whole = number("ATM_STORM");
    let operations = whole.unwrap_or(1000);
    let clock = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let seed = number("ATM_STORM_SEED").unwrap_or(clock);
    eprintln!("ATM_STORM_SEED={seed}");
    let mut storm = Storm::new(seed);
    let daemon = storm.atm.daemon_pid();
    for index in 0..NAMES {
        let name = format!("n{index:02}");
        let text = storm.text(&name);
        storm.atm.drop_spec(&name, &text);
    }
    assert!(
        wait_until(|| storm.difference().is_none()),
        "{:?}\n{}",
        storm.difference(),
        storm.atm.daemon_log()
    );

    let (used, resident, begun) = (cpu(daemon), resident_kib(daemon), Instant::now());
    let mut most = resident;
    for count in 0..operations {
        storm.act();
        // The kernel keeps sixteen thousand events for one who does not read.
        if operations >= 50_000 && count == operations / 2 {
            signal(daemon, 19);
        }
        if operations >= 50_000 && count == operations / 2 + 15_000 {
            signal(daemon, 18);
        }
        if count % 1000 == 0 {
            most = most.max(resident_kib(daemon));
        }
    }
    let (end, storm_cpu) = (Instant::now(), cpu(daemon) - used);
    let mut difference = storm.difference();
    while difference.is_some() && end.elapsed() < super::harness::LIMIT {
        difference = storm.difference();
    }
    let took = end.elapsed();
    assert_eq!(difference, None, "{}", storm.atm.daemon_log());
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    eprintln!(
        "{operations} operations in {:?}, converged {took:?} after the last; daemon: {storm_cpu}0 ms of CPU, RSS {resident} → {} \
         KiB, at most {most}; load {load}",
        end - begun,
        resident_kib(daemon),
    );
    assert!(whole.is_none() || took < Duration::from_secs(1), "{took:?}");
}
