//! Everybody who does something, each on a thread of their own, until it is enough.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    dice::Dice,
    field::Field,
    harness::{Atm, program},
    people,
};

/// All of them.
#[derive(Debug)]
pub struct Crowd {
    seed: u64,
    /// Begins every new name of this part of the run.
    part: &'static str,
    enough: AtomicBool,
    faults: Mutex<Vec<String>>,
    /// How often each did what they do.
    acts: Mutex<BTreeMap<&'static str, u64>>,
}

/// One of them, who does something over and over.
pub struct Person<'a> {
    pub atm: &'a Atm,
    pub field: &'a Field,
    pub dice: Dice,
    pub part: &'static str,
    /// Counts what they did.
    pub number: u64,
    crowd: &'a Crowd,
}

/// Ends the work also where who watches panics.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Crowd {
    pub fn new(seed: u64, part: &'static str) -> Self {
        Self { seed, part, enough: AtomicBool::new(false), faults: Mutex::default(), acts: Mutex::default() }
    }

    /// Works for as long as `watch` takes.
    pub fn work(&self, atm: &Atm, field: &Field, watch: impl FnOnce()) {
        thread::scope(|scope| {
            let enough = Enough(&self.enough);
            for (index, (what, make)) in people::ALL.iter().enumerate() {
                let person = Person {
                    atm,
                    field,
                    dice: Dice::new(self.seed.wrapping_add(index as u64 * 7919)),
                    part: self.part,
                    number: 0,
                    crowd: self,
                };
                scope.spawn(move || self.one(what, person, make()));
            }
            watch();
            drop(enough);
        });
        eprintln!("{}: {:?}", self.part, self.acts.lock().unwrap());
    }

    fn one(&self, what: &'static str, mut person: Person<'_>, mut act: people::Act) {
        while !self.enough.load(Ordering::Relaxed) {
            person.number += 1;
            if catch_unwind(AssertUnwindSafe(|| act(&mut person))).is_err() {
                self.faults.lock().unwrap().push(format!("{what} failed as printed above"));
                thread::sleep(Duration::from_secs(1));
            }
            *self.acts.lock().unwrap().entry(what).or_default() += 1;
        }
    }

    /// What went wrong as nothing may, whoever does what at the same time.
    pub fn faults(&self) -> Vec<String> {
        std::mem::take(&mut *self.faults.lock().unwrap())
    }
}

impl Person<'_> {
    /// A command that is a client of our daemon.
    pub fn command(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("ATM_SOCKET", self.atm.runtime().join("atm.sock"))
            .env("HOME", self.atm.path(""))
            .env("TMPDIR", self.atm.path(""))
            .current_dir(&self.field.work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs a verb, and says whether it did what was asked. Others may have been quicker, so it may refuse; it may not
    /// panic, hang, be used wrongly or miss the daemon.
    pub fn verb(&self, args: &[&str]) -> bool {
        let program = program();
        let limited = ["--kill-after=5", "120", program.to_str().unwrap()];
        let mut command = self.command("timeout", &[&limited, args].concat());
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        if !matches!(output.status.code(), Some(0 | 1 | 3 | 4 | 75)) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            self.fault(format!("atm {args:?}: {}: {said}", output.status));
        }
        output.status.success()
    }

    /// Notes what may not be.
    pub fn fault(&self, text: String) {
        eprintln!("FAULT {text}");
        self.crowd.faults.lock().unwrap().push(text);
    }

    /// A pause of up to so many milliseconds.
    pub fn rests(&mut self, most_millis: u64) {
        self.dice.pause(most_millis);
    }
}
