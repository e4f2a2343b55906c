//! `atm logs`: a session's output, from its files: the daemon is not needed.

use std::{io, path::PathBuf, time::Duration};

use super::{
    client, complete,
    context::{Context, get_one},
    error::{CliError, CliResult, Kind},
    logfile::{Follower, Found, LogFiles},
    offline::read_record,
    plain::Plain,
};
use crate::{api::name::SessionName, host::client as host};

const AFTER: &str = "\
On a terminal the output is plain text; in a pipe every byte comes as it was written.
Times are not kept beside the output: `atm events NAME` tells when runs began and ended.

Examples:
  atm logs fix-login -n 100
  atm logs fix-login -f
  atm logs fix-login --plain > fix-login.txt";

/// For a daemon to say where the files are: they are found without it too.
const ASIDE: Duration = Duration::from_millis(500);

/// Arguments of `atm logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Name of a session
    #[arg(value_name = "NAME", add = complete::sessions())]
    name: SessionName,
    /// Go on with what comes, through rotation and new runs
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines [default: all that is kept]
    #[arg(short = 'n', long = "lines", value_name = "COUNT")]
    lines: Option<u64>,
    /// Every byte as it was written, also to a terminal
    #[arg(long, conflicts_with = "plain")]
    raw: bool,
    /// Escape sequences removed and control characters made visible, also in a pipe
    #[arg(long)]
    plain: bool,
}

/// Ends well when the output was read; with `-f` it ends by a signal, or when nobody reads it any more.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let files = LogFiles::at(locate(&args.name, context)?);
    let mut filter = (args.plain || (context.out.is_terminal() && !args.raw)).then(Plain::default);
    let kept = files.kept()?;
    let follower = kept.print(&files, args.lines, |bytes| write(context, &mut filter, bytes))?;
    if args.follow { follow(context, follower, &mut filter) } else { Ok(()) }
}

fn write(context: &mut Context, filter: &mut Option<Plain>, bytes: &[u8]) -> CliResult {
    let Some(filter) = filter else {
        return context.out.bytes(bytes);
    };
    let mut text = String::with_capacity(bytes.len());
    filter.feed(bytes, &mut text);
    context.out.bytes(text.as_bytes())
}

fn follow(context: &mut Context, mut follower: Follower, filter: &mut Option<Plain>) -> CliResult {
    loop {
        match follower.step(|bytes| write(context, filter, bytes))? {
            Found::Bytes => {}
            Found::Gap => context.out.warn("output was rotated away before it could be read")?,
            Found::Nothing => {
                context.out.flush()?;
                // Else a quiet session would keep this process after its reader has gone.
                if host::is_unread(&io::stdout()) {
                    return Err(CliError::new(Kind::OutputClosed, ""));
                }
                follower.wait();
            }
        }
    }
}

/// The newest file of a session's output: as the daemon says, else as the keeper recorded, else by name.
fn locate(name: &SessionName, context: &mut Context) -> CliResult<PathBuf> {
    let file = |directory: &std::path::Path| directory.join(format!("{name}.log"));
    match client::connect_within(&context.places, &context.environment, ASIDE) {
        Ok(mut client) => {
            let by_name = file(&client.directories().log);
            let flag = context.places.log_dir.is_some();
            match get_one(&mut client, name) {
                Ok(Some(session)) => {
                    Ok(session.status.log_file.map(PathBuf::from).filter(|_| !flag).unwrap_or(by_name))
                }
                // The output of a session that is no more stays for a while.
                Ok(None) if by_name.exists() => Ok(by_name),
                Ok(None) => Err(context.no_such_session(&mut client, name)),
                Err(_) => Ok(by_name),
            }
        }
        Err(down) if down.kind == Kind::Unreachable => {
            for candidate in context.candidates()? {
                let runtime = &candidate.directories.runtime;
                let recorded = super::dirs::check_fallback(runtime, &context.environment)
                    .ok()
                    .and_then(|()| read_record(&runtime.join("sessions").join(name.as_str())))
                    .map(|record| record.intent.log_file);
                let places = recorded.into_iter().chain([file(&candidate.directories.log)]);
                if let Some(found) = places.into_iter().find(|path| path.exists()) {
                    return Ok(found);
                }
            }
            Err(CliError::new(
                Kind::NoSuchSession,
                format!("no output of `{name}` is kept; and {}", down.message),
            )
            .hint("say where it is with --log-dir, or start the daemon"))
        }
        Err(error) => Err(error),
    }
}
