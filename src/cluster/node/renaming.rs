//! Renaming a tag, in three steps, so that no runner stops on the way (DESIGN §4). Each is an operation of its own.
//!
//! ```text
//! add the new tag ──live targets have it──> change placements and sources ──live targets have them──> remove the old tag
//! ```
//! The node that was asked goes from step to step; if it is gone, the first live node of a majority does. Two that both think so write the same.
//! Targets that are away are not waited for: they find all three when they return.

use std::collections::{BTreeMap, BTreeSet};

use logvine_gossip::{NodeId, Now, Stamp};

use super::{Node, operator::Draft};
use crate::{
    canary::planted,
    catalog::{RunnerValue, SourceValue, pack, runner_key, source_key, tag_key},
    command::{CommandError, Said},
    name::Name,
    operation::{Operation, Rename, RenameStep, Row, RowState, Verb},
    selection::Selection,
};

/// Renamings by the operation that began them, each with the operations of its steps.
pub(super) type Renamings = BTreeMap<String, BTreeMap<RenameStep, String>>;

impl Node {
    /// The first step: who has the old tag gets the new one too. Errors: nobody has the old one, and nothing is placed by it.
    pub(super) fn rename_tag(&self, stamp: Stamp, from: Name, to: Name) -> Result<Draft, CommandError> {
        if from == to {
            return Err(CommandError::State(format!("the tag is `{from}` already")));
        }
        let rename = Rename { from, to, of: None, step: RenameStep::Add };
        let targets: Vec<_> = self.view.values().filter(|info| info.tags.contains(&rename.from)).map(|info| info.id).collect();
        let is_used = !self.renamed(stamp, &rename, Vec::new())?.entries.is_empty();
        if self.tagged(&rename.from).is_empty() && !is_used {
            return Err(CommandError::NotFound { kind: "tag", name: rename.from.to_string() });
        }
        self.rename_step(stamp, rename, targets)
    }

    fn rename_step(&self, stamp: Stamp, rename: Rename, targets: Vec<NodeId>) -> Result<Draft, CommandError> {
        let mut draft = match rename.step {
            RenameStep::Replace => self.renamed(stamp, &rename, targets)?,
            RenameStep::Add | RenameStep::Remove => {
                let mut draft = Draft::new(stamp, Verb::RenameTag, targets);
                let (tag, present) = if rename.step == RenameStep::Add { (&rename.to, true) } else { (&rename.from, false) };
                for node in self.tagged(&rename.from) {
                    draft.put(tag_key(&node, tag), Some(pack(&present)));
                }
                draft
            }
        };
        draft.rename = Some(rename);
        Ok(draft)
    }

    /// The second step: what is placed by the old tag is placed by the new one.
    fn renamed(&self, stamp: Stamp, Rename { from, to, .. }: &Rename, targets: Vec<NodeId>) -> Result<Draft, CommandError> {
        let mut draft = Draft::new(stamp, Verb::RenameTag, targets);
        let renamed = |text: &str| text.parse::<Selection>().ok()?.with_tag_renamed(from.as_str(), to.as_str());
        let mut runners = BTreeSet::new();
        for (name, runner) in self.catalog.runners() {
            if let Some(selection) = renamed(runner.spec.placement.selection()) {
                let mut spec = (*runner.spec).clone();
                spec.placement = spec.placement.with_selection(selection.to_string());
                draft.put(runner_key(name), Some(pack(&RunnerValue { uid: Some(runner.uid), spec })));
                runners.insert(name.clone());
            }
            for source in self.catalog.sources(name) {
                let Some(selection) = source.spec.selection.as_deref().and_then(renamed) else { continue };
                let mut spec = (*source.spec).clone();
                spec.selection = Some(selection.to_string());
                let (key, witnesses) = (source_key(name, &spec.id), source.witnesses.clone());
                let value = SourceValue { uid: runner.uid, created: Some(source.key.created), spec, witnesses, from: source.from };
                draft.put(key, Some(pack(&value)));
                runners.insert(name.clone());
            }
        }
        draft.runners = runners.into_iter().collect();
        Ok(draft)
    }

    /// Nodes with a tag: those that are known, and forgotten ones to which an operator gave it.
    fn tagged(&self, tag: &Name) -> BTreeSet<NodeId> {
        let known = self.view.values().filter(|info| info.tags.contains(tag)).map(|info| info.id);
        known.chain(self.catalog.nodes_tagged(tag).filter(|node| !self.view.contains_key(node))).collect()
    }

    /// An operation has come that begins a renaming, or goes on with one; or it is kept no longer.
    pub(super) fn note_rename(&mut self, id: &str) {
        match self.catalog.operation(id).and_then(|operation| operation.value.rename.clone()) {
            Some(Rename { of, step, .. }) => {
                let of = of.unwrap_or_else(|| id.to_owned());
                self.outcomes.renamings.entry(of).or_default().insert(step, id.to_owned());
            }
            None => drop(self.outcomes.renamings.remove(id)),
        }
    }

    /// Goes on with renamings that this node has begun, or whose beginner is gone.
    pub(super) fn step_renames(&mut self, now: Now) {
        let open: Vec<String> =
            self.outcomes.renamings.iter().filter(|(_, steps)| !steps.contains_key(&RenameStep::Remove)).map(|(id, _)| id.clone()).collect();
        for id in open {
            let Some((begun, draft)) = self.next_step(now, &id) else { continue };
            let said = Said { actor: begun.actor().to_owned(), reason: begun.reason().map(str::to_owned), idempotency_key: None };
            // Refused (a clock that is off, too much at once): the next look tries again.
            let _ = self.propose(now, None, draft, said);
        }
    }

    fn next_step(&mut self, now: Now, id: &str) -> Option<(Operation, Draft)> {
        let begun = self.catalog.operation(id)?;
        let begun = Operation::clone(begun);
        if !self.goes_on_with(&begun) || self.is_proposing_step_of(id) {
            return None;
        }
        let (step, last) = self.outcomes.renamings.get(id)?.last_key_value()?;
        let (step, last) = (*step, self.catalog.operation(last)?.clone());
        let is_open = |row: &Row| matches!(row.state, RowState::Pending { .. }) && self.view.get(&row.node).is_some_and(|info| info.is_live());
        if self.rows_of_step(&last).iter().any(is_open) && !planted("rename-at-once") {
            return None;
        }
        let rename = begun.value.rename.clone()?;
        let rename = Rename { of: Some(id.to_owned()), step: step.next()?, ..rename };
        let stamp = self.gossip.stamp(now).ok()?;
        let draft = self.rename_step(stamp, rename, begun.targets().to_vec()).ok()?;
        Some((begun, draft))
    }

    fn goes_on_with(&self, begun: &Operation) -> bool {
        let lives = self.view.get(&begun.origin).is_some_and(|info| info.is_live());
        begun.origin == self.id() || (!lives && self.is_first_of_many())
    }

    /// How far a renaming is; none of another operation.
    pub fn rename_stage(&self, operation: &Operation) -> Option<RenameStep> {
        let Rename { of, step, .. } = operation.value.rename.as_ref()?;
        let last = || self.outcomes.renamings.get(&operation.id)?.last_key_value().map(|(step, _)| *step);
        Some(if of.is_some() { *step } else { last().unwrap_or(*step) })
    }

    /// The rows of a renaming as a whole: those of its last step, once that is there.
    pub(super) fn rows_of_renaming(&self, begun: &Operation) -> Option<Vec<Row>> {
        begun.value.rename.as_ref().filter(|rename| rename.of.is_none())?;
        let steps = self.outcomes.renamings.get(&begun.id);
        let last = steps.and_then(|steps| self.catalog.operation(steps.get(&RenameStep::Remove)?));
        let reason = self.rename_stage(begun).map_or("", RenameStep::word);
        let waits = |node: &NodeId| Row { node: *node, state: RowState::Pending { reason: reason.to_owned() } };
        Some(last.map_or_else(|| begun.targets().iter().map(waits).collect(), |last| self.rows_of_step(last)))
    }
}
