//! The session's screen, as a terminal would show it: so that one who attaches, looks or asks finds it although
//! no terminal was there.
//!
//! Made of values alone: bytes in; the screen, answers and text out.

mod answers;
mod dump;
mod handler;
mod paint;
mod plain;
mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};

use alacritty_terminal::{
    Term,
    event::VoidListener,
    grid::Dimensions,
    index::Line,
    term::{Config, TermMode, cell::Cell},
    vte::ansi::{Processor, Timeout},
};

use self::handler::{Ear, Side};
use super::questions::Question;
use crate::api::attach::{ScreenView, WindowSize};

/// Memory for lines that left the screen. Older output is in the log.
const HISTORY_BYTES: usize = 1 << 20;
/// Lines of history at least, and at most: the emulator allocates a thousand at once.
const HISTORY_LINES: std::ops::RangeInclusive<usize> = 50..=1000;

/// Synchronized updates are drawn as they come: the emulator would hold back up to 2 MiB of them until their end,
/// for ever where the program died in between.
#[derive(Default)]
struct NoWaiting;

impl Timeout for NoWaiting {
    fn set_timeout(&mut self, _: std::time::Duration) {}
    fn clear_timeout(&mut self) {}
    fn pending_timeout(&self) -> bool {
        false
    }
}

/// The screen.
pub struct Screen {
    term: Term<VoidListener>,
    parser: Processor<NoWaiting>,
    side: Side,
    size: WindowSize,
    /// Whether the emulator may hold more lines than it uses.
    loose: bool,
    /// Whether lines may have room for more columns than they have: the emulator takes columns off a line and leaves it
    /// its memory, and a line is used again and again.
    roomy: bool,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("size", &self.size).field("side", &self.side).finish_non_exhaustive()
    }
}

/// The emulator's own measure.
struct Measure(WindowSize);

impl Dimensions for Measure {
    fn total_lines(&self) -> usize {
        self.screen_lines()
    }
    fn screen_lines(&self) -> usize {
        self.0.rows.into()
    }
    fn columns(&self) -> usize {
        self.0.columns.into()
    }
}

/// Modes that what is typed depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypingModes {
    /// Cursor keys are `ESC O A`, not `ESC [ A`.
    pub application_cursor: bool,
    /// A paste is marked as one.
    pub bracketed_paste: bool,
}

impl Screen {
    /// A blank one.
    pub fn new(size: WindowSize) -> Self {
        let size = size.clamped();
        let config = Config { scrolling_history: history_for(size), ..Config::default() };
        let term = Term::new(config, &Measure(size), VoidListener);
        Self { term, parser: Processor::new(), side: Side::default(), size, loose: false, roomy: false }
    }

    /// Draws what a program prints.
    pub fn feed(&mut self, bytes: &[u8]) {
        let history = self.term.grid().history_size();
        let _ = self.guarded(|screen| {
            let mut ear = Ear::new(&mut screen.term, &mut screen.side);
            plain::advance(&mut screen.parser, &mut ear, bytes);
        });
        self.loose |= self.term.grid().history_size() != history;
    }

    /// DECSTR.
    pub fn soft_reset(&mut self) {
        let _ = self.guarded(|screen| Ear::new(&mut screen.term, &mut screen.side).soft_reset());
    }

    /// Takes on another size.
    pub fn resize(&mut self, size: WindowSize) {
        let size = size.clamped();
        let columns = self.size.columns;
        self.size = size;
        let _ = self.guarded(|screen| {
            screen.term.resize(Measure(size));
            if columns != size.columns {
                screen.term.set_options(Config { scrolling_history: history_for(size), ..Config::default() });
            }
        });
        self.side.region = None;
        if let Some(tabs) = &mut self.side.tabs {
            let old = tabs.len();
            tabs.resize(size.columns.into(), false);
            for (column, stop) in tabs.iter_mut().enumerate().skip(old) {
                *stop = column % 8 == 0;
            }
        }
        self.loose = true;
        self.roomy |= size.columns < columns;
    }

    /// Whether [`Self::tighten`] may free memory.
    pub fn is_loose(&self) -> bool {
        self.loose
    }

    /// Frees what is not in use. Not at each change: the emulator takes a thousand lines at a time.
    pub fn tighten(&mut self) {
        self.guarded(|screen| {
            let grid = screen.term.grid_mut();
            grid.truncate();
            if screen.roomy {
                for line in grid.topmost_line().0..=grid.bottommost_line().0 {
                    let fitting = grid[Line(line)].clone();
                    grid[Line(line)] = fitting;
                }
            }
        });
        // The other screen's lines cannot be reached.
        let whole = !self.term.mode().contains(TermMode::ALT_SCREEN);
        self.loose &= !whole;
        self.roomy &= !whole;
    }

    /// Its size.
    pub fn size(&self) -> WindowSize {
        self.size
    }

    /// The window's title.
    pub fn title(&self) -> &str {
        &self.side.title
    }

    /// What typing depends on.
    pub fn typing_modes(&self) -> TypingModes {
        let mode = self.term.mode();
        TypingModes {
            application_cursor: mode.contains(TermMode::APP_CURSOR),
            bracketed_paste: mode.contains(TermMode::BRACKETED_PASTE),
        }
    }

    /// What shows, with at most `history` lines that left the screen, as text or (`ansi`) with colours. `None`: what
    /// there was to show is lost to a fault.
    pub fn view(&mut self, history: usize, ansi: bool) -> Option<ScreenView> {
        self.guarded(|screen| screen.read(history, ansi))
    }

    /// The whole screen, with at most `history` lines that left it, as bytes that make a terminal of the same size show
    /// it.
    pub fn dump(&mut self, history: usize) -> Vec<u8> {
        self.drawn(|screen| screen.draw_whole(history))
    }

    /// The part around the cursor that a terminal of `size` can show, drawn whole. `anew`: its modes are not known.
    pub fn paint(&mut self, size: WindowSize, anew: bool) -> Vec<u8> {
        self.drawn(|screen| screen.draw_part(size, anew))
    }

    /// The answer, as bytes to be typed; `None`: a terminal that does not know the question says nothing.
    pub fn answer(&mut self, question: &Question) -> Option<Vec<u8>> {
        self.guarded(|screen| screen.say(question)).flatten()
    }

    /// A drawing; of the blank screen, where a fault has cost the one there was.
    fn drawn(&mut self, draw: impl Fn(&mut Self) -> Vec<u8>) -> Vec<u8> {
        self.guarded(&draw).or_else(|| self.guarded(&draw)).unwrap_or_default()
    }

    /// A fault of the emulator costs the screen, not the session: what follows is drawn on a blank one.
    fn guarded<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| draw(self)));
        if done.is_err() {
            *self = Self::new(self.size);
        }
        done.ok()
    }
}

fn history_for(size: WindowSize) -> usize {
    let line = usize::from(size.columns) * size_of::<Cell>() + size_of::<Vec<Cell>>();
    (HISTORY_BYTES / line).clamp(*HISTORY_LINES.start(), *HISTORY_LINES.end())
}

#[cfg(test)]
mod tests;
