//! The rankings that this node keeps: one cache per distinct set of nodes that may own sources, which all sources of a runner with the same selection
//! share, and one of the nodes that may be witnesses.

use std::collections::BTreeMap;

use logvine_gossip::{NodeId, Now};

use super::super::Node;
use crate::{
    assignment::{Eligible, eligible},
    catalog::{Catalog, Runner},
    member::{NodeInfo, Phase},
    name::Name,
    ranking::{Capacity, RankingKey, Rankings, ranking},
    record::{Record, SourceKey, Witness},
    selection::Selection,
};

/// Sources of a runner that the same nodes may own: those with this selection of their own, or with none.
pub(in crate::node) type Group = (Name, Option<String>);

/// See the module's text.
#[derive(Debug, Default)]
pub(in crate::node) struct Caches {
    groups: BTreeMap<Group, Rankings<SourceKey>>,
    /// Over all active nodes; of the sources that this node owns or takes.
    witnesses: Rankings<SourceKey>,
}

impl Caches {
    /// The nodes of a group, as they are now.
    pub(super) fn set_nodes(&mut self, group: &Group, eligible: &BTreeMap<NodeId, Eligible>) {
        let rankings = match self.groups.get_mut(group) {
            Some(rankings) => rankings,
            None => self.groups.entry(group.clone()).or_default(),
        };
        rankings.set_nodes(eligible.iter().map(|(id, node)| (id, node.capacity)));
    }

    /// The best nodes for a source of a group: all of them, or at least four.
    pub(in crate::node) fn best(&mut self, group: &Group, source: &SourceKey) -> Vec<NodeId> {
        self.groups.get_mut(group).map(|rankings| rankings.best(source, RankingKey::of).collect()).unwrap_or_default()
    }

    /// Drops what is of no use: sources that are deleted, of another selection now, or no longer this node's.
    pub(super) fn forget(&mut self, catalog: &Catalog, is_mine: impl Fn(&SourceKey) -> bool) {
        for ((runner, selection), rankings) in &mut self.groups {
            rankings.retain(|key| catalog.source(runner, &key.source).is_some_and(|now| now.key == *key && now.spec.selection == *selection));
        }
        self.groups.retain(|_, rankings| !rankings.is_empty());
        self.witnesses.retain(is_mine);
    }

    /// What is believed of a node has changed, or it is forgotten.
    pub(in crate::node) fn note_node(&mut self, id: NodeId, info: Option<&NodeInfo>) {
        match info.filter(|info| may_witness(info, Phase::Active)) {
            Some(info) => self.witnesses.set_node(id, info.capacity),
            None => self.witnesses.remove_node(&id),
        }
    }
}

fn may_witness(info: &NodeInfo, phase: Phase) -> bool {
    info.is_live() && info.phase == phase && info.meta.is_some()
}

impl Node {
    /// Whether this node may own a source now.
    pub(in crate::node) fn may_own(&self, now: Now, runner: &Name, source: &SourceKey) -> bool {
        self.eligible_for(now, runner, source).is_some_and(|nodes| nodes.contains_key(&self.id()))
    }

    /// The nodes that may own a source, if there is one.
    pub(in crate::node) fn eligible_for(&self, now: Now, runner: &Name, source: &SourceKey) -> Option<BTreeMap<NodeId, Eligible>> {
        let entry = self.catalog.source(runner, &source.source).filter(|entry| entry.key == *source)?;
        Some(self.eligible(now, runner, self.catalog.runner(runner)?, entry.spec.selection.as_deref()))
    }

    /// The nodes that may own the sources of a runner that have this selection of their own, as this node sees them.
    pub(in crate::node) fn eligible(&self, now: Now, name: &Name, runner: &Runner, selection: Option<&str>) -> BTreeMap<NodeId, Eligible> {
        let selection = selection.and_then(|text| text.parse::<Selection>().ok());
        let placed = self.placed(name, runner).filter(|info| selection.as_ref().is_none_or(|selection| selection.matches(*info)));
        eligible(placed, |info| self.is_away(now, info), |id| self.active.get(id).copied().unwrap_or(now.at))
    }

    /// The witnesses that a record made now should name: the first three of the ranking over all active nodes; where all drain, over these.
    pub(in crate::node) fn witnesses_for(&mut self, source: &SourceKey) -> Vec<Witness> {
        let mut ranked: Vec<NodeId> = self.sources.caches.witnesses.best(source, RankingKey::of).take(Record::WITNESSES).collect();
        if ranked.is_empty() {
            let able = self.view.values().filter(|info| may_witness(info, Phase::Draining));
            let capacities: BTreeMap<NodeId, Capacity> = able.map(|info| (info.id, info.capacity)).collect();
            ranked = ranking(&capacities, RankingKey::of(source), Record::WITNESSES);
        }
        ranked.iter().filter_map(|id| self.view.get(id)?.witness()).collect()
    }
}
