//! What a run ends with.

use std::{collections::BTreeMap, fmt};

use logvine_gossip::{Instant, marks};

use crate::world::World;

/// A run that held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub virtual_seconds: u64,
    /// Lines of the trace, and the hash over them: the same for a seed and a commit.
    pub events: u64,
    pub hash: String,
    pub nodes: usize,
    pub sources: usize,
    /// Sources taken over from a dead owner.
    pub takeovers: u64,
    /// Changes of owner, for whatever reason.
    pub moves: u64,
    /// Lines written at the sources; of all senders together the lines that sinks took, those that were put aside instead, and those that came again. In the end
    /// each line is taken or put aside once for each sender.
    pub written: u64,
    pub delivered: u64,
    pub dead_lettered: u64,
    pub repeated: u64,
    /// How often a process was declared down that ran.
    pub false_deaths: u64,
    /// Rare situations that the run came into, and how often.
    pub marks: BTreeMap<&'static str, u64>,
}

impl World {
    pub(crate) fn report(&self) -> Report {
        Report {
            seed: self.scenario.seed,
            virtual_seconds: self.now.as_micros() / 1_000_000,
            events: self.trace.events(),
            hash: self.trace.hash(),
            nodes: self.hosts.len(),
            sources: self.sources.len(),
            takeovers: self.takeovers,
            moves: self.ledgers.iter().map(|ledger| ledger.moves).sum(),
            written: self.sources.iter().map(|source| source.lines() as u64).sum(),
            delivered: self.sinks.values().map(crate::sink::Sink::delivered).sum(),
            dead_lettered: self.sinks.values().map(crate::sink::Sink::dead_lettered).sum(),
            repeated: self.sinks.values().map(crate::sink::Sink::repeated).sum(),
            false_deaths: self.false_deaths,
            marks: marks::take(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, virtual_seconds, events, hash, nodes, sources, takeovers, moves, written, delivered, .. } = self;
        let Self { dead_lettered, repeated, false_deaths, .. } = self;
        write!(f, "seed {seed:<6} {virtual_seconds:>5} s {events:>9} events {hash} {nodes:>2} nodes {sources:>2} sources ")?;
        write!(f, "{takeovers:>3} takeovers {moves:>3} moves {written:>7} written {delivered:>7} delivered ")?;
        write!(f, "{dead_lettered:>4} dead letters {repeated:>6} repeated {false_deaths:>2} false deaths")
    }
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    pub invariant: String,
    pub detail: String,
    pub at: Instant,
    pub seed: u64,
    /// The story's last lines.
    pub last: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, detail, at, last, .. } = self;
        for line in last {
            writeln!(f, "{line}")?;
        }
        write!(f, "broken at {at:?}: {invariant}\n  {}", detail.replace('\n', "\n  "))
    }
}
