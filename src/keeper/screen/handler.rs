//! The emulator's ear: passes on what a program prints, and notes what the emulator keeps to itself or does not
//! know.
//!
//! Questions never come here ([`super::super::questions`] cuts them), so nothing here answers. What would let a
//! program take memory without bound, or end us by a fault of the emulator, is not passed on: each such place
//! says so.

use alacritty_terminal::{
    Term,
    event::VoidListener,
    grid::Dimensions,
    index::{Column, Line},
    term::{TermMode, cell::Flags},
    vte::ansi::{
        Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, Hyperlink, KeyboardModes,
        KeyboardModesApplyBehavior, LineClearMode, Mode, ModifyOtherKeys, NamedMode, NamedPrivateMode,
        PrivateMode, Rgb, StandardCharset, TabulationClearMode,
    },
};

/// Combining characters on one cell: the emulator keeps all that come.
const MOST_COMBINED: usize = 16;
/// Length of a link's target and of its id.
const LONGEST_LINK: usize = 2048;
/// Length of a title, in bytes.
const LONGEST_TITLE: usize = 1024;
/// Saved titles, and saved keyboard flags of each screen.
const DEEPEST: usize = 16;

/// Private modes that the emulator does not know, and a client's terminal may: they are set again at a
/// newcomer's. Mouse by xterm's and urxvt's old means, focus of colours, in-band sizes, graphemes.
pub const OTHER_MODES: [u16; 10] = [9, 66, 67, 1001, 1015, 1016, 1035, 1036, 2027, 2031];

/// Kitty's keyboard flags of one screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyboard {
    /// In force.
    pub flags: u8,
    /// Put away, the oldest first.
    pub saved: Vec<u8>,
}

/// What is known beside the emulator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// The window's title.
    pub title: String,
    /// Titles put away.
    pub titles: Vec<String>,
    /// First and last line of the scroll region, from zero; `None`: all of the screen.
    pub region: Option<(usize, usize)>,
    /// Keyboard flags of the screen that shows.
    pub keyboard: Keyboard,
    /// Those of the other.
    pub other_keyboard: Keyboard,
    /// xterm's modifyOtherKeys.
    pub modify_other_keys: u8,
    /// Which of the character sets is in use.
    pub charset: Option<CharsetIndex>,
    /// Columns with a tab stop, where they were changed.
    pub tabs: Option<Vec<bool>>,
    /// Which of [`OTHER_MODES`] are on.
    pub modes: Vec<u16>,
    /// Inside a synchronized update.
    pub synchronized: bool,
    /// Whether the program changed a colour of the palette.
    pub colored: bool,
    /// The cursor's looks, as DECSCUSR counts them; 0: the terminal's own.
    pub cursor_style: u8,
}

/// The emulator and what is known beside it.
pub struct Ear<'a> {
    /// The emulator.
    pub term: &'a mut Term<VoidListener>,
    /// What it does not tell.
    pub side: &'a mut Side,
    /// Characters that the parser drew.
    pub inputs: usize,
}

impl<'a> Ear<'a> {
    /// One that has heard nothing.
    pub fn new(term: &'a mut Term<VoidListener>, side: &'a mut Side) -> Self {
        Self { term, side, inputs: 0 }
    }
}

macro_rules! pass_on {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(#[inline] fn $name(&mut self, $($argument: $kind),*) { Handler::$name(self.term, $($argument),*); })*
    };
}

macro_rules! cut {
    ($($name:ident($argument:ident: $kind:ty);)*) => {
        $(#[inline] fn $name(&mut self, $argument: $kind) {
            Handler::$name(self.term, $argument);
            self.blank_right_halves();
        })*
    };
}

impl Handler for Ear<'_> {
    pass_on! {
        goto(line: i32, column: usize);
        goto_line(line: i32);
        goto_col(column: usize);
        move_up(lines: usize);
        move_down(lines: usize);
        move_forward(columns: usize);
        move_backward(columns: usize);
        move_down_and_cr(lines: usize);
        move_up_and_cr(lines: usize);
        put_tab(count: u16);
        backspace();
        carriage_return();
        linefeed();
        newline();
        scroll_up(lines: usize);
        scroll_down(lines: usize);
        insert_blank_lines(lines: usize);
        delete_lines(lines: usize);
        move_backward_tabs(count: u16);
        move_forward_tabs(count: u16);
        save_cursor_position();
        restore_cursor_position();
        reverse_index();
        terminal_attribute(attribute: Attr);
        set_mode(mode: Mode);
        unset_mode(mode: Mode);
        set_keypad_application_mode();
        unset_keypad_application_mode();
        configure_charset(index: CharsetIndex, charset: StandardCharset);
        decaln();
    }

    cut! {
        insert_blank(count: usize);
        erase_chars(count: usize);
        delete_chars(count: usize);
        clear_line(mode: LineClearMode);
        clear_screen(mode: ClearMode);
    }

    #[inline]
    fn input(&mut self, c: char) {
        self.inputs += 1;
        if c >= '\u{300}' && self.is_combined_enough(c) {
            return;
        }
        self.term.input(c);
    }

    fn set_cursor_style(&mut self, style: Option<CursorStyle>) {
        self.side.cursor_style = match style {
            None => 0,
            Some(CursorStyle { shape, blinking }) => {
                let steady = match shape {
                    CursorShape::Underline => 4,
                    CursorShape::Beam => 6,
                    CursorShape::Block | CursorShape::HollowBlock | CursorShape::Hidden => 2,
                };
                steady - u8::from(blinking)
            }
        };
    }

    fn set_cursor_shape(&mut self, shape: CursorShape) {
        self.set_cursor_style(Some(CursorStyle { shape, blinking: false }));
    }

    fn set_hyperlink(&mut self, link: Option<Hyperlink>) {
        let fits = |link: &Hyperlink| {
            link.uri.len() <= LONGEST_LINK && link.id.as_ref().is_none_or(|id| id.len() <= LONGEST_LINK)
        };
        self.term.set_hyperlink(link.filter(fits));
    }

    fn set_title(&mut self, title: Option<String>) {
        let mut title = title.unwrap_or_default();
        title.retain(|c| !c.is_control());
        let end = (0..=LONGEST_TITLE.min(title.len())).rev().find(|end| title.is_char_boundary(*end));
        title.truncate(end.unwrap_or(0));
        self.side.title = title;
    }

    fn push_title(&mut self) {
        if self.side.titles.len() >= DEEPEST {
            self.side.titles.remove(0);
        }
        self.side.titles.push(self.side.title.clone());
    }

    fn pop_title(&mut self) {
        if let Some(title) = self.side.titles.pop() {
            self.side.title = title;
        }
    }

    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let lines = self.term.screen_lines();
        let last = bottom.unwrap_or(lines).min(lines);
        if top >= last {
            return; // the emulator takes an empty region below the screen, and then counts below zero
        }
        self.side.region = (top > 1 || last < lines).then_some((top - 1, last - 1));
        self.term.set_scrolling_region(top, Some(last));
    }

    fn set_horizontal_tabstop(&mut self) {
        let column = self.term.grid().cursor.point.column.0;
        if let Some(stop) = self.tabs().get_mut(column) {
            *stop = true;
        }
        self.term.set_horizontal_tabstop();
    }

    fn clear_tabs(&mut self, mode: TabulationClearMode) {
        let column = self.term.grid().cursor.point.column.0;
        match mode {
            TabulationClearMode::All => self.tabs().fill(false),
            TabulationClearMode::Current => {
                if let Some(stop) = self.tabs().get_mut(column) {
                    *stop = false;
                }
            }
        }
        self.term.clear_tabs(mode);
    }

    fn set_active_charset(&mut self, index: CharsetIndex) {
        self.side.charset = Some(index);
        self.term.set_active_charset(index);
    }

    fn set_color(&mut self, index: usize, color: Rgb) {
        self.side.colored = true;
        self.term.set_color(index, color);
    }

    fn reset_color(&mut self, index: usize) {
        self.term.reset_color(index);
    }

    fn set_modify_other_keys(&mut self, mode: ModifyOtherKeys) {
        self.side.modify_other_keys = match mode {
            ModifyOtherKeys::Reset => 0,
            ModifyOtherKeys::EnableExceptWellDefined => 1,
            ModifyOtherKeys::EnableAll => 2,
        };
    }

    // The emulator forgets its oldest keyboard flags in the wrong list, and ends its process doing so.
    fn push_keyboard_mode(&mut self, mode: KeyboardModes) {
        let keyboard = &mut self.side.keyboard;
        if keyboard.saved.len() >= DEEPEST {
            keyboard.saved.remove(0);
        }
        keyboard.saved.push(keyboard.flags);
        keyboard.flags = mode.bits();
    }

    fn pop_keyboard_modes(&mut self, count: u16) {
        let keyboard = &mut self.side.keyboard;
        for _ in 0..usize::from(count).min(DEEPEST + 1) {
            keyboard.flags = keyboard.saved.pop().unwrap_or(0);
        }
    }

    fn set_keyboard_mode(&mut self, mode: KeyboardModes, how: KeyboardModesApplyBehavior) {
        let flags = &mut self.side.keyboard.flags;
        match how {
            KeyboardModesApplyBehavior::Replace => *flags = mode.bits(),
            KeyboardModesApplyBehavior::Union => *flags |= mode.bits(),
            KeyboardModesApplyBehavior::Difference => *flags &= !mode.bits(),
        }
    }

    fn set_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            PrivateMode::Unknown(47 | 1047)
            | PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor) => {
                self.show_alternate(true);
            }
            PrivateMode::Unknown(1048) => self.term.save_cursor_position(),
            PrivateMode::Unknown(other) => {
                if OTHER_MODES.contains(&other) && !self.side.modes.contains(&other) {
                    self.side.modes.push(other);
                }
            }
            PrivateMode::Named(NamedPrivateMode::SyncUpdate) => self.side.synchronized = true,
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {
                self.side.region = None;
                self.term.set_private_mode(mode);
            }
            PrivateMode::Named(_) => self.term.set_private_mode(mode),
        }
    }

    fn unset_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            PrivateMode::Unknown(47 | 1047)
            | PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor) => {
                self.show_alternate(false);
            }
            PrivateMode::Unknown(1048) => self.term.restore_cursor_position(),
            PrivateMode::Unknown(other) => self.side.modes.retain(|mode| *mode != other),
            PrivateMode::Named(NamedPrivateMode::SyncUpdate) => self.side.synchronized = false,
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {
                self.side.region = None;
                self.term.unset_private_mode(mode);
            }
            PrivateMode::Named(_) => self.term.unset_private_mode(mode),
        }
    }

    fn reset_state(&mut self) {
        *self.side = Side { colored: self.side.colored, ..Side::default() };
        self.term.reset_state();
        for index in 0..alacritty_terminal::term::color::COUNT {
            self.term.reset_color(index);
        }
    }
}

impl Ear<'_> {
    /// The tab stops, in our own words.
    fn tabs(&mut self) -> &mut Vec<bool> {
        let columns = self.term.columns();
        self.side.tabs.get_or_insert_with(|| (0..columns).map(|column| column % 8 == 0).collect())
    }

    fn show_alternate(&mut self, alternate: bool) {
        if self.term.mode().contains(TermMode::ALT_SCREEN) != alternate {
            std::mem::swap(&mut self.side.keyboard, &mut self.side.other_keyboard);
            self.term.swap_alt();
        }
    }

    /// Blanks what an operation on a part of the cursor's line left of wide characters without their left halves. The
    /// emulator would take what is left of one for the other half, and blank it when something is written over this.
    fn blank_right_halves(&mut self) {
        let grid = self.term.grid_mut();
        let line = grid.cursor.point.line;
        let mut follows = false;
        for column in 0..grid.columns() {
            let flags = &mut grid[line][Column(column)].flags;
            if !follows {
                flags.remove(Flags::WIDE_CHAR_SPACER);
            }
            follows = flags.contains(Flags::WIDE_CHAR);
        }
    }

    fn is_combined_enough(&self, c: char) -> bool {
        if unicode_width::UnicodeWidthChar::width(c) != Some(0) {
            return false;
        }
        let grid = self.term.grid();
        let point = grid.cursor.point;
        let line = &grid[Line(point.line.0)];
        // The cell that it falls on is one of these two, or three with a wide character.
        (0..3).filter_map(|back| point.column.0.checked_sub(back)).any(|column| {
            let cell = &line[Column(column)];
            cell.zerowidth().is_some_and(|marks| marks.len() >= MOST_COMBINED)
        })
    }

    /// DECSTR, which the emulator does not know.
    pub fn soft_reset(&mut self) {
        for mode in [NamedPrivateMode::CursorKeys, NamedPrivateMode::Origin] {
            self.term.unset_private_mode(PrivateMode::Named(mode));
        }
        for mode in [NamedPrivateMode::ShowCursor, NamedPrivateMode::LineWrap] {
            self.term.set_private_mode(PrivateMode::Named(mode));
        }
        self.term.unset_mode(Mode::Named(NamedMode::Insert));
        self.term.unset_keypad_application_mode();
        self.term.terminal_attribute(Attr::Reset);
        for index in [CharsetIndex::G0, CharsetIndex::G1, CharsetIndex::G2, CharsetIndex::G3] {
            self.term.configure_charset(index, StandardCharset::Ascii);
        }
        self.term.set_active_charset(CharsetIndex::G0);
        let cursor = self.term.grid().cursor.clone();
        self.term.set_scrolling_region(1, None);
        let grid = self.term.grid_mut();
        grid.cursor = cursor;
        grid.saved_cursor = alacritty_terminal::grid::Cursor::default();
        self.side.region = None;
        self.side.charset = None;
    }
}
