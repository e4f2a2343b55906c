//! Keys by name: `ctrl-c`, `enter`, `up`, `alt-shift-f5`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A key, with what is held down beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    base: Base,
    ctrl: bool,
    alt: bool,
    shift: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Char(char),
    Enter,
    Tab,
    Escape,
    Backspace,
    /// Ends with this letter: `CSI A`, and `CSI 1 ; 5 A` with a modifier.
    Letter(&'static str, char),
    /// `CSI 3 ~`.
    Number(&'static str, u8),
}

/// Names, other names, and what they are.
const NAMED: [(&str, &str, Base); 31] = [
    ("enter", "return", Base::Enter),
    ("tab", "tab", Base::Tab),
    ("escape", "esc", Base::Escape),
    ("backspace", "bspace", Base::Backspace),
    ("space", "spc", Base::Char(' ')),
    ("up", "up", Base::Letter("up", 'A')),
    ("down", "down", Base::Letter("down", 'B')),
    ("right", "right", Base::Letter("right", 'C')),
    ("left", "left", Base::Letter("left", 'D')),
    ("end", "end", Base::Letter("end", 'F')),
    ("home", "home", Base::Letter("home", 'H')),
    ("f1", "f1", Base::Letter("f1", 'P')),
    ("f2", "f2", Base::Letter("f2", 'Q')),
    ("f3", "f3", Base::Letter("f3", 'R')),
    ("f4", "f4", Base::Letter("f4", 'S')),
    ("insert", "ins", Base::Number("insert", 2)),
    ("delete", "del", Base::Number("delete", 3)),
    ("pageup", "pgup", Base::Number("pageup", 5)),
    ("pagedown", "pgdn", Base::Number("pagedown", 6)),
    ("f5", "f5", Base::Number("f5", 15)),
    ("f6", "f6", Base::Number("f6", 17)),
    ("f7", "f7", Base::Number("f7", 18)),
    ("f8", "f8", Base::Number("f8", 19)),
    ("f9", "f9", Base::Number("f9", 20)),
    ("f10", "f10", Base::Number("f10", 21)),
    ("f11", "f11", Base::Number("f11", 23)),
    ("f12", "f12", Base::Number("f12", 24)),
    ("backslash", "backslash", Base::Char('\\')),
    ("minus", "minus", Base::Char('-')),
    ("plus", "plus", Base::Char('+')),
    ("comma", "comma", Base::Char(',')),
];

/// Why a name is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no key: {why}")]
pub struct KeyError {
    name: String,
    why: &'static str,
}

impl Key {
    /// Enter.
    pub const ENTER: Self = Self { base: Base::Enter, ctrl: false, alt: false, shift: false };
    /// Escape.
    pub const ESCAPE: Self = Self { base: Base::Escape, ctrl: false, alt: false, shift: false };
    /// Ctrl-c.
    pub const CTRL_C: Self = Self { base: Base::Char('c'), ctrl: true, alt: false, shift: false };
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        let wrong = |why| KeyError { name: name.to_owned(), why };
        let mut key = Self { base: Base::Enter, ctrl: false, alt: false, shift: false };
        let mut rest = name;
        while let Some((modifier, base)) = rest.split_once(['-', '+']).filter(|(_, base)| !base.is_empty()) {
            match modifier.to_ascii_lowercase().as_str() {
                "ctrl" | "control" | "c" => key.ctrl = true,
                "alt" | "meta" | "m" => key.alt = true,
                "shift" | "s" => key.shift = true,
                _ => return Err(wrong("say ctrl-, alt- or shift- before a key")),
            }
            rest = base;
        }
        let lower = rest.to_ascii_lowercase();
        let mut chars = rest.chars();
        key.base =
            match (chars.next(), chars.next()) {
                (Some(one), None) if !one.is_control() => Base::Char(one),
                _ => {
                    let named = NAMED.iter().find(|(first, other, _)| lower == *first || lower == *other);
                    named.map(|(_, _, base)| *base).ok_or_else(|| {
                    wrong("keys are single characters, enter, tab, escape, backspace, space, up, down, left, \
                           right, home, end, pageup, pagedown, insert, delete and f1 to f12")
                })?
                }
            };
        match key.base {
            Base::Char(char) if key.ctrl && control(char).is_none() => {
                Err(wrong("ctrl goes with a to z, space and @ [ \\ ] ^ _ ?"))
            }
            _ => Ok(key),
        }
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;
    fn try_from(name: String) -> Result<Self, KeyError> {
        name.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (held, name) in [(self.ctrl, "ctrl-"), (self.alt, "alt-"), (self.shift, "shift-")] {
            if held {
                f.write_str(name)?;
            }
        }
        match self.base {
            Base::Char(' ') => f.write_str("space"),
            Base::Char(char) => write!(f, "{char}"),
            Base::Enter => f.write_str("enter"),
            Base::Tab => f.write_str("tab"),
            Base::Escape => f.write_str("escape"),
            Base::Backspace => f.write_str("backspace"),
            Base::Letter(name, _) | Base::Number(name, _) => f.write_str(name),
        }
    }
}

/// The byte that a character is with ctrl.
fn control(char: char) -> Option<u8> {
    match char.to_ascii_uppercase() {
        upper @ '@'..='_' => u8::try_from(upper).ok().map(|byte| byte & 0x1f),
        ' ' => Some(0),
        '?' => Some(0x7f),
        _ => None,
    }
}

impl Key {
    /// The character that is pressed with ctrl alone, and the byte that this is.
    pub fn as_control(&self) -> Option<(char, u8)> {
        match self.base {
            Base::Char(char) if self.ctrl && !self.alt && !self.shift => Some((char, control(char)?)),
            _ => None,
        }
    }

    /// What a terminal sends for it; `application_cursor`: the program asked for the other form of cursor keys.
    pub fn bytes(&self, application_cursor: bool) -> Vec<u8> {
        let modifier = 1 + u8::from(self.shift) + 2 * u8::from(self.alt) + 4 * u8::from(self.ctrl);
        let plain = |text: &[u8]| {
            let mut bytes = if self.alt { vec![0x1b] } else { Vec::new() };
            bytes.extend_from_slice(text);
            bytes
        };
        match self.base {
            Base::Char(char) => match control(char).filter(|_| self.ctrl) {
                Some(byte) => plain(&[byte]),
                None if self.shift => plain(char.to_uppercase().to_string().as_bytes()),
                None => plain(char.to_string().as_bytes()),
            },
            Base::Enter => plain(b"\r"),
            Base::Tab if self.shift => plain(b"\x1b[Z"),
            Base::Tab => plain(b"\t"),
            Base::Escape => plain(b"\x1b"),
            Base::Backspace if self.ctrl => plain(b"\x08"),
            Base::Backspace => plain(b"\x7f"),
            Base::Letter(_, letter) if modifier > 1 => format!("\x1b[1;{modifier}{letter}").into_bytes(),
            Base::Letter(_, letter) if application_cursor || letter >= 'P' => {
                format!("\x1bO{letter}").into_bytes()
            }
            Base::Letter(_, letter) => format!("\x1b[{letter}").into_bytes(),
            Base::Number(_, number) if modifier > 1 => format!("\x1b[{number};{modifier}~").into_bytes(),
            Base::Number(_, number) => format!("\x1b[{number}~").into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(name: &str) -> String {
        String::from_utf8(name.parse::<Key>().unwrap().bytes(false)).unwrap()
    }

    #[test]
    fn keys_are_sent_as_terminals_send_them() {
        for (name, bytes) in [
            ("ctrl-c", "\x03"),
            ("C-c", "\x03"),
            ("ctrl-]", "\x1d"),
            ("ctrl-backslash", "\x1c"),
            ("ctrl-space", "\0"),
            ("enter", "\r"),
            ("Esc", "\x1b"),
            ("tab", "\t"),
            ("shift-tab", "\x1b[Z"),
            ("backspace", "\x7f"),
            ("alt-x", "\x1bx"),
            ("é", "é"),
            ("-", "-"),
            ("ctrl--", ""),
            ("up", "\x1b[A"),
            ("ctrl-up", "\x1b[1;5A"),
            ("alt-shift-f5", "\x1b[15;4~"),
            ("f1", "\x1bOP"),
            ("PageUp", "\x1b[5~"),
            ("delete", "\x1b[3~"),
        ] {
            if bytes.is_empty() {
                assert!(name.parse::<Key>().is_err(), "{name}");
            } else {
                assert_eq!(sent(name), bytes, "{name}");
            }
        }
        assert_eq!("up".parse::<Key>().unwrap().bytes(true), b"\x1bOA");
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_would_be_one() {
        for name in ["", "ctrl-", "hyper-x", "f13", "ctrl-é", "ab", "\n"] {
            assert!(name.parse::<Key>().is_err(), "{name:?}");
        }
        let error = "entr".parse::<Key>().unwrap_err().to_string();
        assert!(error.starts_with("`entr` is no key: ") && error.contains("enter"), "{error}");
    }

    #[test]
    fn a_key_is_the_same_after_a_journey() {
        for name in ["ctrl-c", "alt-shift-f5", "space", "x", "ctrl-alt-pagedown"] {
            let key: Key = name.parse().unwrap();
            let json = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key, "{json}");
        }
    }
}
