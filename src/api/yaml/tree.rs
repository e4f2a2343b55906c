//! A document as a tree of values, and where in the file each of them stands.
//!
//! serde's data model has no places, and `flatten`, `untagged` and the like lose those that the parser knows. So
//! the file is read once into a tree, everything wrong is collected as a path into it, and only then is the file
//! walked again to each such path, on purpose failing there: the parser's own error carries the exact place.

use std::{cell::Cell, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::source::Source;

/// One value of a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `~`, `null`, or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; `None` where it is no whole number, or one that people and programs read differently (`012`).
    Number(Option<i128>),
    /// A text, quoted or such that nobody could take it for something else.
    Text(String),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{a: b}`, in the order of the file; keys may be doubled, and may be no text.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "the boolean",
            Self::Number(_) => "the number",
            Self::Text(_) => "the text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// One step from a value to one inside of it, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Of a list.
    Item(usize),
    /// The key of an entry of a mapping; the last step of its path.
    Key(usize),
    /// The value of an entry of a mapping.
    Value(usize),
}

/// The document's only value.
pub(super) fn parse(source: &Source<'_>) -> Result<Node, serde_yaml::Error> {
    // Without aliases, a file of n bytes has at most n + 1 values, and an escape such as `\L` turns two bytes into
    // three. More than that means that something repeats itself.
    let budget = Cell::new(2 * source.parsed().len() + 64);
    Build { source, budget: &budget }.deserialize(serde_yaml::Deserializer::from_str(source.parsed()))
}

#[derive(Clone, Copy)]
struct Build<'a> {
    source: &'a Source<'a>,
    budget: &'a Cell<usize>,
}

impl Build<'_> {
    fn spend<E: de::Error>(&self, cost: usize) -> Result<(), E> {
        match self.budget.get().checked_sub(cost) {
            Some(left) => self.budget.set(left),
            None => return Err(E::custom("more values than the file has room for")),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        self.spend(1)?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A tag such as `!x` is all that the visitor does not take; the scan refuses it before.
        f.write_str("a value without a tag")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(Some(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(Some(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Number(Some(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Number(value.try_into().ok()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Number(None))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        self.spend(text.len())?;
        Ok(Node::Text(self.source.original(text)))
    }

    /// A text that stands in the file as it is. Only there can it be told whether it was quoted.
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Node, E> {
        let whole = self.source.parsed();
        let before = text.as_ptr().addr().wrapping_sub(whole.as_ptr().addr()).wrapping_sub(1);
        let quoted = matches!(whole.as_bytes().get(before), Some(b'"' | b'\''));
        if !quoted && reads_as_number(text) {
            return Ok(Node::Number(None));
        }
        self.visit_str(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(self)? {
            map.push((key, entries.next_value_seed(self)?));
        }
        Ok(Node::Map(map))
    }
}

/// Numbers by YAML 1.2 that the parser gives as text: leading zeros, and more than a float can hold.
fn reads_as_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && (digits.bytes().all(|byte| byte.is_ascii_digit()) || text.parse::<f64>().is_ok())
}

/// The first byte of what stands at `path`, in the text that the parser was given.
pub(super) fn locate(source: &Source<'_>, path: &[Step]) -> Option<usize> {
    let error = Walk(path).deserialize(serde_yaml::Deserializer::from_str(source.parsed())).err()?;
    error.location().map(|location| location.index())
}

struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.0.is_empty() { from.deserialize_any(Here) } else { from.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value that was there before")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Item(wanted), rest)) = self.0.split_first() else {
            return Ok(());
        };
        for _ in 0..*wanted {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Walk(rest)).map(|_| ())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted) | Step::Value(wanted), rest)) = self.0.split_first() else {
            return Ok(());
        };
        for _ in 0..*wanted {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if matches!(self.0.first(), Some(Step::Key(_))) {
            return entries.next_key_seed(Walk(&[])).map(|_| ());
        }
        entries.next_key::<IgnoredAny>()?;
        entries.next_value_seed(Walk(rest))
    }
}

/// Takes no value at all, so that the parser says where it is.
struct Here;

impl Visitor<'_> for Here {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, path::Path};

    use super::*;

    fn source(text: &str) -> Source<'_> {
        Source::new(text.as_bytes(), Path::new("a.yaml")).unwrap()
    }

    #[test]
    fn every_value_and_key_is_found_again() {
        let text = "a: 1\n\"b c\":\n  - x\n  - {d: ~, e: [f]}\ng:\n";
        let source = source(text);
        for (path, expected) in [
            (&[][..], "a: 1"),
            (&[Step::Key(0)][..], "a: 1"),
            (&[Step::Value(0)], "1"),
            (&[Step::Key(1)], "\"b c\""),
            (&[Step::Value(1), Step::Item(0)], "x"),
            (&[Step::Value(1), Step::Item(1), Step::Key(0)], "d: ~"),
            (&[Step::Value(1), Step::Item(1), Step::Value(0)], "~"),
            (&[Step::Value(1), Step::Item(1), Step::Value(1), Step::Item(0)], "f]"),
            (&[Step::Key(2)], "g:"),
        ] {
            let at = locate(&source, path).unwrap();
            assert!(text[at..].starts_with(expected), "{path:?}: {:?}", &text[at..]);
        }
    }

    #[test]
    fn doubled_keys_stay_two_entries() {
        let Ok(Node::Map(entries)) = parse(&source("a: 1\na: 2\n")) else { panic!() };
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn aliases_cannot_make_more_than_the_file_has_room_for() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 9].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
        }
        let text = "x".repeat(20_000);
        let quadratic = format!("a: &a {text}\nb: [{}]\n", vec!["*a"; 10_000].join(", "));
        for text in [bomb, quadratic] {
            let error = parse(&source(&text)).unwrap_err().to_string();
            assert!(error.contains("room"), "{error}");
        }
    }
}
