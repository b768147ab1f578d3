//! `clear-counters`, and what it would forget.

use std::collections::BTreeSet;

use logvine_cluster::{
    command::Command,
    name::Name,
    selection::Selection,
    view::{self, InstanceRow},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiResult, App,
    written::{WriteQuery, Written, write},
};

/// Rows of a preview. What is more is in its sums.
const ROWS_MAX: usize = 1_000;

/// What clearing counters would forget, as this node has heard of it.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct CountersPreview {
    /// Of the rows, and of those that are left out.
    records: u64,
    errors: u64,
    dead_lettered: u64,
    instances_total: usize,
    /// The first 1,000, by runner and node.
    instances: Vec<CountersRow>,
}

/// The counters of an instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct CountersRow {
    runner: String,
    node: String,
    node_name: String,
    /// When they were cleared last; null: never.
    counted_since: Option<String>,
    records: u64,
    errors: u64,
    dead_lettered: u64,
}

/// Has instances count from nothing; of a dry run, says what would be forgotten.
pub(super) async fn clear_counters(app: &App, query: &WriteQuery, runners: Vec<Name>, nodes: Option<Selection>) -> ApiResult<Written> {
    let mut written = write(app, query, Command::ClearCounters { runners: runners.clone(), nodes }).await?;
    if query.dry_run {
        let targets: BTreeSet<String> = written.targets.iter().map(|row| row.node.clone()).collect();
        let runners: BTreeSet<String> = runners.iter().map(ToString::to_string).collect();
        let rows = app.agent().look(move |node, _| {
            let is_meant = |row: &InstanceRow| runners.contains(&row.runner) && targets.contains(&row.node);
            view::instances(node).into_iter().filter(is_meant).collect::<Vec<_>>()
        });
        written.counters = Some(CountersPreview::of(rows.await?));
    }
    Ok(written)
}

impl CountersPreview {
    fn of(rows: Vec<InstanceRow>) -> Self {
        let sum = |of: fn(&InstanceRow) -> u64| rows.iter().map(of).sum();
        let (records, errors) = (sum(|row| row.at_work.records), sum(|row| row.at_work.errors));
        let (dead_lettered, instances_total) = (sum(|row| row.at_work.dead_lettered), rows.len());
        let instances = rows.into_iter().take(ROWS_MAX).map(|InstanceRow { runner, node, node_name, at_work, .. }| CountersRow {
            runner,
            node,
            node_name,
            counted_since: at_work.counted_since,
            records: at_work.records,
            errors: at_work.errors,
            dead_lettered: at_work.dead_lettered,
        });
        Self { records, errors, dead_lettered, instances_total, instances: instances.collect() }
    }
}
