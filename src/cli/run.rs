//! `atm run`: a session without writing YAML: it writes the spec, and waits until it runs.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use serde_json::{Map, Value, json};

use super::{
    attach,
    client::after,
    context::{Context, list},
    documents,
    error::{CliError, CliResult, Kind},
    outcome::{Outcome, started},
    specfiles::{SpecFiles, watch},
    steer::Patience,
    watch::Change,
};
use crate::{
    api::{
        name::{MAX_NAME, SessionName},
        quantity::Dur,
        spec::RestartPolicy,
        status::{Origin, SessionView},
        yaml,
    },
    host::{put::Place, tty},
};

const AFTER: &str = "\
The spec is written to the sessions directory, so the session is there as if you had written it:
change it with `atm edit`, remove it with `atm delete`. The name is printed.

Examples:
  atm run -- claude --permission-mode acceptEdits
  atm run --attach --name fix-login -- claude
  atm run --name tests --restart never --no-terminal -- make test";

/// For a session to run.
const START: std::time::Duration = std::time::Duration::from_secs(60);

/// Arguments of `atm run`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The session's name [default: made from the command]
    #[arg(long, value_name = "NAME")]
    name: Option<SessionName>,
    /// Where it runs [default: this directory]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Add to its environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// What follows an exit: always, on-failure, never
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    restart: Option<RestartPolicy>,
    /// Pipes instead of a terminal
    #[arg(long)]
    no_terminal: bool,
    /// Attach this terminal to it
    #[arg(long, conflicts_with_all = ["no_terminal", "no_wait"])]
    attach: bool,
    #[command(flatten)]
    patience: Patience,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn policy(text: &str) -> Result<RestartPolicy, String> {
    match text.to_ascii_lowercase().replace('-', "").as_str() {
        "always" => Ok(RestartPolicy::Always),
        "onfailure" => Ok(RestartPolicy::OnFailure),
        "never" => Ok(RestartPolicy::Never),
        _ => Err("expected always, on-failure or never".to_owned()),
    }
}

/// Ends well when the session runs, or has already succeeded; attached, as `atm attach` ends.
pub fn run(args: &Args, context: &mut Context) -> CliResult<ExitCode> {
    if args.attach && !tty::is_interactive() {
        return Err(CliError::new(Kind::Usage, "--attach needs a terminal on standard input and output"));
    }
    let name = start(args, context)?;
    if args.attach { attach::to(name, context) } else { Ok(ExitCode::SUCCESS) }
}

fn start(args: &Args, context: &mut Context) -> CliResult<SessionName> {
    let mut client = context.connect()?;
    let directory = client.directories().sessions.clone();
    let known = list(&mut client)?;
    let specs = SpecFiles { directory, client: None };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => free_name(&args.command, |name| {
            known.iter().any(|session| session.name == *name) || !specs.files_of(name).is_empty()
        })?,
    };
    if let Some(file) = specs.files_of(&name).first() {
        return Err(CliError::failed(format!("`{}` exists already", file.display()))
            .hint(format!("choose another --name, or remove it: `atm delete {name}`")));
    }
    let spec = written(args)?;
    let path = specs.new_path(&name);
    if let Err(diagnostics) = documents::parse_spec(spec.as_bytes(), &path) {
        return Err(CliError::invalid(&diagnostics));
    }
    let names = [name.clone()];
    let watched = if args.patience.no_wait { None } else { Some(watch(&client, &names)?) };
    specs.write(&path, spec.as_bytes(), Place::New)?;
    context.out.line(name.as_str())?;
    context.out.flush()?;
    let Some((_, mut watch)) = watched else {
        return Ok(name);
    };

    let limit = args.patience.timeout.map_or(START, |Dur(limit)| limit);
    let deadline = after(limit);
    let mut last: Option<SessionView> = None;
    while let Some(change) = watch.next(deadline)? {
        let Change::Now(session) = change else { continue };
        if session.origin == Origin::Registered {
            continue; // it has the name until the file is read
        }
        match first_run(&session) {
            Outcome::Done(_) if args.attach => return Ok(name),
            Outcome::Done(words) => {
                context.out.note(&format!("{name} {words}"))?;
                return Ok(name);
            }
            Outcome::Failed(error) => return Err(error),
            Outcome::Waiting => last = Some(*session),
        }
    }
    let state = last.map_or_else(
        || "not seen by the daemon".to_owned(),
        |session| format!("still {} ({})", session.status.phase, session.status.reason),
    );
    Err(CliError::failed(format!("`{name}` is {state} after {}", Dur(limit)))
        .hint(format!("the request stands; see `atm describe {name}`")))
}

/// A session that was not there before: whatever is seen of it is news.
fn first_run(session: &SessionView) -> Outcome {
    let mut before = session.clone();
    before.status.since = None;
    before.run_id = None;
    before.status.restarts = u64::MAX;
    started(&before, session)
}

/// The spec as YAML: only what was said.
fn written(args: &Args) -> CliResult<String> {
    let directory = match &args.dir {
        Some(directory) => std::path::absolute(directory),
        None => std::env::current_dir(),
    };
    let directory = directory.map_err(|error| CliError::io("cannot tell the directory to run in", &error))?;
    let directory = directory.to_str().ok_or_else(|| {
        CliError::failed("the directory's name is not UTF-8, and a spec must be").hint("say --dir DIR")
    })?;
    let mut spec = Map::new();
    spec.insert("command".into(), json!(args.command));
    spec.insert("workingDir".into(), json!(directory));
    if !args.env.is_empty() {
        let env: BTreeMap<&str, &str> =
            args.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        spec.insert("env".into(), json!(env));
    }
    if let Some(restart) = args.restart {
        spec.insert("restartPolicy".into(), json!(restart));
    }
    if args.no_terminal {
        spec.insert("terminal".into(), Value::Bool(false));
    }
    yaml::write(&spec)
        .map_err(|error| CliError::failed(format!("the command cannot be written as YAML: {error}")))
}

/// A name from the command's own, with a number where it is taken.
fn free_name(command: &[String], taken: impl Fn(&SessionName) -> bool) -> CliResult<SessionName> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let stem = program.rsplit('/').next().unwrap_or_default().to_lowercase();
    let mut base: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .take(MAX_NAME - 6)
        .collect();
    base = base.trim_matches(['-', '_']).to_owned();
    if base.is_empty() {
        base.push_str("session");
    }
    std::iter::once(base.clone())
        .chain((2..100_000).map(|number| format!("{base}-{number}")))
        .filter_map(|name| SessionName::new(&name).ok())
        .find(|name| !taken(name))
        .ok_or_else(|| CliError::failed("no name is free").hint("say --name NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_from_the_command() {
        let made = |program: &str, taken: &[&str]| {
            free_name(&[program.to_owned()], |name| taken.contains(&name.as_str())).unwrap().to_string()
        };
        assert_eq!(made("claude", &[]), "claude");
        assert_eq!(made("/usr/bin/Python3.12", &[]), "python3-12");
        assert_eq!(made("claude", &["claude", "claude-2"]), "claude-3");
        assert_eq!(made("../漢字", &[]), "session");
        assert_eq!(made(&"x".repeat(200), &[]).len(), MAX_NAME - 6);
    }

    #[test]
    fn the_spec_says_what_was_said_and_no_more() {
        use clap::Parser;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let line = [
            "run",
            "--dir",
            "/src",
            "--env",
            "A=1",
            "--env",
            "B=x=y",
            "--restart",
            "on-failure",
            "--no-terminal",
            "--",
            "make",
            "--",
            "no",
            "$HOME",
        ];
        insta::assert_snapshot!(written(&Line::parse_from(line).args).unwrap(), @r"
        command:
        - make
        - --
        - no
        - $HOME
        env:
          A: '1'
          B: x=y
        restartPolicy: OnFailure
        terminal: false
        workingDir: /src
        ");
    }
}
