//! What gossip has learned, and what this node makes of it: its catalog, and its view of the others.
//!
//! Changes are hints and may get lost (PITFALLS §4): every now and then all is read anew.

use std::{collections::BTreeSet, mem, time::Duration};

use logvine_gossip::{Change, Generation, NodeId, NodeMap, Now, Stamp, Status};

use super::{Node, Table, balancing::LOAD};
use crate::{
    catalog::pack,
    event::Event,
    member::{NodeInfo, RETURNED, value},
    operation::OPERATION,
    record::SourceKey,
    steadiness::UNSTEADY,
};

/// How often everything is read anew: gossip's changes are hints (PITFALLS §4).
pub(super) const FULL_LOOK: Duration = Duration::from_secs(10);

/// All that decides how a member is seen, claims too, short enough to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    status: Status,
    said: Option<(Generation, u64, u64)>,
    catalog: u64,
}

impl Node {
    pub(super) fn note_change(&mut self, now: Now, change: Change) {
        match change {
            Change::Member { id, from, to } => {
                self.stale.insert(id);
                self.dirty = true;
                if from != Some(to) {
                    let proved = self.gossip.member(&id).is_some_and(|member| member.proved);
                    self.tell(Event::Member { node: id, from, to, proved });
                }
            }
            Change::Said { node, key } => {
                if let Some(claim) = key.strip_prefix("claim/") {
                    self.note_claim(now, node, claim);
                    self.dirty = true;
                } else if let Some(operation) = key.strip_prefix("outcome/") {
                    self.note_outcome(node, operation);
                    self.answer_waiting(now);
                } else if key == LOAD {
                    // Nothing but the balance looks at it, and that not before its next tick.
                    if let Some(info) = self.view.get_mut(&node) {
                        info.load = value(self.gossip.node_map(&node), LOAD).unwrap_or(0);
                    }
                } else if matches!(key.as_str(), "meta" | "tags" | "phase" | "capacity" | UNSTEADY | RETURNED) {
                    self.stale.insert(node);
                    self.dirty = true;
                }
            }
            Change::Catalog { key } => self.note_catalog(now, &key),
            Change::Renewed { generation } => {
                self.tell(Event::Renewed { generation });
                self.introduce(now);
                self.say_words_again(now);
                self.claim_again(now);
                self.instances.say_again();
                self.rollouts.say_again();
                self.say_outcomes_again(now);
                self.dirty = true;
            }
            Change::Synced { .. } => self.dirty = true,
            Change::Joined => self.trust_disk(),
            Change::DiskOutdated { known } => {
                self.tell(Event::DiskOutdated { known });
                self.take_new_disk(now, known);
            }
            Change::Forgotten { id } => {
                self.tell(Event::Forgotten { node: id });
                self.stale.insert(id);
                self.read_claims(now, &BTreeSet::from([id]));
                self.dirty = true;
            }
            Change::Dropped { key, entry, .. } => {
                self.write(Table::Dropped, key.clone().into_bytes(), Some(pack(&entry).to_vec()));
                self.tell(Event::Dropped { key, origin: entry.origin });
            }
            Change::StampAhead { key, stamp, origin } => self.tell(Event::StampAhead { key, stamp, origin }),
        }
    }

    fn note_catalog(&mut self, now: Now, key: &str) {
        let entry = self.gossip.catalog().get(key);
        let (stamp, origin) = entry.map_or((Stamp::ZERO, self.id()), |entry| (entry.stamp, entry.origin));
        let before = self.catalog.source_at(key).map(|source| source.key.clone());
        let commanded = key.strip_prefix(OPERATION).filter(|id| self.catalog.operation(id).is_none());
        self.catalog.refresh(key, entry);
        // Made again before its deletion was seen, it is another source. One that this version cannot read is still there.
        let is_gone = |source: &SourceKey| entry.is_none() || self.catalog.source_at(key).is_some_and(|now| now.key != *source);
        if let Some(source) = before.filter(is_gone) {
            self.forget_source(&source);
        }
        self.note_forgotten(now, key);
        self.note_operation(key);
        if let Some(id) = commanded {
            self.tell_commanded(now, id);
        }
        self.note_restart(now, key);
        self.note_drop(now, key);
        self.note_contest(key, true);
        // A node's tags and drain are part of how it is seen.
        if let Some(node) = key.strip_prefix("tag/").and_then(|rest| rest.split('/').next()?.parse().ok()) {
            self.stale.insert(node);
        }
        self.dirty = true;
        self.tell(Event::Catalog { key: key.to_owned(), stamp, origin });
    }

    /// Hints get lost: every now and then all is read anew.
    pub(super) fn catch_up(&mut self, now: Now) {
        if now.at >= self.full_look_at {
            self.full_look_at = now.at + FULL_LOOK;
            let changed = self.changed_since_looked();
            self.read_claims(now, &changed);
            self.stale.extend(changed);
            self.sources.forget_unknown(&self.catalog);
            self.look_at_clock(now);
            self.forget_operations(now);
        }
    }

    /// Tells when this node's clock is found to be off, and when it is right again.
    fn look_at_clock(&mut self, now: Now) {
        let off = self.gossip.clock_off(now);
        if off.is_some() != self.clock_off {
            self.clock_off = off.is_some();
            self.tell(Event::Clock { off });
        }
    }

    /// The members of whom something can be read now that could not when they were looked at last: to read a thousand nodes anew took a millisecond.
    fn changed_since_looked(&mut self) -> BTreeSet<NodeId> {
        let digest = self.gossip.catalog().digest();
        let mut changed = BTreeSet::new();
        let digests = (self.gossip.members_digest(), self.gossip.node_maps_digest(), digest);
        if self.looked_at.replace(digests) == Some(digests) {
            return changed;
        }
        for member in self.gossip.members() {
            let look = Look { status: member.status, said: self.gossip.node_map(&member.id).map(NodeMap::version), catalog: digest };
            if self.looked.insert(member.id, look) != Some(look) {
                changed.insert(member.id);
            }
        }
        changed
    }

    pub(super) fn look_around(&mut self, now: Now) {
        let me = self.id();
        let said = self.gossip.node_map(&me).map(NodeMap::version);
        let look = Look { status: Status::Alive, said, catalog: self.gossip.catalog().digest() };
        if self.looked_at_self.replace(look) != Some(look) {
            self.stale.insert(me);
        }
        for id in mem::take(&mut self.stale) {
            let status = if id == me { Some(Status::Alive) } else { self.gossip.member(&id).map(|member| member.status) };
            let Some(status) = status else {
                // Forgotten: its durations, too.
                self.view.remove(&id);
                self.sources.caches.note_node(id, None);
                self.looked.remove(&id);
                self.gone.remove(&id);
                self.away.remove(&id);
                self.active.remove(&id);
                continue;
            };
            let info = self.view.entry(id).or_insert_with(|| NodeInfo::unread(id));
            let own_tags = info.read(status, &self.gossip, &self.catalog);
            let row = self.met.get(&id);
            if let (None, Some(row)) = (&info.meta, row) {
                info.name.clone_from(&row.name);
                info.tags = self.catalog.tags(&id, &row.tags);
            }
            let renamed = info.meta.as_ref().zip(row).and_then(|(meta, row)| row.renamed(&meta.name, &own_tags));
            if let Some(row) = renamed {
                self.keep_row(row);
            }
            self.note_presence(now, id);
            self.sources.caches.note_node(id, self.view.get(&id));
        }
    }
}
