//! The terminal that this process runs in: raw while it is lent to a session, and as it was whatever happens.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    time::Duration,
};

use nix::{
    libc,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::api::attach::WindowSize;

/// Whether standard input and output are terminals.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The terminal, raw until this is dropped. A panic drops it too.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
    /// Standard output, opened again: to wait for a slow terminal must not make the shell's own descriptor
    /// non-blocking, which it shares with us.
    output: File,
}

impl Raw {
    /// Makes it raw.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let again = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
            .open("/proc/self/fd/1");
        let output = match again {
            Ok(output) => output,
            // Another user's terminal, as after su: then a slow one is waited for.
            Err(_) => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        let raw = Self { before, output };
        raw.again()?;
        Ok(raw)
    }

    /// Makes it raw again, after a stop in which a shell had it.
    pub fn again(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &raw)?)
    }

    /// Writes what the terminal takes at once.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match super::poll::write(&self.output, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// What to wait on for writing.
    pub fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Waits until it takes more, for at most `patience`. Says whether it does.
    pub fn takes(&self, patience: Duration) -> bool {
        super::poll::writable(self.output(), patience).unwrap_or(false)
    }

    /// Back to what it was. `farewell` is printed before, and waits for a slow terminal, but not for a stuck one.
    pub fn leave(self, farewell: &[u8]) {
        let mut rest = farewell;
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(0) if self.takes(Duration::from_secs(1)) => {}
                Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                Ok(_) | Err(_) => break, // the terminal is stuck, or gone
            }
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before); // gone, with its window
        let _ = io::stdout().flush();
    }
}

/// Its size; `None` where the terminal does not know, as on a serial line.
pub fn size() -> Option<WindowSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then_some(WindowSize {
        columns: size.ws_col,
        rows: size.ws_row,
        x_pixels: size.ws_xpixel,
        y_pixels: size.ws_ypixel,
    })
}

/// Signals that one who has lent its terminal hears, by descriptor.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The window has another size.
    Resized,
    /// After a stop.
    Continued,
    /// Asked to end, by this signal.
    End(i32),
}

impl Signals {
    /// From now on.
    pub fn listen() -> io::Result<Self> {
        let signals = [Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT];
        let set = SigSet::from_iter(signals);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// What to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next, if one has come.
    pub fn next(&self) -> Option<Heard> {
        let signal = i32::try_from(self.0.read_signal().ok()??.ssi_signo).ok()?;
        Some(match signal {
            libc::SIGWINCH => Heard::Resized,
            libc::SIGCONT => Heard::Continued,
            other => Heard::End(other),
        })
    }
}
