//! What this process uses of the machine.

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// Resident memory of this process in bytes.
pub fn memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    let pages = pages.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no number of pages"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Time of a processor that this process has used.
pub fn cpu() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Descriptors that this process has open.
pub fn descriptors() -> io::Result<u32> {
    let open = fs::read_dir("/proc/self/fd")?.count();
    Ok(u32::try_from(open).unwrap_or(u32::MAX).saturating_sub(1)) // one is this look's own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_seen() {
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(memory().unwrap() > 64 << 20);
        drop(block);
        assert!(cpu().unwrap() > Duration::ZERO);
        let before = descriptors().unwrap();
        assert!(before > 2);
    }
}
