//! A whole run as data: sizes, behaviours, and every deed with its time. A seed draws one (`swarm`), a script spells one (`script`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_cluster::name::Name;
use serde::{Deserialize, Serialize};

use crate::{
    chance::Delay,
    custody::Terms,
    disk::{DiskFault, DiskPlan},
    expectations::Expectation,
    file::{seconds, timed},
    knobs::Knobs,
    knock::Meddler,
    machine::MachinePlan,
    network::{CutId, Direction, Flapping, NetworkPlan},
    operator::Edit,
    plane::PlanePlan,
    sink::SinkPlan,
    source::SourcePlan,
    strikes::Strike,
};

/// One node, for as often as it is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    pub name: String,
    /// How far its wall clock is ahead of (or behind) the true time.
    #[serde(default)]
    pub skew_ms: i64,
    /// How much faster (or slower) its monotonic clock goes, in millionths: quartz keeps within some hundred.
    #[serde(default)]
    pub drift_ppm: i64,
    /// How late it sees what is written to a source, as on a shared mount.
    #[serde(default, with = "seconds", skip_serializing_if = "Duration::is_zero")]
    pub mount_lag: Duration,
    /// What its machine can take; none: more than there ever is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachinePlan>,
}

/// Something that is done to the world. Nodes by their place in the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Deed {
    /// Starts a node's process, if it has none.
    Start {
        node: usize,
    },
    /// Kills it. What was not durable is lost.
    Crash {
        node: usize,
    },
    /// Kills it, and its host with it: nothing refuses in its name until it is started again.
    PowerOff {
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
    /// Keeps a copy of what is on its disk.
    Image {
        node: usize,
    },
    /// Kills it if it runs, and starts it from the copy that was kept last; from its own disk if there is none.
    RestartFromImage {
        node: usize,
    },
    /// Kills it if it runs; its data directory is lost, its key too: what starts next is another node.
    Wipe {
        node: usize,
    },
    /// Kills it if it runs; its store is lost, its key is not: what starts next is the same node with an empty disk.
    LoseStore {
        node: usize,
    },
    /// Kills `node` if it runs, and starts it on a copy of the data directory of `of`, which goes on: two live copies of one node.
    Twin {
        node: usize,
        of: usize,
    },
    /// A node moves to another address: kills it, and whoever is there, and starts its data directory at `to`.
    Move {
        from: usize,
        to: usize,
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
    /// An operator gives a node another tag instead of the one that it had, each time by another node.
    Tag {
        node: usize,
    },
    /// An operator changes the cluster's key, by this node or, if it does not run, the next. Datagrams are sealed where there is this deed.
    ChangeKey {
        node: usize,
    },
    /// The network drops what goes in these directions.
    Cut {
        id: CutId,
        directions: Vec<Direction>,
    },
    /// The same, now and then, until it is mended.
    Flap {
        id: CutId,
        directions: Vec<Direction>,
        flapping: Flapping,
    },
    /// Something meddles with refusals in these directions.
    Meddle {
        id: CutId,
        meddler: Meddler,
        directions: Vec<Direction>,
    },
    Mend {
        id: CutId,
    },
    /// SIGSTOP: the process stands still, its timers and its data plane too. What comes for it waits, as far as there is room.
    Pause {
        node: usize,
    },
    /// SIGCONT.
    Resume {
        node: usize,
    },
    /// The process gets too little of its machine: it handles each input so much later, and several at once.
    Slow {
        node: usize,
        lateness: Delay,
    },
    /// It gets enough again.
    Quick {
        node: usize,
    },
    /// The wall clock is set, forwards or back.
    StepClock {
        node: usize,
        by_ms: i64,
    },
    /// Writes fail, and so does a start.
    DiskFails {
        node: usize,
        fault: DiskFault,
    },
    DiskWorks {
        node: usize,
    },
    /// Befalls whoever plays a part for a source by then.
    Strike(Strike),
    /// From now on sinks behave so.
    Sinks(SinkPlan),
    /// A machine gives its process this part of its processors from now on, in thousandths; one that is never busy does so all the same.
    Quota {
        node: usize,
        permille: u32,
    },
    /// A source grows at this part of its own pace from now on, in thousandths.
    Pace {
        source: usize,
        permille: u32,
    },
    /// A node's program is replaced by the next version, which it runs from its next start on.
    Upgrade {
        node: usize,
    },
    /// An operator changes the runner, by this node or, if it does not answer, the next that knows the runner.
    Edit {
        node: usize,
        edit: Edit,
    },
    /// The faults end: every cut and all loss, and nodes outside `core` are dead, those in it run.
    Heal {
        core: BTreeSet<usize>,
    },
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Just so.
    At(#[serde(with = "seconds")] Duration),
    /// At [`Deed::Heal`] the cluster must begin to settle (DESIGN §9, liveness); then the sources stop growing and all of them must be delivered.
    Settled,
}

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// For all chance in it: the same scenario under another seed is another run.
    #[serde(default = "one")]
    pub seed: u64,
    pub nodes: Vec<NodePlan>,
    #[serde(default)]
    pub sources: Vec<SourcePlan>,
    /// Names of the runner's senders, each with a sink of its own.
    #[serde(default = "out")]
    pub senders: Vec<String>,
    #[serde(default)]
    pub network: NetworkPlan,
    /// Of every node, but for the seeds.
    #[serde(default)]
    pub gossip: Knobs,
    #[serde(default)]
    pub disk: DiskPlan,
    #[serde(default)]
    pub sink: SinkPlan,
    #[serde(default)]
    pub plane: PlanePlan,
    /// By time.
    #[serde(with = "timed")]
    pub deeds: Vec<(Duration, Deed)>,
    /// What is done once the cluster has settled, by the time since then: the rest comes back. Only where it must settle.
    #[serde(default, with = "timed", skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<(Duration, Deed)>,
    /// What must hold in this run besides the general invariants.
    #[serde(default)]
    pub expects: Vec<Expectation>,
    pub ending: Ending,
}

/// From the end of the faults until a run that settles is over, about.
const SETTLING: Duration = Duration::from_secs(120);

/// A line's beginning: its source's name and its number.
const NUMBER_BYTES_MAX: u64 = 32;

/// Why a scenario cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioFault {
    #[error("it has no node")]
    NoNode,
    #[error("`{0}` is no name: lower-case letters and digits, `.`, `_` and `-`, up to 63 of them")]
    Name(String),
    #[error("there are two of the name `{0}`")]
    Twice(String),
    #[error("{what} names node {place}, and there are {count}, counted from 0")]
    Place { what: String, place: usize, count: usize },
    #[error("{what} names source {place}, and there are {count}, counted from 0")]
    Source { what: String, place: usize, count: usize },
    #[error("it ends when it has settled, so one deed must be `heal`, the end of the faults")]
    NoHeal,
}

fn one() -> u64 {
    1
}

fn out() -> Vec<String> {
    vec!["out".to_owned()]
}

impl Deed {
    /// The node that it befalls, where it is one alone.
    fn node_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Start { node }
            | Self::Crash { node }
            | Self::PowerOff { node }
            | Self::CrashFlushing { node }
            | Self::Stop { node }
            | Self::Image { node }
            | Self::RestartFromImage { node }
            | Self::Wipe { node }
            | Self::LoseStore { node }
            | Self::Apply { node }
            | Self::Tag { node }
            | Self::ChangeKey { node }
            | Self::Drain { node, .. }
            | Self::Pause { node }
            | Self::Resume { node }
            | Self::Slow { node, .. }
            | Self::Quick { node }
            | Self::StepClock { node, .. }
            | Self::DiskFails { node, .. }
            | Self::DiskWorks { node }
            | Self::Quota { node, .. }
            | Self::Upgrade { node }
            | Self::Edit { node, .. } => Some(node),
            Self::Twin { .. }
            | Self::Move { .. }
            | Self::Cut { .. }
            | Self::Flap { .. }
            | Self::Meddle { .. }
            | Self::Mend { .. }
            | Self::Strike(_)
            | Self::Sinks(_)
            | Self::Pace { .. }
            | Self::Heal { .. } => None,
        }
    }

    /// The nodes in it.
    pub fn places(&self) -> BTreeSet<usize> {
        match self {
            Self::Twin { node, of } => BTreeSet::from([*node, *of]),
            Self::Move { from, to } => BTreeSet::from([*from, *to]),
            Self::Cut { directions, .. } | Self::Flap { directions, .. } | Self::Meddle { directions, .. } => {
                directions.iter().flat_map(|(from, to)| [*from, *to]).collect()
            }
            Self::Heal { core } => core.clone(),
            deed => deed.clone().node_mut().map(|node| *node).into_iter().collect(),
        }
    }

    /// The source that it is about, by place.
    pub fn source(&self) -> Option<usize> {
        match self {
            Self::Strike(Strike { source, .. }) | Self::Pace { source, .. } => Some(*source),
            Self::Edit { edit, .. } => edit.source(),
            _ => None,
        }
    }

    /// The same among fewer sources, each at its new place; None if it was about one that is gone.
    #[must_use]
    pub fn of_sources(mut self, places: &BTreeMap<usize, usize>) -> Option<Self> {
        if let Some(place) = self.source() {
            let place = *places.get(&place)?;
            match &mut self {
                Self::Strike(Strike { source, .. }) | Self::Pace { source, .. } => *source = place,
                Self::Edit { edit, .. } => *edit = edit.of_source(place),
                deed => unreachable!("{deed:?} is about no source"),
            }
        }
        Some(self)
    }

    /// The same among fewer nodes, each at its new place; None if nothing is left of it.
    #[must_use]
    pub fn moved(mut self, places: &BTreeMap<usize, usize>) -> Option<Self> {
        match &mut self {
            Self::Twin { node: one, of: other } | Self::Move { from: one, to: other } => {
                (*one, *other) = (*places.get(one)?, *places.get(other)?);
            }
            Self::Cut { directions, .. } | Self::Flap { directions, .. } | Self::Meddle { directions, .. } => {
                *directions = directions.iter().filter_map(|(from, to)| Some((*places.get(from)?, *places.get(to)?))).collect();
                if directions.is_empty() {
                    return None;
                }
            }
            Self::Heal { core } => {
                *core = core.iter().filter_map(|node| places.get(node).copied()).collect();
                if core.is_empty() {
                    return None;
                }
            }
            deed => {
                if let Some(node) = deed.node_mut() {
                    *node = *places.get(node)?;
                }
            }
        }
        Some(self)
    }
}

impl Scenario {
    /// Says what makes it impossible: what people wrote is checked before it is run.
    pub fn validate(&self) -> Result<(), ScenarioFault> {
        if self.nodes.is_empty() {
            return Err(ScenarioFault::NoNode);
        }
        let names = [self.nodes.iter().map(|node| &node.name).collect::<Vec<_>>(), self.senders.iter().collect()];
        for names in names {
            let mut seen = BTreeSet::new();
            for name in names {
                name.parse::<Name>().map_err(|_| ScenarioFault::Name(name.clone()))?;
                if !seen.insert(name) {
                    return Err(ScenarioFault::Twice(name.clone()));
                }
            }
        }
        let count = self.nodes.len();
        for (at, deed) in self.deeds.iter().chain(&self.then) {
            if let Some(place) = deed.places().into_iter().find(|place| *place >= count) {
                return Err(ScenarioFault::Place { what: format!("the deed at {at:?}"), place, count });
            }
        }
        let deeds = self.deeds.iter().chain(&self.then).filter_map(|(at, deed)| Some((format!("the deed at {at:?}"), deed.source()?)));
        let expects = self.expects.iter().filter_map(|expectation| Some(("an expectation".to_owned(), expectation.source()?)));
        let count = self.sources.len();
        if let Some((what, place)) = deeds.chain(expects).find(|(_, place)| *place >= count) {
            return Err(ScenarioFault::Source { what, place, count });
        }
        let heals = self.deeds.iter().any(|(_, deed)| matches!(deed, Deed::Heal { .. }));
        if self.ending == Ending::Settled && !heals { Err(ScenarioFault::NoHeal) } else { Ok(()) }
    }

    /// A calm world: one millisecond to everywhere, two to the disk, nothing is lost. Nodes start one after the other.
    pub fn calm(seed: u64, names: &[&str], sources: usize) -> Self {
        let nodes: Vec<_> = names.iter().map(|name| NodePlan { name: (*name).to_owned(), ..NodePlan::default() }).collect();
        let mut deeds: Vec<_> = (0..nodes.len()).map(|node| (Duration::from_millis(100 * node as u64), Deed::Start { node })).collect();
        if sources > 0 {
            deeds.push((Duration::from_secs(5), Deed::Apply { node: 0 }));
        }
        Self {
            seed,
            nodes,
            sources: (1..=sources).map(|number| SourcePlan::numbered(number, Duration::from_millis(100), 120)).collect(),
            senders: out(),
            network: NetworkPlan::default(),
            gossip: Knobs::default(),
            disk: DiskPlan::default(),
            sink: SinkPlan::calm(),
            plane: PlanePlan::default(),
            deeds,
            then: Vec::new(),
            expects: Vec::new(),
            ending: Ending::At(Duration::from_secs(60)),
        }
    }

    /// What owners of a source are bound by.
    pub(crate) fn terms(&self, source: &SourcePlan) -> Terms {
        // A line may be longer than it should, by its own number.
        let line = source.line_bytes_max as u64 + NUMBER_BYTES_MAX;
        let senders = self.senders.iter().map(|name| name.parse().expect("scenarios give senders proper names"));
        Terms { window: self.plane.delivery.window_bytes, piece: self.plane.piece_bytes_max.max(line), senders: senders.collect() }
    }

    /// Where the node of this name is.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// How long it goes on, at least.
    pub fn length(&self) -> Duration {
        match self.ending {
            Ending::At(end) => end,
            Ending::Settled => self.deeds.iter().map(|(at, _)| *at).max().unwrap_or_default() + SETTLING,
        }
    }

    /// Puts the deeds in order; those of one time stay as they were put.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.deeds.sort_by_key(|(at, _)| *at);
        self.then.sort_by_key(|(at, _)| *at);
        self
    }
}
