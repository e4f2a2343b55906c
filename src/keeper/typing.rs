//! What is typed at a program, and not taken by its terminal yet.
//!
//! Those who are attached type and go on. Those who send wait until all of theirs was taken; when one of them gives
//! up, what is left of it is withdrawn: it was told as not typed, and would be typed twice if it were sent again.

use std::{collections::VecDeque, io, os::fd::AsFd};

use crate::{
    api::{attach::Typed, keys::Key},
    host::poll,
};

use super::screen::TypingModes;

/// While the program has not read so much, nothing else is taken from those who send.
const MOST: usize = 1 << 20;
/// Room that is not kept.
const SPARE: usize = 64 << 10;

const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// What was typed.
#[derive(Debug, Default)]
pub struct Typing {
    bytes: VecDeque<u8>,
    /// Bytes that the terminal has taken, ever.
    taken: u64,
    /// Who waits until theirs are.
    senders: Vec<Sender>,
}

#[derive(Debug)]
struct Sender {
    peer: u64,
    /// Where it begins and ends, counted as `taken` is.
    begin: u64,
    end: u64,
    pieces: Vec<Piece>,
}

/// A part of what was sent at once, which may be cut off in the middle.
#[derive(Debug)]
struct Piece {
    length: usize,
    /// Bytes at its begin and at its end that are typed whole if any of it is.
    head: usize,
    tail: usize,
}

impl Typing {
    /// Bytes that were not taken.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Types for one who does not wait for it.
    pub fn push(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.bytes.extend(bytes);
    }

    /// Types for a peer, who is told when it was taken. An error says why not.
    pub fn send(&mut self, peer: u64, typed: &[Typed], modes: TypingModes) -> Result<(), &'static str> {
        // More than one each would be without bound: nothing at all takes no room, and is not taken before the rest.
        if self.bytes.len() > MOST || self.senders.iter().any(|sender| sender.peer == peer) {
            return Err("the program does not read: what was typed before still waits");
        }
        let begin = self.taken + self.bytes.len() as u64;
        let mut pieces = Vec::new();
        for typed in typed {
            let (piece, bytes) = encoded(typed, modes);
            pieces.push(piece);
            self.bytes.extend(bytes);
        }
        let end = self.taken + self.bytes.len() as u64;
        self.senders.push(Sender { peer, begin, end, pieces });
        Ok(())
    }

    /// Those of whom all was taken. They are told once.
    pub fn done(&mut self) -> Vec<u64> {
        let taken = self.taken;
        self.senders.extract_if(.., |sender| sender.end <= taken).map(|sender| sender.peer).collect()
    }

    /// Takes back what was not taken of those who are not there any more.
    pub fn withdraw(&mut self, is_there: impl Fn(u64) -> bool) {
        while let Some(at) = self.senders.iter().position(|sender| !is_there(sender.peer)) {
            let gone = self.senders.remove(at);
            let mut from = gone.begin;
            let mut cut = 0;
            for piece in gone.pieces {
                let (begin, end) = (from, from + piece.length as u64);
                from = end;
                if let Some((first, last)) = self.superfluous(&piece, begin, end) {
                    // What was cut before moved the rest.
                    self.bytes.drain(first - cut..last - cut);
                    cut += last - first;
                }
            }
            for later in self.senders.iter_mut().filter(|sender| sender.begin >= gone.end) {
                later.begin -= cut as u64;
                later.end -= cut as u64;
            }
        }
    }

    /// The part of a piece that need not be typed, as it waits now.
    fn superfluous(&self, piece: &Piece, begin: u64, end: u64) -> Option<(usize, usize)> {
        let waits = |at: u64| usize::try_from(at.saturating_sub(self.taken)).unwrap_or(usize::MAX);
        if begin >= self.taken {
            return Some((waits(begin), waits(end)));
        }
        if end <= self.taken {
            return None;
        }
        // Begun: not half a key, half a character or a paste without an end.
        let last = waits(end - piece.tail as u64);
        let mut first = waits(begin + piece.head as u64);
        let continues = |byte: &u8| byte & 0xc0 == 0x80;
        while first < last && self.bytes.get(first).is_some_and(continues) {
            first += 1;
        }
        (first < last).then_some((first, last))
    }

    /// Types a key at once, or not at all. Says which.
    pub fn press(&mut self, key: &Key, modes: TypingModes, master: impl AsFd) -> bool {
        self.write(&master);
        if !self.bytes.is_empty() {
            return false; // it would come when the program reads again
        }
        let bytes = key.bytes(modes.application_cursor);
        // A terminal takes a few bytes whole or not at all.
        if !poll::write(&master, &bytes).is_ok_and(|count| count == bytes.len()) {
            return false;
        }
        self.taken += bytes.len() as u64;
        true
    }

    /// Gives the program's terminal what it takes.
    pub fn write(&mut self, master: impl AsFd) {
        while !self.bytes.is_empty() {
            let (first, _) = self.bytes.as_slices();
            match poll::write(&master, first) {
                Ok(0) => break,
                Ok(count) => self.take(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody has the terminal open: nobody will ever read it.
                Err(_) => self.take(self.bytes.len()),
            }
        }
        if self.bytes.is_empty() && self.bytes.capacity() > SPARE {
            self.bytes = VecDeque::new();
        }
    }

    fn take(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.taken += count as u64;
    }
}

/// As bytes for a program in these modes.
fn encoded(typed: &Typed, modes: TypingModes) -> (Piece, Vec<u8>) {
    let whole = |bytes: Vec<u8>| (Piece { length: bytes.len(), head: bytes.len(), tail: 0 }, bytes);
    let text = |bytes: Vec<u8>| (Piece { length: bytes.len(), head: 0, tail: 0 }, bytes);
    match typed {
        Typed::Key(key) => whole(key.bytes(modes.application_cursor)),
        Typed::Text(line) if !line.contains(char::is_control) => text(line.clone().into_bytes()),
        Typed::Text(pasted) | Typed::Paste(pasted) if modes.bracketed_paste => {
            let bytes = [PASTE_BEGINS, pasteable(pasted).as_bytes(), PASTE_ENDS].concat();
            (Piece { length: bytes.len(), head: PASTE_BEGINS.len(), tail: PASTE_ENDS.len() }, bytes)
        }
        Typed::Text(pasted) | Typed::Paste(pasted) => text(pasteable(pasted).into_bytes()),
    }
}

/// Text as a terminal pastes it: with tabs and ends of lines, and no other control characters. Text from anywhere
/// could else end the paste, and press keys: an end of the paste may be put together from what is left when another
/// is cut out, so it is the character that goes and not the sequence. Where the program knows no pastes, an end of a
/// line is enter, as with any terminal; the rest is text all the same.
fn pasteable(text: &str) -> String {
    let lines = text.replace("\r\n", "\r").replace('\n', "\r");
    lines.chars().filter(|char| matches!(char, '\t' | '\r') || !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: TypingModes = TypingModes { application_cursor: false, bracketed_paste: false };
    const PASTES: TypingModes = TypingModes { application_cursor: false, bracketed_paste: true };

    fn bytes(typed: &Typed, modes: TypingModes) -> String {
        String::from_utf8(encoded(typed, modes).1).unwrap()
    }

    /// What a program that took `taken` bytes, and then reads all, is given when `gone` gives up meanwhile.
    fn read(typing: &mut Typing, taken: usize, gone: u64) -> String {
        let mut all: Vec<u8> = typing.bytes.iter().take(taken).copied().collect();
        typing.take(taken);
        typing.withdraw(|peer| peer != gone);
        all.extend(&typing.bytes);
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn nothing_breaks_out_of_a_paste() {
        let foreign = [
            "\x1b[201~rm -rf x\r",
            "\x1b[2\x1b[201~01~rm -rf x\r",
            "\x1b[2\x1b[2\x1b[201~01~01~x",
            "\u{9b}201~x",
            "a\x03b\x04c\x15d\x7fe\x1af\u{85}g",
        ];
        for text in foreign.map(str::to_owned) {
            for typed in [Typed::Paste(text.clone()), Typed::Text(text.clone())] {
                let pasted = bytes(&typed, PASTES);
                let inner = pasted.strip_prefix("\x1b[200~").and_then(|rest| rest.strip_suffix("\x1b[201~"));
                let inner = inner.unwrap_or_else(|| panic!("{pasted:?}"));
                assert!(!inner.contains(|char: char| char.is_control() && char != '\r'), "{inner:?}");
                // Where it is no paste, it presses no key but enter.
                assert_eq!(bytes(&typed, PLAIN), inner);
            }
        }
        assert_eq!(bytes(&Typed::Text("a\rb".into()), PASTES), "\x1b[200~a\rb\x1b[201~");
        assert_eq!(bytes(&Typed::Paste("a\tb\r\nc\nd".into()), PASTES), "\x1b[200~a\tb\rc\rd\x1b[201~");
        assert_eq!(bytes(&Typed::Text("one line, 漢 é".into()), PASTES), "one line, 漢 é");
    }

    #[test]
    fn what_is_left_of_one_who_gave_up_is_never_typed() {
        let text = |text: &str| vec![Typed::Text(text.to_owned())];
        for taken in 0..=9_usize {
            let mut typing = Typing::default();
            typing.send(1, &text("abc"), PLAIN).unwrap();
            typing.send(2, &text("def"), PLAIN).unwrap();
            typing.push(*b"typed");
            typing.send(3, &text("ghi"), PLAIN).unwrap();
            let second: String = "def".chars().take(taken.saturating_sub(3)).collect();
            assert_eq!(read(&mut typing, taken, 2), format!("abc{second}typedghi"), "{taken}");
            // The others wait for as much as is theirs.
            let first_left = 3_usize.saturating_sub(taken);
            typing.done();
            typing.take(first_left);
            assert_eq!(typing.done(), if first_left > 0 { vec![1] } else { vec![] }, "{taken}");
            typing.take(typing.len() - 1);
            assert!(typing.done().is_empty());
            typing.take(1);
            assert_eq!(typing.done(), [3], "{taken}");
        }
    }

    #[test]
    fn what_was_begun_is_not_left_half() {
        let escape: Key = "up".parse().unwrap();
        let typed = [Typed::Text("漢é".into()), Typed::Key(escape), Typed::Paste("one\ntwo".into())];
        let whole = "漢é\x1b[A\x1b[200~one\rtwo\x1b[201~";
        for taken in 0..=whole.len() {
            let mut typing = Typing::default();
            typing.send(1, &typed, PASTES).unwrap();
            let left = read(&mut typing, taken, 1); // of which each is UTF-8
            let paste = whole.len() - 19;
            let expected = match taken {
                0 => String::new(),
                1..=3 => "漢".to_owned(),
                4..=5 => "漢é".to_owned(),
                6..=8 => "漢é\x1b[A".to_owned(),
                _ => format!("{}\x1b[201~", &whole[..taken.clamp(paste + 6, whole.len() - 6)]),
            };
            assert_eq!(left, expected, "{taken}");
        }
    }

    #[test]
    fn nobody_waits_twice() {
        let mut typing = Typing::default();
        typing.push(*b"untaken");
        typing.send(1, &[], PLAIN).unwrap();
        typing.send(1, &[], PLAIN).unwrap_err();
        typing.send(2, &[Typed::Text("x".into())], PLAIN).unwrap();
        typing.take(7);
        assert_eq!(typing.done(), [1]);
        typing.send(1, &[], PLAIN).unwrap();
        typing.push(vec![b'x'; MOST]);
        typing.send(3, &[], PLAIN).unwrap_err();
    }
}
