//! Frames on their way to one client, who may read slowly or not at all.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Write},
    os::unix::net::UnixStream,
};

use serde::Serialize;

use crate::api::keeper::{FrameKind, MAX_FRAME, encode};

/// Frames that were not taken yet.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Vec<u8>>,
    /// How much of the first was taken.
    taken: usize,
    /// Bytes of all, those taken included.
    length: usize,
    /// Bytes that were ever taken.
    sent: u64,
}

impl Outbox {
    /// Begins with bytes that stand for whole frames.
    pub fn with(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self {
            frames: if bytes.is_empty() { VecDeque::new() } else { [bytes].into() },
            taken: 0,
            length,
            sent: 0,
        }
    }

    /// Whether all was taken.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes that were not taken.
    pub fn len(&self) -> usize {
        self.length - self.taken
    }

    /// Bytes that were ever taken.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends bytes in a frame, and in more where they are too many for one. What the socket takes at once is not
    /// copied.
    pub fn send(&mut self, stream: &mut UnixStream, kind: FrameKind, bytes: &[u8]) -> io::Result<()> {
        let most = MAX_FRAME as usize - 1;
        for (number, piece) in bytes.chunks(most).enumerate() {
            // The rest of a screen follows as output: only its beginning makes a client begin anew.
            let kind = if number > 0 && kind == FrameKind::Screen { FrameKind::Output } else { kind };
            let length = u32::try_from(piece.len() + 1).unwrap_or(MAX_FRAME);
            let mut header = [0; 5];
            if let Some((head, last)) = header.split_first_chunk_mut::<4>() {
                *head = length.to_be_bytes();
                last.fill(kind as u8);
            }
            let mut sent = 0;
            if self.is_empty() {
                sent = match stream.write_vectored(&[IoSlice::new(&header), IoSlice::new(piece)]) {
                    Ok(count) => count,
                    Err(error) if is_patient(&error) => 0,
                    Err(error) => return Err(error),
                };
            }
            self.sent += sent as u64;
            if sent < header.len() + piece.len() {
                let mut frame = header.to_vec();
                frame.extend_from_slice(piece);
                if self.is_empty() {
                    self.taken = sent;
                }
                self.length += frame.len();
                self.frames.push_back(frame);
            }
        }
        Ok(())
    }

    /// Sends a value.
    pub fn tell(
        &mut self,
        stream: &mut UnixStream,
        kind: FrameKind,
        value: &impl Serialize,
    ) -> io::Result<()> {
        // Our own small values: neither can fail.
        let frame = serde_json::to_vec(value).ok().and_then(|json| encode(kind, &json).ok());
        if let Some(frame) = frame {
            self.length += frame.len();
            self.frames.push_back(frame);
        }
        self.flush(stream)
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self, stream: &mut UnixStream) -> io::Result<()> {
        while let Some(frame) = self.frames.front() {
            match stream.write(frame.get(self.taken..).unwrap_or_default()) {
                Ok(count) => {
                    self.taken += count;
                    self.sent += count as u64;
                }
                Err(error) if is_patient(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.taken >= frame.len() {
                self.length -= frame.len();
                self.taken = 0;
                self.frames.pop_front();
            }
        }
        Ok(())
    }

    /// Drops all that was not begun.
    pub fn abandon(&mut self) {
        self.frames.truncate(usize::from(self.taken > 0));
        self.length = self.frames.iter().map(Vec::len).sum();
    }
}

/// Whether it may go on later.
fn is_patient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::api::keeper::decode;

    #[test]
    fn frames_stay_whole_whatever_is_dropped() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut outbox = Outbox::default();
        for number in 0..200_u8 {
            outbox.send(&mut ours, FrameKind::Output, &vec![number; 10_000]).unwrap();
        }
        assert!(outbox.len() > 1_000_000);
        outbox.abandon();
        assert!(outbox.len() <= 10_005);
        outbox.send(&mut ours, FrameKind::Screen, b"anew").unwrap();
        let mut read = Vec::new();
        theirs.set_nonblocking(true).unwrap();
        while !outbox.is_empty() || read.is_empty() {
            let _ = theirs.read_to_end(&mut read);
            outbox.flush(&mut ours).unwrap();
        }
        let _ = theirs.read_to_end(&mut read);
        let (mut at, mut last) = (0, Vec::new());
        while let Some((frame, taken)) = decode(&read[at..]).unwrap() {
            assert!(frame.payload == b"anew" || frame.payload.len() == 10_000);
            last = frame.payload.to_vec();
            at += taken;
        }
        assert_eq!((at, last.as_slice()), (read.len(), &b"anew"[..]));
    }

    #[test]
    fn a_long_screen_is_one_screen_and_output() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            let mut outbox = Outbox::default();
            outbox.send(&mut ours, FrameKind::Screen, &vec![b'x'; 3 << 20]).unwrap();
            outbox.flush(&mut ours).unwrap();
        });
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).unwrap();
        writer.join().unwrap();
        let (mut at, mut kinds, mut length) = (0, Vec::new(), 0);
        while let Some((frame, taken)) = decode(&read[at..]).unwrap() {
            kinds.push(FrameKind::from_byte(frame.kind).unwrap());
            length += frame.payload.len();
            at += taken;
        }
        assert_eq!((kinds[0], length), (FrameKind::Screen, 3 << 20));
        assert!(kinds.len() > 1 && kinds[1..].iter().all(|kind| *kind == FrameKind::Output));
    }
}
