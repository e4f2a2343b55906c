//! Facts of the machine and of this process.

use std::os::unix::fs::MetadataExt;

use crate::api::config::Machine;

/// The machine, as far as a config refers to it. Where memory cannot be read, a share of it is a share of
/// nothing known, so the largest number stands for it: a limit that holds nobody back.
pub fn read() -> Machine {
    use procfs::Current;
    let memory = procfs::Meminfo::current().map_or(u64::MAX, |info| info.mem_total);
    Machine { memory }
}

/// Inode of our pid namespace; 0 where it cannot be read, which then is the same for all.
pub fn pid_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// The user that this process acts as.
pub fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Whether the terminal that this process was started from is closed: it had one on stderr, and that does not
/// answer any more.
pub fn terminal_is_lost() -> bool {
    let stderr = std::io::stderr();
    match nix::sys::termios::tcgetattr(stderr) {
        Ok(_) => false,
        Err(error) => error == nix::errno::Errno::EIO,
    }
}
