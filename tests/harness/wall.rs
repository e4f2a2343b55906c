//! A wall clock that a test owns.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::Atm;

/// A wall clock of the daemon's own: a library that shifts it by as many seconds as a file says.
pub struct WallClock {
    shift: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// Its right time at first. `None`, with a word, where there is no C compiler.
    pub fn new(atm: &Atm) -> Option<Self> {
        let clock = Self { shift: atm.path("shift"), library: atm.path("shift.so") };
        let source = atm.path("shift.c");
        fs::write(&source, SHIFT).unwrap();
        clock.set(0);
        let mut cc = Command::new("cc");
        let made = cc.args(["-shared", "-fPIC", "-O1", "-o"]).args([&clock.library, &source]).status();
        if made.is_ok_and(|status| status.success()) {
            return Some(clock);
        }
        eprintln!("skipped: needs a C compiler");
        None
    }

    /// What a daemon needs in its environment to go by it.
    pub fn env(&self) -> [(String, String); 2] {
        let of = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
        [of("LD_PRELOAD", &self.library), of("CLOCK_SHIFT", &self.shift)]
    }

    /// So far from the machine's.
    pub fn set(&self, seconds: i64) {
        let beside = self.shift.with_extension("new");
        fs::write(&beside, seconds.to_string()).unwrap();
        fs::rename(beside, &self.shift).unwrap();
    }
}

const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("CLOCK_SHIFT");
    if (result == 0 && path && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0)
                time->tv_sec += atol(text);
            close(file);
        }
    }
    return result;
}
"#;
