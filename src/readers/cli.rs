//! What the command line is told by the daemon, by keepers, by files and by people.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    net::Shutdown,
    os::unix::{ffi::OsStringExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use jiff::tz::TimeZone;

use super::{Broken, cut, promise, text};
use crate::{
    agents,
    api::{
        attach::{Attach, WindowSize},
        control::{Directories, ListResult, Removed, Snapshot},
        event::Event,
        status::SessionView,
        time::Timestamp,
    },
    cli::{
        attach::{
            detach::{DetachKeys, Typing},
            link::{Link, Said},
        },
        client::Client,
        dirs::Candidate,
        error::CliError,
        hook,
        logfile::{End, Item, LogFiles},
        logs::Since,
        plain::Plain,
        select::Selector,
        text::escape,
    },
    host::{clock::monotonic, log_index, poll::Got},
    keeper::client::hear_hello,
};

#[expect(clippy::needless_pass_by_value, reason = "it is for `map_err`")]
fn failed(error: std::io::Error) -> Broken {
    format!("the test's own files: {error}")
}

/// Both ends of a connection; at the second one all of `bytes` was said, and no more is. What does not fit is not said.
fn said_by(bytes: &[u8]) -> Result<[UnixStream; 2], Broken> {
    let (ours, mut theirs) = UnixStream::pair().map_err(failed)?;
    theirs.set_nonblocking(true).map_err(failed)?;
    let _ = theirs.write_all(bytes);
    theirs.shutdown(Shutdown::Write).map_err(failed)?;
    Ok([ours, theirs])
}

/// All has been said by then.
const SOON: Duration = Duration::from_secs(5);

/// Answers and notifications of a daemon.
pub(super) fn answers(bytes: &[u8], scratch: &Path) -> Result<(), Broken> {
    let path = |name: &str| scratch.join(name);
    let candidate = Candidate {
        mode: None,
        socket: path("atm.sock"),
        directories: Directories {
            config: path("atm.yaml"),
            sessions: path("sessions.d"),
            runtime: path("run"),
            state: path("state"),
            log: path("log"),
        },
    };
    let greeting = br#"{"jsonrpc":"2.0","id":1,"result":{"protocol":1,"supported":{"min":1,"max":1},"version":"0.1.0","pid":1,"directories":{"config":"/c","sessions":"/s","runtime":"/r","state":"/t","log":"/l"}}}"#;
    // As it is, and behind a greeting that is as it should be.
    for before in [b"".as_slice(), &[greeting, b"\n".as_slice()].concat()] {
        let [stream, _theirs] = said_by(&[before, bytes].concat())?;
        let shown = |error| drop(CliError::from(error));
        let mut client = match Client::over(stream, candidate.clone(), SOON) {
            Ok(client) => client,
            Err(error) => {
                shown(error);
                continue;
            }
        };
        if let Err(error) = client.call::<ListResult>("list", &serde_json::json!({})) {
            shown(error);
        }
        // Each takes at least its line end, so there is an end to them.
        while let Ok(Some(told)) = client.notification(Some(SOON)) {
            let params = told.params;
            let _ = serde_json::from_value::<SessionView>(params.clone());
            let _ = serde_json::from_value::<Removed>(params.clone());
            let _ = serde_json::from_value::<Snapshot>(params.clone());
            let _ = serde_json::from_value::<Event>(params);
        }
    }
    Ok(())
}

/// What a keeper says to one who attaches.
pub(super) fn attached(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let attach = Attach { size: WindowSize::of_cells(80, 24), read_only: false, take: false, history: 0 };
    let [ours, _theirs] = said_by(bytes)?;
    let (directory, until) = (Path::new("/run/a"), monotonic().saturating_add(SOON));
    let greeted = hear_hello(Ok(ours), &directory.join("attach.sock"), until);
    let Some(mut link) = greeted.ok().and_then(|greeted| Link::over(greeted, directory, &attach).ok()) else {
        return Ok(());
    };
    let mut shown = 0;
    while matches!(link.fill(), Ok(Got::Bytes(_))) {
        while let Ok(Some(said)) = link.said() {
            match said {
                Said::Screen(bytes) | Said::Output(bytes) => shown += bytes.len(),
                Said::Attached(_) | Said::Detached(_) | Said::Ended(_) | Said::Other => {}
            }
        }
    }
    promise!(shown <= bytes.len(), "more is shown than was said");
    Ok(())
}

/// Output as plain text.
pub(super) fn plain(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let (mut whole, mut pieces) = (String::new(), String::new());
    Plain::default().feed(bytes, &mut whole);
    let mut filter = Plain::default();
    cut(bytes).for_each(|piece| filter.feed(piece, &mut pieces));
    promise!(whole == pieces, "it depends on how the output is cut");
    let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    promise!(!whole.contains(acts), "a control character comes through: {whole:?}");
    // Of a line that is escaped nothing has to be escaped again.
    promise!(whole.lines().all(|line| escape(&line.replace('\t', "")).len() <= line.len()), "{whole:?} acts");
    Ok(())
}

/// What is typed at an attached terminal.
pub(super) fn typing(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let key = "ctrl-]".parse().ok().and_then(|key| DetachKeys::new(&key)).unwrap_or(DetachKeys::none());
    let mut typing = Typing::new(key);
    let mut typed = Vec::new();
    let mut leaves = false;
    for read in cut(bytes) {
        let meant = typing.read(read);
        typed.extend(meant.typed);
        leaves |= meant.detach;
        if leaves {
            break;
        }
    }
    if !leaves {
        typed.extend(typing.pause().typed);
    }
    // In order, and nothing that nobody typed; only keys that mean something here are kept back.
    let mut rest = bytes.iter();
    promise!(typed.iter().all(|byte| rest.any(|other| other == byte)), "typed is {typed:?}");
    let meant = [b"\x1d".as_slice(), b"\x1c", b"u", b"~"];
    let is_plain = !meant.iter().any(|key| bytes.windows(key.len()).any(|window| window == *key));
    promise!(!is_plain || typed == bytes, "keys are lost: {typed:?}");
    Ok(())
}

/// Output with an index that anybody may have written.
pub(super) fn log(bytes: &[u8], scratch: &Path) -> Result<(), Broken> {
    let path = scratch.join("web.log");
    let output = b"one\ntwo\r\n\x1b[31mthree\nfour and more\n".repeat(8);
    fs::write(&path, &output).map_err(failed)?;
    // For this log, whatever its number is: by chance an index is for none.
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).map_err(failed)?);
    let header = crate::api::log_index::Header { inode }.encode();
    let index = [&header, bytes.get(..bytes.len() / 32 * 32).unwrap_or_default()].concat();
    for index in [bytes, &index] {
        fs::write(log_index::path_of(&path), index).map_err(failed)?;
        let files = LogFiles::at(&path);
        let kept = || files.kept().map_err(|error| format!("{error:?}"));
        let total = kept()?.total();
        let since = kept()?.since(Timestamp::UNIX_EPOCH);
        let lines = kept()?.tail(&files, 0..total, 3).map_err(|error| format!("{error:?}"))?;
        promise!(lines <= total, "the last lines begin at {lines} of {total}");
        let _ = (since, kept()?.lost());
        let mut read = Vec::new();
        let gaps = &mut 0;
        let sink = |item: Item<'_>| {
            match item {
                Item::Bytes(bytes) => read.extend_from_slice(bytes),
                Item::Gap(_) => *gaps += 1,
            }
            Ok(())
        };
        kept()?.print(&files, &(0..total), End::Last, sink).map_err(|error| format!("{error:?}"))?;
        promise!(read == output, "an index hides output: {} of {} bytes", read.len(), output.len());
        promise!(*gaps <= index.len() / 32, "{gaps} gaps in {} bytes", index.len());
    }
    Ok(())
}

/// Arguments of `atm hook`, a time, a condition on labels.
pub(super) fn arguments(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let words: Vec<OsString> = words.collect();
    if let Some(asked) = hook::read(&words) {
        let payload = asked.payload.map(|payload| agents::sift(payload.as_encoded_bytes(), true));
        promise!(payload.is_none_or(|payload| payload.len() <= bytes.len()), "more is told than was given");
    }
    let word = &*text(bytes);
    if let Ok(since) = word.parse::<Since>() {
        let at = since.at(Timestamp::UNIX_EPOCH, &TimeZone::UTC);
        promise!(at >= Timestamp::MIN, "{word:?} is never");
    }
    if let Err(error) = word.parse::<Selector>() {
        super::fit_for_people("a selector", &error.to_string(), 8 * word.len() + 200)?;
    }
    Ok(())
}
