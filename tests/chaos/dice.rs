//! Choices that a seed repeats.

/// A generator of random numbers (splitmix64): small, and good enough to choose what to break next.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(from.len().max(1) as u64)).unwrap();
        from.get(index)
    }

    /// A pause of up to so many milliseconds, to the microsecond: the moment of the next blow is what is random.
    #[expect(clippy::disallowed_methods, reason = "when the next blow falls is what is random")]
    pub fn pause(&mut self, most_millis: u64) {
        std::thread::sleep(std::time::Duration::from_micros(self.below(most_millis * 1000 + 1)));
    }
}
