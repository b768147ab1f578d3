//! This node's load, and its part in the balance: looks every five seconds, offers what is too much, lets in what it has room for (DESIGN §5.2).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, NodeId, Now};

use super::{
    Node, Output,
    returning::{KeptLoad, Returning},
    sources::Offer,
};
use crate::{
    assignment::Eligible,
    balance::{
        self, Arrival, Balance, Held, Kind, Move, Peer, Pool, Refused,
        load::{ByteCost, Cost, HostLoad, SlowCapacity, bearable},
        rate::Rate,
    },
    event::{Cause, Event},
    instance::InstanceCommand,
    member::{Phase, claim_key},
    name::Name,
    quantise,
    ranking::{Capacity, RankingKey},
    record::SourceKey,
};

/// The word for a node's load in its map: bytes a second, or what is worth as much.
pub(super) const LOAD: &str = "load";
/// The word for what a byte costs it.
pub(super) const COST: &str = "cost";

/// See the module's text.
#[derive(Debug)]
pub(super) struct Balancing {
    balance: Balance<SourceKey>,
    /// What this node had when it was told to stop, if it is back from that.
    pub(super) returning: Option<Returning>,
    /// Of what this node owns, and of what it witnesses: it may have to decide on those, too.
    pub(super) rates: BTreeMap<SourceKey, Rate>,
    pub(super) cost: Cost,
    capacity: SlowCapacity,
    next_tick: Instant,
    pub(super) said: u64,
    pub(super) said_cost: ByteCost,
    unsplittable: BTreeSet<SourceKey>,
    capped: BTreeSet<SourceKey>,
    let_in: BTreeMap<NodeId, LetIn>,
}

/// What this node has let in of another's and that one's load, as it was said last, still has. Counted at both, it would make the mean look higher the more is
/// let in, and so let in more than the share (scenario `busy-join`, six nodes, seed 2).
#[derive(Debug)]
struct LetIn {
    said: u64,
    until: Instant,
    /// Bytes a second, by source.
    rates: BTreeMap<SourceKey, u64>,
}

/// Who has given something away says so within seconds, if it is worth a word.
const LET_IN_FOR: Duration = Duration::from_secs(60);

impl Balancing {
    pub(super) fn new(now: Now, me: NodeId, capacity: Capacity, kept: Option<KeptLoad>) -> Self {
        // Nodes that start together do not all act at once.
        let offset = balance::TICK * u32::from(me.0[15]) / 256;
        let mut balancing = Self {
            balance: Balance::new(me),
            returning: None,
            rates: BTreeMap::new(),
            cost: Cost::default(),
            capacity: SlowCapacity::new(now.at, capacity),
            next_tick: now.at + balance::TICK + offset,
            said: 0,
            said_cost: ByteCost::default(),
            unsplittable: BTreeSet::new(),
            capped: BTreeSet::new(),
            let_in: BTreeMap::new(),
        };
        if let Some(kept) = kept {
            balancing.take_up(now, kept);
        }
        balancing
    }

    pub(super) fn capacity(&self) -> Capacity {
        self.capacity.said()
    }

    /// What a byte costs here.
    pub(super) fn cost(&self) -> ByteCost {
        self.cost.byte()
    }

    /// A node did not answer an offer, or did not take what it had let in.
    pub(super) fn shun(&mut self, now: Now, node: NodeId) {
        self.balance.shun(now.at, node);
    }

    /// A source is let in from a node that has said this load.
    fn note_let_in(&mut self, now: Now, from: NodeId, said: u64, source: &SourceKey, rate: u64) {
        self.let_in.retain(|_, let_in| now.at < let_in.until);
        let anew = || LetIn { said, until: now.at + LET_IN_FOR, rates: BTreeMap::new() };
        let let_in = self.let_in.entry(from).or_insert_with(anew);
        if let_in.said != said {
            *let_in = anew();
        }
        let_in.rates.insert(source.clone(), rate);
    }

    /// The load of a node that has said `said`, without what is on its way here.
    pub(super) fn load_of(&self, now: Now, node: &NodeId, said: u64, cost: ByteCost) -> u64 {
        let let_in = self.let_in.get(node).filter(|let_in| let_in.said == said && now.at < let_in.until);
        said.saturating_sub(let_in.map_or(0, |let_in| cost.of(let_in.rates.values().sum())))
    }

    fn rate(&self, source: &SourceKey) -> u64 {
        self.rates.get(source).map_or(0, Rate::bytes_per_s)
    }

    /// A source is this node's now: what was reserved for it is its rate, until more is known. Returns how it came, if for its load.
    pub(super) fn note_owned(&mut self, now: Now, source: &SourceKey, bytes: u64, given: Option<(NodeId, Cause)>) -> Option<Arrival> {
        let reserved = self.balance.settle(source);
        let resumed = self.resume(now, source);
        if given.is_none() && resumed.is_some() {
            return resumed.and_then(|resumed| resumed.moved);
        }
        if let Some(rate) = reserved.filter(|rate| *rate > 0) {
            self.rates.insert(source.clone(), Rate::known(now.at, bytes, rate));
        }
        let (from, _) = given.filter(|(_, cause)| matches!(cause, Cause::Load | Cause::Home))?;
        Some(Arrival { from, at: now.at, rate: reserved.unwrap_or(0) })
    }
}

impl Node {
    /// What the host measures of this process: how busy it is, and how much it could bear, in bytes a second. Every few seconds.
    pub fn handle_host_load(&mut self, now: Now, host: HostLoad, bears: u64) {
        let bytes = self.bytes_per_s();
        let usual = self.usual_cost();
        let is_usual = self.balancing.known_before().is_none();
        let Balancing { cost, capacity, .. } = &mut self.balancing;
        if is_usual {
            // The first measure may come before the first look: it goes into what is assumed, not into a cost of one (busy-join, seven nodes).
            cost.assume(usual);
            cost.observe(host, capacity.said(), bytes);
        }
        if let Some(capacity) = capacity.observe(now.at, bears) {
            self.say(now, "capacity", &capacity);
            self.dirty = true;
        }
        self.settle(now);
    }

    /// This node's load, reservations included: bytes a second, or what is worth as much.
    pub fn load(&self, now: Now) -> u64 {
        let Balancing { balance, cost, capacity, .. } = &self.balancing;
        cost.load(capacity.said(), self.bytes_per_s()).saturating_add(cost.byte().of(balance.reserved(now.at)))
    }

    /// What a source of this rate, in bytes a second, weighs here.
    pub fn weighs(&self, rate: u64) -> u64 {
        self.balancing.cost().of(rate)
    }

    /// How fast a source is, in bytes a second, if this node owns or witnesses it and has seen it for long enough.
    pub(crate) fn rate_of(&self, source: &SourceKey) -> Option<u64> {
        Some(self.balancing.rates.get(source).filter(|rate| rate.is_known())?.bytes_per_s())
    }

    /// What goes through this node: the movable sources by their rates, and what its runners tell beyond that.
    fn bytes_per_s(&self) -> u64 {
        let movable: u64 = self.owned_sources().map(|(key, _)| self.balancing.rates.get(key).map_or(0, Rate::bytes_per_s)).sum();
        if let Some(before) = self.balancing.known_before() {
            return movable.saturating_add(before.bytes_per_s());
        }
        let all: f64 = self.instances().map(|(_, status)| status.bytes_per_s).sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is of this node alone: nobody need agree
        movable.max(all.max(0.0) as u64)
    }

    /// Once a second: tells the load if it is worth a word, and every five seconds looks whether something is to be given away.
    pub(super) fn balance(&mut self, now: Now) {
        if self.stopping.is_some() {
            return; // what is left of it is not what it will have when it is back
        }
        let due = now.at >= self.balancing.next_tick;
        if due {
            self.balancing.next_tick = now.at + balance::TICK;
            self.measure_rates(now);
            self.end_return(now);
            let usual = self.usual_cost();
            self.balancing.cost.assume(usual);
        }
        let load = quantise::load(self.load(now), self.balancing.said, bearable(self.balancing.capacity()));
        if load != self.balancing.said {
            self.balancing.said = load;
            self.say(now, LOAD, &load);
        }
        let cost = self.balancing.cost().told(self.balancing.said_cost);
        if cost != self.balancing.said_cost {
            self.balancing.said_cost = cost;
            self.say(now, COST, &cost);
        }
        if due && self.phase == Phase::Active {
            self.give_away(now);
        }
    }

    /// What a byte costs the others, by the median of what they say.
    fn usual_cost(&self) -> ByteCost {
        let others = self.view.values().filter(|info| info.is_live() && info.id != self.id());
        let mut said: Vec<_> = others.map(|info| info.cost).collect();
        said.sort_unstable();
        said.get(said.len() / 2).copied().unwrap_or_default()
    }

    pub(super) fn measure_rates(&mut self, now: Now) {
        let owned = self.sources.owned_keys().map(|(key, owned)| (key, owned.checkpoint().bytes()));
        let witnessed = self.witnesses.rows().filter(|(key, _)| self.sources.owned(key).is_none()).map(|(key, row)| (key, row.checkpoint.bytes()));
        let before = std::mem::take(&mut self.balancing.rates);
        let rates = owned.chain(witnessed).map(|(key, bytes)| {
            let mut rate = before.get(key).copied().unwrap_or_else(|| Rate::new(now.at, bytes));
            rate.observe(now.at, bytes);
            (key.clone(), rate)
        });
        self.balancing.rates = rates.collect();
    }

    fn give_away(&mut self, now: Now) {
        let pools = self.pools(now);
        let moves = self.balancing.balance.tick(now.at, pools);
        for Move { key, rate, kind, targets } in moves {
            if self.sources.has_handover_free() {
                let cause = if kind == Kind::Home { Cause::Home } else { Cause::Load };
                self.offer(now, &key, Offer::new(targets, cause, kind, rate));
            }
        }
        self.tell_unsplittable(now);
        self.hold_back();
    }

    /// Sources of runners whose nodes are the same are balanced together.
    fn pools(&mut self, now: Now) -> Vec<(Pool, Vec<Held<SourceKey>>)> {
        let mut pools: BTreeMap<Vec<NodeId>, (Pool, Vec<Held<SourceKey>>)> = BTreeMap::new();
        let mut eligible: BTreeMap<(Name, Option<String>), BTreeMap<NodeId, Eligible>> = BTreeMap::new();
        let owned: Vec<_> = self.sources.owned_keys().map(|(key, owned)| (key.clone(), owned.runner().clone())).collect();
        for (key, name) in owned {
            let (Some(source), Some(runner)) = (self.catalog.source(&name, &key.source), self.catalog.runner(&name)) else { continue };
            let group = (name.clone(), source.spec.selection.clone());
            let eligible = eligible.entry(group.clone()).or_insert_with(|| self.eligible(now, &name, runner, group.1.as_deref()));
            let ids: Vec<NodeId> = eligible.iter().filter(|(_, node)| node.present).map(|(id, _)| *id).collect();
            if !ids.contains(&self.gossip.me().id) {
                continue; // it may not keep it: no matter of load
            }
            let pool = self.pool(now, eligible);
            let best = self.sources.caches.best(&group, &key);
            let held = self.held(&key, best);
            pools.entry(ids).or_insert_with(|| (pool, Vec::new())).1.push(held);
        }
        pools.into_values().collect()
    }

    fn held(&self, key: &SourceKey, best: Vec<NodeId>) -> Held<SourceKey> {
        let owned = self.sources.owned(key);
        Held {
            key: key.clone(),
            ranking: RankingKey::of(key),
            best,
            rate: self.balancing.rate(key),
            known: self.balancing.rates.get(key).is_some_and(Rate::is_known),
            since: owned.map_or(Instant::ZERO, super::Owned::since),
            moved: owned.and_then(super::Owned::moved),
            leaving: owned.is_some_and(|owned| !owned.is_reading()),
        }
    }

    /// The present ones of these nodes with what they say that they have; this node with what it has.
    pub(super) fn pool(&self, now: Now, eligible: &BTreeMap<NodeId, Eligible>) -> Pool {
        let present = eligible.iter().filter(|(_, node)| node.present);
        let peer = |(id, node): (&NodeId, &Eligible)| {
            let said = || {
                let (said, cost) = self.view.get(id).map_or_else(Default::default, |info| (info.load, info.cost));
                (self.balancing.load_of(now, id, said, cost), cost)
            };
            let (load, cost) = if *id == self.id() { (self.load(now), self.balancing.cost()) } else { said() };
            // Who is back has what was its own, and needs no filling.
            let has_returned = self.view.get(id).is_some_and(|info| info.is_returned);
            (*id, Peer { capacity: node.capacity, load, cost, since: if has_returned { Instant::ZERO } else { node.since } })
        };
        let mut pool = Pool::new(present.map(peer).collect());
        for (id, node) in eligible.iter().filter(|(_, node)| !node.present) {
            pool.count_absent(node.capacity, self.view.get(id).map_or(0, |info| info.load));
        }
        pool
    }

    /// To whom a source should go that this node may not keep.
    /// `first`: the first of its ranking that is there.
    pub(super) fn relief(
        &self,
        now: Now,
        key: &SourceKey,
        eligible: &BTreeMap<NodeId, Eligible>,
        best: Vec<NodeId>,
        first: NodeId,
        cause: Cause,
    ) -> Offer {
        let pool = self.pool(now, eligible);
        let held = self.held(key, best);
        let targets = self.balancing.balance.relieve(now.at, &pool, &held, first);
        Offer::new(targets, cause, Kind::Drained, held.rate)
    }

    /// To whom a source should go that this node has just taken, as nobody had it: nobody, if this node has room.
    pub(super) fn better_place(&mut self, now: Now, runner: &Name, key: &SourceKey) -> Option<Offer> {
        let (source, found) = (self.catalog.source(runner, &key.source)?, self.catalog.runner(runner)?);
        let group = (runner.clone(), source.spec.selection.clone());
        let mut pool = self.pool(now, &self.eligible(now, runner, found, group.1.as_deref()));
        let best = self.sources.caches.best(&group, key);
        let held = self.held(key, best);
        // It is owned already: what it weighs is in the load.
        pool.set_load(self.id(), self.load(now).saturating_sub(self.weighs(held.rate)));
        let targets = self.balancing.balance.place(now.at, &pool, &held);
        (!targets.is_empty()).then(|| Offer::new(targets, Cause::Load, Kind::Placed, held.rate))
    }

    /// An offer: whether this node has room for it.
    pub(super) fn has_room(&mut self, now: Now, from: NodeId, runner: &Name, key: &SourceKey, rate: u64, kind: Kind) -> Result<(), Refused> {
        let (Some(source), Some(found)) = (self.catalog.source(runner, &key.source), self.catalog.runner(runner)) else { return Ok(()) };
        let pool = self.pool(now, &self.eligible(now, runner, found, source.spec.selection.as_deref()));
        self.balancing.balance.admit(now.at, &pool, key, rate, kind, from)?;
        let said = self.view.get(&from).map_or(0, |info| info.load);
        self.balancing.note_let_in(now, from, said, key, rate);
        Ok(())
    }

    /// Tells the data plane of what is held back, each time anew, and once of what is not any more.
    fn hold_back(&mut self) {
        let caps = self.balancing.balance.caps().clone();
        let before = std::mem::replace(&mut self.balancing.capped, caps.keys().cloned().collect());
        for key in before.iter().chain(caps.keys().filter(|key| !before.contains(key))) {
            let Some(owned) = self.sources.owned(key) else { continue };
            let Some(epoch) = owned.open_epoch() else { continue };
            let (runner, source) = (owned.runner().clone(), key.source.clone());
            let bytes_per_s = caps.get(key).copied();
            self.outputs.push_back(Output::Instance(InstanceCommand::Cap { runner, source, epoch, bytes_per_s }));
        }
    }

    /// Sources of this node's that are too large for any other, and how many of them are held back.
    pub fn giants(&self) -> (usize, usize) {
        (self.balancing.unsplittable.len(), self.balancing.capped.len())
    }

    /// People are told once of each source that is too large to be balanced, and see it in its claim as long as it is.
    fn tell_unsplittable(&mut self, now: Now) {
        let present = self.balancing.balance.unsplittable().clone();
        let before = std::mem::replace(&mut self.balancing.unsplittable, present.clone());
        for key in present.symmetric_difference(&before) {
            let is_now = present.contains(key);
            let Some((runner, claim)) = self.sources.mark_unsplittable(key, is_now) else { continue };
            self.say(now, &claim_key(&runner, &key.source), &claim);
            if is_now {
                let bytes_per_s = self.balancing.rate(key);
                self.tell(Event::Unsplittable { runner, source: key.source.clone(), bytes_per_s });
            }
        }
    }
}
