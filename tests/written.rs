//! The files that ship: schemas are fresh, the commented config says the defaults, every example is a spec.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use atm::api::{
    config::{Config, Machine},
    name::SessionName,
    schema,
    spec::WrittenSpec,
};
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
        let parsed =
            Config::parse(&text, &path, machine).unwrap_or_else(|wrong| panic!("{}", wrong.render()));
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
