//! `rewind`: an operator has sources read again from their beginning (DESIGN §6). A catalog entry, so that it is a state: who was away finds it.
//!
//! Here it is drafted, and carried out on this node's pinned sources; on movable ones by whoever owns them (`sources::rewinding`).

use std::collections::{BTreeMap, BTreeSet};

use logvine_gossip::{NodeId, Stamp};

use super::{After, Node, Table, operator::Draft};
use crate::{
    catalog::{RewindScope, RewindTo, RewindValue, Runner, pack, rewind_key},
    command::CommandError,
    event::Event,
    instance::{InstanceCommand, Pinned},
    name::Name,
    operation::{Operation, Outcome, Verb},
    selection::Selection,
    spec::SpecFault,
};

impl Node {
    /// All sources of these runners (`nodes` none, `sources` empty), the pinned ones of a selection of nodes, or single ones of one runner.
    ///
    /// Errors: there is no such runner or source; nodes are named for a runner whose sources are no node's own.
    pub(super) fn rewind(
        &self,
        stamp: Stamp,
        runners: Vec<Name>,
        nodes: Option<&Selection>,
        sources: &BTreeSet<Name>,
    ) -> Result<Draft, CommandError> {
        let selected = nodes.map(|selection| self.selected(selection)).transpose()?;
        let mut targets = BTreeSet::new();
        let mut entries = Vec::new();
        for name in &runners {
            let runner = self.catalog.runner(name).ok_or_else(|| CommandError::NotFound { kind: "runner", name: name.to_string() })?;
            if nodes.is_some() && runner.spec.reader.is_movable() {
                let detail = format!("the sources of `{name}` are no node's own: name them by `sources`, or say `all`");
                return Err(CommandError::Invalid { faults: vec![SpecFault { pointer: "/nodes".to_owned(), detail }] });
            }
            let placed = self.placed_anyhow(name);
            let scopes: Vec<RewindScope> = match &selected {
                _ if !sources.is_empty() => {
                    for source in sources {
                        targets.extend(self.readers_of(name, runner, source)?);
                    }
                    sources.iter().cloned().map(RewindScope::Source).collect()
                }
                Some(selected) => {
                    let meant: Vec<_> = placed.into_iter().filter(|node| selected.contains(node)).collect();
                    targets.extend(&meant);
                    meant.into_iter().map(RewindScope::Node).collect()
                }
                None => {
                    targets.extend(placed);
                    vec![RewindScope::All]
                }
            };
            let value = pack(&RewindValue { uid: runner.uid, to: RewindTo::Beginning });
            entries.extend(scopes.iter().map(|scope| (rewind_key(name, scope), value.clone())));
        }
        if entries.is_empty() {
            return Err(CommandError::NothingPlaced);
        }
        let mut draft = Draft::new(stamp, Verb::Rewind, targets.into_iter().collect());
        (draft.runners, draft.nodes) = (runners, nodes.map(ToString::to_string));
        entries.into_iter().for_each(|(key, value)| draft.put(key, Some(value)));
        Ok(draft)
    }

    /// The nodes that may have a source of this id. A pinned one is its node's own, whose id its own begins with.
    fn readers_of(&self, name: &Name, runner: &Runner, source: &Name) -> Result<Vec<NodeId>, CommandError> {
        let placed = self.placed_anyhow(name);
        let readers: Vec<_> = match runner.spec.reader.is_movable() {
            true if self.catalog.source(name, source).is_some() => return Ok(placed),
            true => Vec::new(),
            false => placed.into_iter().filter(|node| source.as_str().starts_with(&format!("{}-", node.short()))).collect(),
        };
        let not_found = || CommandError::NotFound { kind: "source", name: format!("{name}/{source}") };
        if readers.is_empty() { Err(not_found()) } else { Ok(readers) }
    }

    /// Deletes what was said of rewinding a runner's sources: of all of them, or of those that go.
    pub(super) fn clear_rewinds(&self, draft: &mut Draft, name: &Name, goes: impl Fn(&RewindScope) -> bool) {
        let scopes: Vec<_> = self.catalog.rewinds_of(name).map(|(scope, _)| scope.clone()).filter(|scope| goes(scope)).collect();
        scopes.iter().for_each(|scope| draft.put(rewind_key(name, scope), None));
    }

    /// Sets back the pinned sources of this node of which a rewind is due, and has their instance begin again with them once that is on disk.
    pub(super) fn rewind_pinned(&mut self) {
        let me = self.id();
        let is_pinned = |runner: &Runner| !runner.spec.reader.is_movable();
        let runners: Vec<_> =
            self.catalog.runners().filter(|(_, runner)| is_pinned(runner)).map(|(name, runner)| (name.clone(), runner.uid)).collect();
        for (runner, uid) in runners {
            let (rewind, single) = self.catalog.rewinds_on(&runner, &me);
            let generation = |source: &Name| rewind.max(single.get(source).copied().unwrap_or(Stamp::ZERO));
            let known = self.instances.pinned_of(uid).filter(|(source, known)| known.checkpoint.rewind < generation(source));
            let due: Vec<_> = known.map(|(source, known)| (source.clone(), known.clone(), generation(source))).collect();
            let mut pinned = BTreeMap::new();
            for (source, Pinned { checkpoint, place }, rewind) in due {
                let (bytes, checkpoint) = (checkpoint.bytes_again(), checkpoint.rewound(rewind));
                let known = Pinned { checkpoint: checkpoint.clone(), place };
                self.write(Table::Pinned, pack(&(uid, &source)).to_vec(), Some(pack(&known).to_vec()));
                self.instances.pinned.insert((uid, source.clone()), known);
                self.tell(Event::Rewound { runner: runner.clone(), source: source.clone(), rewind, bytes });
                pinned.insert(source, checkpoint);
            }
            if self.instances.note_rewind(&runner, uid, rewind, !pinned.is_empty()) {
                self.after.push(After::Instance(InstanceCommand::Rewind { runner, uid, rewind, pinned }));
            }
        }
    }

    /// What became of a rewind here: nothing that this node has of its runners waits for one. What it takes later is set back then.
    pub(super) fn rewound(&self, operation: &Operation) -> Option<Outcome> {
        let me = self.id();
        for name in operation.runners() {
            let Some(runner) = self.catalog.runner(name) else { continue };
            let single = self.catalog.rewinds_of(name).filter(|(_, stamp)| *stamp == operation.stamp);
            let single: Vec<_> = single.filter_map(|(scope, _)| if let RewindScope::Source(source) = scope { Some(source) } else { None }).collect();
            let is_here = |source: &Name| self.instances.pinned_of(runner.uid).any(|(known, _)| known == source);
            let of_me = |source: &Name| source.as_str().starts_with(&format!("{}-", me.short()));
            let missing = single.into_iter().find(|source| of_me(source) && !is_here(source));
            if let Some(source) = missing.filter(|_| !runner.spec.reader.is_movable()) {
                return Some(Outcome::Failed { reason: format!("it has no source `{source}`, or none of it was read yet") });
            }
            if self.has_rewind_due(name) {
                return None;
            }
        }
        Some(Outcome::Applied)
    }
}
