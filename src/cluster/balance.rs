//! Which of its sources a node gives away for its load, to whom, and what it lets in (DESIGN §5.2).
//!
//! ```text
//! owner:    a tick ─> hot in two ticks running? ─> which, largest first ─> to whom: rank + ln headroom ─> OFFER ─> refused: the next
//! receiver: OFFER ─> true load + reservations + rate within 1.05 of its share? ─> ADMIT, reserved for 30 s · else REFUSE with the true load
//! ```
//! Weights that everybody recomputes oscillate; here only who is overloaded acts, the receiver decides on what it knows for sure, and the gap between 1.08
//! and 1.03 is wider than what a refusal leaves open. Integers throughout: shares are in 1/65,536 of the fair one. A source has a rate, in bytes a second;
//! what it weighs differs from node to node, by what a byte costs there: an owner reckons at the cost that each says, a receiver at its true one.
//! Not here: how a source is handed over (`node::sources`), who ranks where (`ranking`), how rates and loads are measured (`rate`, `load`).

mod cap;
pub mod load;
mod pool;
pub mod rate;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, NodeId};
use serde::{Deserialize, Serialize};

pub use self::pool::{Peer, Pool};
use self::pool::{permille, share};
use crate::{
    canary::planted,
    ranking::{Capacity, RankingKey},
};

/// From one tick to the next.
pub const TICK: Duration = Duration::from_secs(5);
/// A node acts above this share, in so many ticks running: less is noise.
const HOT: u64 = permille(1_080);
const HOT_TICKS: u32 = 2;
/// It sheds down to this share, and offers to whom is left below it.
const TARGET: u64 = permille(1_030);
/// What the best target has left is counted from here, so that one right at the bar can still be compared.
const HEADROOM: u64 = permille(1_035);
/// A receiver lets in up to this share.
const ADMIT: u64 = permille(1_050);
/// A home that just came is filled up to this one.
const ADMIT_YOUNG: u64 = permille(1_080);
/// At or below this part of what it bears, in thousandths, a node is idle: nothing is gained by moving.
const IDLE_PERMILLE: u64 = 300;
/// Sources shed in one tick.
const SHED_MOST: usize = 16;
/// A source that was moved stays for so long: one that flaps moves twelve times an hour at the most.
pub const STAY: Duration = Duration::from_secs(300);
/// It does not go back for so long to where it came from.
pub const NO_RETURN: Duration = Duration::from_secs(600);
/// So long nothing is offered that may stay to who did not answer, or did not take what it had let in; what may not stay is offered to it last.
const SHUNNED_FOR: Duration = Duration::from_secs(300);
/// What was admitted and has not come is given up.
pub const RESERVED_FOR: Duration = Duration::from_secs(30);
/// A node that is hot for so long may give away a giant, one in each such time.
const GIANT_AFTER: Duration = Duration::from_secs(30);
/// A giant's part of its owner's share; where it goes, at most so much of the owner's share may be reached, or so much where capacity is half as much again.
const GIANT: u64 = permille(250);
const GIANT_RELIEF_PERMILLE: u64 = 900;
const GIANT_MOST: u64 = permille(1_400);
/// What is larger than this part of its owner's share may go to any node, not to the best of its ranking only.
const LARGE: u64 = permille(50);
/// Guests go home in so small groups, at such a pace, if they are small and have stayed for long, to a home with room, from a node that has none to spare.
const HOME_EVERY: Duration = Duration::from_secs(30);
const HOME_MOST: usize = 4;
const HOME_SMALL: u64 = permille(20);
const HOME_ROOM: u64 = permille(970);
/// A home is young for so long: it gets its sources from all, and at once.
const YOUNG: Duration = Duration::from_secs(120);
/// But not before it has stayed so long.
const STEADY: Duration = Duration::from_secs(15);
/// Sources given to young homes in one tick: 64 a second.
const YOUNG_MOST: usize = 320;

/// Why a source is offered, which says how much the receiver lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Its owner has too much.
    Shed,
    /// The same, and it is so large that nobody has room for it.
    Giant,
    /// The receiver is its home.
    Home,
    /// It is new, or its owner is gone, and who should own it has too much.
    Placed,
    /// Its owner may not keep it; whoever has room should have it.
    Drained,
    /// The same, and nobody had room.
    #[default]
    Must,
}

/// A source that this node owns.
#[derive(Debug, Clone)]
pub struct Held<K> {
    pub key: K,
    pub ranking: RankingKey,
    /// The best nodes of its ranking, best first; the first is its home.
    pub best: Vec<NodeId>,
    /// Bytes a second, and whether that is known by now.
    pub rate: u64,
    pub known: bool,
    pub since: Instant,
    /// How it came, if it was given to this node for its load.
    pub moved: Option<Arrival>,
    /// It is being handed over already.
    pub leaving: bool,
}

/// A source came for its owner's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub from: NodeId,
    pub at: Instant,
    /// Bytes a second, then.
    pub rate: u64,
}

/// What to offer, to the first of these that admits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move<K> {
    pub key: K,
    /// Bytes a second: what that weighs is each node's own to say.
    pub rate: u64,
    pub kind: Kind,
    pub targets: Vec<NodeId>,
}

/// Why a receiver does not let a source in: it has this much already, reservations counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub load: u64,
}

/// A node's part in the balance. `K` names a source.
#[derive(Debug)]
pub struct Balance<K> {
    me: NodeId,
    /// By pool: since when, and for how many ticks, this node has too much.
    hot: BTreeMap<BTreeSet<NodeId>, (Instant, u32)>,
    /// Bytes a second, and until when.
    reserved: BTreeMap<K, (u64, Instant)>,
    giant_at: Option<Instant>,
    home_at: Option<Instant>,
    unsplittable: BTreeSet<K>,
    /// Of those, which are held back, and to how many bytes a second.
    caps: BTreeMap<K, u64>,
    /// Who did not answer an offer, or did not take what it had let in: until when it is not offered anything that may stay.
    shunned: BTreeMap<NodeId, Instant>,
}

/// One tick's look at one pool.
struct Look<'a, K> {
    now: Instant,
    pool: Pool,
    held: Vec<&'a Held<K>>,
    fair: u64,
    moves: Vec<Move<K>>,
}

impl<K: Ord + Clone> Balance<K> {
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            hot: BTreeMap::new(),
            reserved: BTreeMap::new(),
            giant_at: None,
            home_at: None,
            unsplittable: BTreeSet::new(),
            caps: BTreeMap::new(),
            shunned: BTreeMap::new(),
        }
    }

    /// A node did not answer an offer, or did not take what it had let in: it is not reached from here, or does not reach the witnesses. What nobody brings to
    /// it makes it look the less loaded, so that it would be asked first, again and again.
    pub fn shun(&mut self, now: Instant, id: NodeId) {
        self.shunned.retain(|_, until| now < *until);
        self.shunned.insert(id, now + SHUNNED_FOR);
    }

    fn is_shunned(&self, now: Instant, id: &NodeId) -> bool {
        self.shunned.get(id).is_some_and(|until| now < *until) && !planted("lame-asked-first")
    }

    /// Decides what to give away now, for load or to go home. Each pool: the present nodes of one selection, this node with its true load and what it has
    /// reserved, and what this node owns there.
    ///
    /// To be called every [`TICK`]. What is given away counts as gone for the pools that follow.
    pub fn tick(&mut self, now: Instant, pools: Vec<(Pool, Vec<Held<K>>)>) -> Vec<Move<K>> {
        self.expire(now);
        let pools_now: BTreeSet<BTreeSet<NodeId>> = pools.iter().map(|(pool, _)| pool.ids()).collect();
        self.hot.retain(|ids, _| pools_now.contains(ids));
        let (unsplittable, caps) = (std::mem::take(&mut self.unsplittable), std::mem::take(&mut self.caps));
        let mut leaving: u64 = pools.iter().flat_map(|(_, held)| held).filter(|held| held.leaving).map(|held| held.rate).sum();
        let (mut moves, homing) = (Vec::new(), self.home_at.is_none_or(|at| now.since(at) >= HOME_EVERY));
        for (mut pool, held) in pools {
            pool.lighten(self.me, leaving);
            let fair = pool.fair(self.me);
            let mut look = Look { now, held: held.iter().filter(|held| !held.leaving).collect(), pool, fair, moves: Vec::new() };
            if self.is_idle(&look.pool) {
                self.hot.remove(&look.pool.ids());
                continue;
            }
            self.shed(&mut look, SHED_MOST.saturating_sub(moves.len()), &unsplittable);
            self.hold_back(&look, &caps);
            if look.moves.is_empty() {
                self.send_home(&mut look, homing);
            }
            leaving += look.moves.iter().map(|moved| moved.rate).sum::<u64>();
            moves.append(&mut look.moves);
        }
        moves
    }

    /// Sources that are too large for any node but their owner, which is overloaded by them: people must split them, or add a larger node.
    pub fn unsplittable(&self) -> &BTreeSet<K> {
        &self.unsplittable
    }

    /// Which of those are held back, and to how many bytes a second: their node is full.
    pub fn caps(&self) -> &BTreeMap<K, u64> {
        &self.caps
    }

    /// Who should have a new or orphaned source that this node could take: nobody else, if it has room or nobody has; else the first of these that admits it.
    pub fn place(&self, now: Instant, pool: &Pool, source: &Held<K>) -> Vec<NodeId> {
        if self.is_idle(pool) || pool.share(self.me, source.rate) <= TARGET {
            return Vec::new();
        }
        self.targets(now, pool, source)
    }

    /// To whom to give a source that this node may not keep: whoever has room, best first, then whoever is left, least loaded first. Where load does not
    /// matter, by its ranking, in which `first` is the first that is there. Never one alone: this node may not reach it.
    pub fn relieve(&self, now: Instant, pool: &Pool, source: &Held<K>, first: NodeId) -> Vec<NodeId> {
        let mut targets = if pool.is_idle() {
            let ranked = source.best.iter().copied().filter(|id| pool.has(id) && ![self.me, first].contains(id));
            std::iter::once(first).chain(ranked).collect()
        } else {
            self.targets(now, pool, source)
        };
        let mut others: Vec<_> = pool.others(self.me).filter(|id| !targets.contains(id)).collect();
        others.sort_by_key(|id| (pool.share(*id, source.rate), *id));
        targets.extend(others);
        targets.sort_by_key(|id| self.is_shunned(now, id));
        targets.truncate(crate::ranking::TOP);
        targets
    }

    /// An offer of a source of `rate` bytes a second: lets it in, and keeps room for it for a while; or says how much this node has. `pool` has this
    /// node's true load, reservations included, and what a byte costs here: who offers it may reckon otherwise.
    pub fn admit(&mut self, now: Instant, pool: &Pool, key: &K, rate: u64, kind: Kind, from: NodeId) -> Result<(), Refused> {
        self.expire(now);
        let again = self.reserved.get(key).map_or(0, |(rate, _)| *rate);
        let load = pool.load(self.me).saturating_sub(pool.weight(self.me, again));
        let (fair, weight) = (pool.fair(self.me), pool.weight(self.me, rate));
        let limit = match kind {
            Kind::Shed | Kind::Placed => ADMIT,
            Kind::Home if pool.since(self.me).is_some_and(|since| now.since(since) < YOUNG + STEADY) => ADMIT_YOUNG,
            Kind::Home => ADMIT,
            Kind::Giant => self.giant_limit(pool, from, self.me),
            Kind::Drained if self.is_idle(pool) => u64::MAX,
            Kind::Drained => ADMIT,
            Kind::Must => u64::MAX,
        };
        if share(load.saturating_add(weight), fair) > limit && !planted("no-admission") {
            return Err(Refused { load });
        }
        self.reserved.insert(key.clone(), (rate, now + RESERVED_FOR));
        Ok(())
    }

    /// A source is this node's now, and counts by itself. Returns the rate that was reserved for it, if it was admitted for its load.
    pub fn settle(&mut self, key: &K) -> Option<u64> {
        if planted("reservation-leaked") {
            return self.reserved.get(key).map(|(rate, _)| *rate);
        }
        self.reserved.remove(key).map(|(rate, _)| rate)
    }

    /// Bytes a second that are reserved for sources that have not come yet.
    pub fn reserved(&self, now: Instant) -> u64 {
        self.reserved.values().filter(|(_, until)| now < *until || planted("reservation-leaked")).map(|(rate, _)| rate).sum()
    }

    fn expire(&mut self, now: Instant) {
        self.reserved.retain(|_, (_, until)| now < *until || planted("reservation-leaked"));
    }

    /// Whether this node has so little that nothing is gained by moving.
    fn is_idle(&self, pool: &Pool) -> bool {
        pool.capacity(self.me).is_none_or(|capacity| is_idle(pool.load(self.me), capacity)) && !planted("no-idle-guard")
    }

    /// Gives away what is too much, if it is too much for long enough.
    fn shed(&mut self, look: &mut Look<K>, most: usize, unsplittable: &BTreeSet<K>) {
        let eager = planted("no-hysteresis");
        let (hot, down_to) = if eager { (permille(1_000), permille(970)) } else { (HOT, TARGET) };
        let ids = look.pool.ids();
        if look.pool.share(self.me, 0) <= hot {
            self.hot.remove(&ids);
            return;
        }
        let (since, ticks) = self.hot.entry(ids).or_insert((look.now, 0));
        *ticks += 1;
        let (since, ticks) = (*since, *ticks);
        if ticks < HOT_TICKS && !eager {
            return;
        }
        look.held.sort_by(|one, other| (other.rate, &one.key).cmp(&(one.rate, &other.key)));
        self.shed_fitting(look, down_to, most);
        if look.moves.is_empty() && most > 0 {
            self.shed_lump(look, down_to);
        }
        if look.moves.is_empty() && look.now.since(since) >= GIANT_AFTER {
            self.shed_giant(look, unsplittable);
        }
    }

    /// The largest that fit into what is too much.
    fn shed_fitting(&self, look: &mut Look<K>, down_to: u64, most: usize) {
        let mut excess = self.excess(look, down_to);
        for held in look.held.clone() {
            if excess == 0 || look.moves.len() >= most {
                break;
            }
            let weight = look.pool.weight(self.me, held.rate);
            let fits = weight >= (excess / 256).max(1) && weight <= excess + excess / 4;
            if fits && may_go(held, look.now) {
                let targets = self.targets(look.now, &look.pool, held);
                if !targets.is_empty() {
                    self.give(look, held, Kind::Shed, targets);
                    excess = self.excess(look, down_to);
                }
            }
        }
    }

    /// Nothing fits: the smallest of those that are too large for it, if somebody has room.
    fn shed_lump(&self, look: &mut Look<K>, down_to: u64) {
        let excess = self.excess(look, down_to);
        for held in look.held.clone().into_iter().rev() {
            if look.pool.weight(self.me, held.rate) > excess + excess / 4 && may_go(held, look.now) {
                let targets = self.targets(look.now, &look.pool, held);
                if !targets.is_empty() {
                    return self.give(look, held, Kind::Shed, targets);
                }
            }
        }
    }

    /// Nobody has room: a giant goes to whom it overloads less, or to a larger node, which then sheds what is small. Else people are told.
    fn shed_giant(&mut self, look: &mut Look<K>, unsplittable: &BTreeSet<K>) {
        let weight = |held: &Held<K>| look.pool.weight(self.me, held.rate);
        let giants: Vec<_> = look.held.iter().copied().filter(|held| share(weight(held), look.fair) >= GIANT).collect();
        let is_due = self.giant_at.is_none_or(|at| look.now.since(at) >= GIANT_AFTER);
        for held in giants.iter().filter(|held| may_go(held, look.now) && is_due) {
            let came_from = no_return(held, look.now);
            let mut targets: Vec<_> = look.pool.others(self.me).filter(|id| Some(*id) != came_from).collect();
            targets.retain(|id| look.pool.share(*id, held.rate) <= self.giant_limit(&look.pool, self.me, *id) && !self.is_shunned(look.now, id));
            targets.sort_by_key(|id| (look.pool.share(*id, held.rate), *id));
            targets.truncate(crate::ranking::TOP);
            if !targets.is_empty() {
                self.giant_at = Some(look.now);
                return self.give(look, held, Kind::Giant, targets);
            }
        }
        // One that could go, and only waits for its turn, is told of no more than before.
        let tell = |held: &&&Held<K>| look.pool.is_too_large(held.rate) && (is_due || unsplittable.contains(&held.key));
        self.unsplittable.extend(giants.iter().take(1).filter(tell).map(|held| held.key.clone()));
    }

    /// What is too large for any other node waits, where this one is full. One that waits is told of: it may look small enough for that.
    fn hold_back(&mut self, look: &Look<K>, before: &BTreeMap<K, u64>) {
        for held in &look.held {
            let capped = before.get(&held.key).copied();
            if (!self.unsplittable.contains(&held.key) && capped.is_none()) || planted("giants-unbounded") {
                continue;
            }
            if let Some(cap) = cap::cap(&look.pool, self.me, held, capped).filter(|_| look.pool.is_of_several()) {
                self.unsplittable.insert(held.key.clone());
                self.caps.insert(held.key.clone(), cap);
            }
        }
    }

    /// Up to which share `to` lets a giant of `from` in.
    fn giant_limit(&self, pool: &Pool, from: NodeId, to: NodeId) -> u64 {
        let relief = pool.share(from, 0) / 1_000 * GIANT_RELIEF_PERMILLE;
        let is_larger = pool.bearable(to) >= pool.bearable(from) + pool.bearable(from) / 2;
        if is_larger && pool.share(to, 0) <= TARGET { relief.max(GIANT_MOST) } else { relief.max(ADMIT) }
    }

    /// Guests whose home has room go home, a few at a time; those of a home that just came all at once.
    fn send_home(&mut self, look: &mut Look<K>, homing: bool) {
        let has_none_to_spare = look.pool.share(self.me, 0) > HOME_ROOM;
        let (mut slow, mut fast) = (0, 0);
        for held in look.held.clone() {
            let Some(home) = held.best.first().copied().filter(|home| *home != self.me && !self.is_shunned(look.now, home)) else { continue };
            let Some(since) = look.pool.since(home) else { continue };
            let age = look.now.since(since);
            let is_young = age >= STEADY && age < YOUNG && held.since < since;
            let after = look.pool.share(home, held.rate);
            let stayed = look.now.since(held.since) >= NO_RETURN;
            let is_small = share(look.pool.weight(self.me, held.rate), look.fair) <= HOME_SMALL;
            let may_return = homing && has_none_to_spare && stayed && has_changed(held) && is_small && after <= HOME_ROOM;
            if is_young && fast < YOUNG_MOST && after <= ADMIT_YOUNG && may_go(held, look.now) {
                fast += 1;
            } else if !is_young && may_return && slow < HOME_MOST {
                slow += 1;
                self.home_at = Some(look.now);
            } else {
                continue;
            }
            self.give(look, held, Kind::Home, vec![home]);
        }
    }

    fn give(&self, look: &mut Look<K>, held: &Held<K>, kind: Kind, targets: Vec<NodeId>) {
        look.pool.shift(self.me, targets[0], held.rate);
        look.held.retain(|other| other.key != held.key);
        look.moves.push(Move { key: held.key.clone(), rate: held.rate, kind, targets });
    }

    /// What this node has above a share.
    fn excess(&self, look: &Look<K>, down_to: u64) -> u64 {
        let keeps = (u128::from(look.fair) * u128::from(down_to)) >> 16;
        look.pool.load(self.me).saturating_sub(u64::try_from(keeps).unwrap_or(u64::MAX))
    }

    /// Who has room for a source, the best first: rendezvous weighted by what each says that it has left.
    fn targets(&self, now: Instant, pool: &Pool, held: &Held<K>) -> Vec<NodeId> {
        let came_from = no_return(held, now);
        let bar = if planted("no-hysteresis") { HEADROOM } else { TARGET };
        let may_have = |id: &NodeId| *id != self.me && Some(*id) != came_from && pool.has(id) && !self.is_shunned(now, id);
        let has_room = |id: &NodeId| may_have(id) && pool.share(*id, held.rate) <= bar;
        let mut targets: Vec<_> = held.best.iter().copied().filter(has_room).collect();
        let appeal = |id: NodeId| pool.score(held.ranking, id) + pool::ln(HEADROOM.saturating_sub(pool.share(id, held.rate)).max(1));
        targets.sort_by_cached_key(|id| std::cmp::Reverse((appeal(*id), *id)));
        if targets.is_empty() && share(pool.weight(self.me, held.rate), pool.fair(self.me)) > LARGE {
            targets = pool.others(self.me).filter(has_room).collect();
            targets.sort_by_cached_key(|id| (pool.share(*id, held.rate), *id));
            targets.truncate(crate::ranking::TOP);
        }
        targets
    }
}

/// Whether a node of this capacity has so little to do that nothing is gained by moving.
fn is_idle(load: u64, capacity: Capacity) -> bool {
    load <= load::bearable(capacity) / 1_000 * IDLE_PERMILLE
}

/// Whether a source may be moved for load: its rate is known, and it was not moved a moment ago.
fn may_go<K>(held: &Held<K>, now: Instant) -> bool {
    held.known && (held.moved.is_none_or(|arrival| now.since(arrival.at) >= STAY) || planted("moved-too-soon"))
}

/// Whether a guest is another than it was when it came. One of a constant rate has no reason to move: its home gave it away at that rate (A3).
fn has_changed<K>(held: &Held<K>) -> bool {
    held.moved.is_none_or(|arrival| held.rate.abs_diff(arrival.rate) > arrival.rate / 8)
}

/// Who gave it to this node not long ago.
fn no_return<K>(held: &Held<K>, now: Instant) -> Option<NodeId> {
    held.moved.filter(|arrival| now.since(arrival.at) < NO_RETURN && !planted("moved-too-soon")).map(|arrival| arrival.from)
}

#[cfg(test)]
mod tests;
