//! Who claims which source: hints for people and for finding records, never the proof.

use std::collections::{BTreeMap, BTreeSet};

use logvine_gossip::{NodeId, Now};

use super::super::{Node, Table};
use crate::{
    catalog::{Source, pack},
    event::Event,
    instance::Epoch,
    member::{Claim, claim_key, value},
    name::Name,
    ranking::{RankingKey, ranking},
    record::{Record, SourceKey},
};

impl Node {
    /// Every claim of a source that is known now, this node's own included, the highest epoch first.
    pub fn claims_of(&self, runner: &Name, source: &Source) -> Vec<(NodeId, &Claim)> {
        let own = self.sources.owned.get(&source.key).map(|owned| (self.id(), &owned.claim));
        let others = self.sources.claims.get(&(runner.clone(), source.key.source.clone())).into_iter().flatten();
        let others = others.filter(|(_, claim)| claim.key == source.key).map(|(id, claim)| (*id, claim));
        let mut claims: Vec<_> = others.chain(own).collect();
        claims.sort_by_key(|(_, claim)| std::cmp::Reverse(claim.epoch));
        claims
    }

    /// The node that ranks first for a source, of those that may own it now.
    pub fn home_of(&self, now: Now, runner: &Name, source: &Name) -> Option<NodeId> {
        let (found, entry) = (self.catalog.runner(runner)?, self.catalog.source(runner, source)?);
        let eligible = self.eligible(now, runner, found, entry.spec.selection.as_deref());
        let capacities = eligible.iter().map(|(id, node)| (*id, node.capacity)).collect();
        ranking(&capacities, RankingKey::of(&entry.key), 1).first().copied()
    }

    /// The highest claim of a source, this node's own included, unless a newer record was seen since: a dead node's old claim says nothing then.
    pub(in crate::node) fn present_claim(&self, runner: &Name, source: &Source) -> Option<(NodeId, &Claim)> {
        let former = self.sources.memory.get(&source.key).and_then(|memory| memory.former.as_ref());
        let newest = former.map_or(Epoch::default(), |(_, record, _)| record.epoch);
        self.claims_of(runner, source).into_iter().next().filter(|(_, claim)| claim.epoch >= newest)
    }

    /// A word `claim/<rest>` of a node's map has changed.
    pub(in crate::node) fn note_claim(&mut self, now: Now, node: NodeId, rest: &str) {
        if node == self.id() {
            return;
        }
        let Some((runner, source)) = rest.split_once('/') else { return };
        let (Ok(runner), Ok(source)) = (runner.parse::<Name>(), source.parse::<Name>()) else { return };
        let said: Option<Claim> = value(self.gossip.node_map(&node), &claim_key(&runner, &source));
        let claims = self.sources.claims.entry((runner.clone(), source.clone())).or_default();
        let before = match &said {
            Some(claim) => claims.insert(node, claim.clone()),
            None => claims.remove(&node),
        };
        if let Some(claim) = said {
            // What was claimed before this node's start is no news: a joiner hears of a hundred thousand at once. Nor is a further epoch of the same owner.
            if before.is_none() && claim.since >= self.started.wall {
                self.sources.claimed.entry((node, runner, claim.why.clone())).or_insert((0, source)).0 += 1;
            }
            let row_changed = self.witnesses.note(&claim.key, &claim.record(node));
            if row_changed {
                self.write_position(&claim.key);
            }
            let memory = self.sources.memory.entry(claim.key.clone()).or_default();
            memory.seen = memory.seen.max(claim.epoch);
            memory.returned = false;
            if memory.former.as_ref().is_none_or(|(_, record, _)| record.epoch <= claim.epoch) {
                memory.former = Some((node, claim.record(node), None));
            }
        } else if let Some(claim) = before
            && let Some((owner, _, gone)) = &mut self.sources.memory.entry(claim.key).or_default().former
            && *owner == node
        {
            *gone = Some(now.at);
        }
    }

    /// Tells what others have claimed lately, many sources in one event: each node tells all that happens, also where a thousand sources move.
    pub(in crate::node) fn tell_claimed(&mut self) {
        for ((owner, runner, why), (count, source)) in std::mem::take(&mut self.sources.claimed) {
            self.tell(Event::Claimed { owner, runner, source: (count == 1).then_some(source), count, why });
        }
    }

    /// Reads all claims anew.
    pub(in crate::node) fn read_claims(&mut self, now: Now, of: &BTreeSet<NodeId>) {
        let said = |id: &NodeId| -> BTreeSet<String> {
            let words = self.gossip.node_map(id).into_iter().flat_map(|map| map.iter("claim/"));
            words.map(|(key, _)| key["claim/".len()..].to_owned()).collect()
        };
        let mut words: Vec<(NodeId, String)> = of.iter().flat_map(|id| said(id).into_iter().map(|word| (*id, word))).collect();
        for ((runner, source), claims) in &self.sources.claims {
            words.extend(claims.keys().filter(|id| of.contains(id)).map(|id| (*id, format!("{runner}/{source}"))));
        }
        for (id, word) in words {
            self.note_claim(now, id, &word);
        }
    }

    /// The node map begins anew: what is owned is claimed again.
    pub(in crate::node) fn claim_again(&mut self, now: Now) {
        let claims: Vec<_> = self.sources.owned.values().map(|owned| (owned.runner.clone(), owned.claim.clone())).collect();
        for (runner, claim) in claims {
            self.say(now, &claim_key(&runner, &claim.key.source), &claim);
        }
    }

    /// A source was deleted: nothing of it need be kept here.
    pub(in crate::node) fn forget_source(&mut self, source: &SourceKey) {
        self.sources.memory.remove(source);
        self.sources.retry_at.remove(source);
        self.witnesses.forget(source);
        self.write(Table::Witness, pack(source).to_vec(), None);
        if self.sources.ballots.remove(source).is_some() {
            self.write(Table::Ballot, pack(source).to_vec(), None);
        }
    }

    /// The newest decided record that this node knows of: on its disk, claimed (by the dead, too), met on the way, or the source's first.
    pub(crate) fn newest_base(&self, name: &Name, source: &Source) -> Record {
        let memory = self.sources.memory.get(&source.key);
        let known = [
            self.witnesses.row(&source.key).map(|row| row.record.clone()),
            self.claims_of(name, source).first().map(|(id, claim)| claim.record(*id)),
            memory.and_then(|memory| memory.base.clone()),
            memory.and_then(|memory| memory.former.as_ref()).map(|(_, record, _)| record.clone()),
        ];
        let first = Record::first(source.witnesses.clone());
        known.into_iter().flatten().max_by_key(|record| record.epoch).unwrap_or(first)
    }

    pub(super) fn claimed_witnesses(&self, runner: &Name, key: &SourceKey) -> Vec<NodeId> {
        let claims = self.sources.claims.get(&(runner.clone(), key.source.clone()));
        let highest = claims.into_iter().flat_map(BTreeMap::values).filter(|claim| claim.key == *key).max_by_key(|claim| claim.epoch);
        highest.into_iter().flat_map(|claim| &claim.witnesses).map(|witness| witness.node).collect()
    }
}
