//! `rewind`, and what it would have read again.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use logvine_cluster::{
    command::Command,
    name::Name,
    selection::Selection,
    view::{TargetRow, name_of},
};
use logvine_gossip::NodeId;
use logvine_runner::sight::Detail;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiResult, App,
    written::{WriteQuery, Written, write},
};
use crate::agent::asking::{Ask, Told};

/// Rows of a preview. What is more is in its sum.
const ROWS_MAX: usize = 1_000;
/// Nodes that are asked at once.
const ASKED_AT_ONCE: usize = 16;
/// Instances that are asked for one preview. A bulk of more is looked at runner by runner.
const ASKED_MAX: usize = 1_000;

/// What a rewind would have read again, as the nodes tell that have it now.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct RewindPreview {
    /// Bytes that all senders have acknowledged, and that would be sent again: of the rows, and of those that are left out.
    bytes: u64,
    sources_total: u64,
    /// The first 1,000, those with the most first.
    sources: Vec<RewindRow>,
    /// Whose part is not in it, and why.
    unanswered: Vec<UnansweredRow>,
}

/// A source that would be read again.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct RewindRow {
    runner: String,
    source: String,
    node: String,
    node_name: String,
    /// Of a file of the node itself.
    path: Option<String>,
    bytes: u64,
}

/// A node that does not tell.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct UnansweredRow {
    node: String,
    node_name: String,
    why: String,
}

/// Has sources read again; of a dry run, says how much that would be.
pub(super) async fn rewind(
    app: &App,
    query: &WriteQuery,
    runners: Vec<Name>,
    nodes: Option<Selection>,
    sources: BTreeSet<Name>,
) -> ApiResult<Written> {
    let command = Command::Rewind { runners: runners.clone(), nodes, sources: sources.clone() };
    let mut written = write(app, query, command).await?;
    if query.dry_run {
        let asked = ask_instances(app, &written.targets, &runners).await?;
        written.rewind = Some(RewindPreview::of(asked, &sources));
    }
    Ok(written)
}

/// What the nodes tell that were asked of instances; and who told nothing.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) answered: Vec<(NodeId, String, Name, Detail)>,
    pub(super) unanswered: Vec<UnansweredRow>,
}

/// Asks the targets of a command what they know of their instances of these runners. One that runs none has nothing in hand, and nothing to tell.
pub(super) async fn ask_instances(app: &App, targets: &[TargetRow], runners: &[Name]) -> ApiResult<Asked> {
    let targets: Vec<NodeId> = targets.iter().filter_map(|row| row.node.parse().ok()).collect();
    let named = app.agent().look(move |node, _| targets.into_iter().map(|id| (id, name_of(node, &id))).collect::<Vec<_>>()).await?;
    let asked: Vec<_> = named.iter().flat_map(|(id, name)| runners.iter().map(move |runner| (*id, name.clone(), runner.clone()))).collect();
    let mut all = Asked::default();
    if asked.len() > ASKED_MAX {
        let why = format!("{} instances are too many for one preview: look at fewer runners, or fewer nodes", asked.len());
        all.unanswered = named.into_iter().map(|(id, node_name)| UnansweredRow { node: id.to_string(), node_name, why: why.clone() }).collect();
        return Ok(all);
    }
    let answers = stream::iter(asked).map(|(node, node_name, runner)| async move {
        let told = app.asking().ask(node, &Ask::Instance { runner: runner.clone() }).await;
        (node, node_name, runner, told)
    });
    let mut answers = answers.buffer_unordered(ASKED_AT_ONCE);
    while let Some((node, node_name, runner, told)) = answers.next().await {
        match told {
            Ok(Told::Instance(Some(detail))) => all.answered.push((node, node_name, runner, *detail)),
            Ok(_) => {}
            Err(error) => all.unanswered.push(UnansweredRow { node: node.to_string(), node_name, why: error.to_string() }),
        }
    }
    all.unanswered.sort_by(|one, other| (&one.node_name, &one.why).cmp(&(&other.node_name, &other.why)));
    Ok(all)
}

impl RewindPreview {
    fn of(asked: Asked, only: &BTreeSet<Name>) -> Self {
        let mut preview = Self { unanswered: asked.unanswered, ..Self::default() };
        for (node, node_name, runner, detail) in asked.answered {
            preview.take(node, &node_name, &runner, detail, only);
        }
        preview.sources.sort_by(|one, other| (other.bytes, &one.runner, &one.source).cmp(&(one.bytes, &other.runner, &other.source)));
        preview.sources.truncate(ROWS_MAX);
        preview
    }

    fn take(&mut self, node: NodeId, node_name: &str, runner: &Name, detail: Detail, only: &BTreeSet<Name>) {
        let untold = detail.sources_total.saturating_sub(detail.sources.len() as u64);
        if untold > 0 {
            let why = format!("it has {untold} more sources than it tells of");
            self.unanswered.push(UnansweredRow { node: node.to_string(), node_name: node_name.to_owned(), why });
        }
        let is_meant = |source: &String| only.is_empty() || only.iter().any(|name| name.as_str() == source);
        for at in detail.sources.into_iter().filter(|at| is_meant(&at.source)) {
            let bytes = at.acknowledged.bytes_again();
            self.bytes += bytes;
            self.sources_total += 1;
            let (runner, node, node_name) = (runner.to_string(), node.to_string(), node_name.to_owned());
            self.sources.push(RewindRow { runner, source: at.source, node, node_name, path: at.path, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use logvine_cluster::checkpoint::{Checkpoint, FileKey, FileName, Position};

    use super::*;
    use logvine_runner::sight::SourceAt;

    fn at(source: &str, offset: u64) -> SourceAt {
        let file = FileKey { lineage: 0, named: 0, name: FileName::of(b"head").unwrap() };
        let positions = BTreeMap::from([("out".parse().unwrap(), Position { offset, marker: 0 })]);
        let acknowledged = Checkpoint { files: BTreeMap::from([(file, positions)]), ..Checkpoint::default() };
        SourceAt { source: source.to_owned(), path: None, lag_bytes: 0, lag_s: 0, error: None, acknowledged }
    }

    #[test]
    fn a_preview_sums_what_is_meant_and_says_what_it_does_not_know() {
        let mut preview = RewindPreview::default();
        let detail = Detail { sources: vec![at("a", 100), at("b", 30)], sources_total: 5, ..Detail::default() };
        preview.take(NodeId([1; 16]), "web-1", &"logs".parse().unwrap(), detail.clone(), &BTreeSet::new());
        preview.take(NodeId([2; 16]), "web-2", &"logs".parse().unwrap(), detail, &BTreeSet::from(["b".parse().unwrap()]));
        let rows: Vec<_> = preview.sources.iter().map(|row| (row.node_name.as_str(), row.source.as_str(), row.bytes)).collect();
        assert_eq!(rows, [("web-1", "a", 100), ("web-1", "b", 30), ("web-2", "b", 30)]);
        assert_eq!((preview.bytes, preview.sources_total), (160, 3));
        assert!(preview.unanswered.iter().all(|row| row.why.contains("3 more sources")));
    }
}
