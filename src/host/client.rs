//! What the command line needs of the system: who it runs as, a way to the daemon's socket, waiting, and
//! files that cannot fool it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::Path,
    time::Duration,
};

use nix::libc;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Gid, Mode, RenameFlags, Uid},
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

/// What may stand at the path already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing: a file there is `AlreadyExists`.
    New,
    /// Anything.
    Replace,
}

/// What becomes of a link at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLink {
    /// It is an error: whether it or the file that it names is meant, nobody said.
    Refuse,
    /// It stays, and the file that it names is replaced.
    Follow,
    /// It is replaced.
    Replace,
}

/// Whose the file is, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Owner, group and mode of the file that is replaced; a new one is the writer's, mode 0600.
    Kept,
    /// The writer's, with this mode.
    Own(u32),
}

/// How a file is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// What may stand there.
    pub place: Place,
    /// What becomes of a link there.
    pub link: AtLink,
    /// Who may do what with it.
    pub rights: Rights,
}

impl Manner {
    /// A spec's. Specs hold values of env, so a new one is its writer's alone. In system mode the owner of a spec says
    /// whom its session runs as, so a replaced file keeps its owner; where that cannot be done nothing is changed.
    pub fn of_spec(place: Place) -> Self {
        Self { place, link: AtLink::Refuse, rights: Rights::Kept }
    }
}

/// Puts `bytes` at `path` by writing a sibling and renaming it: nobody sees half a file, nor does a power cut leave one.
///
/// The sibling's name (`.NAME.tmp`) is none that the daemon reads, and always the same: what a killed writer left goes
/// with the next try.
pub fn put(path: &Path, bytes: &[u8], manner: Manner) -> io::Result<()> {
    let old = match fs::symlink_metadata(path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if old.as_ref().is_some_and(fs::Metadata::is_symlink) && manner.place == Place::Replace {
        match manner.link {
            AtLink::Refuse => return Err(io::Error::other("it is a link")),
            AtLink::Follow => {
                let target = fs::canonicalize(path)?;
                return put(&target, bytes, Manner { link: AtLink::Refuse, ..manner });
            }
            AtLink::Replace => {}
        }
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    super::files::remove_if_there(&temporary)?;
    // No link that others may plant meanwhile is followed.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = fill(file, bytes, old.as_ref(), manner.rights).and_then(|()| match manner.place {
        Place::Replace => fs::rename(&temporary, path),
        Place::New => rename_to_new(&temporary, path),
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // best effort: the error that matters is the first
    }
    written
}

fn fill(mut file: File, bytes: &[u8], old: Option<&fs::Metadata>, rights: Rights) -> io::Result<()> {
    match (rights, old) {
        (Rights::Own(mode), _) => file.set_permissions(fs::Permissions::from_mode(mode))?,
        (Rights::Kept, Some(old)) => {
            let mine = file.metadata()?;
            if (mine.uid(), mine.gid()) != (old.uid(), old.gid()) {
                rustix::fs::fchown(&file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
            }
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
        }
        (Rights::Kept, None) => {}
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames `from` to `to`, where nothing may stand.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A home directory is on NFS now and then, which cannot do it.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link_to_new(from, to),
        renamed => Ok(renamed?),
    }
}

/// The same in two steps: a name more, and then one less.
fn link_to_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
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

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_replaces_nothing_and_a_replaced_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let put = |bytes, place| put(&path, bytes, Manner::of_spec(place));
        put(b"one", Place::New).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = put(b"two", Place::New).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        put(b"two", Place::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(names(dir.path()), ["a.yaml"]);
    }

    #[test]
    fn a_file_system_without_such_a_rename_replaces_nothing_either() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        link_to_new(&from, &to).unwrap();
        assert_eq!((fs::read(&to).unwrap().as_slice(), from.exists()), (b"new".as_slice(), false));
        fs::write(&from, "other").unwrap();
        assert_eq!(link_to_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }

    #[test]
    fn a_planted_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "safe").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(".a.yaml.tmp")).unwrap();
        put(&dir.path().join("a.yaml"), b"new", Manner::of_spec(Place::Replace)).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"safe");
        assert_eq!(names(dir.path()), ["a.yaml", "victim"]);
    }

    #[test]
    fn what_becomes_of_a_link_is_as_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let put = |bytes, link_is| {
            let manner = Manner { place: Place::Replace, link: link_is, rights: Rights::Kept };
            put(&link, bytes, manner)
        };
        put(b"refused", AtLink::Refuse).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"old");
        put(b"followed", AtLink::Follow).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"followed");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        put(b"replaced", AtLink::Replace).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        assert_eq!(fs::read(&file).unwrap(), b"followed");
        assert_eq!(names(dir.path()), ["file", "link"]);
    }

    #[test]
    fn a_file_of_its_writer_has_the_mode_that_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("atm");
        fs::write(&path, "old").unwrap();
        let manner = Manner { place: Place::Replace, link: AtLink::Replace, rights: Rights::Own(0o755) };
        put(&path, b"new", manner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
        // What cannot get its name leaves nothing behind.
        fs::create_dir(dir.path().join("taken")).unwrap();
        put(&dir.path().join("taken"), b"new", manner).unwrap_err();
        assert_eq!(names(dir.path()), ["atm", "taken"]);
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
