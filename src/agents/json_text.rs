//! A JSON text as it is written: where its values stand, so that one is added or taken out and every other byte stays.
//!
//! What is put in can be told by its layout when it is taken out again, so that nothing else has to be remembered:
//! - what goes into an empty `{}` or `[]` of somebody's stands one space behind the bracket, on one line;
//! - what goes behind somebody's last value has its layout;
//! - an object or array that is put in whole has none of its own spaces on one line, or each value on a line of its own.

use std::ops::Range;

use serde_json::Value;

/// A value and its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// From its first byte to behind its last.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// An object, in the order of the text.
    Object(Vec<Member>),
    /// An array.
    Array(Vec<Node>),
    /// A text.
    Text(String),
    /// A number, a truth value or nothing.
    Other,
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its key.
    pub key: String,
    /// From the key's quote to behind the value.
    pub span: Range<usize>,
    /// Its value.
    pub value: Node,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    /// What was expected, or found.
    pub message: String,
}

/// Reads a whole text.
pub fn parse(text: &str) -> Result<Node, Wrong> {
    let whole: Result<Value, _> = serde_json::from_str(text);
    if let Err(error) = whole {
        let told = error.to_string();
        let message = told.rsplit_once(" at line ").map_or(told.as_str(), |(message, _)| message).to_owned();
        return Err(Wrong { line: error.line().max(1), column: error.column().max(1), message });
    }
    let mut scan = Scan { text, at: 0 };
    scan.space();
    scan.value().ok_or_else(|| wrong_at(text, scan.at, "cannot tell where its values stand"))
}

/// What is wrong at a place of the text.
pub fn wrong_at(text: &str, at: usize, message: &str) -> Wrong {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
    Wrong { line, column, message: message.to_owned() }
}

impl Node {
    /// The member of this key; of several the last, as every reader has it.
    pub fn member(&self, key: &str) -> Option<&Member> {
        match &self.kind {
            Kind::Object(members) => members.iter().rfind(|member| member.key == key),
            Kind::Array(_) | Kind::Text(_) | Kind::Other => None,
        }
    }

    /// The value of this key, where it is a text.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        match &self.member(key)?.value.kind {
            Kind::Text(text) => Some(text),
            Kind::Object(_) | Kind::Array(_) | Kind::Other => None,
        }
    }

    /// The places of what an object or an array holds.
    fn places(&self) -> Vec<Range<usize>> {
        match &self.kind {
            Kind::Object(members) => members.iter().map(|member| member.span.clone()).collect(),
            Kind::Array(items) => items.iter().map(|item| item.span.clone()).collect(),
            Kind::Text(_) | Kind::Other => Vec::new(),
        }
    }
}

/// Reads a text that is known to be JSON; `None` would mean that it is not.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over `byte`, and the space behind it, if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        if is {
            self.at += 1;
            self.space();
        }
        is
    }

    fn value(&mut self) -> Option<Node> {
        let start = self.at;
        let kind = match self.peek()? {
            b'{' => self.object()?,
            b'[' => self.array()?,
            b'"' => Kind::Text(self.string()?),
            _ => {
                while !matches!(self.peek(), None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')) {
                    self.at += 1;
                }
                Kind::Other
            }
        };
        Some(Node { span: start..self.at, kind })
    }

    fn object(&mut self) -> Option<Kind> {
        let mut members = Vec::new();
        self.takes(b'{');
        while self.peek()? != b'}' {
            let start = self.at;
            let key = self.string()?;
            self.space();
            self.takes(b':').then_some(())?;
            let value = self.value()?;
            members.push(Member { key, span: start..value.span.end, value });
            self.space();
            self.takes(b',');
        }
        self.at += 1;
        Some(Kind::Object(members))
    }

    fn array(&mut self) -> Option<Kind> {
        let mut items = Vec::new();
        self.takes(b'[');
        while self.peek()? != b']' {
            items.push(self.value()?);
            self.space();
            self.takes(b',');
        }
        self.at += 1;
        Some(Kind::Array(items))
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek()? {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }
}

/// A value to be put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// As it is written.
    Raw(String),
    /// An object.
    Object(Vec<(&'static str, Json)>),
    /// An array.
    Array(Vec<Json>),
}

impl Json {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Raw(Value::from(text).to_string())
    }

    fn write(&self, layout: &Layout, out: &mut String) {
        let inner = layout.deeper();
        match self {
            Self::Raw(raw) => out.push_str(raw),
            Self::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    inner.begin(index, out);
                    write_member(key, value, &inner, out);
                }
                layout.end(members.is_empty(), out);
                out.push('}');
            }
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    inner.begin(index, out);
                    item.write(&inner, out);
                }
                layout.end(items.is_empty(), out);
                out.push(']');
            }
        }
    }
}

fn write_member(key: &str, value: &Json, layout: &Layout, out: &mut String) {
    out.push_str(&Value::from(key).to_string());
    out.push_str(": ");
    value.write(layout, out);
}

/// How what is put in is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// On one line.
    Line,
    /// Each value on a line of its own.
    Lines {
        /// What ends a line.
        end: &'static str,
        /// What this value's line begins with.
        indent: String,
        /// What a line a level deeper begins with in addition.
        unit: String,
    },
}

impl Layout {
    fn deeper(&self) -> Self {
        match self {
            Self::Line => Self::Line,
            Self::Lines { end, indent, unit } => {
                Self::Lines { end, indent: format!("{indent}{unit}"), unit: unit.clone() }
            }
        }
    }

    /// What stands before the value of this index.
    fn begin(&self, index: usize, out: &mut String) {
        let comma = index > 0;
        match self {
            Self::Line => out.push_str(if comma { ", " } else { "" }),
            Self::Lines { end, indent, .. } => {
                out.push_str(if comma { "," } else { "" });
                out.push_str(end);
                out.push_str(indent);
            }
        }
    }

    /// What stands behind the last value.
    fn end(&self, empty: bool, out: &mut String) {
        if let (Self::Lines { end, indent, .. }, false) = (self, empty) {
            out.push_str(end);
            out.push_str(indent);
        }
    }
}

/// The text of a new file.
pub fn new_file(value: &Json) -> String {
    let mut out = String::new();
    value.write(&Layout::Lines { end: "\n", indent: String::new(), unit: "  ".to_owned() }, &mut out);
    out.push('\n');
    out
}

/// The text with a value put behind the last one of `container`, which is an object where there is a `key`.
pub fn put(text: &str, container: &Node, key: Option<&str>, value: &Json) -> String {
    let places = container.places();
    let mut new = String::new();
    let (at, layout) = if let Some(last) = places.last() {
        let layout = layout_of(text, container, last);
        layout.begin(1, &mut new);
        (last.end, layout)
    } else {
        new.push(' ');
        (container.span.start + 1, Layout::Line)
    };
    match key {
        Some(key) => write_member(key, value, &layout, &mut new),
        None => value.write(&layout, &mut new),
    }
    splice(text, at..at, &new)
}

/// How the values of `container` are laid out, of which this is the last.
fn layout_of(text: &str, container: &Node, last: &Range<usize>) -> Layout {
    let line = text.get(..last.start).unwrap_or_default();
    let Some(begin) = line.rfind('\n').map(|at| at + 1).filter(|begin| *begin > container.span.start) else {
        return Layout::Line;
    };
    let indent = line.get(begin..).unwrap_or_default();
    if !indent.bytes().all(|byte| matches!(byte, b' ' | b'\t')) {
        return Layout::Line;
    }
    let end = if line.ends_with(&format!("\r\n{indent}")) { "\r\n" } else { "\n" };
    // By how much this container's values stand deeper than its own line.
    let own = text.get(..container.span.start).unwrap_or_default();
    let own = own.get(own.rfind('\n').map_or(0, |at| at + 1)..).unwrap_or_default();
    let own: String = own.chars().take_while(|letter| matches!(letter, ' ' | '\t')).collect();
    let unit = indent.strip_prefix(&own).filter(|unit| !unit.is_empty()).unwrap_or("  ").to_owned();
    Layout::Lines { end, indent: indent.to_owned(), unit }
}

/// What is left when a value is taken out of what holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// This text.
    Text(String),
    /// Nothing but the brackets, which were put in with it.
    Nothing,
}

/// The text without the value at `index` of `container`.
pub fn take(text: &str, container: &Node, index: usize) -> Left {
    let places = container.places();
    let Some(place) = places.get(index).cloned() else { return Left::Text(text.to_owned()) };
    let before = index.checked_sub(1).and_then(|index| places.get(index));
    let range = match (before, places.get(index + 1)) {
        (Some(before), _) => before.end..place.end,
        (None, Some(next)) => place.start..next.start,
        (None, None) => {
            let lead = container.span.start + 1..place.start;
            if text.get(lead.clone()) != Some(" ") {
                return Left::Nothing;
            }
            lead.start..place.end
        }
    };
    Left::Text(splice(text, range, ""))
}

/// The text with another one in place of what is at `range`.
pub fn splice(text: &str, range: Range<usize>, new: &str) -> String {
    let before = text.get(..range.start).unwrap_or_default();
    let behind = text.get(range.end..).unwrap_or_default();
    [before, new, behind].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUE: &str = r#"{"type": "command"}"#;

    fn value() -> Json {
        Json::Object(vec![("type", Json::text("command"))])
    }

    /// Puts a member into the root and takes it out again.
    fn around(text: &str) -> (String, Left) {
        let with = put(text, &parse(text).unwrap(), Some("new"), &value());
        let root = parse(&with).unwrap();
        let index = root.places().len() - 1;
        (with.clone(), take(&with, &root, index))
    }

    #[test]
    fn what_is_put_in_has_the_layout_of_what_is_there() {
        for (before, after) in [
            ("{}", format!(r#"{{ "new": {VALUE}}}"#)),
            ("{ }\n", format!("{{ \"new\": {VALUE} }}\n")),
            ("{\n}\n", format!("{{ \"new\": {VALUE}\n}}\n")),
            (r#"{"a": 1}"#, format!(r#"{{"a": 1, "new": {VALUE}}}"#)),
            (
                "{\n  \"a\": 1\n}\n",
                "{\n  \"a\": 1,\n  \"new\": {\n    \"type\": \"command\"\n  }\n}\n".to_owned(),
            ),
            (
                "{\r\n\t\"a\": [1,\r\n2]\r\n}",
                "{\r\n\t\"a\": [1,\r\n2],\r\n\t\"new\": {\r\n\t\t\"type\": \"command\"\r\n\t}\r\n}"
                    .to_owned(),
            ),
            (
                "{\n    \"a\": 1, \"b\": \"\\\"}\"\n}",
                format!("{{\n    \"a\": 1, \"b\": \"\\\"}}\", \"new\": {VALUE}\n}}"),
            ),
        ] {
            let (with, left) = around(before);
            assert_eq!(with, after);
            assert_eq!(left, Left::Text(before.to_owned()));
        }
    }

    #[test]
    fn a_file_of_our_own_is_nothing_without_what_we_put_in() {
        let text = new_file(&Json::Object(vec![("new", value())]));
        assert_eq!(text, "{\n  \"new\": {\n    \"type\": \"command\"\n  }\n}\n");
        assert_eq!(take(&text, &parse(&text).unwrap(), 0), Left::Nothing);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("{\n  \"a\": 1,\n}\n", (3, 1)),
            ("{\"a\" 1}", (1, 6)),
            ("// c\n{}", (1, 1)),
            ("", (1, 1)),
            ("{} {}", (1, 4)),
        ] {
            let wrong = parse(text).unwrap_err();
            assert_eq!((wrong.line, wrong.column), expected, "{text:?}: {}", wrong.message);
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err(), "it does not take the stack with it");
    }

    /// Some JSON, in a layout of somebody's.
    fn texts() -> impl Strategy<Value = String> {
        let space = || prop::sample::select(vec!["", " ", "\n", "\n  ", "\n\t", "\r\n    ", "  "]);
        let leaf = prop::sample::select(vec!["1", "true", "null", r#""a\"b}""#, r#""\u00e9""#, "-1.5e3"]);
        let leaf = leaf.prop_map(str::to_owned);
        leaf.prop_recursive(3, 24, 4, move |inner| {
            let entries =
                prop::collection::vec((space(), "[a-c]{1,3}", space(), inner.clone(), space()), 0..4);
            let object = (space(), entries).prop_map(|(empty, entries)| {
                let one = |(a, key, b, value, c): (&str, String, &str, String, &str)| {
                    format!("{a}\"{key}\"{b}:{b}{value}{c}")
                };
                let inside: Vec<_> = entries.into_iter().map(one).collect();
                let inside = if inside.is_empty() { empty.to_owned() } else { inside.join(",") };
                format!("{{{inside}}}")
            });
            let array = prop::collection::vec((space(), inner, space()), 0..4);
            let array = array.prop_map(|items| {
                let items: Vec<_> = items.into_iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect();
                format!("[{}]", items.join(","))
            });
            prop_oneof![object, array]
        })
    }

    proptest! {
           #[test]
           fn what_is_put_in_is_read_back_and_taken_out_to_the_byte(inner in texts(), empty in any::<bool>()) {
               let text = if empty { "{}".to_owned() } else { format!("{{\"first\": {inner}}}") };
               let (with, left) = around(&text);
               let mut expected: Value = serde_json::from_str(&text).unwrap();
               expected["new"] = serde_json::json!({"type": "command"});
               prop_assert_eq!(serde_json::from_str::<Value>(&with).unwrap(), expected);
               prop_assert_eq!(left, Left::Text(text));
           }

           #[test]
           fn places_are_those_of_the_values(text in texts()) {
               fn check(node: &Node, text: &str) {
                   let value: Value = serde_json::from_str(&text[node.span.clone()]).unwrap();
                   match (&node.kind, value) {
                       (Kind::Object(members), Value::Object(_)) => {
                           for member in members {
                               assert!(text[member.span.clone()].starts_with('"'));
                               check(&member.value, text);
                           }
                       }
                       (Kind::Array(items), Value::Array(values)) => {
                           assert_eq!(items.len(), values.len());
                           for item in items {
    check(item, text);
    }
                       }
                       (Kind::Text(ours), Value::String(theirs)) => assert_eq!(*ours, theirs),
                       (Kind::Other, Value::Null | Value::Bool(_) | Value::Number(_)) => {}
                       (ours, theirs) => panic!("{ours:?} for {theirs:?}"),
                   }
               }
               check(&parse(&text).unwrap(), &text);
           }

           #[test]
           fn no_text_is_too_odd(text in ".{0,64}") {
               let _ = parse(&text);
           }
       }
}
