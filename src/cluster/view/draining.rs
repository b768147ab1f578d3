//! How far a drain is: a node is done only when it owns nothing and nobody counts on it as a witness (DESIGN §5.3, "Repair"; §5.5).

use std::collections::BTreeMap;

use logvine_gossip::NodeId;

use super::rows::DrainRow;
use crate::{
    catalog::Desired,
    member::{NodeInfo, Phase},
    node::Node,
    record::{Record, Witness},
};

impl DrainRow {
    pub(super) fn new(info: &NodeInfo, sources: usize, witness_of: usize) -> Self {
        // Until it has said that it drains, it may still take something.
        Self { sources, witness_of, done: sources == 0 && witness_of == 0 && info.phase == Phase::Draining }
    }
}

/// Of these nodes those that an operator asked to drain, each with the number of sources that count on it as a witness; of a runner that is stopped only
/// those that would have no majority without the nodes that drain.
///
/// Cost: O(sources) where one drains, else O(nodes): lists of nodes are asked for all the time.
pub(super) fn counted_on<'a>(node: &Node, of: impl IntoIterator<Item = &'a NodeId>) -> BTreeMap<NodeId, usize> {
    let mut counted: BTreeMap<NodeId, usize> = of.into_iter().filter(|id| node.catalog().is_draining(id)).map(|id| (*id, 0)).collect();
    if counted.is_empty() {
        return counted;
    }
    for (name, _) in node.catalog().runners() {
        let runs = node.catalog().desired(name) == Desired::Running;
        for source in node.catalog().sources(name) {
            if !runs && is_safe_without_the_drained(node, &node.newest_base(name, source)) {
                continue;
            }
            for witness in node.newest_base(name, source).witnesses {
                if let Some(count) = counted.get_mut(&witness.node) {
                    *count += 1;
                }
            }
        }
    }
    counted
}

/// Nobody owns the sources of a runner that is stopped, so nobody can name other witnesses: they are replaced once it starts. Until then a drained node may
/// go where a majority of them stays; else the source would wait for it when the runner starts.
fn is_safe_without_the_drained(node: &Node, record: &Record) -> bool {
    let stays = |witness: &&Witness| node.view().get(&witness.node).is_some_and(NodeInfo::is_live) && !node.catalog().is_draining(&witness.node);
    record.is_majority(record.witnesses.iter().filter(stays).map(|witness| &witness.node))
}
