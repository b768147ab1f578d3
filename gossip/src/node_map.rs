//! Node maps: what each node says of itself (DESIGN §3.2; Scuttlebutt, van Renesse et al. 2008).
//!
//! One writer each, ordered by (generation, seq), never by a clock. `whole_to` is the seq up to which nothing is missing.
//! Invariants: only its node writes a map; a newer generation takes a map's place only when its first snapshot is whole.
//!
//! Words are not signed: whoever holds the cluster's key can lie in another's name (DESIGN §8.4: one cluster is one trust domain). What is defended is
//! that a lie ends: a node that hears of more than it said goes on under a higher generation, which overrules it everywhere; and that no lie is out of
//! all proportion: generations, seqs, sizes and the number of maps are bounded, and each step is small beside what is left.
//!
//! `maps` has the maps of all nodes, `digest` how two nodes find out where they differ, in as few bytes as it takes.
//! Not here: how maps travel (`push_pull`, `rumour`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Generation, NodeId, StateError,
    canary::planted,
    catalog::{check_key, check_value},
    hash::mix,
    ids::id_hash,
    wire::RumourWord,
};

mod common;
mod digest;
mod maps;

use common::Common;
pub(crate) use digest::{Compared, Held, Place, packed_size};
pub(crate) use maps::{Heard, NodeMaps};

/// Most keys in one map, deleted ones included: one claim for each of 100,000 sources, and the rest.
pub const NODE_KEYS_MAX: usize = 131_072;
/// Most bytes (keys and values) in one map.
pub const NODE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Greatest seq: a word a microsecond for three hundred years.
const SEQ_MAX: u64 = 1 << 53;
/// The word by which a node says how many votes are on its disk.
pub(crate) const VOTES: &str = "votes";
/// Most votes that a disk counts: one a microsecond for three hundred years.
pub(crate) const VOTES_MAX: u64 = 1 << 53;
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
    words: BTreeMap<Arc<str>, Word>,
    by_seq: BTreeMap<u64, Arc<str>>,
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

    /// How much of it is held: the same again, and nothing was said since. The generation, up to where nothing is missing, and the newest word.
    pub fn version(&self) -> (Generation, u64, u64) {
        (self.generation, self.whole_to, self.by_seq.last_key_value().map_or(0, |(seq, _)| *seq))
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
            .filter_map(|(key, word)| word.value.as_ref().map(|value| (&**key, value)))
    }

    /// The seq up to which nothing is missing. With the generation it orders all states of a map.
    pub fn whole_to(&self) -> u64 {
        self.whole_to
    }

    /// Every word that is held, by seq: its key, and its value (None: deleted). Words above `whole_to` came before their turn.
    pub fn words(&self) -> impl Iterator<Item = (u64, &str, Option<&Bytes>)> {
        self.by_seq.iter().filter_map(|(seq, key)| Some((*seq, &**key, self.words.get(key)?.value.as_ref())))
    }

    /// Stores a word unless a newer one is held. True if the value that readers see has changed. The map may grow to `bytes_max`.
    fn set(&mut self, common: &mut Common, key: &str, seq: u64, value: Option<Bytes>, bytes_max: usize) -> Result<bool, StateError> {
        check_key(key)?;
        check_value(value.as_ref())?;
        let held = self.words.get(key);
        if held.is_some_and(|held| held.seq >= seq) {
            return Ok(false);
        }
        let size = |value: &Option<Bytes>| key.len() + value.as_ref().map_or(0, Bytes::len);
        let before = held.map_or(0, |held| size(&held.value));
        let bytes = self.bytes + size(&value) - before;
        if held.is_none() && self.words.len() >= NODE_KEYS_MAX {
            return Err(StateError::Full { entries_max: NODE_KEYS_MAX });
        }
        if bytes > bytes_max && size(&value) > before {
            return Err(StateError::Large { bytes_max });
        }
        self.bytes = bytes;
        if value.is_none() {
            self.deleted.insert(seq);
        }
        let Some(held) = self.words.get_mut(key) else {
            let changed = value.is_some();
            let key = common.key(key);
            self.by_seq.insert(seq, key.clone());
            self.words.insert(key, Word { seq, value });
            return Ok(changed);
        };
        let changed = held.value != value;
        let before = std::mem::replace(held, Word { seq, value });
        self.deleted.remove(&before.seq);
        if let Some(key) = self.by_seq.remove(&before.seq) {
            self.by_seq.insert(seq, key);
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

    /// How many votes the node said were on its disk.
    fn votes(&self) -> Option<u64> {
        rmp_serde::from_slice(self.get(VOTES)?).ok()
    }

    fn mark(&self, node: NodeId) -> NodeMark {
        NodeMark { node, generation: self.generation, whole_to: self.whole_to }
    }

    fn is_whole(&self) -> bool {
        self.whole_to >= self.snapshot_to || planted("half-snapshot-shown")
    }

    /// Moves `whole_to` over words that arrived before their turn.
    fn close_gaps(&mut self) {
        while self.by_seq.contains_key(&(self.whole_to + 1)) {
            self.whole_to += 1;
        }
    }
}

/// The value of [`VOTES`].
pub(crate) fn encode_votes(votes: u64) -> Bytes {
    rmp_serde::to_vec(&votes).expect("a number always encodes").into()
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
    /// Nothing is held of `node`.
    pub(crate) fn nothing(node: NodeId) -> Self {
        Self { node, generation: Generation::default(), whole_to: 0 }
    }

    fn order(&self) -> (Generation, u64) {
        if planted("seq-before-generation") {
            return (Generation(self.whole_to), self.generation.0);
        }
        (self.generation, self.whole_to)
    }

    /// What it adds to a roster: who and which generation; and to a sum: how much of it, too. Nothing is held: nothing.
    fn worth(&self) -> (u64, u64) {
        if self.generation == Generation::default() {
            return (0, 0);
        }
        let roster = mix(id_hash(&self.node), self.generation.0);
        (roster, mix(roster, self.whole_to))
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
        Self::size_of(&self.key, self.value.as_deref())
    }

    fn size_of(key: &str, value: Option<&[u8]>) -> usize {
        key.len() + value.map_or(0, <[u8]>::len) + 24
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

    /// The same, borrowed.
    pub(crate) fn borrowed(&self) -> Delta<'_> {
        let words = self.words.iter().map(|word| Said { seq: word.seq, key: &word.key, value: word.value.as_deref() }).collect();
        let Self { node, generation, quic, after, upto, target, floor, .. } = *self;
        Delta { node, generation, quic, after, upto, target, floor, words }
    }
}

/// A word in a [`Delta`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said<'a> {
    pub(crate) seq: u64,
    pub(crate) key: &'a str,
    pub(crate) value: Option<&'a [u8]>,
}

/// What [`NodeDelta`] says, with words borrowed from a map or a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delta<'a> {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    pub(crate) quic: Option<SocketAddr>,
    pub(crate) after: u64,
    pub(crate) upto: u64,
    pub(crate) target: u64,
    pub(crate) floor: u64,
    pub(crate) words: Vec<Said<'a>>,
}

impl Delta<'_> {
    /// As a node sends it that asked by named marks.
    pub(crate) fn named(&self) -> NodeDelta {
        let word = |word: &Said| WireWord { key: word.key.to_owned(), seq: word.seq, value: word.value.map(Bytes::copy_from_slice) };
        let Self { node, generation, quic, after, upto, target, floor, .. } = *self;
        NodeDelta { node, generation, quic, after, upto, target, floor, words: self.words.iter().map(word).collect() }
    }
}

#[cfg(test)]
mod tests;
