//! The view on a terminal: news, keys and signals in, screens out.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::fd::AsFd,
    process::ExitCode,
    time::Duration,
};

use super::{
    feed::{Feed, News},
    keys::{Key, Keys, Scroll},
    order::Sort,
    page::{Frame, Page},
};
use crate::{
    api::{attach::WindowSize, control::HealthResult, name::SessionName, status::SessionView, time::Moment},
    cli::{
        client::after,
        error::{CliError, CliResult},
        select::Selector,
        watch::Change,
    },
    host::{
        clock,
        poll::{self, Got, Interest},
        tty::{self, Heard, Raw, Signals},
    },
};

/// Changes that come closer together are drawn together.
const TOGETHER: Duration = Duration::from_millis(100);
/// What follows an ESC that is no key of its own follows sooner.
const ESCAPE: Duration = Duration::from_millis(100);

/// The other screen, without a cursor, and lines that end where they end.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
/// For another size.
const CLEAR: &str = "\x1b[2J";
/// All of it taken back.
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What the view begins with.
#[derive(Debug)]
pub struct Begin {
    /// Which sessions, of those that the feed tells of.
    pub selector: Option<Selector>,
    /// In which order.
    pub sort: Sort,
    /// How often at least it is drawn.
    pub delay: Duration,
    /// After how many words on the daemon's health it ends.
    pub iterations: Option<u32>,
    /// In the place of rows where there are none.
    pub empty: String,
    /// Whether it may be coloured.
    pub colour: bool,
}

/// The terminal, which is given back however this ends.
#[derive(Debug)]
struct Screen {
    raw: Option<Raw>,
    /// What it has not taken yet.
    unwritten: Vec<u8>,
    /// What it shows, once it has taken that.
    lines: Vec<String>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let raw = Raw::enter()?;
        Ok(Self { raw: Some(raw), unwritten: ENTER.into(), lines: Vec::new() })
    }

    /// Draws what is not shown already; nothing while the last is not taken.
    fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        for (at, line) in lines.iter().enumerate() {
            if self.lines.get(at) != Some(line) {
                // Erased before: after a line that is as wide as the screen that would take its last character.
                write!(self.unwritten, "\x1b[{};1H\x1b[0m\x1b[K{line}\x1b[0m", at + 1)?;
            }
        }
        self.lines = lines;
        self.flush()
    }

    /// Begins anew, after `sequence`.
    fn clear(&mut self, sequence: &str) {
        self.lines.clear();
        self.unwritten.extend_from_slice(sequence.as_bytes());
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(raw) = &self.raw {
            let count = raw.write(&self.unwritten)?;
            self.unwritten.drain(..count);
        }
        Ok(())
    }

    /// Gives it back, and leaves `last` on it as it was before.
    fn leave(&mut self, last: &str) {
        if let Some(raw) = self.raw.take() {
            raw.leave(format!("{LEAVE}{}", last.replace('\n', "\r\n")).as_bytes());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave("");
    }
}

/// Why the view ends.
#[derive(Debug)]
enum End {
    Left,
    Enough,
    Signal(i32),
    Failed(CliError),
}

#[derive(Debug)]
struct View {
    begin: Begin,
    feed: Feed,
    signals: Signals,
    screen: Screen,
    size: WindowSize,
    keys: Keys,
    /// When an ESC is a key.
    decide_at: Option<Moment>,
    /// When what is known is drawn.
    draw_at: Option<Moment>,
    /// Before this it is drawn for a person only.
    rests_until: Option<Moment>,
    health: HealthResult,
    sessions: BTreeMap<SessionName, SessionView>,
    trouble: Option<String>,
    sort: Sort,
    first: usize,
    rows: usize,
    shown: Vec<SessionName>,
    /// Words on the daemon's health, so far.
    heard: u32,
}

/// Shows what `feed` tells until a person leaves, or `begin` says that it is enough.
pub fn run(begin: Begin, feed: Feed, signals: Signals, health: HealthResult) -> CliResult<ExitCode> {
    let screen = Screen::enter().map_err(|error| CliError::io("cannot take over this terminal", &error))?;
    let sort = begin.sort;
    let mut view = View {
        begin,
        feed,
        signals,
        screen,
        size: size(),
        keys: Keys::default(),
        decide_at: None,
        draw_at: Some(clock::monotonic()),
        rests_until: None,
        health,
        sessions: BTreeMap::new(),
        trouble: None,
        sort,
        first: 0,
        rows: 0,
        shown: Vec::new(),
        heard: 0,
    };
    // What the feed began with.
    let end = view.learn().unwrap_or_else(|| view.serve());
    let (last, result) = match end {
        End::Left => (String::new(), Ok(ExitCode::SUCCESS)),
        // Who said how often wants to read it.
        End::Enough => {
            let (width, colour) = (Some(view.size.columns.into()), view.begin.colour);
            (view.with_page(|page| page.whole(width, colour)), Ok(ExitCode::SUCCESS))
        }
        End::Signal(signal) => {
            let code = 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0));
            (String::new(), Ok(ExitCode::from(code)))
        }
        End::Failed(error) => (String::new(), Err(error)),
    };
    view.screen.leave(&last);
    result
}

fn size() -> WindowSize {
    tty::size().unwrap_or(WindowSize::of_cells(80, 24))
}

fn is_due(at: Option<Moment>) -> bool {
    at.is_some_and(|at| at <= clock::monotonic())
}

impl View {
    fn serve(&mut self) -> End {
        loop {
            let (keyboard, news) = match self.wait() {
                Ok(ready) => ready,
                Err(error) => return End::Failed(CliError::io("cannot wait for the terminal", &error)),
            };
            if let Some(end) = self.hear() {
                return end;
            }
            if (keyboard || is_due(self.decide_at))
                && let Some(end) = self.type_in(keyboard)
            {
                return end;
            }
            if news && let Some(end) = self.learn() {
                return end;
            }
            // A terminal that is behind is given the page as it is by the time it has caught up.
            let shown = if !self.screen.unwritten.is_empty() {
                self.screen.flush()
            } else if is_due(self.draw_at) {
                self.draw()
            } else {
                Ok(())
            };
            if shown.is_err() {
                return End::Signal(1); // the terminal is gone, as after a hangup
            }
            let enough = self.begin.iterations.is_some_and(|enough| self.heard >= enough);
            if enough && self.rests_until.is_some() {
                return End::Enough;
            }
        }
    }

    /// Says whether the keyboard and the feed have something.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let stdin = io::stdin();
        let Some(raw) = &self.screen.raw else { return Ok((false, false)) };
        let behind = !self.screen.unwritten.is_empty();
        let watched = [
            (self.signals.fd(), Interest::READ),
            (stdin.as_fd(), Interest::READ),
            (self.feed.fd(), Interest::READ),
            (raw.output(), Interest { read: false, write: behind }),
        ];
        let draw_at = self.draw_at.filter(|_| !behind);
        let next = [self.decide_at, draw_at].into_iter().flatten().min();
        let ready = poll::wait(&watched, next.map(|next| next.since(clock::monotonic())))?;
        let [_, keyboard, feed, _] = ready.try_into().unwrap_or_default();
        Ok((keyboard.read, feed.read))
    }

    fn hear(&mut self) -> Option<End> {
        while let Some(heard) = self.signals.next() {
            match heard {
                Heard::End(signal) => return Some(End::Signal(signal)),
                // After a stop, in which a shell had the terminal.
                Heard::Continued => {
                    if let Some(raw) = &self.screen.raw {
                        let _ = raw.again(); // in the background it is the shell's, and another signal tells us
                    }
                    self.screen.clear(ENTER);
                }
                Heard::Resized => self.screen.clear(CLEAR),
            }
            self.size = size();
            self.draw_at = Some(clock::monotonic());
        }
        None
    }

    /// What was typed, or (not `keyboard`) what a pause makes of what was.
    fn type_in(&mut self, keyboard: bool) -> Option<End> {
        let keys = if keyboard {
            let mut typed = Vec::with_capacity(4 << 10);
            match poll::read(io::stdin(), &mut typed) {
                Ok(Got::Bytes(_)) => self.keys.read(&typed),
                Ok(Got::Nothing) => Vec::new(),
                Ok(Got::End) | Err(_) => return Some(End::Signal(1)),
            }
        } else {
            self.keys.pause().into_iter().collect()
        };
        self.decide_at = if self.keys.is_waiting() { after(ESCAPE) } else { None };
        for key in keys {
            match key {
                Key::Quit => return Some(End::Left),
                Key::Sort(sort) => (self.sort, self.first) = (sort, 0),
                Key::Scroll(scroll) => self.scroll(scroll),
            }
            self.draw_at = Some(clock::monotonic());
        }
        None
    }

    fn scroll(&mut self, scroll: Scroll) {
        // Less one row, which stays for the eye.
        let page = self.rows.saturating_sub(1).max(1);
        self.first = match scroll {
            Scroll::Up => self.first.saturating_sub(1),
            Scroll::Down => self.first.saturating_add(1),
            Scroll::PageUp => self.first.saturating_sub(page),
            Scroll::PageDown => self.first.saturating_add(page),
            Scroll::Home => 0,
            Scroll::End => usize::MAX,
        };
        // Keys that are typed ahead go no further than there are rows.
        self.first = self.first.min(self.sessions.len().saturating_sub(self.rows));
    }

    fn learn(&mut self) -> Option<End> {
        for news in self.feed.news() {
            match news {
                News::All(sessions) => {
                    self.sessions =
                        sessions.into_iter().map(|session| (session.name.clone(), session)).collect();
                }
                News::Changed(Change::Now(session)) => {
                    self.sessions.insert(session.name.clone(), *session);
                }
                News::Changed(Change::Gone(name)) => _ = self.sessions.remove(&name),
                News::Health(health) => {
                    self.health = *health;
                    self.trouble = None;
                    self.heard = self.heard.saturating_add(1);
                }
                News::Trouble(why) => self.trouble = Some(why),
                News::Over(error) => return Some(End::Failed(error)),
            }
        }
        let soon = clock::monotonic().max(self.rests_until.unwrap_or(clock::monotonic()));
        self.draw_at = Some(self.draw_at.map_or(soon, |at| at.min(soon)));
        None
    }

    fn with_page<T>(&self, show: impl FnOnce(&Page) -> T) -> T {
        let selector = self.begin.selector.as_ref();
        let admitted = |session: &&SessionView| selector.is_none_or(|selector| selector.admits(session));
        let mut sessions: Vec<&SessionView> = self.sessions.values().filter(admitted).collect();
        self.sort.apply(&mut sessions);
        show(&Page {
            health: &self.health,
            sessions: &sessions,
            sort: self.sort,
            empty: &self.begin.empty,
            trouble: self.trouble.as_deref(),
            now: clock::wall(),
        })
    }

    fn draw(&mut self) -> io::Result<()> {
        let (Frame { lines, first, rows }, shown) = self.with_page(|page| {
            let frame = page.frame(self.size, self.first, self.begin.colour);
            let shown = page.sessions.iter().skip(frame.first).take(frame.rows);
            let shown: Vec<SessionName> = shown.map(|session| session.name.clone()).collect();
            (frame, shown)
        });
        (self.first, self.rows) = (first, rows);
        if shown != self.shown {
            self.feed.shows(shown.clone());
            self.shown = shown;
        }
        self.draw_at = after(self.begin.delay);
        self.rests_until = after(TOGETHER);
        self.screen.draw(lines)
    }
}
