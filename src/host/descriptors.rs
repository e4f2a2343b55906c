//! Which descriptors a process has: what it was handed, and that nothing else passes through.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::libc;
use rustix::io::fcntl_dupfd_cloexec;

/// First descriptor that is used for what outlives the start, out of the way of 0, 1 and 2.
const HIGH: RawFd = 10;

/// What a keeper is handed at its start.
#[derive(Debug)]
pub struct Handed {
    /// Standard input: the locked descriptor.
    pub lock: File,
    /// Standard output: the start pipe.
    pub report: File,
}

/// Closes what was inherited beyond 0, 1 and 2, and takes 0 and 1 out of the way.
///
/// To be called once, before anything is opened: it closes by number.
pub fn take_handed() -> io::Result<Handed> {
    close_range(3, 0)?;
    let lock = fcntl_dupfd_cloexec(io::stdin(), HIGH)?;
    let report = fcntl_dupfd_cloexec(io::stdout(), HIGH)?;
    // The copies on 0 and 1 go now: a lock is free only when its last copy is closed, and a reader of the
    // start pipe waits for its end.
    let null = null()?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(Handed { lock: lock.into(), report: report.into() })
}

/// What systemd handed to this process, with its names: sockets that it listens on for us, and what an earlier
/// daemon had it keep. An error where the environment and what is open disagree; nothing is taken then.
///
/// To be called once, before anything is opened: it takes by number.
pub fn take_listening() -> io::Result<Vec<(String, OwnedFd)>> {
    let handed = sd_notify::listen_fds_with_names()?;
    // SAFETY: each is open, as the crate has just made it close at exec, and ours: systemd says so of this very
    // process, and nothing was opened before.
    let take = |(number, name)| (name, unsafe { OwnedFd::from_raw_fd(number) });
    Ok(handed.map(take).collect())
}

/// Lets go of the daemon's standard error: the keeper outlives it.
pub fn leave_stderr() -> io::Result<()> {
    Ok(nix::unistd::dup2_stderr(null()?)?)
}

/// `/dev/null` for reading and writing.
pub fn null() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

/// In a child that will execute a program: puts the three streams on 0, 1 and 2, `line` on 3, and closes all
/// else, among it the lock, the terminal's master and every socket of the parent.
///
/// Every other descriptor that the parent held is a stale number afterwards, so the caller must neither use
/// nor drop what it captured, which a child that ends by exec or `_exit` does not.
pub fn keep_only(streams: [BorrowedFd; 3], line: BorrowedFd) -> io::Result<OwnedFd> {
    let [input, output, error] = streams;
    nix::unistd::dup2_stdin(input)?;
    nix::unistd::dup2_stdout(output)?;
    nix::unistd::dup2_stderr(error)?;
    if line.as_raw_fd() != 3 {
        // SAFETY: dup3 takes numbers and touches no memory; 3 is nobody's here but the streams' sources',
        // which are on 0 to 2 by now.
        if unsafe { libc::dup3(line.as_raw_fd(), 3, libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    close_range(4, 0)?;
    // SAFETY: 3 was made just above, or is `line`, whose owner the caller promises not to drop.
    Ok(unsafe { OwnedFd::from_raw_fd(3) })
}

/// Makes everything beyond 0, 1 and 2 close at exec: name services may have opened what they please.
pub fn close_at_exec() -> io::Result<()> {
    close_range(3, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: libc::c_uint, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: close_range takes numbers and touches no memory. Callers hold nothing in the range that they
    // use afterwards, or only ask for close-on-exec.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Before Linux 5.9 (5.11 for the flag), or a filter that does not know the call.
        Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) => close_each(first, flags),
        _ => Err(error),
    }
}

fn close_each(first: libc::c_uint, flags: libc::c_uint) -> io::Result<()> {
    for number in open()?.into_iter().filter(|number| number.cast_unsigned() >= first) {
        // SAFETY: as for close_range; the directory's own descriptor is among the numbers and closed by now,
        // and both calls fail harmlessly on a closed number.
        unsafe {
            if flags == libc::CLOSE_RANGE_CLOEXEC {
                libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
            } else {
                libc::close(number);
            }
        }
    }
    Ok(())
}

/// The numbers that are open, and that of the directory that was read for it, which is closed again.
fn open() -> io::Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    Ok(open)
}

/// Makes reads and writes of `fd` return at once.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}
