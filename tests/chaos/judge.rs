//! Oracles that do not ask atm.

use std::collections::BTreeMap;

use crate::harness::{Seen, processes};

/// Processes that carry a token of ours and are not below one that carries the same: one a run.
#[derive(Debug, Default)]
pub struct Sight {
    /// By token: the roots.
    pub roots: BTreeMap<String, Vec<Seen>>,
    /// By token: all, also those that a shell has forked and not executed yet.
    pub all: BTreeMap<String, Vec<Seen>>,
}

/// Looks once. `mark` begins every token of this test.
pub fn look(mark: &str) -> Sight {
    let mut sight = Sight::default();
    for process in processes() {
        if let Some(token) = process.argv.iter().find(|word| word.starts_with(mark)) {
            sight.all.entry(token.clone()).or_default().push(process);
        }
    }
    for (token, all) in &sight.all {
        let roots = all.iter().filter(|one| !all.iter().any(|other| other.pid == one.parent));
        sight.roots.insert(token.clone(), roots.cloned().collect());
    }
    sight
}

/// Two runs of one name at once. A look takes a while, in which one can end and the next begin, so a pair is
/// believed only if both are still there at a second look.
pub fn doubled(mark: &str) -> Option<Vec<Seen>> {
    let pairs = |sight: &Sight| -> Vec<Vec<Seen>> {
        let mut by_name: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for (token, roots) in &sight.roots {
            by_name.entry(name_of(token)).or_default().extend(roots.iter().cloned());
        }
        by_name.into_values().filter(|runs| runs.len() > 1).collect()
    };
    let first = pairs(&look(mark));
    if first.is_empty() {
        return None;
    }
    let second = look(mark);
    let still = |one: &Seen| second.all.values().flatten().any(|s| (s.pid, s.born) == (one.pid, one.born));
    first.into_iter().find(|runs| runs.iter().filter(|one| still(one)).count() > 1)
}

/// The session's name in a token: `MARK-NAME-NUMBER`.
pub fn name_of(token: &str) -> String {
    token.rsplit('-').nth(1).unwrap_or_default().to_owned()
}

/// One run, as a log tells it.
#[derive(Debug, Default)]
pub struct Told {
    pub token: String,
    pub lines: u64,
    pub bye: bool,
    pub end: bool,
}

/// Reads a log: each run is a header and then 1, 2, 3…, without a gap, a double or a line of another run.
pub fn read_log(text: &str) -> Result<Vec<Told>, String> {
    let mut runs: Vec<Told> = Vec::new();
    let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    for (index, line) in lines.iter().enumerate() {
        let around = || lines[index.saturating_sub(3)..lines.len().min(index + 3)].join("\\n");
        if line.is_empty() {
            continue;
        }
        // A run that was killed in the middle of a line, with its keeper: the next line is empty, a header follows.
        let next: Vec<&&str> = lines[index + 1..].iter().filter(|line| !line.is_empty()).take(1).collect();
        let cut = next.iter().all(|line| line.starts_with("run "));
        let words: Vec<&str> = line.split(' ').collect();
        if let ["run", _, token] = words.as_slice() {
            runs.push(Told { token: (*token).to_owned(), ..Told::default() });
            continue;
        }
        let Some(run) = runs.last_mut() else { return Err(format!("no header before: {}", around())) };
        match words.as_slice() {
            ["bye", token] if *token == run.token => run.bye = true,
            ["end", token] if *token == run.token => run.end = true,
            [token, number] if *token == run.token && number.parse() == Ok(run.lines + 1) => run.lines += 1,
            _ if cut => {}
            _ => return Err(format!("after line {} of {}: {}", run.lines, run.token, around())),
        }
    }
    Ok(runs)
}

#[test]
fn the_judge_sees_gaps_doubles_and_strangers() {
    let good = "\r\nrun 1 t-a-1\r\nt-a-1 1\r\nt-a-1 2\r\nt-a\nrun 2 t-a-2\nt-a-2 1\nend t-a-2\n";
    let runs = read_log(good).unwrap();
    assert_eq!((runs.len(), runs[0].lines, runs[1].lines, runs[1].end), (2, 2, 1, true));
    read_log("run 1 t-a-1\nt-a-1 1\nt-a-1 3\nt-a-1 4\n").unwrap_err();
    read_log("run 1 t-a-1\nt-a-1 1\nt-a-1 1\nt-a-1 2\n").unwrap_err();
    read_log("run 1 t-a-1\nt-a-1 1\nt-a-2 1\nt-a-1 2\n").unwrap_err();
    read_log("t-a-1 1\nt-a-1 2\n").unwrap_err();
}
