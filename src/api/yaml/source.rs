//! The text of one file: checked to be text, and able to say where in it something stands.

use std::{borrow::Cow, ops::Range, path::Path};

use crate::api::diagnose::{Diagnostic, Diagnostics, escape, snippet};

/// Largest file that is read. Bounds what a hostile file can cost.
pub const MAX_BYTES: usize = 64 * 1024;

/// YAML 1.1 ends a line at these; YAML 1.2 and every editor do not. The parser speaks 1.1 here.
const FORMER_BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// The text of one file, without a byte order mark.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: String,
    text: &'a str,
    /// What the parser is given: `text`, with [`FORMER_BREAKS`] replaced by characters of the same length that
    /// the file does not use, so that a line ends for the parser where it ends for the person who wrote it.
    parsed: Cow<'a, str>,
    stand_ins: Vec<(char, char)>,
}

impl<'a> Source<'a> {
    /// Checks that `bytes` are a text that can be YAML. `file` is for messages only.
    pub(super) fn new(bytes: &'a [u8], file: &Path) -> Result<Self, Diagnostics> {
        let file = file.to_string_lossy();
        if bytes.len() > MAX_BYTES {
            let message = format!("larger than {} KiB", MAX_BYTES / 1024);
            return Err(Diagnostics::whole(file, message));
        }
        if let Some(encoding) = foreign_encoding(bytes) {
            let mut refused = Diagnostics::whole(file, format!("is {encoding}, not UTF-8"));
            hint(&mut refused, "save it as UTF-8");
            return Err(refused);
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let (lossy, at) = (String::from_utf8_lossy(bytes), error.valid_up_to());
                let shown = Source::unchecked(&file, &lossy);
                let message = format!("byte {at} is not UTF-8");
                return Err(shown.refuse(at..at + 3, message, Some("save it as UTF-8")));
            }
        };
        let mut source = Source::unchecked(&file, text);
        source.check_characters()?;
        source.replace_former_breaks();
        Ok(source)
    }

    fn unchecked(file: &str, text: &'a str) -> Self {
        Self { file: escape(file), text, parsed: Cow::Borrowed(text), stand_ins: Vec::new() }
    }

    fn check_characters(&self) -> Result<(), Diagnostics> {
        let mut characters = self.text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let (what, hint) = match character {
                '\r' if characters.peek().is_some_and(|(_, next)| *next == '\n') => continue,
                '\r' => ("a carriage return without a line feed", Some("end lines with LF or CRLF")),
                '\t' | '\n' | '\u{85}' => continue,
                '\0' => ("a NUL character", Some("is the file saved as UTF-16?")),
                '\u{feff}' => ("a byte order mark in the middle", Some("were two files joined?")),
                '\u{fffe}' | '\u{ffff}' => ("a character that is no text", None),
                _ if character.is_control() => {
                    ("a control character", Some("in double quotes it can be written as an escape"))
                }
                _ => continue,
            };
            let code = u32::from(character);
            let message = format!("{what} (U+{code:04X}) at byte {at}");
            return Err(self.refuse(at..at + character.len_utf8(), message, hint));
        }
        Ok(())
    }

    fn replace_former_breaks(&mut self) {
        for former in FORMER_BREAKS {
            if !self.text.contains(former) {
                continue;
            }
            // Unassigned characters of two bytes, private ones of three. A file that uses all of them itself
            // keeps the parser's line ends.
            let unused = ('\u{7fb}'..='\u{7fc}')
                .chain('\u{e000}'..='\u{f8ff}')
                .find(|c| c.len_utf8() == former.len_utf8() && !self.parsed.contains(*c));
            if let Some(stand_in) = unused {
                self.parsed = Cow::Owned(self.parsed.replace(former, &stand_in.to_string()));
                self.stand_ins.push((stand_in, former));
            }
        }
    }

    /// What the parser is given.
    pub(super) fn parsed(&self) -> &str {
        &self.parsed
    }

    /// A text of the parser as it stands in the file.
    pub(super) fn original(&self, parsed: &str) -> String {
        let mut text = parsed.to_owned();
        for (stand_in, former) in &self.stand_ins {
            text = text.replace(*stand_in, &former.to_string());
        }
        text
    }

    /// The file's own text; the same places as [`Source::parsed`].
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Line of a byte, from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        1 + before.matches('\n').count()
    }

    /// The byte at a line and column, both from 1.
    pub(super) fn at(&self, (line, column): (usize, usize)) -> usize {
        let start: usize = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = self.text.get(start..).unwrap_or_default();
        start + rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>()
    }

    /// The bytes of the token that begins at `at`, on its line: for the caret, and for what a message repeats.
    pub(super) fn token(&self, at: usize) -> Range<usize> {
        let rest = self.text.get(at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default().trim_end();
        let length = match line.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut escaped = false;
                let closing = line.char_indices().skip(1).find(|(_, character)| {
                    let closes = *character == quote && !escaped;
                    escaped = quote == '"' && *character == '\\' && !escaped;
                    closes
                });
                closing.map_or(line.len(), |(end, _)| end + 1)
            }
            Some('[' | '{') => 1,
            _ => {
                let ends = [": ", " #", ", ", "]", "}"].iter().filter_map(|end| line.find(end)).min();
                ends.unwrap_or_else(|| line.strip_suffix([':', ',']).unwrap_or(line).len())
            }
        };
        at..at + length
    }

    /// One problem at `place`, without a quotation in its message.
    pub(super) fn refuse(
        &self,
        place: Range<usize>,
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Diagnostics {
        let mut diagnostic = self.diagnostic(place, "");
        diagnostic.message = message.into();
        diagnostic.hint = hint.map(str::to_owned);
        Diagnostics(vec![diagnostic])
    }

    /// A diagnostic with its place, path and snippet, and no message yet.
    pub(super) fn diagnostic(&self, place: Range<usize>, path: &str) -> Diagnostic {
        let inside = |at: &usize| self.text.is_char_boundary(*at);
        let start = (0..=place.start.min(self.text.len())).rev().find(inside).unwrap_or(0);
        let (before, after) = self.text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = after.find('\n').map_or(self.text.len(), |at| start + at);
        let line = self.text.get(line_start..line_end).unwrap_or_default().trim_end_matches('\r');
        let number = self.line_of(start);
        let column = 1 + before.get(line_start..).unwrap_or_default().chars().count();
        let path = escape(path);
        let within = start - line_start..place.end.clamp(start, line_end) - line_start;
        Diagnostic {
            file: self.file.clone(),
            line: Some(u32::try_from(number).unwrap_or(u32::MAX)),
            column: Some(u32::try_from(column).unwrap_or(u32::MAX)),
            message: String::new(),
            sourceless: None,
            hint: None,
            snippet: Some(snippet(line, number, within, &path)),
            path: (!path.is_empty()).then_some(path),
        }
    }
}

fn hint(diagnostics: &mut Diagnostics, text: &str) {
    for diagnostic in &mut diagnostics.0 {
        diagnostic.hint = Some(text.to_owned());
    }
}

fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    // UTF-32 first: its little-endian mark begins with the one of UTF-16.
    let marks: [(&[u8], &str); 4] = [
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ];
    marks.iter().find(|(mark, _)| bytes.starts_with(mark)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        Source::new(bytes, Path::new("a.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        for (bytes, expected) in [
            (&b"\xff\xfec\0"[..], "a.yaml: is UTF-16, not UTF-8 (save it as UTF-8)"),
            (b"\xfe\xff\0c", "a.yaml: is UTF-16, not UTF-8 (save it as UTF-8)"),
            (b"\xff\xfe\0\0c\0\0\0", "a.yaml: is UTF-32, not UTF-8 (save it as UTF-8)"),
            (b"\0\0\xfe\xff\0\0\0c", "a.yaml: is UTF-32, not UTF-8 (save it as UTF-8)"),
            (b"a: 1\nb: \xe9\n", "a.yaml:2:4: byte 8 is not UTF-8 (save it as UTF-8)"),
            (b"a: 1\nb: \0", "a.yaml:2:4: a NUL character (U+0000) at byte 8 (is the file saved as UTF-16?)"),
            (
                b"a: \x1b[2J",
                "a.yaml:1:4: a control character (U+001B) at byte 3 (in double quotes it can be written as an escape)",
            ),
            (
                b"a: \x7f",
                "a.yaml:1:4: a control character (U+007F) at byte 3 (in double quotes it can be written as an escape)",
            ),
            (
                "a: \u{9b}".as_bytes(),
                "a.yaml:1:4: a control character (U+009B) at byte 3 (in double quotes it can be written as an escape)",
            ),
            (
                b"a: 1\rb: 2\r",
                "a.yaml:1:5: a carriage return without a line feed (U+000D) at byte 4 (end lines with LF or CRLF)",
            ),
            (
                "a: 1\n\u{feff}b: 1".as_bytes(),
                "a.yaml:2:1: a byte order mark in the middle (U+FEFF) at byte 5 (were two files joined?)",
            ),
            (&vec![b'#'; MAX_BYTES + 1], "a.yaml: larger than 64 KiB"),
        ] {
            assert_eq!(refused(bytes), expected);
        }
    }

    #[test]
    fn a_mark_and_windows_line_ends_are_text() {
        let source = Source::new(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", Path::new("a.yaml")).unwrap();
        assert_eq!(source.text(), "a: 1\r\nb: 2\r\n");
        let at = source.diagnostic(6..7, "");
        assert_eq!((at.line, at.column), (Some(2), Some(1)));
        assert!(Source::new(&vec![b'#'; MAX_BYTES], Path::new("a")).is_ok());
    }

    #[test]
    fn a_former_line_break_ends_no_line() {
        let text = "# a\u{2028}b\u{85}c\u{2029}d: 1\n";
        let source = Source::new(text.as_bytes(), Path::new("a.yaml")).unwrap();
        assert_eq!(source.parsed().len(), text.len());
        assert!(!source.parsed().contains(FORMER_BREAKS));
        assert_eq!(source.original(source.parsed()), text);
    }

    #[test]
    fn a_token_ends_where_its_value_ends() {
        for (text, token) in [
            ("abc: 1", "abc"),
            ("abc:", "abc"),
            ("30 parsecs # far", "30 parsecs"),
            ("'it''s' x", "'it'"),
            (r#""a \" b": x"#, r#""a \" b""#),
            ("a, b]", "a"),
            ("[a, b]", "["),
            ("x\r\ny", "x"),
            ("", ""),
        ] {
            let source = Source::unchecked("a", text);
            assert_eq!(&text[source.token(0)], token);
        }
    }
}
