//! Many operators at once: whether all nodes hold the same soon after, by whose word, and whether those are told whose word was lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_cluster::{
    command::Command,
    event::Event as Told,
    name::Name,
    node::CommandId,
    operation::{Operation, Stage},
};
use logvine_gossip::{NodeId, Stamp};
use rand::RngExt;

use super::{
    Effort, Row,
    field::{Field, LAN, quantile, seconds},
};
use crate::{network::NetworkPlan, report::Violation};

/// The goal of issue 5: edits a second, for so long, and equal catalogs so soon after the last.
const EDITS_PER_S: u64 = 200;
const LENGTH: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(10);
/// Tags that are given and taken: so few that many operators mean the same.
const TAGS: u64 = 3;

/// One edit: a node's tags, by whichever node was asked.
struct Edit {
    id: String,
    /// When it was said, and by whom it was taken.
    order: (Stamp, NodeId),
    /// Keys that it wrote.
    keys: BTreeSet<String>,
    /// The node whose tags they are, and which it shall have.
    target: NodeId,
    wanted: BTreeSet<Name>,
    /// Words that are lost by it unseen: on one of its keys, and the asked node had not heard of them; or itself.
    unseen: BTreeSet<String>,
}

/// What came of them.
struct Outcome {
    edits: usize,
    accepted: usize,
    /// Until the catalogs were equal, from the last edit on; none: not in time.
    equal: Option<Duration>,
    /// Keys that on some node hold another value than the last writer's.
    strays: usize,
    /// Words that were lost unseen, and how many of those each node failed to tell, or told though it was not so.
    losers: usize,
    untold: usize,
    false_told: usize,
    /// From each edit to its acceptance.
    accepted_after: Vec<Duration>,
}

/// Tags are set through different nodes at once.
pub(super) fn contested(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let mut rows = Vec::new();
    for (nodes, loss) in [(32, 0), (32, 100), (256, 0)].into_iter().filter(|(nodes, _)| effort.of(*nodes < 256, *nodes < 256, true)) {
        let length = effort.of(LENGTH / 6, LENGTH, LENGTH);
        let Outcome { edits, accepted, equal, strays, losers, untold, false_told, accepted_after } =
            play(nodes, NetworkPlan { loss, ..LAN }, length)?;
        let late = equal.map_or_else(|| "not in 60 s".to_owned(), seconds);
        let (half, most) = (quantile(&accepted_after, 500), quantile(&accepted_after, 990));
        rows.push(Row {
            measure: format!("{EDITS_PER_S} edits a second through {nodes} nodes for {} s, {} % loss", length.as_secs(), loss / 10),
            measured: format!(
                "{accepted} of {edits} accepted (p50 {:.3} s, p99 {:.3} s); equal after {late}; {strays} keys not the last writer's; {losers} words \
                 lost unseen, {untold} of them untold, {false_told} told though seen",
                half.as_secs_f64(),
                most.as_secs_f64()
            ),
            goal: format!("equal within {}, by the last writer; all losers told on every node", seconds(WITHIN)),
            met: accepted == edits && equal.is_some_and(|equal| equal <= WITHIN) && strays == 0 && untold == 0 && false_told == 0,
            stands_on: format!("{edits} edits"),
        });
    }
    Ok(rows)
}

fn play(nodes: usize, network: NetworkPlan, length: Duration) -> Result<Outcome, Box<Violation>> {
    let mut field = Field::joined(1, nodes, network)?;
    let apart = Duration::from_micros(1_000_000 / EDITS_PER_S);
    let count = u64::try_from(length.as_micros() / apart.as_micros()).expect("some thousand");
    let (mut edits, mut heard) = (Vec::<Edit>::new(), Heard::new(nodes));
    for number in 0..count {
        if let Some(edit) = say(&mut field, number, &edits) {
            heard.asked.insert(edit.id.clone(), field.now());
            edits.push(edit);
        }
        heard.take(field.run(apart)?);
    }
    let last = field.now();
    let mut equal = None;
    while field.now().since(last) < Duration::from_secs(60) {
        let digests: BTreeSet<u64> = field.nodes().map(|(_, node)| node.gossip().catalog().digest()).collect();
        let is_open = |(_, node): (usize, &logvine_cluster::node::Node)| node.operations().iter().any(|(_, stage)| *stage == Stage::Proposed);
        if digests.len() == 1 && !field.nodes().any(is_open) {
            equal.get_or_insert(field.now().since(last));
        } else {
            equal = None;
        }
        heard.take(field.run(Duration::from_millis(500))?);
    }
    let losers: BTreeSet<String> = edits.iter().flat_map(|edit| edit.unseen.iter().cloned()).collect();
    let untold = heard.told.iter().map(|told| losers.difference(told).count()).sum();
    let false_told = heard.told.iter().map(|told| told.difference(&losers).count()).sum();
    Ok(Outcome {
        edits: edits.len(),
        accepted: heard.accepted_after.len(),
        equal,
        strays: strays(&field, &edits),
        losers: losers.len(),
        untold,
        false_told,
        accepted_after: heard.accepted_after,
    })
}

/// What nodes have told.
struct Heard {
    asked: BTreeMap<String, logvine_gossip::Instant>,
    accepted_after: Vec<Duration>,
    /// By node: operations that were overruled unseen.
    told: Vec<BTreeSet<String>>,
}

impl Heard {
    fn new(nodes: usize) -> Self {
        Self { asked: BTreeMap::new(), accepted_after: Vec::new(), told: vec![BTreeSet::new(); nodes] }
    }

    fn take(&mut self, words: Vec<super::field::Word>) {
        for (at, node, word) in words {
            match word {
                Told::Accepted { operation } => self.accepted_after.extend(self.asked.remove(&operation).map(|asked| at.since(asked))),
                Told::Overruled { operation, .. } => drop(self.told[node].insert(operation)),
                _ => {}
            }
        }
    }
}

/// One operator gives a node other tags, through some node. None where it has just these already.
fn say(field: &mut Field, number: u64, edits: &[Edit]) -> Option<Edit> {
    let (via, target) = (field.any(), field.any());
    let (asked, id) = (field.id(via), field.id(target));
    let wanted: BTreeSet<Name> = (0..TAGS).filter(|_| field.rng.random()).map(|tag| format!("t{tag}").parse().expect("a name")).collect();
    let node = field.node(via)?;
    let mut present = node.catalog().tags(&id, &BTreeSet::new());
    // What it was asked before and has not taken into its catalog yet is there for it.
    for edit in edits.iter().filter(|edit| edit.order.1 == asked && edit.target == id && node.catalog().operation(&edit.id).is_none()) {
        present.clone_from(&edit.wanted);
    }
    let keys: BTreeSet<String> = wanted.symmetric_difference(&present).map(|tag| format!("tag/{id}/{tag}")).collect();
    let held: BTreeMap<&String, Stamp> =
        keys.iter().map(|key| (key, node.gossip().catalog().held(key).map_or(Stamp::ZERO, |entry| entry.stamp))).collect();
    let said: BTreeSet<&String> = edits.iter().filter(|edit| edit.order.1 == asked).map(|edit| &edit.id).collect();
    if keys.is_empty() {
        return None;
    }
    field.command(via, Command::SetTags { node: id, tags: wanted.clone() }, CommandId(number));
    let node = field.node(via)?;
    let mine = |operation: &&Operation| operation.origin == asked && !said.contains(&operation.id);
    let operations = node.operations();
    let operation = operations.iter().map(|(operation, _)| *operation).find(mine)?;
    let (operation, order) = (operation.id.clone(), (operation.stamp, operation.origin));
    // What it did not hold, and did not say itself.
    let unheard = |edit: &Edit| edit.order.1 != asked && edit.keys.iter().any(|key| held.get(key).is_some_and(|held| *held < edit.order.0));
    let mut unseen = BTreeSet::new();
    for edit in edits.iter().filter(|edit| edit.target == id && unheard(edit)) {
        // One that was taken before, and under a later stamp, did not know this one.
        unseen.insert(if edit.order < order { edit.id.clone() } else { operation.clone() });
    }
    Some(Edit { id: operation, order, target: id, wanted, keys, unseen })
}

/// Keys that some node holds under another stamp than that of the last word on them.
fn strays(field: &Field, edits: &[Edit]) -> usize {
    let mut last: BTreeMap<&String, (Stamp, NodeId)> = BTreeMap::new();
    for (key, order) in edits.iter().flat_map(|edit| edit.keys.iter().map(|key| (key, edit.order))) {
        last.entry(key).and_modify(|held| *held = (*held).max(order)).or_insert(order);
    }
    let is_last =
        |key: &str, order| field.nodes().all(|(_, node)| node.gossip().catalog().held(key).is_some_and(|held| (held.stamp, held.origin) == order));
    last.into_iter().filter(|(key, order)| !is_last(key, *order)).count()
}
