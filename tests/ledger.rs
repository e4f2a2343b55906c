//! The ledger of faults (`FAULTS.md` beside this file) is whole, and what it names as proof is there.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The chapters, each with its highest number: no number of a chapter is left out.
const CHAPTERS: [(char, u32); 6] = [('S', 49), ('P', 50), ('T', 17), ('D', 44), ('C', 35), ('X', 31)];

/// How many cases are open. It may be made less, and never more.
const OPEN: usize = 0;

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

/// The page of ARCHITECTURE.md that says whom atm trusts.
fn threat_model() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let (_, section) = page.split_once("\n## Whom it trusts").unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn the_threat_model_names_tests_that_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = threat_model();
    let (mut boundaries, mut wrong) = (0, Vec::new());
    let (_, table) = page.split_once("| boundary |").unwrap();
    for line in table.lines().skip(2).take_while(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        let [boundary, _, proof] = cells.as_slice() else { panic!("not three cells: {line}") };
        boundaries += 1;
        if named(proof).next().is_none() {
            wrong.push(format!("{boundary}: no proof"));
        }
        for reference in named(proof) {
            wrong.extend(missing(root, reference).map(|why| format!("{boundary}: `{reference}`: {why}")));
        }
    }
    // Where it is in the code, so that a file that was moved is not pointed to.
    for file in named(&page).filter(|name| Path::new(name).extension().is_some_and(|end| end == "rs")) {
        let base = if file.starts_with("tests/") { "" } else { "src" };
        if !root.join(base).join(file).is_file() {
            wrong.push(format!("{file}: no such file"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(boundaries > 12, "only {boundaries} boundaries: was the table read?");
}

/// What opens a way in or out, asks who is there, or changes who one is: a file of the program that has one is a boundary.
const ENTRANCES: [&str; 13] = [
    "TcpListener::bind",
    "UnixListener::bind",
    "UnixDatagram::unbound",
    "net::bind(",
    "net::connect(",
    "peer_cred()",
    "PeerCredentials",
    "listen_fds",
    "setresuid(",
    "set_thread_res_uid(",
    "SYS_close_range",
    "SYS_keyctl",
    "Command::new(",
];

/// What the names of variables begin with that atm or systemd give a meaning to.
const VARIABLES: [&str; 10] = [
    "ATM_",
    "XDG_",
    "NOTIFY_",
    "WATCHDOG_",
    "LISTEN_",
    "JOURNAL_",
    "INVOCATION_",
    "CREDENTIALS_",
    "MANAGERPID",
    "SYSTEMD_",
];

/// What the page has to name of a program text.
fn to_be_named(file: &str, source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut names = BTreeSet::new();
    if ENTRANCES.iter().any(|entrance| source.contains(entrance)) {
        names.insert(file.to_owned());
    }
    for line in source.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let texts: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let is_variable = |text: &&&str| {
            text.len() > 3
                && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
                && (VARIABLES.iter().any(|begin| text.starts_with(begin)) || line.contains("env::var"))
        };
        names.extend(texts.iter().filter(is_variable).map(|name| (*name).to_owned()));
        let is_file =
            line.contains("_FILE: &str = ") || (file == "daemon/paths.rs" && line.contains(".join(\""));
        names.extend(
            texts
                .iter()
                .filter(|_| is_file)
                .filter(|name| !name.contains('{'))
                .map(|name| (*name).to_owned()),
        );
    }
    names
}

#[test]
fn the_threat_model_names_every_boundary_of_the_code() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (page, mut files, mut unnamed) = (threat_model(), 0, Vec::new());
    let told: BTreeSet<&str> = named(&page).collect();
    let mut waiting = vec![source.clone()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let file = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                waiting.push(path);
            } else if !file.contains("tests") {
                files += 1;
                let names = to_be_named(&file, &fs::read_to_string(&path).unwrap());
                // The variable by which tests write their expectations anew.
                let names =
                    names.into_iter().filter(|name| name != "ATM_BLESS" && !told.contains(name.as_str()));
                unnamed.extend(names.map(|name| format!("`{name}`, of src/{file}")));
            }
        }
    }
    assert!(files > 200, "only {files} files were read");
    assert!(
        unnamed.is_empty(),
        "say in \"Whom it trusts\" of ARCHITECTURE.md what is done at:\n{}",
        unnamed.join("\n")
    );
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
    let source = "const A_FILE: &str = \"a.json\";\n// \"ATM_COMMENT\"\nlet x = env::var(\"PAGER\").or(f(\"ATM_X\"));\n\
                  TcpListener::bind(at)\n#[cfg(test)]\nmod tests {\n\"ATM_TEST\"";
    let expected = ["ATM_X", "PAGER", "a.json", "cli/a.rs"].map(str::to_owned);
    assert_eq!(to_be_named("cli/a.rs", source), BTreeSet::from(expected));
    assert_eq!(to_be_named("cli/a.rs", "Nothing(\"Of this\")"), BTreeSet::new());
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
