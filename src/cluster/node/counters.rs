//! What a node counts of its sources' moves since its start, for metrics. It decides nothing.

use std::{collections::BTreeMap, time::Duration};

use crate::event::{Event, Why};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Sources taken, by the word for why.
    pub taken: BTreeMap<&'static str, u64>,
    /// Sources given away or stopped, by the word for why.
    pub released: BTreeMap<&'static str, u64>,
    /// Sources that this node stopped as it saw a higher epoch.
    pub fenced: u64,
    /// Sources taken with less than a majority of their witnesses.
    pub without_majority: u64,
    /// Handovers whose flush did not end in time: the new owner reads the rest again.
    pub unflushed: u64,
    /// From the close of a source that this node hands over to the new owner's word that it has it.
    pub handover_pauses: Pauses,
    /// From this node's learning that an owner is gone to its own first read.
    pub takeover_pauses: Pauses,
}

/// For how long sources stood still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pauses {
    pub count: u64,
    pub total: Duration,
    pub longest: Duration,
}

impl Pauses {
    pub(super) fn add(&mut self, pause: Duration) {
        self.count += 1;
        self.total += pause;
        self.longest = self.longest.max(pause);
    }
}

impl Counters {
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Taken { why, .. } => *self.taken.entry(why.word()).or_default() += 1,
            Event::Released { why, .. } => *self.released.entry(why.word()).or_default() += 1,
            Event::Fenced { .. } => self.fenced += 1,
            Event::WithoutMajority { .. } => self.without_majority += 1,
            _ => {}
        }
    }

    /// How often lines may have been sent a second time, by at most a window each (DESIGN §9, S4).
    pub fn repeats(&self) -> u64 {
        let took_over = self.taken.get(Why::TOOK_OVER).copied().unwrap_or(0);
        took_over + self.unflushed
    }
}
