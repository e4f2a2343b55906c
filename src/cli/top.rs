//! `atm top`: the sessions and what they use, as it changes.
//!
//! - [`feed`] asks the daemon, [`view`] is the loop on a terminal
//! - [`page`] is what is shown, [`order`] in which order, [`mod@line`] how it is cut: from values alone
//! - [`keys`] is what is typed
//!
//! Where there is no terminal, or one that can only print, pages are printed one below the other.

use std::{process::ExitCode, time::Duration};

use serde_json::json;

use self::{
    feed::{Feed, LONGEST},
    order::Sort,
    page::Page,
    view::Begin,
};
use super::{
    client::{Client, ClientError, after},
    complete,
    context::{Context, get},
    error::{CliError, CliResult},
    get::empty,
    select::{Selector, distinct},
    watch::back,
};
use crate::{
    api::{control::HealthResult, name::SessionName, quantity::Dur, status::SessionView},
    host::{clock, poll, tty},
};

pub mod feed;
pub mod keys;
pub mod line;
pub mod order;
pub mod page;
pub mod view;

const AFTER: &str = "\
Keys: c sorts by CPU, m by memory, n by name, i by idle time, w puts first who waits for a person,
then what fails; up, down, page up and page down scroll; q, Esc and ctrl-c leave.

CPU% is of one core, and as of the daemon's last look at the session; MEMORY and PROCS are of its
whole tree. In a pipe one page is printed, or as many as -n says.

Examples:
  atm top
  atm top -l team=web -s waiting
  atm top -n 3 -d 10s > pages.txt";

/// Nothing is gained by a shorter one: the daemon looks at a session every two seconds at most.
const SHORTEST: Duration = Duration::from_millis(100);

/// Arguments of `atm top`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Names of sessions [default: all]
    #[arg(value_name = "NAME", add = complete::sessions())]
    names: Vec<SessionName>,
    /// Only sessions with these labels: label=value, label!=value, label, !label; several with commas
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<Selector>,
    /// What comes first
    #[arg(short, long, value_enum, value_name = "KEY", default_value_t = Sort::Cpu)]
    sort: Sort,
    /// End after so many pages [default: on a terminal never, else 1]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,
    /// From one page to the next: 500ms, 5s; seconds where there is no unit. On a terminal changes show at once
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = delay)]
    delay: Duration,
}

fn delay(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let delay = match seconds {
        Some(delay) => delay,
        None => text.parse::<Dur>().map(|Dur(delay)| delay).map_err(|error| error.to_string())?,
    };
    if delay < SHORTEST {
        return Err(format!("at least {} is expected", Dur(SHORTEST)));
    }
    Ok(delay)
}

/// Ends well when a person leaves, or after as many pages as were asked for.
pub fn run(args: &Args, context: &mut Context) -> CliResult<ExitCode> {
    let mut client = context.connect()?;
    let names = distinct(&args.names);
    let sessions = get(&mut client, &names)?;
    let missing = names.iter().filter(|name| !sessions.iter().any(|session| session.name == **name));
    let missing: Vec<CliError> = missing.map(|name| context.no_such_session(&mut client, name)).collect();
    let can_draw = !matches!(std::env::var("TERM").as_deref(), Err(_) | Ok("" | "dumb" | "unknown"));
    if !tty::is_interactive() || !can_draw {
        let errors = CliError::gather(missing);
        if sessions.is_empty() && errors.is_err() {
            return errors.map(|()| ExitCode::SUCCESS);
        }
        let printed = print(args, &names, client, context);
        return printed.and(errors).map(|()| ExitCode::SUCCESS);
    }
    CliError::gather(missing)?;
    let begin = Begin {
        selector: args.selector.clone(),
        sort: args.sort,
        delay: args.delay,
        iterations: args.iterations,
        empty: empty(args.selector.as_ref(), &client),
        colour: context.out.colour(),
    };
    let health: HealthResult = client.call("health", &json!({}))?;
    context.out.flush()?;
    // Before there is a thread that could be given a signal.
    let signals = tty::Signals::listen().map_err(|error| CliError::io("cannot hear signals", &error))?;
    let feed = Feed::start(client, &names, args.delay)?;
    view::run(begin, feed, signals, health)
}

/// One page below the other, each as it is by then.
fn print(args: &Args, names: &[SessionName], mut client: Client, context: &mut Context) -> CliResult {
    let is_terminal = context.out.is_terminal();
    let mut left = args.iterations.or((!is_terminal).then_some(1));
    client.mind_output();
    loop {
        match ask(&mut client, names) {
            Ok((health, sessions)) => {
                tell(args, &health, &sessions, &client, context)?;
                left = left.map(|left| left.saturating_sub(1));
                if left == Some(0) {
                    return Ok(());
                }
                context.out.line("")?;
                context.out.flush()?;
            }
            Err(ClientError::Closed) => {
                client = back(&client, context)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        if args.delay > LONGEST {
            drop(client);
            let _ = poll::wait(&[], Some(args.delay)); // an interrupted pause is only shorter
            client = context.connect()?;
            client.mind_output();
            continue;
        }
        let until = after(args.delay);
        // Nothing is sent unasked: this waits, and notices where the daemon or our reader goes.
        let waited = loop {
            let pause = until.map(|until| until.since(clock::monotonic()));
            match client.notification(pause) {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        match waited {
            Ok(()) => {}
            Err(ClientError::Closed) => client = back(&client, context)?,
            Err(error) => return Err(error.into()),
        }
    }
}

fn ask(client: &mut Client, names: &[SessionName]) -> Result<(HealthResult, Vec<SessionView>), ClientError> {
    Ok((client.call("health", &json!({}))?, get(client, names)?))
}

fn tell(
    args: &Args,
    health: &HealthResult,
    sessions: &[SessionView],
    client: &Client,
    context: &mut Context,
) -> CliResult {
    let admitted =
        |session: &&SessionView| args.selector.as_ref().is_none_or(|selector| selector.admits(session));
    let mut sessions: Vec<&SessionView> = sessions.iter().filter(admitted).collect();
    args.sort.apply(&mut sessions);
    let empty = empty(args.selector.as_ref(), client);
    let page = Page {
        health,
        sessions: &sessions,
        sort: args.sort,
        empty: &empty,
        trouble: None,
        now: clock::wall(),
    };
    let width = if context.out.is_terminal() { tty::size().map(|size| size.columns.into()) } else { None };
    context.out.bytes(page.whole(width, context.out.colour()).as_bytes())?;
    if sessions.is_empty() { context.out.note(&empty) } else { Ok(()) }
}
