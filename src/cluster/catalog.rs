//! What should be: the catalog's keys and values, typed (DESIGN §4).
//!
//! A window on `logvine_gossip`'s replicated catalog, refreshed key by key. An entry that this version cannot read is kept by gossip and left out here, with
//! its reason, so that versions can mix.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use logvine_gossip::{Entry, NodeId, Stamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    name::Name,
    operation::Operation,
    record::{SourceKey, Witness},
    selection::Selection,
    setting::{self, Setting},
    spec::{RunnerSpec, SourceSpec},
};

/// Whether a runner should run. For a single node also `Absent`: not even its state is kept there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    Running,
    Stopped,
    Absent,
}

/// Where a source entry is from. A later apply of the spec removes only its own that it no longer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Spec,
    Added,
}

/// The value of `runner/<name>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunnerValue {
    /// The stamp of the runner's creation; none where this entry is the creation.
    pub(crate) uid: Option<Stamp>,
    pub(crate) spec: RunnerSpec,
}

/// The value of `source/<runner>/<id>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SourceValue {
    /// The runner's.
    pub(crate) uid: Stamp,
    /// The stamp of the source's creation; none where this entry is the creation.
    pub(crate) created: Option<Stamp>,
    pub(crate) spec: SourceSpec,
    /// Of its first record (DESIGN §5.3).
    pub(crate) witnesses: Vec<Witness>,
    pub(crate) from: Origin,
}

/// The value of `desired/<runner>` and `desired/<runner>@<node>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DesiredValue {
    pub(crate) uid: Stamp,
    pub(crate) desired: Desired,
}

/// Where a rewind sets a source back to. Another kind is left out, with its reason, by versions that do not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindTo {
    /// To the first byte of what is at the source now.
    #[default]
    Beginning,
}

/// The value of `rewind/<runner>`, `rewind/<runner>/<id>` and `rewind/<runner>@<node>`. The entry's stamp is the rewind generation (DESIGN §5.4).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RewindValue {
    /// The runner's.
    pub(crate) uid: Stamp,
    pub(crate) to: RewindTo,
}

/// Which sources of a runner a rewind is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RewindScope {
    All,
    Source(Name),
    /// The pinned ones of a node.
    Node(NodeId),
}

/// The value of `clear/<runner>` and `clear/<runner>@<node>`: from the entry's stamp on, counters count anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClearValue {
    /// The runner's.
    pub(crate) uid: Stamp,
}

/// A runner.
#[derive(Debug, Clone)]
pub struct Runner {
    pub uid: Stamp,
    /// The stamp of the present spec.
    pub revision: Stamp,
    pub spec: Arc<RunnerSpec>,
    /// Where it is placed; none of one that this version cannot read.
    pub placed: Option<Selection>,
}

/// A movable source.
#[derive(Debug, Clone)]
pub struct Source {
    pub key: SourceKey,
    pub revision: Stamp,
    pub spec: Arc<SourceSpec>,
    pub witnesses: Vec<Witness>,
    pub from: Origin,
}

/// The catalog as this version reads it.
#[derive(Debug, Default)]
pub struct Catalog {
    runners: BTreeMap<Name, Runner>,
    sources: BTreeMap<Name, BTreeMap<Name, Source>>,
    desired: BTreeMap<Name, (Stamp, DesiredValue)>,
    overrides: BTreeMap<Name, BTreeMap<NodeId, (Stamp, DesiredValue)>>,
    /// With the runner's uid.
    rewinds: BTreeMap<Name, BTreeMap<RewindScope, (Stamp, Stamp)>>,
    /// By node; none: on all of them.
    clears: BTreeMap<Name, BTreeMap<Option<NodeId>, (Stamp, ClearValue)>>,
    tags: BTreeMap<NodeId, BTreeMap<Name, bool>>,
    draining: BTreeSet<NodeId>,
    forgotten: BTreeSet<NodeId>,
    settings: BTreeMap<&'static str, (Stamp, u64)>,
    operations: BTreeMap<String, Arc<Operation>>,
    unreadable: BTreeMap<String, String>,
}

/// `runner/<name>`
pub(crate) fn runner_key(runner: &Name) -> String {
    format!("runner/{runner}")
}

/// `source/<runner>/<id>`
pub(crate) fn source_key(runner: &Name, source: &Name) -> String {
    format!("source/{runner}/{source}")
}

/// `desired/<runner>`, or `desired/<runner>@<node>`
pub(crate) fn desired_key(runner: &Name, node: Option<&NodeId>) -> String {
    node.map_or_else(|| format!("desired/{runner}"), |node| format!("desired/{runner}@{node}"))
}

/// `rewind/<runner>`, `rewind/<runner>/<id>` or `rewind/<runner>@<node>`
pub(crate) fn rewind_key(runner: &Name, scope: &RewindScope) -> String {
    match scope {
        RewindScope::All => format!("rewind/{runner}"),
        RewindScope::Source(source) => format!("rewind/{runner}/{source}"),
        RewindScope::Node(node) => format!("rewind/{runner}@{node}"),
    }
}

/// `clear/<runner>`, or `clear/<runner>@<node>`
pub(crate) fn clear_key(runner: &Name, node: Option<&NodeId>) -> String {
    node.map_or_else(|| format!("clear/{runner}"), |node| format!("clear/{runner}@{node}"))
}

/// `tag/<node>/<tag>`
pub(crate) fn tag_key(node: &NodeId, tag: &Name) -> String {
    format!("tag/{node}/{tag}")
}

/// `drain/<node>`
pub(crate) fn drain_key(node: &NodeId) -> String {
    format!("drain/{node}")
}

/// What the keys of forgotten nodes begin with.
pub(crate) const FORGOTTEN: &str = "forgotten/";

/// `forgotten/<node>`: up to which generation.
pub(crate) fn forgotten_key(node: &NodeId) -> String {
    format!("{FORGOTTEN}{node}")
}

/// MessagePack with named fields: every value of ours, in the catalog, in node maps and on disk.
pub(crate) fn pack<T: Serialize>(value: &T) -> Bytes {
    rmp_serde::to_vec_named(value).expect("our own types encode").into()
}

/// The reverse of [`pack`]; a peer's or a disk's bytes may be anything.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}

impl Catalog {
    /// Reads one key anew; `entry` is none where it was deleted.
    pub(crate) fn refresh(&mut self, key: &str, entry: Option<&Entry>) {
        self.unreadable.remove(key);
        let present = entry.and_then(|entry| Some((entry.stamp, entry.value.as_ref()?)));
        let read = match key.split_once('/') {
            Some(("runner", rest)) => self.refresh_runner(rest, present),
            Some(("source", rest)) => self.refresh_source(rest, present),
            Some(("desired", rest)) => self.refresh_desired(rest, present),
            Some(("rewind", rest)) => self.refresh_rewind(rest, present),
            Some(("clear", rest)) => self.refresh_clear(rest, present),
            Some(("tag", rest)) => self.refresh_tag(rest, present),
            Some(("drain", rest)) => rest.parse().map_err(|error| format!("{error}")).map(|node| {
                if present.is_some() {
                    self.draining.insert(node)
                } else {
                    self.draining.remove(&node)
                };
            }),
            Some(("forgotten", rest)) => rest.parse().map_err(text).map(|node| {
                if present.is_some() {
                    self.forgotten.insert(node)
                } else {
                    self.forgotten.remove(&node)
                };
            }),
            Some(("operation", rest)) => self.refresh_operation(rest, entry),
            Some(("setting", rest)) => self.refresh_setting(rest, present),
            _ => Ok(()),
        };
        if let Err(reason) = read {
            self.unreadable.insert(key.to_owned(), reason);
        }
    }

    fn refresh_operation(&mut self, id: &str, entry: Option<&Entry>) -> Result<(), String> {
        self.operations.remove(id);
        if let Some(Entry { stamp, origin, value: Some(value) }) = entry {
            let operation = Operation { id: id.to_owned(), stamp: *stamp, origin: *origin, value: unpack(value).map_err(text)? };
            self.operations.insert(id.to_owned(), Arc::new(operation));
        }
        Ok(())
    }

    /// One that this version does not know is left to those that do.
    fn refresh_setting(&mut self, name: &str, present: Option<(Stamp, &Bytes)>) -> Result<(), String> {
        let Some(setting) = Setting::find(name) else { return Ok(()) };
        self.settings.remove(setting.name);
        if let Some((stamp, value)) = present {
            let value = unpack(value).map_err(text)?;
            match setting.fault(value) {
                Some(fault) => return Err(fault.detail),
                None => self.settings.insert(setting.name, (stamp, value)),
            };
        }
        Ok(())
    }

    fn refresh_runner(&mut self, name: &str, present: Option<(Stamp, &Bytes)>) -> Result<(), String> {
        let name: Name = name.parse().map_err(text)?;
        self.runners.remove(&name);
        if let Some((stamp, value)) = present {
            let RunnerValue { uid, spec } = unpack(value).map_err(text)?;
            let placed = spec.placement.selection().parse().ok();
            self.runners.insert(name, Runner { uid: uid.unwrap_or(stamp), revision: stamp, spec: Arc::new(spec), placed });
        }
        Ok(())
    }

    fn refresh_source(&mut self, rest: &str, present: Option<(Stamp, &Bytes)>) -> Result<(), String> {
        let (runner, source) = rest.split_once('/').ok_or("no source is named")?;
        let (runner, source): (Name, Name) = (runner.parse().map_err(text)?, source.parse().map_err(text)?);
        let sources = self.sources.entry(runner).or_default();
        sources.remove(&source);
        if let Some((stamp, value)) = present {
            let SourceValue { uid, created, spec, witnesses, from } = unpack(value).map_err(text)?;
            let key = SourceKey { uid, source: source.clone(), created: created.unwrap_or(stamp) };
            sources.insert(source, Source { key, revision: stamp, spec: Arc::new(spec), witnesses, from });
        }
        Ok(())
    }

    fn refresh_desired(&mut self, rest: &str, present: Option<(Stamp, &Bytes)>) -> Result<(), String> {
        let value = match present {
            Some((stamp, value)) => Some((stamp, unpack(value).map_err(text)?)),
            None => None,
        };
        match rest.split_once('@') {
            None => set(&mut self.desired, rest.parse().map_err(text)?, value),
            Some((runner, node)) => {
                let overrides = self.overrides.entry(runner.parse().map_err(text)?).or_default();
                set(overrides, node.parse().map_err(text)?, value);
            }
        }
        Ok(())
    }

    fn refresh_rewind(&mut self, rest: &str, present: Option<(Stamp, &Bytes)>) -> Result<(), String> {
        let (runner, scope) = match (rest.split_once('/'), rest.split_once('@')) {
            (Some((runner, source)), _) => (runner, RewindScope::Source(source.parse().map_err(text)?)),
            (None, Some((runner, node))) => (runner, RewindScope::Node(node.parse().map_err(text)?)),
            (None, None) => (rest, RewindScope::All),
        };
        let runner: Name = runner.parse().map_err(text)?;
        let rewinds = self.rewinds.entry(runner.clone()).or_default();
        rewinds.remove(&scope);
        if let Some((stamp, value)) = present {
            // It is read whole: a rewind to a place that this version does not know is none.
            let RewindValue { uid, to: RewindTo::Beginning } = unpack(value).map_err(text)?;
            rewinds.insert(scope, (stamp, uid));
        }
        if rewinds.is_empty() {
            self.rewinds.remove(&runner);
        }
        Ok(())
    }

    fn refresh_clear(&mut self, rest: &str, present: Option<(Stamp, &Bytes)>) -> Result<(), String> {
        let value = match present {
            Some((stamp, value)) => Some((stamp, unpack(value).map_err(text)?)),
            None => None,
        };
        let (runner, node) = rest.split_once('@').map_or((rest, None), |(runner, node)| (runner, Some(node)));
        let node = node.map(str::parse).transpose().map_err(text)?;
        set(self.clears.entry(runner.parse().map_err(text)?).or_default(), node, value);
        Ok(())
    }

    fn refresh_tag(&mut self, rest: &str, present: Option<(Stamp, &Bytes)>) -> Result<(), String> {
        let (node, tag) = rest.split_once('/').ok_or("no tag is named")?;
        let value = match present {
            Some((_, value)) => Some(unpack(value).map_err(text)?),
            None => None,
        };
        set(self.tags.entry(node.parse().map_err(text)?).or_default(), tag.parse().map_err(text)?, value);
        Ok(())
    }

    /// All operations, the oldest first.
    pub fn operations(&self) -> impl DoubleEndedIterator<Item = &Arc<Operation>> + ExactSizeIterator {
        self.operations.values()
    }

    /// One operation.
    pub fn operation(&self, id: &str) -> Option<&Arc<Operation>> {
        self.operations.get(id)
    }

    /// All runners, by name.
    pub fn runners(&self) -> impl Iterator<Item = (&Name, &Runner)> {
        self.runners.iter()
    }

    /// One runner.
    pub fn runner(&self, name: &Name) -> Option<&Runner> {
        self.runners.get(name)
    }

    /// The movable sources of a runner, by id: those that were given to this runner and not to an earlier one of its name.
    pub fn sources(&self, runner: &Name) -> impl Iterator<Item = &Source> {
        let uid = self.runners.get(runner).map(|runner| runner.uid);
        self.sources.get(runner).into_iter().flat_map(BTreeMap::values).filter(move |source| Some(source.key.uid) == uid)
    }

    /// One movable source.
    pub fn source(&self, runner: &Name, source: &Name) -> Option<&Source> {
        let uid = self.runners.get(runner)?.uid;
        self.sources.get(runner)?.get(source).filter(|source| source.key.uid == uid)
    }

    /// The runner of a uid.
    pub fn runner_of(&self, uid: Stamp) -> Option<(&Name, &Runner)> {
        self.runners.iter().find(|(_, runner)| runner.uid == uid)
    }

    /// Whether this very source, of this very runner, is there.
    pub(crate) fn has(&self, key: &SourceKey) -> bool {
        let source = self.runner_of(key.uid).and_then(|(name, _)| self.source(name, &key.source));
        source.is_some_and(|source| source.key == *key)
    }

    /// The source under a catalog key, whatever runner it was given to.
    pub(crate) fn source_at(&self, key: &str) -> Option<&Source> {
        let (runner, source) = key.strip_prefix("source/")?.split_once('/')?;
        self.sources.get(&runner.parse().ok()?)?.get(&source.parse().ok()?)
    }

    /// What is wanted of a runner as a whole.
    pub fn desired(&self, runner: &Name) -> Desired {
        self.desired_of(runner).map_or(Desired::Running, |(_, desired)| desired)
    }

    /// What is wanted of a runner on one node: the last word wins, whatever its scope.
    pub fn desired_on(&self, runner: &Name, node: &NodeId) -> Desired {
        let uid = self.runners.get(runner).map(|runner| runner.uid);
        let single = self.overrides.get(runner).and_then(|overrides| overrides.get(node)).filter(|(_, value)| Some(value.uid) == uid);
        let single = single.map(|(stamp, value)| (*stamp, value.desired));
        single.into_iter().chain(self.desired_of(runner)).max_by_key(|(stamp, _)| *stamp).map_or(Desired::Running, |(_, desired)| desired)
    }

    /// What was said of a runner on single nodes.
    pub fn overrides_of(&self, runner: &Name) -> impl Iterator<Item = (&NodeId, Stamp, Desired)> {
        let uid = self.runners.get(runner).map(|runner| runner.uid);
        let overrides = self.overrides.get(runner).into_iter().flatten();
        overrides.filter(move |(_, (_, value))| Some(value.uid) == uid).map(|(node, (stamp, value))| (node, *stamp, value.desired))
    }

    fn desired_of(&self, runner: &Name) -> Option<(Stamp, Desired)> {
        let uid = self.runners.get(runner)?.uid;
        self.desired.get(runner).filter(|(_, value)| value.uid == uid).map(|(stamp, value)| (*stamp, value.desired))
    }

    /// What is said of rewinding a runner's sources: for which, and by which stamp.
    pub(crate) fn rewinds_of(&self, runner: &Name) -> impl Iterator<Item = (&RewindScope, Stamp)> {
        let uid = self.runners.get(runner).map(|runner| runner.uid);
        let rewinds = self.rewinds.get(runner).into_iter().flatten();
        rewinds.filter(move |(_, (_, of))| Some(*of) == uid).map(|(scope, (stamp, _))| (scope, *stamp))
    }

    /// The rewind generation of a movable source: the last word on it, or on all of its runner's; zero: none. A source is not rewound by what was said
    /// before it was there.
    pub fn rewind_of(&self, runner: &Name, source: &SourceKey) -> Stamp {
        let (Some(rewinds), Some(runner)) = (self.rewinds.get(runner), self.runners.get(runner)) else { return Stamp::ZERO };
        let said = [RewindScope::All, RewindScope::Source(source.source.clone())].into_iter().filter_map(|scope| rewinds.get(&scope));
        let said = said.filter(|(stamp, uid)| *uid == runner.uid && *stamp > source.created);
        said.map(|(stamp, _)| *stamp).max().unwrap_or(Stamp::ZERO)
    }

    /// The same of a runner's pinned sources on a node: of all of them, and of single ones.
    pub(crate) fn rewinds_on(&self, runner: &Name, node: &NodeId) -> (Stamp, BTreeMap<&Name, Stamp>) {
        let (mut all, mut single) = (Stamp::ZERO, BTreeMap::new());
        for (scope, stamp) in self.rewinds_of(runner) {
            match scope {
                RewindScope::Source(source) => drop(single.insert(source, stamp)),
                RewindScope::Node(of) if of != node => {}
                RewindScope::Node(_) | RewindScope::All => all = all.max(stamp),
            }
        }
        (all, single)
    }

    /// On which nodes a runner's counters were cleared by a word of their own; none: by one on all of them.
    pub(crate) fn clears_of(&self, runner: &Name) -> impl Iterator<Item = Option<&NodeId>> {
        self.clears.get(runner).into_iter().flat_map(BTreeMap::keys).map(Option::as_ref)
    }

    /// The last word by which a runner's counters on a node count anew; zero: none.
    pub(crate) fn cleared_on(&self, runner: &Name, node: &NodeId) -> Stamp {
        let (Some(clears), Some(runner)) = (self.clears.get(runner), self.runners.get(runner)) else { return Stamp::ZERO };
        let said = [None, Some(*node)].into_iter().filter_map(|scope| clears.get(&scope)).filter(|(_, value)| value.uid == runner.uid);
        said.map(|(stamp, _)| *stamp).max().unwrap_or(Stamp::ZERO)
    }

    /// A node's tags: what its own configuration says, overruled by operators tag by tag.
    pub fn tags(&self, node: &NodeId, own: &BTreeSet<Name>) -> BTreeSet<Name> {
        let mut tags = own.clone();
        for (tag, present) in self.tags.get(node).into_iter().flatten() {
            if *present {
                tags.insert(tag.clone())
            } else {
                tags.remove(tag)
            };
        }
        tags
    }

    /// The nodes to which an operator gave a tag.
    pub(crate) fn nodes_tagged(&self, tag: &Name) -> impl Iterator<Item = NodeId> {
        self.tags.iter().filter(move |(_, tags)| tags.get(tag) == Some(&true)).map(|(node, _)| *node)
    }

    /// Whether a node was forgotten, in one of its generations.
    pub(crate) fn is_forgotten(&self, node: &NodeId) -> bool {
        self.forgotten.contains(node)
    }

    /// What a setting was set to, with the stamp of that; none: its default holds.
    pub fn setting(&self, setting: &Setting) -> Option<(Stamp, u64)> {
        self.settings.get(setting.name).copied()
    }

    /// How long a node may be down before the cluster forgets it.
    pub(crate) fn forget_after(&self) -> Duration {
        Duration::from_secs(self.setting(&setting::FORGET_AFTER).map_or(setting::FORGET_AFTER.default, |(_, seconds)| seconds))
    }

    /// Whether an operator asked a node to drain.
    pub fn is_draining(&self, node: &NodeId) -> bool {
        self.draining.contains(node)
    }

    /// Keys that this version cannot read, with the reason.
    pub fn unreadable(&self) -> &BTreeMap<String, String> {
        &self.unreadable
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
