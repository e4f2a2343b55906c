//! What people write and programs say.

use std::{fmt::Display, path::Path, str::FromStr};

use super::{Broken, fit_for_people, promise, round_trip, text};
use crate::api::{
    activity,
    attach::{Attach, Attached, Detached, Ended, WindowSize},
    config::{Config, Machine},
    diagnose::Diagnostics,
    git,
    keeper::{self, FrameKind, Hello, Reply, Request, StartReport},
    kept::KeptRun,
    keys::Key,
    log_index::{self, LENGTH},
    name::{RunId, SessionName},
    overrides::{Overrides, Patch, RunOverrides},
    quantity::{Dur, Limit, Size},
    record::{ExitRecord, Intent, Record},
    rules::{FixedPath, UserName, Word},
    spec::{StopSignal, WrittenSpec},
    status::SessionView,
    time::BootId,
    upload, yaml,
};

/// Longest text with everything that is wrong with a file.
const LONGEST_RENDERED: usize = 16 << 10;

fn of_mistakes(what: &str, wrong: &Diagnostics) -> Result<(), Broken> {
    promise!(!wrong.0.is_empty() && wrong.0.len() <= 10, "{what}: {} mistakes are told", wrong.0.len());
    let rendered = wrong.render();
    let acts = |c: char| c.is_control() && c != '\n';
    promise!(!rendered.contains(acts), "{what}: a control character in {rendered:?}");
    promise!(rendered.len() <= LONGEST_RENDERED, "{what}: {} bytes of mistakes", rendered.len());
    for problem in &wrong.0 {
        promise!(!problem.message.is_empty(), "{what}: a mistake without a word");
        fit_for_people(what, &problem.message, 4 << 10)?;
    }
    Ok(())
}

/// A session's file.
pub(super) fn spec(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let file = Path::new("web.yaml");
    let spec = match WrittenSpec::parse_bytes(bytes, file) {
        Ok(spec) => spec,
        Err(wrong) => return of_mistakes("spec", &wrong),
    };
    promise!(bytes.len() <= yaml::MAX_BYTES, "a spec of {} bytes is taken", bytes.len());
    let written = yaml::write(&spec)?;
    // Written out, it may be longer than what is read: every control character in it takes several.
    if written.len() <= yaml::MAX_BYTES {
        let again = WrittenSpec::parse(&written, file)
            .map_err(|wrong| format!("what was written is refused: {}: {written}", wrong.render()))?;
        promise!(again == spec, "a spec is another one when it is read again: {written}");
        promise!(again.digest() == spec.digest(), "the same spec has two digests: {written}");
    }
    let name = SessionName::new("web").map_err(|error| error.to_string())?;
    let _ = spec.resolve(&name, &Config::defaults(MACHINE));
    Ok(())
}

const MACHINE: Machine = Machine { memory: 24 << 30 };

/// The config.
pub(super) fn config(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let config = match Config::parse_bytes(bytes, Path::new("atm.yaml"), MACHINE) {
        Ok(config) => config,
        Err(wrong) => return of_mistakes("config", &wrong),
    };
    promise!(bytes.len() <= yaml::MAX_BYTES, "a config of {} bytes is taken", bytes.len());
    promise!(config.clients.buffer > 0, "a watcher has no room: {config:?}");
    promise!(
        config.http.address().is_none_or(|http| http.ip().is_loopback()),
        "it listens to others: {config:?}"
    );
    let json = serde_json::to_vec(&config).map_err(|error| error.to_string())?;
    round_trip::<Config>(&json).map(|_| ())
}

/// A change of overrides.
pub(super) fn overrides(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    if let Some(of_run) = round_trip::<RunOverrides>(bytes)? {
        let _ = of_run.overrides.is_empty();
    }
    let Ok(keys) = serde_json::from_slice(bytes) else { return Ok(()) };
    match Patch::parse(keys) {
        Ok(patch) => {
            let with = Overrides::default().with(patch);
            let json = serde_json::to_vec(&with).map_err(|error| error.to_string())?;
            round_trip::<Overrides>(&json).map(|_| ())
        }
        Err(error) => fit_for_people("overrides", &error.to_string(), LONGEST_RENDERED),
    }
}

/// A word that means the same once it was shown and read again.
fn word<T>(given: &str) -> Result<(), Broken>
where
    T: FromStr<Err: Display> + Display + PartialEq + std::fmt::Debug,
{
    let Ok(value) = given.parse::<T>() else { return Ok(()) };
    let shown = value.to_string();
    match shown.parse::<T>() {
        Ok(again) if again == value => Ok(()),
        Ok(again) => Err(format!("{given:?} is {value:?}, and {again:?} when it was shown as {shown:?}")),
        Err(error) => Err(format!("{given:?} is {value:?}, and refused when it was shown: {error}")),
    }
}

/// Whatever is one word: a duration, a size, a key, a name.
pub(super) fn words(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let given = &*text(bytes);
    word::<Dur>(given)?;
    word::<Size>(given)?;
    word::<Limit<Dur>>(given)?;
    word::<Limit<Size>>(given)?;
    word::<Key>(given)?;
    word::<SessionName>(given)?;
    word::<RunId>(given)?;
    if let Ok(key) = given.parse::<Key>() {
        for application in [false, true] {
            let typed = key.bytes(application);
            promise!((1..=16).contains(&typed.len()), "{given:?} types {typed:?}");
        }
    }
    if let Ok(name) = given.parse::<SessionName>() {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let begins = name.as_str().starts_with(|c: char| c.is_ascii_alphanumeric());
        promise!(begins && name.as_str().chars().all(plain), "{given:?} is a name");
        promise!(name.as_str().len() <= 63, "{given:?} is a name");
    }
    if let Ok(StopSignal(number)) = given.parse::<StopSignal>() {
        promise!((1..=64).contains(&number), "{given:?} is the signal {number}");
    }
    if let Some(file) = upload::file_name(&"a".repeat(64), given) {
        promise!(!file.contains('/') && file.len() <= 255, "an upload called {file:?}");
        fit_for_people("an upload", &file, 255)?;
    }
    // That there is no NUL in it, is asked where a value is read.
    let taken = [
        given.parse::<Word>().map(|word| word.0),
        given.parse::<UserName>().map(|user| user.0),
        given.parse::<FixedPath>().map(|path| path.0),
    ];
    for taken in taken.into_iter().flatten() {
        promise!(!taken.is_empty(), "{given:?} is a word of a spec");
    }
    Ok(())
}

/// What daemon, clients and attached terminals say to a keeper, and it to them.
pub(super) fn frames(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let mut rest = bytes;
    while let Ok(Some((frame, taken))) = keeper::decode(rest) {
        promise!(taken <= rest.len() && taken == frame.payload.len() + 5, "a frame of {taken} bytes");
        promise!(taken <= keeper::MAX_FRAME as usize + 4, "a frame of {taken} bytes is taken");
        let whole = rest.get(..taken).unwrap_or_default();
        let half = rest.get(..taken - 1).unwrap_or_default();
        promise!(matches!(keeper::decode(half), Ok(None)), "a frame is taken before it is all there");
        if let Some(kind) = FrameKind::from_byte(frame.kind) {
            let again = keeper::encode(kind, frame.payload).map_err(|error| error.to_string())?;
            promise!(again == whole, "a frame is another one when it is written again");
        }
        said(frame.payload)?;
        rest = rest.get(taken..).unwrap_or_default();
    }
    // The same words stand on a line, in the start pipe.
    said(bytes)
}

fn said(json: &[u8]) -> Result<(), Broken> {
    round_trip::<Hello>(json)?;
    round_trip::<Request>(json)?;
    round_trip::<Reply>(json)?;
    round_trip::<StartReport>(json)?;
    round_trip::<Attach>(json)?;
    round_trip::<Attached>(json)?;
    round_trip::<Ended>(json)?;
    let _ = serde_json::from_slice::<Detached>(json); // one word of it stands for all that are not known
    if let Some(size) = round_trip::<WindowSize>(json)? {
        let WindowSize { columns, rows, .. } = size.clamped();
        promise!((2..=1000).contains(&columns) && (1..=1000).contains(&rows), "{columns} by {rows} cells");
    }
    Ok(())
}

/// The activity page.
pub(super) fn activity(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let boot = BootId("7d1c3b6e-0d2f-4b0a-9c55-1f3a2b4c5d6e".to_owned());
    // A page of this boot too: by chance it is never one.
    let mut ours = bytes.to_vec();
    let words = [activity::MAGIC, activity::ACTIVITY_VERSION].into_iter().chain(activity::boot_words(&boot));
    let head: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    if let Some(begin) = ours.get_mut(..head.len()) {
        begin.copy_from_slice(&head);
    }
    for page in [bytes, &ours] {
        let Ok(read) = activity::read(page, &boot) else { continue };
        let Some(left) = read.left else { continue };
        promise!(left.quiet_since <= left.at && left.at <= left.due, "out of order: {left:?}");
        let from = activity::word::LEFT * 8;
        let words: Vec<u8> = left.words().into_iter().flat_map(u64::to_le_bytes).collect();
        let there = page.get(from..from + words.len()).unwrap_or_default();
        promise!(there == words, "what was left is written otherwise than it was read: {left:?}");
    }
    Ok(())
}

/// Records of an index of output.
pub(super) fn log_records(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    for piece in bytes.as_chunks::<LENGTH>().0 {
        if let Some(header) = log_index::Header::decode(piece) {
            promise!(header.encode() == *piece, "a header is another one when it is written again");
        }
        if let Some(record) = log_index::Record::decode(piece) {
            promise!(record.encode() == *piece, "{record:?} is another one when it is written again");
        }
    }
    Ok(())
}

/// Files of git, one after the other.
pub(super) fn git(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    const MOST: usize = 250;
    for file in bytes.split(|byte| *byte == 0xff).chain([bytes]) {
        if let Some(git::Head::At(name)) = git::head(file) {
            fit_for_people("a branch", &name, MOST)?;
            promise!(!name.is_empty() && !name.contains("..") && !name.contains(' '), "a branch {name:?}");
        }
        if let Some(name) = git::name_in_config(file) {
            fit_for_people("a repository", &name, MOST)?;
            promise!(!name.contains(['/', '@', '\\']) && name != "..", "a repository {name:?}");
        }
        for path in [git::link(file), git::common(file)].into_iter().flatten() {
            promise!(!path.is_empty() && !path.contains(['\0', '\n']), "a path {path:?}");
        }
    }
    Ok(())
}

/// What keepers leave for the daemon, and the daemon for its clients.
pub(super) fn records(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    round_trip::<Intent>(bytes)?;
    round_trip::<Record>(bytes)?;
    round_trip::<KeptRun>(bytes)?;
    round_trip::<SessionView>(bytes)?;
    if let Some(ExitRecord { start_error: Some(error), .. }) = round_trip::<ExitRecord>(bytes)? {
        let _ = error.to_string();
    }
    Ok(())
}
