//! `atm hooks install` and `uninstall`: what agents that a person starts by hand report by.

use std::{
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use super::{
    context::Context,
    error::{CliError, CliResult},
    text::escape_lines,
};
use crate::agents::{
    install::{StatusLine, Wish, install, uninstall},
    settings::{CLAUDE_EVENTS, CODEX_EVENTS, Version},
};
use file::File;

mod file;

const AFTER: &str = "\
Agents that atm starts report by themselves. This is for those that you start: they are
then listed too, with what they do. Your settings stay as they are, to the byte, but for
what is added; a status line is wrapped and shown as before. Hooks that you wrote yourself
stay, and none is added beside them. With --socket, --runtime-dir, --user or --system they
report to that daemon, and to the same one when you install again without.

Examples:
  atm hooks install
  atm hooks install --claude --print
  atm hooks uninstall";

/// How long an agent may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `atm hooks`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// What is to be done.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Have Claude Code and Codex report to atm
    #[command(after_help = AFTER)]
    Install(Install),
    /// Take out of their settings what reports to atm
    Uninstall(Which),
}

/// Arguments of `atm hooks install`.
#[derive(Debug, clap::Args)]
struct Install {
    #[command(flatten)]
    which: Which,
    /// Print what would be written, and write nothing
    #[arg(long)]
    print: bool,
}

/// Whose settings.
#[derive(Debug, clap::Args)]
struct Which {
    /// Claude Code's settings [default: of each agent that is found]
    #[arg(long)]
    claude: bool,
    /// Codex's hooks
    #[arg(long)]
    codex: bool,
    /// Those of the current directory, for you alone, instead of yours everywhere
    #[arg(long)]
    project: bool,
}

/// An agent with settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settings {
    Claude,
    Codex,
}

/// Ends well when each file is as it should be.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let program =
        std::env::current_exe().map_err(|error| CliError::io("cannot find this program", &error))?;
    let program = program.to_str().ok_or_else(|| {
        CliError::failed(format!("`{}` is no name that settings could hold", program.display()))
            .hint("move the program to a directory whose name is UTF-8")
    })?;
    match &args.verb {
        Verb::Install(asked) => put_in(asked, program, context),
        Verb::Uninstall(which) => take_out(which, program, context),
    }
}

/// Writes all of it or, where a file is not as it should be, nothing.
fn put_in(Install { which, print }: &Install, program: &str, context: &mut Context) -> CliResult {
    let places = context.places.words_for_client().map_err(|path| {
        CliError::failed(format!("`{}` is no name that settings could hold", path.display()))
            .hint("name a place whose name is UTF-8")
    })?;
    let mut asked = Vec::new();
    for (agent, path) in found(which, context)? {
        // An agent takes its time to tell its version: the file is read after that, and nobody's change is lost.
        asked.push((agent, path, agent.events(context)?));
    }
    let (mut ready, mut errors) = (Vec::new(), Vec::new());
    for (agent, path, events) in asked {
        let status_line = match agent {
            Settings::Claude if which.project => StatusLine::Wrap,
            Settings::Claude => StatusLine::Report,
            Settings::Codex => StatusLine::None,
        };
        let wish = Wish { program, places: &places, events: &events, status_line };
        let edited = File::read(path).and_then(|file| {
            let edited = install(file.text.as_deref(), &wish).map_err(|wrong| file.wrong(&wrong))?;
            Ok((agent, file, edited))
        });
        match edited {
            Ok(edited) => ready.push(edited),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        for (_, file, _) in &ready {
            context.out.note(&format!("{}: left as it is too", file.shown()))?;
        }
    }
    CliError::gather(errors)?;
    let mut errors = Vec::new();
    for (agent, file, edited) in ready {
        if *print {
            context.out.note(&format!("{}:", file.shown()))?;
            let text = edited.text.unwrap_or_default();
            // A project's settings come with it, from whoever wrote that. A program takes them as they are.
            let shown = if context.out.is_terminal() { escape_lines(&text) } else { text.as_str().into() };
            context.out.bytes(shown.as_bytes())?;
            continue;
        }
        match file.put(edited, "added", context) {
            Ok(true) if agent == Settings::Codex => {
                context.out.note("Codex asks at its next start whether these hooks are yours")?;
            }
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    CliError::gather(errors)
}

/// Out of each file as far as it goes: what is wrong with one is no reason to leave the others.
fn take_out(which: &Which, program: &str, context: &mut Context) -> CliResult {
    let mut errors = Vec::new();
    for (_, path) in places(which, context)? {
        let taken = File::read(path).and_then(|file| {
            let Some(text) = &file.text else { return Ok(()) };
            let edited = uninstall(text, program).map_err(|wrong| file.wrong(&wrong))?;
            file.put(edited, "took out", context).map(drop)
        });
        errors.extend(taken.err());
    }
    CliError::gather(errors)
}

/// The files of the agents that are meant.
fn places(which: &Which, context: &Context) -> CliResult<Vec<(Settings, PathBuf)>> {
    let all = [(Settings::Claude, which.claude), (Settings::Codex, which.codex)];
    let any = which.claude || which.codex;
    let meant = all.into_iter().filter(|(_, named)| *named || !any).map(|(agent, _)| agent);
    meant.map(|agent| Ok((agent, agent.place(which.project, context)?))).collect()
}

/// The files of the agents that are asked for by name, or of those that this person has.
fn found(which: &Which, context: &Context) -> CliResult<Vec<(Settings, PathBuf)>> {
    let mut places = places(which, context)?;
    if !which.claude && !which.codex {
        let home = |agent: Settings| agent.directory(context).is_some_and(|directory| directory.is_dir());
        places.retain(|(agent, _)| home(*agent) || in_path(agent.name()));
    }
    if places.is_empty() {
        return Err(CliError::failed("neither Claude Code nor Codex is found")
            .hint("name the one whose settings are to be written: --claude, --codex"));
    }
    Ok(places)
}

impl Settings {
    fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    /// Where a person's own settings are.
    fn directory(self, context: &Context) -> Option<PathBuf> {
        let (variable, name) = match self {
            Self::Claude => ("CLAUDE_CONFIG_DIR", ".claude"),
            Self::Codex => ("CODEX_HOME", ".codex"),
        };
        let named = std::env::var_os(variable).filter(|named| !named.is_empty()).map(PathBuf::from);
        named.or_else(|| Some(context.environment.home.as_ref()?.join(name)))
    }

    /// The file that is edited. Of a project the one that is nobody else's: the path of a program is this machine's.
    fn place(self, project: bool, context: &Context) -> CliResult<PathBuf> {
        if project {
            let here = std::env::current_dir();
            let here = here.map_err(|error| CliError::io("cannot tell the current directory", &error))?;
            return Ok(here.join(match self {
                Self::Claude => ".claude/settings.local.json",
                Self::Codex => ".codex/hooks.json",
            }));
        }
        let directory = self.directory(context);
        let directory =
            directory.ok_or_else(|| CliError::failed("no home directory is known").hint("set HOME"))?;
        Ok(directory.join(match self {
            Self::Claude => "settings.json",
            Self::Codex => "hooks.json",
        }))
    }

    /// The events that the agent can be asked to report.
    fn events(self, context: &mut Context) -> CliResult<Vec<&'static str>> {
        if self == Self::Codex {
            return Ok(CODEX_EVENTS.to_vec());
        }
        let version = version_of(self.name());
        let knows = |since: &Version| version.is_none_or(|version| *since <= version);
        let (events, later): (Vec<_>, Vec<_>) =
            CLAUDE_EVENTS.iter().copied().partition(|(_, since)| knows(since));
        if let (Some([major, minor, patch]), false) = (version, later.is_empty()) {
            let later: Vec<_> = later.iter().map(|(event, _)| *event).collect();
            context.out.warn(&format!(
                "Claude Code {major}.{minor}.{patch} does not know {}: install again after an update",
                later.join(", ")
            ))?;
        }
        Ok(events.into_iter().map(|(event, _)| event).collect())
    }
}

fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// What `NAME --version` begins with; `None` where that is no version, or comes too late.
fn version_of(name: &str) -> Option<Version> {
    let mut child = Command::new(name)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = child.stdout.take()?;
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = output.take(256).read_to_string(&mut text); // what is no text is no version
        let _ = said.send(text); // nobody waits any more
    });
    let text = heard.recv_timeout(PATIENCE).unwrap_or_default();
    let _ = child.kill(); // it has ended, mostly
    let _ = child.wait();
    version(&text)
}

fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split_whitespace().next()?.split('.').map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers_at_the_begin() {
        for (text, expected) in [
            ("2.1.330 (Claude Code)\n", Some([2, 1, 330])),
            ("2.1.3", Some([2, 1, 3])),
            ("", None),
            ("claude 2.1.3", None),
            ("2.1", None),
            ("2.1.x", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
