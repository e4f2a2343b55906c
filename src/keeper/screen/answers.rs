//! What the terminal answers: to every program the same, whoever is attached with whatever terminal.

use std::fmt::Write;

use alacritty_terminal::{grid::Dimensions, term::TermMode, vte::ansi::Rgb};

use super::Screen;
use crate::keeper::questions::Question;

/// Colours where nobody set them: light on dark, as most terminals are.
const FOREGROUND: Rgb = Rgb { r: 0xe5, g: 0xe5, b: 0xe5 };
const BACKGROUND: Rgb = Rgb { r: 0, g: 0, b: 0 };

impl Screen {
    /// The answer, as bytes to be typed; `None`: a terminal that does not know the question says nothing.
    pub(super) fn say(&self, question: &Question) -> Option<Vec<u8>> {
        let grid = self.term.grid();
        let text = match question {
            Question::Status => "\x1b[0n".to_owned(),
            Question::Cursor { private } => {
                let mut line = grid.cursor.point.line.0 + 1;
                if let Some((first, _)) =
                    self.side.region.filter(|_| self.term.mode().contains(TermMode::ORIGIN))
                {
                    line -= i32::try_from(first).unwrap_or(0);
                }
                let column = grid.cursor.point.column.0 + 1;
                if *private { format!("\x1b[?{line};{column};1R") } else { format!("\x1b[{line};{column}R") }
            }
            Question::Printer => "\x1b[?13n".to_owned(), // there is none
            Question::ColorScheme => {
                let Rgb { r, g, b } = self.color(257);
                let light = u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114 > 127_500;
                format!("\x1b[?997;{}n", if light { 2 } else { 1 })
            }
            // A VT220 with colours: no sixels, whatever a client's terminal can.
            Question::PrimaryAttributes => "\x1b[?62;22c".to_owned(),
            Question::SecondaryAttributes => format!("\x1b[>0;{};1c", version_number()),
            Question::TertiaryAttributes => "\x1bP!|00000000\x1b\\".to_owned(),
            Question::Version => format!("\x1bP>|atm({})\x1b\\", env!("CARGO_PKG_VERSION")),
            Question::AnsiMode(number) => format!("\x1b[{number};{}$y", self.ansi_mode(*number)),
            Question::PrivateMode(number) => format!("\x1b[?{number};{}$y", self.private_mode(*number)),
            Question::KeyboardFlags => format!("\x1b[?{}u", self.side.keyboard.flags),
            Question::ModifyOtherKeys => format!("\x1b[>4;{}m", self.side.modify_other_keys),
            Question::Window(operation) => return self.window(*operation).map(String::into_bytes),
            Question::Parameters(kind) => format!("\x1b[{};1;1;128;128;1;0x", kind + 2),
            Question::Graphics(item) => format!("\x1b[?{item};3;0S"), // cannot
            Question::Color { code, index, bell } => {
                return self.color_report(*code, *index, *bell).map(String::into_bytes);
            }
            Question::Capabilities(names) => names.iter().fold(String::new(), |mut all, name| {
                all.push_str(&capability(name));
                all
            }),
            Question::Setting(setting) => self.setting(setting),
            Question::Unanswered => return None,
        };
        Some(text.into_bytes())
    }

    fn ansi_mode(&self, number: u16) -> u8 {
        let mode = self.term.mode();
        match number {
            4 => state(mode.contains(TermMode::INSERT)),
            20 => state(mode.contains(TermMode::LINE_FEED_NEW_LINE)),
            _ => 0,
        }
    }

    fn private_mode(&self, number: u16) -> u8 {
        let mode = self.term.mode();
        let flag = match number {
            1 => TermMode::APP_CURSOR,
            6 => TermMode::ORIGIN,
            7 => TermMode::LINE_WRAP,
            25 => TermMode::SHOW_CURSOR,
            66 => TermMode::APP_KEYPAD,
            1000 => TermMode::MOUSE_REPORT_CLICK,
            1002 => TermMode::MOUSE_DRAG,
            1003 => TermMode::MOUSE_MOTION,
            1004 => TermMode::FOCUS_IN_OUT,
            1005 => TermMode::UTF8_MOUSE,
            1006 => TermMode::SGR_MOUSE,
            1007 => TermMode::ALTERNATE_SCROLL,
            1042 => TermMode::URGENCY_HINTS,
            47 | 1047 | 1049 => TermMode::ALT_SCREEN,
            2004 => TermMode::BRACKETED_PASTE,
            12 => return state(self.side.cursor_style % 2 == 1),
            2026 => return state(self.side.synchronized),
            _ => return 0,
        };
        state(mode.contains(flag))
    }

    fn window(&self, operation: u16) -> Option<String> {
        let size = self.size;
        let pixels = size.x_pixels > 0 && size.y_pixels > 0;
        let (rows, columns) = (size.rows, size.columns);
        match operation {
            11 => Some("\x1b[1t".to_owned()),
            13 => Some("\x1b[3;0;0t".to_owned()),
            14 if pixels => Some(format!("\x1b[4;{};{}t", size.y_pixels, size.x_pixels)),
            15 if pixels => Some(format!("\x1b[5;{};{}t", size.y_pixels, size.x_pixels)),
            16 if pixels => Some(format!("\x1b[6;{};{}t", size.y_pixels / rows, size.x_pixels / columns)),
            18 => Some(format!("\x1b[8;{rows};{columns}t")),
            19 => Some(format!("\x1b[9;{rows};{columns}t")),
            // A title would be typed as the program's input, whoever set it: never told, as in most terminals.
            20 => Some("\x1b]L\x1b\\".to_owned()),
            21 => Some("\x1b]l\x1b\\".to_owned()),
            _ => None,
        }
    }

    fn color_report(&self, code: u16, index: Option<u16>, bell: bool) -> Option<String> {
        let (what, color) = match (code, index) {
            (4, Some(index @ 0..=255)) => (format!("4;{index}"), self.color(index.into())),
            (10, _) => ("10".to_owned(), self.color(256)),
            (11, _) => ("11".to_owned(), self.color(257)),
            (12, _) => ("12".to_owned(), self.color(258)),
            _ => return None,
        };
        let Rgb { r, g, b } = color;
        let end = if bell { "\x07" } else { "\x1b\\" };
        Some(format!("\x1b]{what};rgb:{r:02x}{r:02x}/{g:02x}{g:02x}/{b:02x}{b:02x}{end}"))
    }

    /// A colour of the palette, or (256 to 258) of text, background and cursor.
    fn color(&self, index: usize) -> Rgb {
        self.term.colors()[index].unwrap_or_else(|| match index {
            0..=255 => palette(index),
            257 => BACKGROUND,
            _ => FOREGROUND,
        })
    }

    /// DECRQSS: a setting as the sequence that would make it.
    fn setting(&self, setting: &[u8]) -> String {
        let value = match setting {
            b"m" => {
                let mut pen = String::new();
                super::dump::pen_of(&mut pen, &self.term.grid().cursor.template);
                pen
            }
            b"r" => {
                let last = self.term.screen_lines() - 1;
                let (first, last) = self.side.region.unwrap_or((0, last));
                format!("{};{}r", first + 1, last + 1)
            }
            b" q" => format!("{} q", self.side.cursor_style),
            b"\"p" => "62;1\"p".to_owned(),
            _ => return "\x1bP0$r\x1b\\".to_owned(),
        };
        format!("\x1bP1$r{value}\x1b\\")
    }

    /// The cell at a place, for tests.
    #[cfg(test)]
    pub(super) fn cell(&self, line: i32, column: usize) -> &alacritty_terminal::term::cell::Cell {
        use alacritty_terminal::index::{Column, Line};
        &self.term.grid()[Line(line)][Column(column)]
    }
}

fn state(on: bool) -> u8 {
    if on { 1 } else { 2 }
}

/// 1.2.3 as 10203: programs compare it.
fn version_number() -> u32 {
    env!("CARGO_PKG_VERSION").split('.').fold(0, |all, part| all * 100 + part.parse::<u32>().unwrap_or(0))
}

/// XTGETTCAP of one name in hexadecimal.
fn capability(name: &[u8]) -> String {
    let shown = String::from_utf8_lossy(name).into_owned();
    let decoded: Option<Vec<u8>> =
        name.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let value = match decoded.as_deref() {
        Some(b"TN" | b"name") => "xterm-256color",
        Some(b"Co" | b"colors") => "256",
        Some(b"RGB") => "8/8/8",
        _ if name.iter().all(u8::is_ascii_hexdigit) => return format!("\x1bP0+r{shown}\x1b\\"),
        _ => return "\x1bP0+r\x1b\\".to_owned(),
    };
    let value = value.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    });
    format!("\x1bP1+r{shown}={value}\x1b\\")
}

/// xterm's palette.
fn palette(index: usize) -> Rgb {
    const FIRST: [u32; 16] = [
        0x00_0000, 0xcd_0000, 0x00_cd00, 0xcd_cd00, 0x00_00ee, 0xcd_00cd, 0x00_cdcd, 0xe5_e5e5, 0x7f_7f7f,
        0xff_0000, 0x00_ff00, 0xff_ff00, 0x5c_5cff, 0xff_00ff, 0x00_ffff, 0xff_ffff,
    ];
    let byte = |value: usize| u8::try_from(value & 0xff).unwrap_or(0);
    if let Some(color) = FIRST.get(index) {
        let [_, r, g, b] = color.to_be_bytes();
        return Rgb { r, g, b };
    }
    if index < 232 {
        let step = |level: usize| byte(if level == 0 { 0 } else { 55 + 40 * level });
        let cube = index - 16;
        return Rgb { r: step(cube / 36), g: step(cube / 6 % 6), b: step(cube % 6) };
    }
    let grey = byte(8 + 10 * (index - 232));
    Rgb { r: grey, g: grey, b: grey }
}
