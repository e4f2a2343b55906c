//! `atm send`: types for a person who is not attached.

use std::{io::Read, time::Duration};

use super::{
    attach::reach::{IfEnded, ask_keeper},
    complete,
    context::Context,
    error::{CliError, CliResult, Kind},
};
use crate::{
    api::{attach::Typed, keeper::Request, keys::Key, name::SessionName},
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

/// Between a text and its enter. Agents tell a paste by its speed, and take an enter in it for a line of it: Codex does
/// within 120 ms of the last letter.
const AFTER_TEXT: Duration = Duration::from_millis(200);

/// Longest text: the keeper takes a request of 1 MiB, and a byte takes up to six in it.
const LONGEST: usize = 160 << 10;

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
    if text.len() > LONGEST {
        return Err(too_long());
    }
    let typed = typed(&text, &args.keys);
    ask_keeper(context, &args.name, IfEnded::Start, &Request::Type { typed })?;
    if text.is_empty() || args.no_enter {
        return Ok(());
    }
    let _ = poll::wait(&[], Some(AFTER_TEXT)); // an interrupted pause is only shorter
    let typed = vec![Typed::Key(Key::ENTER)];
    ask_keeper(context, &args.name, IfEnded::Start, &Request::Type { typed }).map(drop)
}

fn too_long() -> CliError {
    CliError::new(Kind::Usage, format!("the text is longer than {LONGEST} bytes"))
        .hint("write it to a file, and send the file's name")
}

/// What is on standard input, and no more of it than can be sent: it may never end.
fn from_input(input: impl Read) -> CliResult<String> {
    let mut bytes = Vec::new();
    input
        .take(LONGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::io("cannot read standard input", &error))?;
    if bytes.len() > LONGEST {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|_| {
        CliError::new(Kind::Usage, "standard input is no text: not UTF-8")
            .hint("write it to a file, and send the file's name")
    })
}

fn typed(text: &str, keys: &[Key]) -> Vec<Typed> {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let text = match lines {
        "" => None,
        lines if lines.contains('\n') => Some(Typed::Paste(lines.to_owned())),
        line => Some(Typed::Text(line.to_owned())),
    };
    text.into_iter().chain(keys.iter().cloned().map(Typed::Key)).collect()
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
                assert!(self.0 < 4 * LONGEST, "it reads on");
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
        assert_eq!(from_input(Endless(0)).unwrap_err(), too_long());
        let most = "x".repeat(LONGEST);
        assert_eq!(from_input(most.as_bytes()).unwrap(), most);
        // A letter of several bytes on the edge.
        let beyond = format!("{}ä", "x".repeat(LONGEST));
        assert_eq!(from_input(beyond.as_bytes()).unwrap_err(), too_long());
        assert!(from_input(b"\xff".as_slice()).unwrap_err().message.contains("not UTF-8"));
    }

    #[test]
    fn several_lines_are_a_paste() {
        assert_eq!(typed("one line\n", &[]), [Typed::Text("one line".into())]);
        assert_eq!(typed("two\nlines\n", &[]), [Typed::Paste("two\nlines".into())]);
        let key: Key = "ctrl-c".parse().unwrap();
        assert_eq!(typed("", std::slice::from_ref(&key)), [Typed::Key(key)]);
    }
}
