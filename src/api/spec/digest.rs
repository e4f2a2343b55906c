//! When two specs mean the same.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Agent, Digest, TerminalSize, WrittenBackoff, WrittenSpec, WrittenTerminal};
use crate::api::{defaults, name::SessionName};

/// The keys that only a new run can change.
const LAUNCH: &[&str] = &["command", "env", "envFile", "workingDir", "user", "terminal"];

impl WrittenSpec {
    /// Changes exactly when the meaning changes: not by comments, key order, line ends, or a default written out.
    ///
    /// What depends on the config counts as it is written: a change of the config is not one of the spec.
    pub fn digest(&self) -> Digest {
        digest(&self.keys())
    }

    /// The same without what says no more than where it stands: an identity that is the session's name, a user who is
    /// the file's owner. Of names root's alone is known here.
    #[must_use]
    pub fn without_own(&self, name: &SessionName, owner: u32) -> Self {
        let mut spec = self.clone();
        drop_if(&mut spec.identity, |identity| identity.0 == name.as_str());
        drop_if(&mut spec.user, |user| {
            let user = user.0.as_str();
            user.parse() == Ok(owner) || (user == "root" && owner == 0)
        });
        spec
    }

    /// The digest of what only a new run can change: command, env, envFile, workingDir, user, terminal.
    pub fn launch_digest(&self) -> Digest {
        let mut keys = self.keys();
        keys.retain(|key, _| LAUNCH.contains(&key.as_str()));
        digest(&keys)
    }

    /// What is written and is not a default, by key.
    fn keys(&self) -> BTreeMap<String, Value> {
        match serde_json::to_value(self.normalised()) {
            Ok(Value::Object(keys)) => keys.into_iter().collect(),
            // A struct with text keys is always an object; anything else would still be told apart.
            other => BTreeMap::from([(String::new(), Value::String(format!("{other:?}")))]),
        }
    }

    /// The same meaning with everything left out that is the default anyway.
    fn normalised(&self) -> Self {
        let mut spec = self.clone();
        drop_if(&mut spec.working_dir, |path| path.0 == defaults::WORKING_DIR);
        drop_if(&mut spec.env, |env| env.0.is_empty());
        drop_if(&mut spec.env_file, |paths| paths.0.is_empty());
        drop_if(&mut spec.labels, |labels| labels.0.is_empty());
        spec.terminal = spec.terminal.and_then(normal_terminal);
        drop_if(&mut spec.agent, |agent| *agent == Agent::of(self.command.words()));
        drop_if(&mut spec.resume, |resume| *resume == defaults::RESUME);
        drop_if(&mut spec.restart_policy, |policy| *policy == defaults::RESTART_POLICY);
        spec.backoff = spec.backoff.and_then(normal_backoff);
        drop_if(&mut spec.termination_grace_period, |grace| *grace == defaults::TERMINATION_GRACE_PERIOD);
        drop_if(&mut spec.stop_signal, |signal| *signal == defaults::STOP_SIGNAL);
        drop_if(&mut spec.on_change, |change| *change == defaults::ON_CHANGE);
        drop_if(&mut spec.max_processes, |limit| limit.map(|count| count.0) == defaults::MAX_PROCESSES);
        drop_if(&mut spec.cpu_weight, |weight| weight.0 == defaults::CPU_WEIGHT);
        drop_if(&mut spec.priority, |priority| *priority == defaults::PRIORITY);
        drop_if(&mut spec.pinned, |pinned| !pinned);
        drop_if(&mut spec.suspend, |suspend| !suspend);
        spec
    }
}

fn drop_if<T>(value: &mut Option<T>, is_default: impl FnOnce(&T) -> bool) {
    if value.as_ref().is_some_and(is_default) {
        *value = None;
    }
}

fn normal_terminal(written: WrittenTerminal) -> Option<WrittenTerminal> {
    let WrittenTerminal::Size(mut size) = written else {
        return (written == WrittenTerminal::Wanted(false)).then_some(written);
    };
    drop_if(&mut size.columns, |columns| columns.0 == defaults::COLUMNS);
    drop_if(&mut size.rows, |rows| rows.0 == defaults::ROWS);
    (size != TerminalSize::default()).then_some(WrittenTerminal::Size(size))
}

fn normal_backoff(mut written: WrittenBackoff) -> Option<WrittenBackoff> {
    drop_if(&mut written.initial, |initial| *initial == defaults::BACKOFF.initial);
    drop_if(&mut written.max, |max| *max == defaults::BACKOFF.max);
    drop_if(&mut written.reset_after, |reset| *reset == defaults::BACKOFF.reset_after);
    (written != WrittenBackoff::default()).then_some(written)
}

fn digest(keys: &BTreeMap<String, Value>) -> Digest {
    let mut text = String::new();
    for (key, value) in keys {
        text.push_str(&Value::from(key.as_str()).to_string());
        canonical(value, &mut text);
    }
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Digest(hex)
}

/// JSON with sorted keys. Whether `serde_json` sorts them depends on who else asks it to keep their order.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            text.push('{');
            let sorted: BTreeMap<_, _> = map.iter().collect();
            for (key, value) in sorted {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
