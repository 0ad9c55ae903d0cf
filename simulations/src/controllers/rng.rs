//! The only source of chance: one number sequence per seed.

use ha_core::balance::mix;

#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Rng(mix(seed))
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `low..high`.
    pub const fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// Whether something with this probability, in percent, happens.
    pub const fn percent(&mut self, p: u64) -> bool {
        self.within(0, 100) < p
    }
}
