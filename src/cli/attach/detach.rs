//! What is typed, and in it the wish to detach: values alone.
//!
//! The detach key comes as one byte, or as a sequence from terminals that report keys by kitty's protocol or by
//! xterm's modifyOtherKeys, which a session may have switched on. Pressed twice it is sent once. In a paste it is
//! text.

use crate::api::keys::Key;

/// Bytes that come in one read and are more than a person types: a paste, where the terminal does not mark it.
const PASTED: usize = 64;

const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// The key before `d`.
const PREFIX: (char, u8) = ('\\', 0x1c);

/// Which keys detach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetachKeys {
    key: Option<(char, u8)>,
}

impl DetachKeys {
    /// `key` with ctrl, and `ctrl-\ d`.
    pub fn new(key: &Key) -> Option<Self> {
        key.as_control().map(|key| Self { key: Some((key.0.to_ascii_lowercase(), key.1)) })
    }

    /// None at all.
    pub fn none() -> Self {
        Self { key: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pressed {
    #[default]
    Nothing,
    /// The detach key: a second one makes it text.
    Key,
    /// The prefix.
    Prefix,
}

/// The state between reads.
#[derive(Debug)]
pub struct Typing {
    keys: DetachKeys,
    pasting: bool,
    pressed: Pressed,
    /// The key that was pressed, as it came.
    held: Vec<u8>,
    /// The beginning of a sequence that may be one of ours.
    partial: Vec<u8>,
    /// How much of it was typed already: an ESC at the end of a read is a key, until more of a sequence follows.
    sent: usize,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meant {
    /// To be typed.
    pub typed: Vec<u8>,
    /// The person wants to leave.
    pub detach: bool,
}

/// A key, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Press {
    Key,
    Prefix,
    /// `d`, plain.
    Letter,
    /// One of the first two, let go: it means nothing, and is no other key.
    Release,
    Other,
}

impl Typing {
    /// Nothing was typed yet.
    pub fn new(keys: DetachKeys) -> Self {
        Self {
            keys,
            pasting: false,
            pressed: Pressed::Nothing,
            held: Vec::new(),
            partial: Vec::new(),
            sent: 0,
        }
    }

    /// Whether [`Self::pause`] is waited for.
    pub fn is_waiting(&self) -> bool {
        self.pressed != Pressed::Nothing || self.partial.len() > self.sent
    }

    /// What was read.
    pub fn read(&mut self, bytes: &[u8]) -> Meant {
        let mut meant = Meant::default();
        if self.keys.key.is_none() {
            meant.typed.extend_from_slice(bytes);
            return meant;
        }
        let many = bytes.len() > PASTED;
        let mut sent = std::mem::take(&mut self.sent);
        if self.partial == [0x1b] && bytes.first() != Some(&b'[') {
            (self.partial, sent) = (Vec::new(), 0);
        }
        let bytes = [std::mem::take(&mut self.partial).as_slice(), bytes].concat();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() && !meant.detach {
            let Some(length) = unit(rest) else {
                self.partial = rest.to_vec();
                self.sent = sent;
                // Not before a key that is held back: it was pressed later.
                if rest == [0x1b] && self.pressed == Pressed::Nothing {
                    meant.typed.extend_from_slice(rest);
                    self.sent = 1;
                }
                break;
            };
            let (one, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            if one == PASTE_BEGINS || one == PASTE_ENDS {
                self.pasting = one == PASTE_BEGINS;
            }
            let press = if self.pasting || (many && one.len() == 1) { Press::Other } else { self.press(one) };
            self.take(&press, one.get(std::mem::take(&mut sent)..).unwrap_or_default(), &mut meant);
        }
        meant
    }

    /// Nothing followed for a moment.
    pub fn pause(&mut self) -> Meant {
        let mut meant =
            Meant { typed: self.partial.split_off(self.sent.min(self.partial.len())), detach: false };
        self.partial.clear();
        self.sent = 0;
        match std::mem::take(&mut self.pressed) {
            Pressed::Nothing => {}
            Pressed::Key => meant.detach = true,
            Pressed::Prefix => {
                let mut typed = std::mem::take(&mut self.held);
                typed.append(&mut meant.typed);
                meant.typed = typed;
            }
        }
        self.held.clear();
        meant
    }

    fn take(&mut self, press: &Press, one: &[u8], meant: &mut Meant) {
        match (self.pressed, press) {
            (_, Press::Release) if self.pressed != Pressed::Nothing => {}
            (Pressed::Nothing, Press::Key) => self.press_and_hold(Pressed::Key, one),
            (Pressed::Nothing, Press::Prefix) => self.press_and_hold(Pressed::Prefix, one),
            (Pressed::Nothing, _) => meant.typed.extend_from_slice(one),
            (Pressed::Key, Press::Key) | (Pressed::Prefix, Press::Prefix) => {
                self.pressed = Pressed::Nothing;
                meant.typed.append(&mut self.held);
            }
            // What follows the wish is not the session's any more.
            (Pressed::Key, _) | (Pressed::Prefix, Press::Letter) => meant.detach = true,
            (Pressed::Prefix, Press::Key) => {
                meant.typed.append(&mut self.held);
                self.press_and_hold(Pressed::Key, one);
            }
            (Pressed::Prefix, _) => {
                self.pressed = Pressed::Nothing;
                meant.typed.append(&mut self.held);
                meant.typed.extend_from_slice(one);
            }
        }
    }

    fn press_and_hold(&mut self, pressed: Pressed, one: &[u8]) {
        self.pressed = pressed;
        self.held = one.to_vec();
    }

    fn press(&self, one: &[u8]) -> Press {
        let Some(key) = self.keys.key else { return Press::Other };
        if one == [key.1] {
            return Press::Key;
        }
        if one == [PREFIX.1] {
            return Press::Prefix;
        }
        if one == b"d" {
            return Press::Letter;
        }
        let Some(Reported { codes, modifiers, released }) = reported(one) else { return Press::Other };
        let is = |char: char| codes.contains(&u32::from(char));
        // Caps lock and num lock change no key.
        let held = modifiers & !(64 | 128);
        let press = match held {
            4 if is(key.0) => Press::Key,
            4 if is(PREFIX.0) => Press::Prefix,
            0 if is('d') => Press::Letter,
            _ => return Press::Other,
        };
        match press {
            Press::Key | Press::Prefix if released => Press::Release,
            Press::Letter if released => Press::Other,
            press => press,
        }
    }
}

/// The length of the first key, byte or mark in `bytes`; `None`: it may go on.
fn unit(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x1b] => None,
        [0x1b, b'[', rest @ ..] => {
            match rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':')) {
                Some(end) => Some(2 + end + 1),
                // No key is so long: it is not kept for ever.
                None if rest.len() > 32 => Some(bytes.len()),
                None => None,
            }
        }
        _ => Some(1),
    }
}

struct Reported {
    /// The key, as it would be in other layouts too.
    codes: Vec<u32>,
    /// Bits: 1 shift, 2 alt, 4 ctrl, 64 caps lock, 128 num lock.
    modifiers: u32,
    released: bool,
}

/// `CSI code:shifted:base ; modifiers:event u` or `CSI 27 ; modifiers ; code ~`.
fn reported(one: &[u8]) -> Option<Reported> {
    let text = std::str::from_utf8(one).ok()?.strip_prefix("\x1b[")?;
    let number = |text: &str| text.parse::<u32>().ok();
    if let Some(text) = text.strip_suffix('u') {
        let mut fields = text.split(';');
        let codes = fields.next()?.split(':').filter_map(number).collect();
        let mut second = fields.next().unwrap_or("1").split(':');
        let modifiers = second.next().and_then(number).unwrap_or(1).saturating_sub(1);
        return Some(Reported { codes, modifiers, released: second.next() == Some("3") });
    }
    let mut fields = text.strip_prefix("27;")?.strip_suffix('~')?.split(';').map(number);
    let (modifiers, code) = (fields.next()??.saturating_sub(1), fields.next()??);
    Some(Reported { codes: vec![code], modifiers, released: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typing() -> Typing {
        Typing::new(DetachKeys::new(&"ctrl-]".parse().unwrap()).unwrap())
    }

    /// What is typed by these reads and a pause after them, and whether they detach.
    fn meant(reads: &[&str]) -> (String, bool) {
        let mut typing = typing();
        let mut typed = Vec::new();
        for read in reads {
            let meant = typing.read(read.as_bytes());
            typed.extend(meant.typed);
            if meant.detach {
                return (String::from_utf8(typed).unwrap(), true);
            }
        }
        let meant = typing.pause();
        typed.extend(meant.typed);
        (String::from_utf8(typed).unwrap(), meant.detach)
    }

    #[test]
    fn the_key_detaches_in_every_encoding() {
        for key in [
            "\x1d",
            "\x1b[93;5u",
            "\x1b[93;5:1u",
            "\x1b[93;69u",
            "\x1b[93;133u",
            "\x1b[93:125;5u",
            "\x1b[43::93;5u",
            "\x1b[27;5;93~",
            "\x1cd",
            "\x1b[92;5ud",
            "\x1b[92;5u\x1b[100u",
            "\x1b[27;5;92~\x1b[100;1u",
            "\x1c\x1b[92;5:3ud",
        ] {
            assert_eq!(meant(&["a", key]), ("a".into(), true), "{key:?}");
            // However a sequence is split.
            for end in 1..key.len() {
                let (typed, detach) = meant(&[&key[..end], &key[end..]]);
                assert!(detach && (typed.is_empty() || typed == "\x1b"), "{key:?} {end}: {typed:?}");
            }
        }
    }

    #[test]
    fn twice_sends_it_once() {
        assert_eq!(meant(&["\x1d\x1d"]), ("\x1d".into(), false));
        assert_eq!(meant(&["\x1d", "\x1d", "x"]), ("\x1dx".into(), false));
        let press = "\x1b[93;5u";
        assert_eq!(meant(&[press, "\x1b[93;5:3u", press]), (press.into(), false));
        assert_eq!(meant(&["\x1c\x1c"]), ("\x1c".into(), false));
        assert_eq!(meant(&["\x1c", "x"]), ("\x1cx".into(), false));
        assert_eq!(meant(&["\x1c"]), ("\x1c".into(), false), "after a pause it is itself");
    }

    #[test]
    fn in_a_paste_it_is_text() {
        for paste in ["\x1b[200~a\x1db\x1cd\x1b[201~", "\x1b[200~\x1d\x1b[201~"] {
            assert_eq!(meant(&[paste]), (paste.into(), false));
            for end in 0..paste.len() {
                assert_eq!(meant(&[&paste[..end], &paste[end..]]), (paste.into(), false), "{end}");
            }
            assert_eq!(meant(&[paste, "\x1d"]), (paste.into(), true));
        }
        let long = format!("{}\x1d{}", "x".repeat(40), "y".repeat(40));
        assert_eq!(meant(&[&long]), (long.clone(), false), "without marks, by its length");
    }

    #[test]
    fn other_keys_are_sent_as_they_come() {
        for keys in [
            "\x1b",
            "\x1b[A",
            "\x1bOA",
            "é漢",
            "\x1b[93;1u",
            "\x1b[93;6u",
            "\x1b[100;5u",
            "d",
            "\x1b[1;5D",
            "\r",
        ] {
            assert_eq!(meant(&[keys]), (keys.into(), false), "{keys:?}");
        }
        let mut typing = typing();
        assert_eq!(typing.read(b"\x1b").typed, b"\x1b", "a lone ESC does not wait");
        assert!(!typing.is_waiting());
    }

    #[test]
    fn another_key_or_none() {
        let mut typing = Typing::new(DetachKeys::new(&"ctrl-a".parse().unwrap()).unwrap());
        assert_eq!(typing.read(b"\x1d").typed, b"\x1d");
        assert!(typing.read(b"\x1b[97;5u").typed.is_empty());
        assert!(typing.pause().detach);
        let mut typing = Typing::new(DetachKeys::none());
        assert_eq!(typing.read(b"\x1d\x1cd").typed, b"\x1d\x1cd");
        assert!(DetachKeys::new(&"x".parse().unwrap()).is_none());
    }

    #[test]
    fn an_escape_does_not_overtake_a_key_that_is_held_back() {
        assert_eq!(meant(&["x\x1c\x1b"]), ("x\x1c\x1b".to_owned(), false));
        assert_eq!(meant(&["x\x1c\x1b", "[A"]), ("x\x1c\x1b[A".to_owned(), false));
    }
}
