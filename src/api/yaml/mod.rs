//! One YAML document, read with every error located.
//!
//! Four steps: `source` checks that the bytes are a text, `scan` bounds its nesting before the parser sees it,
//! `tree` has the one parser make a tree of it, and `read` takes typed values from the tree and collects
//! everything wrong with them. A file costs milliseconds whatever is in it.

mod problem;
pub mod read;
mod scan;
mod source;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod words;

use std::path::Path;

pub use self::source::MAX_BYTES;
use self::{
    problem::{Found, Problem, Problems},
    read::{Place, Read},
    scan::{MAX_DEPTH, Refused, scan},
    source::Source,
    tree::{Node, locate},
};
use super::diagnose::{Diagnostic, Diagnostics, quote};

/// Reads one file that holds one `T`. `nothing` is what to read instead, where the file holds no value at all.
///
/// # Errors
/// Everything wrong with the file: first whether it is a text and YAML, then every key and value of it.
pub fn read<T: Read>(bytes: &[u8], file: &Path, nothing: Nothing) -> Result<T, Diagnostics> {
    let source = Source::new(bytes, file)?;
    scan(source.parsed()).map_err(|refusal| refused(&source, refusal))?;
    let mut node = tree::parse(&source).map_err(|error| malformed(&source, &error))?;
    if node == Node::Null || node == Node::Map(Vec::new()) {
        node = nothing.stand_in(&source)?;
    }
    let problems = Problems::default();
    let root = Place::root(&node, &problems);
    root.check_keys();
    let value = T::read(&root);
    let mut found: Vec<Diagnostic> =
        problems.take().into_iter().map(|problem| diagnose(&source, problem)).collect();
    found.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    match value {
        Some(value) if found.is_empty() => Ok(value),
        _ if found.is_empty() => Err(source.refuse(0..0, "cannot be read", None)),
        _ => Err(Diagnostics(found)),
    }
}

/// `value` as a document that [`read()`] reads back as the same.
///
/// The emitter takes the line ends of YAML 1.1 for line ends, breaks texts at them and indents what follows; for the
/// reader they are characters like any other. And it leaves texts bare that the reader takes for numbers, as others would
/// (`1e999`). Such a document is written as JSON, which YAML is too.
///
/// # Errors
/// A value that YAML has no words for.
pub fn write(value: &impl serde::Serialize) -> Result<String, String> {
    let text = serde_yaml::to_string(value).map_err(|error| error.to_string())?;
    let meant = fractions(&serde_yaml::to_value(value).map_err(|error| error.to_string())?);
    if !text.contains(['\u{85}', '\u{2028}', '\u{2029}']) && other_numbers(&text) <= meant {
        return Ok(text);
    }
    let json = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(json + "\n")
}

/// How many numbers of a document the reader refuses: it knows whole ones.
fn other_numbers(text: &str) -> usize {
    fn within(node: &Node) -> usize {
        match node {
            Node::Number(number) => usize::from(number.is_none()),
            Node::List(items) => items.iter().map(within).sum(),
            Node::Map(entries) => entries.iter().map(|(key, value)| within(key) + within(value)).sum(),
            Node::Null | Node::Bool(_) | Node::Text(_) => 0,
        }
    }
    // One that is not read at all, for its size, is none the better as JSON.
    let source = Source::new(text.as_bytes(), Path::new(""));
    source.ok().and_then(|source| tree::parse(&source).ok()).map_or(0, |node| within(&node))
}

/// How many of them are no texts that look like one: a share, a cost.
fn fractions(value: &serde_yaml::Value) -> usize {
    use serde_yaml::Value;
    match value {
        Value::Number(number) => usize::from(number.is_f64()),
        Value::Sequence(items) => items.iter().map(fractions).sum(),
        Value::Mapping(entries) => entries.iter().map(|(key, value)| fractions(key) + fractions(value)).sum(),
        Value::Tagged(tagged) => fractions(&tagged.value),
        Value::Null | Value::Bool(_) | Value::String(_) => 0,
    }
}

/// What a file without a value means: empty, only comments, `~` or `{}`.
#[derive(Debug, Clone, Copy)]
pub enum Nothing {
    /// A mistake, whatever it looks like; with what to write instead.
    Refused(&'static str),
    /// All defaults, where somebody wrote as much as a comment. A file without a word is one that was cut off: a
    /// full disk leaves those.
    Defaults,
}

impl Nothing {
    fn stand_in(self, source: &Source<'_>) -> Result<Node, Diagnostics> {
        let blank = source.text().trim().is_empty();
        match self {
            Self::Refused(hint) => {
                let message = if blank { "the file is empty" } else { "the file has no content" };
                Err(source.refuse(0..0, message, Some(hint)))
            }
            Self::Defaults if blank => {
                Err(source.refuse(0..0, "the file is empty", Some("write `{}` to mean the defaults")))
            }
            Self::Defaults => Ok(Node::Map(Vec::new())),
        }
    }
}

fn refused(source: &Source<'_>, refusal: scan::Refusal) -> Diagnostics {
    let (message, hint) = match refusal.what {
        Refused::TooDeep => (format!("nested deeper than {MAX_DEPTH} levels"), "a spec needs four"),
        Refused::Tab => ("a tab cannot indent in YAML".into(), "use spaces"),
        Refused::Alias => ("aliases are not supported".into(), "put a value that begins with `*` in quotes"),
        Refused::Anchor => ("anchors are not supported".into(), "put a value that begins with `&` in quotes"),
        Refused::Tag => ("tags are not supported".into(), "put a value that begins with `!` in quotes"),
        Refused::SecondDocument => {
            ("a second document begins here".into(), "one file is one document: remove all but one")
        }
    };
    let end = match refusal.what {
        Refused::TooDeep | Refused::Tab => refusal.at + 1,
        Refused::SecondDocument => source.token(refusal.at).end.min(refusal.at + 3),
        Refused::Alias | Refused::Anchor | Refused::Tag => source.token(refusal.at).end,
    };
    source.refuse(refusal.at..end, message, Some(hint))
}

const QUOTE: &str = "this quote is not closed";
const KEY: &str = "a key cannot stand here";

/// What the parser says, in the words of a person who writes a spec. Its own texts are fixed: they quote nothing.
const PARSER_WORDS: &[(&str, &str, Option<&str>)] = &[
    (
        "mapping values are not allowed in this context",
        KEY,
        Some("check the indentation of this line and the one before, and put a text with `: ` in quotes"),
    ),
    (
        "block sequence entries are not allowed in this context",
        "a list item cannot stand here",
        Some("check the indentation of this line and the one before"),
    ),
    (
        "did not find expected key",
        "expected a key of the same indentation as those before",
        Some("check the indentation"),
    ),
    (
        "did not find expected '-' indicator",
        "expected a list item of the same indentation as those before",
        Some("check the indentation"),
    ),
    ("could not find expected ':'", "expected `:` after a key", Some("a key is written `key: value`")),
    ("did not find expected ',' or ']'", "expected `,` or `]`", Some("is a `[` not closed?")),
    ("did not find expected ',' or '}'", "expected `,` or `}`", Some("is a `{` not closed?")),
    ("found unexpected end of stream", QUOTE, Some("a quote inside of a text is doubled or escaped")),
    ("found unexpected document indicator", QUOTE, None),
    (
        "found character that cannot start any token",
        "this character cannot begin a value",
        Some("put the value in quotes"),
    ),
    (
        "found unknown escape character",
        "unknown escape in double quotes",
        Some("write a backslash twice, or use single quotes"),
    ),
    (
        "did not find expected <document start>",
        "the document has ended before this",
        Some("check the indentation: the first key of the file sets it"),
    ),
];

fn malformed(source: &Source<'_>, error: &serde_yaml::Error) -> Diagnostics {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or_default();
    let problem = problem.split(", while ").next().unwrap_or_default();
    let known = PARSER_WORDS.iter().find(|(words, ..)| problem.contains(words));
    let (message, hint) = known.map_or((problem, None), |(_, message, hint)| (*message, *hint));
    // Where what the parser was reading began: "…, while scanning a quoted scalar at line 1 column 10".
    let context = text.split(", while ").nth(1).and_then(|context| context.rsplit(" at line ").next());
    let began = context.and_then(|place| place.split_once(" column "));
    let began = began.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let whole = source.text();
    let stopped = error.location().map_or(0, |location| location.index()).min(whole.len());
    let before = whole.get(..stopped).unwrap_or(whole);
    let at = if message == QUOTE {
        // The opening quote is to be mended; the end of the file says nothing.
        source.at(began.unwrap_or((1, 1)))
    } else if message == KEY {
        // The parser stops at the colon behind the key.
        before.rfind(char::is_whitespace).map_or(0, |blank| blank + 1)
    } else if whole.get(stopped..).is_some_and(|rest| rest.trim().is_empty()) {
        whole.trim_end().len()
    } else {
        stopped
    };
    let hint = match (hint, began) {
        (Some(hint), Some((line, _))) if message.starts_with("expected `,`") => {
            Some(format!("{hint} The one of line {line} is open here"))
        }
        (hint, _) => hint.map(str::to_owned),
    };
    source.refuse(source.token(at), message, hint.as_deref())
}

fn diagnose(source: &Source<'_>, problem: Problem) -> Diagnostic {
    let at = locate(source, &problem.steps).unwrap_or(0);
    // A missing key has no place of its own: that of its mapping stands for it, without a caret over a value.
    let place = match problem.steps.as_slice() {
        [] => at..at,
        _ => source.token(at),
    };
    let token = source.text().get(place.clone()).unwrap_or_default();
    let mut diagnostic = source.diagnostic(place, &problem.path);
    let quoted = match problem.found {
        Found::Nothing => None,
        Found::Key(key) => Some(format!("{} {}", problem.message, quote(&key))),
        Found::Value(kind @ ("a list" | "a mapping" | "nothing"), _) => {
            Some(format!("{}, found {kind}", problem.message))
        }
        Found::Value(_, Some(text)) if text.is_empty() => {
            Some(format!("{}, found an empty text", problem.message))
        }
        Found::Value(kind, text) => {
            Some(format!("{}, found {kind} {}", problem.message, quote(text.as_deref().unwrap_or(token))))
        }
    };
    diagnostic.sourceless = quoted.is_some().then(|| problem.message.clone());
    diagnostic.message = quoted.unwrap_or(problem.message);
    diagnostic.hint = problem.hint;
    if let Some(line) = problem.other.and_then(|steps| locate(source, &steps)).map(|at| source.line_of(at)) {
        diagnostic.hint = Some(match diagnostic.hint {
            Some(hint) => format!("{hint} line {line}"),
            None => format!("first written on line {line}"),
        });
    }
    diagnostic
}
