//! What instances here have counted, kept over crashes; and that they count anew where an operator has said so (`clear-counters`).
//!
//! That is a state, as a rewind is: a node that was away hears of it when it is back. Counts are by the runner's uid, and say by which word they were
//! cleared last, so that a number from before it never comes back.

use std::collections::BTreeSet;

use logvine_gossip::{NodeId, Stamp};

use super::{After, Node, Table, operator::Draft};
use crate::{
    catalog::{ClearValue, clear_key, pack},
    command::CommandError,
    instance::{Counts, InstanceCommand},
    name::Name,
    operation::{Operation, Outcome, Verb},
    selection::Selection,
};

impl Node {
    pub(super) fn clear_counters(&self, stamp: Stamp, runners: Vec<Name>, nodes: Option<&Selection>) -> Result<Draft, CommandError> {
        let targets: BTreeSet<NodeId> = match nodes {
            Some(selection) => self.selected(selection)?.into_iter().collect(),
            None => runners.iter().flat_map(|runner| self.placed_anyhow(runner)).collect(),
        };
        let mut draft = Draft::new(stamp, Verb::ClearCounters, targets.into_iter().collect());
        draft.nodes = nodes.map(ToString::to_string);
        for name in &runners {
            let runner = self.catalog.runner(name).ok_or_else(|| CommandError::NotFound { kind: "runner", name: name.to_string() })?;
            let value = pack(&ClearValue { uid: runner.uid });
            let scopes: Vec<Option<NodeId>> = if nodes.is_some() { draft.targets.iter().copied().map(Some).collect() } else { vec![None] };
            scopes.iter().for_each(|node| draft.put(clear_key(name, node.as_ref()), Some(value.clone())));
        }
        draft.runners = runners;
        Ok(draft)
    }

    /// Where an instance that starts goes on counting.
    pub(super) fn counts_of(&self, name: &Name, uid: Stamp) -> Counts {
        let since = self.catalog.cleared_on(name, &self.id());
        let known = self.instances.counts.get(&uid).cloned().filter(|counts| counts.since >= since);
        known.unwrap_or(Counts { since, ..Counts::default() })
    }

    /// Takes what an instance has counted, unless that is from before it was cleared.
    pub(super) fn note_counts(&mut self, runner: &Name, counts: Counts) {
        let Some(uid) = self.instances.uid(runner) else { return };
        let known = self.instances.counts.get(&uid);
        if known.is_none_or(|known| counts.since >= known.since && counts != *known) {
            self.keep_counts(uid, counts);
        }
    }

    fn keep_counts(&mut self, uid: Stamp, counts: Counts) {
        self.write(Table::Counts, pack(&uid).to_vec(), Some(pack(&counts).to_vec()));
        self.instances.counts.insert(uid, counts);
    }

    /// Sets back what is due; and forgets what was counted for runners that are no more.
    pub(super) fn clear_counts(&mut self) {
        let me = self.id();
        let said = self.catalog.runners().map(|(name, runner)| (name, runner.uid, self.catalog.cleared_on(name, &me)));
        let is_due = |uid: &Stamp, since: Stamp| since > self.instances.counts.get(uid).map_or(Stamp::ZERO, |counts| counts.since);
        let due: Vec<_> = said.filter(|(_, uid, since)| is_due(uid, *since)).map(|(name, uid, since)| (name.clone(), uid, since)).collect();
        for (runner, uid, since) in due {
            self.keep_counts(uid, Counts { since, ..Counts::default() });
            if self.instances.uid(&runner) == Some(uid) {
                self.after.push(After::Instance(InstanceCommand::ClearCounters { runner, uid, since }));
            }
        }
        let there: BTreeSet<Stamp> = self.catalog.runners().map(|(_, runner)| runner.uid).collect();
        let gone: Vec<_> = self.instances.counts.keys().copied().filter(|uid| !there.contains(uid) && !self.instances.runs(*uid)).collect();
        for uid in gone {
            self.write(Table::Counts, pack(&uid).to_vec(), None);
            self.instances.counts.remove(&uid);
        }
    }

    /// What became of it here: each of the runners that are still there has been cleared by this word or a later one.
    pub(super) fn cleared(&self, operation: &Operation) -> Option<Outcome> {
        let mut there = operation.runners().iter().filter_map(|name| self.catalog.runner(name));
        let is_done = |uid: &Stamp| self.instances.counts.get(uid).is_some_and(|counts| counts.since >= operation.stamp);
        there.all(|runner| is_done(&runner.uid)).then_some(Outcome::Applied)
    }
}
