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
//! | 8 | daemon | processor time of the tree at its last sample, in nanoseconds |
//! | 9 | daemon | new processes seen by its samples |
//! | 10 to 511 | nobody | kept, zero |

use super::time::{BootId, Moment};

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
    /// Processor time.
    pub const CPU: usize = 8;
    /// New processes.
    pub const FORKS: usize = 9;
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
    /// Processor time of the tree, in nanoseconds, as the daemon last saw it.
    pub cpu_nanos: u64,
    /// New processes that the daemon has seen.
    pub forks: u64,
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
    let moment = |index| get(index).map(|nanos| (nanos > 0).then(|| Moment::from_nanos(nanos)));
    Ok(Activity {
        output: moment(word::OUTPUT)?,
        input: moment(word::INPUT)?,
        attached: get(word::ATTACHED)?,
        output_bytes: get(word::OUTPUT_BYTES)?,
        cpu_nanos: get(word::CPU)?,
        forks: get(word::FORKS)?,
    })
}

#[cfg(test)]
mod tests {
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

        let other = BootId("00000000-0d2f-4b0a-9c55-1f3a2b4c5d6e".to_owned());
        assert_eq!(read(&good, &other), Err(ActivityError::OtherBoot));
        assert_eq!(read(&page(&[MAGIC, 2]), &boot), Err(ActivityError::Version(2)));
        assert_eq!(read(&[0; ACTIVITY_LENGTH], &boot), Err(ActivityError::NotAPage));
        assert_eq!(read(good.get(..40).unwrap(), &boot), Err(ActivityError::NotAPage));
    }
}
