//! What is wrong with a file, said so that a person can mend it: where, the line itself, and a hint.

use std::{fmt, fmt::Write as _, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};

/// One thing wrong with a file. All text is free of control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// As shown: a path or a name.
    pub file: String,
    /// From 1; absent where the whole file is meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// From 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<u32>,
    /// `backoff.max`, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// One sentence, lower case, without a full stop.
    pub message: String,
    /// The message without a word of the file; absent where `message` quotes none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sourceless: Option<String>,
    /// What to do: "did you mean `command`?". Never quotes the file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The source line with a caret under the place, several lines of text. Shown only to those who may read the file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snippet: Option<String>,
}

/// Everything wrong with one file, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// One problem of a whole file.
    pub fn whole(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![Diagnostic {
            file: escape(&file.into()),
            line: None,
            column: None,
            path: None,
            message: escape(&message.into()),
            sourceless: None,
            hint: None,
            snippet: None,
        }])
    }

    /// Several lines for a terminal: each message with its place, its line, a caret and a hint.
    pub fn render(&self) -> String {
        let problems: Vec<String> = self.0.iter().map(Diagnostic::render).collect();
        problems.join("\n")
    }

    /// The same for someone who may not read the file: places and hints, no word of its content.
    ///
    /// A link in the specs directory can point at any file of the machine; the error must not become a way to
    /// read it.
    #[must_use]
    pub fn without_source(self) -> Self {
        Self(self.0.into_iter().map(Diagnostic::without_source).collect())
    }
}

impl Diagnostic {
    fn without_source(mut self) -> Self {
        self.snippet = None;
        if let Some(sourceless) = self.sourceless.take() {
            self.message = sourceless;
        }
        // Below the first key the names may be the file's own (`env`, `labels`).
        self.path = self.path.and_then(|path| path.split(['.', '[']).next().map(str::to_owned));
        self
    }

    fn render(&self) -> String {
        let margin = " ".repeat(self.line.map_or(1, |line| line.to_string().len()));
        let mut text = format!("error: {}\n{margin}--> {}\n", self.message, self.place());
        if let Some(snippet) = &self.snippet {
            text.push_str(snippet);
            text.push('\n');
        }
        if let Some(hint) = &self.hint {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{margin} = help: {hint}");
        }
        text
    }

    fn place(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}:{}", self.file, self.column.unwrap_or(1)),
            None => self.file.clone(),
        }
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `FILE:LINE:COLUMN: MESSAGE (HINT)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostics {
    /// The first problem on one line, and how many more there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.0.first() {
            first.fmt(f)?;
        }
        if self.0.len() > 1 {
            write!(f, " (and {} more)", self.0.len() - 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// `text` with everything escaped that a terminal or a log could act on: control characters, and those that
/// change the direction of text and so make a line read as something else.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if unprintable(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Whether a character acts on a terminal instead of showing there.
pub fn unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Most characters of a value that a message repeats.
const QUOTED: usize = 60;

/// `text` in backquotes, escaped, and cut where it is long.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", escape(&shown))
}

/// Characters of the line shown before and after the place; a spec may be one line of 64 KiB.
const BEFORE: usize = 60;
const AFTER: usize = 100;

/// Line `number` of a file with a caret under the bytes `place` of it, and `label` beside the caret.
pub(super) fn snippet(line: &str, number: usize, place: Range<usize>, label: &str) -> String {
    let (mut shown, mut start, mut end) = (String::new(), None, 0);
    let focus = line.char_indices().take_while(|(at, _)| *at < place.start).count();
    let from = focus.saturating_sub(BEFORE);
    if from > 0 {
        shown.push('…');
    }
    for (at, character) in line.char_indices().skip(from).take(BEFORE + AFTER) {
        if at >= place.start && start.is_none() {
            start = Some(shown.len());
        }
        if unprintable(character) && character != '\t' {
            shown.extend(character.escape_default());
        } else {
            shown.push(if character == '\t' { '→' } else { character });
        }
        if at < place.end {
            end = shown.len();
        }
    }
    if line.chars().count() > from + BEFORE + AFTER {
        shown.push('…');
    }
    let start = start.unwrap_or(shown.len());
    let span = start..end.max(start);
    let caret = AnnotationKind::Primary.span(span).label((!label.is_empty()).then_some(label));
    let source = Snippet::source(shown.as_str()).line_start(number).annotation(caret);
    let report = Renderer::plain().render(&[Level::ERROR.primary_title("").element(source)]);
    // The title and the arrow are drawn by `Diagnostic::render`, which has no source any more.
    let drawn: Vec<&str> = report.lines().skip_while(|line| line.trim() != "|").map(str::trim_end).collect();
    drawn.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostic {
        Diagnostic {
            file: "a.yaml".into(),
            line: Some(12),
            column: Some(3),
            path: Some("env.SECRET".into()),
            message: "unknown key `hunter2`".into(),
            sourceless: Some("unknown key".into()),
            hint: Some("did you mean `env`?".into()),
            snippet: Some(snippet("  hunter2: x", 12, 2..9, "env")),
        }
    }

    #[test]
    fn a_problem_shows_its_place_its_line_and_what_to_do() {
        insta::assert_snapshot!(Diagnostics(vec![sample()]).render(), @r"
        error: unknown key `hunter2`
          --> a.yaml:12:3
           |
        12 |   hunter2: x
           |   ^^^^^^^ env
           = help: did you mean `env`?
        ");
        assert_eq!(
            Diagnostics(vec![sample(), sample()]).to_string(),
            "a.yaml:12:3: unknown key `hunter2` (did you mean `env`?) (and 1 more)"
        );
    }

    #[test]
    fn without_its_source_a_problem_quotes_no_word_of_the_file() {
        let bare = Diagnostics(vec![sample()]).without_source();
        let everything = format!("{bare:?}{bare}{}", bare.render());
        assert!(!everything.contains("hunter2") && !everything.contains("SECRET"), "{everything}");
        assert_eq!(bare.0[0].path.as_deref(), Some("env"));
    }

    #[test]
    fn carets_stand_under_wide_characters_tabs_and_far_places() {
        insta::assert_snapshot!(snippet("a: 会议\tx", 1, 10..11, ""), @r"
          |
        1 | a: 会议→x
          |         ^
        ");
        let long = format!("{}HERE{}", "x".repeat(500), "y".repeat(500));
        let drawn = snippet(&long, 1, 500..504, "");
        assert!(drawn.contains("^^^^") && drawn.lines().all(|line| line.chars().count() < 200), "{drawn}");
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_passes() {
        let drawn = snippet("a: \u{1b}[2J\u{202e}x\u{9b}", 1, 3..4, "");
        assert!(drawn.chars().all(|c| c == '\n' || !unprintable(c)), "{drawn:?}");
        assert_eq!(escape("a\u{1b}b\u{202e}"), "a\\u{1b}b\\u{202e}");
    }

    #[test]
    fn a_caret_at_the_end_of_a_line_is_drawn() {
        assert!(snippet("command:", 3, 8..8, "").contains('^'));
        assert!(snippet("", 3, 0..0, "").contains('^'));
    }
}
