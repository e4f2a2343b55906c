//! What the command line needs of the system: who it runs as, a way to the daemon's socket, waiting, and
//! files that cannot fool it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::{
            fs::{MetadataExt, OpenOptionsExt},
            net::UnixStream,
        },
    },
    path::Path,
    time::Duration,
};

use nix::libc;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode},
    net::{
        AddressFamily, SocketFlags, SocketType,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use super::socket::with_address;

/// The user that this process acts as.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// This process.
pub fn pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Memory of this machine in bytes; `None` where the kernel does not say.
pub fn machine_memory() -> Option<u64> {
    use procfs::Current;
    procfs::Meminfo::current().ok().map(|memory| memory.mem_total)
}

/// Connects to the socket at `path`, and waits at most `limit` where the listener's queue is full.
pub fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // For a Unix socket the send time-out bounds connect too: a daemon that does not accept cannot hang us.
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    with_address(path, |address| rustix::io::retry_on_intr(|| rustix::net::connect(&socket, address)))?;
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

/// Waits until `fd` can be read (for a pidfd: its process has ended), at most `limit`. Says whether it can.
pub fn readable(fd: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How a wait for a descriptor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// It can be read.
    Readable,
    /// Nobody reads any more what would be written about it.
    Unread,
    /// The time is over, or a signal came.
    Nothing,
}

/// Waits until `fd` can be read or nobody reads `out` any more, at most `limit`.
pub fn readable_or_unread(fd: &impl AsFd, out: &impl AsFd, limit: Duration) -> io::Result<Waited> {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let [mut input, mut output] = [PollFd::new(fd, PollFlags::IN), PollFd::new(out, PollFlags::empty())];
    let mut both = [input.clone(), output.clone()];
    match poll(&mut both, Some(&limit)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Waited::Nothing),
        Err(error) => return Err(error.into()),
    }
    [input, output] = both;
    Ok(if output.revents().contains(PollFlags::ERR) {
        Waited::Unread
    } else if input.revents().is_empty() {
        Waited::Nothing
    } else {
        Waited::Readable
    })
}

/// Writes `bytes` as far as they are taken within `limit`, and never waits longer: to a pipe or a socket that may not be
/// read, without changing it for others who have it open.
pub fn write_within(fd: &impl AsFd, bytes: &[u8], limit: Duration) -> io::Result<()> {
    /// A pipe that can be written takes so much at once: `PIPE_BUF`.
    const PIECE: usize = 4096;
    let begun = super::clock::monotonic();
    let mut rest = bytes;
    while !rest.is_empty() {
        let left = limit.saturating_sub(super::clock::monotonic() - begun);
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(fd, PollFlags::OUT)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let count = super::poll::write(fd, rest.get(..PIECE).unwrap_or(rest))?;
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Whether `fd` is a pipe or a socket that nobody reads any more.
pub fn is_unread(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}

/// Whether a last link in the path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// A link is followed.
    Follow,
    /// A link is an error.
    Refuse,
}

/// Opens a regular file for reading; a FIFO or a device is an error and never blocks.
pub fn open_regular(path: &Path, links: Links) -> io::Result<File> {
    let links = if links == Links::Refuse { libc::O_NOFOLLOW } else { 0 };
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | links).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// Makes a directory of mode 0700 that nobody else could have prepared.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    rustix::fs::mkdirat(CWD, path, Mode::RWXU)?;
    Ok(())
}

/// Whether `path` is a real directory of this user's that nobody else can enter.
pub fn is_private_directory(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(metadata.is_dir() && metadata.uid() == uid() && metadata.mode().trailing_zeros() >= 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    use rustix::net::SocketAddrUnix;

    #[test]
    fn a_listener_that_never_accepts_cannot_hang_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let _first = connect(&path, Duration::from_secs(5)).unwrap();
        let error = connect(&path, Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_pipe_that_is_not_read_takes_what_it_takes() {
        let (mut reader, writer) = io::pipe().unwrap();
        write_within(&writer, b"short", Duration::from_secs(60)).unwrap();
        let long = vec![b'x'; 1 << 20];
        let error = write_within(&writer, &long, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(writer);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read.starts_with(b"shortxxx") && read.len() < long.len());
    }

    #[test]
    fn a_pipe_without_a_reader_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_unread(&writer));
        drop(reader);
        assert!(is_unread(&writer));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("x.yaml");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_regular(&fifo, Links::Follow).is_err());
        let link = dir.path().join("link");
        fs::write(dir.path().join("file"), "text").unwrap();
        std::os::unix::fs::symlink(dir.path().join("file"), &link).unwrap();
        assert!(open_regular(&link, Links::Refuse).is_err());
        let mut text = String::new();
        open_regular(&link, Links::Follow).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
