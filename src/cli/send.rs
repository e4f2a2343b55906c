//! `atm send`: types for a person who is not attached.

use std::io::Read;

use super::{
    attach::reach::{IfEnded, ask_keeper},
    complete,
    context::Context,
    error::{CliError, CliResult, Kind},
};
use crate::{
    api::{
        keeper::Request,
        keys::Key,
        name::SessionName,
        send::{AFTER_TEXT, INSTEAD, LONGEST_TEXT, Message, MessageError},
    },
    host::poll,
};

const AFTER: &str = "\
The words of TEXT are typed with a space between them, then the keys, then enter: `--no-enter` leaves that
out, and keys alone are followed by none. Text of several lines is sent as a paste, where the program knows
pastes, so that its first line does not end it; so is text with control characters, less those but tabs: a
key is sent by its name. atm ends when all was typed, and what is not typed by then is withdrawn.

Examples:
  atm send fix-login 'please run the tests'
  atm send fix-login --key ctrl-c
  atm send fix-login --key escape --key up --key enter
  git diff | atm send fix-login -";

/// Arguments of `atm send`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The session
    #[arg(value_name = "NAME", add = complete::sessions())]
    name: SessionName,
    /// What to type; `-` reads it from standard input
    #[arg(value_name = "TEXT", required_unless_present = "keys")]
    text: Vec<String>,
    /// A key by its name, after the text: enter, ctrl-c, escape, up, alt-x, f5; may be repeated
    #[arg(short, long = "key", value_name = "KEY")]
    keys: Vec<Key>,
    /// No enter at the end
    #[arg(long)]
    no_enter: bool,
}

/// Ends well when the program's terminal has taken all.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut text = args.text.join(" ");
    if text == "-" {
        text = from_input(std::io::stdin().lock())?;
    }
    let Message { typed, enter } = Message::new(Some(&text), &args.keys, !args.no_enter).map_err(mistake)?;
    ask_keeper(context, &args.name, IfEnded::Start, &Request::Type { typed })?;
    let Some(typed) = enter else { return Ok(()) };
    let _ = poll::wait(&[], Some(AFTER_TEXT)); // an interrupted pause is only shorter
    ask_keeper(context, &args.name, IfEnded::Fail, &Request::Type { typed }).map(drop)
}

fn mistake(error: MessageError) -> CliError {
    let told = CliError::new(Kind::Usage, error.to_string());
    match error {
        MessageError::TooLong => told.hint(INSTEAD),
        MessageError::Nothing | MessageError::TooManyKeys => told,
    }
}

/// What is on standard input, and no more of it than can be sent: it may never end.
fn from_input(input: impl Read) -> CliResult<String> {
    let mut bytes = Vec::new();
    input
        .take(LONGEST_TEXT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::io("cannot read standard input", &error))?;
    if bytes.len() > LONGEST_TEXT {
        return Err(mistake(MessageError::TooLong));
    }
    String::from_utf8(bytes)
        .map_err(|_| CliError::new(Kind::Usage, "standard input is no text: not UTF-8").hint(INSTEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_that_never_ends_is_read_no_further_than_it_can_be_sent() {
        struct Endless(usize);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0 += buffer.len();
                assert!(self.0 < 4 * LONGEST_TEXT, "it reads on");
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
        assert_eq!(from_input(Endless(0)).unwrap_err(), mistake(MessageError::TooLong));
        let most = "x".repeat(LONGEST_TEXT);
        assert_eq!(from_input(most.as_bytes()).unwrap(), most);
        // A letter of several bytes on the edge.
        let beyond = format!("{}ä", "x".repeat(LONGEST_TEXT));
        assert_eq!(from_input(beyond.as_bytes()).unwrap_err(), mistake(MessageError::TooLong));
        assert!(from_input(b"\xff".as_slice()).unwrap_err().message.contains("not UTF-8"));
    }
}
