//! `atm logs`: a session's output, from its files: the daemon is not needed.

use std::{io, path::PathBuf, str::FromStr, time::Duration};

use jiff::{civil, tz::TimeZone};

use super::{
    attach::reach::registered,
    client::{self, Client},
    complete,
    context::{Context, get_one},
    error::{CliError, CliResult, Kind},
    logfile::{End, Follower, Found, Item, LogFiles},
    offline::read_record,
    plain::Plain,
    previous,
};
use crate::{
    api::{
        control::Directories,
        kept::KeptRun,
        log_index::Gap,
        name::{RunId, SessionName},
        quantity::Dur,
        status::Origin,
        time::Timestamp,
    },
    host::{client as host, clock, errors::words},
};

const AFTER: &str = "\
On a terminal the output is plain text; in a pipe every byte comes as it was written.
A time is a duration (`10m`, `1h30m`: that long ago), RFC 3339 (`2026-02-03T14:05:06Z`), or on this machine's clock
`2026-02-03`, `2026-02-03 14:05` or today's `14:05`. Times are kept to the second.
Where output was lost, as on a full disk, a line says so: in plain text in its place, else on stderr.

Examples:
  atm logs fix-login -n 100
  atm logs fix-login -f --since 10m
  atm logs fix-login --previous
  atm logs fix-login --plain > fix-login.txt";

/// For a daemon to say where the files are: they are found without it too.
const ASIDE: Duration = Duration::from_millis(500);

/// Arguments of `atm logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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
    /// Only what came since then: a duration or a time
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only the run before the current or last one; of one that the log no longer has, the end that was kept
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Every byte as it was written, also to a terminal
    #[arg(long, conflicts_with = "plain")]
    raw: bool,
    /// Escape sequences removed and control characters made visible, also in a pipe
    #[arg(long)]
    plain: bool,
}

/// A point in time, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long before now.
    Ago(Dur),
    /// Then.
    At(Timestamp),
    /// Then, on this machine's clock.
    Local(civil::DateTime),
    /// Then, on this machine's clock, today.
    Today(civil::Time),
}

impl FromStr for Since {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = text.parse() {
            return Ok(Self::Ago(ago));
        }
        let at = text.parse().map(Self::At).or_else(|_| text.parse().map(Self::Local));
        let digit = text.starts_with(|c: char| c.is_ascii_digit());
        // By jiff's rules a bare `14:05` is no date, and `2026` no time.
        let at =
            at.or_else(|error| if text.contains(':') { text.parse().map(Self::Today) } else { Err(error) });
        at.ok().filter(|_| digit).ok_or_else(|| {
            "expected a duration such as `10m` or `1h30m`, or a time such as `2026-02-03T14:05:06Z`, \
             `2026-02-03 14:05` or `14:05`"
                .to_owned()
        })
    }
}

impl Since {
    /// Which point that is, where it is `now`.
    pub(crate) fn at(self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let local = |at: civil::DateTime| zone.to_timestamp(at).unwrap_or(Timestamp::MIN);
        match self {
            Self::Ago(ago) => now.checked_sub(ago.0).unwrap_or(Timestamp::MIN),
            Self::At(at) => at,
            Self::Local(at) => local(at),
            Self::Today(time) => local(now.to_zoned(zone.clone()).date().to_datetime(time)),
        }
    }
}

/// Ends well when the output was read; with `-f` it ends by a signal, or when nobody reads it any more.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut place = locate(&args.name, context)?;
    let files = LogFiles::at(&place.file);
    let plain = args.plain || (context.out.is_terminal() && !args.raw);
    let mut printer = Printer { filter: plain.then(Plain::default), inside_line: false };
    let mut kept = files.kept()?;
    let mut range = 0..kept.total();
    if args.previous {
        let Some(previous) = kept.previous_run() else {
            let name = &args.name;
            let run = place
                .run_id
                .and_then(|last| previous::output(place.client.as_mut(), &place.state, name, last));
            if let Some(run) = run {
                return print_kept(args, context, &run, plain);
            }
            return Err(CliError::failed(format!("no run of `{name}` before the last one is kept")).hint(
                format!("`atm logs {name}` has all that is kept; `atm events {name}` tells of its runs"),
            ));
        };
        range = previous.at;
        tell(context, &previous.notes)?;
    }
    if let Some(since) = args.since {
        let since = kept.since(since.at(clock::wall(), &TimeZone::system()));
        range.start = since.at.clamp(range.start, range.end);
        tell(context, &since.notes)?;
    }
    if let Some(lines) = args.lines {
        range.start = kept.tail(&files, range.clone(), lines)?;
    }
    let end = if args.follow { End::Followed } else { End::Last };
    kept.print(&files, &range, end, |item| printer.print(context, item))?;
    if args.follow { follow(context, kept.follow(&files)?, &mut printer) } else { Ok(()) }
}

/// What is kept of a run whose output the log does not have.
fn print_kept(args: &Args, context: &mut Context, run: &KeptRun, plain: bool) -> CliResult {
    let whole = if run.output_is_cut { "the end of its output" } else { "its output" };
    context
        .out
        .warn(&format!("the log has no run before the last one; {whole} was kept when it was stopped"))?;
    let since = args.since.map(|since| since.at(clock::wall(), &TimeZone::system()));
    if since.is_some_and(|since| run.exit.ended_at < since) {
        return Ok(());
    }
    let text = if plain { previous::shown(run) } else { run.output.clone() };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let wanted = args.lines.map_or(lines.len(), |lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let skipped = lines.len().saturating_sub(wanted);
    lines.iter().skip(skipped).try_for_each(|line| context.out.bytes(line.as_bytes()))
}

fn tell(context: &mut Context, notes: &[String]) -> CliResult {
    notes.iter().try_for_each(|note| context.out.warn(note))
}

/// Output on its way to whoever reads it.
struct Printer {
    /// Absent: every byte as it is.
    filter: Option<Plain>,
    /// The last that was printed was no line end.
    inside_line: bool,
}

impl Printer {
    fn print(&mut self, context: &mut Context, item: Item) -> CliResult {
        match (item, &mut self.filter) {
            (Item::Bytes(bytes), None) => context.out.bytes(bytes),
            (Item::Bytes(bytes), Some(filter)) => {
                let mut text = String::with_capacity(bytes.len());
                filter.feed(bytes, &mut text);
                self.inside_line = if text.is_empty() { self.inside_line } else { !text.ends_with('\n') };
                context.out.bytes(text.as_bytes())
            }
            (Item::Gap(gap), None) => context.out.warn(&gap_words(gap)),
            (Item::Gap(gap), Some(_)) => {
                let begin = if std::mem::take(&mut self.inside_line) { "\n" } else { "" };
                context.out.bytes(format!("{begin}[atm: {}]\n", gap_words(gap)).as_bytes())
            }
        }
    }
}

fn gap_words(gap: Gap) -> String {
    let mut reason = match gap.errno {
        0 => "they could not be written".to_owned(),
        errno => words(&io::Error::from_raw_os_error(errno)),
    };
    if let Some(first) = reason.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let bytes = if gap.bytes == 1 { "byte" } else { "bytes" };
    format!("{} {bytes} lost here: {reason}", gap.bytes)
}

fn follow(context: &mut Context, mut follower: Follower, printer: &mut Printer) -> CliResult {
    loop {
        match follower.step(|item| printer.print(context, item))? {
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

/// Where what a session printed is.
struct Located {
    /// The newest file.
    file: PathBuf,
    /// The current run or the last one, where that is known.
    run_id: Option<RunId>,
    /// The daemon, where it answers.
    client: Option<Client>,
    /// Its state directory.
    state: PathBuf,
}

/// As the daemon says, else as the keeper recorded, else by name.
fn locate(name: &SessionName, context: &mut Context) -> CliResult<Located> {
    let file = |directory: &std::path::Path| directory.join(format!("{name}.log"));
    match client::connect_within(&context.places, &context.environment, ASIDE) {
        Ok(mut client) => {
            let by_name = file(&client.directories().log);
            let state = client.directories().state.clone();
            let flag = context.places.log_dir.is_some();
            let (file, run_id) = match get_one(&mut client, name) {
                Ok(Some(session)) if session.origin == Origin::Registered => return Err(registered(name)),
                Ok(Some(session)) => {
                    let told = session.status.log_file.map(PathBuf::from).filter(|_| !flag);
                    (told.unwrap_or(by_name), session.run_id)
                }
                // The output of a session that is no more stays for a while.
                Ok(None) if by_name.exists() => (by_name, None),
                Ok(None) => return Err(context.no_such_session(&mut client, name)),
                Err(_) => (by_name, None),
            };
            Ok(Located { file, run_id, client: Some(client), state })
        }
        Err(down) if down.kind == Kind::Unreachable => {
            for candidate in context.candidates()? {
                let Directories { runtime, state, log, .. } = candidate.directories;
                let record = super::dirs::check_fallback(&runtime, &context.environment)
                    .ok()
                    .and_then(|()| read_record(&runtime.join("sessions").join(name.as_str())));
                let run_id = record.as_ref().map(|record| record.intent.run_id);
                let recorded = record.map(|record| record.intent.log_file);
                let places = recorded.into_iter().chain([file(&log)]);
                if let Some(found) = places.into_iter().find(|path| path.exists()) {
                    return Ok(Located { file: found, run_id, client: None, state });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = "2026-02-03T14:05:06Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (text, expected) in [
            ("10m", "2026-02-03T13:55:06Z"),
            ("1h30m", "2026-02-03T12:35:06Z"),
            ("2d", "2026-02-01T14:05:06Z"),
            ("2026-02-03T10:00:00Z", "2026-02-03T10:00:00Z"),
            ("2026-02-03T10:00:00.5+02:00", "2026-02-03T08:00:00.5Z"),
            ("2026-02-03 10:00:01", "2026-02-03T09:00:01Z"),
            ("2026-02-03 10:00", "2026-02-03T09:00:00Z"),
            ("2026-02-03T10:00", "2026-02-03T09:00:00Z"),
            ("2026-02-03", "2026-02-02T23:00:00Z"),
            ("10:00", "2026-02-03T09:00:00Z"),
            ("10:00:30", "2026-02-03T09:00:30Z"),
        ] {
            let at = text.parse::<Since>().map(|since| since.at(now, &zone));
            assert_eq!(at, Ok(expected.parse().unwrap()), "{text}");
        }
        for wrong in ["", "10", "2026", "yesterday", "10M", "25:00", "2026-13-01", "-1h", "T10:00"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_gap_is_told_in_lower_case() {
        let gap = Gap { bytes: 12345, errno: 28 };
        assert_eq!(gap_words(gap), "12345 bytes lost here: no space left on device");
    }
}
