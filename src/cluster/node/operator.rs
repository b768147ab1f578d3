//! An operator's commands: each is a few writes to the catalog (DESIGN §6). Here they are checked and drafted; `relay` has them accepted and carried to
//! their targets.

use std::collections::BTreeSet;

use bytes::Bytes;
use logvine_gossip::{NodeId, Now, Stamp, StateError, check_entry};

use super::{CommandId, Node};
use crate::{
    catalog::{
        Desired, DesiredValue, Origin, RewindScope, RunnerValue, SourceValue, clear_key, desired_key, drain_key, pack, runner_key, source_key,
        tag_key,
    },
    command::{Command, CommandError, Said},
    member::value,
    name::Name,
    operation::{DESIRED_MAX, ENTRIES_MAX, Rename, Verb},
    record::SourceKey,
    selection::Selection,
    setting::Setting,
    spec::{RunnerSpec, SourceSpec, SpecFault},
};

/// What a command would write.
#[derive(Debug)]
pub(super) struct Draft {
    /// Of all that it writes.
    pub(super) stamp: Stamp,
    pub(super) verb: Verb,
    pub(super) runners: Vec<Name>,
    pub(super) nodes: Option<String>,
    pub(super) targets: Vec<NodeId>,
    pub(super) entries: Vec<(String, Option<Bytes>)>,
    /// Keys that are as they should be already. They are asked to be kept all the same: they may be on no other disk yet.
    pub(super) kept: Vec<String>,
    /// Sources that have no witnesses yet.
    new_sources: Vec<(String, SourceValue)>,
    /// A step of renaming a tag.
    pub(super) rename: Option<Rename>,
    /// The stamp of what is there then.
    pub(super) revision: Stamp,
}

impl Draft {
    pub(super) fn new(stamp: Stamp, verb: Verb, targets: Vec<NodeId>) -> Self {
        Self {
            stamp,
            verb,
            runners: Vec::new(),
            nodes: None,
            targets,
            entries: Vec::new(),
            kept: Vec::new(),
            new_sources: Vec::new(),
            rename: None,
            revision: Stamp::ZERO,
        }
    }

    pub(super) fn put(&mut self, key: String, value: Option<Bytes>) {
        self.revision = self.stamp;
        self.entries.push((key, value));
    }

    fn keep(&mut self, key: String, stamp: Stamp) {
        self.revision = self.revision.max(stamp);
        self.kept.push(key);
    }
}

impl Node {
    /// An operator's command, by nobody in particular.
    ///
    /// Errors: as of [`Self::handle_order`].
    pub fn handle_command(&mut self, now: Now, id: CommandId, command: Command) -> Result<(), CommandError> {
        self.handle_order(now, id, command, Said::default())
    }

    /// An operator's command. Answered by `Output::Answer`. Errors: nothing was written.
    pub fn handle_order(&mut self, now: Now, id: CommandId, command: Command, said: Said) -> Result<(), CommandError> {
        let result = self.obey(now, id, command, said);
        self.settle(now);
        result
    }

    fn obey(&mut self, now: Now, id: CommandId, command: Command, said: Said) -> Result<(), CommandError> {
        if self.stopping.is_some() {
            return Err(CommandError::Stopping);
        }
        if self.answer_as_before(now, id, &said) {
            return Ok(());
        }
        let stamp = self.gossip.stamp(now).map_err(|error| match error {
            StateError::ClockOff(off) => CommandError::ClockOff(off),
            error => CommandError::State(error.to_string()),
        })?;
        let proposed = self.look_ahead();
        let draft = self.draft(stamp, command);
        self.look_back(proposed);
        let mut draft = draft?;
        self.complete(&mut draft);
        for (key, value) in &draft.entries {
            check_entry(key, value.as_ref()).map_err(|error| CommandError::State(format!("`{key}` cannot be stored: {error}")))?;
        }
        self.propose(now, Some(id), draft, said)
    }

    /// Reads the catalog as it will be once all that is proposed here is accepted: a command means what was there when it was said, earlier ones included.
    pub(super) fn look_ahead(&mut self) -> Vec<String> {
        let proposed: Vec<_> = self.proposed().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        for (key, entry) in &proposed {
            self.catalog.refresh(key, Some(entry));
        }
        proposed.into_iter().map(|(key, _)| key).collect()
    }

    pub(super) fn look_back(&mut self, keys: Vec<String>) {
        for key in keys {
            self.catalog.refresh(&key, self.gossip.catalog().get(&key));
        }
    }

    /// Has a key stay as it is; one that is only proposed is written again, as that may yet be withdrawn.
    fn keep(&self, draft: &mut Draft, key: String, stamp: Stamp, value: impl FnOnce() -> Bytes) {
        if self.proposed().any(|(proposed, _)| *proposed == key) {
            draft.put(key, Some(value()));
        } else {
            draft.keep(key, stamp);
        }
    }

    pub(super) fn draft(&self, stamp: Stamp, command: Command) -> Result<Draft, CommandError> {
        let draft = match command {
            Command::If { revision, command } => {
                self.check_revision(revision, &command)?;
                self.draft(stamp, *command)
            }
            Command::Expect { targets: expected, command } => {
                let draft = self.draft(stamp, *command)?;
                let found = draft.targets.len();
                if found == expected { Ok(draft) } else { Err(CommandError::Unexpected { expected, found }) }
            }
            Command::PutRunner { spec } => self.put_runner(stamp, *spec),
            Command::DeleteRunners { runners } => self.delete_runners(stamp, runners),
            Command::Desire { runners, nodes, desired } => self.desire(stamp, runners, nodes.as_ref(), desired),
            Command::Follow { runners, nodes } => self.follow(stamp, runners, &nodes),
            Command::Restart { runners, nodes } => self.restart(stamp, runners, nodes.as_ref()),
            Command::Rewind { runners, nodes, sources } => self.rewind(stamp, runners, nodes.as_ref(), &sources),
            Command::ClearCounters { runners, nodes } => self.clear_counters(stamp, runners, nodes.as_ref()),
            Command::DropQueue { runners, nodes } => self.drop_queue(stamp, runners, nodes.as_ref()),
            Command::PatchSources { runner, put, remove } => self.patch_sources(stamp, &runner, put, &remove),
            Command::SetTags { node, tags } => self.set_tags(stamp, node, &tags),
            Command::RenameTag { from, to } => self.rename_tag(stamp, from, to),
            Command::Drain { node, draining } => {
                self.known(node)?;
                let mut draft = Draft::new(stamp, if draining { Verb::Drain } else { Verb::Undrain }, vec![node]);
                draft.put(drain_key(&node), draining.then(|| pack(&true)));
                Ok(draft)
            }
            Command::Forget { node } => {
                let (key, generation) = self.forget_node(node)?;
                // Who is forgotten carries nothing out.
                let mut draft = Draft::new(stamp, Verb::Forget, Vec::new());
                draft.put(key, Some(pack(&generation)));
                Ok(draft)
            }
            Command::Set { setting, value } => self.set(stamp, setting, value),
        }?;
        let count = draft.entries.len() + draft.kept.len() + draft.new_sources.len();
        // The keys of desired states are not listed one by one.
        let most = if draft.verb.is_desire() { DESIRED_MAX } else { ENTRIES_MAX };
        if count > most {
            return Err(CommandError::TooMany { count, most });
        }
        Ok(draft)
    }

    fn put_runner(&self, stamp: Stamp, mut spec: RunnerSpec) -> Result<Draft, CommandError> {
        let faults = spec.faults();
        if !faults.is_empty() {
            return Err(CommandError::Invalid { faults });
        }
        let name = spec.name.clone();
        let before = self.catalog.runner(&name);
        // Those that it leaves have something to do, too.
        let mut targets: BTreeSet<_> = self.placed_by(spec.placement.selection()).into_iter().collect();
        targets.extend(self.placed_anyhow(&name));
        let mut draft = Draft { runners: vec![name.clone()], ..Draft::new(stamp, Verb::Apply, targets.into_iter().collect()) };
        // Sources have keys of their own: a fleet of them would not fit into one value.
        let sources = std::mem::take(&mut spec.sources);
        let is_so = before.is_some_and(|runner| *runner.spec == spec);
        let value = || pack(&RunnerValue { uid: before.map(|runner| runner.uid), spec });
        match before.filter(|_| is_so) {
            Some(runner) => self.keep(&mut draft, runner_key(&name), runner.revision, value),
            None => draft.put(runner_key(&name), Some(value())),
        }
        let uid = before.map_or(stamp, |runner| runner.uid);
        let named: BTreeSet<_> = sources.iter().map(|source| source.id.clone()).collect();
        let of_spec = self.catalog.sources(&name).filter(|source| source.from == Origin::Spec);
        let dropped: Vec<_> = of_spec.map(|source| source.key.source.clone()).filter(|id| !named.contains(id)).collect();
        for source in sources {
            self.put_source(&mut draft, &name, uid, source, Origin::Spec);
        }
        for source in &dropped {
            draft.put(source_key(&name, source), None);
        }
        self.clear_rewinds(&mut draft, &name, |scope| matches!(scope, RewindScope::Source(source) if dropped.contains(source)));
        Ok(draft)
    }

    fn delete_runners(&self, stamp: Stamp, runners: Vec<Name>) -> Result<Draft, CommandError> {
        let targets: BTreeSet<NodeId> = runners.iter().flat_map(|name| self.placed_anyhow(name)).collect();
        let mut draft = Draft::new(stamp, Verb::Delete, targets.into_iter().collect());
        for name in runners.iter().collect::<BTreeSet<_>>() {
            self.delete_runner(&mut draft, name)?;
        }
        Ok(Draft { runners, ..draft })
    }

    fn delete_runner(&self, draft: &mut Draft, name: &Name) -> Result<(), CommandError> {
        self.catalog.runner(name).ok_or_else(|| no_runner(name))?;
        for source in self.catalog.sources(name) {
            draft.put(source_key(name, &source.key.source), None);
        }
        for node in self.catalog.overrides_of(name).map(|(node, ..)| Some(node)).chain([None]) {
            self.clear(draft, desired_key(name, node));
        }
        self.clear_rewinds(draft, name, |_| true);
        for node in self.catalog.clears_of(name) {
            self.clear(draft, clear_key(name, node));
        }
        draft.put(runner_key(name), None);
        Ok(())
    }

    /// Deletes what is there.
    fn clear(&self, draft: &mut Draft, key: String) {
        if self.gossip.catalog().get(&key).is_some() || self.proposed().any(|(proposed, _)| *proposed == key) {
            draft.put(key, None);
        }
    }

    fn desire(&self, stamp: Stamp, runners: Vec<Name>, nodes: Option<&Selection>, desired: Desired) -> Result<Draft, CommandError> {
        let verb = match desired {
            Desired::Running => Verb::Start,
            Desired::Stopped => Verb::Stop,
            Desired::Absent => Verb::Remove,
        };
        let targets: BTreeSet<NodeId> = match nodes {
            Some(selection) => self.selected(selection)?.into_iter().collect(),
            None => runners.iter().flat_map(|runner| self.placed_anyhow(runner)).collect(),
        };
        // Before a single one is made: there may be millions.
        if nodes.is_some() && runners.len().saturating_mul(targets.len()) > DESIRED_MAX {
            return Err(CommandError::TooManyDesired { runners: runners.len(), nodes: targets.len(), most: DESIRED_MAX });
        }
        let mut draft = Draft { nodes: nodes.map(ToString::to_string), ..Draft::new(stamp, verb, targets.into_iter().collect()) };
        for name in &runners {
            let uid = self.catalog.runner(name).ok_or_else(|| no_runner(name))?.uid;
            let value = pack(&DesiredValue { uid, desired });
            match nodes {
                None => draft.put(desired_key(name, None), Some(value)),
                Some(_) => {
                    let keys: Vec<_> = draft.targets.iter().map(|node| desired_key(name, Some(node))).collect();
                    keys.into_iter().for_each(|key| draft.put(key, Some(value.clone())));
                }
            }
        }
        Ok(Draft { runners, ..draft })
    }

    fn follow(&self, stamp: Stamp, runners: Vec<Name>, nodes: &Selection) -> Result<Draft, CommandError> {
        let targets = self.selected(nodes)?;
        let mut draft = Draft { nodes: Some(nodes.to_string()), ..Draft::new(stamp, Verb::Follow, targets.clone()) };
        for name in &runners {
            self.catalog.runner(name).ok_or_else(|| no_runner(name))?;
            for node in &targets {
                self.clear(&mut draft, desired_key(name, Some(node)));
            }
        }
        Ok(Draft { runners, ..draft })
    }

    fn restart(&self, stamp: Stamp, runners: Vec<Name>, nodes: Option<&Selection>) -> Result<Draft, CommandError> {
        let selected = nodes.map(|selection| self.selected(selection)).transpose()?;
        let mut targets = BTreeSet::new();
        for name in &runners {
            self.catalog.runner(name).ok_or_else(|| no_runner(name))?;
            targets.extend(self.targets(name).into_iter().filter(|node| selected.as_ref().is_none_or(|selected| selected.contains(node))));
        }
        if targets.is_empty() {
            return Err(CommandError::NothingRuns);
        }
        Ok(Draft { runners, nodes: nodes.map(ToString::to_string), ..Draft::new(stamp, Verb::Restart, targets.into_iter().collect()) })
    }

    fn patch_sources(&self, stamp: Stamp, name: &Name, put: Vec<SourceSpec>, remove: &[Name]) -> Result<Draft, CommandError> {
        let runner = self.catalog.runner(name).ok_or_else(|| no_runner(name))?;
        let mut faults = Vec::new();
        if !runner.spec.reader.is_movable() {
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
        let mut draft = Draft { runners: vec![name.clone()], ..Draft::new(stamp, Verb::PatchSources, self.placed_anyhow(name)) };
        draft.revision = runner.revision;
        for source in put {
            self.put_source(&mut draft, name, runner.uid, source, Origin::Added);
        }
        for source in remove {
            draft.put(source_key(name, source), None);
        }
        self.clear_rewinds(&mut draft, name, |scope| matches!(scope, RewindScope::Source(source) if remove.contains(source)));
        Ok(draft)
    }

    /// Writes a source's entry, unless it says so already. A new one names its first witnesses.
    fn put_source(&self, draft: &mut Draft, runner: &Name, uid: Stamp, spec: SourceSpec, from: Origin) {
        let key = source_key(runner, &spec.id);
        let before = self.catalog.source(runner, &spec.id);
        let is_so = before.is_some_and(|before| *before.spec == spec && before.from == from);
        let created = before.map(|before| before.key.created);
        let witnesses = before.map(|before| before.witnesses.clone()).unwrap_or_default();
        let value = SourceValue { uid, created, spec, witnesses, from };
        match before {
            Some(before) if is_so => self.keep(draft, key, before.revision, || pack(&value)),
            Some(_) => draft.put(key, Some(pack(&value))),
            None => {
                draft.revision = draft.stamp;
                draft.new_sources.push((key, value));
            }
        }
    }

    /// Names the first witnesses of new sources.
    pub(super) fn complete(&mut self, draft: &mut Draft) {
        for (key, mut value) in std::mem::take(&mut draft.new_sources) {
            let source = SourceKey { uid: value.uid, source: value.spec.id.clone(), created: Stamp::ZERO };
            value.witnesses = self.witnesses_for(&source);
            if value.witnesses.is_empty() {
                value.witnesses.push(self.witnesses.me());
            }
            draft.put(key, Some(pack(&value)));
        }
    }

    fn set_tags(&self, stamp: Stamp, node: NodeId, tags: &BTreeSet<Name>) -> Result<Draft, CommandError> {
        self.known(node)?;
        let own: BTreeSet<Name> = value(self.gossip.node_map(&node), "tags").unwrap_or_default();
        let present = self.catalog.tags(&node, &own);
        let mut draft = Draft::new(stamp, Verb::SetTags, vec![node]);
        for tag in tags.union(&present) {
            let (key, wanted) = (tag_key(&node, tag), tags.contains(tag));
            match self.gossip.catalog().get(&key) {
                _ if wanted != present.contains(tag) => draft.put(key, Some(pack(&wanted))),
                Some(entry) => self.keep(&mut draft, key, entry.stamp, || pack(&wanted)),
                None if self.proposed().any(|(proposed, _)| *proposed == key) => draft.put(key, Some(pack(&wanted))),
                None => {}
            }
        }
        Ok(draft)
    }

    /// Writes a setting, unless it is so already. It concerns all nodes.
    fn set(&self, stamp: Stamp, setting: &Setting, value: Option<u64>) -> Result<Draft, CommandError> {
        if let Some(fault) = value.and_then(|value| setting.fault(value)) {
            return Err(CommandError::Invalid { faults: vec![fault] });
        }
        let mut draft = Draft::new(stamp, Verb::Set, self.view.keys().copied().collect());
        match self.catalog.setting(setting) {
            present if present.map(|(_, value)| value) != value => draft.put(setting.key(), value.map(|value| pack(&value))),
            Some((stamp, value)) => self.keep(&mut draft, setting.key(), stamp, || pack(&value)),
            None => {}
        }
        Ok(draft)
    }

    /// The nodes on which a runner should run now.
    pub fn targets(&self, name: &Name) -> Vec<NodeId> {
        let Some(runner) = self.catalog.runner(name) else { return Vec::new() };
        self.placed(name, runner).map(|info| info.id).collect()
    }

    /// The nodes that a runner's placement selects now, whatever is desired there.
    pub fn placed_anyhow(&self, name: &Name) -> Vec<NodeId> {
        self.catalog.runner(name).map(|runner| self.placed_by(runner.spec.placement.selection())).unwrap_or_default()
    }

    fn placed_by(&self, selection: &str) -> Vec<NodeId> {
        let selection = selection.parse::<Selection>();
        self.view.values().filter(|info| selection.as_ref().is_ok_and(|selection| selection.matches(*info))).map(|info| info.id).collect()
    }

    pub(super) fn selected(&self, selection: &Selection) -> Result<Vec<NodeId>, CommandError> {
        let ids: Vec<_> = self.view.values().filter(|info| selection.matches(*info)).map(|info| info.id).collect();
        if ids.is_empty() { Err(CommandError::NobodySelected { selection: selection.to_string() }) } else { Ok(ids) }
    }

    fn known(&self, node: NodeId) -> Result<(), CommandError> {
        if self.view.contains_key(&node) { Ok(()) } else { Err(CommandError::NotFound { kind: "node", name: node.to_string() }) }
    }
}

fn no_runner(name: &Name) -> CommandError {
    CommandError::NotFound { kind: "runner", name: name.to_string() }
}
