//! The loop between this terminal and the keeper.

use std::{io, time::Duration};

use super::{
    detach::{DetachKeys, Typing},
    link::{Link, LinkError, Said},
    screen::Canvas,
};
use crate::{
    api::{
        attach::{Attach, Detached, Ended, WindowSize},
        name::{RunId, SessionName},
        status::{Phase, Reason},
        time::Moment,
    },
    cli::{
        client::{self, after},
        context::{Context, get_one},
        error::CliError,
    },
    host::{
        clock,
        poll::{self, Got},
        tty::{self, Heard, Raw, Signals},
    },
};

/// A second detach key is waited for so long.
const TWICE: Duration = Duration::from_millis(300);
/// How long the banner shows.
const BANNER: Duration = Duration::from_millis(1500);
/// While the terminal has not shown so much, no more is read from the keeper: it knows what to do about us.
const SHOWN: usize = 256 << 10;
/// While the keeper has not taken so much, no more is read from the keyboard.
const TYPED: usize = 1 << 20;
/// Between two looks for a restarted session.
const LOOK: Duration = Duration::from_millis(100);
/// For a daemon that says what will become of a session that ended.
const ASK: Duration = Duration::from_secs(2);
/// A daemon needs a moment to see that a session ended.
const NOTICE: Duration = Duration::from_secs(5);

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// By the person.
    Left,
    /// By the keeper.
    LetGo(Detached),
    /// With the session.
    Ended(Ended),
    /// The keeper is gone without a word.
    Lost,
    /// By a signal to us; 1 also where the terminal is gone.
    Signal(i32),
    /// It could not go on.
    Failed(CliError),
}

/// What became of a session that ended.
#[derive(Debug)]
pub enum Rejoin {
    /// To its next run.
    Again(Box<Link>),
    /// `None`: it stays ended.
    Over(Option<Outcome>),
}

/// This terminal and the session.
#[derive(Debug)]
pub struct Client {
    link: Link,
    raw: Raw,
    signals: Signals,
    typing: Typing,
    /// When a key that may be the first of two is taken for one.
    decide_at: Option<Moment>,
    canvas: Canvas,
    size: WindowSize,
    /// What the terminal has not taken yet.
    shown: Vec<u8>,
    /// To be shown over the first screen.
    banner: Option<String>,
    /// When the banner goes.
    redraw_at: Option<Moment>,
}

fn is_due(at: Option<Moment>) -> bool {
    at.is_some_and(|at| at <= clock::monotonic())
}

/// For what a wait ended.
#[expect(clippy::struct_excessive_bools, reason = "each is the answer for one descriptor")]
#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    keyboard: bool,
    signals: bool,
    keeper: bool,
    keeper_takes: bool,
    terminal: bool,
}

impl Client {
    /// Takes over this terminal for what `link` is attached to.
    pub fn new(link: Link, keys: DetachKeys, canvas: Canvas, banner: Option<String>) -> io::Result<Self> {
        let signals = Signals::listen()?;
        let raw = Raw::enter()?;
        Ok(Self {
            link,
            raw,
            signals,
            typing: Typing::new(keys),
            decide_at: None,
            canvas,
            size: canvas.size(),
            shown: canvas.room(),
            banner,
            redraw_at: None,
        })
    }

    /// Says that the session is over, on the terminal as it was before.
    pub fn close(&mut self, line: &str) {
        self.shown.clear();
        self.print(&[self.canvas.leave(), format!("[{line}]\r\n").into_bytes()].concat());
    }

    /// Goes on with another run.
    pub fn again(&mut self, link: Link, said: &str) {
        self.print(format!("[{said}]\r\n").as_bytes());
        self.link = link;
        self.shown = self.canvas.room();
        self.redraw_at = None;
    }

    /// Gives the terminal back. `line`: the last word, on the terminal as it was before; `None`: it was left already.
    pub fn leave(self, line: Option<&str>) {
        let farewell = match line {
            Some("") => self.canvas.leave(),
            Some(line) => [self.canvas.leave(), format!("[{line}]\r\n").into_bytes()].concat(),
            None => Vec::new(),
        };
        self.raw.leave(&farewell);
    }

    /// Until something ends it.
    pub fn serve(&mut self) -> Outcome {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => return Outcome::Failed(CliError::io("cannot wait for the terminal", &error)),
            };
            if ready.signals
                && let Some(outcome) = self.hear()
            {
                return outcome;
            }
            if (ready.keyboard || is_due(self.decide_at))
                && let Some(outcome) = self.type_in(ready.keyboard)
            {
                return outcome;
            }
            if ready.keeper_takes && self.link.flush().is_err() {
                return self.lost();
            }
            if ready.keeper {
                match self.link.fill() {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return self.lost(),
                }
                match self.take() {
                    Ok(None) => {}
                    Ok(Some(outcome)) => {
                        self.drain();
                        return outcome;
                    }
                    Err(_) => return self.lost(),
                }
            }
            if is_due(self.redraw_at) {
                self.redraw_at = None;
                let _ = self.link.resize(self.size); // a keeper that is gone shows at the next read
            }
            if !self.shown.is_empty() && (ready.terminal || ready.keeper) && self.show().is_err() {
                return Outcome::Signal(1); // the terminal is gone, as after a hangup
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let types = self.link.unsent() < TYPED;
        let (unsent, shows) = (self.link.unsent() > 0, self.shown.len() < SHOWN);
        let stdin = io::stdin();
        let mut watched = vec![(self.signals.fd(), false)];
        if types {
            watched.push((std::os::fd::AsFd::as_fd(&stdin), false));
        }
        if shows || unsent {
            watched.push((self.link.fd(), unsent));
        }
        if !self.shown.is_empty() {
            watched.push((self.raw.output(), true));
        }
        let next = [self.decide_at, self.redraw_at].into_iter().flatten().min();
        let ready = poll::wait(&watched, next.map(|next| next.since(clock::monotonic())))?;
        let mut ready = ready.into_iter();
        let mut take = |present: bool| ready.next_if(present);
        let signals = take(true);
        let keyboard = take(types);
        let keeper = take(shows || unsent);
        let terminal = take(!self.shown.is_empty());
        Ok(Ready {
            signals: signals.read,
            keyboard: keyboard.read,
            keeper: keeper.read && shows,
            keeper_takes: keeper.write && unsent,
            terminal: terminal.write,
        })
    }

    fn hear(&mut self) -> Option<Outcome> {
        while let Some(heard) = self.signals.next() {
            match heard {
                Heard::End(signal) => return Some(Outcome::Signal(signal)),
                Heard::Continued => {
                    let _ = self.raw.again(); // in the background it is the shell's, and another signal tells us
                    let _ = self.link.resize(self.size);
                }
                Heard::Resized => {
                    if let Some(size) = tty::size() {
                        self.size = size;
                        self.canvas = self.canvas.resized(size);
                        let _ = self.link.resize(size);
                    }
                }
            }
        }
        None
    }

    fn type_in(&mut self, keyboard: bool) -> Option<Outcome> {
        let meant = if keyboard {
            let mut typed = Vec::with_capacity(64 << 10);
            match poll::read(io::stdin(), &mut typed) {
                Ok(Got::Bytes(_)) => self.typing.read(&typed),
                Ok(Got::Nothing) => return None,
                Ok(Got::End) | Err(_) => return Some(Outcome::Signal(1)),
            }
        } else {
            self.typing.pause()
        };
        self.decide_at = if self.typing.is_waiting() { after(TWICE) } else { None };
        if !meant.typed.is_empty() && self.link.type_in(&meant.typed).is_err() {
            return Some(self.lost());
        }
        meant.detach.then_some(Outcome::Left)
    }

    /// Takes what the keeper said.
    fn take(&mut self) -> io::Result<Option<Outcome>> {
        while let Some(said) = self.link.said()? {
            match said {
                Said::Screen(bytes) if !self.canvas.is_dumb() => {
                    self.shown.extend_from_slice(bytes);
                    if let Some(banner) = self.banner.take() {
                        self.shown.extend(self.canvas.banner(&banner));
                        self.redraw_at = after(BANNER);
                    }
                }
                Said::Output(bytes) if self.shown.is_empty() => {
                    let count = self.raw.write(bytes)?;
                    self.shown.extend_from_slice(bytes.get(count..).unwrap_or_default());
                }
                Said::Output(bytes) => self.shown.extend_from_slice(bytes),
                Said::Detached(why) => return Ok(Some(Outcome::LetGo(why))),
                Said::Ended(ended) => return Ok(Some(Outcome::Ended(ended))),
                Said::Attached(_) | Said::Screen(_) | Said::Other => {}
            }
        }
        Ok(None)
    }

    fn show(&mut self) -> io::Result<()> {
        let count = self.raw.write(&self.shown)?;
        self.shown.drain(..count);
        Ok(())
    }

    /// The last that was printed, on a terminal that goes on taking it.
    fn drain(&mut self) {
        const STUCK: Duration = Duration::from_secs(1);
        while !self.shown.is_empty() {
            let ready = poll::wait(&[(self.raw.output(), true)], Some(STUCK));
            if !ready.is_ok_and(|ready| ready.iter().any(|ready| ready.write)) || self.show().is_err() {
                break;
            }
        }
    }

    fn print(&mut self, bytes: &[u8]) {
        self.shown.extend_from_slice(bytes);
        self.drain();
    }

    fn lost(&mut self) -> Outcome {
        // What it said before it went, such as how the session ended.
        match self.take() {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Outcome::Lost,
        }
    }

    /// Waits for the next run of a session that ended, as long as the daemon means to start it.
    pub fn rejoin(&mut self, context: &mut Context, name: &SessionName, attach: &Attach) -> Rejoin {
        let run = self.link.hello.run_id;
        let Ok(mut daemon) = client::connect_within(&context.places, &context.environment, ASK) else {
            return Rejoin::Over(None);
        };
        let noticed_by = after(NOTICE);
        let mut told = false;
        loop {
            let Ok(Some(session)) = get_one(&mut daemon, name) else { return Rejoin::Over(None) };
            let known: Option<RunId> = session.run_id;
            match session.status.phase {
                Phase::Running if known != Some(run) => {
                    let directory = daemon.directories().runtime.join("sessions").join(name.as_str());
                    let attach = Attach { size: self.size, take: false, ..attach.clone() };
                    match Link::open(&directory, &attach) {
                        Ok(link) if link.hello.run_id != run => return Rejoin::Again(Box::new(link)),
                        Ok(_) | Err(LinkError::Absent(_)) => {}
                        Err(error) => {
                            return Rejoin::Over(Some(Outcome::Failed(CliError::failed(error.to_string()))));
                        }
                    }
                }
                // It does not know yet.
                Phase::Running | Phase::Stopping if noticed_by.is_some_and(|at| clock::monotonic() < at) => {}
                Phase::Pending if matches!(session.status.reason, Reason::Starting) => {}
                Phase::Pending => {
                    if !told {
                        told = true;
                        let why = crate::cli::text::escape(&session.status.message).into_owned();
                        let line = format!("[waiting for its next run: {why}; the detach key leaves]\r\n");
                        self.print(line.as_bytes());
                    }
                }
                Phase::Running
                | Phase::Stopping
                | Phase::Succeeded
                | Phase::Failed
                | Phase::Evicted
                | Phase::Suspended => return Rejoin::Over(None),
            }
            let stdin = io::stdin();
            let watched = [(self.signals.fd(), false), (std::os::fd::AsFd::as_fd(&stdin), false)];
            let ready = poll::wait(&watched, Some(LOOK)).unwrap_or_default();
            if let Some(outcome) = self.hear() {
                return Rejoin::Over(Some(outcome));
            }
            if ready.get(1).is_some_and(|ready| ready.read) || is_due(self.decide_at) {
                let keyboard = ready.get(1).is_some_and(|ready| ready.read);
                // Typed for a session that is not there: to its next run it would be a surprise.
                match self.type_in(keyboard) {
                    Some(Outcome::Lost) | None => {}
                    Some(outcome) => return Rejoin::Over(Some(outcome)),
                }
            }
        }
    }
}

/// The next answer of a wait, for what was waited for.
trait NextIf {
    fn next_if(&mut self, present: bool) -> poll::Ready;
}

impl<I: Iterator<Item = poll::Ready>> NextIf for I {
    fn next_if(&mut self, present: bool) -> poll::Ready {
        if present { self.next().unwrap_or_default() } else { poll::Ready::default() }
    }
}
