//! The screen for those who read it: lines of text.

use alacritty_terminal::{grid::Dimensions, index::Line, term::TermMode};

use super::{
    Screen,
    dump::{Ink, shown, used},
};
use crate::api::attach::{CursorView, ScreenView};

/// Longest view: what is over it is cut from the oldest lines, so that an answer fits its frame.
const LONGEST: usize = 512 << 10;

impl Screen {
    /// What shows, with at most `history` lines that left the screen, as text or (`ansi`) with colours.
    pub fn view(&self, history: usize, ansi: bool) -> ScreenView {
        let grid = self.term.grid();
        let above = history.min(grid.history_size());
        let first = -i32::try_from(above).unwrap_or(0);
        let last = i32::try_from(grid.screen_lines()).unwrap_or(0);
        let mut lines: Vec<String> = (first..last)
            .map(|number| {
                let row = &grid[Line(number)];
                let mut line = String::new();
                let end = used(row, grid.columns());
                if ansi {
                    let mut ink = Ink::default();
                    ink.cells(&mut line, row, 0..end);
                    ink.dry(&mut line);
                } else {
                    for (char, cell) in shown(row, 0..end) {
                        line.push(char);
                        line.extend(cell.zerowidth().into_iter().flatten());
                    }
                    line.truncate(line.trim_end_matches(' ').len());
                }
                line
            })
            .collect();
        let mut room = LONGEST;
        let fit = lines.iter().rev().take_while(|line| {
            let length = line.len() + 4;
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        });
        let fit = fit.count();
        lines.drain(..lines.len() - fit);
        let at = grid.cursor.point;
        ScreenView {
            size: self.size,
            history: u32::try_from(fit.saturating_sub(grid.screen_lines())).unwrap_or(0),
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
