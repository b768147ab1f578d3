//! How fast a source is, from how far it has come: an exponentially weighted mean, in integers.

use std::time::Duration;

use logvine_gossip::Instant;

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(120);
/// What was seen for less is no rate to decide by.
const WINDOW_LEAST: Duration = Duration::from_secs(10);

/// The rate of one source. Its window grows with what was seen of it, from 10 s to 120 s: until then it is the plain mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Where the source was last, in bytes, and when.
    bytes: u64,
    at: Instant,
    /// For how long it has been seen, up to the window.
    seen: Duration,
    /// Bytes a second, times 256.
    mean: u64,
}

impl Rate {
    /// Of a source that is at `bytes` now, and of which nothing else is known.
    pub fn new(now: Instant, bytes: u64) -> Self {
        Self { bytes, at: now, seen: Duration::ZERO, mean: 0 }
    }

    /// Of a source that its former owner knew to run at `bytes_per_s`.
    pub fn known(now: Instant, bytes: u64, bytes_per_s: u64) -> Self {
        Self { bytes, at: now, seen: WINDOW, mean: bytes_per_s.saturating_mul(256) }
    }

    /// The source is at `bytes` now. What goes back has moved by nothing: another file, or a rewind.
    pub fn observe(&mut self, now: Instant, bytes: u64) {
        let elapsed = now.since(self.at);
        if elapsed.is_zero() {
            return;
        }
        let micros = |duration: Duration| duration.as_micros().max(1);
        let sample = u128::from(bytes.saturating_sub(self.bytes)) * 256 * 1_000_000 / micros(elapsed);
        self.seen = (self.seen + elapsed).min(WINDOW.max(elapsed));
        // The part of the window that the sample fills.
        let (part, window) = (micros(elapsed), micros(self.seen));
        let mean = (sample * part + u128::from(self.mean) * (window - part)) / window;
        self.mean = u64::try_from(mean).unwrap_or(u64::MAX);
        (self.bytes, self.at) = (bytes, now);
    }

    /// Bytes a second.
    pub fn bytes_per_s(&self) -> u64 {
        self.mean.saturating_add(128) / 256
    }

    /// Whether it has been seen for long enough to decide by.
    pub fn is_known(&self) -> bool {
        self.seen >= WINDOW_LEAST
    }
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

    #[test]
    fn a_step_back_is_no_rate() {
        let mut rate = Rate::known(secs(0), 1 << 40, 0);
        rate.observe(secs(5), 10);
        assert_eq!(rate.bytes_per_s(), 0);
        rate.observe(secs(10), 24_010);
        assert_eq!(rate.bytes_per_s(), 200);
    }
}
