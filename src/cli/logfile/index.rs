//! The reading side of [`crate::api::log_index`]. Whoever can write the output can write its index, so nothing in it
//! is believed that would show less of the output than was asked for without saying so.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::{
    api::log_index::{Bytes, Header, LENGTH, Record},
    host::client::{Links, open_regular},
};

/// Records that are read at once.
const BLOCK: usize = 1024;

/// An index, open.
#[derive(Debug)]
pub struct Index {
    file: File,
}

impl Index {
    /// The index at `path`, and the inode of the log that it belongs to; `None` where there is none to be used.
    pub fn open(path: &Path) -> Option<(u64, Self)> {
        let index = Self { file: open_regular(path, Links::Refuse).ok()? };
        let header = Header::decode(&index.bytes(0).ok()?)?;
        Some((header.inode, index))
    }

    fn bytes(&self, number: u64) -> io::Result<Bytes> {
        let mut bytes = [0; LENGTH];
        self.file.read_exact_at(&mut bytes, number.saturating_mul(LENGTH as u64))?;
        Ok(bytes)
    }

    /// How many records it has now.
    pub fn count(&self) -> io::Result<u64> {
        Ok((self.file.metadata()?.len() / LENGTH as u64).saturating_sub(1))
    }

    /// A record, from 0 on; `None` behind the last. A damaged one is an error.
    pub fn record(&self, number: u64) -> io::Result<Option<Record>> {
        if number >= self.count()? {
            return Ok(None);
        }
        let read = || io::Result::Ok(Record::decode(&self.bytes(number.saturating_add(1))?));
        // The last one may have been written over between the halves of a read.
        match read()?.map_or_else(read, |record| Ok(Some(record)))? {
            Some(record) => Ok(Some(record)),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "a damaged record")),
        }
    }

    /// All records, from the first on. Behind a damaged one there is nothing to be believed.
    pub fn records(&self) -> impl Iterator<Item = io::Result<Record>> {
        let count = self.count().unwrap_or(0);
        (0..count).step_by(BLOCK).flat_map(move |first| {
            let records = usize::try_from(count - first).unwrap_or(BLOCK).min(BLOCK);
            let mut block = vec![0; records * LENGTH];
            let read = self.file.read_exact_at(&mut block, (first + 1) * LENGTH as u64);
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged record");
            let decoded = match read {
                Ok(()) => {
                    let (records, _) = block.as_chunks::<LENGTH>();
                    records.iter().map(|bytes| Record::decode(bytes).ok_or_else(damaged)).collect()
                }
                Err(error) => vec![Err(error)],
            };
            decoded.into_iter()
        })
    }

    /// How many records `before` holds for: it must hold for the first ones and for none after them.
    pub fn search(&self, before: impl Fn(&Record) -> bool) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.count()?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.record(middle)? {
                Some(record) if before(&record) => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }
}
