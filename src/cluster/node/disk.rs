//! What a node finds on its disk when it starts. What cannot be read is told and left out; what it may have meant decides what else is not believed.

use std::collections::BTreeMap;

use logvine_gossip::{Doubt, Entry, NodeId, Restored, Stamp, canary};

use super::{
    Table, Write,
    identity::{META_BALLOTS, META_DISK, META_DOUBT, META_GENERATION, MetRow},
    queues::QueueRow,
    returning::KeptLoad,
    rollouts::Good,
    stamps::META_STAMPS,
    votes::META_VOTES,
};
use crate::{
    catalog::unpack,
    instance::{Counts, Pinned},
    name::Name,
    record::{DiskId, SourceKey},
    steadiness::Lives,
    witness::Row,
};

pub(super) const META_FLOOR: &[u8] = b"floor";
/// And the key of an entry that was dropped as deleted: the floor that told so.
pub(super) const META_DROPPED: &[u8] = b"dropped/";
/// What this node knew of its load when it was told to stop.
pub(super) const META_LOAD: &[u8] = b"load";
/// How this node's lives ended.
pub(super) const META_LIVES: &[u8] = b"lives";

/// The store's content, typed.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) id: Option<DiskId>,
    pub(super) gossip: Restored,
    pub(super) witnessed: BTreeMap<SourceKey, Row>,
    pub(super) ballots: BTreeMap<SourceKey, u64>,
    pub(super) ballot_least: u64,
    pub(super) doubt: Option<Doubt>,
    pub(super) lives: Option<Lives>,
    pub(super) load: Option<KeptLoad>,
    pub(super) met: BTreeMap<NodeId, MetRow>,
    pub(super) pinned: BTreeMap<(Stamp, Name), Pinned>,
    pub(super) counts: BTreeMap<Stamp, Counts>,
    pub(super) queues: BTreeMap<Stamp, QueueRow>,
    pub(super) good: BTreeMap<Name, Good>,
    pub(super) revisions: Vec<(Name, Entry)>,
    /// What does not decode, with the reason.
    pub(super) unreadable: Vec<(String, String)>,
    /// Of those, what this node promised or voted: without it, its disk is another.
    pub(super) lost: Vec<(Table, Vec<u8>)>,
}

impl Disk {
    pub(super) fn read(restored: Vec<Write>) -> Self {
        let mut disk = Self::default();
        let mut lost = false;
        for Write { table, key, value } in restored {
            if let Some(value) = value
                && let Err(error) = disk.take(table, &key, &value)
            {
                lost |= table == Table::Catalog;
                let is_vote = matches!(table, Table::Witness | Table::Ballot) || (table == Table::Meta && key == META_BALLOTS);
                if is_vote && !canary::planted("damaged-row-votes") {
                    disk.lost.push((table, key.clone()));
                }
                disk.unreadable.push((format!("{table:?} {}", String::from_utf8_lossy(&key)), error.to_string()));
            }
        }
        if lost {
            // What is missing now was not deleted: others must not drop it because this node lacks it.
            disk.gossip.floor = Stamp::ZERO;
        }
        disk
    }

    fn take(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), rmp_serde::decode::Error> {
        match table {
            Table::Meta if key == META_DISK => self.id = Some(unpack(value)?),
            Table::Meta if key == META_GENERATION => self.gossip.reserved = unpack(value)?,
            Table::Meta if key == META_STAMPS && canary::planted("stamp-not-kept") => {}
            Table::Meta if key == META_STAMPS => self.gossip.stamps = unpack(value)?,
            Table::Meta if key == META_FLOOR => self.gossip.floor = unpack(value)?,
            Table::Meta if key == META_LIVES => self.lives = Some(unpack(value)?),
            Table::Meta if key == META_LOAD => self.load = Some(unpack(value)?),
            Table::Meta if key == META_DOUBT => self.doubt = Some(unpack(value)?),
            Table::Meta if key == META_VOTES => self.gossip.votes = unpack(value)?,
            Table::Meta if key == META_BALLOTS => self.ballot_least = unpack(value)?,
            Table::Meta if key.starts_with(META_DROPPED) => {
                let key = String::from_utf8_lossy(&key[META_DROPPED.len()..]).into_owned();
                self.gossip.dropped.push((key, unpack(value)?));
            }
            Table::Meta | Table::Dropped => {}
            Table::Catalog => self.gossip.catalog.push((String::from_utf8_lossy(key).into_owned(), unpack(value)?)),
            Table::Peer => {
                let row: MetRow = unpack(value)?;
                self.met.insert(row.id, row);
            }
            Table::Witness => {
                self.witnessed.insert(unpack(key)?, unpack(value)?);
            }
            Table::Ballot => {
                self.ballots.insert(unpack(key)?, unpack(value)?);
            }
            Table::Pinned => {
                self.pinned.insert(unpack(key)?, unpack(value)?);
            }
            Table::Counts => {
                self.counts.insert(unpack(key)?, unpack(value)?);
            }
            Table::Queue => {
                self.queues.insert(unpack(key)?, unpack(value)?);
            }
            Table::Revision => self.revisions.push(unpack(value)?),
            Table::Good => {
                let good: Good = unpack(value)?;
                self.good.insert(good.spec.name.clone(), good);
            }
        }
        Ok(())
    }
}
