//! Making a process that starts inside its cgroup, and what a process does to become its own.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{
    libc,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};

/// `struct clone_args` of `<linux/sched.h>`, its size of Linux 5.7 (`CLONE_ARGS_SIZE_VER2`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `KEYCTL_JOIN_SESSION_KEYRING` of `<linux/keyctl.h>`.
const JOIN_SESSION_KEYRING: libc::c_long = 1;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a child that runs `body` and exits with what it returns; returns its pid.
///
/// With `group` the child is in that cgroup from its first instruction; a move afterwards costs 8 ms at the
/// median. The child is a copy of this process, so `body` may allocate and call anything. That holds only for
/// a process with one thread (another one might hold the allocator's lock at the copy, for ever): with more
/// it refuses.
pub fn spawn(group: Option<BorrowedFd>, body: impl FnOnce() -> u8) -> io::Result<i32> {
    // `.`, `..` and one entry a thread.
    if fs::metadata("/proc/self/task")?.nlink() != 3 {
        return Err(io::Error::other("a process with several threads cannot be copied safely"));
    }
    let mut arguments = CloneArgs { exit_signal: 17, ..CloneArgs::default() };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(group.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    }
    // SAFETY: the arguments are initialised and of the size that is told. Without CLONE_VM the child has its
    // own copy of memory and stack, as after fork; this process has one thread, so no lock is held by anyone
    // but us. The C library's cached thread id is stale in the child, which only matters to robust and
    // recursive mutexes across fork, of which we hold none.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    if pid < 0 {
        let error = io::Error::last_os_error();
        if group.is_some() || !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            return Err(error);
        }
        // A filter that does not know clone3.
        // SAFETY: one thread, see above.
        pid = unsafe { libc::fork() }.into();
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if pid == 0 {
        // A panic must not unwind into the parent's frames, of which the child has copies.
        let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the child without destructors, whose descriptors and buffers are the parent's.
        unsafe { libc::_exit(status.into()) }
    }
    i32::try_from(pid).map_err(|_| io::Error::other("pid out of range"))
}

/// Makes us the leader of a session of our own, away from any terminal.
pub fn lead_session() -> io::Result<()> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        // Somebody did it for us.
        Err(_) if rustix::process::getsid(None).ok() == Some(rustix::process::getpid()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets which permissions new files lack.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Whether we die with the process that made us. The kernel forgets it when we change our user.
pub fn die_with_parent(yes: bool) -> io::Result<()> {
    Ok(set_parent_process_death_signal(yes.then_some(Signal::KILL))?)
}

/// Makes orphans among our descendants our children.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Limits that were changed for us and that a session gets back.
#[derive(Debug, Clone, Copy)]
pub struct Inherited {
    core: Option<(u64, u64)>,
}

/// Keeps our memory (output, environments with keys in them) out of core files.
///
/// Only as root are we also closed to inspection: for another user that would hide our own `/proc` from the
/// daemon, which runs as the same user.
pub fn protect_memory() -> Inherited {
    let core = getrlimit(Resource::RLIMIT_CORE).ok();
    if let Some((soft, hard)) = core
        && soft > 0
    {
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, hard); // lowering one's own soft limit cannot fail
    }
    if rustix::process::geteuid().is_root() {
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable); // a hardening, not a condition
    }
    Inherited { core }
}

/// Leaves the keyring of the login or the service that the daemon was started in, for a new one: whoever runs in it can
/// read what is in it and may hand keys to all others in it, whatever their user is.
pub fn leave_keyring() -> io::Result<()> {
    let nobodys = std::ptr::null::<libc::c_char>();
    // SAFETY: without a name, the kernel reads no memory of ours.
    if unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, nobodys) } >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // A kernel without keys, or a filter that gives them to nobody.
        Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => Ok(()),
        _ => Err(error),
    }
}

/// In a child that will execute a program: gives back what the daemon or its keeper has for itself.
///
/// Each may be refused without privilege; then the program runs with what the daemon's user has.
pub fn shed_privileges_of_place(inherited: Inherited) {
    if let Some((soft, hard)) = inherited.core {
        let _ = setrlimit(Resource::RLIMIT_CORE, soft, hard);
    }
    // The daemon and its keepers are the last to be chosen by the kernel; a session must not be.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice < 0) {
        let _ = rustix::process::setpriority_process(None, 0);
    }
}
