//! What a program asks its terminal, cut from what it prints.
//!
//! A question (where is the cursor, who are you, which colour) is a sequence like any other, and its answer comes
//! back as if it were typed. Clients that attach are terminals too: were the questions passed on, each client
//! would answer, and without clients nobody would. So the keeper answers, and the question goes no further.
//!
//! [`Questions`] is a state machine over the bytes alone: however the stream is split into reads, the same bytes
//! are passed and the same questions are found, in the same order. What may yet become a question is held back
//! until that is known, and never more than [`LONGEST`] bytes of it.

mod grammar;

use grammar::{Kind, Part};

/// Longest sequence that can be a question, and how much of a string (a title, an image, a clipboard) the
/// emulator is given. It would keep the whole of it, and a program can print a string without an end.
pub const LONGEST: usize = 4096;

const ESCAPE: u8 = 0x1b;
/// Asks for a text that was set at the terminal itself; xterm's is empty.
const ENQUIRY: u8 = 0x05;
const BELL: u8 = 0x07;
/// CAN and SUB end any sequence.
const CANCEL: [u8; 2] = [0x18, 0x1a];

/// A question, as far as the answer depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// DSR 5: are you well?
    Status,
    /// DSR 6: where is the cursor? `private`: the DEC form, which is answered in its own form.
    Cursor {
        /// `CSI ? 6 n`.
        private: bool,
    },
    /// DSR ? 15: is there a printer?
    Printer,
    /// DSR ? 996: dark or light?
    ColorScheme,
    /// DA1, DECID.
    PrimaryAttributes,
    /// DA2.
    SecondaryAttributes,
    /// DA3.
    TertiaryAttributes,
    /// XTVERSION.
    Version,
    /// DECRQM of an ANSI mode.
    AnsiMode(u16),
    /// DECRQM of a private mode.
    PrivateMode(u16),
    /// Kitty's keyboard flags.
    KeyboardFlags,
    /// XTQMODKEYS 4.
    ModifyOtherKeys,
    /// XTWINOPS: a size, a state or a title.
    Window(u16),
    /// DECREQTPARM.
    Parameters(u16),
    /// XTSMGRAPHICS, for this item.
    Graphics(u16),
    /// OSC 4 (with the index) and OSC 10 to 19.
    Color {
        /// The number of the OSC.
        code: u16,
        /// Which colour of the palette.
        index: Option<u16>,
        /// Whether the question ended with BEL: the answer then does too.
        bell: bool,
    },
    /// XTGETTCAP: names, still in hexadecimal.
    Capabilities(Vec<Vec<u8>>),
    /// DECRQSS: which setting.
    Setting(Vec<u8>),
    /// What we do not tell: the clipboard, fonts, images. A terminal without them says nothing.
    Unanswered,
}

/// What a stream is made of.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// For the emulator and for clients.
    Pass(&'a [u8]),
    /// For clients alone: the rest of a string that is longer than [`LONGEST`].
    Beside(&'a [u8]),
    /// For nobody but us.
    Question(Question),
    /// The terminal was reset softly (DECSTR), by what was just passed: the emulator does not know that sequence.
    SoftReset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate: no question, but not over.
    Designation,
    /// In a control sequence that may be a question.
    Control,
    /// In one that is too long to be one.
    LongControl,
    /// In a string that may be a question, or not.
    String(Kind, Hold),
    /// After ESC in a string.
    StringEscape(Kind, Hold),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Held,
    Passing,
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Questions {
    state: State,
    /// What of the sequence came with earlier reads, where it is held back.
    held: Vec<u8>,
    /// The sequence's content: without its introducer, and without controls in between.
    content: Vec<u8>,
    /// Controls in the middle of a control sequence, which are obeyed at once and belong to no question.
    controls: Vec<u8>,
    /// Length of the string so far.
    length: usize,
    /// The last bytes that were passed as text.
    tail: [u8; 3],
}

impl Questions {
    /// Takes `bytes` apart; `take` is called for each piece in order.
    pub fn feed(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) {
        Walk { machine: self, bytes, at: 0, given: 0, begin: 0, take }.run();
    }

    /// Whether what was passed so far ends with a whole character, outside of any sequence: what follows means the
    /// same to a terminal that has seen nothing of it.
    pub fn is_between(&self) -> bool {
        let incomplete = |count: usize| {
            let lead = self.tail.get(self.tail.len() - count).copied().unwrap_or_default();
            let follow = self.tail.iter().rev().take(count - 1).all(|byte| (0x80..0xc0).contains(byte));
            let length = match lead {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 1,
            };
            follow && length > count
        };
        self.state == State::Ground && !(1..=3).any(incomplete)
    }
}

/// The machine at work on the bytes of one read.
struct Walk<'a, F> {
    machine: &'a mut Questions,
    bytes: &'a [u8],
    at: usize,
    /// What is before it was given on, or cut.
    given: usize,
    /// Where the sequence that is held back begins; what of it came earlier is in [`Questions::held`].
    begin: usize,
    take: &'a mut F,
}

impl<F: FnMut(Piece<'_>)> Walk<'_, F> {
    fn run(mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            match self.machine.state {
                State::Ground => self.ground(),
                State::Escape | State::Designation => self.escape(byte),
                State::Control => self.control(byte),
                State::LongControl => match byte {
                    ESCAPE => self.start(self.at),
                    0x40..=0x7e => self.machine.state = State::Ground,
                    _ if CANCEL.contains(&byte) => self.machine.state = State::Ground,
                    _ => {}
                },
                State::String(kind, Hold::Held) => self.held_string(kind, byte),
                State::String(kind, Hold::Passing) => self.passing_string(kind),
                State::StringEscape(kind, hold) if byte == b'\\' => self.end_string(kind, hold, false),
                State::StringEscape(..) => {
                    self.break_off();
                    continue; // this byte belongs to the sequence that the ESC began
                }
            }
            self.at += 1;
        }
        match self.machine.state {
            State::Ground | State::LongControl | State::String(_, Hold::Passing) => {
                self.give(self.bytes.len());
            }
            State::Escape
            | State::Designation
            | State::Control
            | State::String(_, Hold::Held)
            | State::StringEscape(..) => {
                self.give(self.begin);
                let rest = self.bytes.get(self.begin..).unwrap_or_default();
                self.machine.held.extend_from_slice(rest);
            }
        }
    }

    fn ground(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.iter().position(|byte| matches!(*byte, ESCAPE | ENQUIRY)) {
            None => self.at = self.bytes.len(),
            Some(found) => {
                self.at += found;
                if self.bytes.get(self.at) == Some(&ESCAPE) {
                    self.start(self.at);
                } else {
                    self.give(self.at);
                    self.given = self.at + 1;
                    (self.take)(Piece::Question(Question::Unanswered));
                }
            }
        }
    }

    /// A sequence begins at `begin`.
    fn start(&mut self, begin: usize) {
        self.begin = begin;
        self.machine.content.clear();
        self.machine.controls.clear();
        self.machine.state = State::Escape;
    }

    /// What a control character does within a sequence: another one begins, it is cancelled, or the
    /// character is carried out on the side. `false`: it is a byte of the sequence.
    fn takes_control(&mut self, byte: u8) -> bool {
        match byte {
            ESCAPE => {
                self.release();
                self.start(self.at);
            }
            _ if CANCEL.contains(&byte) => self.leave(State::Ground),
            0x00..0x20 => self.machine.controls.push(byte),
            _ => return false,
        }
        true
    }

    fn escape(&mut self, byte: u8) {
        let plain = self.machine.state == State::Escape;
        match byte {
            _ if self.takes_control(byte) => {}
            0x20..0x30 => self.machine.state = State::Designation,
            b'[' if plain => self.machine.state = State::Control,
            b']' if plain => self.machine.state = State::String(Kind::System, Hold::Held),
            b'P' if plain => self.machine.state = State::String(Kind::Device, Hold::Held),
            b'_' if plain => self.machine.state = State::String(Kind::Application, Hold::Held),
            b'X' | b'^' if plain => {
                self.machine.length = 0;
                self.leave(State::String(Kind::Other, Hold::Passing));
            }
            b'Z' if plain => self.cut([Part::Question(Question::PrimaryAttributes)]),
            _ => self.leave(State::Ground),
        }
        self.limit();
    }

    fn control(&mut self, byte: u8) {
        match byte {
            _ if self.takes_control(byte) => {}
            0x40..=0x7e => {
                if let Some(question) = grammar::control(&self.machine.content, byte) {
                    self.cut([Part::Question(question)]);
                } else {
                    self.leave(State::Ground);
                    if byte == b'p' && self.machine.content == b"!" {
                        self.give(self.at + 1);
                        (self.take)(Piece::SoftReset);
                    }
                }
            }
            _ => self.machine.content.push(byte),
        }
        self.limit();
    }

    /// Lets go of what is too long to be a question.
    fn limit(&mut self) {
        if self.machine.content.len() + self.machine.controls.len() > LONGEST {
            self.machine.content.clear();
            self.machine.controls.clear();
            self.leave(State::LongControl);
        }
    }

    fn held_string(&mut self, kind: Kind, byte: u8) {
        match byte {
            ESCAPE => self.machine.state = State::StringEscape(kind, Hold::Held),
            BELL if kind == Kind::System => self.end_string(kind, Hold::Held, true),
            _ if CANCEL.contains(&byte) => self.leave(State::Ground),
            _ => {
                self.machine.content.push(byte);
                let length = self.machine.content.len();
                if length >= LONGEST || !grammar::may_ask(kind, &self.machine.content) {
                    self.machine.length = length;
                    self.leave(State::String(kind, Hold::Passing));
                }
            }
        }
    }

    /// Goes through a string that is no question, up to what may end it.
    fn passing_string(&mut self, kind: Kind) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let ends =
            |byte: &u8| *byte == ESCAPE || CANCEL.contains(byte) || (*byte == BELL && kind == Kind::System);
        let end = rest.iter().position(ends).map_or(self.bytes.len(), |found| self.at + found);
        let (before, count) = (self.machine.length, end - self.at);
        if before <= LONGEST && before + count > LONGEST {
            self.give(self.at + LONGEST - before);
        }
        self.machine.length = before.saturating_add(count);
        self.at = end;
        match self.bytes.get(end) {
            None => {}
            Some(byte) => {
                self.give(end);
                if *byte == ESCAPE {
                    self.begin = end;
                    self.machine.state = State::StringEscape(kind, Hold::Passing);
                } else {
                    self.machine.state = State::Ground;
                }
            }
        }
    }

    fn end_string(&mut self, kind: Kind, hold: Hold, bell: bool) {
        let asked = match hold {
            Hold::Held => grammar::string(kind, &self.machine.content, bell),
            Hold::Passing => None,
        };
        match asked {
            None => self.leave(State::Ground),
            Some(parts) => {
                self.machine.controls.clear();
                self.cut(parts);
            }
        }
    }

    /// A string was ended by an ESC that is no terminator: what follows is a sequence of its own.
    fn break_off(&mut self) {
        if self.at > 0 {
            self.release();
            self.start(self.at - 1);
        } else {
            self.machine.held.pop(); // the ESC, which came with an earlier read
            self.release();
            self.start(0);
            self.machine.held.push(ESCAPE);
        }
    }

    /// Replaces the sequence that ends here.
    fn cut(&mut self, parts: impl IntoIterator<Item = Part>) {
        self.give(self.begin);
        self.given = self.at + 1;
        self.machine.held.clear();
        self.machine.state = State::Ground;
        let controls = std::mem::take(&mut self.machine.controls);
        self.pass(&controls);
        for part in parts {
            match part {
                Part::Question(question) => (self.take)(Piece::Question(question)),
                Part::Pass(bytes) => self.pass(&bytes),
            }
        }
    }

    /// What was held back is no question.
    fn leave(&mut self, state: State) {
        self.release();
        self.machine.state = state;
    }

    fn release(&mut self) {
        let held = std::mem::take(&mut self.machine.held);
        self.pass(&held);
    }

    /// Gives on what was not given yet, up to `end`.
    fn give(&mut self, end: usize) {
        let bytes = self.bytes.get(self.given..end).unwrap_or_default();
        self.given = end.max(self.given);
        if matches!(self.machine.state, State::String(_, Hold::Passing)) && self.machine.length > LONGEST {
            if !bytes.is_empty() {
                (self.take)(Piece::Beside(bytes));
            }
        } else {
            self.pass(bytes);
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for byte in bytes.iter().skip(bytes.len().saturating_sub(3)) {
            self.machine.tail.rotate_left(1);
            if let Some(last) = self.machine.tail.last_mut() {
                *last = *byte;
            }
        }
        (self.take)(Piece::Pass(bytes));
    }
}

#[cfg(test)]
mod tests;
