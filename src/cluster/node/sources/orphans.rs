//! A witness whose owner is silent says so (DESIGN §5.3, Stickiness): nobody may claim the record that it holds, as its owner died before it could, or as all
//! who had heard the claim were restarted since. Who should take the source begins at an older record then, and finds no majority there.

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{Instant, NodeId, Now};

use super::super::{Node, calls::Pending};
use crate::{
    catalog::Source,
    checkpoint::Checkpoint,
    member::Phase,
    message::{Orphan, Request},
    name::Name,
    ranking::{RankingKey, ranking},
    record::{Record, SourceKey},
};

/// For so long an owner may be silent. Then the first of the ranking is told, after as long again the next.
const SILENCE: Duration = Duration::from_secs(6);
/// Orphans in one call: some 500 bytes each, and a frame has 1 MiB.
const ORPHANS_MAX: usize = 1_000;

/// A source of which this node holds a record that nobody claims.
#[derive(Debug)]
pub(super) struct Waif {
    record: Record,
    since: Instant,
    told: u32,
}

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
                    // This node itself begins at what it holds.
                    if let Some(to) = ranked.iter().cycle().nth(waif.told as usize).filter(|to| **to != self.id()) {
                        let orphan = Orphan { source: source.key.clone(), record: record.clone(), checkpoint: checkpoint.clone() };
                        tellings.entry(*to).or_default().push(orphan);
                    }
                    waif.told = waif.told.saturating_add(1);
                }
                self.sources.waifs.insert(source.key.clone(), waif);
            }
        }
        for (to, orphans) in tellings {
            for some in orphans.chunks(ORPHANS_MAX) {
                self.ask(now, to, Request::Orphans(some.to_vec()), Pending::Orphans);
            }
        }
    }

    /// The record of an owner that this node is a witness for and does not hear, if nobody claims that record or a later one.
    fn orphaned(&self, now: Now, runner: &Name, source: &Source) -> Option<(&Record, &Checkpoint)> {
        let row = self.witnesses.row(&source.key)?;
        let holds = row.record.owner.is_some() && row.record.witnesses.contains(&self.witnesses.me());
        let claimed = self.claims_of(runner, source).first().is_some_and(|(_, claim)| claim.epoch >= row.record.epoch);
        (holds && !claimed && !self.witnesses.hears_owner(now.at, &source.key)).then_some((&row.record, &row.checkpoint))
    }

    /// Witnesses hold records that nobody claims: what this node takes of these sources begins there.
    pub(in crate::node) fn note_orphans(&mut self, orphans: Vec<Orphan>) {
        for Orphan { source, record, checkpoint } in orphans {
            if self.catalog.has(&source) {
                let memory = self.sources.memory.entry(source).or_default();
                memory.seen = memory.seen.max(record.epoch);
                memory.checkpoint.merge(&checkpoint);
                if memory.base.as_ref().is_none_or(|known| known.epoch < record.epoch) {
                    memory.base = Some(record);
                    self.dirty = true;
                }
            }
        }
    }
}

/// The sources of which this node is such a witness.
pub(super) type Waifs = BTreeMap<SourceKey, Waif>;
