//! What an attached terminal and a keeper say to each other, over the frames of [`super::keeper`].
//!
//! ```text
//! keeper  Hello, with `attach`: the version of this protocol, where the session has a terminal
//! client  Attach: its size, whether it only looks, whether it detaches the others
//! keeper  Attached: the size in force. Again whenever that changes
//! keeper  Screen: bytes that make any terminal show the screen, then Output: bytes as the session prints them,
//!         less the questions to its terminal. Screen again at any time, in the place of all that was missed
//! client  Input: bytes to be typed; Resize: its new size
//! keeper  Ended: how the session ended; or Detached: why. Nothing follows either
//! ```
//!
//! Several clients: the smallest of their sizes is that of the session, each dimension for itself, without those
//! that only look. A client of another size is sent the screen drawn for its size. The last size stays when all
//! are gone.

use serde::{Deserialize, Serialize};

use super::{keys::Key, record::Exit};

/// Version of this protocol that this program speaks.
pub const ATTACH_PROTOCOL: u32 = 1;

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WindowSize {
    /// In cells.
    pub columns: u16,
    /// In cells.
    pub rows: u16,
    /// Width in pixels; 0: unknown.
    #[serde(default)]
    pub x_pixels: u16,
    /// Height in pixels; 0: unknown.
    #[serde(default)]
    pub y_pixels: u16,
}

impl WindowSize {
    /// So many cells, of unknown size.
    pub fn of_cells(columns: u16, rows: u16) -> Self {
        Self { columns, rows, x_pixels: 0, y_pixels: 0 }
    }

    /// Within what a session can have. Terminals report 0 × 0 when they do not know, and 65,535² would take
    /// 100 GiB; a wide character takes two columns.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self { columns: self.columns.clamp(2, 1000), rows: self.rows.clamp(1, 1000), ..self }
    }

    /// Whether as many cells fit.
    pub fn same_cells(self, other: Self) -> bool {
        (self.columns, self.rows) == (other.columns, other.rows)
    }
}

/// A client's first word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attach {
    /// Of the client's terminal.
    pub size: WindowSize,
    /// What it types is not taken, and its size does not count.
    #[serde(default)]
    pub read_only: bool,
    /// Detach all others.
    #[serde(default)]
    pub take: bool,
    /// Lines of history to be sent before the screen.
    #[serde(default)]
    pub history: u32,
}

/// The keeper's word on what is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// The session's size.
    pub size: WindowSize,
    /// How many others are attached.
    pub others: u32,
}

/// Why a client was let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Detached {
    /// Somebody asked for it: `atm detach`.
    Asked,
    /// Another client attached with `--take`.
    Taken,
    /// It was not let in.
    Refused {
        /// Why, for people.
        message: String,
    },
    /// A reason that only a newer keeper knows.
    #[serde(other)]
    Unknown,
}

/// How the session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Of its main process; absent: unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit: Option<Exit>,
    /// The cause of the stop, for people; absent: it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
}

/// The screen as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScreenView {
    /// The session's size.
    pub size: WindowSize,
    /// How many of the lines left the screen before.
    pub history: u32,
    /// The lines, the oldest first, without blanks at their ends.
    pub lines: Vec<String>,
    /// Where the cursor is.
    pub cursor: CursorView,
    /// The window's title.
    pub title: String,
    /// Whether a full-screen program's own screen shows.
    pub alternate: bool,
}

/// Where the cursor is, from the upper left, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CursorView {
    /// Line of the screen, history not counted.
    pub row: u16,
    /// Column.
    pub column: u16,
    /// Whether it shows.
    pub visible: bool,
}

/// Something to be typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Typed {
    /// As it is; with control characters, as a paste.
    Text(String),
    /// As a paste, where the program knows pastes; without control characters but tabs and ends of lines.
    Paste(String),
    /// A key.
    Key(Key),
}
