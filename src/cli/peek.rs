//! `atm peek`: a session's screen as text, without attaching.

use serde::Serialize;

use super::{
    attach::reach::{IfEnded, ask_keeper},
    complete,
    context::Context,
    error::{CliError, CliResult},
    output::PlainForm,
    text::{escape, escape_drawn},
};
use crate::api::{
    attach::ScreenView,
    keeper::{Reply, Request},
    name::SessionName,
};

const AFTER: &str = "\
Examples:
  atm peek fix-login
  atm peek fix-login --history 100
  atm peek fix-login -o json";

/// Arguments of `atm peek`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The session
    #[arg(value_name = "NAME", add = complete::sessions())]
    name: SessionName,
    /// With colours and links, as terminals understand them
    #[arg(long)]
    ansi: bool,
    /// Also at most so many lines that left the screen
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    history: u32,
    /// In which form; with json and yaml: also size, cursor and title
    #[arg(short, long, value_enum, default_value_t = PlainForm::Table)]
    output: PlainForm,
}

#[derive(Serialize)]
struct Told<'a> {
    name: &'a SessionName,
    #[serde(flatten)]
    screen: &'a ScreenView,
}

/// Prints the screen.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let request = Request::Peek { history: args.history, ansi: args.ansi };
    let Reply::Screen(screen) = ask_keeper(context, &args.name, IfEnded::Fail, &request)? else {
        return Err(CliError::failed(format!("the keeper of `{}` gave another answer", args.name)));
    };
    let told = Told { name: &args.name, screen: &screen };
    match args.output {
        PlainForm::Json => context.out.json(&told),
        PlainForm::Yaml => context.out.yaml(&told),
        PlainForm::Table => {
            // Blank lines below the last one say nothing.
            let used = screen.lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
            for line in screen.lines.iter().take(used) {
                // Made by our own emulator of cells. What is left are characters that change how others are shown.
                context.out.line(&if args.ansi { escape_drawn(line).into() } else { escape(line) })?;
            }
            Ok(())
        }
    }
}
