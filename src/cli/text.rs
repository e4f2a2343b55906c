//! Text for a terminal: what comes from outside is made visible, times and sizes are made short.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::api::{diagnose::unprintable as acts, quantity::Size, time::Timestamp};

/// Appends `c`, made visible where it could act.
pub fn push_escaped(c: char, out: &mut String) {
    if acts(c) {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

fn escaped(text: &str, keep: &[char]) -> Cow<'static, str> {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if keep.contains(&c) {
            out.push(c);
        } else {
            push_escaped(c, &mut out);
        }
    }
    Cow::Owned(out)
}

/// One line of text, safe on a terminal. Everything from outside passes here or through [`escape_lines`].
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.chars().any(acts) { escaped(text, &[]) } else { Cow::Borrowed(text) }
}

/// Several lines of text, safe on a terminal: line ends and tabs stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    if text.chars().any(acts) { escaped(text, &['\n', '\t']) } else { Cow::Borrowed(text) }
}

/// One line that was drawn with colours and links, and with those alone: anything else that could act is made visible.
pub fn escape_drawn(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = drawn(rest).unwrap_or(0);
        let (sequence, behind) = rest.split_at(length);
        out.push_str(sequence);
        rest = behind;
        if length == 0 {
            push_escaped(c, &mut out);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

/// The length of the colour or the link that `text` begins with.
fn drawn(text: &str) -> Option<usize> {
    const LINK_END: &str = "\u{1b}\\";
    let colour = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ';' | ':'))?;
        rest.get(end..)?.starts_with('m').then_some(2 + end + 1)
    };
    let link = |rest: &str| {
        let (words, _) = rest.split_once(LINK_END)?;
        (!words.chars().any(acts)).then_some(4 + words.len() + LINK_END.len())
    };
    text.strip_prefix("\u{1b}[").and_then(colour).or_else(|| text.strip_prefix("\u{1b}]8;").and_then(link))
}

/// The same JSON, with every character that could act on a terminal written as `\uXXXX`. Such characters can
/// stand only inside JSON's strings, line ends excepted, so the meaning does not change.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(|c| acts(c) && c != '\n') {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if !acts(c) || c == '\n' {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            _ = write!(out, "\\u{unit:04x}");
        }
    }
    Cow::Owned(out)
}

/// A span in two figures at most: `45s`, `3m`, `2h5m`, `4d`. Nothing negative: clocks differ.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes < 1 => format!("{seconds}s"),
        () if minutes < 10 && seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        () if hours < 1 => format!("{minutes}m"),
        () if hours < 10 && minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        () if days < 1 => format!("{hours}h"),
        () if days < 10 && hours % 24 != 0 => format!("{days}d{}h", hours % 24),
        () => format!("{days}d"),
    }
}

/// How long ago `then` was.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    span(now.as_second().saturating_sub(then.as_second()))
}

/// `3m ago`, or `in 3m` for what is to come.
pub fn relative(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    if seconds < 0 { format!("in {}", span(-seconds)) } else { format!("{} ago", span(seconds)) }
}

/// A point in time, on the clock of this machine's zone: `2026-02-03 14:05:06`.
pub fn local(then: Timestamp) -> String {
    then.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    Size(bytes).human()
}

/// An amount of US dollars for people.
pub fn dollars(amount: f64) -> String {
    format!("${amount:.2}")
}

/// A command as a person could type it, on one line.
pub fn command(words: &[String]) -> String {
    escape(&shell_words::join(words)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_act_becomes_visible() {
        insta::assert_snapshot!(
            escape("a\u{1b}[2Jb\u{9b}c\u{202e}d\ne\tf\u{7f}g\u{feff}é漢"),
            @r"a\u{1b}[2Jb\u{9b}c\u{202e}d\ne\tf\u{7f}g\u{feff}é漢"
        );
        assert_eq!(escape_lines("a\n\tb\u{1b}c"), "a\n\tb\\u{1b}c");
        assert_eq!(escape_json("[\"\u{9b}\u{e0001}\"]\n"), "[\"\\u009b\\udb40\\udc01\"]\n");
    }

    #[test]
    fn what_was_drawn_has_colours_and_links_alone() {
        for (drawn, shown) in [
            ("a\u{1b}[1;38:5:7mb\u{1b}[0m", "a\u{1b}[1;38:5:7mb\u{1b}[0m"),
            ("\u{1b}]8;id=1;http://x\u{1b}\\y", "\u{1b}]8;id=1;http://x\u{1b}\\y"),
            ("\u{1b}[2Jx\u{1b}", "\\u{1b}[2Jx\\u{1b}"),
            ("\u{1b}[31", "\\u{1b}[31"),
            ("\u{1b}]8;;\u{7}\u{1b}\\", "\\u{1b}]8;;\\u{7}\\u{1b}\\\\"),
            ("\u{1b}]0;t\u{1b}\\", "\\u{1b}]0;t\\u{1b}\\\\"),
            ("e\u{202e}\u{9b}m", "e\\u{202e}\\u{9b}m"),
        ] {
            assert_eq!(escape_drawn(drawn), shown.replace("\\\\", "\\"), "{drawn:?}");
        }
    }

    proptest! {
        #[test]
        fn no_escaped_text_acts(text in any::<String>()) {
            prop_assert!(!escape(&text).chars().any(acts));
            prop_assert!(!escape_lines(&text).chars().any(|c| acts(c) && c != '\n' && c != '\t'));
            let json = serde_json::to_string(&text).unwrap();
            let safe = escape_json(&json);
            prop_assert!(!safe.chars().any(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }

    #[test]
    fn spans_have_two_figures_at_most() {
        let shown: Vec<String> =
            [-5, 0, 59, 60, 61, 599, 600, 3599, 3600, 3660, 7500, 36_000, 86_400, 90_000, 864_000]
                .into_iter()
                .map(span)
                .collect();
        insta::assert_snapshot!(shown.join(" "), @"0s 0s 59s 1m 1m1s 9m59s 10m 59m 1h 1h1m 2h5m 10h 1d 1d1h 10d");
    }

    #[test]
    fn past_and_future_are_told_apart() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(relative(now, Timestamp::from_second(1_000_000 - 180).unwrap()), "3m ago");
        assert_eq!(relative(now, Timestamp::from_second(1_000_000 + 90).unwrap()), "in 1m30s");
    }
}
