//! The command line's grammar.

use clap::{Parser, Subcommand};

use super::{
    apply, attach, cancel, cleanup, completion, config, daemon, delete, describe, detach, dirs::Places, edit,
    events, get, hook, hooks, install, kill, logs, metrics, overrides, peek, plan, put, restart, resume, run,
    schema, send, start, status, stop, suspend, top, touch, uninstall, validate, wait,
};

const AFTER: &str = "\
Drop a YAML file into the sessions directory to start a session; remove it to end it:
  echo 'command: [claude]' > ~/.config/atm/sessions.d/fix-login.yaml

Exit status: 0 done; 1 failed; 2 usage; 3 no such session; 4 invalid spec or config;
69 daemon not reachable; 75 a limit, or another daemon.";

/// Keeps AI agent sessions running: declared in YAML files, within budgets, never lost.
#[derive(Debug, Parser)]
#[command(name = "atm", version, after_help = AFTER, max_term_width = 100)]
pub struct Cli {
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs, one file each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground; systemd runs the same
    Daemon(daemon::Args),
    /// List sessions
    #[command(visible_alias = "ls", alias = "list", visible_alias = "ps")]
    Get(get::Args),
    /// Tell everything about one session, and why it is not running
    Describe(describe::Args),
    /// Print a session's output, also while the daemon is down
    Logs(logs::Args),
    /// Attach this terminal to a session
    Attach(attach::Args),
    /// Detach all terminals from sessions
    Detach(detach::Args),
    /// Show a session's screen as text
    Peek(peek::Args),
    /// Type text and keys into a session
    Send(send::Args),
    /// Give a session files
    Put(put::Args),
    /// Change limits or the model of a session's run while it lives
    Override(overrides::Args),
    /// Start sessions that are stopped, evicted or waiting
    Start(start::Args),
    /// Stop sessions until they are started again, also while the daemon is down
    Stop(stop::Args),
    /// Stop and start sessions
    Restart(restart::Args),
    /// End sessions with SIGKILL now, or send them a signal
    Kill(kill::Args),
    /// Keep sessions from running until they are resumed
    Suspend(suspend::Args),
    /// Lift a suspension
    Resume(resume::Args),
    /// Interrupt what the agents of sessions are doing
    Cancel(cancel::Args),
    /// Wait until sessions are in a phase
    Wait(wait::Args),
    /// Run a command as a session, without writing YAML
    Run(run::Args),
    /// Put spec files into force
    Apply(apply::Args),
    /// Edit a session's spec
    Edit(edit::Args),
    /// Remove sessions with their spec files
    Delete(delete::Args),
    /// Show what the daemon would do now, and why
    Plan(plan::Args),
    /// Check spec files and the config
    Validate(validate::Args),
    /// Print the JSON Schema of specs or of the config
    Schema(schema::Args),
    /// Print the config in force
    Config(config::Args),
    /// Tell what happened
    Events(events::Args),
    /// Tell how the daemon is
    Status(status::Args),
    /// Print the daemon's numbers for Prometheus
    Metrics(metrics::Args),
    /// Watch what sessions do and use, as it changes
    Top(top::Args),
    /// Tell that a session lives, and what it is doing
    Touch(touch::Args),
    /// Tell what an agent is doing: the command of its hooks
    Hook(hook::Args),
    /// Evict now what is over its budget
    Cleanup(cleanup::Args),
    /// Have agents that you start by hand report to atm
    Hooks(hooks::Args),
    /// Print the completions for a shell
    Completion(completion::Args),
    /// Put the program, its units, config and manual into place, and start it
    Install(install::Args),
    /// Take away what `atm install` put into place
    Uninstall(uninstall::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_about_places_stand_anywhere() {
        for line in
            ["atm --runtime-dir /r stop a", "atm stop a --runtime-dir /r", "atm stop --runtime-dir=/r a"]
        {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.places.runtime_dir.as_deref(), Some(std::path::Path::new("/r")), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "atm",
            "atm stop",
            "atm stop a --all",
            "atm stop -l x=y a",
            "atm stop Bad/Name",
            "atm start -l =",
            "atm kill -s NOPE a",
            "atm get -o sideways",
            "atm logs",
            "atm logs a --raw --plain",
            "atm wait a",
            "atm run",
            "atm --user --system get",
            "atm run --attach --no-terminal -- sh",
            "atm attach",
            "atm attach a --detach-key x",
            "atm send a",
            "atm send a --key nothing",
            "atm top -n 0",
            "atm top -d 0",
            "atm top -d x",
            "atm top -s size",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
