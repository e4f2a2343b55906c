//! What mutations begin with: the committed corpus, the files that ship, and what the documentation shows.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Files of a directory, in the order of their names, so that a seed means the same everywhere.
fn files(directory: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The committed inputs of a reader: seeds, and what once failed.
pub fn committed(reader: &str) -> Vec<Vec<u8>> {
    files(&shipped("tests/mutation/corpus").join(reader))
}

/// All that mutations of a reader begin with.
pub fn seeds(reader: &str) -> Vec<Vec<u8>> {
    let mut seeds = committed(reader);
    match reader {
        "spec" => seeds.extend(files(&shipped("examples"))),
        "config" => seeds.push(fs::read(shipped("config/atm.yaml")).unwrap()),
        "request" | "lines" => seeds.extend(spoken('→')),
        "answers" => seeds.extend(spoken('←')),
        _ => {}
    }
    seeds
}

/// What the documentation of the protocol has one side say.
fn spoken(by: char) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(shipped("docs/protocol.md")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(by));
    lines.map(|line| format!("{}\n", line.trim()).into_bytes()).collect()
}
