//! `/proc/PID/stat`, as far as it is needed: the parser of the crate `procfs` takes all fields into values of their
//! own, which costs as much as the kernel takes to write them.

use crate::api::record::ProcessId;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) threads: u32,
    /// Since boot.
    pub(crate) start_time: u64,
    /// Processor time of its own.
    pub(crate) ticks: u64,
    /// Processor time of children that have ended and were waited for.
    pub(crate) ticks_of_ended: u64,
    /// Their page faults.
    pub(crate) faults_of_ended: u64,
    pub(crate) resident_pages: u64,
    state: u8,
}

impl Stat {
    /// The command's name, in parentheses, may have any character: it ends at the last parenthesis.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let name_begins = text.iter().position(|byte| *byte == b'(')?;
        let name_ends = text.iter().rposition(|byte| *byte == b')')?;
        let pid = number(text.get(..name_begins)?.trim_ascii())?;
        let mut fields = text.get(name_ends + 1..)?.trim_ascii().split(|byte| *byte == b' ');
        // As numbered in proc(5), less the three that are read here: the first is the fourth.
        let state = *fields.next()?.first()?;
        let parent = number::<i32>(fields.next()?)?;
        let mut at = |skip: usize| number::<i64>(fields.nth(skip)?).map(|n| u64::try_from(n).unwrap_or(0));
        let minor_of_ended = at(6)?; // 11, after pgrp to minflt
        let major_of_ended = at(1)?; // 13
        let (user, system) = (at(0)?, at(0)?); // 14, 15
        let (user_of_ended, system_of_ended) = (at(0)?, at(0)?); // 16, 17
        let threads = at(2)?; // 20
        let start_time = at(1)?; // 22
        let resident_pages = at(1)?; // 24
        Some(Self {
            pid,
            parent,
            threads: u32::try_from(threads).ok()?,
            start_time,
            ticks: user.saturating_add(system),
            ticks_of_ended: user_of_ended.saturating_add(system_of_ended),
            faults_of_ended: minor_of_ended.saturating_add(major_of_ended),
            resident_pages,
            state,
        })
    }

    pub(crate) fn id(&self) -> ProcessId {
        ProcessId { pid: self.pid, start_time: self.start_time }
    }

    /// A zombie leader whose other threads live has not ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == b'X' || (self.state == b'Z' && self.threads <= 1)
    }

    /// By a signal, or by a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agree(ours: &Stat, theirs: &procfs::process::Stat) {
        assert_eq!(ours.id(), ProcessId { pid: theirs.pid, start_time: theirs.starttime });
        assert_eq!((ours.parent, i64::from(ours.threads)), (theirs.ppid, theirs.num_threads));
        assert_eq!(char::from(ours.state), theirs.state);
        assert_eq!(ours.ticks, theirs.utime + theirs.stime);
        assert_eq!(ours.ticks_of_ended, u64::try_from(theirs.cutime + theirs.cstime).unwrap());
        assert_eq!(ours.faults_of_ended, theirs.cminflt + theirs.cmajflt);
        assert_eq!(ours.resident_pages, theirs.rss);
    }

    fn theirs(text: &str) -> procfs::process::Stat {
        use procfs::FromRead as _;
        procfs::process::Stat::from_read(text.as_bytes()).unwrap()
    }

    #[test]
    fn it_reads_every_process_of_the_machine_as_procfs_does() {
        let mut read = 0;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(text) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            if entry.file_name().to_str().unwrap().parse::<i32>().is_ok() {
                agree(&Stat::parse(text.as_bytes()).unwrap(), &theirs(&text));
                read += 1;
            }
        }
        assert!(read > 0, "this test at least is a process");
    }

    proptest! {
        #[test]
        fn a_name_cannot_fool_it(
            name in "[ -~]{0,15}",
            numbers in proptest::collection::vec(0_u64..1 << 31, 49),
            state in proptest::sample::select(vec!['R', 'S', 'D', 'T', 't', 'Z']),
        ) {
            let rest: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let text = format!("77 ({name}) {state} {}\n", rest.join(" "));
            agree(&Stat::parse(text.as_bytes()).unwrap(), &theirs(&text));
        }

        #[test]
        fn nonsense_is_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stat::parse(&text);
        }

        #[test]
        fn what_is_cut_off_is_refused(length in 0_usize..60) {
            let text = b"77 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21";
            prop_assert_eq!(Stat::parse(&text[..length]), None);
        }
    }
}
