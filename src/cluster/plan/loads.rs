//! What the balance makes of a plan: the same decisions as of nodes at work (`balance`), with the loads that gossip tells, and what each source weighs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, NodeId};

use super::{Group, SETTLED, Snapshot, SourceAt};
use crate::{
    assignment::Eligible,
    balance::{Arrival, Balance, Held, Kind, Peer, Pool, TICK, load::ByteCost},
    event::Cause,
    name::Name,
    ranking::RankingKey,
};

/// Ticks that are looked ahead: two minutes.
const TICKS_MOST: u32 = 24;
/// After so many ticks in which nothing moves, nothing will: a giant is given away after half a minute of being hot.
const QUIET: u32 = 8;
/// A node that has just come is filled by the others once it has stayed for a while, if what they have was theirs before.
const JOINED_AGO: Duration = Duration::from_secs(20);
const OWNED_FOR: Duration = Duration::from_secs(300);

/// Nodes that may own the sources of a runner with one selection.
type Groups<'a> = BTreeMap<(&'a Name, Option<String>), Group>;
/// A pool, and what one node owns in it.
type Owned = (Pool, Vec<Held<usize>>);

/// A source where it has come to in thought.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) owner: Option<NodeId>,
    pub(super) why: &'static str,
    pub(super) ranked: Vec<NodeId>,
    moved: Option<Arrival>,
}

impl Placed {
    pub(super) fn new(owner: Option<NodeId>, why: &'static str, ranked: Vec<NodeId>) -> Self {
        Self { owner, why, ranked, moved: None }
    }
}

/// What each node has to do by now.
#[derive(Debug)]
pub(super) struct Loads(BTreeMap<NodeId, (u64, ByteCost)>);

impl Loads {
    /// As gossip tells them.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self(snapshot.nodes.values().map(|info| (info.id, (info.load, info.cost))).collect())
    }

    pub(super) fn get(&self, id: &NodeId) -> u64 {
        self.0.get(id).map_or(0, |(load, _)| *load)
    }

    /// A source of this rate goes from one to another.
    pub(super) fn shift(&mut self, from: Option<NodeId>, to: Option<NodeId>, rate: u64) {
        if let Some((load, cost)) = from.and_then(|from| self.0.get_mut(&from)) {
            *load = load.saturating_sub(cost.of(rate));
        }
        if let Some((load, cost)) = to.and_then(|to| self.0.get_mut(&to)) {
            *load = load.saturating_add(cost.of(rate));
        }
    }

    fn pool(&self, snapshot: &Snapshot, group: &Group, now: Instant) -> Pool {
        let since = |id: &NodeId| if snapshot.joined.contains(id) { before(SETTLED, JOINED_AGO) } else { Instant::ZERO };
        let present = group.eligible.iter().filter(|(_, node)| node.present);
        let peer = |(id, node): (&NodeId, &Eligible)| {
            let (load, cost) = self.0.get(id).copied().unwrap_or_default();
            (*id, Peer { capacity: node.capacity, load, cost, since: since(id).min(now) })
        };
        let mut pool = Pool::new(present.map(peer).collect());
        for (id, node) in group.eligible.iter().filter(|(_, node)| !node.present) {
            pool.count_absent(node.capacity, self.get(id));
        }
        pool
    }

    /// To whom `me` gives a source that it may not keep, if it reaches that node.
    pub(super) fn relief(&self, snapshot: &Snapshot, group: &Group, source: &SourceAt, ranked: &[NodeId], me: NodeId, first: NodeId) -> NodeId {
        let pool = self.pool(snapshot, group, SETTLED);
        let held = held(0, source, ranked.to_vec(), None);
        Balance::<usize>::new(me).relieve(SETTLED, &pool, &held, first).first().copied().unwrap_or(first)
    }

    /// Where a source goes that `taker` takes as nobody has it: on to another, if it has no room and that has.
    pub(super) fn better_place(&self, snapshot: &Snapshot, group: &Group, source: &SourceAt, ranked: &[NodeId], taker: NodeId) -> NodeId {
        let pool = self.pool(snapshot, group, SETTLED);
        let held = held(0, source, ranked.to_vec(), None);
        Balance::<usize>::new(taker).place(SETTLED, &pool, &held).first().copied().unwrap_or(taker)
    }

    /// Plays the balance on for a while: who has too much gives away, who just came is filled.
    pub(super) fn even_out(&mut self, snapshot: &Snapshot, groups: &Groups, placed: &mut [Placed]) {
        let mut balances: BTreeMap<NodeId, Balance<usize>> = snapshot.nodes.keys().map(|id| (*id, Balance::new(*id))).collect();
        let mut quiet = 0;
        for tick in 0..TICKS_MOST {
            let now = SETTLED + TICK * tick;
            let busy: Vec<_> = groups.values().map(|group| self.pool(snapshot, group, now)).collect();
            if quiet >= QUIET || busy.iter().all(Pool::is_idle) {
                return;
            }
            quiet += 1;
            for (node, pools) in self.held_by_node(snapshot, groups, placed, now) {
                let moves = balances.get_mut(&node).map(|balance| balance.tick(now, pools)).unwrap_or_default();
                for moved in moves {
                    let source = &snapshot.sources[moved.key];
                    let group = &groups[&source.group()];
                    let admits = |to: &NodeId, balances: &mut BTreeMap<NodeId, Balance<usize>>| {
                        let pool = self.pool(snapshot, group, now);
                        let Some(balance) = balances.get_mut(to) else { return false };
                        let admitted = balance.admit(now, &pool, &moved.key, moved.rate, moved.kind, node).is_ok();
                        balance.settle(&moved.key);
                        admitted
                    };
                    if let Some(to) = moved.targets.iter().copied().find(|to| admits(to, &mut balances)) {
                        self.shift(Some(node), Some(to), moved.rate);
                        let cause = if moved.kind == Kind::Home { Cause::Home } else { Cause::Load };
                        let place = &mut placed[moved.key];
                        (place.owner, place.why) = (Some(to), cause.word());
                        place.moved = Some(Arrival { from: node, at: now, rate: moved.rate });
                        quiet = 0;
                    }
                }
            }
        }
    }

    /// What each node owns, by pool, as its balance wants it.
    fn held_by_node(&self, snapshot: &Snapshot, groups: &Groups, placed: &[Placed], now: Instant) -> BTreeMap<NodeId, Vec<Owned>> {
        let mut pools: BTreeMap<NodeId, BTreeMap<BTreeSet<NodeId>, Owned>> = BTreeMap::new();
        for (at, (source, place)) in snapshot.sources.iter().zip(placed).enumerate() {
            let group = &groups[&source.group()];
            let Some(owner) = place.owner.filter(|owner| group.eligible.get(owner).is_some_and(|node| node.present)) else { continue };
            let ids = group.present();
            let of_owner = pools.entry(owner).or_default().entry(ids).or_insert_with(|| (self.pool(snapshot, group, now), Vec::new()));
            of_owner.1.push(held(at, source, place.ranked.clone(), place.moved));
        }
        pools.into_iter().map(|(node, pools)| (node, pools.into_values().collect())).collect()
    }
}

fn held(at: usize, source: &SourceAt, best: Vec<NodeId>, moved: Option<Arrival>) -> Held<usize> {
    Held {
        key: at,
        ranking: RankingKey::of(&source.key),
        best,
        rate: source.rate,
        known: true,
        since: moved.map_or(before(SETTLED, OWNED_FOR), |moved| moved.at),
        moved,
        leaving: false,
    }
}

fn before(at: Instant, by: Duration) -> Instant {
    Instant::from_micros(at.as_micros() - u64::try_from(by.as_micros()).expect("a few minutes"))
}
