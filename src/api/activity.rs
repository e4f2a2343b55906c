//! The activity page of a running session, `RUNTIME/sessions/NAME/activity`: when something last happened,
//! without asking the keeper.
//!
//! 4096 bytes, 512 words of 64 bits, little-endian. Each word is written whole; between words there is no
//! order. Moments are nanoseconds on `CLOCK_MONOTONIC`; zero: not yet.
//!
//! | word | written by | means |
//! |---|---|---|
//! | 0 | keeper | [`MAGIC`] |
//! | 1 | keeper | [`ACTIVITY_VERSION`] |
//! | 2, 3 | keeper | the boot that the moments belong to: its UUID, first and second half |
//! | 4 | keeper | last output |
//! | 5 | keeper | last input |
//! | 6 | keeper | attached clients |
//! | 7 | keeper | bytes of output since the start |
//! | 8 | daemon | processor time of the tree at its last look, in nanoseconds |
//! | 9 | daemon | start time of the youngest process, in the kernel's ticks |
//! | 10 | daemon | page faults of children that had ended and were waited for |
//! | 11 | daemon | since when the session was quiet |
//! | 12 | daemon | when it was last looked at |
//! | 13 | daemon | when the next look was planned |
//! | 14 | daemon | what its agent said last: 0 nothing, 1 busy, 2 waiting, 3 idle, 4 unknown |
//! | 15 | daemon | when |
//! | 16 | daemon | the last look that found a client attached, or the session stopped by a signal |
//! | 17 | daemon | the turn of its agent: its number times two, and one more while it is in flight |
//! | 18 | daemon | a checksum of 8 to 17: a part that was written by half proves nothing |
//! | 19 to 511 | nobody | kept, zero |

use std::time::Duration;

use super::{
    status,
    time::{BootId, Moment},
};

/// Length of the page in bytes.
pub const ACTIVITY_LENGTH: usize = 4096;
/// The first word: the bytes `atm.act` and a zero.
pub const MAGIC: u64 = u64::from_le_bytes(*b"atm.act\0");
/// Version of the layout.
pub const ACTIVITY_VERSION: u64 = 1;

/// Index of each word.
pub mod word {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// [`super::ACTIVITY_VERSION`].
    pub const VERSION: usize = 1;
    /// First half of the boot id.
    pub const BOOT_FIRST: usize = 2;
    /// Second half of the boot id.
    pub const BOOT_SECOND: usize = 3;
    /// Last output.
    pub const OUTPUT: usize = 4;
    /// Last input.
    pub const INPUT: usize = 5;
    /// Attached clients.
    pub const ATTACHED: usize = 6;
    /// Bytes of output.
    pub const OUTPUT_BYTES: usize = 7;
    /// First of what the daemon leaves: see [`super::Left`].
    pub const LEFT: usize = 8;
    /// The first that nobody writes.
    pub const END: usize = LEFT + super::LEFT_WORDS;
}

/// How many words the daemon writes, checksum included.
pub const LEFT_WORDS: usize = 11;

/// What a daemon leaves of its last look for the next one, so that idle time outlives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Processor time of the tree.
    pub cpu: Duration,
    /// Start time of the youngest process, in the kernel's ticks.
    pub youngest: u64,
    /// Page faults of children that had ended and were waited for.
    pub faults_of_ended: u64,
    /// Since when the session was quiet.
    pub quiet_since: Moment,
    /// When it was last looked at.
    pub at: Moment,
    /// When the next look was planned.
    pub due: Moment,
    /// What its agent, or a person, said last, and when.
    pub said: Option<(status::Activity, Moment)>,
    /// The last look that found a client attached, or the session stopped by a signal.
    pub attended: Option<Moment>,
    /// The last turn of its agent.
    pub turn: LeftTurn,
}

/// What is left of a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftTurn {
    /// Its number; 0: none was heard of.
    pub number: u64,
    /// Whether it was in flight.
    pub in_flight: bool,
}

impl Left {
    /// The words from [`word::LEFT`] on.
    pub fn words(&self) -> [u64; LEFT_WORDS] {
        let (code, said_at) = self.said.map_or((0, 0), |(said, at)| {
            let code = match said {
                status::Activity::Busy => 1,
                status::Activity::Waiting => 2,
                status::Activity::Idle => 3,
                status::Activity::Unknown => 4,
            };
            (code, at.as_nanos())
        });
        let cpu = u64::try_from(self.cpu.as_nanos()).unwrap_or(u64::MAX);
        let Self { youngest, faults_of_ended, .. } = *self;
        let [quiet_since, at, due] = [self.quiet_since, self.at, self.due].map(Moment::as_nanos);
        let attended = self.attended.map_or(0, Moment::as_nanos);
        let turn = (self.turn.number << 1) | u64::from(self.turn.in_flight);
        let facts = [cpu, youngest, faults_of_ended, quiet_since, at, due, code, said_at, attended, turn];
        let mut words = [checksum(facts); LEFT_WORDS];
        words.iter_mut().zip(facts).for_each(|(word, fact)| *word = fact);
        words
    }

    fn from_words(words: [u64; LEFT_WORDS]) -> Option<Self> {
        let [cpu, youngest, faults_of_ended, quiet_since, at, due, code, said_at, attended, turn, seal] =
            words;
        let facts = [cpu, youngest, faults_of_ended, quiet_since, at, due, code, said_at, attended, turn];
        let said = match code {
            0 if said_at == 0 => None,
            1 => Some(status::Activity::Busy),
            2 => Some(status::Activity::Waiting),
            3 => Some(status::Activity::Idle),
            4 => Some(status::Activity::Unknown),
            _ => return None,
        };
        let moment = Moment::from_nanos;
        (seal == checksum(facts) && quiet_since <= at && at <= due).then(|| Self {
            cpu: Duration::from_nanos(cpu),
            youngest,
            faults_of_ended,
            quiet_since: moment(quiet_since),
            at: moment(at),
            due: moment(due),
            said: said.map(|said| (said, moment(said_at))),
            attended: (attended > 0).then(|| moment(attended)),
            turn: LeftTurn { number: turn >> 1, in_flight: turn & 1 == 1 },
        })
    }
}

/// FNV-1a by words. Not zero for zeros: a page that no daemon has written on proves nothing.
fn checksum(words: [u64; LEFT_WORDS - 1]) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
        // The rotation brings high bits down, which multiplication alone never does.
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}

/// What a page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Last output; absent: none yet.
    pub output: Option<Moment>,
    /// Last input; absent: none yet.
    pub input: Option<Moment>,
    /// Attached clients.
    pub attached: u64,
    /// Bytes of output since the start.
    pub output_bytes: u64,
    /// What a daemon left of its last look; absent where none did, or what it wrote is damaged.
    pub left: Option<Left>,
}

/// Why a page says nothing. It is then unknown what happened: never "nothing happened".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActivityError {
    /// Too short, or something else.
    #[error("not an activity page")]
    NotAPage,
    /// Written by a newer keeper.
    #[error("activity page of version {0}, this program reads {ACTIVITY_VERSION}")]
    Version(u64),
    /// Its moments mean nothing now.
    #[error("activity page of another boot")]
    OtherBoot,
}

/// The two words of a boot id; zeros where it is no UUID.
pub fn boot_words(boot: &BootId) -> [u64; 2] {
    let (first, second) = boot.0.parse::<uuid::Uuid>().unwrap_or_default().as_u64_pair();
    [first, second]
}

/// Reads a page of this boot.
pub fn read(page: &[u8], boot: &BootId) -> Result<Activity, ActivityError> {
    let word = |index: usize| {
        let bytes = page.get(index * 8..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let get = |index| word(index).ok_or(ActivityError::NotAPage);
    if get(word::MAGIC)? != MAGIC {
        return Err(ActivityError::NotAPage);
    }
    match get(word::VERSION)? {
        ACTIVITY_VERSION => {}
        other => return Err(ActivityError::Version(other)),
    }
    if [get(word::BOOT_FIRST)?, get(word::BOOT_SECOND)?] != boot_words(boot) {
        return Err(ActivityError::OtherBoot);
    }
    let mut left = [0; LEFT_WORDS];
    for (index, slot) in left.iter_mut().enumerate() {
        *slot = get(word::LEFT + index)?;
    }
    let moment = |index| get(index).map(|nanos| (nanos > 0).then(|| Moment::from_nanos(nanos)));
    Ok(Activity {
        output: moment(word::OUTPUT)?,
        input: moment(word::INPUT)?,
        attached: get(word::ATTACHED)?,
        output_bytes: get(word::OUTPUT_BYTES)?,
        left: Left::from_words(left),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(words: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(ACTIVITY_LENGTH, 0);
        bytes
    }

    #[test]
    fn a_page_is_read_only_if_it_is_one_and_of_this_boot() {
        let boot = BootId("7d1c3b6e-0d2f-4b0a-9c55-1f3a2b4c5d6e".to_owned());
        let [first, second] = boot_words(&boot);
        let good = page(&[MAGIC, 1, first, second, 70, 0, 2, 9]);
        let activity = read(&good, &boot).unwrap();
        assert_eq!(activity.output, Some(Moment::from_nanos(70)));
        assert_eq!((activity.input, activity.attached, activity.output_bytes), (None, 2, 9));

        assert_eq!(activity.left, None, "zeros are no look");

        let other = BootId("00000000-0d2f-4b0a-9c55-1f3a2b4c5d6e".to_owned());
        assert_eq!(read(&good, &other), Err(ActivityError::OtherBoot));
        assert_eq!(read(&page(&[MAGIC, 2]), &boot), Err(ActivityError::Version(2)));
        assert_eq!(read(&[0; ACTIVITY_LENGTH], &boot), Err(ActivityError::NotAPage));
        assert_eq!(read(good.get(..40).unwrap(), &boot), Err(ActivityError::NotAPage));
    }

    #[test]
    fn what_a_daemon_left_is_read_back_or_not_at_all() {
        let boot = BootId("7d1c3b6e-0d2f-4b0a-9c55-1f3a2b4c5d6e".to_owned());
        let [first, second] = boot_words(&boot);
        let moment = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        for said in [None, Some((status::Activity::Waiting, moment(90)))] {
            let left = Left {
                cpu: Duration::from_millis(1234),
                youngest: 77,
                faults_of_ended: 88,
                quiet_since: moment(95),
                at: moment(100),
                due: moment(105),
                said,
                attended: said.map(|_| moment(92)),
                turn: LeftTurn { number: 7, in_flight: said.is_some() },
            };
            let mut words = vec![MAGIC, 1, first, second, 70, 0, 2, 9];
            words.extend(left.words());
            assert_eq!(words.len(), word::END);
            assert_eq!(read(&page(&words), &boot).unwrap().left, Some(left));
            for damaged in word::LEFT..word::END {
                for bit in [1, 1 << 40, 1 << 63] {
                    let mut words = words.clone();
                    words[damaged] ^= bit;
                    assert_eq!(read(&page(&words), &boot).unwrap().left, None, "word {damaged}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_left_is_read_back(
            numbers in any::<[u64; 3]>(),
            mut moments in any::<[u64; 3]>(),
            said in prop::option::of((0_usize..4, any::<u64>())),
            attended in prop::option::of(1..u64::MAX),
            (number, in_flight) in (0_u64..1 << 63, any::<bool>()),
        ) {
            use status::Activity::{Busy, Idle, Unknown, Waiting};
            moments.sort_unstable();
            let [quiet_since, at, due] = moments.map(Moment::from_nanos);
            let [cpu, youngest, faults_of_ended] = numbers;
            let left = Left {
                cpu: Duration::from_nanos(cpu),
                youngest,
                faults_of_ended,
                quiet_since,
                at,
                due,
                said: said.map(|(word, at)| ([Busy, Waiting, Idle, Unknown][word], Moment::from_nanos(at))),
                attended: attended.map(Moment::from_nanos),
                turn: LeftTurn { number, in_flight },
            };
            prop_assert_eq!(Left::from_words(left.words()), Some(left));
        }
    }
}
