//! Named places where a test makes a program die, fail or wait. Debug builds only.
//!
//! `ATM_FAILPOINT=name=kill|err|delay|hang|spin`, several separated by commas: SIGKILL to ourselves, an error, a
//! pause of 200 ms, or no return at all, asleep or at full speed.

use std::io;

/// Environment variable that arms failpoints.
pub const ENV_FAILPOINT: &str = "ATM_FAILPOINT";

/// Does at the place `name` what the environment asks for: nothing in a release build.
pub fn hit(name: &str) -> io::Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let Ok(armed) = std::env::var(ENV_FAILPOINT) else {
        return Ok(());
    };
    let action = armed.split(',').find_map(|part| part.split_once('=').filter(|(at, _)| *at == name));
    match action {
        Some((_, "kill")) => {
            Ok(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?)
        }
        Some((_, "err")) => Err(io::Error::other(format!("failpoint {name}"))),
        Some((_, "delay")) => {
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            rustix::event::poll(&mut [], Some(&pause))?;
            Ok(())
        }
        Some((_, "hang")) => loop {
            rustix::event::poll(&mut [], None)?;
        },
        Some((_, "spin")) => loop {
            std::hint::spin_loop();
        },
        _ => Ok(()),
    }
}
