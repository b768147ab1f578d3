//! A whole run as data: sizes, behaviours, and every deed with its time. A seed draws one (`swarm`), a script spells one (`script`).

use std::{collections::BTreeSet, time::Duration};

use crate::{
    chance::Delay,
    disk::DiskPlan,
    network::{CutId, Direction, NetworkPlan},
    plane::PlanePlan,
    sink::SinkPlan,
    source::SourcePlan,
};

/// One node, for as often as it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    pub name: String,
    /// How far its wall clock is ahead of (or behind) the true time.
    pub skew_ms: i64,
}

/// Something that is done to the world. Nodes by their place in the scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Starts a node's process, if it has none.
    Start {
        node: usize,
    },
    /// Kills it. What was not durable is lost.
    Crash {
        node: usize,
    },
    /// Kills it a moment after it next begins to flush a source.
    CrashFlushing {
        node: usize,
    },
    /// SIGTERM.
    Stop {
        node: usize,
    },
    /// An operator creates the runner with all sources, by this node or, if it does not answer, the next.
    Apply {
        node: usize,
    },
    /// An operator takes a node out of service, or in again.
    Drain {
        node: usize,
        draining: bool,
    },
    /// The network drops what goes in these directions.
    Cut {
        id: CutId,
        directions: Vec<Direction>,
    },
    Mend {
        id: CutId,
    },
    /// The faults end: every cut and all loss, and nodes outside `core` are dead for ever, those in it run.
    Heal {
        core: BTreeSet<usize>,
    },
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Just so.
    At(Duration),
    /// At [`Deed::Heal`] the cluster must begin to settle (DESIGN §9, liveness); then the sources stop growing and all of them must be delivered.
    Settled,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub nodes: Vec<NodePlan>,
    pub sources: Vec<SourcePlan>,
    /// Names of the runner's senders, each with a sink of its own.
    pub senders: Vec<String>,
    pub network: NetworkPlan,
    pub disk: DiskPlan,
    pub sink: SinkPlan,
    pub plane: PlanePlan,
    /// By time.
    pub deeds: Vec<(Duration, Deed)>,
    pub ending: Ending,
}

impl Scenario {
    /// A calm world: one millisecond to everywhere, two to the disk, nothing is lost. Nodes start one after the other.
    pub fn calm(seed: u64, names: &[&str], sources: usize) -> Self {
        let nodes: Vec<_> = names.iter().map(|name| NodePlan { name: (*name).to_owned(), skew_ms: 0 }).collect();
        let mut deeds: Vec<_> = (0..nodes.len()).map(|node| (Duration::from_millis(100 * node as u64), Deed::Start { node })).collect();
        if sources > 0 {
            deeds.push((Duration::from_secs(5), Deed::Apply { node: 0 }));
        }
        Self {
            seed,
            nodes,
            sources: (1..=sources).map(|number| SourcePlan::numbered(number, Duration::from_millis(100), 120)).collect(),
            senders: vec!["out".to_owned()],
            network: NetworkPlan { latency: Delay::fixed(Duration::from_millis(1)), loss: 0, duplication: 0, reorder: 0, refusals: true },
            disk: DiskPlan { sync: Delay::fixed(Duration::from_millis(2)), stalls: 0 },
            sink: SinkPlan::calm(),
            plane: PlanePlan::default(),
            deeds,
            ending: Ending::At(Duration::from_secs(60)),
        }
    }

    /// Puts the deeds in order; those of one time stay as they were put.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.deeds.sort_by_key(|(at, _)| *at);
        self
    }
}
