//! One page of words that several processes share through a file.

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroUsize,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    libc,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};

/// Size of the file and of the mapping.
pub const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;

/// A mapping of 512 little-endian words. Each word is written whole; there is no order between words.
#[derive(Debug)]
pub struct Page {
    words: NonNull<AtomicU64>,
}

impl Page {
    /// Makes the file anew, all zero, 0600, and maps it.
    ///
    /// Its space is taken at once: on a full file system this fails, instead of a later store with SIGBUS.
    pub fn create(path: &Path) -> io::Result<Self> {
        let _ = std::fs::remove_file(path); // a previous run's; readers of it keep theirs
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, PAGE as u64)?;
        Self::map(&file)
    }

    fn map(file: &File) -> io::Result<Self> {
        let length = NonZeroUsize::new(PAGE).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that is PAGE long; nothing of
        // ours is replaced.
        let words = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Self { words: words.cast() })
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        // SAFETY: inside the mapping, which lives as long as `self`; a page is aligned for its words, and all
        // access by any process is atomic.
        (index < WORDS).then(|| unsafe { self.words.add(index).as_ref() })
    }

    /// Stores a word; an index outside the page stores nothing.
    pub fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value.to_le(), Ordering::Relaxed);
        }
    }

    /// Reads a word; zero outside the page.
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).map_or(0, |word| u64::from_le(word.load(Ordering::Relaxed)))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.words.cast(), PAGE) };
    }
}

/// Writes some words of a page that another process has made, from `first` on, without mapping it. One that is not
/// there is not made.
pub fn write_words(path: &Path, first: usize, words: &[u64]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if first + words.len() > WORDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    file.write_all_at(&bytes, first as u64 * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_seen_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page");
        let page = Page::create(&path).unwrap();
        page.store(3, 0x0102);
        page.store(WORDS, 7);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), PAGE);
        assert_eq!(&bytes[24..32], &[2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!((page.load(3), page.load(WORDS)), (0x0102, 0));

        write_words(&path, 4, &[5, 6]).unwrap();
        assert_eq!([3, 4, 5, 6].map(|index| page.load(index)), [0x0102, 5, 6, 0]);
        assert!(write_words(&path, WORDS - 1, &[1, 2]).is_err(), "it keeps its length");
        assert!(write_words(&dir.path().join("none"), 4, &[5]).is_err());
    }
}
