//! What is typed at the view.

use super::order::Sort;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Leave.
    Quit,
    /// Another order.
    Sort(Sort),
    /// Other rows.
    Scroll(Scroll),
}

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scroll {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// As many rows up as are shown.
    PageUp,
    /// As many rows down as are shown.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
}

/// Keys from bytes, which may be cut anywhere.
#[derive(Debug, Default)]
pub struct Keys(State);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After ESC: the key of that name, or the begin of another one's sequence.
    Escape,
    /// In a sequence, with its number.
    Sequence(u16),
    /// In one that no key of ours has.
    Foreign,
}

impl Keys {
    /// The keys that `bytes` make.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().filter_map(|byte| self.byte(*byte)).collect()
    }

    /// Whether a pause decides what was typed.
    pub fn is_waiting(&self) -> bool {
        self.0 != State::Ground
    }

    /// Nothing more came: an ESC was the key.
    pub fn pause(&mut self) -> Option<Key> {
        (std::mem::take(&mut self.0) == State::Escape).then_some(Key::Quit)
    }

    fn byte(&mut self, byte: u8) -> Option<Key> {
        let (next, key) = match (self.0, byte) {
            (State::Ground | State::Sequence(_) | State::Foreign, 0x1b) => (State::Escape, None),
            (State::Ground, byte) => (State::Ground, plain(byte)),
            (State::Escape, b'[' | b'O') => (State::Sequence(0), None),
            (State::Escape, 0x1b) => (State::Ground, Some(Key::Quit)),
            // With alt, or another key than ours.
            (State::Escape, _) | (State::Foreign, 0x40..=0x7e) => (State::Ground, None),
            (State::Sequence(number), b'0'..=b'9') => {
                let digit = u16::from(byte - b'0');
                (State::Sequence(number.saturating_mul(10).saturating_add(digit)), None)
            }
            (State::Sequence(number), 0x40..=0x7e) => (State::Ground, special(number, byte)),
            (State::Sequence(_) | State::Foreign, _) => (State::Foreign, None),
        };
        self.0 = next;
        key
    }
}

fn plain(byte: u8) -> Option<Key> {
    Some(match byte {
        // ctrl-c; in a raw terminal it is a key as any other.
        b'q' | b'Q' | 0x03 => Key::Quit,
        b'c' | b'P' => Key::Sort(Sort::Cpu),
        b'm' | b'M' => Key::Sort(Sort::Memory),
        b'n' | b'N' => Key::Sort(Sort::Name),
        b'i' => Key::Sort(Sort::Idle),
        b'w' => Key::Sort(Sort::Waiting),
        b'k' => Key::Scroll(Scroll::Up),
        b'j' => Key::Scroll(Scroll::Down),
        b'b' => Key::Scroll(Scroll::PageUp),
        b' ' | b'f' => Key::Scroll(Scroll::PageDown),
        b'g' => Key::Scroll(Scroll::Home),
        b'G' => Key::Scroll(Scroll::End),
        _ => return None,
    })
}

fn special(number: u16, end: u8) -> Option<Key> {
    Some(Key::Scroll(match (number, end) {
        (_, b'A') => Scroll::Up,
        (_, b'B') => Scroll::Down,
        (5, b'~') => Scroll::PageUp,
        (6, b'~') => Scroll::PageDown,
        (_, b'H') | (1 | 7, b'~') => Scroll::Home,
        (_, b'F') | (4 | 8, b'~') => Scroll::End,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_however_they_come() {
        for (typed, expected) in [
            ("q", vec![Key::Quit]),
            ("\u{3}", vec![Key::Quit]),
            ("\u{1b}\u{1b}", vec![Key::Quit]),
            ("cw", vec![Key::Sort(Sort::Cpu), Key::Sort(Sort::Waiting)]),
            ("\u{1b}[A\u{1b}OB", vec![Key::Scroll(Scroll::Up), Key::Scroll(Scroll::Down)]),
            ("\u{1b}[5~\u{1b}[6~", vec![Key::Scroll(Scroll::PageUp), Key::Scroll(Scroll::PageDown)]),
            ("\u{1b}[H\u{1b}[4~", vec![Key::Scroll(Scroll::Home), Key::Scroll(Scroll::End)]),
            // A mouse, an alt key, a key with a modifier, a device that answers.
            ("\u{1b}[<0;1;1M\u{1b}q\u{1b}[1;5A\u{1b}[?1;2c", vec![]),
            ("x\u{7f}\r\u{4}é", vec![]),
        ] {
            assert_eq!(Keys::default().read(typed.as_bytes()), expected, "{typed:?}");
            let mut keys = Keys::default();
            let one_by_one: Vec<Key> = typed.bytes().flat_map(|byte| keys.read(&[byte])).collect();
            assert_eq!(one_by_one, expected, "{typed:?} byte by byte");
            assert!(!keys.is_waiting(), "{typed:?}");
        }
    }

    #[test]
    fn an_escape_is_a_key_once_nothing_follows() {
        let mut keys = Keys::default();
        assert_eq!((keys.read(b"\x1b"), keys.is_waiting()), (vec![], true));
        assert_eq!((keys.pause(), keys.is_waiting()), (Some(Key::Quit), false));
        assert_eq!((keys.read(b"\x1b[5"), keys.is_waiting()), (vec![], true));
        assert_eq!((keys.pause(), keys.read(b"q")), (None, vec![Key::Quit]), "what never ends is given up");
    }
}
