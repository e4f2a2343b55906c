//! What the whole machine tells cheaply about what its sessions can have done.

use std::io;

use super::read_all;

/// Two numbers of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Memory that could be had without swapping, in bytes: `MemAvailable`.
    pub available: u64,
    /// Processes and threads that were ever made.
    pub forks: u64,
}

/// Reads `/proc/meminfo` and `/proc/stat`.
///
/// # Errors
/// Where they cannot be read or do not say it.
pub fn read_machine() -> io::Result<Reading> {
    let mut text = Vec::with_capacity(4096);
    read_all("/proc/meminfo", &mut text)?;
    let available = kib(&text, "MemAvailable:");
    read_all("/proc/stat", &mut text)?;
    let forks = field(&text, "processes ");
    available
        .zip(forks)
        .map(|(available, forks)| Reading { available, forks })
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The bytes that a line such as `Pss:   12 kB` tells.
pub(crate) fn kib(text: &[u8], name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

fn field(text: &[u8], name: &str) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
    super::numbers(line).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_both() {
        let reading = read_machine().unwrap();
        assert!(reading.available > 0 && reading.forks > 0, "{reading:?}");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(read_machine().unwrap().forks > reading.forks, "a process was made");
    }

    #[test]
    fn a_line_is_found_by_its_whole_name() {
        let text = b"SwapPss:    3 kB\nPss:       12 kB\nPss_Anon:  5 kB\n";
        assert_eq!(
            (kib(text, "Pss:"), kib(text, "SwapPss:"), kib(text, "Rss:")),
            (Some(12288), Some(3072), None)
        );
    }
}
