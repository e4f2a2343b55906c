//! A stream taken apart into lines, none of them longer than is allowed.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::Instant,
};

/// Room for what most requests need. A connection that waits for its next request holds no more.
const USUAL: usize = 4 << 10;

/// Splits a stream into lines, never holding more than one message and what came behind it.
#[derive(Debug)]
pub struct Lines<R> {
    read: R,
    buffer: Vec<u8>,
    /// Where the line begins that is not taken yet.
    start: usize,
    /// Up to where there is no line end.
    searched: usize,
    limit: usize,
    /// When the line began that is not whole yet.
    begun: Option<Instant>,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// It is longer than is allowed; the rest was not read.
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of at most `limit` bytes, their ends not counted.
    pub fn new(read: R, limit: usize) -> Self {
        Self { read, buffer: Vec::new(), start: 0, searched: 0, limit, begun: None }
    }

    /// Most bytes in a line.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Memory that is held for this stream.
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// When the line began of which only a part has come; `None`: there is no such part.
    pub fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// The next line, if it has come.
    pub fn take(&mut self) -> Option<Line> {
        let new = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.get(self.start..self.searched + end).unwrap_or_default().to_vec();
            self.start = self.searched + end + 1;
            self.searched = self.start;
            self.begun = None;
            return Some(if line.len() > self.limit { Line::TooLong } else { Line::Whole(line) });
        }
        self.make_room();
        (self.buffer.len() > self.limit).then_some(Line::TooLong)
    }

    /// Reads on, once there is no line to take; `false` at the end. What is half a line then is none. May be dropped
    /// and called again.
    pub async fn read_on(&mut self) -> io::Result<bool> {
        let count = self.read.read_buf(&mut self.buffer).await?;
        if !self.buffer.is_empty() {
            self.begun.get_or_insert_with(Instant::now);
        }
        Ok(count > 0)
    }

    /// Drops the lines that were taken, and makes room for at most one message and its end. A byte is moved and
    /// searched once, however many lines come in one read and however many reads a line takes.
    fn make_room(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.searched = self.buffer.len();
        if self.buffer.is_empty() {
            self.buffer.shrink_to(USUAL);
        }
        if self.buffer.len() == self.buffer.capacity() {
            let most = self.limit.saturating_add(1).saturating_sub(self.buffer.len());
            self.buffer.reserve_exact(self.buffer.len().max(USUAL).min(most));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn lines(chunks: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut mock = Vec::new();
        for chunk in chunks {
            mock.push(chunk.to_vec());
        }
        let (mut write, read) = tokio::io::duplex(1 << 20);
        let writer = async move {
            for chunk in mock {
                tokio::io::AsyncWriteExt::write_all(&mut write, &chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let reader = async move {
            let mut lines = Lines::new(read, limit);
            let mut seen = Vec::new();
            loop {
                while let Some(line) = lines.take() {
                    let stop = line == Line::TooLong;
                    seen.push(line);
                    if stop {
                        return seen;
                    }
                }
                assert!(lines.held() <= limit + 1 + USUAL, "{} held", lines.held());
                if !lines.read_on().await.unwrap() {
                    return seen;
                }
            }
        };
        tokio::join!(writer, reader).1
    }

    #[tokio::test]
    async fn the_longest_line_is_taken_and_one_byte_more_is_not() {
        for size in [1, USUAL - 1, USUAL, USUAL + 1, 100_000] {
            let line = vec![b'x'; size];
            let whole = [line.clone(), b"\n".to_vec()].concat();
            assert_eq!(lines(&[&whole], size).await, [Line::Whole(line.clone())]);
            assert_eq!(lines(&[&whole], size - 1).await, [Line::TooLong]);
            assert_eq!(lines(&[&line], size - 1).await, [Line::TooLong], "its end is not waited for");
            assert_eq!(lines(&[&line], size).await, [], "half a line is none");
        }
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_stream_is_cut(
            texts in prop::collection::vec("[a-z]{0,20}", 0..20),
            cuts in prop::collection::vec(1_usize..9, 1..60),
        ) {
            let stream: Vec<u8> = texts.iter().flat_map(|text| format!("{text}\n").into_bytes()).collect();
            let mut rest = stream.as_slice();
            let mut chunks = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let seen = runtime.block_on(lines(&chunks, 20));
            let expected: Vec<Line> = texts.into_iter().map(|text| Line::Whole(text.into_bytes())).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
