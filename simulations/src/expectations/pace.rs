//! Whether nodes that were started together go in step: probe, and answer, all at the same moments of the probe period.

use std::time::Duration;

use logvine_gossip::{GossipConfig, Instant};

use super::{Expectation, Found};
use crate::world::World;

/// Into so many parts a probe period is cut.
const PARTS: usize = 25;
/// A fifth of them, the busiest: of what nodes send that do not go in step, a fifth and a little falls there.
const BUSIEST: usize = PARTS / 5;
const COUNTED: Duration = Duration::from_secs(20);

/// Datagrams by the part of the probe period in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Pace {
    until: Option<Instant>,
    sent: [u32; PARTS],
}

impl Pace {
    pub(super) fn new(expects: &[Expectation]) -> Self {
        let until = expects.iter().find_map(|one| if let Expectation::NotInStep { at } = one { Some(Instant::ZERO + *at) } else { None });
        Self { until, ..Self::default() }
    }

    fn count(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now < until && until.since(now) <= COUNTED) {
            let period = GossipConfig::lan().probe_period.as_micros();
            let part = u128::from(now.as_micros()) % period * PARTS as u128 / period;
            self.sent[usize::try_from(part).expect("a part of 25")] += 1;
        }
    }

    /// Half of all in a fifth of the time is no chance: at four nodes some five hundred datagrams are counted.
    pub(super) fn is_spread(&self) -> Found {
        let mut sent = self.sent;
        sent.sort_unstable();
        let (busiest, all) = (sent[PARTS - BUSIEST..].iter().sum::<u32>(), sent.iter().sum::<u32>());
        if busiest * 2 < all { Ok(()) } else { Err(("", format!("{busiest} of {all} datagrams are sent in a fifth of the time"))) }
    }
}

impl World {
    pub(crate) fn note_pace(&mut self) {
        self.watch.pace.count(self.now);
    }
}
