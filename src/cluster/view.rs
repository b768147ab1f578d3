//! What one node believes now, as rows for people: the API's lists, the console, the command line (DESIGN §8.2).
//!
//! Pure: a row is made from a [`Node`] and a time. Stamps, epochs and generations are texts, as 64-bit integers break in JavaScript;
//! times are RFC 3339.

mod draining;
mod operations;
mod plans;
mod rows;
mod sources;
mod times;

use std::collections::{BTreeMap, BTreeSet};

use logvine_gossip::{Instant, NodeId, Now, Stamp, Status, UnixMicros};

use self::{draining::counted_on, sources::Sight};
pub use self::{
    operations::{operation, operations, targets_of, would_be},
    plans::plan,
    rows::{
        AtWork, ClusterRow, DrainRow, Finding, FindingKind, HostRow, InstanceRow, MoveRow, NodeRow, OperationRow, OperationView, Place, PlanView,
        RevisionRow, RunnerRow, RunnerView, ShareRow, SourceRow, SourceState, SourceView, TagRow, TargetRow,
    },
    sources::{check, claimant, places, source, source_order, sources},
    times::rfc3339,
};
use crate::{
    balance::load::bearable,
    catalog::{Origin, Runner},
    event::{Cause, Why},
    host::Host,
    instance::{InstanceState, InstanceStatus},
    member::{NodeInfo, status_word, value},
    name::Name,
    node::{HOST, Node, Revision},
    rollout::Hearsay,
    selection::Selection,
    spec::{Placement, RunnerSpec, SourceSpec},
    steadiness::Unsteady,
};

/// A node's name, or the short form of its id while that is not known.
pub fn name_of(node: &Node, id: &NodeId) -> String {
    node.view().get(id).and_then(|info| info.name.as_ref()).map_or_else(|| id.short(), Name::to_string)
}

/// Why a source came or went, in words.
pub fn why_words(node: &Node, why: &Why) -> String {
    match why {
        Why::New => "added: it had no owner yet".to_owned(),
        Why::TookOver { from } => format!("took over from {}", name_of(node, from)),
        Why::HandedOver { from, cause } => match cause {
            Cause::Home => format!("home: given back by {}", name_of(node, from)),
            Cause::Load => format!("shed by {}, which had too much", name_of(node, from)),
            Cause::Draining => format!("handed over by {}, which drains", name_of(node, from)),
            Cause::Misplaced => format!("handed over by {}, which may not collect it any more", name_of(node, from)),
        },
        Why::GaveTo { to, cause } => match cause {
            Cause::Home => format!("given back to its home {}", name_of(node, to)),
            Cause::Load => format!("shed to {}: this node has too much", name_of(node, to)),
            Cause::Draining => format!("handed over to {}: this node drains", name_of(node, to)),
            Cause::Misplaced => format!("handed over to {}: this node may not collect it any more", name_of(node, to)),
        },
        Why::Resumed => "resumed: it was this node's before".to_owned(),
        Why::Returned => "taken back: nobody took it".to_owned(),
        Why::Stopped => "it is not to be collected here any more".to_owned(),
    }
}

/// All nodes of the view, by id.
pub fn nodes(node: &Node, now: Now) -> Vec<NodeRow> {
    let owned = owned_sources(node);
    let counted = counted_on(node, node.view().keys());
    node.view().values().map(|info| node_row(node, now, info, owned.get(&info.id).copied().unwrap_or(0), &counted)).collect()
}

/// One node.
pub fn node(node: &Node, now: Now, id: &NodeId) -> Option<NodeRow> {
    let info = node.view().get(id)?;
    Some(node_row(node, now, info, owned_sources(node).get(id).copied().unwrap_or(0), &counted_on(node, [id])))
}

fn node_row(node: &Node, now: Now, info: &NodeInfo, sources: usize, counted: &BTreeMap<NodeId, usize>) -> NodeRow {
    let me = info.id == node.id();
    let member = node.gossip().member(&info.id);
    let map = node.gossip().node_map(&info.id);
    let own = node.gossip().me();
    let heard = if me { Some(now.at) } else { member.and_then(|member| member.heard) };
    let generation = if me { own.generation } else { member.map_or_else(Default::default, |member| member.generation) };
    let started = info.meta.as_ref().map(|meta| meta.started);
    let since = if me { started } else { member.map(|member| member.since) };
    NodeRow {
        id: info.id.to_string(),
        name: name_of(node, &info.id),
        me,
        status: status_word(info.status).to_owned(),
        phase: info.phase.word().to_owned(),
        tags: info.tags.iter().map(Name::to_string).collect(),
        tags_revision: node.tags_revision(&info.id).to_string(),
        gossip: member.map_or(own.gossip, |member| member.gossip).to_string(),
        quic: member.map_or(own.quic, |member| member.quic).to_string(),
        http: info.meta.as_ref().and_then(|meta| meta.http).map(|http| http.to_string()),
        generation: generation.to_string(),
        since: since.map(rfc3339),
        started: started.map(rfc3339),
        last_heard: heard.map(|heard| wall_of(now, heard)),
        capacity: info.capacity.0,
        load_bytes_per_s: info.load,
        load_pct: info.load.saturating_mul(100) / bearable(info.capacity).max(1),
        host: value(map, HOST).map(|host: Host| host_row(now, &host)),
        version: info.meta.as_ref().map(|meta| meta.version.clone()),
        runners: map.map_or(0, |map| map.iter("runner/").count()),
        sources,
        unsteady: info
            .unsteady
            .map(|Unsteady { crashes, spell_s }| format!("crashed {crashes} times in a row: no sources before it has run for {spell_s} s")),
        drain: counted.get(&info.id).map(|witness_of| DrainRow::new(info, sources, *witness_of)),
    }
}

fn host_row(now: Now, host: &Host) -> HostRow {
    let Host { cpus, cpu_pct, memory_bytes, memory_pct, disk_bytes, disk_pct, booted } = *host;
    let uptime_s = now.wall.0.saturating_sub(booted.0) / 1_000_000;
    HostRow { cpus, cpu_pct, memory_bytes, memory_pct, disk_bytes, disk_pct, booted: rfc3339(booted), uptime_s }
}

fn wall_of(now: Now, at: Instant) -> String {
    let ago = u64::try_from(now.at.since(at).as_micros()).unwrap_or(u64::MAX);
    rfc3339(logvine_gossip::UnixMicros(now.wall.0.saturating_sub(ago)))
}

/// All tags with the nodes that have them, of those that are selected, by tag.
pub fn tags(node: &Node, selection: Option<&Selection>) -> Vec<TagRow> {
    let mut tags = BTreeMap::<&Name, Vec<&NodeInfo>>::new();
    for info in node.view().values().filter(|info| selection.is_none_or(|selection| selection.matches(*info))) {
        for tag in &info.tags {
            tags.entry(tag).or_default().push(info);
        }
    }
    let row = |(tag, infos): (&Name, Vec<&NodeInfo>)| TagRow {
        tag: tag.to_string(),
        nodes: infos.iter().map(|info| name_of(node, &info.id)).collect(),
        worst_status: infos.iter().map(|info| info.status).max().map(status_word).unwrap_or_default().to_owned(),
    };
    tags.into_iter().map(row).collect()
}

/// All runners, by name.
pub fn runners(node: &Node) -> Vec<RunnerRow> {
    node.catalog().runners().map(|(name, runner)| runner_row(node, name, runner)).collect()
}

/// One runner, with its spec.
pub fn runner(node: &Node, name: &Name) -> Option<RunnerView> {
    let runner = node.catalog().runner(name)?;
    let sources = sources_of_spec(node, name);
    Some(RunnerView {
        row: runner_row(node, name, runner),
        spec_revision: node.spec_revision(name).to_string(),
        desired_revision: node.desired_revision(name).to_string(),
        sources_revision: node.sources_revision(name).to_string(),
        spec: RunnerSpec { sources, ..(*runner.spec).clone() },
    })
}

/// What a runner was and is, the newest first, as far as this node has stored it; nothing of one that it never stored.
pub fn revisions(node: &Node, name: &Name) -> Vec<RevisionRow> {
    let present = node.catalog().runner(name).map(|runner| runner.revision);
    let row = |revision: Revision| {
        let (id, said) = (revision.operation(), node.operation(&revision.operation()).map(|(operation, _)| operation));
        RevisionRow {
            revision: revision.stamp.to_string(),
            time: rfc3339(UnixMicros(revision.stamp.as_millis() * 1_000)),
            present: present == Some(revision.stamp),
            deleted: revision.is_deletion,
            operation: id,
            actor: said.map(|said| said.actor().to_owned()),
            reason: said.and_then(|said| said.reason().map(str::to_owned)),
            spec: revision.spec.map(|spec| RunnerSpec { sources: sources_of_spec(node, name), ..spec }),
        }
    };
    node.revisions(name).into_iter().map(row).collect()
}

/// The catalog keeps sources under keys of their own; people wrote them into the spec.
fn sources_of_spec(node: &Node, name: &Name) -> Vec<SourceSpec> {
    node.catalog().sources(name).filter(|source| source.from == Origin::Spec).map(|source| (*source.spec).clone()).collect()
}

fn runner_row(node: &Node, name: &Name, runner: &Runner) -> RunnerRow {
    let spec = &runner.spec;
    let mut instances = BTreeMap::new();
    let mut error = None;
    for (_, status) in statuses(node, name) {
        *instances.entry(state_word(status.state).to_owned()).or_insert(0) += 1;
        error = error.or(status.error);
    }
    let (kind, selection) = match &spec.placement {
        Placement::Every(selection) => ("every", selection),
        Placement::Spread(selection) => ("spread", selection),
    };
    RunnerRow {
        name: name.to_string(),
        uid: runner.uid.to_string(),
        revision: runner.revision.to_string(),
        reader: spec.reader.word().to_owned(),
        placement: format!("{kind} {selection}"),
        desired: serde_word(&node.catalog().desired(name)),
        nodes: node.targets(name).len(),
        instances,
        sources: node.catalog().sources(name).count(),
        error,
        rollout: rollout(node, name, runner),
    }
}

/// How far a new revision is, for people; none where all that is known of it is good.
fn rollout(node: &Node, name: &Name, runner: &Runner) -> Option<String> {
    let Hearsay { good, failed, trying } = node.all_hearsay(name, runner.revision);
    let names = |ids: &[NodeId]| ids.iter().map(|id| name_of(node, id)).collect::<Vec<_>>().join(", ");
    match failed {
        _ if good => None,
        Some((id, reason)) => Some(format!("held: {} says: {reason}", name_of(node, &id))),
        None => (!trying.is_empty()).then(|| format!("tried on {}", names(&trying))),
    }
}

/// What the nodes that are live say of their instances of a runner.
fn statuses<'a>(node: &'a Node, runner: &Name) -> impl Iterator<Item = (&'a NodeInfo, InstanceStatus)> {
    let key = format!("runner/{runner}");
    let live = node.view().values().filter(|info| info.is_live());
    live.filter_map(move |info| Some((info, value::<InstanceStatus>(node.gossip().node_map(&info.id), &key)?)))
}

/// The word for an instance's state.
pub fn state_word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Starting => "starting",
        InstanceState::Running => "running",
        InstanceState::Paused => "paused",
        InstanceState::Failed => "failed",
        InstanceState::Stopped => "stopped",
    }
}

/// All instances, by runner and node: those that should be, with what their nodes say of them.
pub fn instances(node: &Node) -> Vec<InstanceRow> {
    let mut rows = BTreeMap::new();
    for (name, _) in node.catalog().runners() {
        for id in node.targets(name) {
            rows.insert((name.clone(), id), None);
        }
        for (info, status) in statuses(node, name) {
            rows.insert((name.clone(), info.id), Some(status));
        }
    }
    rows.into_iter()
        .filter_map(|((name, id), status)| {
            let info = node.view().get(&id)?;
            let state = match &status {
                Some(status) => state_word(status.state),
                None if info.is_live() => "starting",
                None => "waiting for node",
            };
            let at_work = status.map(|status| AtWork {
                revision: status.revision.to_string(),
                records_per_s: status.records_per_s,
                bytes_per_s: status.bytes_per_s,
                lag_bytes: status.lag_bytes,
                counted_since: (status.counted_since > Stamp::ZERO).then(|| rfc3339(UnixMicros(status.counted_since.as_millis() * 1_000))),
                records: status.records,
                errors: status.errors,
                dead_lettered: status.dead_lettered,
                error: status.error,
                source_errors: status.source_errors.into_iter().map(|(source, error)| (source.to_string(), error)).collect(),
            });
            Some(InstanceRow {
                runner: name.to_string(),
                node: id.to_string(),
                node_name: name_of(node, &id),
                state: state.to_owned(),
                at_work: at_work.unwrap_or_default(),
            })
        })
        .collect()
}

/// How many sources each live node claims.
fn owned_sources(node: &Node) -> BTreeMap<NodeId, usize> {
    let count = |info: &NodeInfo| node.gossip().node_map(&info.id).map_or(0, |map| map.iter("claim/").count());
    node.view().values().filter(|info| info.is_live()).map(|info| (info.id, count(info))).collect()
}

/// The cluster at a glance.
pub fn cluster(node: &Node, now: Now) -> ClusterRow {
    let count = |words: Vec<String>| {
        let mut counts = BTreeMap::new();
        words.into_iter().for_each(|word| *counts.entry(word).or_insert(0) += 1);
        counts
    };
    let tags: BTreeSet<&Name> = node.view().values().flat_map(|info| &info.tags).collect();
    let live = node.view().values().filter(|info| info.status == Status::Alive).map(|info| info.id);
    let mut sources_by_state = BTreeMap::new();
    for (name, _) in node.catalog().runners() {
        let sight = Sight::of(node, now, name);
        for source in node.catalog().sources(name) {
            *sources_by_state.entry(serde_word(&sight.see(source).state)).or_insert(0) += 1;
        }
    }
    let owned = owned_sources(node);
    let loads: Vec<usize> = live.map(|id| owned.get(&id).copied().unwrap_or(0)).collect();
    let live = node.view().values().filter(|info| info.is_live());
    let busy: Vec<_> = live.map(|info| (info.load, bearable(info.capacity))).collect();
    ClusterRow {
        nodes: node.view().len(),
        nodes_by_status: count(node.view().values().map(|info| status_word(info.status).to_owned()).collect()),
        nodes_by_phase: count(node.view().values().map(|info| info.phase.word().to_owned()).collect()),
        tags: tags.into_iter().map(Name::to_string).collect(),
        runners: node.catalog().runners().count(),
        runners_by_state: count(runners(node).iter().map(|row| worst_state(&row.instances).to_owned()).collect()),
        instances_by_state: count(instances(node).into_iter().map(|row| row.state).collect()),
        sources: sources_by_state.values().sum(),
        sources_by_state,
        sources_per_node_least: loads.iter().min().copied().unwrap_or(0),
        sources_per_node_most: loads.iter().max().copied().unwrap_or(0),
        load_most_to_mean: most_to_mean(&busy),
        catalog_digest: format!("{:016x}", node.gossip().catalog().digest()),
    }
}

/// What a runner is in, by its instances: who looks at one word wants to see what wants mending.
fn worst_state(instances: &BTreeMap<String, usize>) -> &'static str {
    let states = [InstanceState::Failed, InstanceState::Paused, InstanceState::Starting, InstanceState::Running, InstanceState::Stopped];
    states.map(state_word).into_iter().find(|state| instances.contains_key(*state)).unwrap_or("nowhere")
}

/// Of what each has and what it bears, to a thousandth.
#[allow(clippy::cast_precision_loss)] // a proportion of a few digits
fn most_to_mean(nodes: &[(u64, u64)]) -> f64 {
    let nodes = || nodes.iter().map(|(load, bears)| (*load as f64, (*bears).max(1) as f64));
    let (all, all_bear) = nodes().fold((0.0, 0.0), |(all, all_bear), (load, bears)| (all + load, all_bear + bears));
    let most = nodes().map(|(load, bears)| load / bears).fold(0.0, f64::max);
    if all > 0.0 { (most * all_bear / all * 1_000.0).round() / 1_000.0 } else { 1.0 }
}

/// The word that serde writes for a unit variant.
fn serde_word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_in_the_state_of_its_worst_instance() {
        let state = |words: &[&str]| worst_state(&words.iter().map(|word| ((*word).to_owned(), 2)).collect());
        assert_eq!(state(&["running", "failed", "stopped"]), "failed");
        assert_eq!(state(&["running", "starting"]), "starting");
        assert_eq!(state(&["stopped"]), "stopped");
        assert_eq!(state(&[]), "nowhere");
    }

    #[test]
    fn a_node_that_bears_more_may_have_more() {
        let close = |one: f64, other: f64| (one - other).abs() < 0.0005;
        assert!(close(most_to_mean(&[(100, 1_000), (200, 2_000)]), 1.0));
        assert!(close(most_to_mean(&[(300, 1_000), (0, 1_000), (0, 1_000)]), 3.0));
        assert!(close(most_to_mean(&[(0, 1_000), (0, 2_000)]), 1.0), "nothing to do");
        assert!(close(most_to_mean(&[]), 1.0));
        assert!(most_to_mean(&[(u64::MAX, 1), (u64::MAX, u64::MAX)]) > 1.0, "whatever a node says");
    }
}
