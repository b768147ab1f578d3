//! Operations as rows.

use logvine_gossip::{NodeId, UnixMicros};

use super::{OperationRow, OperationView, TargetRow, name_of, rfc3339};
use crate::{
    node::Node,
    operation::{Operation, Row, RowState, Stage},
};

/// All operations that a node knows, the newest first: those whose id is before `before`.
pub fn operations<'a>(node: &'a Node, before: Option<&'a str>) -> impl Iterator<Item = OperationRow> + 'a {
    let known = node.operations().into_iter().filter(move |(operation, _)| before.is_none_or(|before| operation.id.as_str() < before));
    known.map(|(operation, stage)| operation_row(node, operation, stage))
}

/// One operation with its targets.
pub fn operation(node: &Node, id: &str) -> Option<OperationView> {
    let (operation, stage) = node.operation(id)?;
    Some(OperationView { row: operation_row(node, operation, stage), targets: rows(node, operation) })
}

/// What became of an operation on each of its targets; nothing of one that is not known.
pub fn targets_of(node: &Node, id: &str) -> Vec<TargetRow> {
    node.operation(id).map(|(operation, _)| rows(node, operation)).unwrap_or_default()
}

/// The targets that a command would have.
pub fn would_be(node: &Node, targets: &[NodeId]) -> Vec<TargetRow> {
    let row = |id: &NodeId| TargetRow { node: id.to_string(), node_name: name_of(node, id), state: "would be".to_owned(), reason: None };
    targets.iter().map(row).collect()
}

fn operation_row(node: &Node, operation: &Operation, stage: Stage) -> OperationRow {
    let rows = node.rows(operation);
    let count = |wanted: &str| rows.iter().filter(|row| word(&row.state) == wanted).count();
    OperationRow {
        id: operation.id.clone(),
        time: rfc3339(UnixMicros(operation.stamp.as_millis() * 1_000)),
        verb: operation.verb().word().to_owned(),
        runners: operation.runners().iter().map(ToString::to_string).collect(),
        nodes: operation.nodes().map(str::to_owned),
        actor: operation.actor().to_owned(),
        reason: operation.reason().map(str::to_owned),
        relay: operation.origin.to_string(),
        relay_name: name_of(node, &operation.origin),
        state: match stage {
            Stage::Proposed => "proposed",
            Stage::Published => "published",
            Stage::Accepted => "accepted",
            Stage::Withdrawn => "withdrawn",
        }
        .to_owned(),
        stage: node.rename_stage(operation).map(|stage| stage.word().to_owned()),
        overruled_by: node.overruled_by(operation),
        applied: count("applied"),
        failed: count("failed"),
        pending: count("pending"),
    }
}

fn rows(node: &Node, operation: &Operation) -> Vec<TargetRow> {
    let row = |Row { node: id, state }: Row| TargetRow {
        node: id.to_string(),
        node_name: name_of(node, &id),
        state: word(&state).to_owned(),
        reason: match state {
            RowState::Applied => None,
            RowState::Failed { reason } | RowState::Pending { reason } => Some(reason),
        },
    };
    node.rows(operation).into_iter().map(row).collect()
}

fn word(state: &RowState) -> &'static str {
    match state {
        RowState::Applied => "applied",
        RowState::Failed { .. } => "failed",
        RowState::Pending { .. } => "pending",
    }
}
