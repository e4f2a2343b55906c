//! A file system of the test's own, in memory, that can cease to answer: what a dead network file system is like.
//!
//! Spoken as the kernel speaks it (`linux/fuse.h`, protocol 7.31): one directory of files that can be read.

#![expect(clippy::indexing_slicing, reason = "a request that is cut short is a failed test")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, mpsc},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

const ROOT: u64 = 1;
const NO_ENTRY: i32 = -2;
const NO_SYSTEM_CALL: i32 = -38;

/// The mounted file system. Mounted where only the calling thread and what it starts see it, so that nothing is left of
/// it whatever becomes of the test.
pub struct Mount {
    at: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, String>>,
    hangs: Mutex<bool>,
    answers: Condvar,
}

impl Mount {
    /// `None`, with a word why, where nothing can be mounted here.
    pub fn over(at: &Path) -> Option<Self> {
        let shared = Arc::<Shared>::default();
        let device = match fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                eprintln!("skipped: /dev/fuse: {error}");
                return None;
            }
        };
        let options = format!("fd={},rootmode=40755,user_id=0,group_id=0", device.as_raw_fd());
        // Begun before the thread below leaves for a namespace of its own, so that it is not held by this one.
        let (served, kernel) = (Arc::clone(&shared), device.try_clone().unwrap());
        let (mounted, is_mounted) = mpsc::channel();
        // Before it is mounted, to read from it is an error.
        std::thread::spawn(move || is_mounted.recv().map(|()| serve(kernel, &served)));
        let none = None::<&str>;
        let done = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
            .and_then(|()| mount(Some("atm-test"), at, Some("fuse"), MsFlags::MS_NODEV, Some(&*options)));
        match done {
            Ok(()) => {
                mounted.send(()).unwrap();
                Some(Self { at: at.to_owned(), shared })
            }
            Err(error) => {
                eprintln!("skipped: cannot mount: {error}");
                None
            }
        }
    }

    pub fn put(&self, file: &str, text: &str) {
        self.shared.files.lock().unwrap().insert(file.to_owned(), text.to_owned());
    }

    /// Whether it leaves every question unanswered from now on.
    pub fn hang(&self, hangs: bool) {
        *self.shared.hangs.lock().unwrap() = hangs;
        self.shared.answers.notify_all();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.hang(false);
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

fn serve(mut kernel: File, shared: &Shared) {
    let mut request = vec![0_u8; 1 << 17];
    // Ends with the mount.
    while let Ok(length) = kernel.read(&mut request) {
        let hangs = shared.hangs.lock().unwrap();
        drop(shared.answers.wait_while(hangs, |hangs| *hangs).unwrap());
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().unwrap());
        let (opcode, unique, node) = (word(4), long(8), long(16));
        let files = shared.files.lock().unwrap().clone();
        let file = |node: u64| files.iter().nth(usize::try_from(node - ROOT - 1).unwrap_or(usize::MAX));
        let about = |node: u64| match node {
            ROOT => Some(attributes(ROOT, 0, 0o040_755)),
            node => file(node).map(|(_, text)| attributes(node, text.len(), 0o100_644)),
        };
        let answer: Result<Vec<u8>, i32> = match opcode {
            // Lookup.
            1 => {
                let name = String::from_utf8_lossy(&request[40..length - 1]);
                match files.keys().position(|file| *file == name) {
                    Some(at) => {
                        let node = ROOT + 1 + at as u64;
                        Ok([numbers(&[node, 0, 0, 0, 0]), about(node).unwrap()].concat())
                    }
                    None => Err(NO_ENTRY),
                }
            }
            // Forget, interrupt, forget many: no answer.
            2 | 36 | 42 => continue,
            // Attributes.
            3 => about(node).map(|about| [numbers(&[0, 0]), about].concat()).ok_or(NO_ENTRY),
            // Open, open a directory.
            14 | 27 => Ok(numbers(&[0, 0])),
            // Read.
            15 => match file(node) {
                Some((_, text)) => {
                    let from = usize::try_from(long(48)).unwrap().min(text.len());
                    let to = from.saturating_add(word(56) as usize).min(text.len());
                    Ok(text.as_bytes()[from..to].to_vec())
                }
                None => Err(NO_ENTRY),
            },
            // Release, release a directory.
            18 | 29 => Ok(Vec::new()),
            // Initialise: the version, and nothing out of the ordinary.
            26 => {
                let mut about = vec![0_u8; 64];
                about[0] = 7;
                about[4] = 31;
                about[20..24].copy_from_slice(&(64_u32 << 10).to_le_bytes());
                Ok(about)
            }
            // Read a directory.
            28 => Ok(listing(&files, usize::try_from(long(48)).unwrap(), word(56) as usize)),
            _ => Err(NO_SYSTEM_CALL),
        };
        let (error, body) = answer.map_or_else(|error| (error, Vec::new()), |body| (0, body));
        let mut reply = u32::try_from(16 + body.len()).unwrap().to_le_bytes().to_vec();
        reply.extend(error.to_le_bytes());
        reply.extend(unique.to_le_bytes());
        reply.extend(body);
        let _ = kernel.write(&reply); // whoever asked may have been interrupted
    }
}

fn numbers(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn attributes(node: u64, size: usize, mode: u32) -> Vec<u8> {
    let mut about = numbers(&[node, size as u64, 1, 0, 0, 0]);
    // Parts of seconds, mode, links, user, group, device, block size, flags.
    for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0_u32] {
        about.extend(word.to_le_bytes());
    }
    about
}

fn listing(files: &BTreeMap<String, String>, from: usize, room: usize) -> Vec<u8> {
    let mut listing = Vec::new();
    for (at, name) in files.keys().enumerate().skip(from) {
        let mut entry = numbers(&[ROOT + 1 + at as u64, at as u64 + 1]);
        entry.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        entry.extend(8_u32.to_le_bytes()); // a regular file
        entry.extend(name.as_bytes());
        entry.resize(entry.len().next_multiple_of(8), 0);
        if listing.len() + entry.len() > room {
            break;
        }
        listing.extend(entry);
    }
    listing
}
