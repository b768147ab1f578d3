//! How many of one thing are begun in a second.

use std::{collections::VecDeque, time::Duration};

use logvine_gossip::Instant;

/// Handovers, and renewals of records that lost a witness, that an owner begins in one second at the most (DESIGN §5.3): each asks the witnesses of two
/// records and has them write, and a node may own ten thousand sources.
const BEGUN_MOST: usize = 64;
const IN: Duration = Duration::from_secs(1);

/// What was begun in the last second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    begun: VecDeque<Instant>,
}

impl Pace {
    /// Whether one more may be begun now.
    ///
    /// Errors: when the next may be.
    pub(super) fn may_begin(&mut self, now: Instant) -> Result<(), Instant> {
        while self.begun.front().is_some_and(|at| now.since(*at) >= IN) {
            self.begun.pop_front();
        }
        match self.begun.front() {
            Some(first) if self.begun.len() >= BEGUN_MOST => Err(*first + IN),
            _ => Ok(()),
        }
    }

    /// One was begun.
    pub(super) fn note(&mut self, now: Instant) {
        self.begun.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Instant {
        Instant::from_micros(n * 1_000)
    }

    #[test]
    fn no_second_has_more_than_the_most_wherever_it_begins() {
        let (mut pace, mut begun) = (Pace::default(), Vec::new());
        for at in (0..5_000).map(millis) {
            while pace.may_begin(at).is_ok() {
                pace.note(at);
                begun.push(at);
            }
        }
        assert_eq!(begun.len(), 5 * BEGUN_MOST);
        assert!(begun.windows(BEGUN_MOST + 1).all(|some| some[BEGUN_MOST].since(some[0]) >= IN));
        assert_eq!(pace.may_begin(millis(4_999)), Err(millis(5_000)), "it says when");
    }
}
