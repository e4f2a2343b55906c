//! What a spec may say, what it means, and what is said about one that may not.

mod meaning;
mod mistakes;
mod texts;

use std::path::Path;

use super::*;
use crate::api::{
    config::{Config, Machine},
    diagnose::Diagnostics,
    name::SessionName,
};

fn parse(text: &str) -> Result<WrittenSpec, Diagnostics> {
    WrittenSpec::parse(text, Path::new("web.yaml"))
}

fn good(text: &str) -> WrittenSpec {
    parse(text).unwrap_or_else(|wrong| panic!("{text}\n{}", wrong.render()))
}

/// What is wrong with it, in one line each.
fn bad(text: &str) -> Vec<String> {
    let wrong = parse(text).expect_err(text);
    assert!(!wrong.0.is_empty());
    wrong.0.iter().map(ToString::to_string).collect()
}

fn meant(text: &str) -> SessionSpec {
    good(text).resolve(&SessionName::new("web").unwrap(), &Config::defaults(Machine { memory: 16 << 30 }))
}

/// Every key, none with its default.
const FULL: &str = r#"command: [claude, --permission-mode, acceptEdits]
workingDir: ~/src/web
env: {CI: "1"}
envFile: [~/.config/atm/keys.env]
user: alice
terminal: {columns: 100, rows: 30}
agent: generic
resume: never
restartPolicy: Always
backoff: {initial: 2s, max: 10m, resetAfter: 20m}
terminationGracePeriod: 1m30s
stopSignal: SIGINT
onChange: Manual
maxIdle: 2h
maxAge: never
maxMemory: 4GiB
maxProcesses: 512
cpuWeight: 50
priority: -3
pinned: true
suspend: true
identity: arch-ctm
owner: alice
slot: chat
labels: {team: web}
"#;
