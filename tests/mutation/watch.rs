//! Somebody who looks at the clock while a reader reads, and keeps what it failed on.

use std::{
    fs,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use atm::readers::Reader;
use tempfile::TempDir;

use crate::heap::{Cost, cost};

/// No input takes longer, however loaded the machine is: most take microseconds.
const LONGEST: Duration = Duration::from_secs(60);

/// Directories of all watches: who ends this program by force removes them.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

type Current = Arc<Mutex<Option<(&'static str, Vec<u8>, Instant)>>>;

/// The watch of one test.
pub struct Watch {
    current: Current,
    scratch: TempDir,
    end: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Watch {
    pub fn new() -> Self {
        let scratch = tempfile::Builder::new().prefix("atm-mutation-").tempdir_in(fast()).unwrap();
        let current = Current::default();
        let (end, ended) = channel();
        SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).push(scratch.path().to_owned());
        let watched = Arc::clone(&current);
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
                let late = watched.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((name, bytes, since)) = late.as_ref() else { continue };
                if since.elapsed() > LONGEST {
                    let path = keep(name, bytes);
                    // Not by a macro: what a test prints so is shown only when it has ended.
                    let _ = writeln!(io::stderr(), "{name} has read for {LONGEST:?}: {}", path.display());
                    for place in SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                        let _ = fs::remove_dir_all(place);
                    }
                    // The reader does not come back, so nothing else ends this test.
                    std::process::abort();
                }
            }
        });
        Self { current, scratch, end: Some((end, thread)) }
    }

    /// Lets `reader` read, and says what was wrong.
    #[expect(clippy::disallowed_methods, reason = "how long a reader takes is looked at on the real clock")]
    pub fn read(&self, reader: &Reader, bytes: &[u8]) -> Result<Cost, String> {
        let set = |now| *self.current.lock().unwrap_or_else(PoisonError::into_inner) = now;
        set(Some((reader.name, bytes.to_vec(), Instant::now())));
        let read = || cost(|| (reader.read)(bytes, self.scratch.path()));
        let read = catch_unwind(AssertUnwindSafe(read));
        set(None);
        let told = |what: &str| {
            let path = keep(reader.name, bytes);
            let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            format!("{}: {what}\n  {} bytes, {}: {begin:?}", reader.name, bytes.len(), path.display())
        };
        let (promise, cost) = read.map_err(|_| told("panicked"))?;
        promise.map_err(|broken| told(&broken))?;
        let most = reader.base + reader.per_byte * bytes.len();
        if cost.peak > most {
            return Err(told(&format!("{} bytes of memory, more than {most}", cost.peak)));
        }
        Ok(cost)
    }
}

#[test]
fn what_is_broken_is_told_and_kept() {
    fn picky(bytes: &[u8], scratch: &Path) -> Result<(), String> {
        match bytes {
            b"panic" => panic!("on purpose"),
            b"promise" => Err("a promise".into()),
            b"memory" => {
                drop(std::hint::black_box(vec![1_u8; 2000]));
                Ok(())
            }
            _ => fs::write(scratch.join("own"), bytes).map_err(|error| error.to_string()),
        }
    }
    let watch = Watch::new();
    let picky = Reader { name: "picky", read: picky, longest: 100, per_byte: 1, base: 1000 };
    for (bytes, says) in [("panic", "panicked"), ("promise", "a promise"), ("memory", "2000 bytes of memory")]
    {
        let told = watch.read(&picky, bytes.as_bytes()).unwrap_err();
        assert!(told.contains(says), "{told}");
        let path = kept_as("picky", bytes.as_bytes());
        assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
        fs::remove_file(path).unwrap();
    }
    assert!(watch.read(&picky, b"fine").is_ok());
    let scratch = watch.scratch.path().to_owned();
    drop(watch);
    assert!(!scratch.exists());
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.end.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// Where files are for a moment: in memory, where the machine has such a place.
fn fast() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let fits = memory.is_dir() && tempfile::tempdir_in(memory).is_ok();
    if fits { memory.to_owned() } else { kept() }
}

/// Where failing inputs are kept.
fn kept() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutation");
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// What an input is kept as.
fn kept_as(name: &str, bytes: &[u8]) -> PathBuf {
    // FNV-1a: the same input has the same name.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    kept().join(format!("{name}-{hash:016x}"))
}

fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let path = kept_as(name, bytes);
    fs::write(&path, bytes).unwrap();
    path
}
