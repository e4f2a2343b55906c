//! Output: data to stdout, talk to stderr; tables, JSON, YAML; colour only where a person looks.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::{
    error::{CliError, CliResult, Kind},
    text::{escape, escape_json, escape_lines},
};
use crate::api::yaml;

/// A form of output, as `-o` asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// For programs.
    Json,
    /// The same, for people.
    Yaml,
    /// Names only, one a line.
    Name,
}

/// Forms of what is no list of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlainForm {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// The same, for people.
    Yaml,
}

/// How a cell or a word stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Not at all.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Less than the rest.
    Faint,
    /// A title.
    Bold,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
            Self::Bold => Some("1"),
        }
    }

    /// `text` in this style.
    pub fn paint(self, text: &str, colour: bool) -> String {
        match self.code() {
            Some(code) if colour && !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }
}

/// Where a command writes.
pub struct Output {
    data: Box<dyn Write>,
    terminal: bool,
    colour: bool,
    talk_colour: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Output {
    /// This process's stdout and stderr.
    pub fn of_process() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|value| value != "dumb");
        let terminal = io::stdout().is_terminal();
        Self {
            data: Box::new(io::BufWriter::with_capacity(1 << 16, io::stdout())),
            terminal,
            colour: wanted && terminal,
            talk_colour: wanted && io::stderr().is_terminal(),
        }
    }

    /// Whether stdout is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether stdout may be coloured.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// One line of data, already safe.
    pub fn line(&mut self, text: &str) -> CliResult {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Data as it is.
    pub fn bytes(&mut self, bytes: &[u8]) -> CliResult {
        self.data.write_all(bytes).map_err(|error| stdout_error(&error))
    }

    /// Hands out what is buffered: before every wait, and at the end.
    pub fn flush(&mut self) -> CliResult {
        self.data.flush().map_err(|error| stdout_error(&error))
    }

    /// One line of talk, made safe here.
    pub fn note(&mut self, text: &str) -> CliResult {
        // What is data and earlier must be seen earlier where both are one terminal.
        self.flush()?;
        // Talk that nobody can read is no reason to fail.
        let _ = writeln!(io::stderr(), "{}", escape(text));
        Ok(())
    }

    /// Several lines of talk, made safe here.
    pub fn talk(&mut self, text: &str) -> CliResult {
        self.flush()?;
        let _ = writeln!(io::stderr(), "{}", escape_lines(text).trim_end());
        Ok(())
    }

    /// One line of talk that warns.
    pub fn warn(&mut self, text: &str) -> CliResult {
        self.flush()?;
        let word = Style::Warn.paint("warning:", self.talk_colour);
        let _ = writeln!(io::stderr(), "{word} {}", escape(text));
        Ok(())
    }

    /// A failure, at the end of a command or between others.
    pub fn error(&mut self, error: &CliError) {
        let _ = self.data.flush(); // a closed stdout is told by the exit status
        let text = error.render(|word| Style::Bad.paint(word, self.talk_colour));
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// A value as JSON on several lines.
    pub fn json(&mut self, value: &impl Serialize) -> CliResult {
        let text = serde_json::to_string_pretty(value).map_err(unwritable)?;
        self.line(&escape_json(&text))
    }

    /// A value as JSON on one line.
    pub fn json_line(&mut self, value: &impl Serialize) -> CliResult {
        let text = serde_json::to_string(value).map_err(unwritable)?;
        self.line(&escape_json(&text))
    }

    /// A value as YAML. Raw in a pipe, where programs read it; made safe where a person does.
    pub fn yaml(&mut self, value: &impl Serialize) -> CliResult {
        let text = to_yaml(value)?;
        if self.terminal { self.bytes(escape_lines(&text).as_bytes()) } else { self.bytes(text.as_bytes()) }
    }
}

/// `value` as YAML.
pub fn to_yaml(value: &impl Serialize) -> CliResult<String> {
    yaml::write(value).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> CliError {
    CliError::failed(format!("cannot write the answer in this form: {error}"))
}

fn stdout_error(error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        CliError::new(Kind::OutputClosed, "")
    } else {
        CliError::io("cannot write to standard output", error)
    }
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell, its text made safe. An empty one shows as `-`.
    pub fn new(text: &str, style: Style) -> Self {
        let text = if text.is_empty() { "-".to_owned() } else { escape(text).into_owned() };
        Self { text, style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text.as_ref(), Style::Plain)
    }
}

/// Rows under a header. Keeps its widths, so that rows which come later line up.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
    widths: Vec<usize>,
}

impl Table {
    /// A table without rows.
    pub fn new(header: &[&str]) -> Self {
        let header: Vec<Cell> = header.iter().map(|title| Cell::new(title, Style::Bold)).collect();
        let widths = header.iter().map(|cell| cell.text.width()).collect();
        Self { header, rows: Vec::new(), widths }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.widen(&cells);
        self.rows.push(cells);
    }

    fn widen(&mut self, cells: &[Cell]) {
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.text.width());
        }
    }

    /// The whole table.
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            self.render_row(row, colour, &mut text);
        }
        text
    }

    /// One more row, in the columns of the table.
    pub fn render_later(&mut self, cells: &[Cell], colour: bool) -> String {
        self.widen(cells);
        let mut text = String::new();
        self.render_row(cells, colour, &mut text);
        text
    }

    fn render_row(&self, cells: &[Cell], colour: bool, text: &mut String) {
        let last = cells.len().saturating_sub(1);
        for (column, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
            text.push_str(&cell.style.paint(&cell.text, colour));
            if column != last {
                // By display width: a wide character takes two cells, a combining one none.
                let gap = width.saturating_sub(cell.text.width()) + 3;
                text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_display_width() {
        let mut table = Table::new(&["NAME", "DIR", "X"]);
        table.row(vec!["a".into(), "/漢字".into(), "1".into()]);
        table.row(vec!["longer-name".into(), "/x\u{1b}[2J".into(), "".into()]);
        insta::assert_snapshot!(table.render(false), @r"
        NAME          DIR           X
        a             /漢字         1
        longer-name   /x\u{1b}[2J   -
        ");
        insta::assert_snapshot!(
            table.render_later(&["b".into(), Cell::new("c", Style::Bad), "2".into()], false),
            @r"
        b             c             2
        "
        );
    }

    #[test]
    fn colour_is_outside_the_padding() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![Cell::new("xx", Style::Good), "y".into()]);
        assert_eq!(
            table.render(true),
            "\u{1b}[1mA\u{1b}[0m    \u{1b}[1mB\u{1b}[0m\n\u{1b}[32mxx\u{1b}[0m   y\n"
        );
    }
}
