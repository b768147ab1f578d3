//! What would move if… (DESIGN §5.6): the present view, changed in thought, and the same decisions as ever.
//!
//! ```text
//! snapshot of a node's view ─> changes ─> each source's owner decides, then whoever it goes to, until nobody moves it ─> moves, shares before and after
//! ```
//! The snapshot is taken between two inputs of the node; the plan is made apart from it, as it takes a while for many sources.
//! Not here: a decision of its own. Who takes and who gives is `assignment`'s word, who ranks where `ranking`'s, what is shed and let in `balance`'s
//! (`loads`). How fast a source is its owner and its witnesses know; of what this node is neither, each is taken for its part of what its owner says.

mod loads;

use std::collections::{BTreeMap, BTreeSet};

use logvine_gossip::{Instant, NodeId, Now, Stamp, Status};

use self::loads::{Loads, Placed};
use crate::{
    assignment::{Claimed, Decision, Eligible, Situation, decide, eligible},
    catalog::Desired,
    instance::Epoch,
    member::{NodeInfo, Phase},
    name::Name,
    node::Node,
    ranking::{Capacity, RankingKey, TOP, ranking},
    record::SourceKey,
    selection::Selection,
};

/// All that had to wait for its time has done so.
const SETTLED: Instant = Instant::from_micros(u64::MAX / 4);
/// A source that is given on so often in thought has come to no rest: two nodes that each think that it belongs to the other.
const HOPS_MAX: usize = 4;

/// Something that may come to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node is gone without a word.
    Dies(NodeId),
    /// It is drained.
    Leaves(NodeId),
    /// A node comes. Without its id, which decides where it ranks, what it gets is right in number only. Without a capacity it has what is usual here.
    Joins { id: Option<NodeId>, name: Name, tags: BTreeSet<Name>, capacity: Option<Capacity> },
    /// A node can bear more, or less.
    Bears { node: NodeId, capacity: Capacity },
    /// So many sources are added to a runner. When they are decides where they go: where that is, is right in number only.
    Adds { runner: Name, sources: usize, selection: Option<Selection> },
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("there is no node {0}")]
    NoNode(NodeId),
    #[error("there is no runner `{0}`")]
    NoRunner(Name),
    #[error("{sources} sources are more than the {most} that are added in thought")]
    TooMany { sources: usize, most: usize },
}

/// Sources that are added in thought at most: what a cluster is sized for (DESIGN §10).
const ADDED_MOST: usize = 100_000;

/// What would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// By runner and source.
    pub moves: Vec<Move>,
    /// By node; nodes that could own something before or after.
    pub shares: BTreeMap<NodeId, Share>,
    /// Names of the nodes that are or would be.
    pub names: BTreeMap<NodeId, String>,
}

/// A source that would have another owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub runner: Name,
    pub source: Name,
    pub from: Option<NodeId>,
    /// None: nobody may own it.
    pub to: Option<NodeId>,
    /// In a word: see [`crate::event::Why::word`]; or `no_node`.
    pub why: &'static str,
    /// False where it depends on what is not known yet: a new node's id, when a source is added.
    pub certain: bool,
}

/// What a node has of the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub sources_before: usize,
    pub sources_after: usize,
    /// None where it is not there to bear anything.
    pub capacity_before: Option<Capacity>,
    pub capacity_after: Option<Capacity>,
    /// Bytes a second, or what is worth as much: as gossip tells it, and as it would be by what the sources weigh that come and go.
    pub load_before: u64,
    pub load_after: u64,
}

/// What a plan is made from: a node's view, apart from the node.
#[derive(Debug, Clone)]
pub struct Snapshot {
    nodes: BTreeMap<NodeId, NodeInfo>,
    /// Those that are away, within their grace.
    away: BTreeSet<NodeId>,
    /// Those that have come in thought.
    joined: BTreeSet<NodeId>,
    runners: BTreeMap<Name, RunnerAt>,
    sources: Vec<SourceAt>,
}

#[derive(Debug, Clone)]
struct RunnerAt {
    placement: Option<Selection>,
    /// Where somebody said that it shall not run.
    stopped: BTreeSet<NodeId>,
    /// Nobody said it of this node alone: what holds.
    runs: bool,
}

#[derive(Debug, Clone)]
struct SourceAt {
    runner: Name,
    key: SourceKey,
    selection: Option<Selection>,
    owner: Option<NodeId>,
    /// Bytes a second.
    rate: u64,
    certain: bool,
}

impl SourceAt {
    /// Sources of one runner and one selection are owned by the same nodes.
    fn group(&self) -> (&Name, Option<String>) {
        (&self.runner, self.selection.as_ref().map(ToString::to_string))
    }
}

/// Nodes that may own the sources of a runner with one selection.
struct Group {
    eligible: BTreeMap<NodeId, Eligible>,
    capacities: BTreeMap<NodeId, Capacity>,
}

impl Group {
    fn present(&self) -> BTreeSet<NodeId> {
        self.eligible.iter().filter(|(_, node)| node.present).map(|(id, _)| *id).collect()
    }
}

impl Snapshot {
    /// The view of `node`, as it is now. Cost: a copy of what it knows, some milliseconds for 10,000 sources.
    pub fn of(node: &Node, now: Now) -> Self {
        let nodes = node.view().clone();
        let away: BTreeSet<_> = nodes.values().filter(|info| node.away_for(now, info).is_some()).map(|info| info.id).collect();
        let is_there = |id: &NodeId| nodes.get(id).is_some_and(|info| info.is_live() || away.contains(id));
        let (mut runners, mut sources) = (BTreeMap::new(), Vec::new());
        for (name, runner) in node.catalog().runners() {
            let stopped = nodes.keys().filter(|id| node.catalog().desired_on(name, id) != Desired::Running).copied().collect();
            let runs = node.catalog().desired(name) == Desired::Running;
            runners.insert(name.clone(), RunnerAt { placement: runner.spec.placement.selection().parse().ok(), stopped, runs });
            for source in node.catalog().sources(name) {
                let claims = node.claims_of(name, source);
                sources.push(SourceAt {
                    runner: name.clone(),
                    key: source.key.clone(),
                    selection: source.spec.selection.as_deref().and_then(|text| text.parse().ok()),
                    owner: claims.iter().map(|(id, _)| *id).find(is_there),
                    rate: 0,
                    certain: true,
                });
            }
        }
        weigh(&mut sources, &nodes, |key| node.rate_of(key));
        Self { nodes, away, joined: BTreeSet::new(), runners, sources }
    }

    /// The same, where sources that were made at this stamp in thought are made later: when, decides where they go.
    #[must_use]
    pub(crate) fn doubting(mut self, stamp: Stamp) -> Self {
        for source in self.sources.iter_mut().filter(|source| source.key.created == stamp) {
            source.certain = false;
        }
        self
    }

    /// What would move. Changes hold one after another. Errors: a change names what is not there.
    pub fn plan(mut self, changes: &[Change]) -> Result<Plan, PlanError> {
        let mut shares = BTreeMap::new();
        for (info, share) in self.bearers(&mut shares) {
            (share.capacity_before, share.load_before) = (Some(info.capacity), info.load);
        }
        let mut doubtful = BTreeSet::new();
        for change in changes {
            doubtful.extend(self.apply(change)?);
        }
        let mut groups: BTreeMap<(&Name, Option<String>), Group> = BTreeMap::new();
        let (mut loads, mut placed) = (Loads::of(&self), Vec::with_capacity(self.sources.len()));
        for source in &self.sources {
            let group = groups.entry(source.group()).or_insert_with(|| self.group(source));
            placed.push(self.settle(source, group, &mut loads));
        }
        loads.even_out(&self, &groups, &mut placed);
        for (info, share) in self.bearers(&mut shares) {
            (share.capacity_after, share.load_after) = (Some(info.capacity), loads.get(&info.id));
        }
        let mut moves = Vec::new();
        for (source, place) in self.sources.iter().zip(placed) {
            let Placed { owner: to, why, .. } = place;
            if let Some(from) = source.owner {
                shares.entry(from).or_default().sources_before += 1;
            }
            if let Some(to) = to {
                shares.entry(to).or_default().sources_after += 1;
            }
            if to != source.owner {
                let certain = source.certain && to.is_none_or(|to| !doubtful.contains(&to));
                moves.push(Move { runner: source.runner.clone(), source: source.key.source.clone(), from: source.owner, to, why, certain });
            }
        }
        let names = self.nodes.values().map(|info| (info.id, info.name.as_ref().map_or_else(|| info.id.short(), Name::to_string))).collect();
        Ok(Plan { moves, shares, names })
    }

    /// Nodes that could own something, with their shares.
    fn bearers<'a>(&'a self, shares: &'a mut BTreeMap<NodeId, Share>) -> Vec<(&'a NodeInfo, &'a mut Share)> {
        let bears = |info: &&NodeInfo| (info.is_live() && info.phase == Phase::Active) || self.away.contains(&info.id);
        let ids: BTreeSet<NodeId> = self.nodes.values().filter(bears).map(|info| info.id).collect();
        for id in &ids {
            shares.entry(*id).or_default();
        }
        shares.iter_mut().filter(|(id, _)| ids.contains(id)).map(|(id, share)| (&self.nodes[id], share)).collect()
    }

    /// Returns a node of which not all is known.
    fn apply(&mut self, change: &Change) -> Result<Option<NodeId>, PlanError> {
        match change {
            Change::Dies(id) => {
                self.node(id)?.status = Status::Down;
                self.away.remove(id);
            }
            Change::Leaves(id) => self.node(id)?.phase = Phase::Draining,
            Change::Bears { node, capacity } => self.node(node)?.capacity = *capacity,
            Change::Joins { id, name, tags, capacity } => {
                let made_up = NodeId([0xff - u8::try_from(self.nodes.len() % 0x7f).expect("a small number"); 16]);
                let joiner = NodeInfo {
                    phase: Phase::Active,
                    tags: tags.clone(),
                    capacity: capacity.unwrap_or_else(|| self.usual(|info| info.capacity)),
                    cost: self.usual(|info| info.cost),
                    name: Some(name.clone()),
                    ..NodeInfo::unread(id.unwrap_or(made_up))
                };
                for runner in self.runners.values_mut().filter(|runner| !runner.runs) {
                    runner.stopped.insert(joiner.id);
                }
                self.joined.insert(joiner.id);
                self.nodes.insert(joiner.id, joiner);
                return Ok(id.is_none().then_some(made_up));
            }
            Change::Adds { runner, sources, selection } => {
                if *sources > ADDED_MOST {
                    return Err(PlanError::TooMany { sources: *sources, most: ADDED_MOST });
                }
                if !self.runners.contains_key(runner) {
                    return Err(PlanError::NoRunner(runner.clone()));
                }
                let added = (1..=*sources).map(|number| SourceAt {
                    runner: runner.clone(),
                    key: SourceKey { uid: Stamp(u64::MAX), source: added_name(number), created: Stamp(u64::MAX) },
                    selection: selection.clone(),
                    owner: None,
                    rate: 0,
                    certain: false,
                });
                self.sources.extend(added);
            }
        }
        Ok(None)
    }

    /// The median of what the live nodes say.
    fn usual<T: Ord + Copy + Default>(&self, of: impl Fn(&NodeInfo) -> T) -> T {
        let mut said: Vec<_> = self.nodes.values().filter(|info| info.is_live()).map(of).collect();
        said.sort_unstable();
        said.get(said.len() / 2).copied().unwrap_or_default()
    }

    fn node(&mut self, id: &NodeId) -> Result<&mut NodeInfo, PlanError> {
        self.nodes.get_mut(id).ok_or(PlanError::NoNode(*id))
    }

    fn group(&self, source: &SourceAt) -> Group {
        let runner = &self.runners[&source.runner];
        let matches = |selection: &Option<Selection>, info: &NodeInfo| selection.as_ref().is_some_and(|selection| selection.matches(info));
        let placed = self.nodes.values().filter(|info| matches(&runner.placement, info) && !runner.stopped.contains(&info.id));
        let placed = placed.filter(|info| source.selection.is_none() || matches(&source.selection, info));
        let eligible = eligible(placed, |info| self.away.contains(&info.id), |_| Instant::ZERO);
        let capacities = eligible.iter().map(|(id, node)| (*id, node.capacity)).collect();
        Group { eligible, capacities }
    }

    /// Who would own a source once nobody has to move it any more, and why the last one got it. Who has too much then is looked at later.
    fn settle(&self, source: &SourceAt, group: &Group, loads: &mut Loads) -> Placed {
        let key = RankingKey::of(&source.key);
        let ranked = ranking(&group.capacities, key, TOP);
        let decide_as = |me: NodeId, owned: bool, gone: Option<NodeId>| {
            let info = &self.nodes[&me];
            decide(&Situation {
                now: SETTLED,
                me,
                key,
                eligible: &group.eligible,
                ranked: ranked.clone(),
                owned: owned.then_some(Epoch::default()),
                claim: gone.map(|owner| Claimed { owner, epoch: Epoch::default(), gone: Some(Instant::ZERO) }),
                former: None,
                placed_here: self.is_placed(source, info),
                draining: info.phase == Phase::Draining,
                mine: None,
                last: None,
                unowned_since: Instant::ZERO,
            })
        };
        let is_there = |id: &NodeId| self.nodes.get(id).is_some_and(|info| info.is_live() || self.away.contains(id));
        let (mut owner, mut why) = (source.owner.filter(is_there), "no_node");
        for _ in 0..HOPS_MAX {
            let next = match owner {
                Some(id) => match decide_as(id, true, None) {
                    Decision::Give { to, cause } => Some((loads.relief(self, group, source, &ranked, id, to), cause.word())),
                    Decision::Stop => None,
                    _ => return Placed::new(owner, why, ranked),
                },
                // The first of the ranking comes first: those behind it wait for it.
                None => ranked.iter().filter(|id| group.eligible[id].present).find_map(|id| match decide_as(*id, false, source.owner) {
                    Decision::Take { why, .. } => Some((loads.better_place(self, group, source, &ranked, *id), why.word())),
                    _ => None,
                }),
            };
            loads.shift(owner, next.map(|(to, _)| to), source.rate);
            let Some((to, word)) = next else { return Placed::new(None, "no_node", ranked) };
            (owner, why) = (Some(to), word);
        }
        Placed::new(owner, why, ranked)
    }

    /// Whether the source's runner is to run on a node, whatever its phase.
    fn is_placed(&self, source: &SourceAt, info: &NodeInfo) -> bool {
        let runner = &self.runners[&source.runner];
        runner.placement.as_ref().is_some_and(|selection| selection.matches(info)) && !runner.stopped.contains(&info.id)
    }
}

/// How fast each source is: as `known` says; else its part of what its owner has beside those that are known, at what a byte costs that.
fn weigh(sources: &mut [SourceAt], nodes: &BTreeMap<NodeId, NodeInfo>, known: impl Fn(&SourceKey) -> Option<u64>) {
    let rates: Vec<Option<u64>> = sources.iter().map(|source| known(&source.key)).collect();
    let mut left: BTreeMap<NodeId, (u64, u64)> = nodes.values().map(|info| (info.id, (info.cost.rate_of(info.load), 0))).collect();
    for (source, rate) in sources.iter().zip(&rates) {
        let Some((all, unknown)) = source.owner.and_then(|owner| left.get_mut(&owner)) else { continue };
        match rate {
            Some(rate) => *all = all.saturating_sub(*rate),
            None => *unknown += 1,
        }
    }
    for (source, rate) in sources.iter_mut().zip(rates) {
        let part = || source.owner.and_then(|owner| left.get(&owner)).and_then(|(all, unknown)| all.checked_div(*unknown));
        source.rate = rate.or_else(part).unwrap_or(0);
    }
}

fn added_name(number: usize) -> Name {
    format!("added-{number}").parse().expect("letters and digits")
}

impl Plan {
    /// How unequal it is: the most that a node has beside the mean, by what each can bear, in thousandths. None where nobody bears anything.
    pub fn unevenness(&self, after: bool) -> Option<u64> {
        let of = |share: &Share| if after { (share.capacity_after, share.sources_after) } else { (share.capacity_before, share.sources_before) };
        let bearers: Vec<(u128, u128)> = self
            .shares
            .values()
            .filter_map(|share| match of(share) {
                (Some(capacity), sources) => Some((u128::from(weight(capacity)), sources as u128)),
                (None, _) => None,
            })
            .collect();
        let (all_weight, all_sources) = bearers.iter().fold((0, 0), |(weight, sources), bearer| (weight + bearer.0, sources + bearer.1));
        let most = bearers.iter().map(|(weight, sources)| sources * 1_000 * all_weight / weight).max()?;
        u64::try_from(most.checked_div(all_sources).unwrap_or(1_000)).ok()
    }
}

/// What a capacity stands for beside others: quarter octaves, in 1/1,024 of the one of 0.
fn weight(capacity: Capacity) -> u64 {
    const QUARTERS: [u64; 4] = [1_024, 1_218, 1_448, 1_722];
    let Capacity(quarters) = capacity;
    QUARTERS[usize::from(quarters % 4)] << (quarters / 4).min(52)
}

#[cfg(test)]
mod tests;
