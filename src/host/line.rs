//! The line between a keeper and the child that becomes the session: gate and outcome in one.
//!
//! The child tells how its preparation went and waits for one byte. The keeper's end closes with the keeper,
//! whatever ends it: then the child ends too, having executed nothing. The child's end closes at exec: that
//! is how the keeper knows.

use std::{io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send},
};
use serde::{Deserialize, Serialize};

use crate::api::record::StartError;

/// Longest message; an error that would be longer is cut where it is made.
const LONGEST: usize = 64 << 10;

/// What the child says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// Whom it will run as.
    Resolved {
        /// User.
        uid: u32,
        /// Primary group.
        gid: u32,
    },
    /// All is prepared: only the exec is left.
    Ready {
        /// The working directory, as the kernel names it; absent where that is no text.
        directory: Option<PathBuf>,
    },
    /// It ends.
    Failed(StartError),
}

/// What the keeper hears.
#[derive(Debug)]
pub enum Answer {
    /// The child spoke.
    Said(Word),
    /// The child's end is closed: it executed the command, or died.
    Closed,
    /// Nothing in time.
    Silence,
}

/// One end of the line. Messages are kept apart by the kernel.
#[derive(Debug)]
pub struct Line(OwnedFd);

impl Line {
    /// Both ends; they close at exec.
    pub fn pair() -> io::Result<(Self, Self)> {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), Self(theirs)))
    }

    /// The end that is on this descriptor.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The end's descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// The child's part: says `word`. A keeper that is gone does not hear it, and opens no gate.
    pub fn say(&self, word: &Word) {
        let bytes = serde_json::to_vec(word).unwrap_or_default();
        let _ = send(&self.0, &bytes, SendFlags::NOSIGNAL);
    }

    /// The child's part: waits at the gate. `false`: it will never open.
    pub fn wait(&self) -> bool {
        let mut byte = [0_u8; 1];
        loop {
            match recv(&self.0, &mut byte, RecvFlags::empty()) {
                Ok((_, count)) => return count == 1,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// The keeper's part: opens the gate.
    pub fn open_gate(&self) -> io::Result<()> {
        send(&self.0, &[1], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The keeper's part: hears the next word, for so long.
    pub fn hear(&self, patience: Duration) -> io::Result<Answer> {
        let patience = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        // As much room as a word may take, of which only what comes is ever touched.
        let mut bytes = Vec::with_capacity(LONGEST);
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&patience)) {
                Ok(0) => return Ok(Answer::Silence),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            return match recv(&self.0, spare_capacity(&mut bytes), RecvFlags::empty()) {
                Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => Ok(Answer::Closed),
                Ok(_) => Ok(Answer::Said(serde_json::from_slice(&bytes)?)),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_apart_and_the_end_is_seen() {
        let (ours, theirs) = Line::pair().unwrap();
        theirs.say(&Word::Resolved { uid: 1, gid: 2 });
        theirs.say(&Word::Ready { directory: None });
        let soon = Duration::from_secs(5);
        assert!(matches!(ours.hear(soon).unwrap(), Answer::Said(Word::Resolved { uid: 1, gid: 2 })));
        assert!(matches!(ours.hear(soon).unwrap(), Answer::Said(Word::Ready { .. })));
        assert!(matches!(ours.hear(Duration::ZERO).unwrap(), Answer::Silence));
        ours.open_gate().unwrap();
        assert!(theirs.wait());
        drop(theirs);
        assert!(matches!(ours.hear(soon).unwrap(), Answer::Closed));
        let (ours, theirs) = Line::pair().unwrap();
        drop(ours);
        assert!(!theirs.wait(), "the gate of a keeper that is gone stays shut");
    }
}
