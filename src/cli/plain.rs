//! Output of a session as plain text: escape sequences removed, other controls made visible.

use super::text::push_escaped;

/// Longest escape sequence that is taken for one. Beyond it the sequence is given up, so that one that never
/// ends cannot hide what follows it.
const LONGEST_SEQUENCE: usize = 4096;

/// A filter that keeps its place between pieces: a sequence or a character may be cut anywhere.
#[derive(Debug, Default)]
pub struct Plain {
    state: State,
    /// Of the current sequence, in bytes.
    length: usize,
    /// An incomplete character.
    partial: Vec<u8>,
    after_return: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and intermediate bytes, until the final one.
    Intermediate,
    /// After ESC [.
    Csi,
    /// After ESC ], P, X, ^ or _: until BEL or ESC \.
    String,
    /// After ESC in a string.
    StringEscape,
}

impl Plain {
    /// Adds the plain form of `bytes` to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut String) {
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            let mut with = std::mem::take(&mut self.partial);
            with.extend_from_slice(bytes);
            joined = with;
            &joined
        };
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text(text, out);
                    return;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    // `good` is valid by the parser's own word.
                    self.text(std::str::from_utf8(good).unwrap_or_default(), out);
                    let Some(length) = error.error_len() else {
                        bad.clone_into(&mut self.partial);
                        return;
                    };
                    self.character('\u{fffd}', out);
                    rest = bad.get(length..).unwrap_or_default();
                }
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            self.character(c, out);
        }
    }

    fn character(&mut self, c: char, out: &mut String) {
        if self.state != State::Ground {
            self.length += c.len_utf8();
            if self.length > LONGEST_SEQUENCE {
                self.state = State::Ground;
            }
        }
        self.state = match (self.state, c) {
            (State::String, '\u{1b}') => State::StringEscape,
            (_, '\u{1b}') => {
                self.length = 0;
                State::Escape
            }
            // A line end ends any sequence, so that a broken one hides one line at most.
            (State::Ground, _) | (_, '\n' | '\r') => {
                self.ground(c, out);
                State::Ground
            }
            // So do CAN and SUB on every terminal.
            (_, '\u{18}' | '\u{1a}') | (State::String, '\u{7}') => State::Ground,
            // Any other control acts in the middle of a sequence, and the sequence goes on.
            (state, '\0'..='\u{1f}') => state,
            (State::Escape | State::StringEscape, '[') => State::Csi,
            (State::Escape | State::StringEscape, ']' | 'P' | 'X' | '^' | '_') => State::String,
            (State::Escape | State::StringEscape | State::Intermediate, ' '..='/') => State::Intermediate,
            (State::Escape | State::StringEscape | State::Intermediate, _) | (State::Csi, '@'..='~') => {
                State::Ground
            }
            (state @ (State::Csi | State::String), _) => state,
        };
    }

    fn ground(&mut self, c: char, out: &mut String) {
        let after_return = std::mem::replace(&mut self.after_return, c == '\r');
        match c {
            // A return goes back to the line's start: what follows is another line to read. Returns before a
            // line end, however many, are that line end's.
            '\r' => {}
            '\n' => out.push('\n'),
            c => {
                if after_return {
                    out.push('\n');
                }
                if c == '\t' {
                    out.push(c);
                } else {
                    push_escaped(c, out);
                }
            }
        }
    }
}

/// All of `bytes` at once.
pub fn plain(bytes: &[u8]) -> String {
    let (mut filter, mut out) = (Plain::default(), String::with_capacity(bytes.len()));
    filter.feed(bytes, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_go_and_controls_show() {
        for (raw, expected) in [
            ("a\u{1b}[1;31mred\u{1b}[0m b", "ared b"),
            ("\u{1b}]0;title\u{7}x\u{1b}]8;;http://y\u{1b}\\link", "xlink"),
            ("\u{1b}P1$r0m\u{1b}\\x\u{1b}_Gpicture\u{1b}\\y", "xy"),
            ("\u{1b}(B\u{1b}=\u{1b}7x", "x"),
            ("one\r\ntwo\r\r\nthree", "one\ntwo\nthree"),
            ("10%\r50%\r\r100%\n", "10%\n50%\n100%\n"),
            ("tab\there\u{8}\u{7}\0", "tab\there\\u{8}\\u{7}\\u{0}"),
            ("c1 \u{9b}2J", "c1 \\u{9b}2J"),
            ("\u{1b}]0;never ended\nnext line", "\nnext line"),
            ("\u{1b}[31\u{18}x", "x"),
            ("\u{1b}[3\u{1b}[31mx", "x"),
            ("漢字 é", "漢字 é"),
        ] {
            assert_eq!(plain(raw.as_bytes()), expected, "{raw:?}");
        }
        assert_eq!(plain(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn a_sequence_that_never_ends_hides_only_so_much() {
        let raw = format!("\u{1b}]{}", "x".repeat(3 * LONGEST_SEQUENCE));
        assert!(plain(raw.as_bytes()).len() > LONGEST_SEQUENCE);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
            let cut = cut.min(bytes.len());
            let (mut filter, mut out) = (Plain::default(), String::new());
            filter.feed(&bytes[..cut], &mut out);
            filter.feed(&bytes[cut..], &mut out);
            prop_assert_eq!(out, plain(&bytes));
        }

        #[test]
        fn nothing_that_acts_comes_through(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let text = plain(&bytes);
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
        }
    }
}
