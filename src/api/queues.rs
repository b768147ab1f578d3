//! `drop-queue`, and what it would throw away.

use logvine_cluster::{command::Command, name::Name, selection::Selection};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiResult, App,
    rewinds::{Asked, UnansweredRow, ask_instances},
    written::{WriteQuery, Written, write},
};

/// Rows of a preview. What is more is in its sums.
const ROWS_MAX: usize = 1_000;

/// What dropping queues would throw away, as the nodes tell that have them.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct QueuePreview {
    /// Bytes that came in and are not acknowledged by all senders: of the rows, and of those that are left out.
    bytes: u64,
    queues_total: usize,
    /// The first 1,000, those with the most first.
    queues: Vec<QueueRow>,
    /// Whose part is not in it, and why.
    unanswered: Vec<UnansweredRow>,
}

/// The disk queue of an instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct QueueRow {
    runner: String,
    node: String,
    node_name: String,
    bytes: u64,
}

/// Has what waits in disk queues thrown away; of a dry run, says how much that would be.
pub(super) async fn drop_queue(app: &App, query: &WriteQuery, runners: Vec<Name>, nodes: Option<Selection>) -> ApiResult<Written> {
    let mut written = write(app, query, Command::DropQueue { runners: runners.clone(), nodes }).await?;
    if query.dry_run {
        written.queue = Some(QueuePreview::of(ask_instances(app, &written.targets, &runners).await?));
    }
    Ok(written)
}

impl QueuePreview {
    fn of(Asked { answered, unanswered }: Asked) -> Self {
        let rows = answered.into_iter().map(|(node, node_name, runner, detail)| QueueRow {
            runner: runner.to_string(),
            node: node.to_string(),
            node_name,
            bytes: detail.queue_bytes,
        });
        let mut queues: Vec<QueueRow> = rows.collect();
        let (bytes, queues_total) = (queues.iter().map(|row| row.bytes).sum(), queues.len());
        queues.sort_by(|one, other| (other.bytes, &one.runner, &one.node_name).cmp(&(one.bytes, &other.runner, &other.node_name)));
        queues.truncate(ROWS_MAX);
        Self { bytes, queues_total, queues, unanswered }
    }
}
