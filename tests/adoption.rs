//! What a daemon finds when it starts, and makes of it: the real binary on what crashes, people and machines leave.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits on the real clock"
)]

mod harness;

#[path = "adoption/daemons.rs"]
mod daemons;
#[allow(dead_code, reason = "not all choices are made here")]
#[path = "chaos/dice.rs"]
mod dice;
#[path = "adoption/doubles.rs"]
mod doubles;
#[path = "adoption/keepers.rs"]
mod keepers;
#[path = "adoption/records.rs"]
mod records;
#[path = "adoption/results.rs"]
mod results;
#[path = "adoption/runtime.rs"]
mod runtime;
#[path = "adoption/state.rs"]
mod state;
#[path = "adoption/wills.rs"]
mod wills;

use std::{fs, path::Path};

use harness::{Atm, is_alive, signal, wait_until};
use serde_json::Value;

/// Runs until it is stopped.
const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";

impl Atm {
    /// The only keeper of a session.
    fn keeper(&self, name: &str) -> i32 {
        let all = self.keepers();
        let mut of_name = all.iter().filter(|keeper| keeper.argv.last().is_some_and(|last| last == name));
        let (first, second) = (of_name.next(), of_name.next());
        assert!(second.is_none(), "two keepers of {name}: {all:?}");
        first.unwrap_or_else(|| panic!("no keeper of {name}")).pid
    }

    /// Ends a session's keeper and its tree, as a power cut would: no word is written.
    fn cut(&self, name: &str) {
        let keeper = self.keeper(name);
        let tree = harness::descendants(keeper);
        // Stopped first, so that it cannot see its child end.
        signal(keeper, 19);
        for pid in tree.iter().chain([&keeper]) {
            signal(*pid, 9);
        }
        assert!(wait_until(|| !is_alive(keeper) && tree.iter().all(|pid| !is_alive(*pid))));
    }

    /// A file of a session's run.
    fn run_file(&self, name: &str, file: &str) -> std::path::PathBuf {
        self.runtime().join("sessions").join(name).join(file)
    }

    /// What state remembers of a session.
    fn memory_file(&self, name: &str) -> std::path::PathBuf {
        self.path("state/sessions").join(format!("{name}.json"))
    }

    /// Says that the runs of a session that are on record were another boot's.
    fn fake_reboot(&self, name: &str) {
        let other = "00000000-1111-2222-3333-444444444444";
        for (path, pointer) in [
            (self.run_file(name, "record.json"), "/bootId"),
            (self.run_file(name, "intent.json"), "/bootId"),
            (self.memory_file(name), "/begun/bootId"),
            (self.memory_file(name), "/notBefore/bootId"),
        ] {
            edit_json(&path, |value| {
                if let Some(boot) = value.pointer_mut(pointer) {
                    *boot = other.into();
                }
            });
        }
    }

    /// How often a session of [`counting`] was run.
    fn runs(&self, name: &str) -> usize {
        fs::read_to_string(self.path(&format!("{name}.runs"))).unwrap_or_default().lines().count()
    }

    /// A command that counts its runs in a file, and then does as `script` says.
    fn counting(&self, name: &str, script: &str) -> String {
        let file = self.path(&format!("{name}.runs"));
        let script = format!("echo run >> {}; {script}", file.display()).replace('\'', "''");
        format!("command: [sh, -c, '{script}']\n")
    }
}

/// Changes a file of JSON; one that is not there stays so.
fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let Ok(text) = fs::read(path) else { return };
    let mut value: Value = serde_json::from_slice(&text).unwrap();
    edit(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// Whether somebody holds the lock at `path`.
fn is_locked(path: &Path) -> bool {
    matches!(fs::File::open(path).unwrap().try_lock(), Err(fs::TryLockError::WouldBlock))
}
