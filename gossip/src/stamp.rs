//! Stamps: the order of writes to the catalog.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{UnixMicros, canary::planted};

/// A hybrid logical clock's reading: 48 bits of wall milliseconds, 16 bits of counter (Kulkarni et al. 2014).
///
/// Two nodes may make the same stamp; (stamp, origin) orders all writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Before every stamp that a clock makes.
    pub const ZERO: Self = Self(0);

    /// The first stamp of a wall millisecond.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis << 16)
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The wall milliseconds in it.
    pub const fn as_millis(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Stamp {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Makes stamps above the wall clock's last reading and above every stamp seen, so what has been seen can always be overruled.
#[derive(Debug, Clone)]
pub struct HybridClock {
    last: Stamp,
    /// How far above the last stamp the next one is while the wall clock is behind; else it is one less above the first of the millisecond.
    stride: u64,
}

impl Default for HybridClock {
    fn default() -> Self {
        Self { last: Stamp::ZERO, stride: 1 }
    }
}

impl HybridClock {
    /// From now on goes in strides of at most a millisecond, drawn from `seed`: who begins again where it has been, without knowing it, or at a time that was before, makes other stamps.
    pub fn stride_by(&mut self, seed: u64) {
        self.stride = 1 + (seed & 0xffff);
    }

    /// A stamp greater than all that this clock has made or seen.
    pub fn tick(&mut self, wall: UnixMicros) -> Stamp {
        let by_wall = Stamp::from_millis(wall.as_millis()).0.saturating_add(self.stride - 1);
        self.last = Stamp(by_wall.max(self.last.0.saturating_add(self.stride)));
        self.last
    }

    /// Takes note of another's stamp.
    pub fn observe(&mut self, stamp: Stamp) {
        if !planted("stamp-below-seen") {
            self.last = self.last.max(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kulkarni et al. 2014: a clock that stands still, or steps back, still makes growing stamps.
    #[test]
    fn stamps_grow_whatever_the_wall_clock_does() {
        let mut clock = HybridClock::default();
        let first = clock.tick(UnixMicros(5_000_000));
        let second = clock.tick(UnixMicros(5_000_000));
        let third = clock.tick(UnixMicros(1_000_000));
        assert!(first < second && second < third);
    }

    /// A disk that has forgotten which stamps its node gave: another life makes others above the same one, and at the same time, should its clock step back.
    #[test]
    fn two_lives_make_different_stamps() {
        let begin = |seed| {
            let mut clock = HybridClock::default();
            clock.stride_by(seed);
            clock
        };
        let after = |seed| {
            let mut clock = begin(seed);
            clock.observe(Stamp::from_millis(9_999_999_999));
            (0..3).map(|_| clock.tick(UnixMicros(1))).collect::<Vec<_>>()
        };
        assert_ne!(begin(0x12).tick(UnixMicros(5_000)), begin(0x3456).tick(UnixMicros(5_000)));
        assert_eq!(begin(0xffff).tick(UnixMicros(5_000)).as_millis(), 5);
        assert!(after(0x12).iter().all(|stamp| !after(0x3456).contains(stamp)));
        assert_eq!(after(0xffff)[0], Stamp::from_millis(10_000_000_000), "a stride is a millisecond at most");
    }

    #[test]
    fn a_stamp_seen_can_be_overruled() {
        let mut clock = HybridClock::default();
        let ahead = Stamp::from_millis(9_999_999_999);
        clock.observe(ahead);
        assert!(clock.tick(UnixMicros(1)) > ahead);
    }

    #[test]
    #[cfg(feature = "canary")]
    fn canaries_are_seen() {
        crate::canary::turns_red("stamp-below-seen", a_stamp_seen_can_be_overruled);
    }
}
