//! A network that delays, loses, repeats and reorders, and that can be cut in one direction or both.
//!
//! Datagrams are what UDP makes of them. A call is a session's: it arrives once and whole, or fails by its deadline; loss only makes it later.

use std::{collections::BTreeMap, time::Duration};

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::chance::{Delay, happens};

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
    /// Whether a host says so when no process listens; else a call to it just gets no answer.
    pub refusals: bool,
}

impl Default for NetworkPlan {
    /// Calm: one millisecond to everywhere, nothing is lost.
    fn default() -> Self {
        Self { latency: Delay::fixed(Duration::from_millis(1)), loss: 0, duplication: 0, reorder: 0, refusals: true }
    }
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

#[derive(Debug)]
pub struct Network {
    plan: NetworkPlan,
    rng: ChaCha8Rng,
    cuts: BTreeMap<CutId, Vec<Direction>>,
}

impl Network {
    pub fn new(plan: NetworkPlan, rng: ChaCha8Rng) -> Self {
        Self { plan, rng, cuts: BTreeMap::new() }
    }

    pub fn cut(&mut self, id: CutId, directions: Vec<Direction>) {
        self.cuts.insert(id, directions);
    }

    pub fn mend(&mut self, id: CutId) {
        self.cuts.remove(&id);
    }

    /// All cuts end, and packets are lost, repeated and reordered no more.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.plan = NetworkPlan { loss: 0, duplication: 0, reorder: 0, ..self.plan };
    }

    /// Whether what `from` sends now reaches `to`.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cuts.values().flatten().any(|direction| *direction == (from, to))
    }

    /// After which delays a datagram arrives: never, once, or twice.
    pub fn datagram(&mut self, from: usize, to: usize) -> Vec<Duration> {
        if !self.reaches(from, to) {
            return Vec::new();
        }
        let copies = if happens(&mut self.rng, self.plan.duplication) { 2 } else { 1 };
        (0..copies).filter_map(|_| self.flight()).collect()
    }

    fn flight(&mut self) -> Option<Duration> {
        if happens(&mut self.rng, self.plan.loss) {
            return None;
        }
        let straggles = happens(&mut self.rng, self.plan.reorder);
        let stray = if straggles { STRAY.draw(&mut self.rng) } else { Duration::ZERO };
        Some(self.plan.latency.draw(&mut self.rng) + stray)
    }

    /// How long one way of a call takes. Whether it is cut is asked when it would arrive.
    pub fn leg(&mut self) -> Duration {
        let mut whole = self.plan.latency.draw(&mut self.rng);
        while happens(&mut self.rng, self.plan.loss) {
            whole += RESEND + self.plan.latency.draw(&mut self.rng) * 2;
        }
        whole
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

    fn network(loss: u32, duplication: u32) -> Network {
        let latency = Delay::fixed(Duration::from_millis(1));
        Network::new(NetworkPlan { latency, loss, duplication, reorder: 0, refusals: false }, stream(1, Concern::Network))
    }

    #[test]
    fn a_cut_holds_in_its_direction_until_it_is_mended() {
        let mut network = network(0, 0);
        network.cut(CutId(1), vec![(0, 1)]);
        assert_eq!((network.datagram(0, 1).len(), network.datagram(1, 0).len()), (0, 1));
        network.mend(CutId(1));
        assert_eq!(network.datagram(0, 1).len(), 1);
    }

    #[test]
    fn loss_makes_a_call_late_and_a_datagram_absent() {
        let mut network = network(500, 0);
        let lost = (0..1_000).filter(|_| network.datagram(0, 1).is_empty()).count();
        assert!((400..600).contains(&lost), "{lost} of 1,000 lost at one half");
        assert!((0..100).any(|_| network.leg() > Duration::from_millis(20)));
    }

    #[test]
    fn duplication_delivers_twice() {
        let mut network = network(0, 1_000);
        assert_eq!(network.datagram(0, 1).len(), 2);
    }
}
