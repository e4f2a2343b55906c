//! The ledger of faults (`FAULTS.md` beside this file) is whole, and what it names as proof is there.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The chapters, each with its highest number: no number of a chapter is left out.
const CHAPTERS: [(char, u32); 6] = [('S', 49), ('P', 50), ('T', 17), ('D', 44), ('C', 35), ('X', 30)];

/// How many cases are open. It may be made less, and never more.
const OPEN: usize = 1;

/// One line of a table.
struct Row {
    id: String,
    case: String,
    proof: String,
    is_open: bool,
}

fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            is_open = title == "Open";
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = cells.split(" | ").collect();
        let [id, case, proof] = cells.as_slice() else { panic!("not three cells: {line}") };
        if *id != "id" {
            let [id, case, proof] = [id, case, proof].map(|cell| cell.trim().to_owned());
            rows.push(Row { id, case, proof, is_open });
        }
    }
    rows
}

fn ledger() -> Vec<Row> {
    rows(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/FAULTS.md")).unwrap())
}

/// What a cell names in backquotes.
fn named(proof: &str) -> impl Iterator<Item = &str> {
    proof.split('`').skip(1).step_by(2)
}

/// The tests of a source file that are run: one that is ignored proves nothing.
fn tests_in(source: &str) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    let (mut is_test, mut is_ignored) = (false, false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_ignored = true;
        } else if !line.is_empty() && !line.starts_with("#[") && !line.starts_with("//") {
            let name =
                line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            tests.extend(name.filter(|_| is_test && !is_ignored));
            (is_test, is_ignored) = (false, false);
        }
    }
    tests
}

#[test]
fn every_case_is_in_the_ledger_once() {
    let rows = ledger();
    let expected =
        CHAPTERS.iter().flat_map(|(chapter, last)| (1..=*last).map(move |n| format!("{chapter}{n:02}")));
    let expected: Vec<String> = expected.collect();
    let mut found = BTreeMap::<&str, usize>::new();
    for row in &rows {
        *found.entry(&row.id).or_default() += 1;
    }
    let missing: Vec<_> = expected.iter().filter(|id| !found.contains_key(id.as_str())).collect();
    let doubled: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    let unknown: Vec<_> = found.keys().filter(|id| !expected.iter().any(|known| known == *id)).collect();
    assert!(missing.is_empty(), "not in the ledger: {missing:?}");
    assert!(doubled.is_empty(), "more than once: {doubled:?}");
    assert!(unknown.is_empty(), "of no chapter: {unknown:?}");
    // In the order of the chapters, so that a case is found.
    let order = |open: bool| -> Vec<usize> {
        let of_kind = rows.iter().filter(|row| row.is_open == open);
        of_kind.map(|row| expected.iter().position(|id| *id == row.id).unwrap()).collect()
    };
    assert!(order(false).is_sorted() && order(true).is_sorted(), "a case is out of its place");
}

#[test]
fn every_case_has_a_proof_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut open = 0;
    for Row { id, case, proof, is_open } in ledger() {
        if case.len() < 10 {
            wrong.push(format!("{id}: the case is not told"));
        }
        if is_open {
            open += 1;
            if proof.len() < 10 {
                wrong.push(format!("{id}: what happens today is not told"));
            }
            continue;
        }
        if let Some(reason) = proof.strip_prefix("does not apply: ") {
            if reason.len() < 20 {
                wrong.push(format!("{id}: why it does not apply is not told"));
            }
        } else if named(&proof).next().is_none() {
            wrong.push(format!("{id}: no proof: {proof}"));
        }
        let mut seen = BTreeSet::new();
        for reference in named(&proof) {
            if !seen.insert(reference) {
                wrong.push(format!("{id}: twice {reference}"));
            }
            wrong.extend(missing(root, reference).map(|why| format!("{id}: `{reference}`: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(open, OPEN, "cases that are open; where it is less, say so in `OPEN`");
}

/// Why what is named is no proof: `tests/scenarios/NAME.txt`, or `FILE: TEST`.
fn missing(root: &Path, reference: &str) -> Option<String> {
    let Some((file, test)) = reference.split_once(": ") else {
        let is_scenario = reference.starts_with("tests/scenarios/");
        return (!is_scenario || !root.join(reference).is_file()).then(|| "no such scenario".to_owned());
    };
    let Ok(source) = fs::read_to_string(root.join(file)) else { return Some("no such file".to_owned()) };
    if !tests_in(&source).contains(test) {
        return Some("no such test in it, or one that is not run".to_owned());
    }
    // A file below a folder of tests/ is part of a program only where that says so.
    let below = file.strip_prefix("tests/").and_then(|below| Some((below, below.split_once('/')?.0)));
    if let Some((below, program)) = below {
        let program =
            fs::read_to_string(root.join("tests").join(format!("{program}.rs"))).unwrap_or_default();
        if !program.contains(&format!("#[path = \"{below}\"]")) {
            return Some("no program of tests has this file".to_owned());
        }
    }
    None
}

#[test]
fn the_ledgers_reader_sees_what_is_wrong() {
    let source = "#[test]\n#[ignore = \"x\"]\nfn ignored() {}\n#[test]\n/// Words.\nfn run() {}\nfn helper() {}\n\
                  #[tokio::test(start_paused = true)]\nasync fn later() {}\n";
    assert_eq!(tests_in(source), BTreeSet::from(["run", "later"]));
    let table = "## S\n| id | case | proof |\n|---|---|---|\n| S01 | a case | `a: b`, `c.txt` |\n## Open\n| S02 | x | y |\n";
    let found: Vec<_> = rows(table).into_iter().map(|row| (row.id, row.is_open)).collect();
    assert_eq!(found, [("S01".to_owned(), false), ("S02".to_owned(), true)]);
    assert_eq!(named("`a: b`, and `c.txt`").collect::<Vec<_>>(), ["a: b", "c.txt"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for wrong in [
        "tests/ledger.rs: no_such_test",
        "tests/ledger.rs: tests_in",
        "tests/none.rs: x",
        "tests/scenarios/none.txt",
        "README.md",
        "tests/harness/mod.rs: none",
    ] {
        assert!(missing(root, wrong).is_some(), "{wrong}");
    }
    assert_eq!(missing(root, "tests/ledger.rs: every_case_is_in_the_ledger_once"), None);
}
