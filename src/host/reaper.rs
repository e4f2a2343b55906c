//! Orphans of a keeper that died: they come to the daemon when it is the subreaper, and are reaped here.

use std::io;

use nix::sys::{
    prctl,
    wait::{Id, WaitPidFlag, WaitStatus, waitid},
};

/// Makes this process the one that orphaned descendants come to, so that what a dead keeper left running is
/// found even where it hid its environment.
pub fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Reaps children that have ended, except those for which `is_known` says that somebody waits.
///
/// Stops at the first known one: the kernel shows ended children in order, and whoever waits for it calls
/// again after taking it.
pub fn reap_orphans(is_known: impl Fn(i32) -> bool) -> io::Result<u32> {
    let mut reaped = 0;
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    loop {
        let pid = match waitid(Id::All, look | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(reaped),
            Ok(status) => match status.pid() {
                Some(pid) => pid,
                None => return Ok(reaped),
            },
            Err(error) => return Err(error.into()),
        };
        if is_known(pid.as_raw()) {
            return Ok(reaped);
        }
        match waitid(Id::Pid(pid), look) {
            Ok(_) => reaped += 1,
            Err(nix::errno::Errno::ECHILD) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
