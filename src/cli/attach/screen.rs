//! What a client prints of its own: room before the session's screen, a banner on it, and all modes off after it.

use std::fmt::Write;

use crate::api::attach::WindowSize;

/// Switches off what a session may have left on, and nothing that it may not: modes, mouse, pastes, the other
/// screen, the keyboard, colours, the region.
const OFF: &str = "\x1b[<16u\x1b[=0u\x1b[?1049l\x1b[<16u\x1b[=0u\x1b[>4m\x1b[!p\x1b[r\x1b[?6l\x1b[4l\x1b[20l\x1b[?7h\
\x1b[?1l\x1b>\x1b(B\x1b)B\x0f\x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\
\x1b[?1016l\x1b[?1004l\x1b[?2004l\x1b[?2026l\x1b[?2027l\x1b[?2031l\x1b[?5l\x1b[0 q\x1b[?25h\x1b]8;;\x1b\\\x1b[0m";

/// Colours back to the terminal's own.
const COLORS: &str = "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\";

/// How a session may be shown here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    size: WindowSize,
    /// The terminal can do no more than print.
    dumb: bool,
}

impl Canvas {
    /// A terminal of this size; `term` is its `TERM`.
    pub fn new(size: WindowSize, term: Option<&str>) -> Self {
        Self { size, dumb: matches!(term, None | Some("" | "dumb" | "unknown")) }
    }

    /// The same with another size.
    #[must_use]
    pub fn resized(self, size: WindowSize) -> Self {
        Self { size, ..self }
    }

    /// Its size.
    pub fn size(self) -> WindowSize {
        self.size
    }

    /// Whether it cannot show a screen.
    pub fn is_dumb(self) -> bool {
        self.dumb
    }

    /// What stood on the terminal goes to its history, and is there again afterwards.
    pub fn room(self) -> Vec<u8> {
        if self.dumb {
            return Vec::new();
        }
        // The title is put away, where the terminal can, for the session to have its own.
        let mut out = format!("\x1b[22;2t\x1b[{};1H", self.size.rows);
        out.extend(std::iter::repeat_n('\n', self.size.rows.into()));
        out.into_bytes()
    }

    /// A line over the screen, for the moment.
    pub fn banner(self, text: &str) -> Vec<u8> {
        if self.dumb || self.size.rows < 2 {
            return Vec::new();
        }
        // With a blank on either side, and short of the last column: a line that goes on would scroll the screen.
        let columns = usize::from(self.size.columns).saturating_sub(3);
        let text: String = text.chars().take(columns).collect();
        let mut out = String::new();
        // Not the position that the program saved, on terminals that have another for us.
        let _ = write!(out, "\x1b7\x1b[{};1H\x1b[0;7m {text} \x1b[0m\x1b8", self.size.rows);
        out.into_bytes()
    }

    /// The end: all off, and a fresh line below what is shown.
    pub fn leave(self) -> Vec<u8> {
        if self.dumb {
            return b"\r\n".to_vec();
        }
        format!("{OFF}{COLORS}\x1b[23;2t\x1b[{};1H\r\n", self.size.rows).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumb_terminal_gets_no_sequence() {
        for term in [None, Some("dumb"), Some("")] {
            let canvas = Canvas::new(WindowSize::of_cells(80, 24), term);
            let all = [canvas.room(), canvas.banner("hello"), canvas.leave()].concat();
            assert!(canvas.is_dumb() && !all.contains(&0x1b), "{term:?}");
        }
        assert!(!Canvas::new(WindowSize::of_cells(80, 24), Some("linux")).is_dumb());
    }

    #[test]
    fn a_banner_fits_its_line() {
        let canvas = Canvas::new(WindowSize::of_cells(10, 5), Some("xterm"));
        let banner = String::from_utf8(canvas.banner("a text that is too long")).unwrap();
        assert_eq!(banner, "\x1b7\x1b[5;1H\x1b[0;7m a text  \x1b[0m\x1b8");
        assert!(Canvas::new(WindowSize::of_cells(10, 1), Some("xterm")).banner("x").is_empty());
    }
}
