//! An operator's commands: each is a few writes to the catalog (DESIGN §6), answered once they are on this node's disk.

use std::collections::BTreeSet;

use bytes::Bytes;
use logvine_gossip::{NodeId, Now, Stamp, StateError};

use super::{After, CommandId, Node, Output, calls::Pending};
use crate::{
    catalog::{Desired, DesiredValue, Origin, RunnerValue, SourceValue, desired_key, drain_key, pack, runner_key, source_key, tag_key},
    command::{Answer, Command, CommandError},
    member::value,
    message::Request,
    name::Name,
    record::{SourceKey, Witness},
    selection::Selection,
    setting::Setting,
    spec::{ReaderSpec, RunnerSpec, SourceSpec, SpecFault},
};

impl Node {
    /// An operator's command. Answered by `Output::Answer` once it is on disk here. Errors: nothing was written.
    pub fn handle_command(&mut self, now: Now, id: CommandId, command: Command) -> Result<(), CommandError> {
        if self.stopping.is_some() {
            return Err(CommandError::Stopping);
        }
        let result = self.obey(now, id, command);
        if let Ok(Some((stamp, targets))) = &result {
            let answer = Answer::Written { stamp: *stamp, targets: targets.clone() };
            // A command that is said again writes nothing, yet the first may not be on disk.
            self.once_durable(After::Answer(id, answer));
        }
        self.settle(now);
        result.map(drop)
    }

    /// None where the answer comes from elsewhere.
    fn obey(&mut self, now: Now, id: CommandId, command: Command) -> Result<Option<(Stamp, Vec<NodeId>)>, CommandError> {
        match command {
            Command::PutRunner { spec, if_match } => self.put_runner(now, *spec, if_match).map(Some),
            Command::DeleteRunner { runner, if_match } => self.delete_runner(now, &runner, if_match).map(Some),
            Command::Desire { runner, nodes, desired } => self.desire(now, &runner, nodes.as_ref(), desired).map(Some),
            Command::Follow { runner, nodes } => self.follow(now, &runner, &nodes).map(Some),
            Command::PatchSources { runner, put, remove } => self.patch_sources(now, &runner, put, &remove).map(Some),
            Command::SetTags { node, tags } => self.set_tags(now, node, &tags).map(Some),
            Command::Drain { node, draining } => {
                self.known(node)?;
                let stamp = self.put(now, &drain_key(&node), draining.then(|| pack(&true)))?;
                Ok(Some((stamp, vec![node])))
            }
            Command::Forget { node } => self.forget_node(now, node).map(Some),
            Command::Set { setting, value } => self.set(now, setting, value).map(Some),
            Command::Inspect { runner, source } => self.ask_owner(now, id, &runner, &source).map(|()| None),
        }
    }

    fn put_runner(&mut self, now: Now, mut spec: RunnerSpec, if_match: Option<Stamp>) -> Result<(Stamp, Vec<NodeId>), CommandError> {
        let faults = spec.faults();
        if !faults.is_empty() {
            return Err(CommandError::Invalid { faults });
        }
        let name = spec.name.clone();
        let before = self.catalog.runner(&name).cloned();
        check_revision(if_match, before.as_ref().map(|runner| runner.revision))?;
        // Sources have keys of their own: a fleet of them would not fit into one value.
        let sources = std::mem::take(&mut spec.sources);
        let unchanged = before.as_ref().filter(|runner| *runner.spec == spec);
        let stamp = match unchanged {
            Some(runner) => runner.revision,
            None => self.put(now, &runner_key(&name), Some(pack(&RunnerValue { uid: before.as_ref().map(|runner| runner.uid), spec })))?,
        };
        let uid = before.map_or(stamp, |runner| runner.uid);
        let named: BTreeSet<_> = sources.iter().map(|source| source.id.clone()).collect();
        let of_spec = self.catalog.sources(&name).filter(|source| source.from == Origin::Spec);
        let dropped: Vec<_> = of_spec.map(|source| source.key.source.clone()).filter(|id| !named.contains(id)).collect();
        let mut last = stamp;
        for source in sources {
            last = last.max(self.put_source(now, &name, uid, source, Origin::Spec)?);
        }
        for source in dropped {
            last = self.put(now, &source_key(&name, &source), None)?;
        }
        let targets = self.read_back(&name);
        Ok((last, targets))
    }

    fn delete_runner(&mut self, now: Now, name: &Name, if_match: Option<Stamp>) -> Result<(Stamp, Vec<NodeId>), CommandError> {
        let revision = self.catalog.runner(name).ok_or_else(|| no_runner(name))?.revision;
        check_revision(if_match, Some(revision))?;
        let targets = self.targets(name);
        let sources: Vec<_> = self.catalog.sources(name).map(|source| source.key.source.clone()).collect();
        let overruled: Vec<_> = self.catalog.overrides_of(name).map(|(node, ..)| *node).collect();
        for source in sources {
            self.put(now, &source_key(name, &source), None)?;
        }
        for node in overruled.iter().map(Some).chain([None]) {
            let key = desired_key(name, node);
            if self.gossip.catalog().get(&key).is_some() {
                self.put(now, &key, None)?;
            }
        }
        let stamp = self.put(now, &runner_key(name), None)?;
        Ok((stamp, targets))
    }

    fn desire(&mut self, now: Now, name: &Name, nodes: Option<&Selection>, desired: Desired) -> Result<(Stamp, Vec<NodeId>), CommandError> {
        let uid = self.catalog.runner(name).ok_or_else(|| no_runner(name))?.uid;
        let value = pack(&DesiredValue { uid, desired });
        let Some(selection) = nodes else {
            let stamp = self.put(now, &desired_key(name, None), Some(value))?;
            return Ok((stamp, self.placed_anyhow(name)));
        };
        let targets = self.selected(selection)?;
        let mut stamp = Stamp::ZERO;
        for node in &targets {
            stamp = self.put(now, &desired_key(name, Some(node)), Some(value.clone()))?;
        }
        Ok((stamp, targets))
    }

    fn follow(&mut self, now: Now, name: &Name, nodes: &Selection) -> Result<(Stamp, Vec<NodeId>), CommandError> {
        self.catalog.runner(name).ok_or_else(|| no_runner(name))?;
        let targets = self.selected(nodes)?;
        let mut stamp = Stamp::ZERO;
        for node in &targets {
            let key = desired_key(name, Some(node));
            if self.gossip.catalog().get(&key).is_some() {
                stamp = self.put(now, &key, None)?;
            }
        }
        Ok((stamp, targets))
    }

    fn patch_sources(&mut self, now: Now, name: &Name, put: Vec<SourceSpec>, remove: &[Name]) -> Result<(Stamp, Vec<NodeId>), CommandError> {
        let runner = self.catalog.runner(name).ok_or_else(|| no_runner(name))?.clone();
        let mut faults = Vec::new();
        if !matches!(runner.spec.reader, ReaderSpec::Http(_)) {
            faults.push(SpecFault { pointer: "/put".to_owned(), detail: "only a runner with an `http` reader has sources".to_owned() });
        }
        for (at, source) in put.iter().enumerate() {
            let prefix = format!("/put/{at}");
            faults.extend(source.faults().into_iter().map(|fault| SpecFault { pointer: prefix.clone() + &fault.pointer, ..fault }));
        }
        if !faults.is_empty() {
            return Err(CommandError::Invalid { faults });
        }
        if let Some(id) = remove.iter().find(|id| self.catalog.source(name, id).is_none()) {
            return Err(CommandError::NotFound { kind: "source", name: id.to_string() });
        }
        let mut stamp = runner.revision;
        for source in put {
            stamp = stamp.max(self.put_source(now, name, runner.uid, source, Origin::Added)?);
        }
        for source in remove {
            stamp = self.put(now, &source_key(name, source), None)?;
        }
        Ok((stamp, self.placed_anyhow(name)))
    }

    /// Writes a source's entry, unless it says so already. A new one names its first witnesses.
    fn put_source(&mut self, now: Now, runner: &Name, uid: Stamp, spec: SourceSpec, from: Origin) -> Result<Stamp, CommandError> {
        let before = self.catalog.source(runner, &spec.id);
        if let Some(before) = before.filter(|before| *before.spec == spec && before.from == from) {
            return Ok(before.revision);
        }
        let key = source_key(runner, &spec.id);
        let (created, witnesses) = match before {
            Some(before) => (Some(before.key.created), before.witnesses.clone()),
            None => (None, self.first_witnesses(uid, &spec.id)),
        };
        self.put(now, &key, Some(pack(&SourceValue { uid, created, spec, witnesses, from })))
    }

    fn first_witnesses(&mut self, uid: Stamp, source: &Name) -> Vec<Witness> {
        let witnesses = self.witnesses_for(&SourceKey { uid, source: source.clone(), created: Stamp::ZERO });
        if witnesses.is_empty() { vec![self.witnesses.me()] } else { witnesses }
    }

    fn set_tags(&mut self, now: Now, node: NodeId, tags: &BTreeSet<Name>) -> Result<(Stamp, Vec<NodeId>), CommandError> {
        self.known(node)?;
        let own: BTreeSet<Name> = value(self.gossip.node_map(&node), "tags").unwrap_or_default();
        let present = self.catalog.tags(&node, &own);
        let mut stamp = Stamp::ZERO;
        for tag in tags.symmetric_difference(&present) {
            stamp = self.put(now, &tag_key(&node, tag), Some(pack(&tags.contains(tag))))?;
        }
        Ok((stamp, vec![node]))
    }

    /// Writes a setting, unless it is so already. It concerns all nodes.
    fn set(&mut self, now: Now, setting: &Setting, value: Option<u64>) -> Result<(Stamp, Vec<NodeId>), CommandError> {
        if let Some(fault) = value.and_then(|value| setting.fault(value)) {
            return Err(CommandError::Invalid { faults: vec![fault] });
        }
        let present = self.catalog.setting(setting);
        let stamp = match present {
            _ if present.map(|(_, value)| value) != value => self.put(now, &setting.key(), value.map(|value| pack(&value)))?,
            Some((stamp, _)) => stamp,
            None => Stamp::ZERO,
        };
        Ok((stamp, self.view.keys().copied().collect()))
    }

    fn ask_owner(&mut self, now: Now, id: CommandId, runner: &Name, source: &Name) -> Result<(), CommandError> {
        let not_found = || CommandError::NotFound { kind: "source", name: format!("{runner}/{source}") };
        let entry = self.catalog.source(runner, source).cloned().ok_or_else(not_found)?;
        match self.claims_of(runner, &entry).first().map(|(owner, _)| *owner) {
            Some(owner) => self.ask(now, owner, Request::Inspect(entry.key), Pending::Inspect(id)),
            None => self.outputs.push_back(Output::Answer { command: id, answer: Answer::Inspected(None) }),
        }
        Ok(())
    }

    pub(super) fn put(&mut self, now: Now, key: &str, value: Option<Bytes>) -> Result<Stamp, CommandError> {
        self.gossip.write(now, key, value).map_err(|error| match error {
            StateError::ClockOff(off) => CommandError::ClockOff(off),
            error => CommandError::State(format!("`{key}` cannot be stored: {error}")),
        })
    }

    /// Targets of a runner whose entry was written a moment ago and is not in the typed catalog yet.
    fn read_back(&mut self, name: &Name) -> Vec<NodeId> {
        let key = runner_key(name);
        self.catalog.refresh(&key, self.gossip.catalog().get(&key));
        self.targets(name)
    }

    /// The nodes on which a runner should run now.
    pub fn targets(&self, name: &Name) -> Vec<NodeId> {
        let Some(runner) = self.catalog.runner(name) else { return Vec::new() };
        self.placed(name, runner).map(|info| info.id).collect()
    }

    /// The nodes that a runner's placement selects now, whatever is desired there.
    fn placed_anyhow(&self, name: &Name) -> Vec<NodeId> {
        let selection = self.catalog.runner(name).and_then(|runner| runner.spec.placement.selection().parse::<Selection>().ok());
        self.view.values().filter(|info| selection.as_ref().is_some_and(|selection| selection.matches(*info))).map(|info| info.id).collect()
    }

    fn selected(&self, selection: &Selection) -> Result<Vec<NodeId>, CommandError> {
        let ids: Vec<_> = self.view.values().filter(|info| selection.matches(*info)).map(|info| info.id).collect();
        if ids.is_empty() { Err(CommandError::NobodySelected { selection: selection.to_string() }) } else { Ok(ids) }
    }

    fn known(&self, node: NodeId) -> Result<(), CommandError> {
        if self.view.contains_key(&node) { Ok(()) } else { Err(CommandError::NotFound { kind: "node", name: node.to_string() }) }
    }
}

fn check_revision(if_match: Option<Stamp>, present: Option<Stamp>) -> Result<(), CommandError> {
    match if_match {
        Some(wanted) if wanted != present.unwrap_or(Stamp::ZERO) => Err(CommandError::Conflict { revision: present.unwrap_or(Stamp::ZERO) }),
        _ => Ok(()),
    }
}

fn no_runner(name: &Name) -> CommandError {
    CommandError::NotFound { kind: "runner", name: name.to_string() }
}
