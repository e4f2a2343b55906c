//! `atm delete`: removes sessions with their spec files.

use std::collections::BTreeSet;

use super::{
    client::after,
    complete,
    context::{Context, get, list},
    error::{CliError, CliResult, Kind},
    specfiles::{SpecFiles, remove, watch},
    watch::Change,
};
use crate::api::{
    name::SessionName,
    quantity::Dur,
    status::{Origin, SessionView},
};

const AFTER: &str = "\
The output stays for `logs.maxAge`.

Examples:
  atm delete fix-login
  atm delete build test --no-wait";

/// On top of the session's own grace: the daemon looks twice before it believes that a file is gone.
const AFTER_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// Arguments of `atm delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, visible_alias = "rm")]
pub struct Args {
    /// Names of sessions
    #[arg(required = true, value_name = "NAME", add = complete::sessions())]
    names: Vec<SessionName>,
    /// Do not wait until the sessions are gone
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// Wait at most this long [default: the session's grace and 60s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Dur>,
}

/// Ends well when every session is gone.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let names = super::select::distinct(&args.names);
    let mut specs = SpecFiles::find(context)?;
    let mut errors = Vec::new();
    let Some(mut client) = specs.client.take() else {
        context.out.note("daemon down: what runs will be ended when it is back")?;
        for name in &names {
            match specs.files_of(name).as_slice() {
                [] => errors.push(unknown(&specs, name)),
                files => {
                    for file in files {
                        remove(file)?;
                    }
                    context.out.line(&format!("{name} deleted"))?;
                }
            }
        }
        return CliError::gather(errors);
    };

    let (before, mut watch) = if args.no_wait {
        (get(&mut client, &names)?, None)
    } else {
        let (before, watch) = watch(&client, &names)?;
        (before, Some(watch))
    };
    let mut open: BTreeSet<SessionName> = BTreeSet::new();
    for name in &names {
        let known = before.iter().find(|session| session.name == *name);
        match (specs.files_of(name).as_slice(), known) {
            ([], None) => errors.push(context.no_such_session(&mut client, name)),
            ([], Some(session)) => errors.push(no_file(session)),
            (files, known) => {
                for file in files {
                    remove(file)?;
                }
                // A file that the daemon had not seen yet is gone with its removal.
                if known.is_some() && watch.is_some() {
                    open.insert(name.clone());
                } else {
                    context.out.line(&format!("{name} deleted"))?;
                }
            }
        }
    }
    if let Some(watch) = &mut watch {
        let grace = |session: &SessionView| session.spec.as_ref().map(|spec| spec.termination_grace_period.0);
        let longest = before.iter().filter_map(grace).max().unwrap_or_default();
        let limit = args.timeout.map_or_else(|| longest.saturating_add(AFTER_GRACE), |Dur(limit)| limit);
        let deadline = after(limit);
        context.out.flush()?;
        while !open.is_empty() {
            match watch.next(deadline)? {
                Some(Change::Gone(name)) if open.remove(&name) => {
                    context.out.line(&format!("{name} deleted"))?;
                    context.out.flush()?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let left = list(&mut client)?;
        for name in open {
            if left.iter().any(|session| session.name == name) {
                errors.push(
                    CliError::failed(format!(
                        "the file of `{name}` is removed; the session is not gone after {}",
                        Dur(limit)
                    ))
                    .hint(format!("see `atm describe {name}`; or end it now: `atm kill {name}`")),
                );
            } else {
                context.out.line(&format!("{name} deleted"))?;
            }
        }
    }
    CliError::gather(errors)
}

fn no_file(session: &SessionView) -> CliError {
    let name = &session.name;
    if session.origin == Origin::Registered {
        return CliError::failed(format!("`{name}` has no spec file: a person started it outside atm"))
            .hint(format!("if it is to end: `atm stop {name}`"));
    }
    let place = session
        .status
        .spec_file
        .as_ref()
        .map(|file| format!(" here; it was read from `{file}`"))
        .unwrap_or_default();
    CliError::failed(format!("`{name}` has no spec file{place}")).hint(format!(
        "if it is to end: `atm stop {name}`; if its file is gone: `atm cleanup --accept-removals`"
    ))
}

fn unknown(specs: &SpecFiles, name: &SessionName) -> CliError {
    CliError::new(
        Kind::NoSuchSession,
        format!("no session `{name}`: no such file in `{}`", specs.directory.display()),
    )
    .hint("say where with --sessions-dir, or start the daemon")
}
