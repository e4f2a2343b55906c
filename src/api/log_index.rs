//! The index beside each file of a session's output: when its bytes came, in which run, by which stream, and where
//! bytes are missing.
//!
//! `NAME.log.idx` belongs to `NAME.log`, `NAME.log.N.idx` to `NAME.log.N`. The log has the raw bytes and nothing
//! else; what is known of them is here. The index is a hint: no output is lost by its loss, and a reader that cannot
//! use it says so and shows more rather than less.
//!
//! A header of [`LENGTH`] bytes, then records of [`LENGTH`] bytes each; all numbers are little-endian.
//!
//! | bytes | of the header | of a record |
//! |---|---|---|
//! | 0 to 7 | [`MAGIC`] | offset in the log: what this says holds from that byte on |
//! | 8 to 15 | version (`u32`), [`LENGTH`] (`u32`) | wall time in nanoseconds since 1970 (`i64`) |
//! | 16 to 31 | inode of the log (`u64`), zero | by kind, see below |
//! | 32 to 35 | zero | kind (`u8`), zero |
//! | 36 to 39 | FNV-1a of the bytes before (`u32`) | the same |
//!
//! | kind | means | bytes 16 to 31 |
//! |---|---|---|
//! | 1 | a time: output went on | the run's id |
//! | 2 | a run began | the run's id |
//! | 3 | a run is over | the run's id |
//! | 4 | what follows came by another stream | 1: standard output, 2: standard error (`u64`), zero |
//! | 5 | bytes are missing here | how many (`u64`), the system's error number (`i32`), zero |
//!
//! Offsets and times never decrease from record to record, also where the wall clock was set back, so both can be
//! searched by halves. What was written more than [`INTERVAL`] after a record has a record of its own. A gap is
//! recorded before the bytes that follow it are written. The inode tells the index of a file that was moved or
//! made anew from that of another.

use std::time::Duration;

use super::{name::RunId, time::Timestamp};

/// Length of the header and of each record, in bytes.
pub const LENGTH: usize = 40;
/// The first bytes of an index.
pub const MAGIC: [u8; 8] = *b"atm.logi";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Output that goes on is given a new time after this.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The header, or one record, as it is in the file.
pub type Bytes = [u8; LENGTH];

/// Whose index it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Inode of the log.
    pub inode: u64,
}

/// One thing that is known of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// From which byte of the log on.
    pub offset: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: Kind,
}

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Output of this run went on.
    Time(RunId),
    /// A run began.
    RunStart(RunId),
    /// A run is over.
    RunEnd(RunId),
    /// What follows came by this stream.
    Stream(Stream),
    /// Bytes are missing.
    Gap(Gap),
}

/// The stream that output came by, where a session has two: on a terminal they are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Output that could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// How much of it.
    pub bytes: u64,
    /// The system's number of the error; 0: it gave none.
    pub errno: i32,
}

impl Header {
    /// As bytes.
    pub fn encode(self) -> Bytes {
        let versions = u64::from(VERSION) | (LENGTH as u64) << 32;
        seal(u64::from_le_bytes(MAGIC), versions, pair(self.inode, 0), 0)
    }

    /// From bytes; `None`: no header, a damaged one or one of another version.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let (_, _, payload, _) = open(bytes)?;
        let header = Self { inode: split(payload).0 };
        (header.encode() == *bytes).then_some(header)
    }
}

impl Record {
    /// As bytes.
    pub fn encode(self) -> Bytes {
        let (kind, payload) = match self.kind {
            Kind::Time(run) => (1, run.as_u128()),
            Kind::RunStart(run) => (2, run.as_u128()),
            Kind::RunEnd(run) => (3, run.as_u128()),
            Kind::Stream(Stream::Output) => (4, pair(1, 0)),
            Kind::Stream(Stream::Error) => (4, pair(2, 0)),
            Kind::Gap(gap) => (5, pair(gap.bytes, u64::from(gap.errno.cast_unsigned()))),
        };
        let at = i64::try_from(self.at.as_nanosecond()).unwrap_or(i64::MAX);
        seal(self.offset, at.cast_unsigned(), payload, kind)
    }

    /// From bytes; `None`: damaged, or of a kind that is not known.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let (offset, at, payload, kind) = open(bytes)?;
        let run = RunId::from_u128(payload);
        let (first, second) = split(payload);
        let kind = match (kind, first) {
            (1, _) => Kind::Time(run),
            (2, _) => Kind::RunStart(run),
            (3, _) => Kind::RunEnd(run),
            (4, 1) => Kind::Stream(Stream::Output),
            (4, 2) => Kind::Stream(Stream::Error),
            (5, bytes) => Kind::Gap(Gap { bytes, errno: u32::try_from(second).ok()?.cast_signed() }),
            _ => return None,
        };
        let at = Timestamp::from_nanosecond(at.cast_signed().into()).ok()?;
        let record = Self { offset, at, kind };
        // What nobody writes is damaged, whatever its checksum.
        (record.encode() == *bytes).then_some(record)
    }
}

/// Two numbers as what bytes 16 to 31 hold.
fn pair(first: u64, second: u64) -> u128 {
    u128::from(first) | u128::from(second) << 64
}

fn split(payload: u128) -> (u64, u64) {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    (half(payload), half(payload >> 64))
}

fn seal(first: u64, second: u64, payload: u128, kind: u8) -> Bytes {
    let mut bytes = [0; LENGTH];
    let parts = first.to_le_bytes().into_iter().chain(second.to_le_bytes()).chain(payload.to_le_bytes());
    for (to, from) in bytes.iter_mut().zip(parts.chain([kind])) {
        *to = from;
    }
    let sum = checksum(&bytes).to_le_bytes();
    for (to, from) in bytes.iter_mut().skip(SUMMED).zip(sum) {
        *to = from;
    }
    bytes
}

fn open(bytes: &Bytes) -> Option<(u64, u64, u128, u8)> {
    let (first, rest) = bytes.split_first_chunk()?;
    let (second, rest) = rest.split_first_chunk()?;
    let (payload, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first()?;
    let (_, sum) = bytes.split_last_chunk()?;
    let whole = u32::from_le_bytes(*sum) == checksum(bytes);
    whole.then(|| {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*second), u128::from_le_bytes(*payload), *kind)
    })
}

/// Bytes that the checksum is of.
const SUMMED: usize = LENGTH - 4;

/// FNV-1a, 32 bits: against what a crash or another program left, not against an adversary.
fn checksum(bytes: &Bytes) -> u32 {
    bytes
        .iter()
        .take(SUMMED)
        .fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        let run = any::<u128>().prop_map(RunId::from_u128);
        prop_oneof![
            run.clone().prop_map(Kind::Time),
            run.clone().prop_map(Kind::RunStart),
            run.prop_map(Kind::RunEnd),
            Just(Kind::Stream(Stream::Output)),
            Just(Kind::Stream(Stream::Error)),
            any::<(u64, i32)>().prop_map(|(bytes, errno)| Kind::Gap(Gap { bytes, errno })),
        ]
    }

    proptest! {
        #[test]
        fn a_record_is_read_back_and_a_changed_byte_is_noticed(
            offset: u64, seconds in 0..9_000_000_000_i64, kind in kinds(), at in 0..LENGTH, flip in 1..=255_u8,
        ) {
            let record = Record { offset, at: Timestamp::from_second(seconds).unwrap(), kind };
            let mut bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes), Some(record));
            bytes[at] ^= flip;
            prop_assert_eq!(Record::decode(&bytes), None);
        }
    }

    #[test]
    fn a_header_is_read_back_and_another_version_is_not() {
        let header = Header { inode: 77 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        let newer = seal(u64::from_le_bytes(MAGIC), 2 | (LENGTH as u64) << 32, pair(77, 0), 0);
        assert_eq!(Header::decode(&newer), None);
        assert_eq!(Header::decode(&[0; LENGTH]), None);
    }
}
