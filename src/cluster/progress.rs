//! How far a source that this node owns is acknowledged, and how far its witnesses hold that (DESIGN §5.3, "Fencing").
//!
//! Checkpoints of one ownership only grow, so they are numbered: a witness that acknowledged number n holds all before it.

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{Instant, NodeId};

use crate::{checkpoint::Checkpoint, record::Record};

/// An owner without a majority for this long says so, and leaves its sources out of its heartbeats.
const MAJORITY_LOST: Duration = Duration::from_secs(10);

/// The numbered checkpoints of one ownership.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Those not yet held by a majority, by number; never empty: the last one is the present one.
    checkpoints: BTreeMap<u64, Checkpoint>,
    held: Checkpoint,
    acknowledged: BTreeMap<NodeId, (u64, Instant)>,
    /// When it began, or had a majority last.
    majority_at: Instant,
}

impl Progress {
    /// An ownership that begins at a checkpoint which a majority holds.
    pub(crate) fn new(now: Instant, checkpoint: Checkpoint) -> Self {
        Self { checkpoints: BTreeMap::from([(0, checkpoint.clone())]), held: checkpoint, acknowledged: BTreeMap::new(), majority_at: now }
    }

    /// The senders acknowledged up to here.
    pub(crate) fn advance(&mut self, checkpoint: &Checkpoint) {
        let (number, latest) = self.last();
        if !latest.covers(checkpoint) {
            let mut joined = latest.clone();
            joined.merge(checkpoint);
            self.checkpoints.insert(number + 1, joined);
        }
    }

    /// The present checkpoint with its number.
    pub(crate) fn last(&self) -> (u64, &Checkpoint) {
        let (number, checkpoint) = self.checkpoints.last_key_value().expect("never empty");
        (*number, checkpoint)
    }

    /// What a majority of the witnesses holds.
    pub(crate) fn held(&self) -> &Checkpoint {
        &self.held
    }

    /// Whether all is held.
    pub(crate) fn is_settled(&self) -> bool {
        self.held == *self.last().1
    }

    /// Whether `witness` has the present checkpoint already.
    pub(crate) fn has(&self, witness: &NodeId) -> bool {
        self.acknowledged.get(witness).is_some_and(|(number, _)| *number >= self.last().0)
    }

    /// A witness of `record` acknowledged checkpoint `number`. Returns what a majority holds, where that has grown.
    pub(crate) fn acknowledge(&mut self, now: Instant, record: &Record, from: NodeId, number: u64) -> Option<&Checkpoint> {
        let last = self.acknowledged.get(&from).map_or(0, |(number, _)| *number);
        self.acknowledged.insert(from, (number.max(last), now));
        if record.is_majority(self.acknowledged.iter().filter(|(_, (_, at))| now.since(*at) < MAJORITY_LOST).map(|(id, _)| id)) {
            self.majority_at = now;
        }
        let by_majority = |number: u64| record.is_majority(self.acknowledged.iter().filter(|(_, (n, _))| *n >= number).map(|(id, _)| id));
        let number = *self.checkpoints.keys().rev().find(|number| by_majority(**number))?;
        self.checkpoints = self.checkpoints.split_off(&number);
        let checkpoint = &self.checkpoints[&number];
        if self.held == *checkpoint {
            return None;
        }
        self.held = checkpoint.clone();
        Some(&self.held)
    }

    /// Another record with other witnesses: who acknowledged under the former one did not under this.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.acknowledged.clear();
        self.majority_at = now;
    }

    /// Whether a majority acknowledged it in the last 10 s.
    pub(crate) fn has_majority(&self, now: Instant) -> bool {
        now.since(self.majority_at) < MAJORITY_LOST
    }
}

#[cfg(test)]
mod tests {
    use logvine_gossip::Stamp;

    use super::*;
    use crate::{
        instance::Epoch,
        record::{DiskId, Witness},
    };

    fn node(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn record(witnesses: &[u8]) -> Record {
        let witnesses = witnesses.iter().map(|n| Witness { node: node(*n), disk: DiskId(1) }).collect();
        Record { epoch: Epoch { counter: 1, taker: node(1) }, owner: Some(node(1)), witnesses }
    }

    /// Rewinds stand in for positions: they order checkpoints as well.
    fn checkpoint(n: u64) -> Checkpoint {
        Checkpoint { rewind: Stamp(n), ..Checkpoint::default() }
    }

    fn secs(n: u64) -> Instant {
        Instant::from_micros(n * 1_000_000)
    }

    #[test]
    fn held_is_what_a_majority_has() {
        let mut progress = Progress::new(secs(0), checkpoint(0));
        let record = record(&[1, 2, 3]);
        progress.advance(&checkpoint(1));
        progress.advance(&checkpoint(2));
        assert_eq!(progress.acknowledge(secs(1), &record, node(1), 2), None);
        assert_eq!(progress.acknowledge(secs(1), &record, node(2), 1), Some(&checkpoint(1)));
        assert_eq!(progress.acknowledge(secs(1), &record, node(3), 2), Some(&checkpoint(2)));
        assert!(progress.is_settled());
    }

    /// DESIGN §5.3: of two witnesses, the owner itself is a majority.
    #[test]
    fn of_two_witnesses_the_owner_decides() {
        let mut progress = Progress::new(secs(0), checkpoint(0));
        progress.advance(&checkpoint(1));
        assert_eq!(progress.acknowledge(secs(1), &record(&[1, 2]), node(2), 1), None);
        assert_eq!(progress.acknowledge(secs(1), &record(&[1, 2]), node(1), 1), Some(&checkpoint(1)));
    }

    /// A late acknowledgement of an earlier checkpoint takes nothing back.
    #[test]
    fn acknowledgements_may_come_out_of_order() {
        let mut progress = Progress::new(secs(0), checkpoint(0));
        progress.advance(&checkpoint(1));
        progress.acknowledge(secs(1), &record(&[1]), node(1), 1);
        assert_eq!(progress.acknowledge(secs(1), &record(&[1]), node(1), 0), None);
        assert_eq!(progress.held(), &checkpoint(1));
    }

    #[test]
    fn a_majority_is_lost_after_ten_seconds_of_silence() {
        let mut progress = Progress::new(secs(0), checkpoint(0));
        let record = record(&[1, 2, 3]);
        progress.acknowledge(secs(5), &record, node(1), 0);
        progress.acknowledge(secs(6), &record, node(2), 0);
        assert!(progress.has_majority(secs(15)));
        progress.acknowledge(secs(16), &record, node(1), 0);
        assert!(!progress.has_majority(secs(16)));
    }
}
