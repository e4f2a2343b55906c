//! Starts while daemon and keepers are killed: none happens twice.
//!
//! `ATM_STARTS=10000 ATM_BIN=target/release/atm cargo test --test adoption -- doubles --nocapture` is the whole of it;
//! `ATM_STARTS_SEED` repeats its choices, of which what is struck when is only one half.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Instant,
};

use super::{
    dice::Dice,
    harness::{Atm, signal, start_time, wait_until},
};

/// Sessions that run again and again.
const AGAIN: usize = 12;
/// Sessions with ever-new names that run once, at a time.
const ONCE: usize = 6;

/// Each run says so in a file of its session, which it holds locked for as long as any process of it lives. Neither
/// passes through atm. `O_APPEND`, and one write each: no run can lose another's line.
const SCRIPT: &str = r#"exec 9>>"$0"; flock -n 9 || echo "DOUBLE $ATM_RUN_ID" >&9; echo "$ATM_RUN_ID" >&9; sleep 0.0$1; exit $2"#;

struct Starts {
    atm: Atm,
    dice: Dice,
    serial: u64,
    /// Those of the sessions that run once, whose keeper was killed.
    bereft: BTreeSet<String>,
    /// All of those there ever were.
    once: BTreeSet<String>,
    /// Those that are declared.
    present: Vec<String>,
    daemons: u64,
    keepers: u64,
}

impl Starts {
    fn told(&self, name: &str) -> PathBuf {
        self.atm.path("told").join(name)
    }

    fn runs(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.told(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn declare(&mut self, name: &str, policy: &str) {
        let (tenths, code) = (self.dice.below(10), self.dice.below(2) * 3);
        let text = format!(
            "command: [sh, -c, '{SCRIPT}', {}, '{tenths}', '{code}']\nrestartPolicy: {policy}\nterminal: {}\n\
             backoff: {{initial: 0s, max: 1ms}}\nterminationGracePeriod: 200ms\n",
            self.told(name).display(),
            self.dice.percent(30),
        );
        self.atm.drop_spec(name, &text);
    }

    /// Declares what runs once anew, and removes some of what has ended.
    fn renew(&mut self) {
        while self.present.len() < ONCE {
            self.serial += 1;
            let name = format!("once{}", self.serial);
            self.declare(&name, "Never");
            self.once.insert(name.clone());
            self.present.push(name);
        }
        let ended: Vec<String> =
            self.present.iter().filter(|name| !self.runs(name).is_empty()).cloned().collect();
        for name in ended {
            // Stays for a while: it is what has ended that must not run again.
            if self.dice.percent(30) {
                self.atm.remove_spec(&name);
                self.present.retain(|other| *other != name);
            }
        }
    }

    fn strike(&mut self) {
        if self.dice.percent(60) {
            for keeper in self.atm.keepers() {
                // A look takes a while, in which one can end and its pid be another's.
                if self.dice.percent(40) && start_time(keeper.pid) == Some(keeper.born) {
                    self.bereft.insert(keeper.argv.last().unwrap().clone());
                    signal(keeper.pid, 9);
                    self.keepers += 1;
                }
            }
        } else {
            self.atm.kill_daemon();
            self.daemons += 1;
            self.dice.pause(20);
            self.atm.launch();
            // Some come up, some do not get so far.
            if self.dice.percent(80) {
                self.atm.wait_notified("READY=1");
            }
        }
    }

    fn count(&self) -> usize {
        let all = fs::read_dir(self.atm.path("told")).unwrap().flatten();
        all.map(|entry| fs::read_to_string(entry.path()).unwrap_or_default().lines().count()).sum()
    }

    /// That no run was executed twice, and no two of one name lived at once.
    fn judge(&self) {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for entry in fs::read_dir(self.atm.path("told")).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let runs = self.runs(&name);
            for run in &runs {
                assert!(
                    !run.starts_with("DOUBLE"),
                    "{name}: another run lived: {run}\n{}",
                    self.report(&name)
                );
                let before = seen.insert(run.clone(), name.clone());
                assert_eq!(before, None, "{name}: {run} was executed twice\n{}", self.report(&name));
            }
            if self.once.contains(&name) {
                assert!(runs.len() <= 1, "{name} ran {} times\n{}", runs.len(), self.report(&name));
            }
        }
    }

    fn report(&self, name: &str) -> String {
        let log = self.atm.daemon_log();
        log.lines().filter(|line| line.contains(&format!("\"{name}\""))).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn no_start_is_doubled_whoever_is_killed_meanwhile() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let target = number("ATM_STARTS").unwrap_or(60);
    let clock = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let seed = number("ATM_STARTS_SEED").unwrap_or(clock);
    eprintln!("ATM_STARTS_SEED={seed}");
    let mut starts = Starts {
        atm: Atm::new(),
        dice: Dice::new(seed),
        serial: 0,
        bereft: BTreeSet::new(),
        once: BTreeSet::new(),
        present: Vec::new(),
        daemons: 0,
        keepers: 0,
    };
    fs::create_dir(starts.atm.path("told")).unwrap();
    starts.atm.up();
    let begun = Instant::now();
    for index in 0..AGAIN {
        starts.declare(&format!("again{index}"), "Always");
    }
    while (starts.count() as u64) < target {
        starts.renew();
        starts.strike();
        starts.judge();
        starts.dice.pause(60);
    }
    // Without blows: what was declared and not begun runs now, and what has ended does not.
    starts.atm.kill_daemon();
    starts.atm.up();
    let unbegun = |starts: &Starts| {
        let left = starts
            .present
            .iter()
            .filter(|name| starts.runs(name).is_empty() && !starts.bereft.contains(*name));
        left.cloned().collect::<Vec<_>>()
    };
    assert!(wait_until(|| unbegun(&starts).is_empty()), "never ran: {:?}", unbegun(&starts));
    let ended = wait_until(|| {
        // It may answer late: those that run again and again do so without a pause.
        let Some(sessions) = starts.atm.try_list() else { return false };
        let once = sessions.iter().filter(|session| session["name"].as_str().unwrap().starts_with("once"));
        once.into_iter()
            .all(|session| matches!(session["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
    });
    assert!(ended, "{:#?}", starts.atm.try_list());
    starts.atm.restart_daemon();
    starts.judge();
    assert_eq!(starts.atm.stop_daemon(), 0);
    starts.judge();
    assert!(starts.atm.marked().is_empty(), "left: {:?}", starts.atm.marked());
    // Those whose file was never removed before they ran, and whose keeper nobody killed, ran.
    for name in starts.once.iter().filter(|name| !starts.bereft.contains(*name)) {
        assert_eq!(starts.runs(name).len(), 1, "{name}\n{}", starts.report(name));
    }
    eprintln!(
        "{} starts of {} sessions in {:?}, {} daemons and {} keepers killed, none doubled; load {}",
        starts.count(),
        AGAIN + starts.once.len(),
        begun.elapsed(),
        starts.daemons,
        starts.keepers,
        fs::read_to_string("/proc/loadavg").unwrap().trim(),
    );
}
