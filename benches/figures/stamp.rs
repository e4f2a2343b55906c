//! The measured command, and the FIFO that it tells its times to.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use atm::host::clock::monotonic;
use rustix::fs::{FileType, Mode};

use crate::stop_if_told;

/// The argument that makes this program the measured command.
pub const ROLE: &str = "stamp";

/// The measured command: a small static C program where there is a compiler, since what it takes to load is
/// measured too, and this program otherwise.
#[derive(Debug)]
pub struct Stamp {
    words: Vec<String>,
    /// Which of the two it is.
    pub kind: &'static str,
}

impl Stamp {
    /// Builds it in `directory`.
    pub fn build(directory: &Path) -> Self {
        let (source, program) = (directory.join("stamp.c"), directory.join("stamp"));
        std::fs::write(&source, include_str!("stamp.c")).unwrap();
        // A small C library first: what a large one does before `main` is no instruction of the command's.
        for (compiler, flags, kind) in [
            ("musl-gcc", &["-static", "-no-pie"][..], "static C program (musl)"),
            ("cc", &["-static", "-no-pie"][..], "static C program"),
            ("cc", &[][..], "dynamically linked C program"),
        ] {
            let mut compiler = Command::new(compiler);
            compiler.arg("-O2").args(flags).arg("-o").arg(&program).arg(&source);
            if compiler.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
                return Self { words: vec![program.display().to_string()], kind };
            }
        }
        let own = std::env::current_exe().unwrap().display().to_string();
        Self { words: vec![own, ROLE.into()], kind: "this bench itself: no C compiler" }
    }

    /// The command line of one that tells its times to `fifo` under `tag`.
    pub fn command(&self, fifo: &Path, tag: &str, life: &[&str]) -> Vec<String> {
        let mut words = self.words.clone();
        words.extend([fifo.display().to_string(), tag.to_owned()]);
        words.extend(life.iter().map(|&word| word.to_owned()));
        words
    }
}

/// Is the measured command: the same as the C program.
pub fn main(words: &[String]) {
    let first = monotonic().as_nanos();
    let [fifo, tag, life, rest @ ..] = words else { panic!("stamp FIFO TAG hold|exit [MS]") };
    let say = |kind: char, ns: u64| {
        let mut fifo = OpenOptions::new().write(true).open(fifo).unwrap();
        fifo.write_all(format!("{kind} {tag} {ns}\n").as_bytes()).unwrap();
    };
    say('S', first);
    if life == "hold" {
        loop {
            thread::park();
        }
    }
    thread::sleep(Duration::from_millis(rest.first().map_or(0, |ms| ms.parse().unwrap())));
    say('X', monotonic().as_nanos());
}

/// One line of the command's.
#[derive(Debug)]
pub struct Told {
    /// Whether it is its first act; else its last.
    pub started: bool,
    /// Which command.
    pub tag: String,
    /// On the monotonic clock.
    pub ns: u64,
}

/// The reading end. Times are taken by the command, so that a late reader changes nothing.
#[derive(Debug)]
pub struct Stamps {
    /// Where commands write.
    pub fifo: PathBuf,
    told: Receiver<Told>,
    _writer: File,
}

impl Stamps {
    /// A FIFO at `path`, and a thread that reads it as long as the benchmark runs.
    pub fn new(path: PathBuf) -> Self {
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // Held for writing too, so that there is no end of file between two commands.
        let writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let reader = BufReader::new(File::open(&path).unwrap());
        let (tell, told) = channel();
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                let (Some(kind), Some(tag), Some(ns)) = (words.next(), words.next(), words.next()) else {
                    continue;
                };
                let told = Told { started: kind == "S", tag: tag.into(), ns: ns.parse().unwrap() };
                if tell.send(told).is_err() {
                    return;
                }
            }
        });
        Self { fifo: path, told, _writer: writer }
    }

    /// The next line; fails where none comes for a minute.
    pub fn next(&self) -> Told {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match self.told.recv_timeout(Duration::from_millis(100)) {
                Ok(told) => return told,
                Err(RecvTimeoutError::Timeout) => assert!(Instant::now() < end, "a command did not start"),
                Err(RecvTimeoutError::Disconnected) => panic!("the FIFO cannot be read"),
            }
            stop_if_told();
        }
    }

    /// When the command `tag` started.
    pub fn started(&self, tag: &str) -> u64 {
        loop {
            let told = self.next();
            if told.started && told.tag == tag {
                return told.ns;
            }
        }
    }

    /// When the last of `count` commands started.
    pub fn all_started(&self, count: usize) -> u64 {
        let mut last = 0;
        let mut left = count;
        while left > 0 {
            let told = self.next();
            if told.started {
                last = last.max(told.ns);
                left -= 1;
            }
        }
        last
    }
}
