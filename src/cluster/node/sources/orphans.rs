//! A witness whose owner is silent says so (DESIGN §5.3, Stickiness): nobody may claim the record that it holds, as its owner died before it could, or as all
//! who had heard the claim were restarted since. Who should take the source begins at an older record then, and finds no majority there.
//!
//! An owner that lives may be silent, too: it is cut off from two of its three witnesses alone. No other sees that, and it can take no epoch itself. It is
//! asked, and its source taken, once a majority of its witnesses has said that it is silent: of fewer it still may have what it needs.
//!
//! And who holds a copy of the checkpoint for which an owner waits brings it: one who went on without a majority could ask only those that lived then.

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{Instant, NodeId, Now};

use super::super::{Node, calls::Pending};
use crate::{
    canary::planted,
    catalog::Source,
    checkpoint::Checkpoint,
    instance::Epoch,
    member::{Phase, claim_key},
    message::{CheckpointItem, Orphan, Request},
    name::Name,
    ranking::{RankingKey, ranking},
    record::{Record, SourceKey},
    witness::Row,
};

/// For so long an owner may be silent. Then the first of the ranking is told, after as long again the next.
const SILENCE: Duration = Duration::from_secs(6);
/// What a witness said of a silent owner counts for so long: it says so again while it is so.
const SAID: Duration = Duration::from_secs(15);
/// So many of the ranking are told of a silent owner: several witnesses must have told the same node, and it may be one that they do not reach.
const CONFIDANTS: usize = 3;
/// Orphans in one call: some 500 bytes each, and a frame has 1 MiB.
const ORPHANS_MAX: usize = 1_000;

/// A source of which this node holds a record that nobody claims.
#[derive(Debug)]
pub(super) struct Waif {
    record: Record,
    since: Instant,
    told: u32,
}

/// Witnesses of a source that do not hear its owner: of which record each said so, when first and when last.
pub(super) type Silent = BTreeMap<NodeId, (Epoch, Instant, Instant)>;

impl Node {
    /// Tells who should take the sources whose owners this node, their witness, does not hear.
    pub(in crate::node) fn tell_orphans(&mut self, now: Now) {
        if self.phase == Phase::Joining {
            return;
        }
        let runners: Vec<_> = self.catalog.runners().map(|(name, runner)| (name.clone(), runner.clone())).collect();
        let mut before = std::mem::take(&mut self.sources.waifs);
        let mut tellings: BTreeMap<NodeId, Vec<Orphan>> = BTreeMap::new();
        for (name, runner) in runners {
            for source in self.catalog.sources(&name) {
                let Some((record, checkpoint)) = self.orphaned(now, &name, source) else { continue };
                let known = before.remove(&source.key).filter(|waif| waif.record == *record);
                let mut waif = known.unwrap_or_else(|| Waif { record: record.clone(), since: now.at, told: 0 });
                if now.at.since(waif.since) >= SILENCE * (waif.told + 1) {
                    let eligible = self.eligible(now, &name, &runner, source.spec.selection.as_deref());
                    let present = eligible.iter().filter(|(_, node)| node.present).map(|(id, node)| (*id, node.capacity)).collect();
                    let ranked = ranking(&present, RankingKey::of(&source.key), present.len());
                    let told: Vec<NodeId> = if self.is_claimed(&name, source, record) {
                        ranked.iter().copied().filter(|id| Some(*id) != record.owner).take(CONFIDANTS).collect()
                    } else {
                        ranked.iter().copied().cycle().nth(waif.told as usize).into_iter().collect()
                    };
                    for to in told {
                        let orphan = Orphan { source: source.key.clone(), record: record.clone(), checkpoint: checkpoint.clone() };
                        tellings.entry(to).or_default().push(orphan);
                    }
                    waif.told = waif.told.saturating_add(1);
                }
                self.sources.waifs.insert(source.key.clone(), waif);
            }
        }
        // This node itself begins at what it holds, and knows what it does not hear.
        self.note_orphans(now, self.id(), tellings.remove(&self.id()).unwrap_or_default());
        for (to, orphans) in tellings {
            for some in orphans.chunks(ORPHANS_MAX) {
                self.ask(now, to, Request::Orphans(some.to_vec()), Pending::Orphans);
            }
        }
    }

    /// Brings the copies that are here to the owners that wait for one (DESIGN §5.3, "Without a majority"): at once, and again until they wait no longer.
    pub(in crate::node) fn bring_copies(&mut self, now: Now) {
        let mut before = std::mem::take(&mut self.sources.wanted);
        let mut facts: BTreeMap<NodeId, Vec<CheckpointItem>> = BTreeMap::new();
        for (name, _) in self.catalog.runners() {
            for source in self.catalog.sources(name) {
                let rewind = self.catalog.rewind_of(name, &source.key);
                let says_how_far = |row: &&Row| !row.checkpoint.files.is_empty() && row.checkpoint.rewind >= rewind;
                let Some(row) = self.witnesses.row(&source.key).filter(says_how_far) else { continue };
                let claim = self.claims_of(name, source).into_iter().next();
                let Some((owner, claim)) = claim.filter(|(owner, claim)| claim.is_lost && *owner != self.id()) else { continue };
                let brought = before.remove(&source.key).filter(|brought| now.at.since(*brought) < SILENCE);
                if brought.is_none() {
                    let checkpoint = Some(row.checkpoint.clone());
                    facts.entry(owner).or_default().push(CheckpointItem { source: source.key.clone(), epoch: claim.epoch, checkpoint });
                }
                self.sources.wanted.insert(source.key.clone(), brought.unwrap_or(now.at));
            }
        }
        for (to, facts) in facts {
            for some in facts.chunks(ORPHANS_MAX) {
                self.ask(now, to, Request::Checkpoints(some.to_vec()), Pending::Heartbeat(Vec::new()));
            }
        }
    }

    /// A copy has come of a source that waits for one: it is read from there.
    pub(in crate::node) fn wait_no_longer(&mut self, now: Now, key: &SourceKey) {
        let Some(row) = self.witnesses.row(key) else { return };
        let Some(owned) = self.sources.owned.get_mut(key).filter(|owned| owned.is_waiting()) else { return };
        owned.progress.advance(&row.checkpoint);
        if owned.is_waiting() {
            return;
        }
        owned.claim.is_lost = false;
        let (runner, claim) = (owned.runner.clone(), owned.claim.clone());
        self.say(now, &claim_key(&runner, &key.source), &claim);
        self.dirty = true;
    }

    /// The record of an owner that this node is a witness for and does not hear, if nobody claims that record or a later one, or if it claims it and lives.
    /// One that is gone, or will be back, need not be told of: all see that.
    fn orphaned(&self, now: Now, runner: &Name, source: &Source) -> Option<(&Record, &Checkpoint)> {
        let row = self.witnesses.row(&source.key)?;
        let owner = row.record.owner.filter(|_| row.record.witnesses.contains(&self.witnesses.me()))?;
        let is_there = || owner != self.id() && !self.gone.contains_key(&owner) && self.view.get(&owner).is_some_and(|info| !self.is_away(now, info));
        let untold = self.is_claimed(runner, source, &row.record) && (!is_there() || planted("silent-owner-stays"));
        (!untold && !self.witnesses.hears_owner(now.at, &source.key)).then_some((&row.record, &row.checkpoint))
    }

    /// Whether somebody claims this record of a source, or a later one.
    fn is_claimed(&self, runner: &Name, source: &Source, record: &Record) -> bool {
        self.claims_of(runner, source).first().is_some_and(|(_, claim)| claim.epoch >= record.epoch)
    }

    /// Since when a majority of a source's witnesses says that its owner is silent, which claims it.
    pub(super) fn silent_since(&self, now: Now, key: &SourceKey, record: &Record) -> Option<Instant> {
        let silent = &self.sources.memory.get(key)?.silent;
        let present = || silent.iter().filter(|(_, (of, _, last))| *of == record.epoch && now.at.since(*last) < SAID);
        record.is_majority(present().map(|(id, _)| id)).then(|| present().map(|(_, (_, first, _))| *first).max()).flatten()
    }

    /// A witness holds records of owners that it does not hear: what this node takes of these sources begins there.
    pub(in crate::node) fn note_orphans(&mut self, now: Now, from: NodeId, orphans: Vec<Orphan>) {
        for Orphan { source, record, checkpoint } in orphans {
            if self.catalog.has(&source) {
                let memory = self.sources.memory.entry(source).or_default();
                memory.seen = memory.seen.max(record.epoch);
                memory.checkpoint.merge(&checkpoint);
                memory.silent.retain(|_, (of, _, last)| *of == record.epoch && now.at.since(*last) < SAID);
                memory.silent.entry(from).or_insert((record.epoch, now.at, now.at)).2 = now.at;
                self.dirty = true;
                if memory.base.as_ref().is_none_or(|known| known.epoch < record.epoch) {
                    memory.base = Some(record);
                }
            }
        }
    }
}

/// The sources of which this node is such a witness.
pub(super) type Waifs = BTreeMap<SourceKey, Waif>;

/// When this node last brought a copy of a source to an owner that waits for one.
pub(super) type Wanted = BTreeMap<SourceKey, Instant>;
