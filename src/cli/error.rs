//! Errors for people: what went wrong, the next command to try, and an exit status that a script can act on.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use super::text::{escape, escape_lines};
use crate::{
    api::{
        control::{ErrorKind, RpcError},
        diagnose::Diagnostics,
        name::SessionName,
    },
    host::errors::words,
};

/// What kind of failure: decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was tried and failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// No session of that name.
    NoSuchSession,
    /// A spec or the config is wrong.
    Invalid,
    /// No daemon answers.
    Unreachable,
    /// A limit, or another daemon.
    Limit,
    /// Nobody reads our output any more: no message, as with other tools in a pipe.
    OutputClosed,
}

impl Kind {
    /// The exit status, as section "command line" of the manual promises.
    pub fn status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoSuchSession => 3,
            Self::Invalid => 4,
            Self::Unreachable => 69,
            Self::Limit => 75,
            Self::OutputClosed => 141, // 128 + SIGPIPE
        }
    }
}

/// A failure as the person who typed the command sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// What kind.
    pub kind: Kind,
    /// What went wrong: lower case, no full stop; more lines may follow the first.
    pub message: String,
    /// The next command to try.
    pub hint: Option<String>,
    /// Failures of the same command on other sessions. The first one's kind decides the exit status.
    pub others: Vec<CliError>,
}

/// What a verb returns.
pub type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    /// A failure without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, others: Vec::new() }
    }

    /// It was tried and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// It was tried and failed, for the reason that the system gives.
    pub fn io(what: impl fmt::Display, cause: &std::io::Error) -> Self {
        Self::failed(format!("{what}: {}", words(cause)))
    }

    /// The next command to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is wrong with a file, whole.
    pub fn invalid(diagnostics: &Diagnostics) -> Self {
        Self::new(Kind::Invalid, super::documents::render(diagnostics))
    }

    /// No session of that name; `known` are the names there are.
    pub fn no_such_session(name: &SessionName, known: &[SessionName]) -> Self {
        let error = Self::new(Kind::NoSuchSession, format!("no session `{name}`"));
        match near(name, known) {
            near if near.is_empty() => error.hint("`atm get` lists the sessions"),
            near => error.hint(format!("did you mean {}?", near.join(" or "))),
        }
    }

    /// What the daemon says.
    pub fn from_daemon(error: &RpcError) -> Self {
        let kind = match error.data.kind {
            ErrorKind::NoSuchSession => Kind::NoSuchSession,
            ErrorKind::InvalidSpec => Kind::Invalid,
            ErrorKind::MaxClientsReached | ErrorKind::TooManyRegistered | ErrorKind::Busy => Kind::Limit,
            ErrorKind::ShuttingDown => Kind::Unreachable,
            ErrorKind::InvalidJson
            | ErrorKind::InvalidRequest
            | ErrorKind::MethodNotFound
            | ErrorKind::ProtocolVersion
            | ErrorKind::MessageTooLarge
            | ErrorKind::Forbidden
            | ErrorKind::Conflict
            | ErrorKind::Failed => Kind::Failed,
        };
        let told = Self::new(kind, error.message.clone());
        match error.data.kind {
            ErrorKind::MethodNotFound | ErrorKind::ProtocolVersion | ErrorKind::InvalidRequest => told.hint(
                "daemon and command may be of different versions: compare `atm status` with `atm --version`",
            ),
            ErrorKind::Forbidden => told.hint("run it as root, or as the session's user"),
            ErrorKind::ShuttingDown => told.hint("try again when the daemon is back: `atm status`"),
            _ => told,
        }
    }

    /// Success where there are none; else all of them as one.
    pub fn gather(errors: Vec<Self>) -> CliResult {
        let mut errors = errors.into_iter();
        match errors.next() {
            None => Ok(()),
            Some(mut first) => {
                first.others.extend(errors);
                Err(first)
            }
        }
    }

    /// The text for stderr: `error: …` and `hint: …`, safe on a terminal.
    pub fn render(&self, paint: impl Fn(&str) -> String + Copy) -> String {
        let mut text = String::new();
        if self.kind != Kind::OutputClosed {
            let message = escape_lines(&self.message);
            // What the diagnostics' renderer wrote begins with its own `error:`.
            if message.starts_with("error") {
                text.push_str(message.trim_end());
            } else {
                text.push_str(&paint("error:"));
                text.push(' ');
                text.push_str(message.trim_end());
            }
            text.push('\n');
            if let Some(hint) = &self.hint {
                text.push_str("hint: ");
                text.push_str(&escape(hint));
                text.push('\n');
            }
        }
        for other in &self.others {
            text.push_str(&other.render(paint));
        }
        text
    }

    /// The exit status of the whole command.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.status())
    }
}

/// At most three names that a person may have meant, nearest first.
fn near(name: &SessionName, known: &[SessionName]) -> Vec<String> {
    let mut scored: Vec<(f64, &SessionName)> = known
        .iter()
        .map(|other| {
            let contained = other.as_str().contains(name.as_str()) && name.as_str().len() > 2;
            let score = strsim::jaro_winkler(name.as_str(), other.as_str());
            (if contained { score.max(0.9) } else { score }, other)
        })
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.iter().take(3).map(|(_, name)| format!("`{name}`")).collect()
}

/// Prints help, or what is wrong with the arguments. They may come from anywhere, by way of a script: where they could act
/// on a terminal they are shown escaped, and without colour.
pub fn print_usage(error: &clap::Error) {
    let plain = error.render().to_string();
    // Help goes to stdout, and a closed one is nobody's error.
    let _ = match escape_lines(&plain) {
        safe if safe == plain => error.print(),
        safe => io::stderr().write_all(safe.as_bytes()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<SessionName> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_misspelt_name_is_told_its_neighbours() {
        let known = names("fix-login fix-logout build web");
        let error = CliError::no_such_session(&"fix-lgoin".parse().unwrap(), &known);
        insta::assert_snapshot!(error.render(str::to_owned), @r"
        error: no session `fix-lgoin`
        hint: did you mean `fix-login` or `fix-logout`?
        ");
        let error = CliError::no_such_session(&"zzz".parse().unwrap(), &known);
        insta::assert_snapshot!(error.render(str::to_owned), @r"
        error: no session `zzz`
        hint: `atm get` lists the sessions
        ");
    }

    #[test]
    fn the_first_failure_decides_the_status_and_all_are_told() {
        let both = CliError::gather(vec![
            CliError::new(Kind::Limit, "no room"),
            CliError::failed("cannot\u{1b}[2J").hint("a\nb"),
        ])
        .unwrap_err();
        assert_eq!(both.kind.status(), 75);
        insta::assert_snapshot!(both.render(str::to_owned), @r"
        error: no room
        error: cannot\u{1b}[2J
        hint: a\nb
        ");
    }

    #[test]
    fn a_closed_pipe_is_told_to_nobody() {
        assert_eq!(CliError::new(Kind::OutputClosed, "").render(str::to_owned), "");
    }
}
