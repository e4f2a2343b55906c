//! Names, paths, commands and variables.

use std::{borrow::Cow, collections::BTreeMap, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::parsed;
use crate::api::{
    diagnose::unprintable,
    quantity::Wrong,
    record::ENV_HOOKS,
    yaml::{
        read::{Place, Read},
        tree::Node,
    },
};

/// Longest identity, owner, slot, label or user name, in bytes.
pub const MAX_WORD: usize = 253;

fn printable(text: &str, what: &str) -> Result<(), Wrong> {
    let good = text.len() <= MAX_WORD && !text.contains(unprintable) && text.trim() == text;
    if good { Ok(()) } else { Err(Wrong::expected(format!("{what} of at most {MAX_WORD} printable bytes"))) }
}

/// A name for people: printable, at most [`MAX_WORD`] bytes, without blanks around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Word(pub String);

impl FromStr for Word {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Err(Wrong::expected("a name").hint("leave the key out to mean none"));
        }
        printable(text, "a name").map(|()| Self(text.to_owned()))
    }
}

impl Read for Word {
    fn read(place: &Place<'_>) -> Option<Self> {
        parsed(place, "a name")
    }
}

impl JsonSchema for Word {
    inline_schema!("Word", _generator => json_schema!({
        "type": "string", "minLength": 1, "maxLength": MAX_WORD, "pattern": r"^\S(.*\S)?$"
    }));
}

/// The name of a user of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UserName(pub String);

impl FromStr for UserName {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::expected("the name of a user");
        let unusual = |c: char| c.is_whitespace() || unprintable(c) || matches!(c, ':' | '/' | ',');
        if text.is_empty() || text.starts_with('-') || text.len() > MAX_WORD || text.contains(unusual) {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Read for UserName {
    fn read(place: &Place<'_>) -> Option<Self> {
        parsed(place, "the name of a user")
    }
}

impl JsonSchema for UserName {
    inline_schema!("UserName", _generator => json_schema!({
        "type": "string", "maxLength": MAX_WORD, "pattern": r"^[^\s:/,-][^\s:/,]*$"
    }));
}

/// Longest path, as the kernel has it.
const MAX_PATH: usize = 4095;

/// A path that does not depend on where the daemon was started: absolute, or by `~` or `${VAR}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FixedPath(pub String);

impl FixedPath {
    const EXPECTED: &str = "a path that begins with `/`, `~` or `${VAR}`";
}

impl FromStr for FixedPath {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if text.len() > MAX_PATH {
            return Err(Wrong::expected(format!("a path of at most {MAX_PATH} bytes")));
        }
        if text.starts_with(['/', '~']) || text.starts_with("${") {
            return Ok(Self(text.to_owned()));
        }
        let wrong = Wrong::expected(Self::EXPECTED);
        Err(if text.is_empty() { wrong } else { wrong.hint("`~/` in front of it means the user's home") })
    }
}

impl Read for FixedPath {
    fn read(place: &Place<'_>) -> Option<Self> {
        parsed(place, Self::EXPECTED)
    }
}

impl JsonSchema for FixedPath {
    inline_schema!("Path", _generator => json_schema!({
        "type": "string", "maxLength": MAX_PATH, "pattern": r"^(/|~|\$\{)"
    }));
}

/// One path or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Paths(pub Vec<FixedPath>);

impl Read for Paths {
    fn read(place: &Place<'_>) -> Option<Self> {
        match place.items() {
            Some(items) => items.iter().map(FixedPath::read).collect::<Option<_>>().map(Self),
            None => FixedPath::read(place).map(|path| Self(vec![path])),
        }
    }
}

impl JsonSchema for Paths {
    inline_schema!("Paths", generator => {
        let path = FixedPath::json_schema(generator);
        json_schema!({"anyOf": [path, {"type": "array", "items": path}]})
    });
}

/// A program and its arguments: a list, or one text that is split into words as a shell does. No shell runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Command(Vec<String>);

impl Command {
    const EXPECTED: &str = "a command as a list or a text";

    /// The words; never empty, and the first one, the program, is not either.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl Read for Command {
    fn read(place: &Place<'_>) -> Option<Self> {
        let words = if let Some(items) = place.items() {
            // Each is read before any is missed, so that every bad one is told.
            let words: Vec<Option<String>> = items.iter().map(String::read).collect();
            words.into_iter().collect::<Option<Vec<_>>>()?
        } else if let Ok(words) = shell_words::split(place.text(Self::EXPECTED)?) {
            words
        } else {
            let hint = "or write it as a list, one item a word: `[program, argument]`";
            place.refuse("a quote in the command is not closed", Some(hint.into()));
            return None;
        };
        if words.first().is_none_or(String::is_empty) {
            let message = if words.is_empty() { "the command is empty" } else { "the program has no name" };
            place.refuse(message, Some("write what to run: `[claude]`".into()));
            return None;
        }
        Some(Self(words))
    }
}

impl JsonSchema for Command {
    inline_schema!("Command", _generator => json_schema!({
        "anyOf": [
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "string", "pattern": r"\S"}
        ]
    }));
}

/// Names that the daemon or systemd give a meaning to; inherited, they would act on the daemon's behalf.
const RESERVED: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MAINPID",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
    "FDSTORE",
    "CREDENTIALS_DIRECTORY",
];

/// Variables of the environment, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Env(pub BTreeMap<String, String>);

impl Env {
    fn rule(name: &str) -> Result<(), Wrong> {
        if (name.starts_with("ATM_") && name != ENV_HOOKS) || RESERVED.contains(&name) {
            return Err(
                Wrong::expected("a name that a session may set").hint("atm and systemd set it themselves")
            );
        }
        let good = !name.is_empty() && !name.contains('=') && !name.contains(unprintable);
        if good { Ok(()) } else { Err(Wrong::expected("the name of a variable, without `=`")) }
    }
}

impl Read for Env {
    fn read(place: &Place<'_>) -> Option<Self> {
        let hint = "write each as `NAME: \"value\"`";
        if let Node::List(_) = place.node() {
            place.wrong(&Wrong::expected("a mapping of names to texts").hint(hint));
            return None;
        }
        place.names("a mapping of names to texts", Self::rule).map(Self)
    }
}

impl JsonSchema for Env {
    inline_schema!("Env", _generator => json_schema!({
        "type": "object",
        "propertyNames": {
            "pattern": "^[^=\\u0000-\\u001f]+$",
            "not": {"anyOf": [{"pattern": "^ATM_", "not": {"const": ENV_HOOKS}}, {"enum": RESERVED}]}
        },
        "additionalProperties": {"type": "string"}
    }));
}

/// Labels, for selection by people: `-l team=web`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

/// What a label's value may be: what a selector can say.
struct LabelValue(String);

impl Labels {
    fn rule(name: &str) -> Result<(), Wrong> {
        if name.is_empty() || name.contains(['=', '!', ',']) || name.contains(char::is_whitespace) {
            return Err(Wrong::expected("a label's name, without blanks, `,`, `=` and `!`"));
        }
        printable(name, "a label's name")
    }
}

impl Read for LabelValue {
    fn read(place: &Place<'_>) -> Option<Self> {
        let text = place.text("a label's value")?;
        let rule = if text.contains(',') {
            Err(Wrong::expected("a label's value without `,`"))
        } else {
            printable(text, "a label's value")
        };
        match rule {
            Ok(()) => Some(Self(text.to_owned())),
            Err(wrong) => {
                place.wrong(&wrong);
                None
            }
        }
    }
}

impl Read for Labels {
    fn read(place: &Place<'_>) -> Option<Self> {
        let read: BTreeMap<String, LabelValue> = place.names("a mapping of names to texts", Self::rule)?;
        Some(Self(read.into_iter().map(|(name, value)| (name, value.0)).collect()))
    }
}

impl JsonSchema for Labels {
    inline_schema!("Labels", _generator => json_schema!({
        "type": "object",
        "propertyNames": {"pattern": r"^[^\s=!,]+$", "maxLength": MAX_WORD},
        "additionalProperties": {"type": "string", "maxLength": MAX_WORD, "pattern": "^[^,]*$"}
    }));
}
