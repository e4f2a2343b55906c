//! One reader of `atm::readers`, chosen by `ATM_READER`, under the fuzzer:
//!
//! ```sh
//! ATM_READER=spec cargo +nightly fuzz run reader fuzz/corpus/spec tests/mutation/corpus/spec -- -max_total_time=60
//! ```
//!
//! The first directory is for what is found, the second one is the corpus that is committed.

#![no_main]

use std::sync::LazyLock;

use atm::readers::{READERS, Reader};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static CHOSEN: LazyLock<(&Reader, TempDir)> = LazyLock::new(|| {
    let names = || READERS.iter().map(|reader| reader.name).collect::<Vec<_>>().join(" ");
    let name = std::env::var("ATM_READER").unwrap_or_default();
    let reader = READERS.iter().find(|reader| reader.name == name);
    let reader = reader.unwrap_or_else(|| panic!("ATM_READER has to be one of: {}", names()));
    (reader, TempDir::new().expect("a directory for a moment"))
});

fuzz_target!(|bytes: &[u8]| {
    let (reader, scratch) = &*CHOSEN;
    if let Err(broken) = (reader.read)(bytes, scratch.path()) {
        panic!("{}: {broken}", reader.name);
    }
});
