//! Where a session's output comes from: a terminal, or two pipes.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

use nix::libc;
use rustix::{
    fs::{Mode, OFlags},
    pipe::PipeFlags,
    termios::{Winsize, tcsetwinsize},
};

use crate::api::attach::WindowSize;

/// The ends of a session's input and output.
#[derive(Debug)]
pub struct Streams {
    /// Ours: the terminal's master, or the reading end of standard output. Never blocks.
    pub ours: OwnedFd,
    /// The session's standard input.
    pub input: OwnedFd,
    /// The session's standard output, and its error where that has no pipe of its own.
    pub output: OwnedFd,
    /// Standard error, where it is told apart.
    pub error: Option<Pipe>,
}

/// Both ends of a pipe.
#[derive(Debug)]
pub struct Pipe {
    /// The reading end. Never blocks.
    pub ours: OwnedFd,
    /// The writing end.
    pub theirs: OwnedFd,
}

/// A terminal of this size.
///
/// The slave comes from the master (`TIOCGPTPEER`), not by a path, so that it is the right one in any mount
/// namespace. All ends close at exec.
pub fn open_terminal(columns: u16, rows: u16) -> io::Result<Streams> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/ptmx", flags | OFlags::NONBLOCK, Mode::empty())?;
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which lives through the call.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let slave = open_slave(master.as_fd())?;
    tcsetwinsize(&slave, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok(Streams { ours: master, input: slave.try_clone()?, output: slave, error: None })
}

/// Whether `pid` has the terminal of `slave` open, by any of its descriptors or as `/dev/tty`. What cannot be seen may
/// be.
pub fn is_open_in(slave: impl AsFd, pid: i32) -> bool {
    let Ok(slave) = rustix::fs::fstat(slave) else { return true };
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return true };
    let tty = rustix::fs::makedev(5, 0);
    descriptors.flatten().any(|descriptor| {
        let device = std::fs::metadata(descriptor.path()).map(|metadata| metadata.rdev());
        device.is_ok_and(|device| device == slave.st_rdev || device == tty)
    })
}

/// Gives a terminal another size; its programs are told by SIGWINCH.
pub fn resize(terminal: impl AsFd, size: WindowSize) -> io::Result<()> {
    let WindowSize { columns, rows, x_pixels, y_pixels } = size;
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: x_pixels, ws_ypixel: y_pixels };
    Ok(tcsetwinsize(terminal, size)?)
}

/// The other end of a terminal. Opened again after a hangup (`vhangup`, as a login does), it makes the
/// terminal usable again: until then reads of the master only tell the end.
pub fn open_slave(master: BorrowedFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags by value and returns a new descriptor.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if slave < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(slave) })
}

/// A pipe each for output and error, so that they can be told apart. What is written to both within the moment
/// between two reads comes in either order; `2>&1` keeps it, and tells nothing apart. Input is `/dev/null`.
pub fn open_pipes() -> io::Result<Streams> {
    let (output, error) = (open_pipe()?, open_pipe()?);
    let input = super::descriptors::null()?;
    Ok(Streams { ours: output.ours, input, output: output.theirs, error: Some(error) })
}

fn open_pipe() -> io::Result<Pipe> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Only our end: a session that finds its standard output non-blocking loses output.
    super::descriptors::set_nonblocking(&ours)?;
    Ok(Pipe { ours, theirs })
}

/// Gives the terminal to its user: without it `/dev/tty` works, but `/dev/pts/N` cannot be opened again.
pub fn give_to(slave: BorrowedFd, uid: u32) -> io::Result<()> {
    rustix::fs::fchown(slave, Some(rustix::fs::Uid::from_raw(uid)), None)?;
    Ok(rustix::fs::fchmod(slave, Mode::from_raw_mode(0o620))?)
}

/// Makes the terminal on `slave` the controlling one of our session.
pub fn control(slave: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(slave)?)
}
