//! Which sessions a command means: names, labels, or all.

use std::{collections::BTreeMap, str::FromStr};

use super::complete;
use crate::api::{
    name::SessionName,
    status::{Origin, SessionView},
};

/// Conditions on labels, all of which must hold: `team=web,tier!=test,owner,!draft`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Equals(String, String),
    Differs(String, String),
    Exists(String),
    Absent(String),
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no condition on a label: write label=value, label!=value, label or !label", .0.escape_default())]
pub struct SelectorError(String);

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        text.split(',')
            .map(|part| condition(part.trim()).ok_or_else(|| SelectorError(part.into())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn condition(part: &str) -> Option<Condition> {
    let word = |text: &str| {
        let text = text.trim();
        (!text.is_empty()
            && !text.contains(|c: char| matches!(c, '=' | '!' | '(' | ')') || c.is_whitespace()))
        .then(|| text.to_owned())
    };
    if let Some((label, value)) = part.split_once("!=") {
        return Some(Condition::Differs(word(label)?, value.trim().to_owned()));
    }
    if let Some((label, value)) = part.split_once('=') {
        // `==` is what other tools accept too.
        let value = value.strip_prefix('=').unwrap_or(value);
        return Some(Condition::Equals(word(label)?, value.trim().to_owned()));
    }
    match part.strip_prefix('!') {
        Some(label) => Some(Condition::Absent(word(label)?)),
        None => Some(Condition::Exists(word(part)?)),
    }
}

impl Selector {
    /// Whether all conditions hold.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Equals(label, value) => labels.get(label) == Some(value),
            Condition::Differs(label, value) => labels.get(label) != Some(value),
            Condition::Exists(label) => labels.contains_key(label),
            Condition::Absent(label) => !labels.contains_key(label),
        })
    }

    /// Whether a session's labels match. One whose spec was never good has none.
    pub fn admits(&self, session: &SessionView) -> bool {
        match &session.spec {
            Some(spec) => self.matches(&spec.labels),
            None => self.matches(&BTreeMap::new()),
        }
    }
}

/// Which sessions to act on; exactly one way of saying it.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[group(id = "targets", required = true, multiple = false)]
pub struct Targets {
    /// Names of sessions
    #[arg(value_name = "NAME", add = complete::sessions())]
    pub names: Vec<SessionName>,
    /// Sessions with these labels: label=value, label!=value, label, !label; several with commas
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<Selector>,
    /// Every declared session: one that registered itself is meant by its name only
    #[arg(long)]
    pub all: bool,
}

impl Targets {
    /// Whether a session is meant.
    pub fn admits(&self, session: &SessionView) -> bool {
        // What a person started by hand is not ended by the way.
        let by_rule = self.all || self.selector.as_ref().is_some_and(|selector| selector.admits(session));
        self.names.contains(&session.name) || (by_rule && session.origin == Origin::Declared)
    }

    /// The names, each once, in the order given.
    pub fn distinct_names(&self) -> Vec<SessionName> {
        distinct(&self.names)
    }
}

/// Each name once, in the order given.
pub fn distinct(names: &[SessionName]) -> Vec<SessionName> {
    let mut distinct: Vec<SessionName> = Vec::with_capacity(names.len());
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_a_list_of_conditions() {
        let labels: BTreeMap<String, String> =
            [("team", "web"), ("tier", "prod")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (text, holds) in [
            ("team=web", true),
            ("team==web", true),
            ("team=api", false),
            ("team!=api", true),
            ("other!=x", true),
            ("team!=web", false),
            ("team", true),
            ("other", false),
            ("!other", true),
            ("!team", false),
            ("team=web, tier!=test", true),
            ("team=web,tier=test", false),
            ("team=", false),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&labels), holds, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", ",", "=x", "!=x", "!", "a!b", "a=b,,c", "team in (a,b)", "!team in (a)", "a b"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
        let error = "\u{1b}!".parse::<Selector>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'));
    }
}
