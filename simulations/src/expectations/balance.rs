//! What a scenario expects of loads: how even they are, by what sources truly write, and what people are told of a giant.

use std::time::Duration;

use logvine_cluster::{
    node::Node,
    view::{self, FindingKind},
};

use super::Found;
use crate::world::World;

/// What a source writes is looked at over so long, so that no single line matters.
const LOOKED_AT: Duration = Duration::from_secs(60);

impl World {
    /// Bytes a second that a source writes at present.
    fn rate(&self, source: usize) -> u64 {
        let since = logvine_gossip::Instant::from_micros(self.now.as_micros().saturating_sub(u64::try_from(LOOKED_AT.as_micros()).unwrap_or(0)));
        self.sources[source].written_since(since) / LOOKED_AT.as_secs()
    }

    /// Sources that a node has in hand.
    fn in_hand(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.ledgers.iter().enumerate().filter(move |(_, ledger)| ledger.owners.contains_key(&node)).map(|(source, _)| source)
    }

    /// How busy each machine that runs is, in millionths, by what its sources write and what it can take.
    fn utilisations(&self) -> Vec<(usize, u64)> {
        let busy = |(at, _): (usize, &Node)| {
            let machine = self.hosts[at].machine?;
            Some((at, self.in_hand(at).map(|source| self.rate(source)).sum::<u64>() * 1_000_000 / machine.bytes_per_s()))
        };
        self.running().filter_map(busy).collect()
    }

    /// No machine is busier than the mean by more than this, which is that of all together.
    pub(super) fn is_even(&self, permille: u64) -> Found {
        let busy = self.utilisations();
        let able: u64 = busy.iter().filter_map(|(at, _)| self.hosts[*at].machine).map(|machine| machine.bytes_per_s()).sum();
        let written: u64 = busy.iter().flat_map(|(at, _)| self.in_hand(*at)).map(|source| self.rate(source)).sum();
        let mean = written * 1_000_000 / able.max(1);
        match busy.iter().max_by_key(|(_, busy)| *busy) {
            Some((at, most)) if most * 1_000 > mean * permille => {
                let each: Vec<_> = busy.iter().map(|(at, busy)| format!("{} {}", self.hosts[*at].name, busy / 1_000)).collect();
                Err(("", format!("{} is the busiest; in thousandths: {}; all together {}", self.hosts[*at].name, each.join(", "), mean / 1_000)))
            }
            _ => Ok(()),
        }
    }

    /// Whoever owns a giant has nothing beside it that could have gone: less than a twentieth of it.
    pub(super) fn is_alone(&self, source: usize) -> Found {
        let Some(owner) = self.ledgers[source].owners.keys().next().copied() else { return Err(("", "nobody has it".to_owned())) };
        let beside: u64 = self.in_hand(owner).filter(|other| *other != source).map(|other| self.rate(other)).sum();
        if beside * 20 <= self.rate(source) {
            return Ok(());
        }
        let (name, rate) = (&self.hosts[owner].name, self.rate(source));
        Err(("", format!("{name} has {} of {rate} bytes a second, and {beside} bytes a second beside it", self.sources[source].plan.id)))
    }

    /// Every node that runs tells people of it, and of no other.
    pub(super) fn is_told_unsplittable(&self, source: usize) -> Found {
        let wanted = self.sources[source].plan.id.to_string();
        for (at, node) in self.running() {
            let findings = view::check(node, self.hosts[at].now(self.now));
            let told: Vec<_> =
                findings.into_iter().filter(|finding| finding.kind == FindingKind::Unsplittable).map(|finding| finding.source).collect();
            if told != [wanted.clone()] {
                return Err(("", format!("{} tells of {told:?}, not of {wanted}", self.hosts[at].name)));
            }
        }
        Ok(())
    }
}
