//! Node maps: what each node says of itself (DESIGN §3.2; Scuttlebutt, van Renesse et al. 2008).
//!
//! One writer each, ordered by (generation, seq), never by a clock. `whole_to` is the seq up to which nothing is missing.
//! Invariants: only its node writes a map; a newer generation takes a map's place only when its first snapshot is whole.
//! Not here: how maps travel (`push_pull`, `rumour`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::Bound,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Generation, NodeId, StateError,
    catalog::{check_key, check_value},
    hash::hash64,
    ids::GENERATION_MAX,
    marks,
    wire::RumourWord,
};

/// Most keys in one map, deleted ones included: one claim for each of 100,000 sources, and the rest.
pub const NODE_KEYS_MAX: usize = 131_072;
/// Most bytes (keys and values) in one map.
pub const NODE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many deletions a node remembers one by one. Who is behind them takes the whole map: dearer, and rare.
const DELETED_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    seq: u64,
    value: Option<Bytes>,
}

/// What one node says of itself, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeMap {
    generation: Generation,
    quic: Option<SocketAddr>,
    words: BTreeMap<String, Word>,
    by_seq: BTreeMap<u64, String>,
    deleted: BTreeSet<u64>,
    bytes: usize,
    whole_to: u64,
    floor: u64,
    /// A map that is being fetched is shown once it is whole up to here.
    snapshot_to: u64,
}

impl NodeMap {
    fn new(generation: Generation, snapshot_to: u64) -> Self {
        Self { generation, snapshot_to, ..Self::default() }
    }

    /// The generation of the node that said this.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.words.get(key).and_then(|word| word.value.as_ref())
    }

    /// All values whose key begins with `prefix`, by key.
    pub fn iter<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Bytes)> {
        self.words
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter_map(|(key, word)| word.value.as_ref().map(|value| (key.as_str(), value)))
    }

    /// Stores a word unless a newer one is held. True if the value that readers see has changed.
    fn set(&mut self, key: &str, seq: u64, value: Option<Bytes>) -> Result<bool, StateError> {
        check_key(key)?;
        check_value(value.as_ref())?;
        let held = self.words.get(key);
        if held.is_some_and(|held| held.seq >= seq) {
            return Ok(false);
        }
        let size = |value: &Option<Bytes>| key.len() + value.as_ref().map_or(0, Bytes::len);
        let bytes = self.bytes + size(&value) - held.map_or(0, |held| size(&held.value));
        if held.is_none() && self.words.len() >= NODE_KEYS_MAX {
            return Err(StateError::Full { entries_max: NODE_KEYS_MAX });
        }
        if bytes > NODE_BYTES_MAX {
            return Err(StateError::Large { bytes_max: NODE_BYTES_MAX });
        }
        self.bytes = bytes;
        let changed = held.and_then(|held| held.value.as_ref()) != value.as_ref();
        if value.is_none() {
            self.deleted.insert(seq);
        }
        self.by_seq.insert(seq, key.to_owned());
        if let Some(before) = self.words.insert(key.to_owned(), Word { seq, value }) {
            self.by_seq.remove(&before.seq);
            self.deleted.remove(&before.seq);
        }
        Ok(changed)
    }

    /// Forgets the deletions up to `floor`.
    fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some(seq) = self.deleted.first().copied().filter(|seq| *seq <= self.floor) {
            self.deleted.remove(&seq);
            if let Some(key) = self.by_seq.remove(&seq) {
                self.words.remove(&key);
                self.bytes -= key.len();
            }
        }
    }

    fn mark(&self, node: NodeId) -> NodeMark {
        NodeMark { node, generation: self.generation, whole_to: self.whole_to }
    }

    fn is_whole(&self) -> bool {
        self.whole_to >= self.snapshot_to
    }

    /// Moves `whole_to` over words that arrived before their turn.
    fn close_gaps(&mut self) {
        while self.by_seq.contains_key(&(self.whole_to + 1)) {
            self.whole_to += 1;
        }
    }
}

/// How much of a node's map somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeMark {
    #[serde(rename = "n")]
    pub(crate) node: NodeId,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "w")]
    pub(crate) whole_to: u64,
}

impl NodeMark {
    fn order(&self) -> (Generation, u64) {
        (self.generation, self.whole_to)
    }

    fn sum(&self) -> u64 {
        hash64(&[&self.node.0, &self.generation.0.to_be_bytes(), &self.whole_to.to_be_bytes()])
    }
}

/// One word of a node on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireWord {
    #[serde(rename = "k")]
    pub(crate) key: String,
    #[serde(rename = "s")]
    pub(crate) seq: u64,
    #[serde(rename = "v")]
    pub(crate) value: Option<Bytes>,
}

impl WireWord {
    /// About what this takes on the wire, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + 24
    }
}

/// All that `node` said after seq `after` and up to `upto`: who is whole to `after` is whole to `upto` with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeDelta {
    #[serde(rename = "n")]
    pub(crate) node: NodeId,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "q")]
    pub(crate) quic: Option<SocketAddr>,
    #[serde(rename = "a")]
    pub(crate) after: u64,
    #[serde(rename = "u")]
    pub(crate) upto: u64,
    /// A map that begins with this delta may be shown once it is whole to here.
    #[serde(rename = "t")]
    pub(crate) target: u64,
    #[serde(rename = "f")]
    pub(crate) floor: u64,
    #[serde(rename = "w")]
    pub(crate) words: Vec<WireWord>,
}

impl NodeDelta {
    /// About what this takes on the wire, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.words.iter().map(WireWord::size).sum::<usize>() + 96
    }
}

/// What came of somebody's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Keys whose value readers now see differently.
    pub(crate) changed: Vec<String>,
    /// The map, as it stands, cannot take it: words between are missing.
    pub(crate) gap: bool,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    shown: NodeMap,
    /// A newer map that is not whole yet.
    coming: Option<NodeMap>,
}

impl Kept {
    fn newest(&self) -> &NodeMap {
        self.coming.as_ref().unwrap_or(&self.shown)
    }
}

/// The maps of all nodes, this node's own among them.
#[derive(Debug)]
pub(crate) struct NodeMaps {
    me: NodeId,
    kept: BTreeMap<NodeId, Kept>,
    root: u64,
}

impl NodeMaps {
    pub(crate) fn new(me: NodeId, generation: Generation, quic: SocketAddr) -> Self {
        let own = NodeMap { quic: Some(quic), ..NodeMap::new(generation, 0) };
        let root = own.mark(me).sum();
        Self { me, kept: BTreeMap::from([(me, Kept { shown: own, coming: None })]), root }
    }

    /// The map of `node` as it may be shown: whole once, and then growing.
    pub(crate) fn get(&self, node: &NodeId) -> Option<&NodeMap> {
        self.kept.get(node).map(|kept| &kept.shown).filter(|map| map.generation > Generation::default())
    }

    /// The highest generation whose words were heard of `node`.
    pub(crate) fn generation(&self, node: &NodeId) -> Option<Generation> {
        self.kept.get(node).map(|kept| kept.newest().generation)
    }

    /// Where `node` said that it answers calls.
    pub(crate) fn quic(&self, node: &NodeId) -> Option<(Generation, SocketAddr)> {
        let map = self.kept.get(node)?.newest();
        map.quic.map(|quic| (map.generation, quic))
    }

    /// One number for what is held of all nodes.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    pub(crate) fn marks(&self) -> impl Iterator<Item = NodeMark> {
        self.kept.iter().map(|(node, kept)| kept.newest().mark(*node))
    }

    /// How much of `node`'s map is held here.
    pub(crate) fn mark_of(&self, node: NodeId) -> NodeMark {
        self.kept.get(&node).map_or(NodeMark { node, generation: Generation::default(), whole_to: 0 }, |kept| kept.newest().mark(node))
    }

    /// One word of a node, a deleted one too, as a rumour.
    pub(crate) fn word(&self, node: NodeId, key: &str) -> Option<RumourWord> {
        let map = self.get(&node)?;
        let word = map.words.get(key)?;
        let word = WireWord { key: key.to_owned(), seq: word.seq, value: word.value.clone() };
        Some(RumourWord { node, generation: map.generation, word })
    }

    /// Says a word of this node. The word's seq, or None if that was its value already.
    pub(crate) fn say(&mut self, key: &str, value: Option<Bytes>) -> Result<Option<WireWord>, StateError> {
        self.with_own(|own| {
            if own.get(key) == value.as_ref() {
                return Ok(None);
            }
            let seq = own.whole_to + 1;
            own.set(key, seq, value.clone())?;
            own.whole_to = seq;
            if own.deleted.len() > DELETED_MAX {
                let oldest = own.deleted.first().copied().unwrap_or_default();
                own.raise_floor(oldest);
            }
            Ok(Some(WireWord { key: key.to_owned(), seq, value }))
        })
    }

    /// Begins this node's map anew under a higher generation, with the same values.
    pub(crate) fn renew(&mut self, generation: Generation) {
        self.with_own(|own| {
            let old = std::mem::replace(own, NodeMap { quic: own.quic, ..NodeMap::new(generation, 0) });
            for (key, word) in old.words.into_iter().filter(|(_, word)| word.value.is_some()) {
                let seq = own.whole_to + 1;
                own.set(&key, seq, word.value).expect("what fitted under the old generation fits under the new one");
                own.whole_to = seq;
            }
        });
    }

    fn with_own<T>(&mut self, change: impl FnOnce(&mut NodeMap) -> T) -> T {
        let own = &mut self.kept.get_mut(&self.me).expect("one's own map is there from the start").shown;
        let before = own.mark(self.me).sum();
        let result = change(own);
        self.root = self.root.wrapping_sub(before).wrapping_add(own.mark(self.me).sum());
        result
    }

    /// Runs `change` on what is kept of `node` and keeps the root in step.
    fn with_kept<T>(&mut self, node: NodeId, change: impl FnOnce(&mut Kept) -> T) -> T {
        let before = self.kept.get(&node).map_or(0, |kept| kept.newest().mark(node).sum());
        let kept = self.kept.entry(node).or_default();
        let result = change(kept);
        self.root = self.root.wrapping_sub(before).wrapping_add(kept.newest().mark(node).sum());
        result
    }

    /// The deltas that bring a holder of `mark` up to what is held here, each about `bytes` long, in the order in which they must be taken.
    pub(crate) fn deltas(&self, mark: &NodeMark, bytes: usize) -> Vec<NodeDelta> {
        let Some(map) = self.kept.get(&mark.node).map(Kept::newest) else { return Vec::new() };
        let same = map.generation == mark.generation;
        if map.generation < mark.generation || (same && map.whole_to <= mark.whole_to) {
            return Vec::new();
        }
        let mut after = if same && mark.whole_to >= map.floor { mark.whole_to } else { 0 };
        let target = map.snapshot_to.max(map.whole_to);
        let delta = |after| NodeDelta {
            node: mark.node,
            generation: map.generation,
            quic: map.quic,
            after,
            upto: map.whole_to,
            target,
            floor: map.floor,
            words: Vec::new(),
        };
        let mut deltas = Vec::new();
        let mut last = delta(after);
        for (seq, key) in map.by_seq.range(after + 1..) {
            let Some(word) = map.words.get(key) else { continue };
            let word = WireWord { key: key.clone(), seq: *seq, value: word.value.clone() };
            if !last.words.is_empty() && last.size() + word.size() > bytes {
                last.upto = after.min(map.whole_to);
                deltas.push(std::mem::replace(&mut last, delta(after.min(map.whole_to))));
            }
            after = *seq;
            last.words.push(word);
        }
        deltas.push(last);
        deltas
    }

    /// Those of `marks` of which more is held here, as the marks that are behind.
    pub(crate) fn behind<'a>(&'a self, marks: &'a [NodeMark]) -> impl Iterator<Item = NodeMark> + 'a {
        let named: BTreeMap<NodeId, &NodeMark> = marks.iter().map(|mark| (mark.node, mark)).collect();
        self.marks().filter_map(move |held| match named.get(&held.node) {
            Some(mark) if mark.order() < held.order() => Some(**mark),
            Some(_) => None,
            None => Some(NodeMark { node: held.node, generation: Generation::default(), whole_to: 0 }),
        })
    }

    /// The marks of this node for those of `marks` that are ahead of it; never for this node's own map.
    pub(crate) fn wanted(&self, marks: &[NodeMark]) -> Vec<NodeMark> {
        let ahead = |mark: &&NodeMark| mark.node != self.me && self.mark_of(mark.node).order() < mark.order();
        marks.iter().filter(ahead).map(|mark| self.mark_of(mark.node)).collect()
    }

    /// Takes a delta of another node's map.
    ///
    /// Errors: a word over its limit, or no room; the words before it are kept, and the map is not called whole.
    pub(crate) fn apply(&mut self, delta: NodeDelta) -> Result<Heard, StateError> {
        let newest = self.generation(&delta.node).unwrap_or_default();
        if delta.node == self.me || delta.generation < newest || delta.generation == Generation::default() || delta.generation > GENERATION_MAX {
            return Ok(Heard::default());
        }
        self.with_kept(delta.node, |kept| {
            let newest = kept.newest();
            let behind_floor = delta.after == 0 && newest.whole_to > 0 && newest.whole_to < delta.floor;
            if delta.generation > newest.generation || behind_floor {
                if delta.after > 0 {
                    return Ok(Heard { gap: true, ..Heard::default() });
                }
                if behind_floor {
                    marks::reached("who was behind a floor took the whole map");
                }
                kept.coming = Some(NodeMap::new(delta.generation, delta.target));
            }
            let map = kept.coming.as_mut().unwrap_or(&mut kept.shown);
            if delta.after > map.whole_to {
                return Ok(Heard { gap: true, ..Heard::default() });
            }
            let mut changed = Vec::new();
            for word in delta.words {
                if map.set(&word.key, word.seq, word.value)? {
                    changed.push(word.key);
                }
            }
            map.quic = delta.quic.or(map.quic);
            map.whole_to = map.whole_to.max(delta.upto);
            map.close_gaps();
            map.raise_floor(delta.floor);
            let Some(coming) = kept.coming.take() else { return Ok(Heard { changed, gap: false }) };
            if coming.is_whole() {
                let old = std::mem::replace(&mut kept.shown, coming);
                Ok(Heard { changed: differing(&old, &kept.shown), gap: false })
            } else {
                marks::reached("a node map of a new generation came in pieces");
                kept.coming = Some(coming);
                Ok(Heard::default())
            }
        })
    }

    /// Takes one word of another node's map out of turn. None: it is no news. A gap: its generation's map is not held.
    pub(crate) fn hear(&mut self, node: NodeId, generation: Generation, word: WireWord) -> Result<Option<Heard>, StateError> {
        let newest = self.generation(&node).unwrap_or_default();
        if node == self.me || generation < newest || generation > GENERATION_MAX {
            return Ok(None);
        }
        if generation > newest || self.kept.get(&node).is_some_and(|kept| kept.coming.is_some()) {
            return Ok(Some(Heard { gap: true, ..Heard::default() }));
        }
        self.with_kept(node, |kept| {
            let map = &mut kept.shown;
            let known = word.seq <= map.whole_to || map.words.get(&word.key).is_some_and(|held| held.seq >= word.seq);
            if known {
                return Ok(None);
            }
            if word.seq > map.whole_to + 1 {
                marks::reached("a rumoured word came before the words ahead of it");
            }
            let changed = map.set(&word.key, word.seq, word.value)?;
            map.close_gaps();
            Ok(Some(Heard { changed: if changed { vec![word.key] } else { Vec::new() }, gap: false }))
        })
    }
}

/// The keys that read differently in `new`.
fn differing(old: &NodeMap, new: &NodeMap) -> Vec<String> {
    let gone = old.iter("").filter(|(key, _)| new.get(key).is_none()).map(|(key, _)| key.to_owned());
    let said = new.iter("").filter(|(key, value)| old.get(key) != Some(value)).map(|(key, _)| key.to_owned());
    gone.chain(said).collect()
}

#[cfg(test)]
mod tests;
