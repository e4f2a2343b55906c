//! `atm attach`: this terminal becomes the session's, until one leaves or the session ends.
//!
//! - [`mod@reach`] finds the keeper, [`link`] speaks with it; the daemon is not in between
//! - [`client`] is the loop between the two
//! - [`detach`] finds the wish to leave in what is typed
//! - [`screen`] is what is printed beside the session's own output
//!
//! What the session prints is not filtered: the terminal is the session's while it is attached. Only the questions
//! to the terminal are answered, and cut, by the keeper.

use std::process::ExitCode;

use self::{
    client::{Client, Outcome, Rejoin},
    detach::DetachKeys,
    link::{Link, LinkError},
    reach::{IfEnded, Miss, reach},
    screen::Canvas,
};
use super::{
    complete,
    context::Context,
    error::{CliError, CliResult, Kind},
};
use crate::{
    api::{
        attach::{Attach, Detached, Ended, WindowSize},
        keys::Key,
        name::SessionName,
        record::Exit,
    },
    host::tty,
};

pub mod client;
pub mod detach;
pub mod link;
pub mod reach;
pub mod screen;

const AFTER: &str = "\
Detach with ctrl-] (twice sends it), with ctrl-\\ d, or from elsewhere with `atm detach`. The session goes
on. In a paste these keys are text. A session that was evicted or has ended is started, one that was stopped
is not; when it ends, atm ends with its exit status, or stays while it is restarted.

With several terminals attached, the smallest is the session's size; the others are shown all of it. What
the session prints reaches this terminal as it is, also sequences that set its title or its clipboard.

Examples:
  atm attach fix-login
  atm attach fix-login --read-only
  atm attach fix-login --take --detach-key ctrl-q";

/// Lines of history that a new client's terminal is given.
const HISTORY: u32 = 1000;

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
    let shown = (!args.quiet).then(|| banner(args));
    let mut client = Client::new(link, args.detach_key.keys, canvas, shown)
        .map_err(|error| CliError::io("cannot take over this terminal", &error))?;
    let name = &args.name;
    let outcome = loop {
        let outcome = match client.serve() {
            Outcome::Lost => client.fate(context, name),
            outcome => outcome,
        };
        let Outcome::Ended(ended) = outcome else { break outcome };
        client.close(&format!("{name} ended: {}", how(&ended)));
        match client.rejoin(context, name, &attach) {
            Rejoin::Again(link) => client.again(*link, &format!("{name} was started again")),
            Rejoin::Over(outcome) => break outcome.unwrap_or(Outcome::Ended(ended)),
        }
    };
    let detached = |why: &str| (Some(format!("detached from {name}{why}")), Ok(ExitCode::SUCCESS));
    let (last_word, result) = match outcome {
        Outcome::Left => detached(""),
        Outcome::LetGo(Detached::Refused { message }) => {
            let error = CliError::new(Kind::Limit, format!("cannot attach to `{name}`: {message}"));
            (Some(String::new()), Err(error))
        }
        Outcome::LetGo(Detached::Taken) => detached(": another terminal took it over"),
        Outcome::LetGo(Detached::Asked) => detached(" by `atm detach`"),
        Outcome::LetGo(Detached::Unknown) => detached(": its keeper let go of this terminal"),
        // The screen was left before the line that says so.
        Outcome::Ended(ended) => (None, Ok(code(ended.exit))),
        Outcome::Lost => {
            let error = CliError::failed(format!("the keeper of `{name}` is gone"))
                .hint(format!("see what became of it: `atm describe {name}`"));
            (Some(String::new()), Err(error))
        }
        Outcome::Failed(error) => (Some(String::new()), Err(error)),
        Outcome::Signal(signal) => {
            let code = 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0));
            (Some(String::new()), Ok(ExitCode::from(code)))
        }
    };
    client.leave(last_word.as_deref());
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
            LinkError::Keeper(error) => reach::miss(name, error),
            LinkError::NoTerminal => Miss::Failed(
                CliError::failed(format!("cannot attach to `{name}`: {error}"))
                    .hint(format!("follow its output: `atm logs -f {name}`")),
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
