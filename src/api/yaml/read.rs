//! From a tree to typed values, field by field, collecting everything that is wrong on the way.

use std::collections::BTreeMap;

use super::{
    problem::{Found, Problem, Problems},
    tree::{Node, Step},
    words::{did_you_mean, same_word},
};
use crate::api::{diagnose::escape, quantity::Wrong};

/// A value that can be read from a document. Where it cannot, the reason goes to the place's problems.
pub trait Read: Sized {
    /// Reads what stands at `place`; `None` when a problem was reported.
    fn read(place: &Place<'_>) -> Option<Self>;
}

/// A value of a document and the way to it.
#[derive(Clone)]
pub struct Place<'d> {
    node: &'d Node,
    steps: Vec<Step>,
    path: String,
    problems: &'d Problems,
    /// What may stand here too.
    also: Vec<&'static str>,
}

impl<'d> Place<'d> {
    pub(super) fn root(node: &'d Node, problems: &'d Problems) -> Self {
        Self { node, steps: Vec::new(), path: String::new(), problems, also: Vec::new() }
    }

    /// The value.
    pub fn node(&self) -> &'d Node {
        self.node
    }

    fn inner(&self, node: &'d Node, step: Step, name: &str) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self { node, steps, path: format!("{}{name}", self.path), problems: self.problems, also: Vec::new() }
    }

    fn entry(&self, index: usize, key: &str, value: &'d Node) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.inner(value, Step::Value(index), &format!("{dot}{}", escape(key)))
    }

    fn problem(&self, message: impl Into<String>, found: Found, hint: Option<String>) -> Problem {
        Problem {
            steps: self.steps.clone(),
            path: self.path.clone(),
            message: message.into(),
            found,
            hint,
            other: None,
        }
    }

    /// Reports something wrong here, in words that quote nothing.
    pub fn refuse(&self, message: impl Into<String>, hint: Option<String>) {
        self.problems.add(self.problem(message, Found::Nothing, hint));
    }

    /// The same place, where something else may stand as well: "`never`". A message about it says so.
    #[must_use]
    pub fn or(&self, what: &'static str) -> Self {
        let mut place = self.clone();
        place.also.push(what);
        place
    }

    /// Reports that the value is not what was expected; the message shows what is there.
    pub fn wrong(&self, wrong: &Wrong) {
        let mut message = wrong.to_string();
        let mut hint = wrong.hint.clone();
        if let Some((last, others)) = self.also.split_last() {
            message.extend(others.iter().flat_map(|what| [", ", what]));
            message.extend([", or ", last]);
            if matches!(*last, "`never`" | "`off`") && self.means_none() {
                hint = Some(format!("{last} switches it off"));
            }
        }
        if *self.node == Node::Null {
            hint = Some("give it a value, or leave the key out".to_owned());
        }
        self.problems.add(self.problem(message, Found::value(self.node), hint));
    }

    /// What other tools take for "no limit".
    fn means_none(&self) -> bool {
        match self.node {
            Node::Bool(false) | Node::Number(Some(0 | -1)) => true,
            Node::Text(text) => matches!(
                text.to_lowercase().as_str(),
                "0" | "0s" | "off" | "no" | "none" | "false" | "never" | "unlimited" | "infinity" | "max"
            ),
            _ => false,
        }
    }

    /// Reports a bad key of this mapping.
    fn bad_key(&self, index: usize, message: &str, found: Found, hint: Option<String>) -> Problem {
        let mut problem = self.problem(message, found, hint);
        problem.steps.push(Step::Key(index));
        problem
    }

    /// The text here, which must be one in YAML as well: `8080` and `true` are not.
    pub fn text(&self, expected: &str) -> Option<&'d str> {
        match self.node {
            Node::Text(text) if text.contains('\0') => {
                self.refuse("a NUL character cannot stand in a value", None);
                None
            }
            Node::Text(text) => Some(text),
            other => {
                let wrong = Wrong::expected(expected);
                self.wrong(&match other {
                    Node::Bool(_) | Node::Number(_) => wrong.hint("put it in quotes to make it a text"),
                    _ => wrong,
                });
                None
            }
        }
    }

    /// The items of the list here.
    pub fn items(&self) -> Option<Vec<Place<'d>>> {
        let Node::List(items) = self.node else { return None };
        let place = |(index, item)| self.inner(item, Step::Item(index), &format!("[{index}]"));
        Some(items.iter().enumerate().map(place).collect())
    }

    /// The mapping here with names of the file's own choice, such as `env`. A bad entry is reported and left out.
    pub fn names<T: Read>(
        &self,
        expected: &str,
        rule: impl Fn(&str) -> Result<(), Wrong>,
    ) -> Option<BTreeMap<String, T>> {
        let Node::Map(entries) = self.node else {
            self.wrong(&Wrong::expected(expected));
            return None;
        };
        let before = self.problems.len();
        let mut read = BTreeMap::new();
        for (index, (key, value)) in entries.iter().enumerate() {
            if self.problems.full() {
                break;
            }
            // A key that is no text is reported with the keys of the whole document.
            let Node::Text(name) = key else { continue };
            if let Err(wrong) = rule(name) {
                self.problems.add(self.bad_key(
                    index,
                    &wrong.to_string(),
                    Found::Value("the name", Some(name.clone())),
                    wrong.hint,
                ));
            }
            if let Some(value) = T::read(&self.entry(index, name, value)) {
                read.insert(name.clone(), value);
            }
        }
        (self.problems.len() == before).then_some(read)
    }

    /// Reports every key of the document that is doubled, merged or no text.
    pub(super) fn check_keys(&self) {
        for item in self.items().unwrap_or_default() {
            item.check_keys();
        }
        let Node::Map(entries) = self.node else { return };
        let mut seen = BTreeMap::new();
        for (index, (key, value)) in entries.iter().enumerate() {
            if self.problems.full() {
                return;
            }
            let Node::Text(name) = key else {
                let hint = "put it in quotes to make it a text".to_owned();
                self.problems.add(self.bad_key(
                    index,
                    "expected a text as key",
                    Found::value(key),
                    Some(hint),
                ));
                continue;
            };
            if name == "<<" {
                let hint = "write the keys out".to_owned();
                self.problems.add(self.bad_key(
                    index,
                    "merge keys are not supported",
                    Found::Nothing,
                    Some(hint),
                ));
            } else if let Some(first) = seen.get(name) {
                let mut problem = self.bad_key(index, "duplicate key", Found::Key(name.clone()), None);
                problem.other = Some([self.steps.as_slice(), &[Step::Key(*first)]].concat());
                self.problems.add(problem);
            } else {
                seen.insert(name, index);
            }
            self.entry(index, name, value).check_keys();
        }
    }
}

/// The mapping at a place, read key by key: [`Fields::close`] reports those that nobody asked for.
pub struct Fields<'d> {
    place: Place<'d>,
    entries: &'d [(Node, Node)],
    asked: Vec<&'static str>,
    missing: Vec<(&'static str, Problem)>,
}

impl<'d> Fields<'d> {
    /// The mapping at `place`; `None` when it is none, reported.
    pub fn open(place: &Place<'d>, expected: &str) -> Option<Self> {
        let Node::Map(entries) = place.node else {
            place.wrong(&Wrong::expected(expected));
            return None;
        };
        Some(Self { place: place.clone(), entries, asked: Vec::new(), missing: Vec::new() })
    }

    /// The value of `key`, where it is written and good.
    pub fn get<T: Read>(&mut self, key: &'static str) -> Option<T> {
        T::read(&self.find(key)?)
    }

    /// The value of `key`, which must be written. `hint` says what to do where it is not.
    pub fn require<T: Read>(&mut self, key: &'static str, hint: &str) -> Option<T> {
        if let Some(place) = self.find(key) {
            return T::read(&place);
        }
        let mut problem =
            self.place.problem(format!("the key `{key}` is missing"), Found::Nothing, Some(hint.into()));
        // Indented by accident, it is a key of something else.
        problem.other = self.misplaced(key);
        if problem.other.is_some() {
            problem.hint = Some(format!("`{key}` belongs to another key: check the indentation of"));
        }
        self.missing.push((key, problem));
        None
    }

    /// Where `key` stands, if it is written.
    pub fn find(&mut self, key: &'static str) -> Option<Place<'d>> {
        self.asked.push(key);
        let is_key = |(found, _): &(Node, Node)| matches!(found, Node::Text(text) if text == key);
        let index = self.entries.iter().position(is_key)?;
        let (_, value) = self.entries.get(index)?;
        Some(self.place.entry(index, key, value))
    }

    fn misplaced(&self, key: &str) -> Option<Vec<Step>> {
        self.entries.iter().enumerate().find_map(|(outer, (_, value))| {
            let Node::Map(inner) = value else { return None };
            let at = inner.iter().position(|(found, _)| matches!(found, Node::Text(text) if text == key))?;
            Some([self.place.steps.as_slice(), &[Step::Value(outer), Step::Key(at)]].concat())
        })
    }

    /// Reports every key that was not asked for. `known_elsewhere` has advice for words of other tools.
    pub fn close(mut self, known_elsewhere: &[(&str, &str)]) {
        for (index, (key, _)) in self.entries.iter().enumerate() {
            let Node::Text(name) = key else { continue };
            if self.place.problems.full() {
                break;
            }
            if self.asked.contains(&name.as_str()) || name == "<<" {
                continue;
            }
            let advice = known_elsewhere.iter().find(|(word, _)| same_word(word, name));
            let hint = match advice {
                Some((_, advice)) => Some((*advice).to_owned()),
                None => did_you_mean(name, &self.asked).or_else(|| known(&self.asked)),
            };
            // Written with a mistake, it is not missing as well.
            if let Some(hint) = &hint {
                self.missing.retain(|(key, _)| !hint.contains(&format!("`{key}`")));
            }
            let found = Found::Key(name.clone());
            self.place.problems.add(self.place.bad_key(index, "unknown key", found, hint));
        }
        for (_, problem) in self.missing {
            self.place.problems.add(problem);
        }
    }
}

/// What may be written instead.
fn known(keys: &[&str]) -> Option<String> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    (!keys.is_empty()).then(|| format!("known here: {}", keys.join(", ")))
}

impl Read for bool {
    fn read(place: &Place<'_>) -> Option<Self> {
        if let Node::Bool(value) = place.node {
            return Some(*value);
        }
        let hint = match place.node {
            Node::Text(text) => match text.to_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => Some("write `true`"),
                "no" | "off" | "n" | "false" => Some("write `false`"),
                _ => None,
            },
            _ => None,
        };
        place.wrong(&Wrong { expected: "`true` or `false`".into(), hint: hint.map(str::to_owned) });
        None
    }
}

impl Read for String {
    fn read(place: &Place<'_>) -> Option<Self> {
        place.text("a text").map(str::to_owned)
    }
}
