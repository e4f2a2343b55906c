//! `atm attach` on a pseudo-terminal of its own, with an emulator in the place of the person's eyes.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use alacritty_terminal::{
    Term,
    event::VoidListener,
    grid::Dimensions,
    index::{Column, Line},
    term::{Config, TermMode, cell::Flags},
    vte::ansi::Processor,
};
use atm::{
    api::attach::WindowSize,
    host::{poll, pty},
};
use rustix::{
    fs::{Mode, OFlags},
    termios::{Termios, tcgetattr},
};

use crate::harness::{Atm, LIMIT, is_alive, program, signal};

struct Measure(u16, u16);

impl Dimensions for Measure {
    fn total_lines(&self) -> usize {
        self.1.into()
    }
    fn screen_lines(&self) -> usize {
        self.1.into()
    }
    fn columns(&self) -> usize {
        self.0.into()
    }
}

/// A client and its terminal.
pub struct Client {
    child: Child,
    master: File,
    slave: OwnedFd,
    before: Termios,
    term: Term<VoidListener>,
    parser: Processor,
    /// All that came.
    pub raw: Vec<u8>,
}

impl Client {
    /// `atm attach` with these arguments.
    pub fn attach(atm: &Atm, columns: u16, rows: u16, args: &[&str]) -> Self {
        Self::with(atm, columns, rows, &[("TERM", "xterm-256color")], &[&["attach"], args].concat())
    }

    /// A verb, with this environment added.
    pub fn with(atm: &Atm, columns: u16, rows: u16, env: &[(&str, &str)], args: &[&str]) -> Self {
        let pty::Streams { ours, input, output, .. } = pty::open_terminal(columns, rows).unwrap();
        let before = tcgetattr(&input).unwrap();
        let slave = input.try_clone().unwrap();
        // The terminal's own session, so that it is told of sizes and hangups.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(program())
            .args(args)
            .env("ATM_SOCKET", atm.runtime().join("atm.sock"))
            .env_remove("ATM_DETACH_KEY")
            .env("HOME", atm.path(""))
            .envs(env.iter().copied())
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output.try_clone().unwrap()))
            .stderr(Stdio::from(output))
            .spawn()
            .unwrap();
        let term = Term::new(Config::default(), &Measure(columns, rows), VoidListener);
        Self {
            child,
            master: File::from(ours),
            slave,
            before,
            term,
            parser: Processor::new(),
            raw: Vec::new(),
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Takes what has come.
    pub fn read(&mut self) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.master.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    self.parser.advance(&mut self.term, &buffer[..count]);
                    self.raw.extend_from_slice(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    /// Reads until `condition` holds.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.read();
            if condition(self) {
                return;
            }
            assert!(Instant::now() < deadline, "not {what}; the screen:\n{}", self.text());
            let watched = [(self.master.as_fd(), poll::Interest::READ)];
            poll::wait(&watched, Some(Duration::from_millis(10))).unwrap();
        }
    }

    /// Reads until the screen shows `text`.
    pub fn shows(&mut self, text: &str) {
        self.until(&format!("showing {text:?}"), |client| client.text().contains(text));
    }

    /// Reads until `text` came, wherever it is now.
    pub fn said(&mut self, text: &str) {
        let text = text.as_bytes();
        let what = format!("told {:?}", String::from_utf8_lossy(text));
        self.until(&what, |client| client.raw.windows(text.len()).any(|part| part == text));
    }

    /// Until the banner is gone, which is after the screen was drawn.
    pub fn settle(&mut self) {
        self.until("without a banner", |client| {
            client.raw.windows(16).any(|part| part == b"\x1b[0;7m attached ")
                && !client.lines().last().is_some_and(|line| line.contains("attached to"))
        });
    }

    /// Types.
    pub fn types(&mut self, bytes: &str) {
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            match self.master.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.read();
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Types while nothing that is shown is read.
    pub fn types_blindly(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.master.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(poll::writable(self.master.as_fd(), LIMIT).unwrap(), "nobody reads the keyboard");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Bytes that were typed, and not read by the client.
    pub fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.slave).unwrap()
    }

    /// Whether its terminal takes no more for now.
    pub fn is_stuck(&self) -> bool {
        !poll::writable(self.slave.as_fd(), Duration::from_millis(50)).unwrap()
    }

    /// Fills its terminal to the last byte: one that is told as not writable has a little room all the same.
    pub fn fill(&self) {
        let path = format!("/proc/self/fd/{}", self.slave.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let again = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        while poll::write(&again, b"y").is_ok() {}
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.term.resize(Measure(columns, rows));
        pty::resize(&self.master, WindowSize::of_cells(columns, rows)).unwrap();
    }

    /// Sends the client a signal.
    pub fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }

    /// The lines of the screen.
    pub fn lines(&self) -> Vec<String> {
        let grid = self.term.grid();
        let line = |number: usize| {
            let row = &grid[Line(i32::try_from(number).unwrap())];
            let cells = (0..grid.columns()).map(|column| &row[Column(column)]);
            let shown = cells.filter(|cell| !cell.flags.contains(Flags::WIDE_CHAR_SPACER));
            let text: String = shown.fold(String::new(), |mut text, cell| {
                text.push(if cell.c == '\t' { ' ' } else { cell.c });
                text.extend(cell.zerowidth().into_iter().flatten());
                text
            });
            text.trim_end().to_owned()
        };
        (0..grid.screen_lines()).map(line).collect()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Line and column of the cursor.
    pub fn cursor(&self) -> (i32, usize) {
        let point = self.term.grid().cursor.point;
        (point.line.0, point.column.0)
    }

    pub fn mode(&self) -> TermMode {
        *self.term.mode()
    }

    /// Waits for the client's end, and gives its exit status.
    pub fn ends(&mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                self.read();
                return status.code().unwrap_or_else(|| panic!("{status}"));
            }
            assert!(Instant::now() < deadline, "the client does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// That the terminal is as it was: its settings, and all modes off.
    pub fn is_restored(&mut self) {
        self.read();
        let now = tcgetattr(&self.slave).unwrap();
        let all = |termios: &Termios| {
            let Termios { input_modes, output_modes, control_modes, local_modes, .. } = termios.clone();
            (input_modes, output_modes, control_modes, local_modes)
        };
        assert_eq!(all(&now), all(&self.before));
        let fresh = *Term::new(Config::default(), &Measure(10, 10), VoidListener).mode();
        assert_eq!(self.mode(), fresh, "{:?}", String::from_utf8_lossy(&self.raw));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if is_alive(self.pid()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
