//! Lines of the view: words with their styles, made safe, and cut where a line ends.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::{output::Style, text::escape};

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(String, Style)>);

impl Line {
    /// A line of one style.
    pub fn new(text: &str, style: Style) -> Self {
        let mut line = Self::default();
        line.add(text, style);
        line
    }

    /// Goes on with `text`. All text of a line passes here, and none of it acts on a terminal.
    pub fn add(&mut self, text: &str, style: Style) {
        if !text.is_empty() {
            self.0.push((escape(text).into_owned(), style));
        }
    }

    /// The line in at most `width` columns.
    pub fn render(&self, width: usize, colour: bool) -> String {
        let mut left = width;
        let mut shown = String::new();
        for (at, (text, style)) in self.0.iter().enumerate() {
            let follows = self.0.iter().skip(at + 1).any(|(rest, _)| !rest.trim().is_empty());
            // What follows and has no room at all must not be missing without a sign.
            let text = if follows && text.width() >= left {
                cut(&format!("{text}…"), left).into_owned()
            } else {
                cut(text, left).into_owned()
            };
            left = left.saturating_sub(text.width());
            shown.push_str(&style.paint(&text, colour));
            if left == 0 {
                break;
            }
        }
        if !colour {
            shown.truncate(shown.trim_end().len());
        }
        shown
    }
}

/// `text` in at most `width` columns, with `…` in the place of what had no room.
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let Some(room) = width.checked_sub(1) else { return Cow::Borrowed("") };
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(c);
    }
    // Some characters are wider together than each for itself.
    while kept.width() > room && kept.pop().is_some() {}
    kept.push('…');
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::diagnose::unprintable as acts;

    #[test]
    fn what_has_no_room_leaves_a_sign() {
        for (text, width, shown) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("漢字漢", 6, "漢字漢"),
            ("漢字漢", 5, "漢字…"),
            ("漢字漢", 4, "漢…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, width), shown, "{text} in {width}");
        }
    }

    #[test]
    fn a_line_is_cut_as_a_whole() {
        let mut line = Line::new("ab", Style::Bad);
        line.add("cd", Style::Plain);
        for (width, shown) in [(4, "abcd"), (3, "ab…"), (2, "a…"), (1, "…"), (0, "")] {
            assert_eq!(line.render(width, false), shown, "in {width}");
        }
        assert_eq!(line.render(3, true), "\u{1b}[31mab\u{1b}[0m…");
        line.add("   ", Style::Plain);
        assert_eq!(line.render(4, false), "abcd", "nothing is missing");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_its_place_or_acts(words in proptest::collection::vec(any::<String>(), 0..4), width in 0..20_usize) {
            let mut line = Line::default();
            for word in &words {
                line.add(word, Style::Plain);
            }
            let shown = line.render(width, false);
            prop_assert!(!shown.chars().any(acts));
            prop_assert!(line.0.iter().all(|(text, _)| cut(text, width).width() <= width));
            // Characters of two words may be wider together.
            prop_assert!(words.len() > 1 || shown.width() <= width, "{shown:?}");
        }
    }
}
