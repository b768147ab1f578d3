//! The nodes among which load is balanced: those of one selection, as one node sees them.

use std::collections::{BTreeMap, BTreeSet};

use logvine_gossip::{Instant, NodeId};

use super::load::{ByteCost, bearable};
use crate::ranking::{Capacity, RankingKey, log2, nats, score_of};

/// A node as it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub capacity: Capacity,
    /// What it has, reservations included, in bytes a second or what is worth as much.
    pub load: u64,
    pub cost: ByteCost,
    /// Since when it is active.
    pub since: Instant,
}

/// Present nodes of one selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    peers: BTreeMap<NodeId, Peer>,
    load: u128,
    bearable: u128,
}

/// Thousandths of the fair share.
pub(super) const fn permille(permille: u64) -> u64 {
    (permille << 16) / 1_000
}

/// `load` beside the fair one, in 1/65,536. What is above nothing is without measure.
pub(super) fn share(load: u64, fair: u64) -> u64 {
    match (u128::from(load) << 16).checked_div(u128::from(fair)) {
        Some(share) => u64::try_from(share).unwrap_or(u64::MAX),
        None if load == 0 => 0,
        None => u64::MAX,
    }
}

/// The natural logarithm, in 1/65,536, but for a constant.
pub(super) fn ln(value: u64) -> i64 {
    nats(log2(u128::from(value)))
}

impl Pool {
    pub fn new(peers: BTreeMap<NodeId, Peer>) -> Self {
        let load = peers.values().map(|peer| u128::from(peer.load)).sum();
        let all = peers.values().map(|peer| u128::from(bearable(peer.capacity))).sum();
        Self { peers, load, bearable: all }
    }

    /// A node that is away for a moment has its part of all that there is to do, and bears it when it is back; nothing goes to it meanwhile. Without it who
    /// is a little above the mean would have too much whenever one that is as much above it restarts.
    pub fn count_absent(&mut self, capacity: Capacity, load: u64) {
        self.load += u128::from(load);
        self.bearable += u128::from(bearable(capacity));
    }

    /// A node's load is another than was said.
    pub fn set_load(&mut self, id: NodeId, load: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            self.load = self.load - u128::from(peer.load) + u128::from(load);
            peer.load = load;
        }
    }

    /// A source of this rate goes from one to another.
    pub fn shift(&mut self, from: NodeId, to: NodeId, rate: u64) {
        self.set_load(from, self.load(from).saturating_sub(self.weight(from, rate)));
        self.set_load(to, self.load(to).saturating_add(self.weight(to, rate)));
    }

    /// What is leaving a node counts for nobody's target any more, but for the mean still.
    pub(super) fn lighten(&mut self, id: NodeId, rate: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.load = peer.load.saturating_sub(peer.cost.of(rate));
        }
    }

    /// Whether all together have so little that load does not matter.
    pub fn is_idle(&self) -> bool {
        self.load * 1_000 <= self.bearable * u128::from(super::IDLE_PERMILLE)
    }

    pub(super) fn ids(&self) -> BTreeSet<NodeId> {
        self.peers.keys().copied().collect()
    }

    pub(super) fn has(&self, id: &NodeId) -> bool {
        self.peers.contains_key(id)
    }

    pub(super) fn others(&self, me: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied().filter(move |id| *id != me)
    }

    /// What a node has.
    pub fn load(&self, id: NodeId) -> u64 {
        self.peers.get(&id).map_or(0, |peer| peer.load)
    }

    pub(super) fn bearable(&self, id: NodeId) -> u64 {
        self.peers.get(&id).map_or(0, |peer| bearable(peer.capacity))
    }

    pub(super) fn capacity(&self, id: NodeId) -> Option<Capacity> {
        self.peers.get(&id).map(|peer| peer.capacity)
    }

    pub(super) fn since(&self, id: NodeId) -> Option<Instant> {
        self.peers.get(&id).map(|peer| peer.since)
    }

    /// The load that a node would have if all had the same utilisation.
    pub(super) fn fair(&self, id: NodeId) -> u64 {
        let fair = (u128::from(self.bearable(id)) * self.load).checked_div(self.bearable).unwrap_or(0);
        u64::try_from(fair).unwrap_or(u64::MAX)
    }

    /// What a source of this rate weighs at a node.
    pub(super) fn weight(&self, id: NodeId, rate: u64) -> u64 {
        self.peers.get(&id).map_or(rate, |peer| peer.cost.of(rate))
    }

    pub(super) fn rate_of(&self, id: NodeId, weight: u64) -> u64 {
        self.peers.get(&id).map_or(weight, |peer| peer.cost.rate_of(weight))
    }

    /// The rate that is half of what the smallest node bears, at what a byte costs there.
    pub(super) fn half_of_the_smallest(&self) -> u64 {
        self.peers.values().map(|peer| peer.cost.rate_of(bearable(peer.capacity) / 2)).min().unwrap_or(u64::MAX)
    }

    pub(super) fn is_of_several(&self) -> bool {
        self.peers.len() > 1
    }

    /// Whether a source of this rate is above half of the fair load of the smallest node: moving cannot balance it (PITFALLS §3).
    pub(super) fn is_too_large(&self, rate: u64) -> bool {
        self.peers.keys().any(|id| self.weight(*id, rate) > self.fair(*id) / 2)
    }

    /// A node's utilisation with a source of this rate more, beside the mean: ρ and v of DESIGN §5.2, in 1/65,536.
    pub fn share(&self, id: NodeId, rate: u64) -> u64 {
        share(self.load(id).saturating_add(self.weight(id, rate)), self.fair(id))
    }

    /// Where a node stands in a source's ranking, in 1/65,536 nat.
    pub(super) fn score(&self, source: RankingKey, id: NodeId) -> i64 {
        self.peers.get(&id).map_or(i64::MIN / 2, |peer| i64::from(score_of(source, id, peer.capacity)))
    }
}
