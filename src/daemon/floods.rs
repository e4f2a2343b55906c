//! How much of one session the log is told. journald drops what a unit says beyond a rate, whoever said it: one session
//! that fails in a loop without a pause would take all others their entries.

use std::{collections::BTreeMap, time::Duration};

use crate::api::{name::SessionName, time::Moment};

/// journald takes 10,000 entries of a unit in as long: fifty sessions that flood together stay below that.
const WINDOW: Duration = Duration::from_secs(30);
const MOST: u32 = 200;

/// Sessions that are remembered beyond their window. One costs a hundred bytes.
const REMEMBERED: usize = 1024;

/// What each session said of late.
#[derive(Debug, Default)]
pub struct Floods {
    talks: BTreeMap<SessionName, Talk>,
    /// How many were left when those beyond their window were forgotten last.
    kept: usize,
}

#[derive(Debug, Clone, Copy)]
struct Talk {
    since: Moment,
    entries: u32,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is told; before it, how many were not.
    Told { missed: u32 },
    /// It is not told, as the first of its window: that is.
    FirstUntold,
    /// It is not told.
    Untold,
}

impl Floods {
    /// Whether one more entry of `session` is told `now`.
    pub fn one_more(&mut self, session: &SessionName, now: Moment) -> Entry {
        let over = |talk: &Talk| now.since(talk.since) >= WINDOW;
        // Only when they have doubled since: however many speak at once, each pays for a few.
        if self.talks.len() >= (2 * self.kept).max(REMEMBERED) {
            self.talks.retain(|_, talk| !over(talk));
            self.kept = self.talks.len();
        }
        let talk = self.talks.entry(session.clone()).or_insert(Talk { since: now, entries: 0 });
        let missed = if over(talk) {
            let before = std::mem::replace(talk, Talk { since: now, entries: 0 });
            before.entries.saturating_sub(MOST)
        } else {
            0
        };
        talk.entries = talk.entries.saturating_add(1);
        match talk.entries {
            ..=MOST => Entry::Told { missed },
            entries if entries == MOST.saturating_add(1) => Entry::FirstUntold,
            _ => Entry::Untold,
        }
    }
}

/// That nothing more of `session` is told for a while.
pub fn falls_silent(session: &SessionName) -> String {
    format!(
        "{session}: more than {MOST} events within {} s: the next ones are not told here; `atm events {session}` has them",
        WINDOW.as_secs()
    )
}

/// How much of `session` was not told.
pub fn has_missed(session: &SessionName, missed: u32) -> String {
    format!("{session}: {missed} events were not told here; `atm events {session}` has the last of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn one_session_that_floods_is_cut_short_and_no_other() {
        let mut floods = Floods::default();
        let (loud, quiet) = (SessionName::new("loud").unwrap(), SessionName::new("quiet").unwrap());
        let told: Vec<Entry> = (0..1000).map(|n| floods.one_more(&loud, at(n))).collect();
        assert!(told[..200].iter().all(|entry| *entry == Entry::Told { missed: 0 }));
        assert_eq!(told[200], Entry::FirstUntold);
        assert!(told[201..].iter().all(|entry| *entry == Entry::Untold));
        assert_eq!(floods.one_more(&quiet, at(1000)), Entry::Told { missed: 0 });
        assert_eq!(floods.one_more(&loud, at(29_999)), Entry::Untold);
        assert_eq!(floods.one_more(&loud, at(30_000)), Entry::Told { missed: 801 });
        assert_eq!(floods.one_more(&loud, at(30_001)), Entry::Told { missed: 0 });
    }

    #[test]
    fn who_said_little_is_forgotten() {
        let mut floods = Floods::default();
        for n in 0..5000 {
            floods.one_more(&SessionName::new(&format!("s{n}")).unwrap(), at(n * 100));
        }
        assert!(floods.talks.len() <= REMEMBERED, "{}", floods.talks.len());
    }

    #[test]
    fn where_thousands_speak_at_once_they_are_not_counted_again_at_each_word() {
        let mut floods = Floods::default();
        let mut sweeps = 0;
        for n in 0..20_000 {
            let kept = floods.kept;
            floods.one_more(&SessionName::new(&format!("s{n}")).unwrap(), at(n / 10));
            sweeps += u32::from(floods.kept != kept);
        }
        assert!((1..=6).contains(&sweeps), "{sweeps}");
    }
}
