//! The stage: what is declared on it, what was done to it, and the judgement of what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::Value;

mod verdict;

use crate::{
    client,
    dice::Dice,
    field::{Declared, Kind, Order},
    harness::{self, Atm, LIMIT, is_alive, pause},
    judge::{doubled, look, name_of},
};

use verdict::{lasting, once};

/// What may have gone wrong, as the word that a failure begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A session that was to run on did not, or one that was to run does not.
    Lost,
    /// Two runs of one session at once, or one too many.
    Doubled,
    /// A process of a session that is to be no more, or without a keeper.
    Orphan,
    /// A signal to a process that is none of atm's.
    Signalled,
    /// Output that is not what was written.
    Output,
    /// atm tells something else than is.
    Told,
}

/// What is not as declared, or not yet.
pub type Unsettled = (Wrong, String);

pub struct Chaos {
    pub atm: Atm,
    pub dice: Dice,
    /// Begins every token.
    pub mark: String,
    pub declared: BTreeMap<String, Declared>,
    /// When what is to run of each name was changed last.
    pub changed: BTreeMap<String, Instant>,
    /// What new sessions are declared with.
    pub pace: &'static str,
    serial: u64,
    /// Tokens whose run may have been cut short: by a killed keeper, by a stop, by a changed file.
    pub disturbed: BTreeSet<String>,
    /// Tokens of which not all that they wrote could be kept.
    pub torn: BTreeSet<String>,
    /// Now nothing can be kept.
    pub tearing: bool,
    decoys: Vec<Child>,
    /// What was done, for whoever has to find out why it failed.
    diary: Vec<String>,
    began: Instant,
}

impl Chaos {
    /// Directories with decoys beside them, and no daemon yet.
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
            changed: BTreeMap::new(),
            pace: "0.05",
            serial: 0,
            disturbed: BTreeSet::new(),
            torn: BTreeSet::new(),
            tearing: false,
            decoys,
            diary: vec![format!("seed {seed}")],
            began: harness::now(),
        }
    }

    pub fn note(&mut self, text: impl AsRef<str>) {
        let millis = self.began.elapsed().as_millis();
        self.diary.push(format!("{millis:>7} ms  {}", text.as_ref()));
    }

    /// Ends the run: something is wrong.
    pub fn fail(&self, (wrong, why): Unsettled) -> ! {
        panic!("{wrong:?}: {why}\n{}", self.report())
    }

    fn token(&mut self, name: &str) -> String {
        self.serial += 1;
        format!("{}-{name}-{}", self.mark, self.serial)
    }

    /// The file of a session.
    pub fn file(&self, name: &str) -> PathBuf {
        let yml = self.declared.get(name).is_some_and(|declared| declared.yml);
        self.atm.spec_path(name).with_extension(if yml { "yml" } else { "yaml" })
    }

    /// Writes a file as people and programs do.
    pub fn put(&mut self, path: &std::path::Path, text: &str, cut: usize) {
        let roll = self.dice.below(100);
        if roll < 60 {
            let beside = path.with_file_name(".beside.part");
            fs::write(&beside, text).unwrap();
            fs::rename(&beside, path).unwrap();
        } else if roll < 90 {
            fs::write(path, text).unwrap(); // in place, as some editors do
        } else {
            // The same, in two goes. What is there between them is no spec.
            let mut file = fs::File::create(path).unwrap();
            file.write_all(&text.as_bytes()[..cut]).unwrap();
            self.dice.pause(20);
            file.write_all(&text.as_bytes()[cut..]).unwrap();
        }
    }

    /// Writes the file of a session as it is declared.
    pub fn write(&mut self, name: &str) {
        let declared = self.declared.get_mut(name).unwrap();
        declared.spoiled = false;
        let (text, token) = (declared.yaml(), declared.token.clone());
        let path = self.file(name);
        self.put(&path, &text, text.find(&token).unwrap());
    }

    /// Declares `name` anew, or changes what it runs.
    pub fn declare(&mut self, name: &str, kinds: &[Kind]) {
        let kind = *self.dice.pick(kinds).unwrap();
        self.declare_as(name, kind);
    }

    pub fn declare_as(&mut self, name: &str, kind: Kind) {
        let token = self.token(name);
        let before = self.declared.get(name);
        let (yml, spoiled) = before.map_or((false, false), |before| (before.yml, before.spoiled));
        if let Some(before) = before {
            self.disturbed.insert(before.token.clone());
        }
        let declared = Declared {
            kind,
            pace: self.pace,
            token: token.clone(),
            priority: self.dice.below(100),
            style: self.dice.next() % 1000,
            terminal: self.dice.percent(60),
            tenths: self.dice.below(3),
            process: None,
            shaken: true,
            bereft: false,
            forgotten: 0,
            over: false,
            yml,
            spoiled,
            order: Order::Nothing,
        };
        self.note(format!("declare {name} {kind:?} {token}"));
        if self.tearing {
            self.torn.insert(token);
        }
        self.declared.insert(name.to_owned(), declared);
        self.write(name);
        self.changed.insert(name.to_owned(), harness::now());
    }

    /// A change of what applies to a running session.
    pub fn reprioritise(&mut self, name: &str) {
        let declared = self.declared.get_mut(name).unwrap();
        declared.priority = (declared.priority + 1) % 1000;
        self.note(format!("priority of {name}"));
        self.write(name);
    }

    /// A change that means nothing.
    pub fn reformat(&mut self, name: &str) {
        self.declared.get_mut(name).unwrap().style += 1;
        self.note(format!("reformat {name}"));
        self.write(name);
    }

    pub fn forget(&mut self, name: &str) {
        self.note(format!("remove {name}"));
        let file = self.file(name);
        let declared = self.declared.remove(name).unwrap();
        self.disturbed.insert(declared.token);
        fs::remove_file(file).unwrap();
        self.changed.insert(name.to_owned(), harness::now());
    }

    /// Removes a file and adds it again, in less time than proves it gone, as git and editors do: whether it is seen
    /// or not, it is declared.
    pub fn replace(&mut self, name: &str, kinds: &[Kind]) {
        self.note(format!("remove and add {name}"));
        fs::remove_file(self.file(name)).unwrap();
        self.dice.pause(10);
        if self.dice.percent(50) {
            self.declare(name, kinds);
        } else {
            let declared = self.declared.get_mut(name).unwrap();
            declared.shaken = true;
            self.disturbed.insert(declared.token.clone());
            self.write(name);
            self.changed.insert(name.to_owned(), harness::now());
        }
    }

    /// Of a session: its keeper or its own process was killed, with what it knew.
    pub fn bereave(&mut self, name: &str) {
        if let Some(declared) = self.declared.get_mut(name) {
            declared.shaken = true;
            declared.bereft = true;
            self.disturbed.insert(declared.token.clone());
        }
    }

    /// The runtime directory goes, under keepers that live and others that were killed a moment ago.
    pub fn wipe(&mut self) {
        self.note("remove the runtime directory");
        if let Err(error) = fs::remove_dir_all(self.atm.runtime()) {
            // A keeper writes into it meanwhile; what it writes is no less in the way of the next daemon.
            self.note(format!("not all of it: {error}"));
        }
        for declared in self.declared.values_mut().filter(|declared| declared.kind.is_once()) {
            // A result that no daemon has read yet goes with it.
            declared.bereft = true;
            self.disturbed.insert(declared.token.clone());
        }
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
                self.note("the daemon had ended");
            }
            match self.unsettled(|_| true) {
                None => break,
                Some(why) if harness::now() > deadline => self.fail(why),
                Some(_) => {}
            }
            pause();
        }
        for declared in self.declared.values_mut() {
            declared.shaken = false;
        }
    }

    /// What is not yet as declared of the names that count; fails at once if something is doubled, or another
    /// process than it was without a reason.
    pub fn unsettled(&mut self, counts: impl Fn(&str) -> bool) -> Option<Unsettled> {
        let sight = look(&self.mark);
        if let Some(runs) = doubled(&sight, &self.mark) {
            self.fail((Wrong::Doubled, format!("{runs:#?}")));
        }
        for (token, all) in &sight.all {
            let name = name_of(token);
            let declared = self.declared.get(&name);
            if counts(&name) && declared.is_none_or(|declared| declared.token != *token) {
                return Some((Wrong::Orphan, format!("not declared, and lives: {all:?}")));
            }
        }
        let keepers = self.atm.keepers_among(sight.everyone.iter().cloned());
        let listed = client::list(&self.atm.runtime());
        let mut unsettled = None;
        for (name, declared) in &mut self.declared {
            if !counts(name) {
                continue;
            }
            let status = listed.as_ref().map(|all| {
                all.iter().find(|one| one["name"] == **name).map_or(&Value::Null, |one| &one["status"])
            });
            let checked = if declared.kind.is_once() {
                once(&self.atm, name, declared, &self.torn, &sight, status)
            } else {
                lasting(name, declared, &sight, &keepers, status)
            };
            match checked {
                Err(wrong) => self.fail(wrong),
                Ok(None) => {}
                Ok(why) => unsettled = unsettled.or(why),
            }
        }
        let Some(listed) = listed else {
            return Some(unsettled.unwrap_or((Wrong::Told, "no daemon answers".to_owned())));
        };
        let known = listed.iter().filter_map(|session| session["name"].as_str());
        let stranger = known.filter(|name| counts(name)).find(|name| !self.declared.contains_key(*name));
        unsettled
            .or_else(|| stranger.map(|name| (Wrong::Told, format!("{name} is listed, and not declared"))))
    }

    pub fn report(&self) -> String {
        let diary = self.diary[self.diary.len().saturating_sub(80)..].join("\n");
        let log = self.atm.daemon_log();
        let from = log.char_indices().rev().nth(12_000).map_or(0, |(at, _)| at);
        let listed = client::list(&self.atm.runtime()).unwrap_or_default();
        let listed: Vec<String> =
            listed.iter().map(|session| format!("{} {}", session["name"], session["status"])).collect();
        let sight = look(&self.mark);
        let runs: Vec<String> = sight.roots.values().flatten().map(|run| format!("{run:?}")).collect();
        format!(
            "{}\n{diary}\n\nlisted:\n{}\n\nruns:\n{}\n\nlog of the daemon:\n{}",
            self.diary[0],
            listed.join("\n"),
            runs.join("\n"),
            &log[from..]
        )
    }

    /// The pids of the decoys.
    pub fn decoys(&self) -> impl Iterator<Item = i32> {
        self.decoys.iter().map(|decoy| decoy.id().cast_signed())
    }

    /// That no decoy was touched.
    pub fn see_decoys(&self) {
        for pid in self.decoys() {
            if !is_alive(pid) {
                self.fail((Wrong::Signalled, format!("the decoy {pid} was ended")));
            }
        }
        let signalled = fs::read_to_string(self.atm.path("decoy-was-signalled")).unwrap_or_default();
        if !signalled.is_empty() {
            self.fail((Wrong::Signalled, format!("a decoy was sent {signalled}")));
        }
    }

    /// Ends all, and judges what is left.
    pub fn end(&mut self) {
        self.see_decoys();
        assert_eq!(self.atm.stop_daemon(), 0, "{}", self.report());
        let left = look(&self.mark).all;
        if !left.is_empty() || !self.atm.marked().is_empty() || !self.atm.keepers().is_empty() {
            self.fail((Wrong::Orphan, format!("left behind: {left:#?}")));
        }
        self.read_logs();
    }
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
