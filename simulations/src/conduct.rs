//! What a node may do to others' sources, given what it knows of them (DESIGN §9, A).

use std::{collections::BTreeMap, time::Duration};

use logvine_cluster::{
    balance::{Kind, load::bearable},
    event::{Cause, Why},
    instance::Epoch,
    member::Phase,
    message::Request,
    name::Name,
    node::RequestId,
};
use logvine_gossip::{Instant, NodeId};

use crate::{host::RESTART_GRACE, world::World};

/// What was begun before the word was heard comes to its end: an attempt, and the question before it.
const UNDER_WAY: Duration = Duration::from_secs(7);

/// A4: once in so long a source moves for load, and it does not go back for so long. Less what clocks may differ by.
const STAYS: Duration = Duration::from_secs(295);
const NO_RETURN: Duration = Duration::from_secs(590);
/// A6: what a receiver may have with what it lets in, in thousandths of its fair share: one that is shed, or new, and one that goes home.
const ADMITTED: u128 = 1_050;
const ADMITTED_HOME: u128 = 1_080;

/// What is remembered of the balance, to hold nodes to it.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    /// By source, its last move for load or to its home, if nothing else has moved it since.
    shifts: BTreeMap<Name, Shift>,
    /// Offers that nodes have not replied to: its rate, and how.
    offers: BTreeMap<RequestId, (u64, Kind)>,
}

#[derive(Debug, Clone, Copy)]
struct Shift {
    at: Instant,
    from: usize,
    cause: Cause,
}

impl World {
    /// A4: at most one move for load or home per source in 300 s, and none by shedding back to where it was shed from in 600 s; unless it was moved for
    /// another reason in between.
    pub(crate) fn a_source_stays_for_a_while(&mut self, to: usize, source: &Name, why: Option<&Why>) -> Result<(), String> {
        let Some(Why::HandedOver { from, cause: cause @ (Cause::Load | Cause::Home) }) = why else {
            self.conduct.shifts.remove(source);
            return Ok(());
        };
        let Some(from) = self.hosts.iter().position(|host| host.id == *from) else { return Ok(()) };
        let (at, cause) = (self.now, *cause);
        let Some(before) = self.conduct.shifts.insert(source.clone(), Shift { at, from, cause }) else { return Ok(()) };
        let stayed = at.since(before.at);
        let is_back = before.from == to && (before.cause, cause) == (Cause::Load, Cause::Load);
        if stayed >= STAYS && !(is_back && stayed < NO_RETURN) {
            return Ok(());
        }
        let (giver, taker) = (&self.hosts[from].name, &self.hosts[to].name);
        Err(format!("{giver} gives {source} to {taker} {stayed:?} after it came from {}", self.hosts[before.from].name))
    }

    /// A node is offered a source.
    pub(crate) fn note_offer(&mut self, id: RequestId, request: &Request) {
        if let Request::Offer { bytes_per_s: Some(rate), kind, .. } = request {
            self.conduct.offers.insert(id, (*rate, *kind));
        }
    }

    /// A6: who lets a source in for load has room for it then, by what it knows of the others and by what it has, reservations included.
    pub(crate) fn admission_holds(&mut self, at: usize, id: RequestId, is_admitted: bool) -> Result<(), String> {
        let Some((rate, kind)) = self.conduct.offers.remove(&id).filter(|_| is_admitted) else { return Ok(()) };
        let limit = match kind {
            Kind::Shed | Kind::Placed => ADMITTED,
            Kind::Home => ADMITTED_HOME,
            Kind::Giant | Kind::Drained | Kind::Must => return Ok(()),
        };
        let now = self.hosts[at].now(self.now);
        let Some(process) = &self.hosts[at].process else { return Ok(()) };
        let node = &process.node;
        // What it has now, which includes what it has just reserved.
        let (load, weight) = (node.load(now), node.weighs(rate));
        let present = node.view().values().filter(|info| info.is_live() && info.phase == Phase::Active && info.unsteady.is_none());
        let (mut all, mut able) = (0_u128, 0_u128);
        for info in present {
            all += u128::from(if info.id == node.id() { load.saturating_sub(weight) } else { info.load });
            able += u128::from(bearable(info.capacity));
        }
        let mine = node.view().get(&node.id()).map_or(0, |info| u128::from(bearable(info.capacity)));
        // Of a thousand, one more for what is rounded.
        if u128::from(load) * able * 1_000 <= all * mine * (limit + 1) {
            return Ok(());
        }
        let fair = all * mine / able.max(1);
        Err(format!("{} lets {weight} in as {kind:?} and has {load} then, where {fair} is its share", self.hosts[at].name))
    }

    /// A5: who said that it would be back is not taken over from, as long as its grace goes on. Both are counted by the taker, from when it first heard
    /// the word: who was cut off when it was said cannot know of it, and what it had begun before comes to its end. It must have been the last owner, too:
    /// an attempt names whose claim it began with, though others may have had the source since.
    pub(crate) fn who_said_it_would_be_back_keeps_its_sources(&self, taker: usize, source: &Name, epoch: Epoch, from: &NodeId) -> Result<(), String> {
        let Some(place) = self.hosts.iter().position(|host| host.id == *from && host.away_since.contains_key(from)) else { return Ok(()) };
        let host = &self.hosts[place];
        let succession = self.created(taker, source).and_then(|key| self.ledger(source)?.successions.get(&key));
        let before = succession.and_then(|succession| succession.opened.range(..epoch).next_back());
        if before.is_none_or(|(_, owner)| *owner != place) {
            return Ok(());
        }
        // One that crashes again and again gets none back at once, whatever it said (seed 949).
        let known = self.hosts[taker].process.as_ref().and_then(|process| process.node.view().get(from));
        if known.is_some_and(|info| info.unsteady.is_some()) {
            return Ok(());
        }
        let now = self.hosts[taker].now(self.now).at;
        let heard = self.hosts[taker].process.as_ref().and_then(|process| process.node.heard_away(from));
        let Some(known) = heard.map(|heard| now.since(heard)).filter(|known| (UNDER_WAY..RESTART_GRACE).contains(known)) else { return Ok(()) };
        Err(format!("{} takes over from {}, of which it has known for {known:?} that it would be back", self.hosts[taker].name, host.name))
    }
}
