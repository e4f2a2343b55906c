//! What people do to the files, all the time.

use crate::{
    client,
    field::{Kind, Order},
    harness::signal,
};

use super::Storm;

/// Configs that hold, all with room for every session, and keeping every byte of output.
pub fn configs(sessions: usize) -> [String; 5] {
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

impl Storm<'_> {
    /// One thing that a person might do to the files.
    pub fn change(&mut self) {
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
        if declared.order != Order::Nothing {
            // A change of its file would lift the stop, or not, as it was read before or after.
            return self.start(&name);
        }
        // A good one is in force only once it was read.
        let settled = declared.process.is_some() && !declared.shaken || declared.over;
        let what = match roll {
            0..25 => "changed command",
            25..45 if is_lasting => "changed live field",
            45..52 if is_lasting && settled && !declared.spoiled => return self.stop(&name),
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

    pub fn meddle_with_config(&mut self, good: bool) {
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
    pub fn spoil(&mut self, name: &str) {
        let text = *self.chaos.dice.pick(&BROKEN).unwrap();
        self.chaos.note(format!("spoil {name}: {text:?}"));
        self.chaos.declared.get_mut(name).unwrap().spoiled = true;
        let path = self.chaos.file(name);
        self.chaos.put(&path, text, text.len() / 2);
    }

    /// `.yaml` becomes `.yml`, or the other way round.
    pub fn turn(&mut self, name: &str) {
        self.chaos.note(format!("turn {name}"));
        let before = self.chaos.file(name);
        let declared = self.chaos.declared.get_mut(name).unwrap();
        declared.yml = !declared.yml;
        std::fs::rename(before, self.chaos.file(name)).unwrap();
    }
}
