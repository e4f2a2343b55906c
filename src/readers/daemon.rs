//! What clients ask the daemon, and what it finds at its start.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, ReadBuf};

use super::{Broken, cut, fit_for_people, promise, round_trip, text};
use crate::{
    api::{
        control::{
            CleanupParams, Directories, EventsParams, InitializeParams, KillParams, NameParams, NamesParams,
            OverrideParams, PreviousParams, TouchParams, UploadedParams,
        },
        hook::{CancelParams, HookParams},
        name::{InstanceId, SessionName},
        registered::{RegisterParams, UnregisterParams},
        send::SendParams,
        time::BootId,
    },
    daemon::{
        adopt::{Found, Here, classify_one},
        events::read_back,
        http, manager,
        memory::{Instance, LastConfig, Memory, STATE_VERSION},
        paths::Paths,
        server::{
            failure::Failure,
            lines::{Line, Lines},
            request::Request,
        },
        specs::names::{FileKey, FileName},
        state_files::read_versioned,
    },
};

/// Longest word to a client about what it did wrong.
const LONGEST_REFUSAL: usize = 16 << 10;

fn taken<T>(read: Result<T, Failure>) -> Result<(), Broken> {
    read.err().map_or(Ok(()), |refused| fit_for_people("a refusal", &refused.message, LONGEST_REFUSAL))
}

/// A line of a client.
pub(super) fn request(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    for line in bytes.split(|byte| *byte == b'\n').chain([bytes]) {
        let request = match Request::parse(line) {
            Ok(request) => request,
            Err((id, refused)) => {
                promise!(!id.is_array() && !id.is_object(), "an id {id}");
                fit_for_people("a refusal", &refused.message, LONGEST_REFUSAL)?;
                continue;
            }
        };
        // Whatever its method: what one takes, another has to refuse in words.
        taken(request.params::<InitializeParams>())?;
        taken(request.params::<NamesParams>())?;
        taken(request.params::<NameParams>())?;
        taken(request.params::<KillParams>())?;
        taken(request.params::<EventsParams>())?;
        taken(request.params::<CleanupParams>())?;
        taken(request.params::<TouchParams>())?;
        taken(request.params::<UploadedParams>())?;
        taken(request.params::<OverrideParams>())?;
        taken(request.params::<PreviousParams>())?;
        taken(request.params::<HookParams>())?;
        taken(request.params::<CancelParams>())?;
        taken(request.params::<SendParams>())?;
        taken(request.params::<UnregisterParams>())?;
        match request.params::<RegisterParams>() {
            Ok(params) => {
                params.fault().map_or(Ok(()), |fault| fit_for_people("a fault", &fault, LONGEST_REFUSAL))?;
            }
            refused @ Err(_) => taken(refused)?,
        }
    }
    Ok(())
}

/// A stream that gives what it has in the pieces that it was given.
struct Pieces<'a>(VecDeque<&'a [u8]>);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Some(piece) = self.0.pop_front() {
            let (now, later) = piece.split_at_checked(into.remaining()).unwrap_or((piece, &[]));
            into.put_slice(now);
            if !later.is_empty() {
                self.0.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The lines of a connection: pipelined, cut anywhere, too long.
pub(super) fn lines(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    const LIMIT: usize = 100;
    let mut lines = Lines::new(Pieces(cut(bytes).collect()), LIMIT);
    let mut expected = bytes.split_inclusive(|byte| *byte == b'\n');
    loop {
        while let Some(line) = lines.take() {
            let there = expected.next().unwrap_or_default();
            match line {
                Line::Whole(line) => {
                    promise!(there.strip_suffix(b"\n") == Some(&line), "another line: {line:?}");
                    promise!(line.len() <= LIMIT, "a line of {} bytes", line.len());
                }
                Line::TooLong => {
                    promise!(there.len() > LIMIT, "a line of {} bytes is too long", there.len());
                    return Ok(());
                }
            }
        }
        promise!(lines.held() <= LIMIT + 1 + (4 << 10), "{} bytes are held", lines.held());
        // There is always something to read, or the end.
        let read = pin!(lines.read_on()).poll(&mut Context::from_waker(Waker::noop()));
        match read {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => break,
            Poll::Ready(Err(error)) => return Err(error.to_string()),
            Poll::Pending => return Err("it waits for what is there".into()),
        }
    }
    promise!(expected.next().is_none_or(|rest| !rest.ends_with(b"\n")), "a line is lost");
    Ok(())
}

/// A file of the daemon's own state.
pub(super) fn state(bytes: &[u8], scratch: &Path) -> Result<(), Broken> {
    let boot = BootId("7d1c3b6e-0d2f-4b0a-9c55-1f3a2b4c5d6e".to_owned());
    if let Some(mut memory) = round_trip::<Memory>(bytes)? {
        let history = memory.recall(&boot);
        let before = memory.clone();
        memory.remember(&history, memory.will.into(), &boot);
        memory.not_before.clone_from(&before.not_before); // of another boot it is over
        promise!(memory == before, "what is recalled is remembered otherwise");
        let _ = memory.user();
        for upload in memory.uploads.iter().filter(|upload| upload.is_sound()) {
            let place = upload.directory.join(".atm/uploads");
            promise!(upload.path().parent() == Some(&place), "an upload elsewhere: {upload:?}");
        }
    }
    round_trip::<Instance>(bytes)?;
    round_trip::<LastConfig>(bytes)?;
    let directory = scratch.join("state");
    let _ = fs::remove_dir_all(&directory); // of the input before
    let path = directory.join("web.json");
    let failed = |error: std::io::Error| format!("the test's own files: {error}");
    fs::create_dir_all(&directory).and_then(|()| fs::write(&path, bytes)).map_err(failed)?;
    match read_versioned::<Memory>(&path, STATE_VERSION) {
        Ok(read) => promise!(read.is_some() && path.exists(), "a good file is not left where it is"),
        Err(damaged) => {
            let aside = fs::read(directory.join("web.json.corrupt-1")).map_err(failed)?;
            promise!(aside == bytes && !path.exists(), "a damaged file is not set aside");
            promise!(damaged.message.len() <= 4 << 10, "{} bytes about a file", damaged.message.len());
        }
    }
    Ok(())
}

/// The files of a run whose keeper is gone: each is these bytes, in turn.
pub(super) fn run_files(bytes: &[u8], scratch: &Path) -> Result<(), Broken> {
    let failed = |error: std::io::Error| format!("the test's own files: {error}");
    let name = SessionName::new("web").map_err(|error| error.to_string())?;
    let instance: InstanceId = OURS.parse().map_err(|error| format!("{error}"))?;
    let boot = BootId("7d1c3b6e-0d2f-4b0a-9c55-1f3a2b4c5d6e".to_owned());
    let here = Here { instance, boot, pid_namespace: 1 };
    let paths = Paths::new(
        Directories {
            config: scratch.join("atm.yaml"),
            sessions: scratch.join("sessions.d"),
            runtime: scratch.join("run"),
            state: scratch.join("state"),
            log: scratch.join("log"),
        },
        None,
    );
    let files = paths.run(&name);
    let places = [files.record(), files.exit(), files.intent()];
    for written in [0b001_u8, 0b010, 0b100, 0b011, 0b111] {
        let _ = fs::remove_dir_all(files.directory()); // of the input before
        fs::create_dir_all(files.directory()).map_err(failed)?;
        for (index, path) in places.iter().enumerate() {
            if written >> index & 1 == 1 {
                fs::write(path, bytes).map_err(failed)?;
            }
        }
        let mut damaged = Vec::new();
        match classify_one(&paths, &here, &name, &mut damaged) {
            // Nobody holds the lock.
            found @ (Found::Live { .. } | Found::Settling { .. } | Found::Foreign { .. }) => {
                return Err(format!("it lives without a keeper: {found:?}"));
            }
            Found::Lost { record } => promise!(record.intent.instance == instance, "another's run is ended"),
            Found::Ended { .. }
            | Found::NeverStarted
            | Found::Abandoned { .. }
            | Found::Interrupted { .. }
            | Found::Nothing => {}
        }
        for file in damaged {
            promise!(file.message.len() <= 4 << 10, "{} bytes about a file", file.message.len());
        }
    }
    Ok(())
}

const OURS: &str = "019aa5c1-7d2e-7a31-9c55-0e4f6a3b2d10";

/// The log of events.
pub(super) fn events(bytes: &[u8], scratch: &Path) -> Result<(), Broken> {
    let path = scratch.join("events.jsonl");
    fs::write(&path, bytes).map_err(|error| format!("the test's own files: {error}"))?;
    let read = read_back(&path);
    promise!(read.iter().zip(read.iter().skip(1)).all(|(one, next)| one.id < next.id), "out of order");
    promise!(read.len() <= 2000, "{} events are kept", read.len());
    Ok(())
}

/// Names in the directory of specs.
pub(super) fn names(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    for name in bytes.split(|byte| *byte == b'\n' || *byte == 0) {
        match FileName::of(OsStr::from_bytes(name)) {
            FileName::Spec(key) => {
                let same =
                    key.to_string().as_bytes() == name && FileKey::parse(&key.to_string()) == Some(key);
                promise!(same, "a spec by another name: {:?}", text(name));
            }
            FileName::Odd(why) => fit_for_people("a name", &why, 16 * name.len() + 200)?,
            FileName::Foreign => {}
        }
    }
    Ok(())
}

/// What `systemctl` prints.
pub(super) fn systemctl(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let printed = text(bytes);
    let stops = manager::has_stop_job(&printed, "atm.service");
    promise!(!stops || (printed.contains("atm.service") && printed.contains("stop")), "it stops: {printed}");
    for broken in manager::broken(&printed) {
        promise!(broken.len() <= 200, "{} bytes about a unit", broken.len());
    }
    Ok(())
}

/// Whom a request over HTTP is for.
pub(super) fn http_host(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let Ok(host) = HeaderValue::from_bytes(bytes) else { return Ok(()) };
    if http::is_this_machine(Some(&host)) {
        let lower = text(bytes).to_ascii_lowercase();
        // However a loopback address is written, it has one of these in it.
        let ours = ["localhost", "127.", "::", "0:0"].iter().any(|part| lower.contains(part));
        promise!(ours, "another machine is taken for this one: {lower:?}");
    }
    Ok(())
}
