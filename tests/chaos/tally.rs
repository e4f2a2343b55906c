//! What a storm comes to.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// What was done and what came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub scenes: u64,
    pub actions: BTreeMap<String, u64>,
    /// SIGKILLs of the daemon.
    pub kills: usize,
    /// From a SIGKILL until the next daemon answers and all is as it was declared when it fell.
    pub recoveries: Vec<Duration>,
    /// From the end of a disturbance until all is as declared.
    pub healings: Vec<(Duration, String)>,
    /// How often what went wrong: a failure ends the storm.
    pub wrongs: BTreeMap<&'static str, u64>,
}

/// The words that failures begin with: see [`crate::stage::Wrong`].
const WRONGS: [&str; 6] = ["Lost", "Doubled", "Orphan", "Signalled", "Output", "Told"];

impl Tally {
    pub fn count(&mut self, action: impl Into<String>) {
        *self.actions.entry(action.into()).or_default() += 1;
    }

    pub fn wrong(&mut self, said: &str) {
        let word = WRONGS.into_iter().find(|word| said.starts_with(&format!("{word}: ")));
        *self.wrongs.entry(word.unwrap_or("Other")).or_default() += 1;
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (action, count) in &self.actions {
            writeln!(text, "{count:>8}  {action}").unwrap();
        }
        writeln!(text, "{:>8}  scenes", self.scenes).unwrap();
        writeln!(text, "{:>8}  SIGKILLs of the daemon", self.kills).unwrap();
        let healings: Vec<Duration> = self.healings.iter().map(|(took, _)| *took).collect();
        let longest = self.healings.iter().max().map_or("", |(_, what)| what);
        for (what, mut spans, after) in
            [("recoveries", self.recoveries.clone(), ""), ("healings", healings, longest)]
        {
            spans.sort_unstable();
            let Some(last) = spans.len().checked_sub(1) else { continue };
            let [p50, p99, max] = [50, 99, 100].map(|percent| spans[last * percent / 100].as_millis());
            write!(text, "{:>8}  {what}: p50 {p50} ms, p99 {p99} ms, max {max} ms", spans.len()).unwrap();
            writeln!(text, "{}{after}", if after.is_empty() { "" } else { " after " }).unwrap();
        }
        for word in WRONGS.into_iter().chain(["Other"]) {
            let count = self.wrongs.get(word).copied().unwrap_or_default();
            let said = match word {
                "Lost" => "lost",
                "Doubled" => "doubled",
                "Orphan" => "orphans",
                "Signalled" => "foreign signals",
                "Output" => "wrong output",
                "Told" => "wrongly told, or never again as declared",
                _ => "failures of other kinds",
            };
            writeln!(text, "{count:>8}  {said}").unwrap();
        }
        text
    }
}
