//! A plan as people ask for it.

use std::collections::BTreeMap;

use logvine_gossip::NodeId;

use super::rows::{MoveRow, PlanView, ShareRow};
use crate::plan::Plan;

/// Moves in one answer; all are counted.
const MOVES_MAX: usize = 1_000;

/// A plan in words.
pub fn plan(plan: &Plan) -> PlanView {
    let Plan { moves, shares, names } = plan;
    let row = |id: &NodeId, names: &BTreeMap<NodeId, String>| names.get(id).cloned().unwrap_or_else(|| id.short());
    let moved = moves.iter().take(MOVES_MAX).map(|moved| MoveRow {
        runner: moved.runner.to_string(),
        source: moved.source.to_string(),
        from: moved.from.map(|id| id.to_string()),
        from_name: moved.from.map(|id| row(&id, names)),
        to: moved.to.map(|id| id.to_string()),
        to_name: moved.to.map(|id| row(&id, names)),
        why: moved.why.to_owned(),
        certain: moved.certain,
    });
    let nodes = shares.iter().map(|(id, share)| ShareRow {
        node: id.to_string(),
        node_name: row(id, names),
        sources_before: share.sources_before,
        sources_after: share.sources_after,
        capacity_before: share.capacity_before.map(|capacity| capacity.0),
        capacity_after: share.capacity_after.map(|capacity| capacity.0),
        load_before: share.load_before,
        load_after: share.load_after,
    });
    let ratio = |thousandths: Option<u64>| thousandths.and_then(|thousandths| Some(f64::from(u32::try_from(thousandths).ok()?) / 1_000.0));
    PlanView {
        moves_total: moves.len(),
        unowned_after: moves.iter().filter(|moved| moved.to.is_none()).count(),
        unevenness_before: ratio(plan.unevenness(false)),
        unevenness_after: ratio(plan.unevenness(true)),
        nodes: nodes.collect(),
        moves: moved.collect(),
    }
}
