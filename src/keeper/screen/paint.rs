//! The screen for a terminal of another size: each line put in its place.

use std::fmt::Write;

use alacritty_terminal::{
    grid::Dimensions,
    index::{Column, Line},
    term::{TermMode, cell::Flags},
};

use super::{
    Screen,
    dump::{Ink, RESET, used},
};
use crate::api::attach::WindowSize;

impl Screen {
    /// The part around the cursor that a terminal of `size` can show, drawn whole. `anew`: its modes are not known.
    pub(super) fn draw_part(&self, size: WindowSize, anew: bool) -> Vec<u8> {
        let grid = self.term.grid();
        let (rows, columns) = (usize::from(size.rows), usize::from(size.columns));
        let at = grid.cursor.point;
        let row = usize::try_from(at.line.0).unwrap_or(0);
        let first_row = first(row, rows, grid.screen_lines());
        let first_column = first(at.column.0, columns, grid.columns());
        let mut out = String::with_capacity(8 << 10);
        if anew {
            out.push_str(RESET);
            self.palette(&mut out);
            // On the other screen, so that what is drawn here again and again fills no history.
            out.push_str("\x1b[?1049h\x1b[2J");
        }
        out.push_str("\x1b[?2026h\x1b[?25l\x1b[?7l\x1b[4l\x1b(B\x0f\x1b[0m");
        let mut ink = Ink::default();
        for line in 0..rows {
            let _ = write!(out, "\x1b[{};1H", line + 1);
            let number = first_row + line;
            if number < grid.screen_lines() {
                let row = &grid[Line(i32::try_from(number).unwrap_or(0))];
                let mut end = used(row, grid.columns()).min(first_column + columns);
                // Half of a wide character does not fit.
                if end > first_column
                    && end < grid.columns()
                    && row[Column(end - 1)].flags.contains(Flags::WIDE_CHAR)
                {
                    end -= 1;
                }
                ink.cells(&mut out, row, first_column..end.max(first_column));
            }
            ink.dry(&mut out);
            out.push_str("\x1b[K");
        }
        let _ = write!(out, "\x1b[?7h\x1b[{};{}H", row - first_row + 1, at.column.0 - first_column + 1);
        if self.term.mode().contains(TermMode::SHOW_CURSOR) {
            out.push_str("\x1b[?25h");
        }
        self.modes_for_painting(&mut out);
        out.push_str("\x1b[?2026l");
        out.into_bytes()
    }

    /// What a mirror's keyboard and mouse must know. Positions of the mouse would be wrong, so it stays off.
    fn modes_for_painting(&self, out: &mut String) {
        let mode = self.term.mode();
        for (flag, on, off) in [
            (TermMode::APP_CURSOR, "\x1b[?1h", "\x1b[?1l"),
            (TermMode::APP_KEYPAD, "\x1b=", "\x1b>"),
            (TermMode::BRACKETED_PASTE, "\x1b[?2004h", "\x1b[?2004l"),
        ] {
            out.push_str(if mode.contains(flag) { on } else { off });
        }
        let _ = write!(out, "\x1b[={}u\x1b[>4;{}m", self.side.keyboard.flags, self.side.modify_other_keys);
        let _ = write!(out, "\x1b[{} q", self.side.cursor_style);
        if !self.title().is_empty() {
            let _ = write!(out, "\x1b]2;{}\x1b\\", self.title());
        }
    }
}

/// Where a view of `length` begins so that `at` is in it.
fn first(at: usize, length: usize, whole: usize) -> usize {
    if whole <= length { 0 } else { (at + 1).saturating_sub(length) }
}
