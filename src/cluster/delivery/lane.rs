//! One sender of a source: how far it is, and how it does.

use std::time::Duration;

use logvine_gossip::Instant;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Batch, BatchId, DeliveryConfig, Records, SendId, Trouble};
use crate::{
    checkpoint::{FileKey, Position},
    name::Name,
};

/// Records of one batch that one sender has not acknowledged.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) records: Records,
    pub(super) attempts: u32,
    pub(super) state: PartState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartState {
    Ready,
    /// On its way to the sink, or to the dead letters.
    Sent(SendId),
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) sender: Name,
    /// Everything before it is acknowledged.
    pub(super) cursor: Option<(FileKey, Position)>,
    /// The first batch that is not wholly before `cursor`.
    pub(super) next: BatchId,
    pub(super) in_flight: usize,
    /// Failures in a row.
    failures: u32,
    /// Sends before this one were on their way when the last one failed: their outcomes are news of the same moment.
    probe: SendId,
    pub(super) blocked_until: Option<Instant>,
    pub(super) trouble: Option<Trouble>,
}

impl Lane {
    pub(super) fn new(sender: Name, cursor: Option<(FileKey, Position)>) -> Self {
        Self { sender, cursor, next: BatchId(0), in_flight: 0, failures: 0, probe: SendId(0), blocked_until: None, trouble: None }
    }

    /// Whether this sender had acknowledged all of the batch before it was read (again).
    pub(super) fn is_past(&self, batch: &Batch) -> bool {
        self.cursor.is_some_and(|(file, position)| file > batch.file || file == batch.file && position.offset >= batch.end.offset)
    }

    /// Moves the cursor there if that is ahead; says whether it did.
    pub(super) fn reach(&mut self, file: FileKey, position: Position) -> bool {
        let ahead = self.cursor.is_none_or(|(at_file, at)| (file, position.offset) > (at_file, at.offset));
        if ahead {
            self.cursor = Some((file, position));
        }
        ahead
    }

    /// A sender in trouble gets one batch at a time, so that a sink that comes back is not met by all that has waited.
    pub(super) fn may_send(&self, now: Instant, sends_max: usize) -> bool {
        let sends_max = if self.trouble.is_some() { 1 } else { sends_max };
        self.in_flight < sends_max && self.blocked_until.is_none_or(|until| now >= until)
    }

    /// A send succeeded. One from before the failure does not lift the wait that the sink asked for since.
    pub(super) fn recover(&mut self, send: SendId) {
        if send >= self.probe {
            self.failures = 0;
            self.blocked_until = None;
            self.trouble = None;
        }
    }

    /// Exponential back-off with "equal jitter" (Brooker 2015): half of the wait is fixed, half is drawn.
    pub(super) fn retry_later(&mut self, failure: Failure, config: &DeliveryConfig, rng: &mut ChaCha8Rng, reason: String, after: Option<Duration>) {
        self.trouble = Some(Trouble::Retrying { reason });
        if failure.send >= self.probe {
            self.failures = self.failures.saturating_add(1);
            let least = config.retry_least.saturating_mul(1 << (self.failures - 1).min(16)).min(config.retry_most / 2);
            let wait = least + least.mul_f64(rng.random_range(0.0..1.0));
            self.blocked_until = Some(failure.at + wait);
            self.probe = failure.next_send;
        }
        let asked = after.map(|after| failure.at + after.min(config.after_max));
        self.blocked_until = self.blocked_until.max(asked);
    }

    pub(super) fn pause(&mut self, failure: Failure, config: &DeliveryConfig, reason: String) {
        self.trouble = Some(Trouble::Paused { reason });
        self.blocked_until = self.blocked_until.max(Some(failure.at + config.paused_every));
        self.probe = self.probe.max(failure.next_send);
    }
}

/// A send that did not succeed, and the first that can be news after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) at: Instant,
    pub(super) send: SendId,
    pub(super) next_send: SendId,
}
