//! A network that delays, loses, repeats, reorders and damages, whose links are narrow, and that can be cut in one direction or both, for good or now and then.
//!
//! Datagrams are what UDP makes of them. A call is a session's: it arrives once and whole, or fails by its deadline; loss only makes it later.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, marks};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    chance::{Delay, happens},
    file::seconds,
    knock::{Meddler, Meddlers},
};

/// How a network behaves. Chances are per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkPlan {
    /// One way.
    pub latency: Delay,
    pub loss: u32,
    pub duplication: u32,
    /// A datagram takes up to [`STRAY`] longer, so that later ones overtake it.
    pub reorder: u32,
    /// A bit of a datagram flips on its way. The seal of the receiver does not open then: it is dropped there, and counted.
    pub flips: u32,
    /// What each host's link takes; None: everything at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Whether a host says so when no process listens; else a call to it just gets no answer.
    pub refusals: bool,
}

impl Default for NetworkPlan {
    /// Calm: one millisecond to everywhere, nothing is lost.
    fn default() -> Self {
        Self::calm(Delay::fixed(Duration::from_millis(1)))
    }
}

impl NetworkPlan {
    /// Everything arrives, once and in order, after so long.
    pub const fn calm(latency: Delay) -> Self {
        Self { latency, loss: 0, duplication: 0, reorder: 0, flips: 0, link: None, refusals: true }
    }

    /// Whether a datagram sent over a path that is not cut arrives, and soon.
    pub fn is_faithful(&self) -> bool {
        self.loss == 0 && self.reorder == 0 && self.flips == 0 && self.link.is_none()
    }
}

/// A host's way into the network: a queue that is emptied at a constant rate, and drops what comes while it is full (tail drop).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub bytes_per_second: u32,
    pub queue_bytes: u32,
}

/// How much longer an overtaken datagram may take: about a suspicion's half, so that old news meets new.
const STRAY: Delay = Delay { least: Duration::from_millis(20), half: Duration::from_millis(400) };
/// A lost packet of a session is sent again after this and two latencies, about a probe timeout (RFC 9002 section 6.2).
const RESEND: Duration = Duration::from_millis(25);

/// Names a cut, to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CutId(pub usize);

/// Directed: what is sent from `.0` does not reach `.1`. Nodes by their place in the scenario.
pub type Direction = (usize, usize);

/// A cut that comes and goes: dead for a while, then whole for a while, and so on until it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    #[serde(with = "seconds")]
    pub down: Duration,
    #[serde(with = "seconds")]
    pub up: Duration,
}

#[derive(Debug)]
struct Cut {
    directions: BTreeSet<Direction>,
    since: Instant,
    flapping: Option<Flapping>,
}

impl Cut {
    fn holds(&self, now: Instant) -> bool {
        let into = |flapping: Flapping| now.since(self.since).as_micros() % (flapping.down + flapping.up).as_micros().max(1);
        self.flapping.is_none_or(|flapping| into(flapping) < flapping.down.as_micros())
    }
}

/// What became of the datagrams that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    pub datagrams: u64,
    /// Payloads, before sealing.
    pub bytes: u64,
    pub calls: u64,
    pub lost: u64,
    pub flipped: u64,
    /// Found their sender's link full.
    pub overflowed: u64,
}

#[derive(Debug)]
pub struct Network {
    plan: NetworkPlan,
    rng: ChaCha8Rng,
    cuts: BTreeMap<CutId, Cut>,
    /// When each host's link will have sent what it has taken.
    links: BTreeMap<usize, Instant>,
    /// By direction, when the last datagram arrives; None once one has been overtaken: it is only looked for.
    arrivals: Option<BTreeMap<Direction, Instant>>,
    sent: Sent,
    meddlers: Meddlers,
    /// When it last lost or delayed something.
    ailed: Instant,
}

impl Network {
    pub fn new(plan: NetworkPlan, rng: ChaCha8Rng) -> Self {
        let (cuts, meddlers, links, arrivals) = (BTreeMap::new(), Meddlers::default(), BTreeMap::new(), Some(BTreeMap::new()));
        Self { plan, rng, cuts, links, arrivals, sent: Sent::default(), meddlers, ailed: Instant::ZERO }
    }

    pub fn plan(&self) -> &NetworkPlan {
        &self.plan
    }

    /// All that was sent since the beginning.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    pub fn cut(&mut self, now: Instant, id: CutId, directions: &[Direction], flapping: Option<Flapping>) {
        self.cuts.insert(id, Cut { directions: directions.iter().copied().collect(), since: now, flapping });
    }

    /// Something meddles with refusals in these directions.
    pub fn meddle(&mut self, id: CutId, meddler: Meddler, directions: Vec<Direction>) {
        self.meddlers.put(id, meddler, directions);
    }

    pub fn mend(&mut self, now: Instant, id: CutId) {
        let (cut, meddler) = (self.cuts.remove(&id), self.meddlers.remove(id));
        if cut.is_some() || meddler == Some(Meddler::Reject) {
            self.ailed = now;
        }
    }

    /// Whether every path is whole, though packets may be lost on it.
    pub fn is_whole(&self) -> bool {
        self.cuts.is_empty() && !self.meddlers.reject()
    }

    /// Whether every path has been whole for so long, and loses and delays nothing. Refusals may be forged, or swallowed.
    pub fn is_well_since(&self, now: Instant, length: Duration) -> bool {
        self.plan.is_faithful() && self.cuts.is_empty() && !self.meddlers.reject() && now.since(self.ailed) >= length
    }

    /// All cuts end, links are wide, and packets are lost, repeated, reordered and damaged no more.
    pub fn heal(&mut self, now: Instant) {
        self.ailed = now;
        self.cuts.clear();
        self.meddlers.clear();
        self.links.clear();
        self.plan = NetworkPlan { loss: 0, duplication: 0, reorder: 0, flips: 0, link: None, ..self.plan };
    }

    /// Whether what `from` sends now reaches `to`.
    pub fn reaches(&self, now: Instant, from: usize, to: usize) -> bool {
        !self.cuts.values().any(|cut| cut.holds(now) && cut.directions.contains(&(from, to))) && !self.rejects(from, to)
    }

    /// After which delays a datagram arrives: never, once, or twice.
    pub fn datagram(&mut self, now: Instant, from: usize, to: usize, bytes: usize) -> Vec<Duration> {
        self.sent.datagrams += 1;
        self.sent.bytes += bytes as u64;
        let Some(queued) = self.pass_link(now, from, bytes, true) else {
            self.sent.overflowed += 1;
            marks::reached("a narrow link dropped a datagram");
            return Vec::new();
        };
        if !self.reaches(now, from, to) {
            return Vec::new();
        }
        let copies = if happens(&mut self.rng, self.plan.duplication) { 2 } else { 1 };
        let flights: Vec<_> = (0..copies).filter_map(|_| self.flight()).map(|flight| queued + flight).collect();
        for flight in &flights {
            self.look_for_overtaking((from, to), now + *flight);
        }
        flights
    }

    fn flight(&mut self) -> Option<Duration> {
        if happens(&mut self.rng, self.plan.loss) {
            self.sent.lost += 1;
            return None;
        }
        let straggles = happens(&mut self.rng, self.plan.reorder);
        let stray = if straggles { STRAY.draw(&mut self.rng) } else { Duration::ZERO };
        let latency = self.plan.latency.draw(&mut self.rng);
        if happens(&mut self.rng, self.plan.flips) {
            self.sent.flipped += 1;
            return None;
        }
        Some(latency + stray)
    }

    /// Puts bytes on a host's link: how long until they have left it. None: they may be dropped, and its queue is full.
    fn pass_link(&mut self, now: Instant, from: usize, bytes: usize, may_drop: bool) -> Option<Duration> {
        let Some(link) = self.plan.link else { return Some(Duration::ZERO) };
        let rate = u64::from(link.bytes_per_second.max(1));
        let takes = |bytes: u64| Duration::from_micros(bytes * 1_000_000 / rate);
        let free = self.links.entry(from).or_insert(now);
        *free = (*free).max(now);
        if may_drop && free.since(now) + takes(bytes as u64) > takes(u64::from(link.queue_bytes)) {
            return None;
        }
        *free += takes(bytes as u64);
        Some(free.since(now))
    }

    fn look_for_overtaking(&mut self, direction: Direction, arrives: Instant) {
        let Some(arrivals) = &mut self.arrivals else { return };
        let last = arrivals.entry(direction).or_insert(arrives);
        if arrives < *last {
            marks::reached("a datagram overtook an earlier one");
            self.arrivals = None;
        } else {
            *last = arrives;
        }
    }

    /// How long one way of a call takes. Whether it is cut is asked when it would arrive. `bytes` is about how much it carries.
    pub fn leg(&mut self, now: Instant, from: usize, bytes: usize) -> Duration {
        self.sent.calls += 1;
        let mut whole = self.pass_link(now, from, bytes, false).unwrap_or_default() + self.plan.latency.draw(&mut self.rng);
        while happens(&mut self.rng, self.plan.loss) {
            whole += RESEND + self.plan.latency.draw(&mut self.rng) * 2;
        }
        whole
    }

    /// Whether a firewall refuses what goes from `from` to `to`.
    pub fn rejects(&self, from: usize, to: usize) -> bool {
        self.meddlers.has(Meddler::Reject, from, to)
    }

    /// Whether a stranger forges refusals of what goes from `from` to `to`.
    pub fn forges(&self, from: usize, to: usize) -> bool {
        self.meddlers.has(Meddler::Forge, from, to)
    }

    /// Whether refusals are dropped on their way from `from` to `to`.
    pub fn filters(&self, from: usize, to: usize) -> bool {
        self.meddlers.has(Meddler::Filter, from, to)
    }

    /// Whether a host without a process refuses at once.
    pub fn refuses(&self) -> bool {
        self.plan.refusals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Concern, stream};

    const START: Instant = Instant::ZERO;

    fn network(loss: u32, duplication: u32) -> Network {
        let calm = NetworkPlan::calm(Delay::fixed(Duration::from_millis(1)));
        Network::new(NetworkPlan { loss, duplication, ..calm }, stream(1, Concern::Network))
    }

    #[test]
    fn a_cut_holds_in_its_direction_until_it_is_mended() {
        let mut network = network(0, 0);
        network.cut(START, CutId(1), &[(0, 1)], None);
        assert_eq!((network.datagram(START, 0, 1, 100).len(), network.datagram(START, 1, 0, 100).len()), (0, 1));
        network.mend(START, CutId(1));
        assert_eq!(network.datagram(START, 0, 1, 100).len(), 1);
    }

    #[test]
    fn a_flapping_link_is_down_and_up_by_turns() {
        let mut network = network(0, 0);
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        network.cut(at(10), CutId(1), &[(0, 1)], Some(Flapping { down: Duration::from_secs(2), up: Duration::from_secs(3) }));
        let up: Vec<_> = (10..20).filter(|second| network.reaches(at(*second), 0, 1)).collect();
        assert_eq!(up, [12, 13, 14, 17, 18, 19]);
    }

    #[test]
    fn a_narrow_link_delays_what_it_has_room_for_and_drops_the_rest() {
        let mut network = network(0, 0);
        network.plan.link = Some(Link { bytes_per_second: 1_000, queue_bytes: 250 });
        let arrivals: Vec<_> = (0..4).flat_map(|_| network.datagram(START, 0, 1, 100)).map(|delay| delay.as_millis()).collect();
        assert_eq!(arrivals, [101, 201], "one tenth of a second each");
        assert_eq!(network.sent().overflowed, 2);
        let later = START + Duration::from_millis(200);
        assert_eq!(network.datagram(later, 0, 1, 100).len(), 1, "the queue is empty again");
        assert_eq!(network.leg(later, 0, 1_000).as_millis(), 1_101, "a session waits for its turn");
    }

    #[test]
    fn a_damaged_datagram_is_dropped_and_counted() {
        let mut network = network(0, 0);
        network.plan.flips = 1_000;
        assert!(network.datagram(START, 0, 1, 100).is_empty());
        assert_eq!(network.sent().flipped, 1);
    }

    #[test]
    fn loss_makes_a_call_late_and_a_datagram_absent() {
        let mut network = network(500, 0);
        let lost = (0..1_000).filter(|_| network.datagram(START, 0, 1, 100).is_empty()).count();
        assert!((400..600).contains(&lost), "{lost} of 1,000 lost at one half");
        assert!((0..100).any(|_| network.leg(START, 0, 100) > Duration::from_millis(20)));
    }

    #[test]
    fn duplication_delivers_twice() {
        let mut network = network(0, 1_000);
        assert_eq!(network.datagram(START, 0, 1, 100).len(), 2);
    }
}
