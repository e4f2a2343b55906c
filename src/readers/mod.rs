//! Every reader of bytes that somebody else wrote, by name: for the tests that mutate a corpus and for the fuzzer, which
//! share this list. Nothing else uses it.
//!
//! A reader takes any bytes and says which promise was broken. That it does not panic, ends soon and takes memory in
//! proportion to its input is for the caller to see; what it gives has to be as small, as short and as readable again as
//! its users rely on, and that is asked here.

mod agents;
mod api;
mod cli;
mod daemon;
mod host;
mod keeper;

use std::path::Path;

/// A promise that was broken, in words.
pub type Broken = String;

/// One reader.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Reads these bytes. The directory is the caller's, for those that read files; what is in it is nobody's.
    pub read: fn(&[u8], &Path) -> Result<(), Broken>,
    /// Longest input that it is ever given: more is refused before it is read.
    pub longest: usize,
    /// Bytes of memory that it may hold at once for a byte of input, all that is asked here included.
    pub per_byte: usize,
    /// And however little it is given.
    pub base: usize,
}

/// What most hold however little they are given: a connection, a piece of a file, the words of a complaint.
const BASE: usize = 512 << 10;

/// All readers.
pub const READERS: &[Reader] = &[
    Reader { name: "spec", read: api::spec, longest: 64 << 10, per_byte: 600, base: BASE },
    Reader { name: "config", read: api::config, longest: 64 << 10, per_byte: 600, base: BASE },
    Reader { name: "overrides", read: api::overrides, longest: 64 << 10, per_byte: 600, base: BASE },
    Reader { name: "words", read: api::words, longest: 64 << 10, per_byte: 60, base: BASE },
    Reader { name: "frames", read: api::frames, longest: 1 << 20, per_byte: 200, base: BASE },
    Reader { name: "activity", read: api::activity, longest: 4096, per_byte: 10, base: BASE },
    Reader { name: "log-records", read: api::log_records, longest: 1 << 20, per_byte: 10, base: BASE },
    Reader { name: "git", read: api::git, longest: 64 << 10, per_byte: 20, base: BASE },
    Reader { name: "records", read: api::records, longest: 1 << 20, per_byte: 200, base: BASE },
    Reader { name: "hook", read: agents::hook, longest: 1 << 20, per_byte: 200, base: BASE },
    Reader { name: "settings", read: agents::settings, longest: 8 << 20, per_byte: 400, base: BASE },
    Reader { name: "proc", read: host::proc, longest: 64 << 10, per_byte: 60, base: BASE },
    Reader { name: "repository", read: host::repository, longest: 64 << 10, per_byte: 60, base: BASE },
    Reader { name: "questions", read: keeper::questions, longest: 1 << 20, per_byte: 100, base: BASE },
    Reader { name: "screen", read: keeper::screen, longest: 1 << 20, per_byte: 200, base: 24 << 20 },
    Reader { name: "environment", read: keeper::environment, longest: 64 << 10, per_byte: 200, base: BASE },
    Reader { name: "peer", read: keeper::peer, longest: 64 << 10, per_byte: 200, base: BASE },
    Reader { name: "request", read: daemon::request, longest: 1 << 20, per_byte: 200, base: BASE },
    Reader { name: "lines", read: daemon::lines, longest: 1 << 20, per_byte: 60, base: BASE },
    Reader { name: "state", read: daemon::state, longest: 1 << 20, per_byte: 200, base: BASE },
    Reader { name: "run-files", read: daemon::run_files, longest: 1 << 20, per_byte: 200, base: BASE },
    Reader { name: "events", read: daemon::events, longest: 1 << 20, per_byte: 100, base: BASE },
    Reader { name: "names", read: daemon::names, longest: 4096, per_byte: 60, base: BASE },
    Reader { name: "systemctl", read: daemon::systemctl, longest: 64 << 10, per_byte: 60, base: BASE },
    Reader { name: "http-host", read: daemon::http_host, longest: 16 << 10, per_byte: 10, base: BASE },
    Reader { name: "answers", read: cli::answers, longest: 128 << 10, per_byte: 300, base: BASE },
    Reader { name: "attached", read: cli::attached, longest: 128 << 10, per_byte: 200, base: BASE },
    Reader { name: "plain", read: cli::plain, longest: 1 << 20, per_byte: 60, base: BASE },
    Reader { name: "typing", read: cli::typing, longest: 64 << 10, per_byte: 60, base: BASE },
    Reader { name: "log", read: cli::log, longest: 1 << 20, per_byte: 20, base: BASE },
    Reader { name: "arguments", read: cli::arguments, longest: 64 << 10, per_byte: 200, base: BASE },
];

/// Breaks off with what is broken.
macro_rules! promise {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}
use promise;

/// The bytes as text, with whatever is none replaced.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// How a test cuts a stream into reads: by its own bytes, so that the same input is always cut alike.
fn cut(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let mut lengths = bytes.iter().rev().map(|byte| usize::from(byte % 23) + 1).cycle();
    std::iter::from_fn(move || {
        let length = lengths.next()?.min(rest.len());
        let (piece, after) = rest.split_at_checked(length).filter(|(piece, _)| !piece.is_empty())?;
        rest = after;
        Some(piece)
    })
}

/// Reads JSON, and promises that it is the same when it was written and read again.
fn round_trip<T>(bytes: &[u8]) -> Result<Option<T>, Broken>
where
    T: serde::Serialize + for<'de> serde::Deserialize<'de>,
{
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return Ok(None) };
    let kind = std::any::type_name::<T>();
    let written = serde_json::to_vec(&value).map_err(|error| format!("{kind} cannot be written: {error}"))?;
    let again: T = serde_json::from_slice(&written)
        .map_err(|error| format!("{kind} cannot be read again: {error}: {}", text(&written)))?;
    let second = serde_json::to_vec(&again).map_err(|error| error.to_string())?;
    promise!(written == second, "{kind} is another one when it is read again: {}", text(&written));
    Ok(Some(value))
}

/// Promises that a text is fit for one line of a terminal, and not longer than that many bytes.
fn fit_for_people(what: &str, shown: &str, most: usize) -> Result<(), Broken> {
    promise!(shown.len() <= most, "{what}: {} bytes for people, more than {most}", shown.len());
    promise!(!shown.contains(char::is_control), "{what}: a control character in {shown:?}");
    Ok(())
}
