//! Oracles that do not ask atm.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Seen, processes};

/// Processes that carry a token of ours and are not below one that carries the same: one a run.
#[derive(Debug, Default)]
pub struct Sight {
    /// By token: the roots.
    pub roots: BTreeMap<String, Vec<Seen>>,
    /// By token: all, also those that a shell has forked and not executed yet.
    pub all: BTreeMap<String, Vec<Seen>>,
    /// Every process of the machine.
    pub everyone: Vec<Seen>,
}

impl Sight {
    /// The runs of a token.
    pub fn runs(&self, token: &str) -> &[Seen] {
        self.roots.get(token).map_or(&[], Vec::as_slice)
    }
}

/// Looks once. `mark` begins every token of this test.
pub fn look(mark: &str) -> Sight {
    let mut sight = Sight { everyone: processes(), ..Sight::default() };
    for process in &sight.everyone {
        if let Some(token) = process.argv.iter().find(|word| word.starts_with(mark)) {
            sight.all.entry(token.clone()).or_default().push(process.clone());
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
pub fn doubled(first: &Sight, mark: &str) -> Option<Vec<Seen>> {
    let pairs = |sight: &Sight| -> Vec<Vec<Seen>> {
        let mut by_name: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for (token, roots) in &sight.roots {
            by_name.entry(name_of(token)).or_default().extend(roots.iter().cloned());
        }
        by_name.into_values().filter(|runs| runs.len() > 1).collect()
    };
    let first = pairs(first);
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
    read_torn_log(text, &BTreeSet::new())
}

/// The same, where what some tokens wrote could not all be kept: of those numbers may be missing, beginnings, and
/// pieces of lines. What there is has to be in order all the same, once, and in the log of its own session.
pub fn read_torn_log(text: &str, torn: &BTreeSet<String>) -> Result<Vec<Told>, String> {
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
        // One whose header is missing.
        if let ["bye" | "end", token] | [token, _] = words.as_slice()
            && torn.contains(*token)
            && runs.last().is_none_or(|run| run.token != *token)
        {
            runs.push(Told { token: (*token).to_owned(), ..Told::default() });
        }
        let Some(run) = runs.last_mut() else {
            if torn.iter().any(|token| is_piece(line, token)) {
                continue;
            }
            return Err(format!("no header before: {}", around()));
        };
        let is_torn = torn.contains(&run.token);
        match words.as_slice() {
            ["bye", token] if *token == run.token => run.bye = true,
            ["end", token] if *token == run.token => run.end = true,
            [token, number] if *token == run.token && number.parse() == Ok(run.lines + 1) => run.lines += 1,
            [token, number] if is_torn && *token == run.token && number.parse::<u64>().is_ok() => {
                let number = number.parse().unwrap_or_default();
                if number <= run.lines {
                    return Err(format!("{number} after {} of {}: {}", run.lines, run.token, around()));
                }
                run.lines = number;
            }
            _ if cut => {}
            _ if torn.iter().any(|token| is_piece(line, token)) => {}
            _ => return Err(format!("after line {} of {}: {}", run.lines, run.token, around())),
        }
    }
    Ok(runs)
}

/// Whether a line is made of pieces of what `token` may write: it has a beginning or an end of it that no other
/// session's lines have, or is too short to tell.
fn is_piece(line: &str, token: &str) -> bool {
    let session = token.rsplit_once('-').map_or(token, |(session, _)| session);
    line.contains(session) || session.starts_with(line) || line.len() < token.len()
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

#[test]
fn of_what_could_not_be_kept_pieces_may_be_missing_and_nothing_else() {
    let torn: BTreeSet<String> = ["t-a-1".to_owned()].into();
    let runs = |text: &str| read_torn_log(text, &torn);
    let told = runs("t-a-1 7\nt-a-1 9\nt-a-1 1t-a-1 14\nt-a-1 15\nrun 2 t-a-2\nt-a-2 1\n").unwrap();
    assert_eq!((told.len(), told[0].lines, told[1].lines), (2, 15, 1));
    // Not twice, not backwards, not another session's, and no gap in a run that could be kept.
    runs("run 1 t-a-1\nt-a-1 4\nt-a-1 4\nt-a-1 5\nrun 2 t-b-1\n").unwrap_err();
    runs("t-a-1 4\nrun 1 t-b-1\nt-b-1 1\nt-b-1 3\nt-b-1 4\n").unwrap_err();
}
