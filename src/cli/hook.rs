//! `atm hook`: the command of an agent's hooks, of its status line, and of Codex's `notify`.
//!
//! The agent waits for it, shows or believes what it prints, and takes some exit statuses for an order. So it is quick
//! whatever happens, says nothing, and ends with 0: also where its arguments are wrong, which is why it reads them
//! itself. No thread, no runtime, no grammar; every wait has the same end.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Read, Write},
    os::{fd::AsFd, unix::ffi::OsStrExt, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    context::Context,
    dirs::{self, Environment, Places},
};
use crate::{
    agents,
    api::{
        control::{CONTROL_PROTOCOL, RpcRequest},
        hook::HookParams,
        record::{ENV_HOOKS, HOOKS_PASSED},
        spec::Agent,
        time::Moment,
    },
    host::{client as host, clock},
};

const AFTER: &str = "\
Reads one JSON object on standard input, or as its last argument, and tells the daemon what it says about the session
that the caller runs in. One command for every event:
  Claude Code   the hooks and the statusLine of its settings
  Codex         its hooks, and `notify`: the JSON is appended as an argument
It takes 100 ms at most, prints nothing and ends with 0, also when the daemon is down.

With --pass it prints its standard input, for a command that reads the same:
  atm hook --pass | ~/.claude/statusline.sh";

/// Arguments of `atm hook`, for its help. They are read by [`main`], which refuses none.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Whose payload it is [default: the session's agent]
    #[arg(long, value_name = "AGENT", value_parser = ["claude", "codex"])]
    agent: Option<String>,
    /// It was passed to the session's own agent by atm
    #[arg(long, hide = true)]
    passed: bool,
    /// Print standard input as it is
    #[arg(long)]
    pass: bool,
    /// The payload; without it standard input is read
    #[arg(value_name = "JSON")]
    payload: Option<OsString>,
}

/// In all, from the begin of the process to its end. What is left to 100 ms is for those who start it and see it end.
const ALL: Duration = Duration::from_millis(80);

/// For standard input. A payload comes at once or not at all.
const INPUT: Duration = Duration::from_millis(40);

/// For standard output, however long the input took.
const LEAST: Duration = Duration::from_millis(10);

/// No more of a payload is looked at. What matters in a long one comes before what makes it long.
const LONGEST: usize = 512 << 10;

/// What it was asked, as its arguments say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    places: Places,
    agent: Option<Agent>,
    passed: bool,
    pass: bool,
    pub(crate) payload: Option<OsString>,
}

/// Runs the verb where these are its arguments; `None`: they are another's, or ask for its help.
pub fn main(arguments: &[OsString]) -> Option<ExitCode> {
    let asked = read(arguments.get(1..)?)?;
    tell(&asked, &Environment::of_process());
    Some(ExitCode::SUCCESS)
}

/// Runs the verb.
pub fn run(args: &Args, context: &Context) -> ExitCode {
    let agent = args.agent.as_deref().and_then(agent_named);
    let asked = Asked {
        places: context.places.clone(),
        agent,
        passed: args.passed,
        pass: args.pass,
        payload: args.payload.clone(),
    };
    tell(&asked, &context.environment);
    ExitCode::SUCCESS
}

fn agent_named(name: &str) -> Option<Agent> {
    match name {
        "claude" => Some(Agent::Claude),
        "codex" => Some(Agent::Codex),
        _ => None,
    }
}

/// The arguments of `atm hook`. What it does not know it passes over.
pub(crate) fn read(arguments: &[OsString]) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut is_hook = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        if !bytes.starts_with(b"-") {
            match (is_hook, bytes == b"hook") {
                (false, true) => is_hook = true,
                (false, false) => return None,
                (true, _) => asked.payload = Some(argument.clone()),
            }
            continue;
        }
        let text = argument.to_string_lossy();
        let (flag, value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(OsString::from(value))),
            None => (&*text, None),
        };
        let mut value = || value.clone().or_else(|| rest.next().cloned());
        match flag {
            "-h" | "--help" => return None,
            "--user" => asked.places.user = true,
            "--system" => asked.places.system = true,
            "--socket" => asked.places.socket = value().map(Into::into),
            "--runtime-dir" => asked.places.runtime_dir = value().map(Into::into),
            "--config" | "--sessions-dir" | "--state-dir" | "--log-dir" => drop(value()),
            "--agent" => asked.agent = value().and_then(|name| agent_named(&name.to_string_lossy())),
            "--pass" => asked.pass = true,
            "--passed" => asked.passed = true,
            _ => {}
        }
    }
    is_hook.then_some(asked)
}

/// Tells the daemon. Nothing that fails here is worth a word.
fn tell(asked: &Asked, environment: &Environment) {
    let begun = clock::monotonic();
    let until = begun.saturating_add(ALL);
    let payload = match &asked.payload {
        Some(payload) => agents::sift(payload.as_bytes(), true),
        None => from_input(begun.saturating_add(INPUT), asked.pass),
    };
    if payload.is_empty() {
        return;
    }
    let passed = passed(asked, &payload);
    let params = HookParams { agent: asked.agent, at: Some(clock::monotonic()), passed, payload };
    let Ok(request) = request(params) else { return };
    let Ok(candidates) = asked.places.for_client(environment) else { return };
    for candidate in candidates {
        if dirs::check_fallback(&candidate.directories.runtime, environment).is_err() {
            continue;
        }
        match connect(&candidate.socket, until) {
            // Whether the answer comes in time or not: it was told, and there is one daemon that is meant.
            Ok(stream) => {
                let _ = exchange(stream, &request, until);
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => {}
        }
    }
}

/// Whether this is one of the hooks that the session's agent was passed, where it was passed any. A status line never is.
fn passed(asked: &Asked, payload: &Map<String, Value>) -> Option<bool> {
    let any = std::env::var_os(ENV_HOOKS).is_some_and(|hooks| hooks == HOOKS_PASSED);
    let is_status_line = asked.payload.is_none() && !payload.contains_key("hook_event_name");
    (asked.passed || (any && !is_status_line)).then_some(asked.passed)
}

fn request(params: HookParams) -> serde_json::Result<Vec<u8>> {
    let request = RpcRequest {
        jsonrpc: "2.0".to_owned(),
        id: Some(Value::from(CONTROL_PROTOCOL)),
        method: "hook".to_owned(),
        params: serde_json::to_value(params)?,
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    Ok(line)
}

/// What standard input says until then. Read to its end, so that the agent does not write to nobody; and printed, if
/// that is asked for.
fn from_input(until: Moment, pass: bool) -> Map<String, Value> {
    let input = io::stdin();
    if input.is_terminal() {
        return Map::new();
    }
    let (mut read, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    let (mut ended, mut cut) = (false, false);
    // Not through the buffer of the standard library: it would block for what it cannot fill.
    let Ok(mut file) = input.as_fd().try_clone_to_owned().map(std::fs::File::from) else { return Map::new() };
    while !ended {
        let left = until.since(clock::monotonic());
        if left.is_zero() || !host::readable(&file, left).unwrap_or(false) {
            break;
        }
        match file.read(&mut chunk) {
            Ok(0) => ended = true,
            Ok(_) if read.len() >= LONGEST && !pass => cut = true,
            Ok(count) => read.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if pass {
        // Who does not read it does not want it.
        let _ = host::write_within(&io::stdout(), &read, until.since(clock::monotonic()).max(LEAST));
        cut |= read.len() > LONGEST;
        read.truncate(LONGEST);
    }
    // One who never closes it has written an object all the same; and of one that is longer its begin says enough.
    agents::sift(&read, ended && !cut)
}

/// A listener whose queue is full is given until then.
fn connect(socket: &Path, until: Moment) -> io::Result<UnixStream> {
    let left = until.since(clock::monotonic());
    if left.is_zero() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    host::connect(socket, left)
}

/// Sends the request and waits for the answer: the daemon looks at this process, so it must be there until then.
fn exchange(mut stream: UnixStream, request: &[u8], until: Moment) -> io::Result<()> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let left = || Some(until.since(clock::monotonic())).filter(|left| !left.is_zero()).ok_or_else(late);
    let mut rest = request;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left()?))?;
        let count = stream.write(rest)?;
        rest = rest.get(count..).unwrap_or_default();
    }
    let mut answer = [0; 4 << 10];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let count = stream.read(&mut answer)?;
        let end = count == 0 || answer.get(..count).is_some_and(|bytes| bytes.contains(&b'\n'));
        if end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Option<Asked> {
        let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect();
        read(&words)
    }

    #[test]
    fn its_arguments_are_found_wherever_they_stand_and_none_is_wrong() {
        assert_eq!(read_line("hook"), Some(Asked::default()));
        let asked = read_line("--user hook --agent codex --pass {\"type\":1}").unwrap();
        assert!(asked.places.user && asked.pass);
        assert_eq!((asked.agent, asked.payload), (Some(Agent::Codex), Some("{\"type\":1}".into())));
        let asked = read_line("--socket /s hook --agent=claude --runtime-dir=/r").unwrap();
        assert_eq!(asked.agent, Some(Agent::Claude));
        assert_eq!(asked.places.socket.as_deref(), Some(Path::new("/s")));
        assert_eq!(asked.places.runtime_dir.as_deref(), Some(Path::new("/r")));
        for odd in ["hook --tomorrow", "hook --agent", "hook --agent nobody", "hook --socket", "hook x y -z"]
        {
            assert!(read_line(odd).is_some(), "{odd}");
        }
    }

    #[test]
    fn what_is_no_hook_is_left_to_the_grammar() {
        for other in ["", "get hook", "--socket hook", "hooks install", "hook --help", "hook -h", "--version"]
        {
            assert_eq!(read_line(other), None, "{other}");
        }
    }

    #[test]
    fn its_help_is_in_the_grammar() {
        use clap::CommandFactory;
        let command = crate::cli::args::Cli::command();
        let hook = command.find_subcommand("hook").unwrap();
        assert!(hook.get_arguments().any(|argument| argument.get_id() == "pass"));
    }
}
