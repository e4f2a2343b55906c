//! Errors of the system, in its own words.

use std::io;

use nix::{errno::Errno, libc};

/// The system's words for an error, without its number.
pub fn words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |raw| Errno::from_raw(raw).desc().to_owned())
}

/// Whether the machine is short of something (processes, descriptors, memory, space), which may pass.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EAGAIN
                | libc::ENOMEM
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOSPC
                | libc::EDQUOT
                | libc::EINTR
        )
    )
}
