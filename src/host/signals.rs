//! Signals to ourselves: what a keeper hears, what it ignores, and the clean slate of what it executes.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    process::{Command, ExitStatus},
    ptr,
};

use nix::{
    libc,
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
};

use crate::api::cause::Actor;

/// Ends a process; cannot be caught.
pub const KILL: i32 = libc::SIGKILL;
/// Interrupts.
pub const INT: i32 = libc::SIGINT;
/// Asks a process to end.
pub const TERM: i32 = libc::SIGTERM;
/// Lets a stopped process go on.
pub const CONT: i32 = libc::SIGCONT;
/// Asks a keeper to make its files anew.
pub const REMAKE: i32 = libc::SIGUSR1;

/// What would end or stop a process that has no use for it.
const IGNORED: [Signal; 15] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGPIPE,
    Signal::SIGALRM,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// The signals that a keeper hears, by descriptor.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

/// A signal that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// SIGCHLD: some child has changed.
    Child,
    /// SIGTERM, and who sent it.
    Terminate(Actor),
    /// SIGUSR1: the runtime directory may be gone.
    Remake,
}

/// Hears all signals again: a mask comes with who started us, and where that is a program that takes its own signals by
/// descriptor, a daemon could be asked neither to end nor to read its config, and would never reap an orphan.
pub fn unblock() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

impl Signals {
    /// Ignores what would end a keeper with its daemon or terminal, and takes the rest by descriptor.
    pub fn take_over() -> io::Result<Self> {
        let mut heard = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGUSR1] {
            heard.add(signal);
        }
        // Blocked before the dispositions change, so that none is lost between.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&heard), None)?;
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for signal in IGNORED {
            // SAFETY: no handler function is installed.
            unsafe { sigaction(signal, &ignore) }?;
        }
        // An ignored SIGCHLD is inherited, and makes the kernel reap in our stead: exits would be lost.
        for signal in &heard {
            // SAFETY: no handler function is installed.
            unsafe { sigaction(signal, &default) }?;
        }
        let fd = SignalFd::with_flags(&heard, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd })
    }

    /// The next signal that has come; `None`: no more.
    pub fn next(&self) -> io::Result<Option<Heard>> {
        while let Some(info) = self.fd.read_signal()? {
            match i32::try_from(info.ssi_signo) {
                Ok(libc::SIGCHLD) => return Ok(Some(Heard::Child)),
                Ok(libc::SIGTERM) => {
                    let sender = Actor { uid: info.ssi_uid, pid: info.ssi_pid.cast_signed() };
                    return Ok(Some(Heard::Terminate(sender)));
                }
                Ok(libc::SIGUSR1) => return Ok(Some(Heard::Remake)),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs a command that a person works with at this terminal, and waits for its end.
///
/// What they type there to interrupt goes to everybody at the terminal and is meant for the command, as emacs takes
/// ctrl-g by it: meanwhile it does nothing to this process. The command finds it as it would have without that.
pub fn run_at_terminal(command: &mut Command) -> io::Result<ExitStatus> {
    let unheard = Unheard::new()?;
    let before = unheard.before;
    // SAFETY: between fork and exec `restore` does nothing but one system call a signal.
    unsafe { command.pre_exec(move || restore(&before)) };
    command.status()
}

/// What a terminal sends for a key that interrupts.
const TYPED: [Signal; 2] = [Signal::SIGINT, Signal::SIGQUIT];

/// While it lives, they do nothing.
struct Unheard {
    before: [SigAction; 2],
}

impl Unheard {
    fn new() -> io::Result<Self> {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        let mut before = [ignore; 2];
        for (signal, before) in TYPED.into_iter().zip(&mut before) {
            // SAFETY: no handler function is installed.
            *before = unsafe { sigaction(signal, &ignore) }?;
        }
        Ok(Self { before })
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = restore(&self.before); // they were taken so, and are given back so
    }
}

fn restore(before: &[SigAction; 2]) -> io::Result<()> {
    for (signal, before) in TYPED.into_iter().zip(before) {
        // SAFETY: this is what was in force before, in this very program.
        unsafe { sigaction(signal, before) }?;
    }
    Ok(())
}

/// In a child that will execute a program: every disposition default, nothing blocked. Both are inherited
/// through exec, and a program that finds SIGPIPE or SIGINT ignored behaves as nobody tested it.
pub fn reset() -> io::Result<()> {
    // The kernel's own structure: handler, flags, restorer and mask; all zero is SIG_DFL. The C library's
    // call refuses its two internal signals (32, 33), which may be inherited as ignored like any other.
    let default = [0_u64; 4];
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the kernel reads at most the structure's 32 bytes, which live through the call; 8 is the
        // size of its mask. KILL and STOP are refused without effect.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), ptr::null_mut::<u64>(), 8_usize)
        };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
