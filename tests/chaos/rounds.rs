//! The rounds: change files, strike, start again, judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Child, Command, Stdio},
};

use crate::{
    dice::Dice,
    field::{Declared, Kind},
    harness::{self, Atm, LIMIT, is_alive, pause, signal},
    judge::{Told, doubled, look, name_of, read_log},
};

const NAMES: [&str; 7] = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch"];
/// Of all tests together.
const ROUNDS: u64 = 200;
const TESTS: u64 = 4;

pub struct Chaos {
    pub atm: Atm,
    dice: Dice,
    /// Begins every token.
    pub mark: String,
    pub declared: BTreeMap<String, Declared>,
    serial: u64,
    /// Tokens whose run may have been cut short: by a killed keeper, by a stop, by a changed file.
    pub disturbed: BTreeSet<String>,
    decoys: Vec<Child>,
    /// What was done, for whoever has to find out why it failed.
    diary: Vec<String>,
}

impl Chaos {
    fn new(seed: u64, config: &str) -> Self {
        let mut chaos = Self::down(Atm::new(), seed, config);
        chaos.atm.up();
        chaos
    }

    /// Without a daemon yet.
    pub fn down(atm: Atm, seed: u64, config: &str) -> Self {
        fs::write(atm.path("atm.yaml"), config).unwrap();
        // None begins another.
        let mark = format!("tok{}x{seed}s", std::process::id());
        // Owned before the daemon is up: they end with this, also where it does not come up.
        let decoys = decoys(&atm, &mark);
        Self {
            atm,
            dice: Dice::new(seed),
            mark,
            declared: BTreeMap::new(),
            serial: 0,
            disturbed: BTreeSet::new(),
            decoys,
            diary: vec![format!("ATM_CHAOS_SEED={seed}")],
        }
    }

    pub fn note(&mut self, text: String) {
        self.diary.push(text);
    }

    fn token(&mut self, name: &str) -> String {
        self.serial += 1;
        format!("{}-{name}-{}", self.mark, self.serial)
    }

    fn write(&mut self, name: &str) {
        let text = self.declared[name].yaml();
        if self.dice.percent(70) {
            self.atm.drop_spec(name, &text);
        } else {
            fs::write(self.atm.spec_path(name), &text).unwrap(); // in place, as some editors do
        }
    }

    /// Declares `name` anew, or changes what it runs.
    fn declare(&mut self, name: &str) {
        let kind = *self.dice.pick(&Kind::ALL).unwrap();
        self.declare_as(name, kind);
    }

    pub fn declare_as(&mut self, name: &str, kind: Kind) {
        let token = self.token(name);
        if let Some(before) = self.declared.get(name) {
            self.disturbed.insert(before.token.clone());
        }
        let declared = Declared {
            kind,
            token: token.clone(),
            priority: self.dice.below(100),
            style: self.dice.next() % 1000,
            terminal: self.dice.percent(60),
            tenths: self.dice.below(3),
            process: None,
            shaken: true,
            bereft: false,
        };
        self.note(format!("declare {name} {kind:?} {token}"));
        self.declared.insert(name.to_owned(), declared);
        self.write(name);
    }

    pub fn reprioritise(&mut self, name: &str) {
        let declared = self.declared.get_mut(name).unwrap();
        declared.priority = (declared.priority + 1) % 1000;
        self.note(format!("priority of {name}"));
        self.write(name);
    }

    pub fn forget(&mut self, name: &str) {
        self.note(format!("remove {name}"));
        let declared = self.declared.remove(name).unwrap();
        self.disturbed.insert(declared.token);
        self.atm.remove_spec(name);
    }

    /// One thing that a person might do to the files.
    fn meddle(&mut self, removed: &mut u32) {
        let name = *self.dice.pick(&NAMES).unwrap();
        let Some(mut declared) = self.declared.get(name).cloned() else { return self.declare(name) };
        match self.dice.below(10) {
            0..=1 => self.declare(name),
            // A changed spec, whatever changed, lets what runs once run once more.
            2..=3 if !declared.kind.is_once() => self.reprioritise(name),
            2..=5 => {
                declared.style += 1;
                self.note(format!("reformat {name}"));
                self.declared.insert(name.to_owned(), declared);
                self.write(name);
            }
            6..=8 if *removed < 2 => {
                *removed += 1;
                self.forget(name);
            }
            _ => {
                // Away for less time than proves it gone, as git and editors do: whether it is seen or not, it is
                // declared.
                self.note(format!("remove and add {name}"));
                self.atm.remove_spec(name);
                self.dice.pause(10);
                if self.dice.percent(50) {
                    self.declare(name);
                } else {
                    declared.shaken = true;
                    self.disturbed.insert(declared.token.clone());
                    self.declared.insert(name.to_owned(), declared);
                    self.write(name);
                }
            }
        }
    }

    /// SIGKILL to one keeper.
    fn bereave(&mut self) {
        let keepers = self.atm.keepers();
        let Some(keeper) = self.dice.pick(&keepers).cloned() else { return };
        let name = keeper.argv.last().unwrap().clone();
        self.note(format!("kill the keeper of {name}, {}", keeper.pid));
        if let Some(declared) = self.declared.get_mut(&name) {
            declared.shaken = true;
            declared.bereft = true;
            self.disturbed.insert(declared.token.clone());
        }
        signal(keeper.pid, 9);
    }

    /// The runtime directory goes, under keepers that live and others that were killed a moment ago.
    fn wipe(&mut self) {
        self.note("remove the runtime directory".to_owned());
        fs::remove_dir_all(self.atm.runtime()).unwrap_or_else(|error| {
            // A keeper writes into it meanwhile; what it writes is no less in the way of the next daemon.
            self.diary.push(format!("not all of it: {error}"));
        });
        for declared in self.declared.values_mut().filter(|declared| declared.kind.is_once()) {
            // A result that no daemon has read yet goes with it.
            declared.bereft = true;
            self.disturbed.insert(declared.token.clone());
        }
    }

    fn round(&mut self, number: u64) {
        self.note(format!("-- round {number}"));
        let mut removed = 0;
        for _ in 0..=self.dice.below(4) {
            self.meddle(&mut removed);
            if self.dice.percent(30) {
                self.dice.pause(20);
            }
        }
        self.dice.pause(30);
        if self.dice.percent(15) {
            self.bereave();
        }
        self.note("kill the daemon".to_owned());
        self.atm.kill_daemon();
        if self.dice.percent(15) {
            self.bereave();
        }
        if self.dice.percent(5) {
            self.wipe();
        }
        if self.dice.percent(40) {
            self.meddle(&mut removed);
        }
        if self.dice.percent(25) {
            // Each of these gets as far as it comes.
            for _ in 0..=self.dice.below(3) {
                self.atm.launch();
                let most = if self.dice.percent(50) { 15 } else { 250 };
                self.dice.pause(most);
                self.note("and again".to_owned());
                self.atm.kill_daemon();
            }
        }
        self.atm.up();
        self.settle();
    }

    /// Waits until all is as declared, and fails at once if something is doubled.
    pub fn settle(&mut self) {
        self.settle_with(|_| {});
    }

    /// The same; `before` is called before each look.
    pub fn settle_with(&mut self, mut before: impl FnMut(&mut Self)) {
        let deadline = harness::now() + LIMIT;
        loop {
            before(self);
            if self.atm.revive() {
                self.note("the daemon had ended".to_owned());
            }
            if let Some(runs) = doubled(&self.mark) {
                panic!("doubled: {runs:#?}\n{}", self.report());
            }
            match self.unsettled() {
                None => return,
                Some(why) => assert!(harness::now() < deadline, "{why}\n{}", self.report()),
            }
            pause();
        }
    }

    /// What is not yet as declared.
    fn unsettled(&mut self) -> Option<String> {
        let sight = look(&self.mark);
        for (token, all) in &sight.all {
            let declared = self.declared.get(&name_of(token));
            if declared.is_none_or(|declared| declared.token != *token) {
                return Some(format!("not declared, and lives: {all:?}"));
            }
        }
        let mut sessions = None;
        let keepers = self.atm.keepers();
        for (name, declared) in &mut self.declared {
            let roots = sight.roots.get(&declared.token).map_or(&[][..], Vec::as_slice);
            if declared.kind.is_once() {
                if !roots.is_empty() {
                    return Some(format!("{name} has not ended: {roots:?}"));
                }
                if sessions.is_none() {
                    sessions = self.atm.try_list();
                }
                let Some(sessions) = &sessions else { return Some("no daemon answers".to_owned()) };
                if let Some(why) = once(&self.atm, name, declared, sessions) {
                    return Some(why);
                }
                continue;
            }
            let [only] = roots else { return Some(format!("{name} runs {} times: {roots:?}", roots.len())) };
            // What a killed keeper left is still to be ended, and no run that counts.
            let kept = keepers.iter().any(|k| k.pid == only.parent && k.argv.last() == Some(name));
            if !kept {
                return Some(format!("{name} runs without a keeper: {only:?}"));
            }
            let process = (only.pid, only.born);
            let before = declared.process.replace(process);
            let kept = declared.shaken || before.is_none_or(|before| before == process);
            assert!(
                kept,
                "{name} was {before:?} and is {process:?}: it was restarted without a reason\n{}",
                self.atm.ok(&["events", name])
            );
        }
        let Some(listed) = self.atm.try_list() else { return Some("no daemon answers".to_owned()) };
        let listed: BTreeSet<String> =
            listed.iter().filter_map(|s| Some(s["name"].as_str()?.to_owned())).collect();
        if !listed.iter().eq(self.declared.keys()) {
            return Some(format!("atm knows {listed:?}, declared are {:?}", self.declared.keys()));
        }
        for declared in self.declared.values_mut() {
            declared.shaken = false;
        }
        None
    }

    pub fn report(&self) -> String {
        let diary = self.diary[self.diary.len().saturating_sub(60)..].join("\n");
        let log = self.atm.daemon_log();
        let from = log.char_indices().rev().nth(12_000).map_or(0, |(at, _)| at);
        let sessions = self.atm.atm(&["get", "-o", "wide"]);
        format!(
            "{}\n{diary}\n{}\n{:#?}\n{}",
            self.diary[0],
            String::from_utf8_lossy(&sessions.stdout),
            look(&self.mark).roots,
            &log[from..]
        )
    }

    /// Ends all, and judges what is left.
    pub fn end(&mut self) {
        for decoy in &self.decoys {
            assert!(is_alive(decoy.id().cast_signed()), "a decoy was ended\n{}", self.report());
        }
        let signalled = fs::read_to_string(self.atm.path("decoy-was-signalled")).unwrap_or_default();
        assert_eq!(signalled, "", "a decoy was signalled\n{}", self.report());

        assert_eq!(self.atm.stop_daemon(), 0, "{}", self.report());
        assert!(look(&self.mark).all.is_empty(), "left behind: {}", self.report());
        assert!(self.atm.marked().is_empty() && self.atm.keepers().is_empty(), "{}", self.report());
        self.read_logs();
    }

    /// Every log there is, once nothing writes any more.
    fn read_logs(&self) {
        for name in NAMES {
            let text = self.atm.whole_log(name);
            let runs = read_log(&text).unwrap_or_else(|why| panic!("{name}: {why}\n{}", self.report()));
            let mut once: BTreeMap<&str, u32> = BTreeMap::new();
            for run in &runs {
                *once.entry(&run.token).or_default() += 1;
                self.judge_run(name, run);
            }
            let declared = self.declared.get(name).filter(|declared| declared.kind.is_once());
            if let Some(declared) = declared {
                let count = once.get(declared.token.as_str()).copied().unwrap_or_default();
                assert!(count == 1 || declared.bereft, "{name} ran {count} times\n{}", self.report());
            }
        }
    }

    fn judge_run(&self, name: &str, run: &Told) {
        if self.disturbed.contains(&run.token) {
            return;
        }
        let declared = self.declared.get(name).filter(|declared| declared.token == run.token);
        let Some(declared) = declared else { return };
        match declared.kind {
            Kind::Once(_) => {
                assert!(run.end && run.lines == 20, "{name} lost its end: {run:?}\n{}", self.report());
            }
            // It was stopped with the daemon, in its own time.
            Kind::Slow => assert!(run.bye, "{name} lost its last line: {run:?}\n{}", self.report()),
            Kind::Writer | Kind::Flood | Kind::Deaf => assert!(run.lines > 0, "{run:?}"),
        }
    }
}

/// Whether a session that runs once has, and with which result; else what is missing.
fn once(atm: &Atm, name: &str, declared: &Declared, sessions: &[serde_json::Value]) -> Option<String> {
    let Kind::Once(code) = declared.kind else { return None };
    let found = sessions.iter().find(|session| session["name"] == name);
    let status = &found.unwrap_or(&serde_json::Value::Null)["status"];
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let runs = match read_log(&atm.whole_log(name)) {
        Ok(runs) => runs,
        Err(why) => return Some(format!("the log of {name}: {why}")),
    };
    let times = runs.iter().filter(|run| run.token == declared.token).count();
    if declared.bereft {
        // How it ended is lost with its keeper; that it does not run a second time is not.
        let over = matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"));
        return (!over || times > 1).then(|| format!("{name} lost its keeper, ran {times} times: {status}"));
    }
    if status["phase"] == phase && status["exit"]["code"] == code && times == 1 {
        return None;
    }
    Some(format!("{name} is to have ended once with {code}, ran {times} times: {status}"))
}

/// Processes that look like sessions and are not: none of them may ever be signalled.
fn decoys(atm: &Atm, mark: &str) -> Vec<Child> {
    let told = atm.path("decoy-was-signalled");
    let traps = "for s in HUP INT QUIT TERM USR1 USR2 CONT; do trap \"echo $s >> $1\" $s; done; ";
    let wait = "while :; do sleep 0.5; done";
    let foreign = "01900000-0000-7000-8000-000000000000";
    let decoy = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let told = told.display().to_string();
    let run = atm.path("run").display().to_string();
    let script = format!("{traps}{wait}");
    let mut commands = [
        decoy(&["-c", &script, &format!("decoy-{mark}-ash-1"), &told]),
        decoy(&["-c", &script, "keeper", &told, &run, "ash"]),
        decoy(&["-c", &script, "decoy", &told]),
    ];
    // Of another state directory, and of a run that nobody knows.
    commands[2].env("ATM_INSTANCE", foreign).env("ATM_RUN_ID", foreign).env("ATM_SESSION", "ash");
    commands.iter_mut().map(|command| command.spawn().unwrap()).collect()
}

impl Drop for Chaos {
    fn drop(&mut self) {
        for decoy in &mut self.decoys {
            let _ = decoy.kill();
            let _ = decoy.wait();
        }
    }
}

fn chaos(index: u64, config: &str) {
    let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let seed = read("ATM_CHAOS_SEED").unwrap_or(u64::from(clock)) + index;
    let rounds = read("ATM_CHAOS_ROUNDS").unwrap_or(ROUNDS).div_ceil(TESTS);
    eprintln!("ATM_CHAOS_SEED={} (test {index})", seed - index);
    let mut chaos = Chaos::new(seed, config);
    for number in 1..=rounds {
        chaos.round(number);
    }
    chaos.end();
}

#[test]
fn nothing_is_lost_with_the_defaults() {
    chaos(0, "{}\n");
}

#[test]
fn nothing_is_lost_while_logs_are_rotated() {
    chaos(1, "logs: {maxSize: 4KiB, maxFiles: 1000}\n");
}

#[test]
fn nothing_is_lost_where_not_all_have_room() {
    // Who runs changes with each change of priority, so only that the limit is never passed would be certain:
    // the limit is such that all have room, but only just.
    chaos(2, "maxSessions: 7\n");
}

#[test]
fn nothing_is_lost_with_frequent_resyncs() {
    chaos(3, "resyncInterval: 1s\nlogs: {maxSize: 16KiB, maxFiles: 1000}\n");
}
