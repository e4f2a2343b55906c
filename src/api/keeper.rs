//! What daemon and clients say to a keeper.
//!
//! Over `attach.sock`: frames of a big-endian `u32` length (of what follows: kind and payload), one kind byte
//! and the payload. The keeper begins with [`Hello`]; a peer that cannot speak its version closes. A request
//! is a [`FrameKind::Request`] with the JSON of a [`Request`], answered by one [`FrameKind::Reply`] with the
//! JSON of a [`Reply`]. Kinds from 16 on are kept for attached terminals.
//!
//! Over the start pipe (standard output of `atm keeper`): one line of JSON, a [`StartReport`].

use serde::{Deserialize, Serialize};

use super::{
    cause::Cause,
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
}

impl FrameKind {
    /// The kind with this byte, if it is known.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Hello, Self::Request, Self::Reply].into_iter().find(|kind| *kind as u8 == byte)
    }
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
    /// Take over what changed live in the spec (grace, signal).
    #[serde(rename_all = "camelCase")]
    Update {
        /// Generation of the new spec.
        generation: u64,
        /// The launch digest as recorded stays; this is the digest that the new spec has.
        launch: Digest,
        /// The new effective spec.
        spec: Box<SessionSpec>,
    },
    /// Are you there?
    Ping,
}

/// The keeper's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "result")]
pub enum Reply {
    /// Done, or under way.
    Ok,
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
        /// When it was made.
        started: Moment,
    },
    /// It was not; the keeper ends.
    Failed {
        /// Why.
        error: StartError,
    },
}
