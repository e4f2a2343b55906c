//! The signal that a stop begins with.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::api::{
    quantity::Wrong,
    yaml::{
        read::{Place, Read},
        tree::Node,
        words::did_you_mean,
    },
};

/// A signal by which a session may be asked to stop: `TERM`, `SIGTERM` or `15`, shown as `TERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StopSignal(pub i32);

/// Names of signals without `SIG`, by number on Linux (x86, arm, riscv).
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// What no process can act on, and so no stop can begin with.
const UNSTOPPABLE: [&str; 2] = ["KILL", "STOP"];

impl std::str::FromStr for StopSignal {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        SIGNALS
            .iter()
            .find(|(known, number)| *known == name || number.to_string() == name)
            .map(|(_, number)| Self(*number))
            .ok_or_else(|| {
                format!("`{}` is no signal: use a name such as TERM, INT or HUP", text.escape_default())
            })
    }
}

impl std::fmt::Display for StopSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match SIGNALS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl TryFrom<String> for StopSignal {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StopSignal> for String {
    fn from(signal: StopSignal) -> Self {
        signal.to_string()
    }
}

impl Read for StopSignal {
    fn read(place: &Place<'_>) -> Option<Self> {
        let wrong = Wrong::expected("a signal such as `TERM`, `INT` or `HUP`");
        let text = match place.node() {
            Node::Number(Some(number)) => Cow::Owned(number.to_string()),
            _ => Cow::Borrowed(place.text("a signal such as `TERM`, `INT` or `HUP`")?),
        };
        let signal: Option<Self> = text.parse().ok();
        match signal {
            Some(signal) if UNSTOPPABLE.contains(&signal.to_string().as_str()) => {
                let hint = "SIGKILL follows by itself after terminationGracePeriod";
                place.wrong(&Wrong::expected("a signal that a program can act on").hint(hint));
                None
            }
            Some(signal) => Some(signal),
            None => {
                let names: Vec<&str> = stoppable().collect();
                place.wrong(&Wrong { hint: did_you_mean(&text, &names), ..wrong });
                None
            }
        }
    }
}

fn stoppable() -> impl Iterator<Item = &'static str> {
    SIGNALS.iter().map(|(name, _)| *name).filter(|name| !UNSTOPPABLE.contains(name))
}

impl JsonSchema for StopSignal {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "StopSignal".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = stoppable().collect();
        let prefixed = format!("^SIG({})$", names.join("|"));
        json_schema!({
            "anyOf": [
                {"enum": names},
                {"type": "string", "pattern": prefixed},
                {"type": "integer", "minimum": 1, "maximum": 31, "not": {"enum": [9, 19]}}
            ]
        })
    }
}
