//! What a run ends with.

use std::fmt;

use logvine_gossip::Instant;

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
    /// Lines written at the sources; lines that sinks have; lines that they got again.
    pub written: u64,
    pub delivered: u64,
    pub repeated: u64,
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
            repeated: self.sinks.values().map(crate::sink::Sink::repeated).sum(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, virtual_seconds, events, hash, nodes, sources, takeovers, moves, written, delivered, repeated } = self;
        write!(f, "seed {seed:<6} {virtual_seconds:>5} s {events:>9} events {hash} {nodes:>2} nodes {sources:>2} sources ")?;
        write!(f, "{takeovers:>3} takeovers {moves:>3} moves {written:>7} written {delivered:>7} delivered {repeated:>6} repeated")
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
