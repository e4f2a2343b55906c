//! The screen for those who read it: lines of text.

use alacritty_terminal::{grid::Dimensions, index::Line, term::TermMode};

use super::{
    Screen,
    dump::{Ink, shown, used},
};
use crate::api::attach::{CursorView, ScreenView};

/// Longest view: what is over it is cut from the oldest lines, so that an answer fits its frame.
const LONGEST: usize = 512 << 10;
/// Bytes of links in it, so that they leave room for the text.
const LINKS: usize = 128 << 10;

impl Screen {
    /// What shows, with at most `history` lines that left the screen, as text or (`ansi`) with colours.
    pub(super) fn read(&self, history: usize, ansi: bool) -> ScreenView {
        let grid = self.term.grid();
        let above = history.min(grid.history_size());
        let first = -i32::try_from(above).unwrap_or(0);
        let last = i32::try_from(grid.screen_lines()).unwrap_or(0);
        let (mut room, mut ink) = (LONGEST, Ink::with_links(LINKS));
        let mut lines = Vec::new();
        for number in (first..last).rev() {
            let row = &grid[Line(number)];
            let mut line = String::new();
            let end = used(row, grid.columns());
            if ansi {
                ink.cells(&mut line, row, 0..end);
                ink.dry(&mut line);
            } else {
                for (char, cell) in shown(row, 0..end) {
                    line.push(char);
                    line.extend(cell.zerowidth().into_iter().flatten());
                }
                line.truncate(line.trim_end_matches(' ').len());
            }
            let Some(left) = room.checked_sub(line.len() + 4) else { break };
            room = left;
            lines.push(line);
        }
        lines.reverse();
        let at = grid.cursor.point;
        ScreenView {
            size: self.size,
            history: u32::try_from(lines.len().saturating_sub(grid.screen_lines())).unwrap_or(0),
            lines,
            cursor: CursorView {
                row: u16::try_from(at.line.0).unwrap_or(0),
                column: u16::try_from(at.column.0).unwrap_or(0),
                visible: self.term.mode().contains(TermMode::SHOW_CURSOR),
            },
            title: self.title().to_owned(),
            alternate: self.term.mode().contains(TermMode::ALT_SCREEN),
        }
    }
}
