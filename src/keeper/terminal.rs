//! A session's terminal: what is printed goes to the screen and to attached clients, what is typed to the program.

use std::{os::fd::AsFd, time::Duration};

use super::{
    questions::{Piece, Question, Questions},
    screen::Screen,
    typing::Typing,
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
        poll::{Interest, Ready},
        pty,
    },
};

/// While the program has not read so much, no more is read from attached clients: their terminals wait, as at any
/// program that is busy.
const THROTTLE: usize = 64 << 10;
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
    typed: Typing,
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
            typed: Typing::default(),
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
        let Self { questions, screen, size, viewers, typed, clean, .. } = self;
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
                    typed.push(answer);
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
        self.typed.push(typed);
    }

    /// How many are attached.
    pub fn attached(&self) -> usize {
        self.viewers.count()
    }

    /// Lets go of all that are attached.
    pub fn detach(&mut self, now: Moment) {
        self.viewers.detach(&Detached::Asked, now);
    }

    /// Tells those who are attached how it ended.
    pub fn end(&mut self, ended: &Ended, now: impl Fn() -> Moment) {
        if self.viewers.count() > 0 {
            let last = now();
            let between = true; // nothing completes what is half printed any more
            let size = self.size;
            let screen = self.screen.get_or_insert_with(|| Screen::new(size));
            self.viewers.refresh(screen, between, true, last);
        }
        self.viewers.end(ended, now);
    }

    /// The screen as text, if anything was ever printed.
    pub fn seen(&mut self, history: u32) -> Option<ScreenView> {
        self.screen.as_mut()?.view(history.try_into().unwrap_or(usize::MAX), false)
    }

    /// The screen as text; `None`: a fault of the emulator has cost it.
    pub fn view(&mut self, history: u32, ansi: bool) -> Option<ScreenView> {
        self.screen().view(history.try_into().unwrap_or(usize::MAX), ansi)
    }

    /// Types for a peer that is not attached; [`Self::typed_out`] says when that is done. An error says why not.
    pub fn enter(&mut self, peer: u64, typed: &[Typed]) -> Result<(), &'static str> {
        let modes = self.screen().typing_modes();
        self.typed.send(peer, typed, modes)
    }

    /// The peers of whom the program's terminal has taken all since this was asked last.
    pub fn typed_out(&mut self) -> Vec<u64> {
        self.typed.done()
    }

    /// Takes back what was not taken of peers that are not there any more.
    pub fn withdraw(&mut self, is_there: impl Fn(u64) -> bool) {
        self.typed.withdraw(is_there);
    }

    /// Types a key at once, or not at all. Says which.
    pub fn press(&mut self, key: &Key, master: impl AsFd) -> bool {
        let modes = self.screen().typing_modes();
        self.typed.press(key, modes, master)
    }

    /// Bytes that the program's terminal has not taken.
    pub fn waiting(&self) -> usize {
        self.typed.len()
    }

    /// Until when the program should wait before it prints more; `None`: it need not.
    pub fn holds(&mut self, now: Moment) -> Option<Moment> {
        self.viewers.holds(now).then(|| Viewers::look_again(now))
    }

    /// Those who are attached, and what to wait for of each.
    pub fn watched(&self) -> impl Iterator<Item = (std::os::fd::BorrowedFd<'_>, Interest)> {
        self.viewers.watched(self.typed.len() > THROTTLE)
    }

    /// When there is something to do, if nothing else happens.
    pub fn next(&self) -> Option<Moment> {
        let resize = self.wanted().map(|_| self.resized.saturating_add(RESIZE));
        [self.viewers.next(), resize, self.tighten_at].into_iter().flatten().min()
    }

    /// Hears the clients: `ready` is for those that [`Self::watched`] named. Says whether anything was typed.
    pub fn hear(&mut self, ready: &[Ready], now: Moment) -> bool {
        let mut typed = Vec::new();
        self.viewers.turn(ready, &mut typed, now);
        self.viewers.sweep(now);
        let any = !typed.is_empty();
        self.typed.push(typed);
        any
    }

    /// Gives the program what was typed, as far as it takes it.
    pub fn write(&mut self, master: impl AsFd) {
        self.typed.write(master);
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

fn answer(screen: &mut Screen, question: &Question) -> Vec<u8> {
    screen.answer(question).unwrap_or_default()
}
