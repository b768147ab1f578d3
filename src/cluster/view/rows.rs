//! The rows' shapes. They are the API's, so a change here is a change of its description (`openapi.json`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::RunnerSpec;

/// A node as the asked one sees it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodeRow {
    /// 32 hex digits.
    pub id: String,
    pub name: String,
    /// Whether it is the node that was asked.
    pub me: bool,
    /// What others believe of it: `alive`, `suspect`, `down`, `left`.
    pub status: String,
    /// What it says of itself: `joining`, `active`, `draining`, `away`.
    pub phase: String,
    pub tags: Vec<String>,
    /// The stamp of the last word of an operator on its tags, 0 where there was none; for `If-Match`.
    pub tags_revision: String,
    /// Its gossip address (UDP).
    pub gossip: String,
    /// Where it takes calls (QUIC).
    pub quic: String,
    /// Where its API listens.
    pub http: Option<String>,
    pub generation: String,
    /// Since when it has this status.
    pub since: Option<String>,
    /// When it started.
    pub started: Option<String>,
    /// When the asked node last heard it.
    pub last_heard: Option<String>,
    /// What it can bear, in quarter octaves: 4 more is twice as much.
    pub capacity: u8,
    /// What its work costs it, as it last told: bytes a second, or what is worth as much.
    pub load_bytes_per_s: u64,
    /// That as a share of what it can bear, in percent; more than 100 where it has too much.
    pub load_pct: u64,
    /// The machine that it runs on, as it last told; shares in steps of five percent.
    pub host: Option<HostRow>,
    pub version: Option<String>,
    /// Instances that it runs.
    pub runners: usize,
    /// Movable sources that it owns.
    pub sources: usize,
    /// Where it crashed again and again: how often, and for how long it must run before it gets sources.
    pub unsteady: Option<String>,
    /// Where an operator asked it to drain: how far that is.
    pub drain: Option<DrainRow>,
}

/// How far a node's drain is.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DrainRow {
    /// Movable sources that it still owns.
    pub sources: usize,
    /// Movable sources that still count on it to keep their checkpoint.
    pub witness_of: usize,
    /// Nothing depends on it any more: it may be stopped.
    pub done: bool,
}

/// The machine of a node, with what all that runs on it uses.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostRow {
    /// Processors.
    pub cpus: u16,
    /// Share of their time that was not idle lately, in percent.
    pub cpu_pct: u8,
    pub memory_bytes: u64,
    /// Share of the memory that is not available to programs, in percent.
    pub memory_pct: u8,
    /// The file system of the data directory.
    pub disk_bytes: u64,
    /// Share of it that is used, in percent.
    pub disk_pct: u8,
    /// When the machine was started.
    pub booted: String,
    /// How long ago that is, by the asked node's clock.
    pub uptime_s: u64,
}

/// A tag with the nodes that have it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TagRow {
    pub tag: String,
    /// Their names.
    pub nodes: Vec<String>,
    pub worst_status: String,
}

/// A runner.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunnerRow {
    pub name: String,
    /// The stamp of its creation.
    pub uid: String,
    /// The stamp of its present spec, its sources aside.
    pub revision: String,
    /// The reader's type.
    pub reader: String,
    /// `every` or `spread`, and the selection.
    pub placement: String,
    /// `running` or `stopped`, as an operator said of the whole of it.
    pub desired: String,
    /// Nodes where it should run.
    pub nodes: usize,
    /// Instances of live nodes, by state.
    pub instances: BTreeMap<String, usize>,
    /// Movable sources.
    pub sources: usize,
    /// What one of its instances complains of.
    pub error: Option<String>,
    /// Of a new revision that not all of its nodes run yet: who tries it, or why it is held.
    pub rollout: Option<String>,
}

/// A runner with its spec.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunnerView {
    #[serde(flatten)]
    pub row: RunnerRow,
    /// The stamp of the last change of what `spec` says, its sources included; for `If-Match` of `PUT` and `DELETE`.
    pub spec_revision: String,
    /// The stamp of the last word on whether it shall run, as a whole or on single nodes, 0 where there was none; for `If-Match` of `start`, `stop`, …
    pub desired_revision: String,
    /// The stamp of the last change of its sources, 0 where it never had any; for `If-Match` of a change of sources.
    pub sources_revision: String,
    pub spec: RunnerSpec,
}

/// A runner at work on a node.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InstanceRow {
    pub runner: String,
    /// The node's id.
    pub node: String,
    pub node_name: String,
    /// `starting`, `running`, `paused`, `failed`, `stopped`, or `waiting for node`.
    pub state: String,
    #[serde(flatten)]
    pub at_work: AtWork,
}

/// What an instance's node says of it.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AtWork {
    /// The revision at work.
    pub revision: String,
    pub records_per_s: f64,
    pub bytes_per_s: f64,
    /// Bytes that are known to wait at its sources.
    pub lag_bytes: u64,
    /// When its counters were cleared last; null: they count since the runner was created. A crash of the node or a restart does not set them back.
    pub counted_since: Option<String>,
    /// Since then.
    pub records: u64,
    pub errors: u64,
    pub dead_lettered: u64,
    pub error: Option<String>,
    /// Sources that it cannot read now, with the reason (at most 16).
    pub source_errors: BTreeMap<String, String>,
}

/// How a movable source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// A live node owns it.
    Collected,
    /// A live node owns it, and cannot read it now.
    Failing,
    /// Its owner is away and has time to come back; nobody takes it over before that is over. Or nobody takes it before more nodes have come.
    Waiting,
    /// Its owner finds no copy of its checkpoint, and does not read it from its start by itself.
    WaitingForCheckpoint,
    /// Nobody has taken it, or its owner is gone and nobody has taken it over yet.
    Unowned,
    /// No live node may own it.
    NoNode,
}

/// A movable source.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SourceRow {
    pub runner: String,
    pub id: String,
    pub url: String,
    /// What narrows the runner's placement.
    pub selection: Option<String>,
    /// `spec`, or `added` by itself.
    pub from: String,
    pub state: SourceState,
    /// The id of the node that collects it, or that it waits for.
    pub owner: Option<String>,
    pub owner_name: Option<String>,
    /// The id of the node that claimed it last, live or not.
    pub last_owner: Option<String>,
    pub epoch: Option<String>,
    /// Since when its owner has it.
    pub since: Option<String>,
    /// How its owner came to it; of one that waits: for how long.
    pub why: Option<String>,
    /// The names of the nodes that keep its checkpoint.
    pub witnesses: Vec<String>,
    pub error: Option<String>,
}

/// Where a source is in one of its files.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Place {
    /// The file's name, the same on every node: the hash of its head.
    pub file: String,
    /// Grows with each truncation or replacement.
    pub lineage: u32,
    /// Bytes from the file's start, by sender.
    pub offsets: BTreeMap<String, u64>,
}

/// A movable source, with what its owner knows of it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SourceView {
    #[serde(flatten)]
    pub row: SourceRow,
    /// The name of the node that ranks first for it.
    pub home: Option<String>,
    /// Why the rest is missing: its owner does not answer, or does not own it any more.
    pub unanswered: Option<String>,
    /// How far its senders have acknowledged it; null where its owner did not answer.
    pub acknowledged: Option<Vec<Place>>,
    /// How far a majority of its witnesses holds it; null where its owner did not answer.
    pub held: Option<Vec<Place>>,
    /// What its reader last complained of.
    pub last_error: Option<String>,
}

/// What may be wrong with a source's assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Nobody has taken it, or its owner is gone.
    NoOwner,
    /// More than one live node claims it.
    TwoOwners,
    /// No live node may own it.
    NoNode,
    /// Its owner is away and has time to come back, or more nodes are expected.
    Waiting,
    /// No copy of its checkpoint is found.
    WaitingForCheckpoint,
    /// It is collected, but overloads its owner, and no other node has room for it.
    Unsplittable,
}

/// Something to know about the assignment.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Finding {
    pub kind: FindingKind,
    /// False where it is as it should be, and mends itself.
    pub wrong: bool,
    pub runner: String,
    pub source: String,
    pub detail: String,
}

/// What would move if… (DESIGN §5.6).
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PlanView {
    /// Sources that would have another owner.
    pub moves_total: usize,
    /// Of these, sources that nobody might own.
    pub unowned_after: usize,
    /// The most that a node has beside the mean, by sources and what each can bear: 1 is even. Null where there is no node.
    pub unevenness_before: Option<f64>,
    pub unevenness_after: Option<f64>,
    pub nodes: Vec<ShareRow>,
    /// The first 1,000, by runner and source.
    pub moves: Vec<MoveRow>,
}

/// What a node has before and after.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ShareRow {
    pub node: String,
    pub node_name: String,
    pub sources_before: usize,
    pub sources_after: usize,
    /// In quarter octaves; null where it takes no sources.
    pub capacity_before: Option<u8>,
    pub capacity_after: Option<u8>,
    /// Bytes a second, or what is worth as much.
    pub load_before: u64,
    pub load_after: u64,
}

/// A source that would have another owner.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MoveRow {
    pub runner: String,
    pub source: String,
    pub from: Option<String>,
    pub from_name: Option<String>,
    /// Null: nobody might own it.
    pub to: Option<String>,
    pub to_name: Option<String>,
    /// `new`, `took_over`, `draining`, `misplaced`, `home`, `load`, `no_node`.
    pub why: String,
    /// False where it depends on what is not known yet: a new node's id, or when a source is added. Then it is right in number only.
    pub certain: bool,
}

/// The cluster at a glance, as the asked node sees it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ClusterRow {
    pub nodes: usize,
    pub nodes_by_status: BTreeMap<String, usize>,
    pub nodes_by_phase: BTreeMap<String, usize>,
    pub tags: Vec<String>,
    pub runners: usize,
    /// By the state of the worst of their instances: `failed`, `paused`, `starting`, `running`, `stopped`; `nowhere`: no node that lives has one.
    pub runners_by_state: BTreeMap<String, usize>,
    pub instances_by_state: BTreeMap<String, usize>,
    pub sources: usize,
    pub sources_by_state: BTreeMap<String, usize>,
    /// Of the live nodes: the fewest and the most sources that one owns.
    pub sources_per_node_least: usize,
    pub sources_per_node_most: usize,
    /// How busy the busiest live node is beside all together, each by what it bears: 1 is even, and so is a cluster with nothing to do.
    pub load_most_to_mean: f64,
    /// Equal on two nodes: they have the same catalog.
    pub catalog_digest: String,
}

/// What a runner was, or is, as the asked node stored it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RevisionRow {
    pub revision: String,
    pub time: String,
    /// Whether it is what the runner is now.
    pub present: bool,
    /// Whether the runner was deleted by it.
    pub deleted: bool,
    /// The operation that wrote it, with who and why as long as that is kept.
    pub operation: String,
    pub actor: Option<String>,
    pub reason: Option<String>,
    /// Apply it to go back to it. Its sources are those that the runner has now: they have revisions of their own. None where the runner was deleted.
    pub spec: Option<RunnerSpec>,
}

/// A node that a command concerns, with what became of it there.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TargetRow {
    /// The node's id.
    pub node: String,
    pub node_name: String,
    /// `applied`, `failed`, `pending`; `would be` in a dry run.
    pub state: String,
    /// Why it failed, or what it waits for.
    pub reason: Option<String>,
}

/// What was commanded.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationRow {
    pub id: String,
    pub time: String,
    pub verb: String,
    pub runners: Vec<String>,
    /// The selection as it was said.
    pub nodes: Option<String>,
    /// Who asked: the role of the token.
    pub actor: String,
    pub reason: Option<String>,
    /// The id of the node that was asked.
    pub relay: String,
    pub relay_name: String,
    /// `proposed`, `published`, `accepted`, `withdrawn`.
    pub state: String,
    /// What a renaming is at: `adding the new tag`, `changing placements and sources`, `removing the old tag`. Null of other verbs.
    pub stage: Option<String>,
    /// The operation that overruled this one: both were said at once, and that one's word is the later.
    pub overruled_by: Option<String>,
    /// Targets that have carried it out.
    pub applied: usize,
    /// Targets that could not.
    pub failed: usize,
    /// Targets of which that is not known yet.
    pub pending: usize,
}

/// An operation with its targets.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationView {
    #[serde(flatten)]
    pub row: OperationRow,
    pub targets: Vec<TargetRow>,
}
