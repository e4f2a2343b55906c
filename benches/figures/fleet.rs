//! A daemon with a number of idle sessions, and what is measured on it.

use std::{thread, time::Duration};

use atm::host::clock::monotonic;

use crate::{
    Plan,
    harness::Atm,
    processes,
    stamp::{Stamp, Stamps},
    stop_if_told,
    table::{Table, Unit, quantile},
};

/// A daemon on directories of its own. All that it started ends when this is dropped.
pub struct Fleet<'a> {
    atm: Atm,
    stamps: Stamps,
    stamp: &'a Stamp,
    terminal: bool,
    size: usize,
}

impl<'a> Fleet<'a> {
    /// Directories with a spec for each of `size` sessions, and no daemon yet.
    pub fn prepare(stamp: &'a Stamp, size: usize, terminal: bool) -> Self {
        let atm = crate::runtime_base().map_or_else(Atm::new, Atm::with_runtime_in);
        std::fs::write(atm.path("atm.yaml"), "maxSessions: 4000\n").unwrap();
        let stamps = Stamps::new(atm.path("stamps"));
        let fleet = Self { atm, stamps, stamp, terminal, size };
        for number in 0..size {
            fleet.declare(&format!("e{number:04}"), &["hold"], "maxIdle: 1h\nmaxMemory: 1GiB\n");
        }
        // A file that was just written is looked at twice; those that a machine boots with are older.
        Self::doze(Duration::from_secs(1));
        fleet
    }

    /// Renames a spec into place; says when.
    fn declare(&self, name: &str, life: &[&str], more: &str) -> u64 {
        let command = serde_json::to_string(&self.stamp.command(&self.stamps.fifo, name, life)).unwrap();
        let text = format!("command: {command}\nterminal: {}\n{more}", self.terminal);
        let beside = self.atm.path("part");
        std::fs::write(&beside, text).unwrap();
        let path = self.atm.spec_path(name);
        let now = monotonic().as_nanos();
        std::fs::rename(&beside, path).unwrap();
        now
    }

    /// What a row is about.
    pub fn title(&self, what: &str) -> String {
        let Self { size, terminal, .. } = self;
        let kind = if *terminal { "terminals" } else { "pipes" };
        format!("{what}, {size} sessions with {kind}")
    }

    /// Daemon executed → the last of all sessions runs; in nanoseconds.
    pub fn cold(&mut self) -> f64 {
        let began = monotonic().as_nanos();
        self.atm.launch();
        let last = self.stamps.all_started(self.size);
        self.atm.wait_notified("READY=1");
        nanos(began, last)
    }

    /// Spec renamed into place → the command's first instruction. The commands end at once and stay known.
    pub fn declared(&self, plan: &Plan, table: &mut Table) {
        let mut took = Vec::new();
        for round in 0..=plan.declares {
            Self::settle(round);
            let name = format!("d{round:04}");
            let began = self.declare(&name, &["exit", "0"], "");
            let started = self.stamps.started(&name);
            if round > 0 {
                took.push(nanos(began, started)); // the first warms up
            }
        }
        let values = [(quantile(&took, 0.5), Some(2.0)), (quantile(&took, 0.99), Some(4.0))];
        table.row(self.title("spec in place → first instruction, p50 / p99"), Unit::Millis, &values);
    }

    /// A command's last act → the first instruction of the next run.
    pub fn again(&self, plan: &Plan, table: &mut Table) {
        self.declare("again", &["exit", "30"], "restartPolicy: Always\nbackoff: {initial: 0s}\n");
        let (mut took, mut ended) = (Vec::new(), None);
        while took.len() < plan.restarts {
            let told = self.stamps.next();
            match (told.started, ended) {
                _ if told.tag != "again" => {}
                (false, _) => ended = Some(told.ns),
                (true, Some(ended)) => took.push(nanos(ended, told.ns)),
                (true, None) => {}
            }
        }
        self.atm.remove_spec("again");
        self.atm.wait_gone("again");
        let values = [(quantile(&took, 0.5), Some(2.0)), (quantile(&took, 0.99), None)];
        table.row(self.title("exit → running again, p50 / p99"), Unit::Millis, &values);
    }

    /// Memory of the daemon, and CPU time of it and its keepers, when nothing happens and all budgets are on.
    pub fn idle(&mut self, plan: &Plan, table: &mut Table) {
        // What starting has used is given back or not within some seconds, and a session that has been quiet for
        // as long as it is watched here is looked at as rarely as one that has been so for hours.
        Self::doze(plan.idle.max(Duration::from_secs(6)));
        let pid = self.atm.daemon_pid();
        let mut pids = processes::keepers(&self.atm.marked());
        pids.push(pid);
        let sum = |pids: &[i32]| pids.iter().map(|pid| processes::cpu(*pid)).sum::<f64>();
        let before = sum(&pids);
        Self::doze(plan.idle);
        let cpu = (sum(&pids) - before) * 30.0 / plan.idle.as_secs_f64();
        let (memory, budgets) = (processes::memory(pid), self.budgets());
        let values = [(memory.0, None), (memory.1, Some(budgets.0))];
        table.row(self.title("daemon, RSS / PSS"), Unit::MiB, &values);
        table.row(self.title("daemon and keepers, CPU in 30 s"), Unit::Millis, &[(cpu, budgets.1)]);
    }

    /// Memory of keepers that share their pages with each other and the daemon.
    pub fn keepers(&self, table: &mut Table) {
        let keepers = processes::keepers(&self.atm.marked());
        let sizes: Vec<f64> = keepers.iter().map(|&pid| processes::memory(pid).1).collect();
        let budget = if self.terminal { 700.0 } else { 300.0 };
        let values = [(quantile(&sizes, 0.5), Some(budget))];
        table.row(self.title("a keeper, PSS, p50"), Unit::KiB, &values);
    }

    fn budgets(&self) -> (f64, Option<f64>) {
        match self.size {
            0 => (5.0, None),
            1..=100 => (6.0, Some(15.0)),
            _ => (12.0, Some(100.0)),
        }
    }

    /// SIGKILL, then the next daemon executed → READY. Not one session may end by it.
    pub fn ready_again(&mut self, plan: &Plan, table: &mut Table) {
        let mut took = Vec::new();
        for _ in 0..plan.restarted_daemons {
            self.atm.kill_daemon();
            let began = monotonic().as_nanos();
            self.atm.up();
            took.push(nanos(began, monotonic().as_nanos()));
        }
        let live = processes::keepers(&self.atm.marked()).len();
        assert_eq!(live, self.size, "sessions were lost or doubled");
        let budget = if self.size <= 100 { 0.3 } else { 2.0 };
        table.row(
            self.title("READY after SIGKILL, p50"),
            Unit::Seconds,
            &[(quantile(&took, 0.5), Some(budget))],
        );
    }

    /// A pause between two measurements, of a length that keeps no step with any timer.
    fn settle(round: usize) {
        Self::doze(Duration::from_micros(25_000 + (round as u64 * 7_919) % 20_000));
    }

    /// Lets time pass.
    fn doze(time: Duration) {
        let end = monotonic().as_nanos() + u64::try_from(time.as_nanos()).unwrap();
        loop {
            stop_if_told();
            let left = end.saturating_sub(monotonic().as_nanos());
            if left == 0 {
                return;
            }
            thread::sleep(Duration::from_nanos(left).min(Duration::from_millis(100)));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of some seconds")]
fn nanos(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64
}
