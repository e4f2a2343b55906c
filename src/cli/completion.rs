//! `atm completion`: what a shell needs to complete commands, flags and session names.
//!
//! The script calls `atm` back for each completion, so that names are those of the moment.

use clap_complete::env::Shells;

use super::{
    context::Context,
    error::{CliError, CliResult, Kind},
};

/// Set by the script when it calls back: says for which shell.
pub const VARIABLE: &str = "COMPLETE";

const AFTER: &str = "\
Examples:
  bash:  echo 'source <(atm completion bash)' >> ~/.bashrc
  zsh:   echo 'source <(atm completion zsh)' >> ~/.zshrc
  fish:  atm completion fish > ~/.config/fish/completions/atm.fish";

/// Arguments of `atm completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

/// Prints the script.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    context.out.bytes(&script(&args.shell)?)
}

/// The script for `shell`.
pub fn script(shell: &str) -> CliResult<Vec<u8>> {
    let shells = Shells::builtins();
    let completer = shells
        .completer(shell)
        .ok_or_else(|| CliError::new(Kind::Usage, format!("no completions for `{shell}`")))?;
    let mut script = Vec::new();
    // By name, not by path: an upgrade may put the program elsewhere.
    completer
        .write_registration(VARIABLE, "atm", "atm", "atm", &mut script)
        .map_err(|error| CliError::io("cannot write the script", &error))?;
    Ok(script)
}
