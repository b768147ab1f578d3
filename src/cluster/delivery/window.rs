//! How far an owner may go past what its witnesses hold: no lease, no clock of another (DESIGN §5.3, "Fencing").

use std::{collections::VecDeque, time::Duration};

use logvine_gossip::Instant;

use super::{Batch, DeliveryConfig, Lane};
use crate::{
    canary::planted,
    checkpoint::{Checkpoint, FileKey},
};

/// Emissions remembered at most: a bound for sources of many tiny batches, far above what 5 s of polling bring.
const EMISSIONS_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Window {
    bytes_max: u64,
    age_max: Duration,
    held: Checkpoint,
    /// What was emitted and is not held, in order of time.
    unheld: VecDeque<Emission>,
    bytes: u64,
}

#[derive(Debug)]
struct Emission {
    file: FileKey,
    end: u64,
    span: u64,
    at: Instant,
}

impl Window {
    pub(super) fn new(config: &DeliveryConfig, held: Checkpoint) -> Self {
        Self { bytes_max: config.window_bytes, age_max: config.window_age, held, unheld: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn has_room(&self, now: Instant, span: u64) -> bool {
        let young = self.unheld.front().is_none_or(|oldest| now.since(oldest.at) <= self.age_max);
        let small = self.unheld.is_empty() || self.bytes + span <= self.bytes_max;
        (young && small && self.unheld.len() < EMISSIONS_MAX) || planted("window-unbounded")
    }

    /// Whether whoever reads the file next gives its lines the same ids: as which file it is read is held.
    pub(super) fn names(&self, file: &FileKey) -> bool {
        self.held.files.last_key_value().is_some_and(|(last, _)| last >= file) || planted("name-unheld")
    }

    pub(super) fn emit(&mut self, now: Instant, batch: &Batch) {
        let emission = Emission { file: batch.file, end: batch.end.offset, span: batch.span(), at: now };
        self.bytes += emission.span;
        self.unheld.push_back(emission);
    }

    /// Forgets the emissions that a reader resuming at `checkpoint` would not repeat. One of another rewind says nothing about them.
    pub(super) fn hold(&mut self, checkpoint: &Checkpoint, lanes: &[Lane]) {
        if checkpoint.rewind != self.held.rewind {
            return;
        }
        self.held.merge(checkpoint);
        let held = &self.held;
        let covers = |emission: &Emission| {
            let later = held.files.last_key_value().is_some_and(|(file, _)| *file > emission.file);
            let reached = held.files.get(&emission.file).is_some_and(|positions| {
                lanes.iter().all(|lane| positions.get(&lane.sender).is_some_and(|position| position.offset >= emission.end))
            });
            later || reached
        };
        self.unheld.retain(|emission| !covers(emission));
        self.bytes = self.unheld.iter().map(|emission| emission.span).sum();
    }
}
