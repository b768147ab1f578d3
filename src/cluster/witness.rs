//! The witness's side of DESIGN §5.3: keeps the records and checkpoints of sources that other nodes, or this one, own.
//!
//! Per source: the newest decided record it knows, the highest epoch promised, the proposal accepted, the merged checkpoint. A former witness keeps the
//! newest record as a pointer, so that a candidate that begins at an old record is sent on.
//!
//! Every answer but a refusal depends on the row that it returns being on disk: the host persists, then replies.
//! Not here: who should own what (`assignment`), the candidate's side (`attempt`).

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{Instant, NodeId};
use serde::{Deserialize, Serialize};

use crate::{
    canary::planted,
    checkpoint::Checkpoint,
    instance::Epoch,
    message::{Accepted, CheckpointItem, CheckpointReply, Vote},
    record::{DiskId, Record, SourceKey, Witness},
};

/// How long a witness keeps faith with an owner that it heard.
const STICKY: Duration = Duration::from_secs(6);

/// What a witness keeps of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub record: Record,
    pub promised: Epoch,
    pub accepted: Option<Accepted>,
    pub checkpoint: Checkpoint,
}

impl Row {
    fn of(record: Record) -> Self {
        Self { promised: record.epoch, record, accepted: None, checkpoint: Checkpoint::default() }
    }

    fn hold(&mut self, record: Record) {
        self.promised = self.promised.max(record.epoch);
        self.record = record;
        self.accepted = None;
    }
}

/// All that this node witnesses.
#[derive(Debug, Clone)]
pub struct Witnesses {
    me: Witness,
    rows: BTreeMap<SourceKey, Row>,
    /// When the owner of the record held was last heard.
    heard: BTreeMap<SourceKey, Instant>,
}

impl Witnesses {
    /// Goes on with the rows that were on this node's disk.
    pub fn new(me: Witness, rows: BTreeMap<SourceKey, Row>) -> Self {
        Self { me, rows, heard: BTreeMap::new() }
    }

    /// This node and its disk.
    pub fn me(&self) -> Witness {
        self.me
    }

    /// This disk is another from now on: a witness of nothing that it witnessed before. What it holds are pointers and positions.
    pub fn take_disk(&mut self, disk: DiskId) {
        self.me.disk = disk;
        self.heard.clear();
    }

    /// What is kept of a source.
    pub fn row(&self, source: &SourceKey) -> Option<&Row> {
        self.rows.get(source)
    }

    /// Every source with what is kept of it.
    pub fn rows(&self) -> impl Iterator<Item = (&SourceKey, &Row)> {
        self.rows.iter()
    }

    /// Step 2: votes for `ballot` on the successor of `base`, unless it holds a newer record, promised more, or heard the owner since it was believed gone.
    ///
    /// `owner_gone`: when this node learnt that the owner of the record it holds is down.
    pub fn handle_promise(
        &mut self,
        now: Instant,
        source: &SourceKey,
        ballot: Epoch,
        base: Record,
        checkpoint: &Checkpoint,
        owner_gone: Option<Instant>,
    ) -> Vote {
        if let Some(newer) = self.newer_than(source, base.epoch) {
            return newer;
        }
        let promised = self.rows.get(source).map_or(Epoch::default(), |row| row.promised);
        if ballot >= promised && self.was_witness(&base) {
            return Vote::No { promised: Epoch::default() };
        }
        if ballot < promised || !base.witnesses.contains(&self.me) || self.is_faithful(now, source, ballot, owner_gone) {
            return Vote::No { promised };
        }
        let row = self.rows.entry(source.clone()).or_insert_with(|| Row::of(base.clone()));
        if row.record.epoch < base.epoch && !planted("base-left-behind") {
            row.hold(base);
            self.heard.remove(source);
        }
        row.promised = ballot;
        row.checkpoint.merge(checkpoint);
        Vote::Yes { accepted: row.accepted.clone(), checkpoint: row.checkpoint.clone() }
    }

    /// Step 4: accepts `record` as the successor of the record with epoch `base`, which it must hold.
    pub fn handle_accept(&mut self, source: &SourceKey, ballot: Epoch, base: Epoch, record: Record) -> Vote {
        if let Some(newer) = self.newer_than(source, base) {
            return newer;
        }
        let was_witness = self.rows.get(source).is_some_and(|row| self.was_witness(&row.record));
        match self.rows.get_mut(source) {
            Some(row)
                if (row.record.epoch == base || planted("no-redirect"))
                    && (ballot >= row.promised || planted("promise-broken"))
                    && row.record.witnesses.contains(&self.me) =>
            {
                row.promised = ballot;
                row.accepted = Some(Accepted { ballot, record });
                Vote::Yes { accepted: None, checkpoint: row.checkpoint.clone() }
            }
            Some(row) if ballot >= row.promised && was_witness => Vote::No { promised: Epoch::default() },
            row => Vote::No { promised: row.map_or(Epoch::default(), |row| row.promised) },
        }
    }

    /// Whether this node was a witness of a record with another disk. A row of it that it may still have, from an old image, is a fact and no faith in an owner:
    /// who asks must not take its refusal for a veto.
    fn was_witness(&self, record: &Record) -> bool {
        record.is_witness(&self.me.node) && !record.witnesses.contains(&self.me)
    }

    /// Step 5: becomes a witness of a decided record. Refused if it promised more or holds a newer one.
    pub fn handle_store(&mut self, source: &SourceKey, record: Record, checkpoint: &Checkpoint) -> Vote {
        if let Some(newer) = self.newer_than(source, record.epoch) {
            return newer;
        }
        let promised = self.rows.get(source).map_or(Epoch::default(), |row| row.promised);
        if promised > record.epoch || !record.witnesses.contains(&self.me) {
            return Vote::No { promised };
        }
        let row = self.rows.entry(source.clone()).or_insert_with(|| Row::of(record.clone()));
        if row.record.epoch < record.epoch {
            row.hold(record);
            self.heard.remove(source);
        }
        row.checkpoint.merge(checkpoint);
        Vote::Yes { accepted: None, checkpoint: row.checkpoint.clone() }
    }

    /// An owner's heartbeat on one source. A position is a fact whatever its epoch; only the epoch held, with nothing promised above it, is acknowledged.
    ///
    /// Returns the answer, and whether the row changed (an answer must then wait for the disk).
    pub fn handle_checkpoint(&mut self, now: Instant, from: NodeId, item: &CheckpointItem) -> (CheckpointReply, bool) {
        let reply = |refused| CheckpointReply { source: item.source.clone(), epoch: item.epoch, refused };
        let Some(row) = self.rows.get_mut(&item.source) else { return (reply(Some(Epoch::default())), false) };
        let changed = item.checkpoint.as_ref().is_some_and(|checkpoint| !row.checkpoint.covers(checkpoint));
        if let (true, Some(checkpoint)) = (changed, &item.checkpoint) {
            row.checkpoint.merge(checkpoint);
        }
        let is_witness = row.record.witnesses.contains(&self.me);
        let is_owners = row.record.epoch == item.epoch && row.promised <= item.epoch && row.record.owner == Some(from);
        let acknowledged = is_witness && is_owners || planted("no-fence");
        if acknowledged {
            self.heard.insert(item.source.clone(), now);
        }
        (reply((!acknowledged).then_some(row.promised.max(row.record.epoch))), changed)
    }

    /// Takes note of an activated record that a claim names, or that this node itself activated: the pointer. Returns whether the row changed.
    pub fn note(&mut self, source: &SourceKey, record: &Record) -> bool {
        match self.rows.get_mut(source) {
            Some(row) if row.record.epoch < record.epoch => {
                row.hold(record.clone());
                self.heard.remove(source);
                if planted("forget-pointer") && !record.witnesses.contains(&self.me) {
                    self.rows.remove(source);
                }
                true
            }
            _ => false,
        }
    }

    /// Keeps an activated record of this node's own, also where it is no witness of it: it is where the next start begins.
    pub fn keep(&mut self, source: &SourceKey, record: &Record, checkpoint: &Checkpoint) {
        let row = self.rows.entry(source.clone()).or_insert_with(|| Row::of(record.clone()));
        if row.record.epoch < record.epoch {
            row.hold(record.clone());
        }
        row.checkpoint.merge(checkpoint);
    }

    /// Forgets a source that is deleted.
    pub fn forget(&mut self, source: &SourceKey) {
        self.rows.remove(source);
        self.heard.remove(source);
    }

    fn newer_than(&self, source: &SourceKey, epoch: Epoch) -> Option<Vote> {
        let row = self.rows.get(source).filter(|row| row.record.epoch > epoch && !planted("no-redirect"))?;
        Some(Vote::Newer { record: row.record.clone(), checkpoint: row.checkpoint.clone() })
    }

    /// Whether the owner of the record held was heard a moment ago.
    pub(crate) fn hears_owner(&self, now: Instant, source: &SourceKey) -> bool {
        self.heard.get(source).is_some_and(|heard| now.since(*heard) < STICKY)
    }

    /// Stickiness: the owner of the record held was heard a moment ago. Never against that owner itself.
    fn is_faithful(&self, now: Instant, source: &SourceKey, ballot: Epoch, owner_gone: Option<Instant>) -> bool {
        let owner = self.rows.get(source).and_then(|row| row.record.owner);
        (owner != Some(ballot.taker) || planted("faith-against-owner"))
            && !planted("stickiness-off")
            && self.heard.get(source).is_some_and(|heard| now.since(*heard) < STICKY && owner_gone.is_none_or(|gone| *heard > gone))
    }
}

#[cfg(test)]
mod tests;
