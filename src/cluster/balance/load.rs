//! A node's load and what it bears, each as one number: bytes a second, or what is worth as much.

use std::time::Duration;

use logvine_gossip::Instant;
use serde::{Deserialize, Serialize};

use crate::ranking::{Capacity, log2, nats};

/// What a node of capacity 0 bears, in bytes a second: one of capacity 16, which has one core, bears sixteen times that.
const UNIT: u64 = 1 << 20;
/// Quarter octaves, in 1/65,536: 2^(n/4).
const QUARTERS: [u64; 4] = [65_536, 77_936, 92_682, 110_218];

/// The load that a node of this capacity bears.
pub fn bearable(capacity: Capacity) -> u64 {
    // Beyond 2^32 units nobody measures any more.
    let octaves = u32::from(capacity.0 / 4).min(32);
    (u128::from(QUARTERS[usize::from(capacity.0 % 4)] * UNIT) << octaves >> 16).try_into().unwrap_or(u64::MAX)
}

/// What the host measures of a node's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostLoad {
    /// Time on processors since it was told last, in thousandths of what the node may use.
    pub cpu_permille: u32,
    /// How full the queues of its sources' slowest senders are, in thousandths, on average.
    pub queue_permille: u32,
}

/// The scalar: the greatest of CPU share, bytes a second over capacity, and sender queue (DESIGN §5.2).
///
/// What is measured of a process lags behind what it was given; a node that went by it would give away too much. So the measures go into the *cost* of a byte,
/// slowly, and the load is the bytes at that cost: it falls in the moment in which a source goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    byte: ByteCost,
    host: HostLoad,
    is_measured: bool,
}

/// What a byte costs a node, in 1/65,536 of one: from one to sixteen. A node says it in its map, as `cost`, so that others know what a source of theirs would
/// weigh there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u32")]
pub struct ByteCost(u32);

const ONE: u32 = 1 << 16;
/// A byte never costs more than so many.
const COST_MOST: u32 = 16;

impl Default for ByteCost {
    fn default() -> Self {
        Self(ONE)
    }
}

impl From<u32> for ByteCost {
    fn from(cost: u32) -> Self {
        Self(cost.clamp(ONE, COST_MOST * ONE))
    }
}

impl ByteCost {
    /// What a source of this rate weighs.
    pub fn of(self, bytes_per_s: u64) -> u64 {
        u64::try_from((u128::from(bytes_per_s) * u128::from(self.0)) >> 16).unwrap_or(u64::MAX)
    }

    /// The rate of a source that weighs so much: what [`Self::of`] takes.
    pub fn rate_of(self, weight: u64) -> u64 {
        u64::try_from((u128::from(weight) << 16) / u128::from(self.0.max(1))).unwrap_or(u64::MAX)
    }

    /// What is to be told, where `said` was told last: that, while it is off by less than a sixteenth. Who lets a source in reckons exactly.
    #[must_use]
    pub fn told(self, said: Self) -> Self {
        if self.0.abs_diff(said.0) < said.0 / 16 { said } else { self }
    }
}

impl Cost {
    /// The host has measured, while `bytes_per_s` went through the node.
    pub fn observe(&mut self, host: HostLoad, capacity: Capacity, bytes_per_s: u64) {
        self.host = host;
        if is_next_to_nothing(capacity, bytes_per_s) {
            return;
        }
        let measured = u128::from(self.measured(capacity).max(bytes_per_s));
        if let Some(sample) = (measured << 16).checked_div(u128::from(bytes_per_s)) {
            let sample = ByteCost::from(u32::try_from(sample).unwrap_or(u32::MAX));
            // A mean over some twenty measures.
            self.byte = ByteCost((self.byte.0 * 19 + sample.0) / 20);
            self.is_measured = true;
        }
    }

    /// What a byte costs the others. A node that has measured nothing yet goes by that: it lets sources in before it can know what they cost.
    pub fn assume(&mut self, usual: ByteCost) {
        if !self.is_measured {
            self.byte = usual;
        }
    }

    /// What a byte costs here.
    pub fn byte(&self) -> ByteCost {
        self.byte
    }

    /// The load of a node through which so much goes.
    pub fn load(&self, capacity: Capacity, bytes_per_s: u64) -> u64 {
        if is_next_to_nothing(capacity, bytes_per_s) { self.measured(capacity).max(bytes_per_s) } else { self.byte.of(bytes_per_s) }
    }

    fn measured(&self, capacity: Capacity) -> u64 {
        let permille = self.host.cpu_permille.max(self.host.queue_permille).min(1_000);
        bearable(capacity) / 1_000 * u64::from(permille)
    }
}

/// What is busy with next to no bytes is busy with something else, and says nothing of what they cost.
fn is_next_to_nothing(capacity: Capacity, bytes_per_s: u64) -> bool {
    bytes_per_s < bearable(capacity) / 64
}

/// When a capacity that was measured is worth a word.
const OFF_FOR: Duration = Duration::from_secs(60);
/// From one step to the next.
const STEP_EVERY: Duration = Duration::from_secs(300);
/// How far off it must be, in 1/65,536 of a step.
const OFF_BY: i64 = 49_152;

/// A node's capacity, as it says it: a step at a time, and seldom, since all rankings hang on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowCapacity {
    said: Capacity,
    changed: Instant,
    off_since: Option<Instant>,
}

impl SlowCapacity {
    /// As configured, or as measured at the start.
    pub fn new(now: Instant, capacity: Capacity) -> Self {
        Self { said: capacity, changed: now, off_since: None }
    }

    /// What is said.
    pub fn said(&self) -> Capacity {
        self.said
    }

    /// The node can bear this load now. Returns what is to be said from now on, if that has changed.
    pub fn observe(&mut self, now: Instant, bears: u64) -> Option<Capacity> {
        // In quarter octaves above a unit, 1/65,536 of each: 4·log2 = 4·ln / ln 2.
        let steps = |load: u64| nats(log2(u128::from(load.max(1)))) * 4 * 65_536 / nats(1 << 32);
        let off = steps(bears) - steps(bearable(self.said));
        if off.abs() < OFF_BY {
            self.off_since = None;
            return None;
        }
        let since = *self.off_since.get_or_insert(now);
        let is_due = (now.since(since) >= OFF_FOR && now.since(self.changed) >= STEP_EVERY) || crate::canary::planted("capacity-jumps");
        if !is_due {
            return None;
        }
        self.said = Capacity(if off > 0 { self.said.0.saturating_add(1) } else { self.said.0.saturating_sub(1) });
        (self.changed, self.off_since) = (now, None);
        Some(self.said)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn secs(n: u64) -> Instant {
        Instant::from_micros(n * 1_000_000)
    }

    #[test]
    fn four_quarter_octaves_bear_twice_as_much() {
        assert_eq!(bearable(Capacity(16)), 16 << 20);
        for n in 0..120 {
            assert!(bearable(Capacity(n + 4)).abs_diff(2 * bearable(Capacity(n))) < 2, "{n}");
            assert!(bearable(Capacity(n + 1)) > bearable(Capacity(n)));
        }
    }

    #[test]
    fn a_byte_costs_what_the_processors_say() {
        let (one_core, mut cost) = (Capacity(16), Cost::default());
        assert_eq!(cost.load(one_core, 4 << 20), 4 << 20);
        for _ in 0..200 {
            // Half of the processor for a quarter of the bytes that it bears.
            cost.observe(HostLoad { cpu_permille: 500, queue_permille: 100 }, one_core, 4 << 20);
        }
        let half = cost.load(one_core, 4 << 20);
        assert!(half.abs_diff(8 << 20) < 100_000, "{half}");
        let after = cost.load(one_core, 2 << 20);
        assert!(after.abs_diff(4 << 20) < 100_000, "a source that goes takes its cost with it at once: {after}");
        let byte = cost.byte();
        assert!(byte.rate_of(byte.of(3 << 20)).abs_diff(3 << 20) <= 1, "and its weight says how fast it is");
    }

    #[test]
    fn a_byte_costs_what_it_costs_others_until_it_is_measured() {
        let (one_core, mut cost) = (Capacity(16), Cost::default());
        cost.assume(ByteCost::from(8 << 16));
        cost.observe(HostLoad { cpu_permille: 5, queue_permille: 0 }, one_core, 10);
        cost.assume(ByteCost::from(4 << 16));
        assert_eq!(cost.byte().of(1_000), 4_000, "nothing of what a byte costs was to be seen in ten");
        cost.observe(HostLoad { cpu_permille: 500, queue_permille: 0 }, one_core, 4 << 20);
        cost.assume(ByteCost::from(8 << 16));
        let measured = cost.byte().of(1_000);
        assert!((3_800..4_000).contains(&measured), "from where it was it goes by what is measured: {measured}");
    }

    #[test]
    fn who_is_busy_without_bytes_is_busy() {
        let mut cost = Cost::default();
        cost.observe(HostLoad { cpu_permille: 900, queue_permille: 0 }, Capacity(16), 0);
        assert!(cost.load(Capacity(16), 0) > 14 << 20);
    }

    /// An idle process is never quite idle: a byte does not cost sixteen because ten came by.
    #[test]
    fn who_does_next_to_nothing_learns_nothing_of_what_a_byte_costs() {
        let mut cost = Cost::default();
        for _ in 0..200 {
            cost.observe(HostLoad { cpu_permille: 5, queue_permille: 0 }, Capacity(16), 10);
        }
        assert_eq!(cost.byte(), ByteCost::default());
    }

    #[test]
    fn a_cost_is_told_when_it_is_off_by_a_sixteenth() {
        let said = ByteCost::from(160_000);
        let told = |cost| ByteCost::from(cost).told(said);
        assert_eq!([told(151_000), told(169_999), told(170_000)], [said, said, ByteCost(170_000)]);
        assert_eq!(
            [ByteCost::from(0), ByteCost::from(u32::MAX)],
            [ByteCost(ONE), ByteCost(16 * ONE)],
            "whatever is said, a byte costs one to sixteen"
        );
    }

    #[test]
    pub(crate) fn a_capacity_changes_by_a_step_and_seldom() {
        let mut capacity = SlowCapacity::new(secs(0), Capacity(16));
        let half = 8 << 20;
        let said: Vec<_> = (0..1_200).filter_map(|n| Some((n, capacity.observe(secs(n), half)?.0))).collect();
        assert_eq!(said, [(300, 15), (600, 14), (900, 13)]);
    }

    #[test]
    fn a_capacity_that_trembles_is_no_news() {
        let mut capacity = SlowCapacity::new(secs(0), Capacity(16));
        let trembling = |n| if n % 50 == 0 { 16 << 20 } else { 8 << 20 };
        assert!((0..5_000).all(|n| capacity.observe(secs(n), trembling(n)).is_none()), "never off for a minute");
        assert!((5_000..9_000).all(|n| capacity.observe(secs(n), 15 << 20).is_none()), "off by less than three quarters of a step");
    }
}
