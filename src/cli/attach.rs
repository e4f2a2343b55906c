//! `atm attach`: this terminal becomes the session's, until one leaves or the session ends.
//!
//! - [`reach`] finds the keeper, [`link`] speaks with it; the daemon is not in between
//! - [`detach`] finds the wish to leave in what is typed
//! - [`screen`] is what is printed beside the session's own output
//!
//! What the session prints is not filtered: the terminal is the session's while it is attached. Only the questions
//! to the terminal are answered, and cut, by the keeper.

use std::{io, process::ExitCode, time::Duration};

use self::{
    detach::{DetachKeys, Typing},
    link::{Link, LinkError, Said},
    reach::{IfEnded, Miss, reach},
    screen::Canvas,
};
use super::{
    client::{self, after},
    complete,
    context::{Context, get_one},
    error::{CliError, CliResult, Kind},
};
use crate::{
    api::{
        attach::{Attach, Detached, Ended, WindowSize},
        keys::Key,
        name::{RunId, SessionName},
        record::Exit,
        status::{Phase, Reason},
        time::Moment,
    },
    host::{
        clock,
        errors::words,
        poll::{self, Got},
        tty::{self, Heard, Raw, Signals},
    },
};

pub mod detach;
pub mod link;
pub mod reach;
pub mod screen;

const AFTER: &str = "\
Detach with ctrl-] (twice sends it), with ctrl-\\ d, or from elsewhere with `atm detach`. The session goes
on. In a paste these keys are text. A session that was evicted or has ended is started; when it ends, atm
ends with its exit status, or stays while it is restarted.

With several terminals attached, the smallest is the session's size; the others are shown all of it. What
the session prints reaches this terminal as it is, also sequences that set its title or its clipboard.

Examples:
  atm attach fix-login
  atm attach fix-login --read-only
  atm attach fix-login --take --detach-key ctrl-q";

/// A second detach key is waited for so long.
const TWICE: Duration = Duration::from_millis(300);
/// How long the banner shows.
const BANNER: Duration = Duration::from_millis(1500);
/// While the terminal has not shown so much, no more is read from the keeper: it knows what to do about us.
const SHOWN: usize = 256 << 10;
/// While the keeper has not taken so much, no more is read from the keyboard.
const TYPED: usize = 1 << 20;
/// Lines of history that a new client's terminal is given.
const HISTORY: u32 = 1000;
/// Between two looks for a restarted session.
const LOOK: Duration = Duration::from_millis(100);
/// For a daemon that says what will become of a session that ended.
const ASK: Duration = Duration::from_secs(2);
/// A daemon needs a moment to see that a session ended.
const NOTICE: Duration = Duration::from_secs(5);

/// Arguments of `atm attach`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The session
    #[arg(value_name = "NAME", add = complete::sessions())]
    pub name: SessionName,
    /// Look only: what is typed is not sent, and this terminal's size does not count
    #[arg(short, long)]
    pub read_only: bool,
    /// Detach all other terminals
    #[arg(long)]
    pub take: bool,
    /// Do not say how to detach
    #[arg(short, long)]
    pub quiet: bool,
    /// The key to detach with, a ctrl- key, or `none`
    #[arg(long, value_name = "KEY", env = "ATM_DETACH_KEY", default_value = "ctrl-]", value_parser = detach_key)]
    pub detach_key: DetachKey,
}

/// A detach key and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKey {
    keys: DetachKeys,
    name: Option<String>,
}

impl Default for DetachKey {
    fn default() -> Self {
        detach_key("ctrl-]").unwrap_or(Self { keys: DetachKeys::none(), name: None })
    }
}

fn detach_key(text: &str) -> Result<DetachKey, String> {
    if text == "none" {
        return Ok(DetachKey { keys: DetachKeys::none(), name: None });
    }
    let key: Key = text.parse().map_err(|error: crate::api::keys::KeyError| error.to_string())?;
    let keys = DetachKeys::new(&key).ok_or("say a key with ctrl-, such as ctrl-], or `none`")?;
    Ok(DetachKey { keys, name: Some(key.to_string()) })
}

/// Attaches as `atm attach NAME` does.
pub fn to(name: SessionName, context: &mut Context) -> CliResult<ExitCode> {
    let detach_key = std::env::var("ATM_DETACH_KEY").ok().and_then(|key| detach_key(&key).ok());
    let detach_key = detach_key.unwrap_or_default();
    run(&Args { name, read_only: false, take: false, quiet: false, detach_key }, context)
}

/// Ends with the exit status of the session, or well after a detach.
pub fn run(args: &Args, context: &mut Context) -> CliResult<ExitCode> {
    if !tty::is_interactive() {
        let name = &args.name;
        return Err(CliError::new(Kind::Usage, "attach needs a terminal on standard input and output").hint(
            format!("`atm peek {name}` shows the screen, `atm logs -f {name}` the output; `atm send {name} TEXT` types"),
        ));
    }
    let own = |variable| std::env::var(variable).ok();
    let size = tty::size().unwrap_or(WindowSize::of_cells(80, 24));
    let attach = Attach { size, read_only: args.read_only, take: args.take, history: HISTORY };
    let link = open(context, &args.name, &attach)?;
    if own("ATM_RUN_ID").is_some_and(|run| run == link.hello.run_id.to_string()) {
        return Err(CliError::failed("this terminal is the session's own: it would show itself in itself"));
    }
    let canvas = Canvas::new(size, own("TERM").as_deref());
    if canvas.is_dumb() {
        context.out.warn(
            "this terminal can only print (TERM=dumb): output is shown as it comes, without the screen",
        )?;
    }
    if !args.quiet {
        context.out.note(&banner(args))?;
    }
    context.out.flush()?;
    let cannot = |error: io::Error| CliError::io("cannot take over this terminal", &error);
    let signals = Signals::listen().map_err(cannot)?;
    let raw = Raw::enter().map_err(cannot)?;
    let mut client = Client {
        link,
        raw,
        signals,
        typing: Typing::new(args.detach_key.keys),
        decide_at: None,
        canvas,
        size,
        shown: canvas.room(),
        banner: (!args.quiet).then(|| banner(args)),
        redraw_at: None,
    };
    let outcome = loop {
        let outcome = client.serve();
        let Outcome::Ended(ended) = outcome else { break outcome };
        client.shown.clear();
        let said = format!("[{} ended: {}]\r\n", args.name, how(&ended));
        client.print(&[&client.canvas.leave(), said.as_bytes()].concat());
        match client.rejoin(context, &args.name, &attach) {
            Rejoin::Again(link) => {
                client.print(format!("[{} was started again]\r\n", args.name).as_bytes());
                client.link = *link;
                client.shown = client.canvas.room();
                client.redraw_at = None;
            }
            Rejoin::Over(outcome) => break outcome.unwrap_or(Outcome::Ended(ended)),
        }
    };
    let canvas = client.canvas;
    let name = &args.name;
    let leave = |line: &str| [canvas.leave().as_slice(), format!("[{line}]\r\n").as_bytes()].concat();
    let (farewell, result) = match outcome {
        Outcome::Left => (leave(&format!("detached from {name}")), Ok(ExitCode::SUCCESS)),
        Outcome::LetGo(Detached::Refused { message }) => {
            (canvas.leave(), Err(CliError::new(Kind::Limit, format!("cannot attach to `{name}`: {message}"))))
        }
        Outcome::LetGo(Detached::Taken) => {
            (leave(&format!("detached from {name}: another terminal took it over")), Ok(ExitCode::SUCCESS))
        }
        Outcome::LetGo(_) => (leave(&format!("detached from {name} by `atm detach`")), Ok(ExitCode::SUCCESS)),
        // The screen was left before the line that says so.
        Outcome::Ended(ended) => (Vec::new(), Ok(code(ended.exit))),
        Outcome::Lost => (
            canvas.leave(),
            Err(CliError::failed(format!("the keeper of `{name}` is gone"))
                .hint(format!("see what became of it: `atm describe {name}`"))),
        ),
        Outcome::Failed(error) => (canvas.leave(), Err(error)),
        Outcome::Signal(signal) => {
            (canvas.leave(), Ok(ExitCode::from(128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)))))
        }
    };
    client.raw.leave(&farewell);
    result
}

fn banner(args: &Args) -> String {
    let how = match &args.detach_key.name {
        Some(key) => format!("{key} or ctrl-\\ d detaches, {key} twice sends it"),
        None => "`atm detach` detaches".to_owned(),
    };
    let only = if args.read_only { ", to look only" } else { "" };
    format!("attached to {}{only}: {how}", args.name)
}

fn open(context: &mut Context, name: &SessionName, attach: &Attach) -> CliResult<Link> {
    reach(context, name, IfEnded::Start, |directory| {
        Link::open(directory, attach).map_err(|error| match error {
            LinkError::Absent(_) => Miss::Absent,
            LinkError::Forbidden(_) => Miss::Failed(reach::forbidden(name)),
            LinkError::NoTerminal => Miss::Failed(
                CliError::failed(format!("cannot attach to `{name}`: {error}"))
                    .hint(format!("follow its output: `atm logs -f {name}`")),
            ),
            LinkError::Io { ref source, .. } => {
                Miss::Failed(CliError::failed(format!("{error}: {}", words(source))))
            }
            LinkError::Version { .. } => Miss::Failed(
                CliError::failed(error.to_string())
                    .hint(format!("`atm restart {name}` gives it a new keeper")),
            ),
        })
    })
}

/// `exit status 3`, with the cause of a stop.
fn how(ended: &Ended) -> String {
    let exit = match ended.exit {
        Some(Exit::Code(code)) => format!("exit status {code}"),
        Some(Exit::Signal(signal)) => format!("signal {}", crate::api::spec::StopSignal(signal)),
        None => "exit unknown".to_owned(),
    };
    match &ended.cause {
        Some(cause) => format!("{exit}, {}", super::text::escape(cause)),
        None => exit,
    }
}

fn code(exit: Option<Exit>) -> ExitCode {
    let low = |number: i32| u8::try_from(number & 0xff).unwrap_or(1);
    match exit {
        Some(Exit::Code(code)) => ExitCode::from(low(code)),
        Some(Exit::Signal(signal)) => ExitCode::from(low(signal).saturating_add(128)),
        None => ExitCode::FAILURE,
    }
}

/// How it ended.
#[derive(Debug)]
enum Outcome {
    /// By the person.
    Left,
    /// By the keeper.
    LetGo(Detached),
    Ended(Ended),
    /// The keeper is gone without a word.
    Lost,
    Signal(i32),
    Failed(CliError),
}

enum Rejoin {
    Again(Box<Link>),
    /// `None`: it stays ended.
    Over(Option<Outcome>),
}

/// This terminal and the session.
#[derive(Debug)]
struct Client {
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
    /// Until something ends it.
    fn serve(&mut self) -> Outcome {
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
    fn rejoin(&mut self, context: &mut Context, name: &SessionName, attach: &Attach) -> Rejoin {
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
                        let why = super::text::escape(&session.status.message).into_owned();
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
