//! How far a drain is: a node is done only when it owns nothing and nobody counts on it as a witness (DESIGN §5.3, "Repair"; §5.5).

use std::collections::BTreeMap;

use logvine_gossip::NodeId;

use super::rows::DrainRow;
use crate::{
    catalog::Desired,
    member::{NodeInfo, Phase},
    node::Node,
};

impl DrainRow {
    pub(super) fn new(info: &NodeInfo, sources: usize, witness_of: usize) -> Self {
        // Until it has said that it drains, it may still take something.
        Self { sources, witness_of, done: sources == 0 && witness_of == 0 && info.phase == Phase::Draining }
    }
}

/// Of these nodes those that an operator asked to drain, each with the number of sources that count on it as a witness.
///
/// Cost: O(sources) where one drains, else O(nodes): lists of nodes are asked for all the time.
pub(super) fn counted_on<'a>(node: &Node, of: impl IntoIterator<Item = &'a NodeId>) -> BTreeMap<NodeId, usize> {
    let mut counted: BTreeMap<NodeId, usize> = of.into_iter().filter(|id| node.catalog().is_draining(id)).map(|id| (*id, 0)).collect();
    if counted.is_empty() {
        return counted;
    }
    // A runner that is stopped has nobody who could name other witnesses; they are replaced once it starts.
    let runners = node.catalog().runners().filter(|(name, _)| node.catalog().desired(name) == Desired::Running);
    for (name, _) in runners {
        for source in node.catalog().sources(name) {
            let claims = node.claims_of(name, source);
            let witnesses = claims.first().map_or(&source.witnesses, |(_, claim)| &claim.witnesses);
            for witness in witnesses {
                if let Some(count) = counted.get_mut(&witness.node) {
                    *count += 1;
                }
            }
        }
    }
    counted
}
