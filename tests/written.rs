//! The files that ship: schemas are fresh, the commented config says the defaults, every example is a spec.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use atm::api::{
    config::{Config, Machine},
    name::SessionName,
    schema,
    spec::WrittenSpec,
};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

const MACHINE: Machine = Machine { memory: 24 << 30 };

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Committed files that are made: compared, or written anew with `ATM_BLESS=1`.
fn assert_fresh(path: &str, made: &str) {
    let path = shipped(path);
    if std::env::var_os("ATM_BLESS").is_some() {
        fs::write(&path, made).unwrap();
    }
    assert!(read(&path) == made, "{} is stale: ATM_BLESS=1 cargo test --test written", path.display());
}

#[test]
fn schemas_are_fresh() {
    assert_fresh("config/schema/session.json", &schema::session());
    assert_fresh("config/schema/config.json", &schema::config());
}

fn keys(schema: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_commented_config_says_the_defaults() {
    let path = shipped("config/atm.yaml");
    let text = read(&path);
    for machine in [MACHINE, Machine { memory: 1 << 30 }] {
        let mut parsed =
            Config::parse(&text, &path, machine).unwrap_or_else(|wrong| panic!("{}", wrong.render()));
        parsed.written.clear();
        assert_eq!(parsed, Config::defaults(machine));
    }
    for key in keys(&schema::config()) {
        let stands = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key}:"));
        assert!(text.lines().any(stands), "{key} is not in config/atm.yaml");
    }
}

#[test]
fn the_commented_lines_of_the_config_are_good_too() {
    let path = shipped("config/atm.yaml");
    let text = read(&path).replace("# maxIdle", "maxIdle").replace("# maxAge", "maxAge");
    let parsed = Config::parse(&text, &path, MACHINE).unwrap_or_else(|wrong| panic!("{}", wrong.render()));
    assert!(parsed.max_idle.is_some() && parsed.max_age.is_some());
}

#[test]
fn every_example_is_a_spec() {
    let config = Config::defaults(MACHINE);
    let mut names = Vec::new();
    for entry in fs::read_dir(shipped("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = read(&path);
        let spec = WrittenSpec::parse(&text, &path).unwrap_or_else(|wrong| panic!("{}", wrong.render()));
        let name = SessionName::new(path.file_stem().unwrap().to_str().unwrap()).unwrap();
        let session = spec.resolve(&name, &config);
        let schema = "# yaml-language-server: $schema=../config/schema/session.json\n";
        assert!(text.starts_with(schema), "{name} has no schema line");
        // What a fresh clone runs must run anywhere.
        let program = session.command[0].as_str();
        assert!(session.suspend || program == "sh", "{name} needs {program}");
        names.push(name.to_string());
    }
    names.sort();
    assert_eq!(names, ["build-watch", "claude", "codex", "once", "shell"]);
}

#[test]
fn schemas_promise_what_the_reader_keeps() {
    for (schema, required) in [(schema::session(), vec!["command"]), (schema::config(), vec![])] {
        assert!(!schema.contains("null") && !schema.contains("$ref"), "{schema}");
        let schema: Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        let named = schema["required"].as_array().cloned().unwrap_or_default();
        assert_eq!(named, required.into_iter().map(Value::from).collect::<Vec<_>>());
        for (key, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{key} is not described");
            let nested = property.get("properties").is_some();
            assert!(!nested || property["additionalProperties"] == false, "{key} takes anything");
        }
    }
}

/// Files of the largest size, each made to cost as much as it can.
fn hostile() -> Vec<(&'static str, String)> {
    const SIZE: usize = 64 * 1024;
    let filled = |unit: &str| unit.repeat(SIZE / unit.len());
    let after = |head: &str, unit: &str| format!("{head}{}", unit.repeat((SIZE - head.len()) / unit.len()));
    let staircase = (0..355).map(|level| " ".repeat(level) + "a:\n").collect::<Vec<_>>().concat();
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", "))
    });
    let repeated = format!("a: &a {}\nb: [{}]\n", "x".repeat(30_000), vec!["*a"; 8_000].join(", "));
    let numbered = |line: &dyn Fn(usize) -> String| {
        let mut text = "command: [x]\nenv:\n".to_owned();
        for line in (0..).map(line).take_while(|line| line.len() < 100) {
            if text.len() + line.len() > SIZE {
                break;
            }
            text.push_str(&line);
        }
        text
    };
    vec![
        ("brackets", filled("[")),
        ("braces", filled("{a: ")),
        ("closed brackets", after("command: [", "[], ")),
        ("pairs", after("command: [", "a: b, ")),
        ("lists on a line", filled("- ")),
        ("complex keys", filled("? ")),
        ("staircase", staircase),
        ("list items", filled("- a\n")),
        ("keys without end", filled("a:\n")),
        ("doubled keys", after("command: x\n", "a: b\n")),
        ("alias bomb", bomb),
        ("long alias", repeated),
        ("unknown keys", numbered(&|index| format!("k{index}: x\n"))),
        ("bad values", numbered(&|index| format!("  k{index}: {index}\n"))),
        ("good values", numbered(&|index| format!("  k{index}: '{index}'\n"))),
        ("one long word", format!("command: {}", "x".repeat(SIZE - 9))),
        ("one long key", format!("{}: x", "x".repeat(SIZE - 3))),
        ("one long unknown word", format!("command: x\nagent: {}", "é".repeat(SIZE / 2 - 20))),
        ("quotes", after("command: ", "'' ")),
        ("an open quote", after("command: \"", "a\n")),
        ("escapes", after("command: \"", "\\L")),
        ("folded lines", after("command: >\n", " a\n\n")),
        ("a plain text of lines", after("command: x\n", "  y\n")),
        ("comments", filled("# x\n")),
        ("blanks", filled(" ")),
        ("line ends", filled("\n")),
        ("colons", filled(":")),
        ("dashes", filled("-")),
        ("documents", filled("---\n")),
        ("directives", filled("%Y\n")),
        ("tabs", filled("\t")),
        ("commas", after("command: [", ",")),
        ("former line ends", filled("\u{2028}")),
        ("tags", after("command: !", "x")),
        ("shell words", after("command: ", "a ")),
    ]
}

#[test]
fn no_file_costs_more_than_moments() {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    // Two reads of unoptimised code; optimised they are a tenth. A linear scan has to end these before the parser
    // sees them; a file of ten thousand mistakes may cost a walk for each mistake that is told.
    let limit = |what: &str| match what {
        "brackets" | "braces" | "lists on a line" | "complex keys" | "staircase" | "alias bomb"
        | "long alias" => Duration::from_millis(50),
        _ => Duration::from_secs(3),
    };
    for (what, text) in hostile() {
        assert!(text.len() <= 64 * 1024, "{what}");
        let start = now();
        let spec = WrittenSpec::parse(&text, Path::new("web.yaml"));
        let config = Config::parse(&text, Path::new("atm.yaml"), MACHINE);
        let took = now().saturating_sub(start);
        assert!(took < limit(what), "{what} took {took:?} of processor time");
        for wrong in spec.err().into_iter().chain(config.err()) {
            assert!(wrong.0.len() <= 10 && wrong.render().len() < 16 * 1024, "{what}");
        }
    }
}
