//! The screen as bytes that make a terminal of the same size show it, and behave as if it had seen all from the
//! beginning.

use std::{fmt::Write, ops::Range};

use alacritty_terminal::{
    grid::{Cursor, Dimensions, Grid, Row},
    index::{Column, Line},
    term::{
        TermMode,
        cell::{Cell, Flags},
    },
    vte::ansi::{CharsetIndex, Color, Rgb, StandardCharset},
};

use super::{Screen, handler::Keyboard};

/// To a known state from any: what one terminal or another does not know of it, it ignores.
pub const RESET: &str = "\x1b[<16u\x1b[=0u\x1b[?1049l\x1b[!p\x1b[r\x1b[?6l\x1b[4l\x1b[20l\x1b[?7h\x1b[?1l\x1b>\x1b(B\x1b)B\x0f\
\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?1004l\x1b[?2004l\
\x1b[?2026l\x1b[?2031l\x1b[<16u\x1b[=0u\x1b[>4m\x1b[0 q\x1b[?25h\x1b]8;;\x1b\\\x1b[0m";

/// Private modes that the emulator knows, whether each is on at first, and its number.
const MODES: [(TermMode, bool, u16); 12] = [
    (TermMode::APP_CURSOR, false, 1),
    (TermMode::BRACKETED_PASTE, false, 2004),
    (TermMode::MOUSE_REPORT_CLICK, false, 1000),
    (TermMode::MOUSE_DRAG, false, 1002),
    (TermMode::MOUSE_MOTION, false, 1003),
    (TermMode::FOCUS_IN_OUT, false, 1004),
    (TermMode::UTF8_MOUSE, false, 1005),
    (TermMode::SGR_MOUSE, false, 1006),
    (TermMode::LINE_WRAP, true, 7),
    (TermMode::SHOW_CURSOR, true, 25),
    (TermMode::ALTERNATE_SCROLL, true, 1007),
    (TermMode::URGENCY_HINTS, true, 1042),
];

impl Screen {
    /// The whole screen, with at most `history` lines that left it.
    pub(super) fn draw_whole(&mut self, history: usize) -> Vec<u8> {
        let mut ink = Ink::default();
        let mut out = String::with_capacity(8 << 10);
        out.push_str(RESET);
        self.palette(&mut out);
        // Not all at once (2 J): some terminals take what is cleared so for history.
        out.push_str("\x1b[H\x1b[J");
        if self.term.mode().contains(TermMode::ALT_SCREEN) {
            // The screen that does not show is private to the emulator: it is shown for a moment.
            let shown = self.term.grid().clone();
            self.term.swap_alt();
            lines(&mut out, &mut ink, self.term.grid(), history);
            cursor(&mut out, &mut ink, self.term.grid(), &self.term.grid().cursor, 0);
            keyboard(&mut out, &self.side.other_keyboard);
            self.term.swap_alt();
            *self.term.grid_mut() = shown;
            out.push_str("\x1b[?1049h\x1b]8;;\x1b\\\x1b[0m\x1b(B\x1b)B\x1b[H\x1b[J");
            lines(&mut out, &mut ink, self.term.grid(), 0);
        } else {
            lines(&mut out, &mut ink, self.term.grid(), history);
        }
        self.tabs(&mut out);
        let grid = self.term.grid();
        if grid.saved_cursor != Cursor::default() {
            cursor(&mut out, &mut ink, grid, &grid.saved_cursor, 0);
            out.push_str("\x1b7\x1b]8;;\x1b\\\x1b[0m\x1b(B\x1b)B");
        }
        let mode = *self.term.mode();
        let mut top = 0;
        if let Some((first, last)) = self.side.region {
            let _ = write!(out, "\x1b[{};{}r", first + 1, last + 1);
            if mode.contains(TermMode::ORIGIN) {
                top = first;
            }
        }
        if mode.contains(TermMode::ORIGIN) {
            out.push_str("\x1b[?6h");
        }
        cursor(&mut out, &mut ink, grid, &grid.cursor, top);
        self.modes(&mut out);
        out.into_bytes()
    }

    /// Modes, keyboard, cursor's looks and title: all but what is drawn.
    pub(super) fn modes(&self, out: &mut String) {
        let mode = *self.term.mode();
        if self.side.charset == Some(CharsetIndex::G1) {
            out.push('\x0e');
        }
        for (flag, at_first, number) in MODES {
            if mode.contains(flag) != at_first {
                let _ = write!(out, "\x1b[?{number}{}", if at_first { 'l' } else { 'h' });
            }
        }
        for number in &self.side.modes {
            let _ = write!(out, "\x1b[?{number}h");
        }
        if mode.contains(TermMode::INSERT) {
            out.push_str("\x1b[4h");
        }
        if mode.contains(TermMode::LINE_FEED_NEW_LINE) {
            out.push_str("\x1b[20h");
        }
        if mode.contains(TermMode::APP_KEYPAD) {
            out.push_str("\x1b=");
        }
        if self.side.modify_other_keys > 0 {
            let _ = write!(out, "\x1b[>4;{}m", self.side.modify_other_keys);
        }
        keyboard(out, &self.side.keyboard);
        if self.side.cursor_style > 0 {
            let _ = write!(out, "\x1b[{} q", self.side.cursor_style);
        }
        if !self.side.title.is_empty() {
            let _ = write!(out, "\x1b]2;{}\x1b\\", self.side.title);
        }
    }

    fn tabs(&self, out: &mut String) {
        let Some(tabs) = &self.side.tabs else { return };
        out.push_str("\x1b[3g");
        for (column, _) in tabs.iter().enumerate().filter(|(_, stop)| **stop) {
            let _ = write!(out, "\x1b[{}G\x1bH", column + 1);
        }
    }

    /// Colours that the program changed.
    pub(super) fn palette(&self, out: &mut String) {
        if !self.side.colored {
            return;
        }
        out.push_str("\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\");
        let colors = self.term.colors();
        let shown = |Rgb { r, g, b }: Rgb| format!("rgb:{r:02x}/{g:02x}/{b:02x}");
        for index in 0..256 {
            if let Some(color) = colors[index] {
                let _ = write!(out, "\x1b]4;{index};{}\x1b\\", shown(color));
            }
        }
        for (index, code) in [(256, 10), (257, 11), (258, 12)] {
            if let Some(color) = colors[index] {
                let _ = write!(out, "\x1b]{code};{}\x1b\\", shown(color));
            }
        }
    }
}

fn keyboard(out: &mut String, keyboard: &Keyboard) {
    let mut levels = keyboard.saved.iter().chain([&keyboard.flags]);
    if let Some(first) = levels.next().filter(|first| **first > 0) {
        let _ = write!(out, "\x1b[={first}u");
    }
    for flags in levels {
        let _ = write!(out, "\x1b[>{flags}u");
    }
}

/// All lines of a grid, from the first line of the screen on.
fn lines(out: &mut String, ink: &mut Ink, grid: &Grid<Cell>, history: usize) {
    let history = history.min(grid.history_size()).try_into().unwrap_or(0_i32);
    let last = i32::try_from(grid.screen_lines()).unwrap_or(i32::MAX) - 1;
    let mut continues = false;
    for number in -history..=last {
        let row = &grid[Line(number)];
        let length = used(row, grid.columns());
        // A line that goes on in the next is left to the terminal to break, so that it knows it as one. It does
        // only if something follows.
        let goes_on = number < last
            && row[Column(grid.columns() - 1)].flags.contains(Flags::WRAPLINE)
            && used(&grid[Line(number + 1)], grid.columns()) > 0;
        let mut end = if goes_on { grid.columns() } else { length };
        if goes_on && row[Column(end - 1)].flags.contains(Flags::LEADING_WIDE_CHAR_SPACER) {
            // The terminal leaves it out itself, if the wide character that does not fit still follows.
            let next = &grid[Line(number + 1)];
            let whole = grid.columns() > 1 && next[Column(1)].flags.contains(Flags::WIDE_CHAR_SPACER);
            end -= usize::from(whole && next[Column(0)].flags.contains(Flags::WIDE_CHAR));
        }
        ink.cells(out, row, 0..end);
        if continues && end < grid.columns() && !goes_on {
            // The line before was broken by the terminal, which fills the new one with the pen of that moment.
            ink.dry(out);
            out.push_str("\x1b[K");
        }
        if !goes_on && number < last {
            ink.dry(out);
            out.push_str("\r\n");
        }
        continues = goes_on;
    }
    ink.dry(out);
}

/// Cells of a row up to the last that is not blank.
pub(super) fn used(row: &Row<Cell>, columns: usize) -> usize {
    let blank = |column: usize| {
        let cell = &row[Column(column)];
        shown_at(row, column) == Some(' ')
            && same_pen(cell, &Cell::default())
            && cell.zerowidth().is_none_or(<[char]>::is_empty)
    };
    (0..columns).rev().find(|column| !blank(*column)).map_or(0, |column| column + 1)
}

/// What shows in a column: nothing in the second of a wide character, and a blank in the place of one whose other half
/// was overwritten.
fn shown_at(row: &Row<Cell>, column: usize) -> Option<char> {
    let has = |column: usize, flag| column < row.len() && row[Column(column)].flags.contains(flag);
    let char = match row[Column(column)].c {
        '\t' | '\0' => ' ',
        char => char,
    };
    if has(column, Flags::WIDE_CHAR_SPACER) {
        let follows = column > 0 && has(column - 1, Flags::WIDE_CHAR);
        return (!follows).then_some(' ');
    }
    let half = has(column, Flags::WIDE_CHAR) && !has(column + 1, Flags::WIDE_CHAR_SPACER);
    Some(if half { ' ' } else { char })
}

/// The characters of some columns, each with its cell.
pub(super) fn shown(row: &Row<Cell>, columns: Range<usize>) -> impl Iterator<Item = (char, &Cell)> {
    let first = columns.start;
    columns.filter_map(move |column| {
        // Half of a wide one at the beginning is all of it that shows.
        let char = shown_at(row, column).or((column == first).then_some(' '))?;
        Some((char, &row[Column(column)]))
    })
}

/// Bytes of links in a drawing. Each cell may have one of its own, of two thousand bytes and as many of an id: a
/// screen of such is ten megabytes, and some people are sent thirty a second.
const LINKS: usize = 1 << 20;

/// Writes cells, and changes the pen only where it changes.
pub(super) struct Ink {
    pen: Cell,
    /// Bytes of links that may still be written. What has no room for its link is written without it.
    links: usize,
}

impl Default for Ink {
    fn default() -> Self {
        Self::with_links(LINKS)
    }
}

impl Ink {
    /// With room for so many bytes of links.
    pub(super) fn with_links(links: usize) -> Self {
        Self { pen: Cell::default(), links }
    }

    pub(super) fn cells(&mut self, out: &mut String, row: &Row<Cell>, columns: Range<usize>) {
        for (char, cell) in shown(row, columns) {
            if !same_pen(cell, &self.pen) {
                self.change(out, cell);
            }
            out.push(char);
            out.extend(cell.zerowidth().into_iter().flatten());
        }
    }

    /// Takes on the pen of `cell`.
    fn change(&mut self, out: &mut String, cell: &Cell) {
        let next = self.affordable(cell);
        if !same_pen(&next, &self.pen) {
            link(out, &self.pen, &next);
            pen(out, &next);
            self.pen = next;
        }
    }

    /// The pen of `cell`, less a link that there is no room for.
    fn affordable(&mut self, cell: &Cell) -> Cell {
        let mut next = cell.clone();
        if let Some(link) = next.hyperlink().filter(|link| self.pen.hyperlink().as_ref() != Some(link)) {
            match self.links.checked_sub(link.id().len() + link.uri().len()) {
                Some(left) => self.links = left,
                None => next.set_hyperlink(None),
            }
        }
        next
    }

    /// Leaves the pen of `cell` to what comes later.
    fn leave(&mut self, out: &mut String, cell: &Cell) {
        let next = self.affordable(cell);
        link(out, &self.pen, &next);
        pen(out, &next);
        self.pen = Cell::default();
    }

    /// Back to the plain pen.
    pub(super) fn dry(&mut self, out: &mut String) {
        let plain = Cell::default();
        if !same_pen(&self.pen, &plain) {
            link(out, &self.pen, &plain);
            out.push_str("\x1b[0m");
            self.pen = plain;
        }
    }
}

const LOOKS: [(Flags, &str); 11] = [
    (Flags::BOLD, "1"),
    (Flags::DIM, "2"),
    (Flags::ITALIC, "3"),
    (Flags::UNDERLINE, "4"),
    (Flags::DOUBLE_UNDERLINE, "4:2"),
    (Flags::UNDERCURL, "4:3"),
    (Flags::DOTTED_UNDERLINE, "4:4"),
    (Flags::DASHED_UNDERLINE, "4:5"),
    (Flags::INVERSE, "7"),
    (Flags::HIDDEN, "8"),
    (Flags::STRIKEOUT, "9"),
];

fn same_pen(one: &Cell, other: &Cell) -> bool {
    let looks = |cell: &Cell| LOOKS.iter().fold(Flags::empty(), |all, (flag, _)| all | (cell.flags & *flag));
    one.fg == other.fg
        && one.bg == other.bg
        && (one.flags == other.flags || looks(one) == looks(other))
        && (one.extra.is_none() && other.extra.is_none()
            || one.underline_color() == other.underline_color() && one.hyperlink() == other.hyperlink())
}

fn link(out: &mut String, from: &Cell, to: &Cell) {
    let (from, to) = (from.hyperlink(), to.hyperlink());
    if from == to {
        return;
    }
    let _ = match to {
        Some(link) => write!(out, "\x1b]8;id={};{}\x1b\\", link.id(), link.uri()),
        None => write!(out, "\x1b]8;;\x1b\\"),
    };
}

fn pen(out: &mut String, cell: &Cell) {
    out.push_str("\x1b[");
    pen_of(out, cell);
}

/// The pen, as the end of the sequence that sets it.
pub(super) fn pen_of(out: &mut String, cell: &Cell) {
    out.push('0');
    for (flag, number) in LOOKS {
        if cell.flags.contains(flag) {
            out.push(';');
            out.push_str(number);
        }
    }
    color(out, cell.fg, 30);
    color(out, cell.bg, 40);
    match cell.underline_color() {
        Some(Color::Spec(Rgb { r, g, b })) => _ = write!(out, ";58:2::{r}:{g}:{b}"),
        Some(Color::Indexed(index)) => _ = write!(out, ";58:5:{index}"),
        Some(Color::Named(_)) | None => {}
    }
    out.push('m');
}

fn color(out: &mut String, color: Color, base: usize) {
    match color {
        Color::Named(name) => match name as usize {
            low @ 0..8 => _ = write!(out, ";{}", base + low),
            bright @ 8..16 => _ = write!(out, ";{}", base + 60 + bright - 8),
            _ => {} // the terminal's own
        },
        Color::Indexed(index) => _ = write!(out, ";{};5;{index}", base + 8),
        Color::Spec(Rgb { r, g, b }) => _ = write!(out, ";{};2;{r};{g};{b}", base + 8),
    }
}

/// Position, pen and character sets; `top`: the line from which positions count.
fn cursor(out: &mut String, ink: &mut Ink, grid: &Grid<Cell>, cursor: &Cursor<Cell>, top: usize) {
    let line = usize::try_from(cursor.point.line.0).unwrap_or(0).saturating_sub(top) + 1;
    let column = cursor.point.column.0;
    let _ = write!(out, "\x1b[{line};{}H", column + 1);
    if cursor.input_needs_wrap {
        // Only what is printed in the last column leaves the cursor there, about to go on in the next line.
        let wide = grid[cursor.point].flags.contains(Flags::WIDE_CHAR_SPACER);
        let from = if wide { column.saturating_sub(1) } else { column };
        if wide {
            let _ = write!(out, "\x1b[{line};{}H", from + 1);
        }
        let row = &grid[cursor.point.line];
        ink.cells(out, row, from..column + 1);
        ink.dry(out);
    }
    ink.leave(out, &cursor.template);
    for (index, letter) in [(CharsetIndex::G0, '('), (CharsetIndex::G1, ')')] {
        if cursor.charsets[index] == StandardCharset::SpecialCharacterAndLineDrawing {
            let _ = write!(out, "\x1b{letter}0");
        }
    }
}
