//! The command line: arguments → a verb → an exit status.
//!
//! - [`args`] is the grammar; each verb is a file of its own name, with its arguments and `run`
//! - [`dirs`] says where things are, [`client`] speaks with the daemon, [`watch`] follows sessions
//! - [`steer`] is what start, stop, restart, suspend, resume and kill share; [`outcome`] is what they wait
//!   for, from values alone; [`offline`] goes to the keepers while the daemon is down
//! - [`top`] is the one verb that draws a screen of its own
//! - [`output`], [`text`] and [`plain`] make what is shown; [`error`] says what went wrong and what to try
//!
//! Invariants:
//! - stdout is data, stderr is talk: only [`output`] writes either.
//! - Everything from outside passes through [`text`] or [`plain`] before a terminal, `logs --raw` and `attach` excepted.
//!   `peek --ansi` lets colours and links pass, and nothing else.
//! - No verb needs the daemon for what the files and the keepers can do.

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use self::{
    args::{Cli, Command},
    context::Context,
    dirs::Environment,
    error::{CliError, CliResult},
    output::Output,
};

pub mod apply;
pub mod args;
pub mod attach;
pub mod cancel;
pub mod cleanup;
pub mod client;
pub mod complete;
pub mod completion;
pub mod config;
pub mod context;
pub mod daemon;
pub mod delete;
pub mod describe;
pub mod detach;
pub mod dirs;
pub mod documents;
pub mod edit;
pub mod error;
pub mod events;
pub mod get;
pub mod hook;
pub mod hooks;
pub mod install;
pub mod kill;
pub mod logfile;
pub mod logs;
pub mod metrics;
pub mod offline;
pub mod outcome;
pub mod output;
pub mod overrides;
pub mod peek;
pub mod plain;
pub mod plan;
pub mod previous;
pub mod put;
pub mod restart;
pub mod resume;
pub mod run;
pub mod schema;
pub mod select;
pub mod send;
pub mod shipped;
pub mod specfiles;
pub mod start;
pub mod status;
pub mod steer;
pub mod stop;
pub mod suspend;
pub mod text;
pub mod top;
pub mod touch;
pub mod uninstall;
pub mod validate;
pub mod wait;
pub mod watch;

/// Runs the command line of this process, `arguments[0]` included.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    if let Some(code) = complete(&arguments) {
        return code;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            error::print_usage(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut context =
        Context { places: cli.places, environment: Environment::of_process(), out: Output::of_process() };
    let done = dispatch(&cli.command, &mut context).and_then(|code| context.out.flush().map(|()| code));
    match done {
        Ok(code) => code,
        Err(error) => {
            context.out.error(&error);
            error.exit_code()
        }
    }
}

/// Answers a shell's script that asks for completions; `None`: this is no such call.
fn complete(arguments: &[OsString]) -> Option<ExitCode> {
    let here = std::env::current_dir().ok();
    match CompleteEnv::with_factory(Cli::command)
        .var(completion::VARIABLE)
        .try_complete(arguments, here.as_deref())
    {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(error) => {
            error::print_usage(&error);
            Some(ExitCode::FAILURE)
        }
    }
}

fn dispatch(command: &Command, context: &mut Context) -> CliResult<ExitCode> {
    let done: Result<(), CliError> = match command {
        Command::Daemon(args) => return daemon::run(args, context),
        Command::Get(args) => get::run(args, context),
        Command::Describe(args) => describe::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Attach(args) => return attach::run(args, context),
        Command::Detach(args) => detach::run(args, context),
        Command::Peek(args) => peek::run(args, context),
        Command::Send(args) => send::run(args, context),
        Command::Put(args) => put::run(args, context),
        Command::Override(args) => overrides::run(args, context),
        Command::Start(args) => start::run(args, context),
        Command::Stop(args) => stop::run(args, context),
        Command::Restart(args) => restart::run(args, context),
        Command::Kill(args) => kill::run(args, context),
        Command::Suspend(args) => suspend::run(args, context),
        Command::Resume(args) => resume::run(args, context),
        Command::Wait(args) => wait::run(args, context),
        Command::Run(args) => return run::run(args, context),
        Command::Apply(args) => apply::run(args, context),
        Command::Edit(args) => edit::run(args, context),
        Command::Delete(args) => delete::run(args, context),
        Command::Plan(args) => plan::run(args, context),
        Command::Validate(args) => validate::run(args, context),
        Command::Schema(args) => schema::run(args, context),
        Command::Config(args) => config::run(args, context),
        Command::Events(args) => events::run(args, context),
        Command::Status(args) => status::run(args, context),
        Command::Metrics(args) => metrics::run(args, context),
        Command::Top(args) => return top::run(args, context),
        Command::Touch(args) => touch::run(args, context),
        Command::Cancel(args) => cancel::run(args, context),
        Command::Hook(args) => return Ok(hook::run(args, context)),
        Command::Cleanup(args) => cleanup::run(args, context),
        Command::Completion(args) => completion::run(args, context),
        Command::Hooks(args) => hooks::run(args, context),
        Command::Install(args) => install::run(args, context),
        Command::Uninstall(args) => uninstall::run(args, context),
    };
    done.map(|()| ExitCode::SUCCESS)
}
