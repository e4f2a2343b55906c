//! What is shown, from values alone: a summary, a table of sessions, and how much of both has room.

use unicode_width::UnicodeWidthStr;

use super::{
    line::{Line, cut},
    order::Sort,
};
use crate::{
    api::{
        attach::WindowSize,
        control::HealthResult,
        status::{Activity, Phase, Reason, SessionView},
        time::Timestamp,
    },
    cli::{
        describe::why,
        get::{activity, phase_style},
        output::Style,
        text,
    },
};

/// Between two columns.
const GAP: usize = 2;
/// For a message of this width other columns go.
const MESSAGE: usize = 24;
/// A narrower one says nothing.
const LEAST_MESSAGE: usize = 12;
/// A name is not cut to less.
const LEAST_NAME: usize = 12;
/// Rows that a low terminal keeps for sessions, before the summary.
const LEAST_ROWS: usize = 3;

/// What is known at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// How the daemon is.
    pub health: &'a HealthResult,
    /// The sessions that are asked for, in order.
    pub sessions: &'a [&'a SessionView],
    /// In which order they are.
    pub sort: Sort,
    /// In the place of rows where there are none.
    pub empty: &'a str,
    /// What keeps this page from being true.
    pub trouble: Option<&'a str>,
    /// When.
    pub now: Timestamp,
}

/// A screen full of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// As many lines as the screen has, or fewer.
    pub lines: Vec<String>,
    /// The first row that is shown, which is another one than was asked for where there are not so many.
    pub first: usize,
    /// How many rows are shown.
    pub rows: usize,
}

impl Page<'_> {
    /// All of it, in lines of at most `width` columns; `None`: however long they are.
    pub fn whole(&self, width: Option<usize>, colour: bool) -> String {
        let mut lines = self.summary();
        lines.push(Line::default());
        lines.extend(self.table(width));
        let line = |line: &Line| line.render(width.unwrap_or(usize::MAX), colour) + "\n";
        lines.iter().map(line).collect()
    }

    /// What of it a screen of this size shows, with the rows from `first` on.
    pub fn frame(&self, size: WindowSize, first: usize, colour: bool) -> Frame {
        let (width, height) = (usize::from(size.columns), usize::from(size.rows));
        let mut lines = self.summary();
        lines.push(Line::default());
        // With the table's header, and the line that tells the keys.
        lines.truncate(height.saturating_sub(LEAST_ROWS + 2));
        let mut table = self.table(Some(width)).into_iter();
        lines.extend(table.next());
        let room = height.saturating_sub(lines.len() + 1);
        let first = first.min(self.sessions.len().saturating_sub(room));
        let rows: Vec<Line> = table.skip(first).take(room).collect();
        let shown = rows.len();
        lines.extend(rows);
        if shown == 0 && room > 0 {
            lines.push(Line::new(self.empty, Style::Plain));
        }
        lines.resize(height.saturating_sub(1), Line::default());
        lines.push(self.keys(first, shown));
        let lines = lines.iter().take(height).map(|line| line.render(width, colour)).collect();
        Frame { lines, first, rows: shown }
    }

    fn summary(&self) -> Vec<Line> {
        let health = self.health;
        let mut head = Line::new(&format!("atm {}", health.version), Style::Bold);
        let up = text::age(self.now, health.started_at);
        head.add(&format!(", up {up}, pid {}; {}", health.pid, text::local(self.now)), Style::Plain);
        let mut lines = vec![head, self.counts(), self.resources()];
        let mut bad =
            |title: &str, text: &str| lines.push(Line::new(&format!("{title}: {text}"), Style::Bad));
        if let Some(trouble) = self.trouble {
            bad("Not up to date", trouble);
        }
        if let Some(why) = &health.specs_unavailable {
            bad("The specs cannot be believed", why);
        }
        if let Some(error) = &health.config_error {
            let first = error.0.first().map(|first| first.message.as_str());
            bad("Config error, using the last good one", first.unwrap_or("see `atm status`"));
        }
        // Whose a spec is, its session's row tells.
        if !health.spec_errors.is_empty() {
            bad("Spec files that are wrong", &format!("{}; see `atm status`", health.spec_errors.len()));
        }
        if let Some(warning) = health.warnings.first() {
            let more = match health.warnings.len() {
                1 => String::new(),
                count => format!(" ({} more: `atm status`)", count - 1),
            };
            lines.push(Line::new(&format!("Warning: {warning}{more}"), Style::Warn));
        }
        lines
    }

    fn counts(&self) -> Line {
        let counts = &self.health.counts;
        let mut line = Line::new(
            &format!("Sessions: {} of {} running", counts.running, self.health.max_sessions),
            Style::Plain,
        );
        let mut inner =
            [(counts.busy, "busy", Style::Plain), (counts.waiting, "waiting for a person", Style::Warn)]
                .into_iter()
                .filter(|(count, ..)| *count > 0)
                .peekable();
        if inner.peek().is_some() {
            let mut between = " (";
            for (count, word, style) in inner {
                line.add(between, Style::Plain);
                line.add(&format!("{count} {word}"), style);
                between = ", ";
            }
            line.add(")", Style::Plain);
        }
        for (count, word, style) in [
            (counts.pending, "pending", Style::Plain),
            (counts.stopping, "stopping", Style::Plain),
            (counts.failed, "failed", Style::Bad),
            (counts.succeeded, "succeeded", Style::Plain),
            (counts.evicted, "evicted", Style::Plain),
            (counts.suspended, "suspended", Style::Plain),
        ] {
            if count > 0 {
                line.add(", ", Style::Plain);
                line.add(&format!("{count} {word}"), style);
            }
        }
        line
    }

    fn resources(&self) -> Line {
        let health = self.health;
        let of = health.max_memory_bytes.map(|budget| format!(" of {}", text::size(budget)));
        let clients = &health.clients;
        let text = format!(
            "Memory: {}{}; the daemon's: {}; watchers: {} of {}",
            text::size(health.memory_bytes),
            of.unwrap_or_default(),
            text::size(health.usage.memory_bytes),
            clients.watchers,
            clients.max_watchers
        );
        Line::new(&text, Style::Plain)
    }

    fn keys(&self, first: usize, shown: usize) -> Line {
        let from = if shown == 0 { 0 } else { first + 1 };
        let place = format!("{from}-{} of {}", first + shown, self.sessions.len());
        let mut line = Line::new(&place, Style::Plain);
        line.add("  by ", Style::Faint);
        for (key, word, sort) in [
            ("c", "CPU", Sort::Cpu),
            ("m", "memory", Sort::Memory),
            ("n", "name", Sort::Name),
            ("i", "idle", Sort::Idle),
            ("w", "waiting", Sort::Waiting),
        ] {
            // Marked without colours too.
            let (word, style) = if sort == self.sort {
                (format!("[{word}]"), Style::Bold)
            } else {
                (word.to_owned(), Style::Faint)
            };
            line.add(&format!("{key} {word}  "), style);
        }
        line.add("q quits", Style::Faint);
        line
    }

    /// The header, and a row for each session.
    fn table(&self, width: Option<usize>) -> Vec<Line> {
        let header = Column::ALL.map(|column| (column.title().to_owned(), Style::Bold));
        let rows = self.sessions.iter().map(|session| {
            Column::ALL.map(|column| {
                let (text, style) = column.cell(session, self.now);
                let empty = text.is_empty() && column != Column::Message;
                // Widths are those of what is shown in the end.
                (if empty { "-".to_owned() } else { text::escape(&text).into_owned() }, style)
            })
        });
        let rows: Vec<Cells> = std::iter::once(header).chain(rows).collect();
        let widths = fit(&rows, width, Column::of(self.sort));
        rows.iter().map(|cells| row(cells, &widths)).collect()
    }
}

type Cells = [(String, Style); 10];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Phase,
    Activity,
    Cpu,
    Memory,
    Processes,
    Idle,
    Age,
    Restarts,
    Message,
}

impl Column {
    /// As they are shown.
    const ALL: [Self; 10] = [
        Self::Name,
        Self::Phase,
        Self::Activity,
        Self::Cpu,
        Self::Memory,
        Self::Processes,
        Self::Idle,
        Self::Age,
        Self::Restarts,
        Self::Message,
    ];

    /// Which ones go where there is no room for all, the first of them first.
    const SPARED: [Self; 9] = [
        Self::Restarts,
        Self::Processes,
        Self::Age,
        Self::Idle,
        Self::Message,
        Self::Activity,
        Self::Memory,
        Self::Phase,
        Self::Cpu,
    ];

    /// The one that `sort` goes by.
    fn of(sort: Sort) -> Option<Self> {
        match sort {
            Sort::Cpu => Some(Self::Cpu),
            Sort::Memory => Some(Self::Memory),
            Sort::Idle => Some(Self::Idle),
            Sort::Name | Sort::Waiting => None,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Phase => "PHASE",
            Self::Activity => "ACTIVITY",
            Self::Cpu => "CPU%",
            Self::Memory => "MEMORY",
            Self::Processes => "PROCS",
            Self::Idle => "IDLE",
            Self::Age => "AGE",
            Self::Restarts => "RESTARTS",
            Self::Message => "MESSAGE",
        }
    }

    /// Figures end where the figures below them end.
    fn is_figure(self) -> bool {
        matches!(self, Self::Cpu | Self::Memory | Self::Processes | Self::Idle | Self::Age | Self::Restarts)
    }

    fn cell(self, session: &SessionView, now: Timestamp) -> (String, Style) {
        let status = &session.status;
        let live = matches!(status.phase, Phase::Running | Phase::Stopping);
        let age = |since: Option<Timestamp>| since.map(|since| text::age(now, since)).unwrap_or_default();
        let text = match self {
            Self::Name => session.name.to_string(),
            Self::Phase => return (status.phase.to_string(), phase_style(status.phase)),
            Self::Activity => {
                let style =
                    if status.activity == Some(Activity::Waiting) { Style::Warn } else { Style::Plain };
                return (status.activity.map(activity).unwrap_or_default().to_owned(), style);
            }
            Self::Cpu => status.cpu_percent.map(|cpu| format!("{cpu:.1}")).unwrap_or_default(),
            Self::Memory => status.memory_bytes.map(text::size).unwrap_or_default(),
            Self::Processes => status.processes.map(|count| count.to_string()).unwrap_or_default(),
            Self::Idle => age(status.last_activity_at.filter(|_| live)),
            Self::Age if status.phase == Phase::Running => age(status.started_at.or(status.since)),
            Self::Age => age(status.since),
            Self::Restarts => status.restarts.to_string(),
            Self::Message => return message(session, now),
        };
        (text, Style::Plain)
    }
}

/// What a person should know of a session beside its figures.
fn message(session: &SessionView, now: Timestamp) -> (String, Style) {
    let status = &session.status;
    if let Some(why) = why(session, now) {
        let style = if status.phase == Phase::Failed { Style::Bad } else { Style::Plain };
        return (format!("{}: {why}", status.reason), style);
    }
    if !status.conditions.is_empty() {
        let kinds: Vec<String> =
            status.conditions.iter().map(|condition| condition.kind.to_string()).collect();
        return (kinds.join(", "), Style::Bad);
    }
    if let Some(error) = &status.spec_error {
        let first = error.0.first().map(|first| first.message.as_str());
        return (format!("{}: {}", Reason::InvalidSpec, first.unwrap_or("see `atm describe`")), Style::Bad);
    }
    match (status.reason, status.message.as_str()) {
        (Reason::Started, _) => (String::new(), Style::Plain),
        (reason, "") => (reason.to_string(), Style::Plain),
        (reason, message) => (format!("{reason}: {message}"), Style::Plain),
    }
}

/// How wide each column is; 0: it is not shown. The message has what the others leave, and a long name gives way first.
fn fit(rows: &[Cells], width: Option<usize>, sorted_by: Option<Column>) -> [usize; 10] {
    let mut widths = [0; 10];
    for cells in rows {
        for (widest, (text, _)) in widths.iter_mut().zip(cells) {
            *widest = (*widest).max(text.width());
        }
    }
    let has_message = rows.iter().skip(1).any(|cells| cells.last().is_some_and(|(text, _)| !text.is_empty()));
    let [name, .., message] = &mut widths;
    if !has_message {
        *message = 0;
    }
    let Some(width) = width else { return widths };
    *name = (*name).min(LEAST_NAME.max(width / 4));
    let wanted = *message;
    *message = wanted.min(MESSAGE);
    let sum = |widths: &[usize; 10]| {
        let shown = widths.iter().filter(|width| **width > 0);
        shown.map(|width| width + GAP).sum::<usize>().saturating_sub(GAP)
    };
    for spared in Column::SPARED {
        if Some(spared) == sorted_by {
            continue;
        }
        if spared == Column::Message {
            let [.., message] = &mut widths;
            *message = wanted.min(LEAST_MESSAGE);
        }
        if sum(&widths) <= width {
            break;
        }
        let spared = widths.iter_mut().zip(Column::ALL).filter(|(_, column)| *column == spared);
        spared.for_each(|(own, _)| *own = 0);
    }
    let left = width.saturating_sub(sum(&widths));
    let [.., message] = &mut widths;
    if *message > 0 {
        *message = wanted.min(*message + left);
    }
    widths
}

fn row(cells: &Cells, widths: &[usize; 10]) -> Line {
    let mut line = Line::default();
    let mut gap = 0;
    for (((text, style), width), column) in cells.iter().zip(widths).zip(Column::ALL) {
        if *width == 0 {
            continue;
        }
        let text = cut(text, *width);
        let room = " ".repeat(width.saturating_sub(text.width()));
        line.add(&" ".repeat(gap), Style::Plain);
        let (before, after) = if column.is_figure() { (room.as_str(), "") } else { ("", room.as_str()) };
        line.add(before, Style::Plain);
        line.add(&text, *style);
        line.add(after, Style::Plain);
        gap = GAP;
    }
    line
}

#[cfg(test)]
mod tests;
