//! Chance, as separate streams of one seed: a further draw for one concern does not reshuffle the others.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::file::seconds;

/// What a stream of chance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Which troubles exist at all, sizes and knobs.
    Swarm(Topic),
    /// When and where faults strike.
    Faults,
    /// The same for the n-th kind of fault that a seed draws.
    Kind(usize),
    Network,
    Disk,
    Sources,
    Sink,
    /// The data plane's own delays.
    Plane,
    /// How late slow processes are.
    Slow,
    /// The n-th node's seed.
    Node(usize),
}

/// What is drawn of a scenario as a whole, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Size = 0,
    Clocks = 1,
    Network = 2,
    Disk = 3,
    Sink = 4,
    Plane = 5,
    Knobs = 6,
    /// Sources and senders.
    Work = 7,
    Length = 8,
    Core = 9,
    Returns = 10,
}

/// The stream of `seed` for `concern`. Streams never meet: ChaCha's stream number is part of its state.
pub fn stream(seed: u64, concern: Concern) -> ChaCha8Rng {
    let number = match concern {
        Concern::Swarm(topic) => 100 + topic as u64,
        Concern::Faults => 1,
        Concern::Kind(number) => 200 + number as u64,
        Concern::Network => 2,
        Concern::Disk => 3,
        Concern::Sources => 4,
        Concern::Sink => 5,
        Concern::Plane => 6,
        Concern::Slow => 7,
        Concern::Node(at) => 1_000 + at as u64,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// Whether something that happens `per_mille` times in a thousand happens now.
pub fn happens(rng: &mut ChaCha8Rng, per_mille: u32) -> bool {
    rng.random_ratio(per_mille.min(1_000), 1_000)
}

/// A delay: never less than `least`, usually a little more, now and then much more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    #[serde(with = "seconds")]
    pub least: Duration,
    /// What comes on top is above this in half of the cases, above twice this in a quarter, and so on.
    #[serde(default, with = "seconds")]
    pub half: Duration,
}

impl Delay {
    /// Always the same.
    pub const fn fixed(least: Duration) -> Self {
        Self { least, half: Duration::ZERO }
    }

    /// One drawn delay. Whole numbers only, so that every platform draws alike.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Duration {
        if self.half.is_zero() {
            return self.least;
        }
        let halvings = rng.next_u64().leading_zeros().min(12);
        let rest = rng.random_range(0..=u64::try_from(self.half.as_micros()).unwrap_or(u64::MAX));
        self.least + self.half * halvings + Duration::from_micros(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_for_one_concern_leaves_the_others_as_they_were() {
        let mut network = stream(7, Concern::Network);
        let undisturbed = stream(7, Concern::Disk).next_u64();
        network.next_u64();
        assert_eq!(stream(7, Concern::Disk).next_u64(), undisturbed);
        assert_ne!(stream(7, Concern::Network).next_u64(), undisturbed);
    }

    #[test]
    fn a_delay_is_never_less_than_its_least() {
        let mut rng = stream(1, Concern::Network);
        let delay = Delay { least: Duration::from_millis(2), half: Duration::from_millis(1) };
        let drawn: Vec<_> = (0..1_000).map(|_| delay.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|one| *one >= delay.least));
        let above = drawn.iter().filter(|one| **one > delay.least + delay.half).count();
        assert!((400..600).contains(&above), "half of the draws are above the half: {above}");
    }
}
