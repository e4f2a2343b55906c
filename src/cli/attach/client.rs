//! The loop between this terminal and the keeper.

use std::{io, os::fd::AsFd, time::Duration};

use super::{
    detach::{DetachKeys, Meant, Typing},
    link::{Link, LinkError, Said},
    screen::Canvas,
};
use crate::{
    api::{
        attach::{Attach, Detached, Ended, WindowSize},
        name::{RunId, SessionName},
        record::{EXIT_FILE, Exit, ExitRecord},
        status::{ExitView, Phase, Reason},
        time::Moment,
    },
    cli::{
        client::{self, after},
        context::{Context, get_one},
        error::CliError,
    },
    host::{
        clock, files,
        poll::{self, Got, Interest},
        tty::{self, Heard, Raw, Signals},
    },
    keeper::client::{ClientError, greet},
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
/// Longest exit record that is read.
const LONGEST_EXIT: u64 = 1 << 20;
/// ctrl-c, as any terminal types it to one that has no modes on.
const INTERRUPT: u8 = 0x03;

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// By the person.
    Left,
    /// By the keeper.
    LetGo(Detached),
    /// With the session.
    Ended(Ended),
    /// The connection ended without a word of the keeper.
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
                    Ok(Got::Bytes(_) | Got::Nothing) => {}
                    Ok(Got::End) | Err(_) => return self.lost(),
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

    /// Nothing is waited for that would not be done: it would be told again and again.
    fn wait(&self) -> io::Result<Ready> {
        let only = |read| Interest { read, write: false };
        let keeper = Interest { read: self.shown.len() < SHOWN, write: self.link.unsent() > 0 };
        let stdin = io::stdin();
        let watched = [
            (self.signals.fd(), Interest::READ),
            (stdin.as_fd(), only(self.link.unsent() < TYPED)),
            (self.link.fd(), keeper),
            (self.raw.output(), Interest { read: false, write: !self.shown.is_empty() }),
        ];
        let next = [self.decide_at, self.redraw_at].into_iter().flatten().min();
        let ready = poll::wait(&watched, next.map(|next| next.since(clock::monotonic())))?;
        let [signals, keyboard, keeper, terminal] = ready.try_into().unwrap_or_default();
        Ok(Ready {
            signals: signals.read,
            keyboard: keyboard.read,
            keeper: keeper.read,
            keeper_takes: keeper.write,
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
        let meant = match self.read(keyboard) {
            Ok(Some(meant)) => meant,
            Ok(None) => return None,
            Err(outcome) => return Some(outcome),
        };
        if !meant.typed.is_empty() && self.link.type_in(&meant.typed).is_err() {
            return Some(self.lost());
        }
        meant.detach.then_some(Outcome::Left)
    }

    /// What was typed, or (not `keyboard`) what a pause makes of what was. An error is the end of the terminal.
    fn read(&mut self, keyboard: bool) -> Result<Option<Meant>, Outcome> {
        let meant = if keyboard {
            let mut typed = Vec::with_capacity(64 << 10);
            match poll::read(io::stdin(), &mut typed) {
                Ok(Got::Bytes(_)) => self.typing.read(&typed),
                Ok(Got::Nothing) => return Ok(None),
                Ok(Got::End) | Err(_) => return Err(Outcome::Signal(1)),
            }
        } else {
            self.typing.pause()
        };
        self.decide_at = if self.typing.is_waiting() { after(TWICE) } else { None };
        Ok(Some(meant))
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
        while !self.shown.is_empty() && self.raw.takes(STUCK) && self.show().is_ok() {}
    }

    fn print(&mut self, bytes: &[u8]) {
        self.shown.extend_from_slice(bytes);
        self.drain();
    }

    fn lost(&mut self) -> Outcome {
        // What it said before it went, such as how the session ended: it may not have been read yet.
        loop {
            match self.take() {
                Ok(Some(outcome)) => {
                    self.drain();
                    return outcome;
                }
                Ok(None) => {}
                Err(_) => return Outcome::Lost,
            }
            if !matches!(self.link.fill(), Ok(Got::Bytes(_))) {
                return Outcome::Lost;
            }
        }
    }

    /// What became of a session whose keeper closed without a last word. A terminal that took nothing for a while
    /// misses that word: so it is looked for where else it stands, before the keeper is told as lost.
    pub fn fate(&mut self, context: &mut Context, name: &SessionName) -> Outcome {
        let run = self.link.hello.run_id;
        let exit = files::read_limited(&self.link.directory.join(EXIT_FILE), LONGEST_EXIT);
        if let Some(exit) = exit.ok().and_then(|bytes| serde_json::from_slice::<ExitRecord>(&bytes).ok())
            && exit.run_id == run
        {
            return Outcome::Ended(Ended { exit: exit.exit, cause: exit.cause.map(|cause| cause.message) });
        }
        if greet(&self.link.directory, ASK).is_ok_and(|greeted| greeted.hello.run_id == run) {
            return Outcome::LetGo(Detached::Unknown);
        }
        let Ok(mut daemon) = client::connect_within(&context.places, &context.environment, ASK) else {
            return Outcome::Lost;
        };
        daemon.be_patient_for(ASK);
        let noticed_by = after(NOTICE);
        while let Ok(Some(session)) = get_one(&mut daemon, name)
            && session.run_id == Some(run)
        {
            let status = session.status;
            match (status.phase, status.exit) {
                (Phase::Running | Phase::Stopping, _)
                    if noticed_by.is_some_and(|at| clock::monotonic() < at) =>
                {
                    let _ = poll::wait(&[], Some(LOOK)); // an interrupted pause is only shorter
                }
                (Phase::Running | Phase::Stopping, _) | (_, None) => break,
                (_, Some(ExitView { code, signal })) => {
                    let exit = code.map(Exit::Code).or(signal.map(Exit::Signal));
                    return Outcome::Ended(Ended { exit, cause: status.cause.map(|cause| cause.message) });
                }
            }
        }
        Outcome::Lost
    }

    /// Waits for the next run of a session that ended, as long as the daemon means to start it.
    pub fn rejoin(&mut self, context: &mut Context, name: &SessionName, attach: &Attach) -> Rejoin {
        let run = self.link.hello.run_id;
        let Ok(mut daemon) = client::connect_within(&context.places, &context.environment, ASK) else {
            return Rejoin::Over(None);
        };
        // Nothing else is heard meanwhile, neither the keyboard nor a signal.
        daemon.be_patient_for(ASK);
        let noticed_by = after(NOTICE);
        let mut told = false;
        loop {
            let Ok(Some(session)) = get_one(&mut daemon, name) else { return Rejoin::Over(None) };
            let known: Option<RunId> = session.run_id;
            match session.status.phase {
                Phase::Running if known != Some(run) => {
                    let directory = daemon.directories().runtime.join("sessions").join(name.as_str());
                    let attach = Attach { size: self.size, take: false, ..attach.clone() };
                    match Link::open_within(&directory, &attach, ASK) {
                        Ok(link) if link.hello.run_id != run => return Rejoin::Again(Box::new(link)),
                        Ok(_) | Err(LinkError::Keeper(ClientError::NotRunning(_))) => {}
                        Err(LinkError::Keeper(ClientError::Silent(_))) => {
                            self.say_waiting(&mut told, "its keeper does not answer yet");
                        }
                        Err(error) => {
                            return Rejoin::Over(Some(Outcome::Failed(CliError::failed(error.to_string()))));
                        }
                    }
                }
                // It does not know yet.
                Phase::Running | Phase::Stopping if noticed_by.is_some_and(|at| clock::monotonic() < at) => {}
                Phase::Pending if matches!(session.status.reason, Reason::Starting) => {}
                Phase::Pending => {
                    self.say_waiting(&mut told, &crate::cli::text::escape(&session.status.message));
                }
                Phase::Running
                | Phase::Stopping
                | Phase::Succeeded
                | Phase::Failed
                | Phase::Evicted
                | Phase::Suspended => return Rejoin::Over(None),
            }
            if let Some(outcome) = self.rest() {
                return Rejoin::Over(Some(outcome));
            }
        }
    }

    fn say_waiting(&mut self, told: &mut bool, why: &str) {
        if !std::mem::replace(told, true) {
            self.print(format!("[waiting for its next run: {why}; ctrl-c leaves]\r\n").as_bytes());
        }
    }

    /// A moment in which the person and signals are heard, while there is no session.
    fn rest(&mut self) -> Option<Outcome> {
        let stdin = io::stdin();
        let watched = [(self.signals.fd(), Interest::READ), (stdin.as_fd(), Interest::READ)];
        let ready = poll::wait(&watched, Some(LOOK)).unwrap_or_default();
        if let Some(outcome) = self.hear() {
            return Some(outcome);
        }
        if !ready.get(1).is_some_and(|ready| ready.read) && !is_due(self.decide_at) {
            return None;
        }
        let keyboard = ready.get(1).is_some_and(|ready| ready.read);
        match self.read(keyboard) {
            // What else is typed is for a session that is not there: to its next run it would be a surprise. But the
            // terminal is raw, and whoever has no detach key must come out of it.
            Ok(Some(meant)) if meant.detach || meant.typed.contains(&INTERRUPT) => Some(Outcome::Left),
            Ok(_) => None,
            Err(outcome) => Some(outcome),
        }
    }
}
