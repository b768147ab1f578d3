//! How fast a source is read at the most, where its node holds it back (DESIGN §5.2, rate cap).

use std::time::Duration;

use logvine_gossip::Instant;

/// However large a batch was, the next one waits no longer: a cap may be lifted at any time.
const WAIT_MOST: Duration = Duration::from_secs(10);

/// Without a cap nothing waits.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes_per_s: Option<u64>,
    until: Option<Instant>,
}

impl Pace {
    /// Holds from the next batch on; to lift it holds at once.
    pub(super) fn set(&mut self, bytes_per_s: Option<u64>) {
        self.bytes_per_s = bytes_per_s;
        self.until = self.until.filter(|_| bytes_per_s.is_some());
    }

    /// So many bytes of the source were read: the next batch waits until their time is over.
    pub(super) fn note(&mut self, now: Instant, bytes: u64) {
        if let Some(bytes_per_s) = self.bytes_per_s {
            let took = Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_s.max(1));
            self.until = Some(now + took.min(WAIT_MOST));
        }
    }

    /// What was waited for has come.
    pub(super) fn settle(&mut self, now: Instant) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Until when the next batch waits; None: for nothing.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.until
    }
}
