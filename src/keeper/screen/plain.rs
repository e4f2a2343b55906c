//! Plain text, which is most of what programs print, and nearly all of a flood.
//!
//! The emulator asks of each character how wide it is, from which set, in which mode and over what it is written: many
//! times what it costs to write it. For a run of plain text that is asked once. What is a run of text, and what the
//! inside of a sequence, only the parser knows: it is given the first character of each, and draws it or not.

use alacritty_terminal::{
    grid::Dimensions,
    index::Column,
    term::{TermMode, cell::Flags},
    vte::ansi::{CharsetIndex, Handler, Processor, StandardCharset, Timeout},
};

use super::handler::Ear;

/// A shorter run is not worth to be told apart.
const SHORT: usize = 16;
const ESCAPE: u8 = 0x1b;

/// Draws what a program prints, as the parser alone would.
pub fn advance(parser: &mut Processor<impl Timeout>, ear: &mut Ear<'_>, bytes: &[u8]) {
    let mut bytes = bytes;
    while !bytes.is_empty() {
        let (before, run, after) = split(bytes);
        parser.advance(ear, before);
        if let [first, between @ .., last] = run {
            let inputs = ear.inputs;
            parser.advance(ear, &[*first]);
            // Drawn, it was text, and so is what follows. Not by one character more: that was an incomplete one before.
            if ear.inputs == inputs + 1 {
                ear.write(between);
            } else {
                parser.advance(ear, between);
            }
            // The parser may be asked to repeat it.
            parser.advance(ear, &[*last]);
        }
        bytes = after;
    }
}

/// What is before the first run of plain text, the run, and what is after it. Both of these are empty where there is
/// no run.
fn split(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let length = plain(rest);
        if length >= SHORT {
            let (before, run) = bytes.split_at(at);
            let (run, after) = run.split_at(length);
            return (before, run, after);
        }
        at += length;
        at += match bytes.get(at..) {
            // With its parameters and the byte that ends it: what follows is text.
            Some([ESCAPE, b'[', rest @ ..]) => {
                let parameters = rest.iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
                parameters + 3
            }
            Some([_, ..]) => 1,
            Some([]) | None => 0,
        };
    }
    (bytes, &[], &[])
}

/// How many printable characters of ASCII it begins with.
fn plain(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !(b' '..=b'~').contains(byte)).unwrap_or(bytes.len())
}

impl Ear<'_> {
    /// Draws printable characters of ASCII at the cursor.
    fn write(&mut self, text: &[u8]) {
        let mut text = text;
        while !text.is_empty() {
            let count = self.write_cells(text);
            let (_, rest) = text.split_at(count);
            let Some((first, rest)) = rest.split_first() else { return };
            // At a line's end, over something wide, in another mode: as any character.
            self.term.input(char::from(*first));
            text = rest;
        }
    }

    /// Writes what fits before the line's last column over cells that hold nothing wide. Says how much that is.
    fn write_cells(&mut self, text: &[u8]) -> usize {
        let last = self.term.columns() - 1;
        let inserts = self.term.mode().contains(TermMode::INSERT);
        let grid = self.term.grid_mut();
        let cursor = &grid.cursor;
        let (line, column) = (cursor.point.line, cursor.point.column.0);
        let charset = cursor.charsets[self.side.charset.unwrap_or(CharsetIndex::G0)];
        if inserts || cursor.input_needs_wrap || charset != StandardCharset::Ascii {
            return 0;
        }
        let count = text.len().min(last.saturating_sub(column));
        let template = cursor.template.clone();
        let cells = &mut grid[line][Column(column)..Column(column + count)];
        if cells.iter().any(|cell| cell.flags.intersects(Flags::WIDE_CHAR | Flags::WIDE_CHAR_SPACER)) {
            return 0;
        }
        for (cell, byte) in cells.iter_mut().zip(text) {
            cell.clone_from(&template);
            cell.c = char::from(*byte);
        }
        grid.cursor.point.column.0 += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use alacritty_terminal::{grid::Row, index::Line, term::cell::Cell};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        api::attach::WindowSize,
        keeper::screen::{Screen, tests::fragment},
    };

    #[test]
    fn runs_are_found_behind_sequences() {
        let text = "a text that is long enough";
        for (before, after) in
            [("", ""), ("\x1b[1;31m", "\x1b[0m"), ("short\r\n\x1b[?25l", "\n"), ("\u{2502}", "\t")]
        {
            let whole = format!("{before}{text}{after}");
            assert_eq!(split(whole.as_bytes()), (before.as_bytes(), text.as_bytes(), after.as_bytes()));
        }
        for none in ["", "too short", "\x1b", "\x1b[", "\x1b[1;2;3;4;5;6;7;8;9;10;11", "\x1b[1"] {
            assert_eq!(split(none.as_bytes()), (none.as_bytes(), &b""[..], &b""[..]), "{none:?}");
        }
    }

    /// As if there were no runs.
    fn feed_by_parser(screen: &mut Screen, bytes: &[u8]) {
        let mut ear = Ear::new(&mut screen.term, &mut screen.side);
        screen.parser.advance(&mut ear, bytes);
    }

    fn lines(screen: &Screen) -> Vec<&Row<Cell>> {
        let grid = screen.term.grid();
        (grid.topmost_line().0..=grid.bottommost_line().0).map(|line| &grid[Line(line)]).collect()
    }

    fn check(streams: [&[u8]; 3], columns: u16) -> Result<(), TestCaseError> {
        let size = WindowSize::of_cells(columns, 6);
        let (mut ours, mut theirs) = (Screen::new(size), Screen::new(size));
        for stream in streams {
            ours.feed(stream);
            feed_by_parser(&mut theirs, stream);
            prop_assert_eq!(lines(&ours), lines(&theirs));
            prop_assert_eq!(&ours.term.grid().cursor, &theirs.term.grid().cursor);
            prop_assert_eq!(ours.term.mode(), theirs.term.mode());
            prop_assert_eq!(&ours.side, &theirs.side);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn all_is_drawn_as_by_the_parser_alone(
            stream in proptest::collection::vec(
                prop_oneof![
                    fragment(),
                    "[ -~]{16,60}".prop_map(String::into_bytes),
                    "\\PC{1,20}".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 1..8),
                ],
                0..40,
            ),
            columns in 1_u16..50,
        ) {
            let stream = stream.concat();
            // What follows is the same too, also where it repeats the last character or ends a sequence.
            check([&stream, b"\x1b[3b", b"m text that is long enough \x18\x1b[2b"], columns)?;
        }
    }
}
