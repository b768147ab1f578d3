//! How fast a source is, from how far it has come: an exponentially weighted mean, in integers.

use std::time::Duration;

use logvine_gossip::Instant;
use serde::{Deserialize, Serialize};

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(120);
/// What was seen for less is no rate to decide by.
const WINDOW_LEAST: Duration = Duration::from_secs(10);

/// A rate as a disk keeps it while its node is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRate {
    bytes: u64,
    mean: u64,
    seen: Duration,
    unseen: Duration,
}

impl KeptRate {
    /// Bytes a second.
    pub fn bytes_per_s(&self) -> u64 {
        rounded(self.mean)
    }

    /// The same, when nobody has looked for so much longer.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self { unseen: self.unseen + by, ..self }
    }
}

/// The rate of one source. Its window grows with what was seen of it, from 10 s to 120 s: until then it is the plain mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Where the source was last, in bytes, and when.
    bytes: u64,
    at: Instant,
    /// For how long nobody looked before that, while the source went on: its node was away. What was written then is still to be read.
    unseen: Duration,
    /// For how long it has been seen, up to the window.
    seen: Duration,
    /// Bytes a second, times 256.
    mean: u64,
}

impl Rate {
    /// Of a source that is at `bytes` now, and of which nothing else is known.
    pub fn new(now: Instant, bytes: u64) -> Self {
        Self { bytes, at: now, unseen: Duration::ZERO, seen: Duration::ZERO, mean: 0 }
    }

    /// Of a source that its former owner knew to run at `bytes_per_s`.
    pub fn known(now: Instant, bytes: u64, bytes_per_s: u64) -> Self {
        Self { bytes, at: now, unseen: Duration::ZERO, seen: WINDOW, mean: bytes_per_s.saturating_mul(256) }
    }

    /// Of a source that this node takes up again.
    pub fn resume(now: Instant, kept: KeptRate) -> Self {
        let KeptRate { bytes, mean, seen, unseen } = kept;
        Self { bytes, at: now, unseen, seen, mean }
    }

    /// To be resumed by the node's next life.
    pub fn keep(&self, now: Instant) -> KeptRate {
        KeptRate { bytes: self.bytes, mean: self.mean, seen: self.seen, unseen: self.unseen + now.since(self.at) }
    }

    /// Whether it goes by what was known before its node was away: what was written meanwhile is still being read.
    pub fn is_catching_up(&self) -> bool {
        !self.unseen.is_zero()
    }

    /// The source is at `bytes` now. What goes back has moved by nothing: another file, or a rewind.
    pub fn observe(&mut self, now: Instant, bytes: u64) {
        let elapsed = now.since(self.at);
        if elapsed.is_zero() {
            return;
        }
        if self.is_catching_up() && elapsed < WINDOW {
            if self.has_caught_up(elapsed, bytes) {
                // When it did is chance, and no news of how fast the source is.
                (self.bytes, self.at, self.unseen) = (bytes, now, Duration::ZERO);
            }
            return;
        }
        let elapsed = elapsed + std::mem::take(&mut self.unseen);
        let micros = |duration: Duration| duration.as_micros().max(1);
        let sample = u128::from(bytes.saturating_sub(self.bytes)) * 256 * 1_000_000 / micros(elapsed);
        self.seen = (self.seen + elapsed).min(WINDOW.max(elapsed));
        // The part of the window that the sample fills.
        let (part, window) = (micros(elapsed), micros(self.seen));
        let mean = (sample * part + u128::from(self.mean) * (window - part)) / window;
        self.mean = u64::try_from(mean).unwrap_or(u64::MAX);
        (self.bytes, self.at) = (bytes, now);
    }

    /// Whether a source that is `bytes` far has come to where it would be at its rate. One that has grown slower does not.
    fn has_caught_up(&self, elapsed: Duration, bytes: u64) -> bool {
        let due = u128::from(self.mean) * (elapsed + self.unseen).as_micros() / (256 * 1_000_000);
        u128::from(bytes.saturating_sub(self.bytes)) >= due
    }

    /// Bytes a second.
    pub fn bytes_per_s(&self) -> u64 {
        rounded(self.mean)
    }

    /// Whether it has been seen for long enough to decide by.
    pub fn is_known(&self) -> bool {
        self.seen >= WINDOW_LEAST
    }
}

fn rounded(mean: u64) -> u64 {
    mean.saturating_add(128) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Instant {
        Instant::from_micros(n * 1_000_000)
    }

    /// Seen every five seconds, at so many bytes a second in each.
    fn seen(rate: &mut Rate, from: u64, rates: &[u64]) {
        let mut bytes = rate.bytes;
        for (n, per_s) in (1..).zip(rates) {
            bytes += per_s * 5;
            rate.observe(secs(from + n * 5), bytes);
        }
    }

    #[test]
    fn a_constant_rate_is_known_at_once_and_for_ever() {
        let mut rate = Rate::new(secs(0), 700);
        assert!(!rate.is_known());
        seen(&mut rate, 0, &[1_000]);
        assert_eq!((rate.bytes_per_s(), rate.is_known()), (1_000, false));
        seen(&mut rate, 5, &[1_000; 1_000]);
        assert_eq!((rate.bytes_per_s(), rate.is_known()), (1_000, true));
    }

    #[test]
    fn a_young_rate_is_the_plain_mean_an_old_one_forgets() {
        let mut rate = Rate::new(secs(0), 0);
        seen(&mut rate, 0, &[4_000, 0, 0, 0]);
        assert_eq!(rate.bytes_per_s(), 1_000);
        let mut rate = Rate::known(secs(0), 0, 4_000);
        seen(&mut rate, 0, &[0; 24]);
        assert!((1_300..1_500).contains(&rate.bytes_per_s()), "1/e after 120 s: {}", rate.bytes_per_s());
    }

    /// Half a minute of 1,000 bytes a second waits to be read when the node is back, and is read at 3,000.
    #[test]
    fn what_was_written_while_the_node_was_away_is_no_faster_source() {
        let before = Rate::known(secs(0), 0, 1_000);
        let mut rate = Rate::resume(secs(100), before.keep(secs(0)).later(Duration::from_secs(30)));
        let mut bytes = 0;
        for tick in 1..=100 {
            bytes = (30_000 + tick * 5_000).min(tick * 15_000);
            rate.observe(secs(100 + tick * 5), bytes);
            assert_eq!((rate.bytes_per_s(), rate.is_catching_up()), (1_000, tick < 3), "{}", tick * 5);
        }
        seen(&mut rate, 600, &[2_000; 24]);
        assert!((1_600..1_700).contains(&rate.bytes_per_s()), "and it is a rate as any other: {} at {bytes}", rate.bytes_per_s());
    }

    #[test]
    fn who_is_slower_after_an_absence_is_known_to_be_after_a_window() {
        let mut rate = Rate::resume(secs(100), Rate::known(secs(0), 0, 1_000).keep(secs(0)).later(Duration::from_secs(30)));
        seen(&mut rate, 100, &[100; 24]);
        assert_eq!((rate.bytes_per_s(), rate.is_catching_up()), (80, false));
    }

    #[test]
    fn a_step_back_is_no_rate() {
        let mut rate = Rate::known(secs(0), 1 << 40, 0);
        rate.observe(secs(5), 10);
        assert_eq!(rate.bytes_per_s(), 0);
        rate.observe(secs(10), 24_010);
        assert_eq!(rate.bytes_per_s(), 200);
    }
}
