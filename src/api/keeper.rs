//! What daemon and clients say to a keeper.
//!
//! Over `attach.sock`: frames of a big-endian `u32` length (of what follows: kind and payload), one kind byte
//! and the payload. The keeper begins with [`Hello`]; a peer that cannot speak its version closes. A request
//! is a [`FrameKind::Request`] with the JSON of a [`Request`], answered by one [`FrameKind::Reply`] with the
//! JSON of a [`Reply`]. Kinds from 16 on belong to attached terminals: [`super::attach`].
//!
//! A request that a keeper does not know, such as one of a newer program, it refuses in words. What it can beyond
//! this version, it tells in its [`Hello`].
//!
//! Over the start pipe (standard output of `atm keeper`): one line of JSON, a [`StartReport`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    attach::{ScreenView, Typed},
    cause::Cause,
    config::Logs,
    keys::Key,
    name::{RunId, SessionName},
    record::{ProcessId, StartError},
    spec::{Digest, SessionSpec},
    time::Moment,
};

/// Version of the protocol on `attach.sock` that this program speaks.
pub const KEEPER_PROTOCOL: u32 = 1;

/// Longest frame that is read.
pub const MAX_FRAME: u32 = 1 << 20;

/// The kind byte of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Keeper → peer, first: [`Hello`].
    Hello = 1,
    /// Peer → keeper: [`Request`].
    Request = 2,
    /// Keeper → peer: [`Reply`].
    Reply = 3,
    /// Peer → keeper: [`Attach`](super::attach::Attach). From here on the connection is an attached terminal.
    Attach = 16,
    /// Keeper → client: [`Attached`](super::attach::Attached).
    Attached = 17,
    /// Keeper → client: bytes that draw the screen anew.
    Screen = 18,
    /// Keeper → client: bytes to be shown.
    Output = 19,
    /// Client → keeper: bytes to be typed.
    Input = 20,
    /// Client → keeper: [`WindowSize`](super::attach::WindowSize).
    Resize = 21,
    /// Keeper → client, last: [`Detached`](super::attach::Detached).
    Detached = 22,
    /// Keeper → client, last: [`Ended`](super::attach::Ended).
    Ended = 23,
}

impl FrameKind {
    /// The kind with this byte, if it is known.
    pub fn from_byte(byte: u8) -> Option<Self> {
        use FrameKind::{
            Attach, Attached, Detached, Ended, Hello, Input, Output, Reply, Request, Resize, Screen,
        };
        let all = [Hello, Request, Reply, Attach, Attached, Screen, Output, Input, Resize, Detached, Ended];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame as it is in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The kind byte; see [`FrameKind::from_byte`].
    pub kind: u8,
    /// What follows it.
    pub payload: &'a [u8],
}

/// Why bytes are no frame. What follows them cannot be read either: the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is more than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than {MAX_FRAME}")]
    TooLong(u64),
    /// The length is zero, which leaves no room for the kind.
    #[error("a frame without a kind")]
    Empty,
}

/// One frame, as bytes to send.
pub fn encode(kind: FrameKind, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = payload.len() as u64 + 1;
    let short = u32::try_from(length).ok().filter(|length| *length <= MAX_FRAME);
    let short = short.ok_or(FrameError::TooLong(length))?;
    let mut bytes = Vec::with_capacity(payload.len() + 5);
    bytes.extend_from_slice(&short.to_be_bytes());
    bytes.push(kind as u8);
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// The frame at the start of `bytes` and how many bytes it takes; `None` while it is not all there.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*header);
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length.into()));
    }
    let length = length as usize;
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let (kind, payload) = body.split_first().ok_or(FrameError::Empty)?;
    Ok(Some((Frame { kind: *kind, payload }, 4 + length)))
}

/// The keeper's first words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`KEEPER_PROTOCOL`] of the keeper.
    pub protocol: u32,
    /// Version of the keeper's program.
    pub version: String,
    /// The session.
    pub name: SessionName,
    /// Its run.
    pub run_id: RunId,
    /// Pid of the keeper.
    pub keeper_pid: i32,
    /// Version of [`super::attach`] that it speaks; 0: an older keeper, or a session without a terminal.
    #[serde(default)]
    pub attach: u32,
}

/// What a peer may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "verb")]
pub enum Request {
    /// End the session: `signal`, and SIGKILL to what is left after `grace`. A second stop can only shorten.
    #[serde(rename_all = "camelCase")]
    Stop {
        /// Recorded before the first signal; the first cause stays.
        cause: Cause,
        /// Number of the first signal; absent: the run's own `stopSignal`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        signal: Option<i32>,
        /// In milliseconds; 0: SIGKILL at once; absent: the run's own grace.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        grace_millis: Option<u64>,
    },
    /// Send `signal` to every process of the session. No stop.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// Take over what changed live in the spec (grace, signal) and in the config.
    #[serde(rename_all = "camelCase")]
    Update {
        /// Generation of the new spec.
        generation: u64,
        /// The digest that the new spec has. The record keeps the one that the run was started with: where
        /// they differ, a restart is pending.
        launch: Digest,
        /// The new effective spec.
        spec: Box<SessionSpec>,
        /// The limits of the log files; absent, from an older daemon: as before.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        logs: Option<Logs>,
    },
    /// Detach all attached terminals.
    Detach,
    /// Show the screen as text.
    #[serde(rename_all = "camelCase")]
    Peek {
        /// At most so many lines that left the screen.
        history: u32,
        /// With colours.
        ansi: bool,
    },
    /// Type this. Answered when the program's terminal has taken all of it.
    #[serde(rename_all = "camelCase")]
    Type {
        /// In this order.
        typed: Vec<Typed>,
    },
    /// Interrupt what the program does, or do nothing: for a turn that may be over soon. Answered when it is done.
    #[serde(rename_all = "camelCase")]
    Interrupt {
        /// How.
        by: Interrupt,
        /// Nothing is done after this: what is meant may be over by then, and another turn in its place.
        not_after: Moment,
    },
    /// Are you there?
    Ping,
}

/// How a program is interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Interrupt {
    /// By a key that is typed.
    Key(Key),
    /// By a signal to the process group of the main process, as a terminal would send it.
    Signal(i32),
}

/// The keeper's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "result")]
pub enum Reply {
    /// Done, or under way.
    Ok,
    /// Not done, and not to be done any more: the time for it is over.
    Late,
    /// The screen.
    Screen(ScreenView),
    /// Not done.
    Refused {
        /// Why, for people.
        message: String,
    },
}

/// How a start went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum StartReport {
    /// The command was executed.
    #[serde(rename_all = "camelCase")]
    Running {
        /// The keeper.
        keeper: ProcessId,
        /// The session's main process.
        child: ProcessId,
        /// Whom it runs as.
        uid: u32,
        /// Where it was started; absent where that is no text.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        working_dir: Option<PathBuf>,
        /// When it was made.
        started: Moment,
    },
    /// It was not; the keeper ends.
    Failed {
        /// Why.
        error: StartError,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_read_back_from_any_piece_of_a_stream() {
        let mut stream = encode(FrameKind::Request, b"{}").unwrap();
        let first = stream.len();
        stream.extend(encode(FrameKind::Reply, b"").unwrap());
        for end in 0..first {
            assert_eq!(decode(&stream[..end]), Ok(None), "{end} bytes");
        }
        let (frame, taken) = decode(&stream).unwrap().unwrap();
        assert_eq!((frame.kind, frame.payload, taken), (FrameKind::Request as u8, &b"{}"[..], first));
        let (frame, taken) = decode(&stream[first..]).unwrap().unwrap();
        assert_eq!((frame.kind, frame.payload, taken), (FrameKind::Reply as u8, &b""[..], 5));
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_are_there() {
        assert_eq!(
            decode(&(MAX_FRAME + 1).to_be_bytes()),
            Err(FrameError::TooLong(u64::from(MAX_FRAME) + 1))
        );
        assert_eq!(decode(b"GET / HTTP/1.1"), Err(FrameError::TooLong(0x4745_5420)));
        assert_eq!(decode(&[0, 0, 0, 0]), Err(FrameError::Empty));
        encode(FrameKind::Reply, &vec![0; MAX_FRAME as usize]).unwrap_err();
        let longest = encode(FrameKind::Reply, &vec![0; MAX_FRAME as usize - 1]).unwrap();
        assert!(decode(&longest).unwrap().is_some());
    }

    #[test]
    fn an_update_of_an_older_daemon_leaves_the_logs_as_they_are() {
        let written: crate::api::spec::WrittenSpec =
            crate::api::spec::WrittenSpec::parse("command: [a]\n", std::path::Path::new("a.yaml")).unwrap();
        let config = crate::api::config::Config::defaults(crate::api::config::Machine { memory: 1 << 30 });
        let spec = Box::new(written.resolve(&SessionName::new("a").unwrap(), &config));
        let launch = written.launch_digest();
        let update = Request::Update { generation: 1, launch, spec, logs: Some(config.logs) };
        let mut json = serde_json::to_value(&update).unwrap();
        assert_eq!(serde_json::from_value::<Request>(json.clone()).unwrap(), update);
        json.as_object_mut().unwrap().remove("logs").unwrap();
        assert!(matches!(serde_json::from_value(json), Ok(Request::Update { logs: None, .. })));
    }

    proptest! {
        #[test]
        fn frames_come_back_whole_however_they_are_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..12),
            cuts in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let frames = payloads.iter().map(|payload| encode(FrameKind::Input, payload).unwrap());
            let stream: Vec<u8> = frames.flatten().collect();
            let (mut held, mut seen, mut rest) = (Vec::new(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                (held, rest) = ([held.as_slice(), piece].concat(), after);
                while let Some((frame, taken)) = decode(&held).unwrap() {
                    prop_assert_eq!(FrameKind::from_byte(frame.kind), Some(FrameKind::Input));
                    seen.push(frame.payload.to_vec());
                    held.drain(..taken);
                }
            }
            prop_assert_eq!(seen, payloads);
            prop_assert!(held.is_empty());
        }
    }
}
