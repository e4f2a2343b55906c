//! A session's terminal: what is printed goes to the screen and to attached clients, what is typed to the program.

use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    questions::{Piece, Question, Questions},
    screen::Screen,
    viewers::{Arrival, Viewers},
};
use crate::{
    api::{
        attach::{Detached, Ended, ScreenView, Typed, WindowSize},
        keys::Key,
        time::Moment,
    },
    host::{
        heap,
        poll::{self, Ready},
        pty,
    },
};

/// While the program has not read so much, no more is read from attached clients: their terminals wait, as at any
/// program that is busy.
const THROTTLE: usize = 64 << 10;
/// While it has not read so much, nothing else is taken from those who send.
const MOST_TYPED: usize = 1 << 20;
/// Between two changes of size, each of which makes a program draw anew. The last one counts.
const RESIZE: Duration = Duration::from_millis(50);
/// After so long without output the screen's memory is put in order.
const QUIET: Duration = Duration::from_secs(1);
/// And so long after it came out of order, where the output never pauses for so long.
const LATEST: Duration = Duration::from_secs(5);

/// The terminal.
#[derive(Debug)]
pub struct Terminal {
    questions: Questions,
    /// Made when something is first printed: many sessions never do.
    screen: Option<Screen>,
    /// As the program was told.
    size: WindowSize,
    resized: Moment,
    /// Since when the screen's memory is out of order, and when it is put in order.
    loose_since: Option<Moment>,
    tighten_at: Option<Moment>,
    /// Typed, and not taken by the program yet.
    typed: VecDeque<u8>,
    /// Bytes that were ever typed, and those of them that were taken.
    entered: u64,
    taken: u64,
    /// Whether clients were not read in this turn.
    throttled: bool,
    viewers: Viewers,
    /// Of one read, less the questions in it.
    clean: Vec<u8>,
}

impl Terminal {
    /// One of this size, blank.
    pub fn new(columns: u16, rows: u16) -> Self {
        Self {
            questions: Questions::default(),
            screen: None,
            size: WindowSize::of_cells(columns, rows),
            resized: Moment::from_nanos(0),
            loose_since: None,
            tighten_at: None,
            typed: VecDeque::new(),
            entered: 0,
            taken: 0,
            throttled: false,
            viewers: Viewers::default(),
            clean: Vec::new(),
        }
    }

    fn screen(&mut self) -> &mut Screen {
        let size = self.size;
        self.screen.get_or_insert_with(|| Screen::new(size))
    }

    /// What the program printed. Clients are first: somebody may wait for it.
    pub fn print(&mut self, bytes: &[u8], now: Moment) {
        let Self { questions, screen, size, viewers, typed, entered, clean, .. } = self;
        let screen = screen.get_or_insert_with(|| Screen::new(*size));
        clean.clear();
        // All before a question is drawn when it is answered; what follows the last one is drawn at the end.
        let mut drawn = 0;
        let mut direct = false;
        questions.feed(bytes, &mut |piece| match piece {
            // Nearly always: all of it, and nothing before it. It need not be copied.
            Piece::Pass(piece) if piece.len() == bytes.len() && clean.is_empty() => {
                viewers.print(piece, now);
                screen.feed(piece);
                direct = true;
            }
            Piece::Pass(piece) => clean.extend_from_slice(piece),
            Piece::Beside(piece) => {
                screen.feed(clean.get(drawn..).unwrap_or_default());
                clean.extend_from_slice(piece);
                drawn = clean.len();
            }
            Piece::SoftReset => {
                screen.feed(clean.get(drawn..).unwrap_or_default());
                drawn = clean.len();
                screen.soft_reset();
            }
            Piece::Question(question) => {
                screen.feed(clean.get(drawn..).unwrap_or_default());
                drawn = clean.len();
                let answer = answer(screen, &question);
                // One who asks and never reads must not fill our memory.
                if typed.len() + answer.len() <= THROTTLE {
                    *entered += answer.len() as u64;
                    typed.extend(answer);
                }
            }
        });
        if !direct && !clean.is_empty() {
            viewers.print(clean, now);
            screen.feed(clean.get(drawn..).unwrap_or_default());
        }
        if clean.capacity() > THROTTLE {
            *clean = Vec::new();
        }
        viewers.changed(now);
        self.note_disorder(now);
    }

    /// Sets the date at which the screen's memory is put in order, where it is not.
    fn note_disorder(&mut self, now: Moment) {
        if self.screen.as_ref().is_some_and(Screen::is_loose) {
            let latest = self.loose_since.get_or_insert(now).saturating_add(LATEST);
            self.tighten_at = Some(now.saturating_add(QUIET).min(latest));
        }
    }

    /// Takes in one that attaches.
    pub fn admit(&mut self, arrival: Arrival, now: Moment) {
        let mut typed = Vec::new();
        self.viewers.admit(arrival, &mut typed, now);
        self.entered += typed.len() as u64;
        self.typed.extend(typed);
    }

    /// How many are attached.
    pub fn attached(&self) -> usize {
        self.viewers.count()
    }

    /// Lets go of all that are attached.
    pub fn detach(&mut self) {
        self.viewers.detach(&Detached::Asked);
    }

    /// Tells those who are attached how it ended.
    pub fn end(&mut self, ended: &Ended, now: impl Fn() -> Moment) {
        if self.viewers.count() > 0 {
            let last = now();
            let between = true; // nothing completes what is half printed any more
            let size = self.size;
            let screen = self.screen.get_or_insert_with(|| Screen::new(size));
            self.viewers.refresh(screen, between, true, last);
            self.viewers.end(ended, now);
        }
    }

    /// The screen as text, if anything was ever printed.
    pub fn seen(&self, history: u32) -> Option<ScreenView> {
        let screen = self.screen.as_ref()?;
        let view = || screen.view(history.try_into().unwrap_or(usize::MAX), false);
        // Asked for on the way to a stop: a fault of the emulator costs the picture, not the stop.
        catch_unwind(AssertUnwindSafe(view)).ok()
    }

    /// The screen as text.
    pub fn view(&mut self, history: u32, ansi: bool) -> ScreenView {
        self.screen().view(history.try_into().unwrap_or(usize::MAX), ansi)
    }

    /// Types for somebody who is not attached. Returns when that is done: when [`Self::taken`] is as much. `None`:
    /// the program reads nothing, and more is not kept.
    pub fn enter(&mut self, typed: &[Typed]) -> Option<u64> {
        if self.typed.len() > MOST_TYPED {
            return None;
        }
        let modes = self.screen().typing_modes();
        for piece in typed {
            let bytes = match piece {
                Typed::Text(text) => text.clone().into_bytes(),
                Typed::Key(key) => key.bytes(modes.application_cursor),
                Typed::Paste(text) if modes.bracketed_paste => {
                    // An end in the middle would let the rest pass for keys.
                    let text = text.replace("\x1b[201~", "").replace("\r\n", "\r").replace('\n', "\r");
                    format!("\x1b[200~{text}\x1b[201~").into_bytes()
                }
                Typed::Paste(text) => text.replace("\r\n", "\r").replace('\n', "\r").into_bytes(),
            };
            self.entered += bytes.len() as u64;
            self.typed.extend(bytes);
        }
        Some(self.entered)
    }

    /// Types a key at once, or not at all. Says which.
    pub fn press(&mut self, key: &Key, master: impl AsFd) -> bool {
        self.write(&master);
        if !self.typed.is_empty() {
            return false; // it would come when the program reads again
        }
        let bytes = key.bytes(self.screen().typing_modes().application_cursor);
        // A terminal takes a few bytes whole or not at all.
        if !poll::write(&master, &bytes).is_ok_and(|count| count == bytes.len()) {
            return false;
        }
        self.entered += bytes.len() as u64;
        self.taken += bytes.len() as u64;
        true
    }

    /// Bytes that the program's terminal has taken, ever.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that it has not.
    pub fn waiting(&self) -> usize {
        self.typed.len()
    }

    /// Until when the program should wait before it prints more; `None`: it need not.
    pub fn holds(&mut self, now: Moment) -> Option<Moment> {
        self.viewers.holds(now).then(|| Viewers::look_again(now))
    }

    /// Chooses whom to wait for.
    pub fn watch(&mut self) {
        self.throttled = self.typed.len() > THROTTLE;
        self.viewers.watch(self.throttled);
    }

    /// Those who are waited for.
    pub fn watched(&self) -> impl Iterator<Item = (std::os::fd::BorrowedFd<'_>, bool)> {
        self.viewers.watched()
    }

    /// When there is something to do, if nothing else happens.
    pub fn next(&self) -> Option<Moment> {
        let resize = self.wanted().map(|_| self.resized.saturating_add(RESIZE));
        [self.viewers.next(), resize, self.tighten_at].into_iter().flatten().min()
    }

    /// Hears the clients: `ready` is for those that [`Self::watched`] named. Says whether anything was typed.
    pub fn hear(&mut self, ready: &[Ready], now: Moment) -> bool {
        let mut typed = Vec::new();
        self.viewers.turn(ready, self.throttled, &mut typed, now);
        self.viewers.sweep();
        self.entered += typed.len() as u64;
        let any = !typed.is_empty();
        self.typed.extend(typed);
        any
    }

    /// Gives the program what was typed, as far as it takes it.
    pub fn write(&mut self, master: impl AsFd) {
        while !self.typed.is_empty() {
            let (first, _) = self.typed.as_slices();
            match poll::write(&master, first) {
                Ok(0) => break,
                Ok(count) => {
                    self.taken += count as u64;
                    self.typed.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // Nobody has the terminal open: nobody will ever read it.
                    self.taken = self.entered;
                    self.typed.clear();
                }
            }
        }
        if self.typed.is_empty() && self.typed.capacity() > THROTTLE {
            self.typed = VecDeque::new();
        }
    }

    /// A size that the program was not told.
    fn wanted(&self) -> Option<WindowSize> {
        self.viewers.size().filter(|size| *size != self.size)
    }

    /// Does what is due: sizes, screens for newcomers, drawings.
    pub fn tick(&mut self, master: Option<impl AsFd>, now: Moment) {
        if let Some(size) = self.wanted().filter(|_| self.resized.saturating_add(RESIZE) <= now) {
            self.resized = now;
            self.size = size;
            // A program that draws at once must find the screen as large as it was told.
            if let Some(screen) = &mut self.screen {
                screen.resize(size);
            }
            self.note_disorder(now);
            if let Some(master) = master {
                let _ = pty::resize(master, size); // a terminal that is gone has no size
            }
        }
        if self.viewers.count() > 0 {
            let (between, settled) = (self.questions.is_between(), self.wanted().is_none());
            let size = self.size;
            let screen = self.screen.get_or_insert_with(|| Screen::new(size));
            self.viewers.refresh(screen, between, settled, now);
        }
        if self.tighten_at.is_some_and(|at| at <= now) {
            (self.tighten_at, self.loose_since) = (None, None);
            if let Some(screen) = &mut self.screen {
                screen.tighten();
                heap::trim();
            }
        }
    }
}

fn answer(screen: &Screen, question: &Question) -> Vec<u8> {
    screen.answer(question).unwrap_or_default()
}
