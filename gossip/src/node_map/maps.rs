//! The maps of all nodes, as far as this node has heard them; its own among them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use bytes::Bytes;

use super::{Common, DELETED_MAX, Delta, NODE_BYTES_MAX, NodeMap, NodeMark, RumourWord, SEQ_MAX, Said, WireWord, id_hash};
use crate::{Generation, NodeId, StateError, marks, membership::MEMBERS_MAX};

/// In how many parts the maps are compared: with 1,024 nodes 16 in each, so that one change costs 16 marks and not 1,024.
pub(super) const BUCKETS: usize = 64;
/// Most bytes (keys and values) in all maps together: the claims of 100,000 sources are a tenth of it.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most strangers that are remembered.
const REFUSED_MAX: usize = 1_024;

/// What came of somebody's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Keys whose value readers now see differently.
    pub(crate) changed: Vec<String>,
    /// The map, as it stands, cannot take it: words between are missing.
    pub(crate) gap: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    shown: NodeMap,
    /// A newer map that is not whole yet.
    coming: Option<Box<NodeMap>>,
}

impl Kept {
    pub(super) fn newest(&self) -> &NodeMap {
        self.coming.as_deref().unwrap_or(&self.shown)
    }

    fn bytes(&self) -> usize {
        self.shown.bytes + self.coming.as_ref().map_or(0, |coming| coming.bytes)
    }
}

/// A part of the maps, by a hash of the node's id: what is held, and what that is worth in a comparison.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) kept: BTreeMap<NodeId, Kept>,
    /// Who, in which generation.
    pub(super) roster: u64,
    /// The same, and how much of it.
    pub(super) sum: u64,
}

/// The maps of all nodes, this node's own among them.
#[derive(Debug)]
pub(crate) struct NodeMaps {
    pub(super) me: NodeId,
    pub(super) buckets: Vec<Bucket>,
    /// Up to which generation nodes are forgotten: their words under it are not taken.
    forgotten: BTreeMap<NodeId, Generation>,
    /// Of nodes whose present map is not their first one here: the most votes that an earlier one had, and its generation.
    votes: BTreeMap<NodeId, (Generation, u64)>,
    /// Nodes whose maps were let go, as nobody here knew them: not taken again before they are known.
    refused: BTreeSet<NodeId>,
    root: u64,
    bytes: usize,
    common: Common,
}

/// What there is for a map's words.
struct Space<'a> {
    /// Bytes for which there is room.
    room: usize,
    common: &'a mut Common,
}

impl NodeMaps {
    pub(crate) fn new(me: NodeId, generation: Generation, quic: SocketAddr) -> Self {
        let mut maps = Self {
            me,
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
            forgotten: BTreeMap::new(),
            votes: BTreeMap::new(),
            refused: BTreeSet::new(),
            root: 0,
            bytes: 0,
            common: Common::default(),
        };
        maps.with_kept(me, |kept, _| kept.shown = NodeMap { quic: Some(quic), ..NodeMap::new(generation, 0) });
        maps
    }

    pub(super) fn bucket_of(node: &NodeId) -> usize {
        usize::try_from(id_hash(node) >> 58).expect("six bits")
    }

    fn kept(&self, node: &NodeId) -> Option<&Kept> {
        self.buckets[Self::bucket_of(node)].kept.get(node)
    }

    /// How many nodes something is held of.
    pub(crate) fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.kept.len()).sum()
    }

    /// The map of `node` as it may be shown: whole once, and then growing.
    pub(crate) fn get(&self, node: &NodeId) -> Option<&NodeMap> {
        self.kept(node).map(|kept| &kept.shown).filter(|map| map.generation > Generation::default())
    }

    /// The highest generation whose words were heard of `node`.
    pub(crate) fn generation(&self, node: &NodeId) -> Option<Generation> {
        self.kept(node).map(|kept| kept.newest().generation)
    }

    /// The most votes that `node` said were on its disk in a generation below this one, and that generation.
    pub(crate) fn votes_before(&self, node: &NodeId, generation: Generation) -> Option<(Generation, u64)> {
        let shown = self.get(node).and_then(|map| Some((map.generation, map.votes()?)));
        let said = shown.into_iter().chain(self.votes.get(node).copied());
        said.filter(|(said_under, _)| *said_under < generation).max_by_key(|(_, votes)| *votes)
    }

    /// Where `node` said that it answers calls.
    pub(crate) fn quic(&self, node: &NodeId) -> Option<(Generation, SocketAddr)> {
        let map = self.kept(node)?.newest();
        map.quic.map(|quic| (map.generation, quic))
    }

    /// One number for what is held of all nodes.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    pub(crate) fn marks(&self) -> impl Iterator<Item = NodeMark> {
        self.buckets.iter().flat_map(|bucket| &bucket.kept).map(|(node, kept)| kept.newest().mark(*node))
    }

    /// How much of `node`'s map is held here. Of a node that was forgotten nothing is, and nothing is wanted but what it says above that.
    pub(crate) fn mark_of(&self, node: NodeId) -> NodeMark {
        let nothing = NodeMark { generation: self.least(&node), ..NodeMark::nothing(node) };
        self.kept(&node).map_or(nothing, |kept| kept.newest().mark(node))
    }

    /// The lowest generation of which words are taken.
    fn least(&self, node: &NodeId) -> Generation {
        self.forgotten.get(node).map_or(Generation::default(), |forgotten| forgotten.next())
    }

    /// Forgets what a node said up to a generation.
    pub(crate) fn forget(&mut self, node: NodeId, generation: Generation) {
        let forgotten = self.forgotten.entry(node).or_default();
        *forgotten = generation.max(*forgotten);
        if self.generation(&node).is_some_and(|held| held <= generation) {
            self.with_kept(node, |kept, _| *kept = Kept::default());
        }
        if self.votes.get(&node).is_some_and(|(said_under, _)| *said_under <= generation) {
            self.votes.remove(&node);
        }
    }

    /// One word of a node, a deleted one too, as a rumour.
    pub(crate) fn word(&self, node: NodeId, key: &str) -> Option<RumourWord> {
        let map = self.get(&node)?;
        let word = map.words.get(key)?;
        let word = WireWord { key: key.to_owned(), seq: word.seq, value: word.value.clone() };
        Some(RumourWord { node, generation: map.generation, word })
    }

    /// What that word takes on the wire, in bytes.
    pub(crate) fn word_size(&self, node: NodeId, key: &str) -> Option<usize> {
        let word = self.get(&node)?.words.get(key)?;
        Some(WireWord::size_of(key, word.value.as_deref()))
    }

    /// Says a word of this node. The word's seq, or None if that was its value already.
    pub(crate) fn say(&mut self, key: &str, value: Option<Bytes>) -> Result<Option<WireWord>, StateError> {
        self.with_own(|own, space| {
            if own.get(key) == value.as_ref() {
                return Ok(None);
            }
            let seq = own.whole_to + 1;
            own.set(space.common, key, seq, value.clone(), own.bytes_max(space.room))?;
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
        self.with_own(|own, space| {
            let old = std::mem::replace(own, NodeMap { quic: own.quic, ..NodeMap::new(generation, 0) });
            for (key, word) in old.words.into_iter().filter(|(_, word)| word.value.is_some()) {
                let seq = own.whole_to + 1;
                own.set(space.common, &key, seq, word.value, NODE_BYTES_MAX).expect("what fitted under the old generation fits under the new one");
                own.whole_to = seq;
            }
        });
    }

    fn with_own<T>(&mut self, change: impl FnOnce(&mut NodeMap, Space<'_>) -> T) -> T {
        self.with_kept(self.me, |kept, space| change(&mut kept.shown, space))
    }

    /// Runs `change` on what is kept of `node`, and keeps the sums in step.
    fn with_kept<T>(&mut self, node: NodeId, change: impl FnOnce(&mut Kept, Space<'_>) -> T) -> T {
        let bucket = &mut self.buckets[Self::bucket_of(&node)];
        let kept = bucket.kept.entry(node).or_default();
        let (roster, sum) = kept.newest().mark(node).worth();
        let bytes = kept.bytes();
        let result = change(kept, Space { room: BYTES_MAX.saturating_sub(self.bytes), common: &mut self.common });
        let mark = kept.newest().mark(node);
        let (roster_now, sum_now) = mark.worth();
        self.bytes = self.bytes - bytes + kept.bytes();
        bucket.roster = bucket.roster.wrapping_sub(roster).wrapping_add(roster_now);
        bucket.sum = bucket.sum.wrapping_sub(sum).wrapping_add(sum_now);
        self.root = self.root.wrapping_sub(sum).wrapping_add(sum_now);
        if mark.generation == Generation::default() {
            bucket.kept.remove(&node);
        }
        result
    }

    /// The deltas that bring a holder of `mark` up to what is held here, each about `bytes` long, in the order in which they must be taken.
    pub(crate) fn deltas(&self, mark: &NodeMark, bytes: usize) -> Vec<Delta<'_>> {
        let Some(map) = self.kept(&mark.node).map(Kept::newest) else { return Vec::new() };
        let held = map.mark(mark.node);
        if held.order() <= mark.order() {
            return Vec::new();
        }
        let same = map.generation == mark.generation;
        let mut after = if same && mark.whole_to >= map.floor { mark.whole_to } else { 0 };
        let delta = |after| Delta {
            node: mark.node,
            generation: map.generation,
            quic: map.quic,
            after,
            upto: map.whole_to,
            target: map.snapshot_to.max(map.whole_to),
            floor: map.floor,
            words: Vec::new(),
        };
        let mut deltas = Vec::new();
        let mut last = delta(after);
        let mut size = 0;
        for (seq, key) in map.by_seq.range(after + 1..) {
            let Some(word) = map.words.get(key) else { continue };
            let word = Said { seq: *seq, key, value: word.value.as_deref() };
            let word_size = word.key.len() + word.value.map_or(0, <[u8]>::len) + 24;
            if !last.words.is_empty() && size + word_size > bytes {
                last.upto = after.min(map.whole_to);
                deltas.push(std::mem::replace(&mut last, delta(after.min(map.whole_to))));
                size = 0;
            }
            after = *seq;
            size += word_size;
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
            None => Some(NodeMark::nothing(held.node)),
        })
    }

    /// The marks of this node for those of `marks` that are ahead of it; never for this node's own map.
    pub(crate) fn wanted(&self, marks: &[NodeMark]) -> Vec<NodeMark> {
        let ahead = |mark: &&NodeMark| mark.node != self.me && self.mark_of(mark.node).order() < mark.order();
        marks.iter().filter(ahead).map(|mark| self.mark_of(mark.node)).collect()
    }

    /// Refuses what no node says, and a stranger where there is no room.
    fn check(&self, node: &NodeId, generation: Generation, seq: u64) -> Result<(), StateError> {
        let held = self.generation(node);
        if seq > SEQ_MAX || !generation.can_follow(held.max(self.generation(&self.me)).unwrap_or_default()) {
            return Err(StateError::Damaged);
        }
        if held.is_none() && self.len() >= MEMBERS_MAX {
            return Err(StateError::Full { entries_max: MEMBERS_MAX });
        }
        Ok(())
    }

    /// Whether this is said in this node's name, and not by it: more than it said in its generation, or in a later one.
    pub(crate) fn is_forged(&self, node: NodeId, generation: Generation, seq: u64) -> bool {
        let said = NodeMark { node, generation, whole_to: seq };
        node == self.me && said.order() > self.mark_of(self.me).order() && generation.can_follow(self.mark_of(self.me).generation)
    }

    /// Whether this word of this node is another than it said.
    pub(crate) fn is_forged_word(&self, node: NodeId, generation: Generation, word: &WireWord) -> bool {
        if node != self.me {
            return false;
        }
        let own = self.get(&self.me).filter(|own| own.generation == generation);
        let held = own.and_then(|own| own.words.get(&*word.key));
        self.is_forged(node, generation, word.seq) || held.is_some_and(|held| held.seq == word.seq && held.value != word.value)
    }

    /// All nodes of which something is held.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.buckets.iter().flat_map(|bucket| bucket.kept.keys())
    }

    /// Lets go of the map of a node that nobody here knows, and takes it no more.
    pub(crate) fn refuse(&mut self, node: NodeId) {
        if node != self.me {
            self.with_kept(node, |kept, _| *kept = Kept::default());
            self.votes.remove(&node);
            self.refused.insert(node);
            if self.refused.len() > REFUSED_MAX {
                self.refused.pop_first();
            }
        }
    }

    /// A node has become known.
    pub(crate) fn admit(&mut self, node: &NodeId) {
        self.refused.remove(node);
    }

    /// Takes a delta of another node's map.
    ///
    /// Errors: a word over its limit, or no room; the words before it are kept, and the map is not called whole.
    pub(crate) fn apply(&mut self, delta: &Delta<'_>) -> Result<Heard, StateError> {
        let is_old = delta.generation == Generation::default() || delta.generation < self.least(&delta.node);
        if delta.node == self.me || is_old || self.refused.contains(&delta.node) {
            return Ok(Heard::default());
        }
        let last = delta.words.last().map_or(0, |word| word.seq);
        self.check(&delta.node, delta.generation, delta.upto.max(delta.floor).max(last))?;
        let before = self.votes_before(&delta.node, delta.generation);
        let result = self.take(delta);
        // What an earlier generation said of its disk is kept beside the map that takes its place.
        if let Some(before) = before.filter(|_| self.get(&delta.node).is_some_and(|shown| shown.generation == delta.generation)) {
            self.votes.insert(delta.node, before);
        }
        result
    }

    fn take(&mut self, delta: &Delta<'_>) -> Result<Heard, StateError> {
        self.with_kept(delta.node, |kept, space| {
            let newest = kept.newest();
            if delta.generation < newest.generation {
                return Ok(Heard::default());
            }
            let behind_floor = delta.after == 0 && newest.whole_to > 0 && newest.whole_to < delta.floor;
            if delta.generation > newest.generation || behind_floor {
                if delta.after > 0 {
                    return Ok(Heard { gap: true, ..Heard::default() });
                }
                if behind_floor {
                    marks::reached("who was behind a floor took the whole map");
                }
                kept.coming = Some(Box::new(NodeMap::new(delta.generation, delta.target)));
            }
            let map = kept.coming.as_deref_mut().unwrap_or(&mut kept.shown);
            if delta.after > map.whole_to {
                return Ok(Heard { gap: true, ..Heard::default() });
            }
            let changed = map.take(delta, space)?;
            let Some(coming) = kept.coming.take() else { return Ok(Heard { changed, gap: false }) };
            if coming.is_whole() {
                let old = std::mem::replace(&mut kept.shown, *coming);
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
        if node == self.me || generation < newest.max(self.least(&node)) || self.refused.contains(&node) {
            return Ok(None);
        }
        let is_known = |map: &NodeMap| word.seq <= map.whole_to || map.words.get(&*word.key).is_some_and(|held| held.seq >= word.seq);
        // Most rumours come to a node several times: what is known is not looked at further.
        if self.kept(&node).is_some_and(|kept| kept.coming.is_none() && kept.shown.generation == generation && is_known(&kept.shown)) {
            return Ok(None);
        }
        self.check(&node, generation, word.seq)?;
        if generation > newest || self.kept(&node).is_some_and(|kept| kept.coming.is_some()) {
            return Ok(Some(Heard { gap: true, ..Heard::default() }));
        }
        self.with_kept(node, |kept, space| {
            let map = &mut kept.shown;
            if word.seq > map.whole_to + 1 {
                marks::reached("a rumoured word came before the words ahead of it");
            }
            let changed = map.set(space.common, &word.key, word.seq, word.value, map.bytes_max(space.room))?;
            map.close_gaps();
            Ok(Some(Heard { changed: if changed { vec![word.key] } else { Vec::new() }, gap: false }))
        })
    }
}

impl NodeMap {
    /// To what size it may grow, where there is room for so many bytes more.
    fn bytes_max(&self, room: usize) -> usize {
        NODE_BYTES_MAX.min(self.bytes + room)
    }

    /// Takes a delta's words; the keys whose value has changed.
    fn take(&mut self, delta: &Delta<'_>, space: Space<'_>) -> Result<Vec<String>, StateError> {
        let Space { room, common } = space;
        let bytes_max = self.bytes_max(room);
        let mut changed = Vec::new();
        for word in &delta.words {
            let is_news = self.words.get(word.key).is_none_or(|held| held.seq < word.seq);
            if !is_news {
                continue;
            }
            let value = word.value.map(|value| common.value(word.key, value));
            if self.set(common, word.key, word.seq, value, bytes_max)? {
                changed.push(word.key.to_owned());
            }
        }
        self.quic = delta.quic.or(self.quic);
        self.whole_to = self.whole_to.max(delta.upto);
        self.close_gaps();
        // An honest floor is below what its map is whole to; a map that is still coming gets there.
        self.raise_floor(delta.floor.min(self.whole_to));
        Ok(changed)
    }
}

/// The keys that read differently in `new`.
fn differing(old: &NodeMap, new: &NodeMap) -> Vec<String> {
    let gone = old.iter("").filter(|(key, _)| new.get(key).is_none()).map(|(key, _)| key.to_owned());
    let said = new.iter("").filter(|(key, value)| old.get(key) != Some(value)).map(|(key, _)| key.to_owned());
    gone.chain(said).collect()
}
