//! How two nodes find out where their node maps differ, and how the difference travels: packed, as 1,024 maps are compared every second.
//!
//! ```text
//! roots differ ──► tops (a sum per bucket) ──► seqs of the buckets that differ ──► news (deltas) and asks ──► news
//!                                              └─ rosters differ: names ──────────► news and asks ──────────► news
//! ```
//! Where two nodes know the same nodes in the same generations (a bucket's *roster*), a map is its place in it, and its mark is one number: 1 to 3
//! bytes instead of 45. Where they do not, the bucket's marks go with their names. A bucket's roster stands before all places that rest on it, so that
//! a roster that has changed on the way is noticed and nothing is taken for another node's.

use super::{
    Delta, NodeMark, Said,
    maps::{BUCKETS, Bucket, NodeMaps},
};
use crate::{
    Generation, NodeId, StateError,
    pack::{Unpack, number_len, put_bytes, put_number},
};

/// A cluster of at most so many nodes names all its seqs at once (1 KB) and saves a step.
const SMALL: usize = 128;
/// A bucket's sum in `tops` is cut to so many bytes: that two differ alike happens once in four billion times, and only till the next change.
const TOP_BYTES: usize = 4;

/// Where a node stands among those of its bucket, by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bucket: usize,
    pub(super) position: usize,
}

/// How much of a node's map somebody holds; with its place, where both have the same roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) place: Option<Place>,
    pub(crate) mark: NodeMark,
}

/// What came of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// What the other holds of nodes of which more is held here.
    pub(crate) behind: Vec<Held>,
    /// What is held here of nodes of which the other holds more; never of this node itself.
    pub(crate) ahead: Vec<Held>,
    /// Buckets whose rosters differ.
    pub(crate) unlike: Vec<usize>,
    /// Somebody holds more of this node's own map than it ever said, or of a later generation: that one.
    pub(crate) own_generation: Option<Generation>,
}

/// What a packed list is made of: a bucket with its roster, or something about a node, by place or by name.
const BUCKET: u64 = 0;
const PLACED: u64 = 1;
const NAMED: u64 = 2;
/// A delta has a floor.
const FLOOR: u64 = 4;

/// Appends to a packed list. The bucket is said where it is another than before.
struct Lister<'a> {
    maps: &'a NodeMaps,
    bucket: Option<usize>,
    out: Vec<u8>,
}

impl<'a> Lister<'a> {
    fn new(maps: &'a NodeMaps) -> Self {
        Self { maps, bucket: None, out: Vec::new() }
    }

    fn put_node(&mut self, place: Option<Place>, mark: &NodeMark, flags: u64) {
        let Some(place) = place else {
            put_number(&mut self.out, NAMED | flags);
            put_name(&mut self.out, mark);
            return;
        };
        if self.bucket != Some(place.bucket) {
            self.bucket = Some(place.bucket);
            put_number(&mut self.out, BUCKET | (place.bucket as u64) << 3);
            self.out.extend_from_slice(&self.maps.buckets[place.bucket].roster.to_be_bytes());
        }
        put_number(&mut self.out, PLACED | flags | (place.position as u64) << 3);
    }
}

fn put_name(out: &mut Vec<u8>, mark: &NodeMark) {
    out.extend_from_slice(&mark.node.0);
    put_number(out, mark.generation.0);
}

fn take_name(from: &mut Unpack<'_>) -> Result<(NodeId, Generation), StateError> {
    let node = NodeId(from.array()?);
    Ok((node, Generation(from.number()?)))
}

/// A node in a packed list.
struct Item {
    /// None where a place means nothing here.
    node: Option<(NodeId, Generation)>,
    head: u64,
}

/// Reads a packed list.
struct Listed<'m, 'b> {
    maps: &'m NodeMaps,
    /// The bucket in which places are looked up now; none where the rosters differ.
    bucket: Option<&'m Bucket>,
    bytes: Unpack<'b>,
}

impl<'m, 'b> Listed<'m, 'b> {
    fn new(maps: &'m NodeMaps, bytes: &'b [u8]) -> Self {
        Self { maps, bucket: None, bytes: Unpack(bytes) }
    }

    /// The next node; what is said of it comes after. None at the end.
    fn next(&mut self) -> Result<Option<Item>, StateError> {
        while !self.bytes.is_empty() {
            let head = self.bytes.number()?;
            let position = usize::try_from(head >> 3).map_err(|_| StateError::Damaged)?;
            match head & 3 {
                BUCKET => {
                    let bucket = self.maps.buckets.get(position).ok_or(StateError::Damaged)?;
                    let roster = u64::from_be_bytes(self.bytes.array()?);
                    self.bucket = Some(bucket).filter(|bucket| bucket.roster == roster);
                }
                PLACED => {
                    let kept = self.bucket.and_then(|bucket| bucket.kept.iter().nth(position));
                    return Ok(Some(Item { node: kept.map(|(node, kept)| (*node, kept.newest().generation)), head }));
                }
                NAMED => return Ok(Some(Item { node: Some(take_name(&mut self.bytes)?), head })),
                _ => return Err(StateError::Damaged),
            }
        }
        Ok(None)
    }
}

impl NodeMaps {
    /// What answers a root that differs: in a small cluster all seqs, else the buckets' sums. The other list is empty.
    pub(crate) fn digest(&self) -> (Vec<u8>, Vec<u8>) {
        if self.len() > SMALL {
            let tops = self.buckets.iter().flat_map(|bucket| bucket.sum.to_be_bytes().into_iter().take(TOP_BYTES)).collect();
            return (tops, Vec::new());
        }
        let all = (0..BUCKETS).filter(|bucket| !self.buckets[*bucket].kept.is_empty());
        (Vec::new(), self.seqs(true, all))
    }

    /// The seqs of the buckets whose sums differ.
    pub(crate) fn differing(&self, tops: &[u8]) -> Result<Vec<u8>, StateError> {
        if tops.len() != BUCKETS * TOP_BYTES {
            return Err(StateError::Damaged);
        }
        let differ = |bucket: &usize| self.buckets[*bucket].sum.to_be_bytes()[..TOP_BYTES] != tops[bucket * TOP_BYTES..(bucket + 1) * TOP_BYTES];
        Ok(self.seqs(false, (0..BUCKETS).filter(differ)))
    }

    /// Packs `buckets`: each with its roster and how much is held of each node in it. `all`: nothing is held in others.
    fn seqs(&self, all: bool, buckets: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut out = vec![u8::from(all)];
        for index in buckets {
            let bucket = &self.buckets[index];
            put_number(&mut out, index as u64);
            out.extend_from_slice(&bucket.roster.to_be_bytes());
            put_number(&mut out, bucket.kept.len() as u64);
            for kept in bucket.kept.values() {
                put_number(&mut out, kept.newest().whole_to);
            }
        }
        out
    }

    /// Compares with another's seqs.
    pub(crate) fn compare_seqs(&self, seqs: &[u8]) -> Result<Compared, StateError> {
        let mut bytes = Unpack(seqs);
        let [all] = bytes.array()?;
        let mut unnamed: Vec<bool> = vec![all == 1; BUCKETS];
        let mut compared = Compared::default();
        while !bytes.is_empty() {
            let index = bytes.count()?;
            let bucket = self.buckets.get(index).ok_or(StateError::Damaged)?;
            let roster = u64::from_be_bytes(bytes.array()?);
            let count = bytes.count()?;
            unnamed[index] = false;
            let alike = roster == bucket.roster && count == bucket.kept.len();
            if !alike {
                compared.unlike.push(index);
                for _ in 0..count {
                    bytes.number()?;
                }
                continue;
            }
            for (position, (node, kept)) in bucket.kept.iter().enumerate() {
                let held = kept.newest().mark(*node);
                let theirs = NodeMark { whole_to: bytes.number()?, ..held };
                self.compare(&mut compared, Some(Place { bucket: index, position }), &held, &theirs);
            }
        }
        for bucket in (0..BUCKETS).filter(|bucket| unnamed[*bucket]) {
            let unheard = self.buckets[bucket].kept.keys().map(|node| Held { place: None, mark: NodeMark::nothing(*node) });
            compared.behind.extend(unheard);
        }
        Ok(compared)
    }

    fn compare(&self, compared: &mut Compared, place: Option<Place>, held: &NodeMark, theirs: &NodeMark) {
        if held.order() > theirs.order() {
            compared.behind.push(Held { place, mark: *theirs });
        } else if held.node == self.me {
            if self.is_forged(theirs.node, theirs.generation, theirs.whole_to) {
                compared.own_generation = compared.own_generation.max(Some(theirs.generation));
            }
        } else if held.order() < theirs.order() {
            compared.ahead.push(Held { place, mark: *held });
        }
    }

    /// Packs the marks of `buckets` with their names.
    pub(crate) fn names(&self, buckets: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for index in buckets {
            let bucket = &self.buckets[*index];
            put_number(&mut out, *index as u64);
            put_number(&mut out, bucket.kept.len() as u64);
            for (node, kept) in &bucket.kept {
                let mark = kept.newest().mark(*node);
                put_name(&mut out, &mark);
                put_number(&mut out, mark.whole_to);
            }
        }
        out
    }

    /// Compares with another's named marks.
    pub(crate) fn compare_names(&self, names: &[u8]) -> Result<Compared, StateError> {
        let mut bytes = Unpack(names);
        let mut compared = Compared::default();
        while !bytes.is_empty() {
            let index = bytes.count()?;
            let bucket = self.buckets.get(index).ok_or(StateError::Damaged)?;
            let mut unnamed: std::collections::BTreeSet<NodeId> = bucket.kept.keys().copied().collect();
            for _ in 0..bytes.count()? {
                let (node, generation) = take_name(&mut bytes)?;
                let theirs = NodeMark { node, generation, whole_to: bytes.number()? };
                unnamed.remove(&node);
                if Self::bucket_of(&node) == index {
                    self.compare(&mut compared, None, &self.mark_of(node), &theirs);
                }
            }
            compared.behind.extend(unnamed.into_iter().map(|node| Held { place: None, mark: NodeMark::nothing(node) }));
        }
        Ok(compared)
    }

    /// Packs what is asked for: how much is held here of nodes of which the other holds more.
    pub(crate) fn asks(&self, ahead: &[Held]) -> Vec<u8> {
        let mut list = Lister::new(self);
        for held in ahead {
            list.put_node(held.place, &held.mark, 0);
            put_number(&mut list.out, held.mark.whole_to);
        }
        list.out
    }

    /// Reads what is asked for.
    pub(crate) fn read_asks(&self, asks: &[u8]) -> Result<Vec<Held>, StateError> {
        let mut list = Listed::new(self, asks);
        let mut held = Vec::new();
        while let Some(Item { node, head }) = list.next()? {
            let whole_to = list.bytes.number()?;
            let Some((node, generation)) = node else { continue };
            let place = || Place { bucket: Self::bucket_of(&node), position: usize::try_from(head >> 3).unwrap_or_default() };
            held.push(Held { place: (head & 3 == PLACED).then(place), mark: NodeMark { node, generation, whole_to } });
        }
        Ok(held)
    }

    /// Packs deltas; those with a place where the other has the same roster.
    pub(crate) fn news<'a>(&self, deltas: impl IntoIterator<Item = (Option<Place>, &'a Delta<'a>)>) -> Vec<u8> {
        let mut list = Lister::new(self);
        for (place, delta) in deltas {
            let mark = NodeMark { node: delta.node, generation: delta.generation, whole_to: 0 };
            list.put_node(place, &mark, if delta.floor > 0 { FLOOR } else { 0 });
            put_delta(&mut list.out, delta);
        }
        list.out
    }

    /// Reads deltas, for [`NodeMaps::apply`].
    pub(crate) fn read_news<'a>(&self, news: &'a [u8]) -> Result<Vec<Delta<'a>>, StateError> {
        let mut list = Listed::new(self, news);
        let mut deltas = Vec::new();
        while let Some(Item { node, head }) = list.next()? {
            // Read even where it means nothing here: the next one stands behind it.
            let (node_id, generation) = node.unwrap_or_default();
            let delta = take_delta(&mut list.bytes, node_id, generation, head & FLOOR != 0)?;
            if node.is_some() {
                deltas.push(delta);
            }
        }
        Ok(deltas)
    }
}

/// What a delta takes in [`NodeMaps::news`], in bytes; its bucket's roster aside.
pub(crate) fn packed_size(place: Option<Place>, delta: &Delta<'_>) -> usize {
    let name = match place {
        Some(place) => number_len((place.position as u64) << 3),
        None => 1 + delta.node.0.len() + number_len(delta.generation.0),
    };
    let first = if delta.after == 0 { number_len(delta.target) + 64 } else { 0 };
    let words: usize = delta.words.iter().map(|word| word.key.len() + word.value.map_or(0, <[u8]>::len) + number_len(word.seq) + 5).sum();
    name + number_len(delta.after) + number_len(delta.upto) + number_len(delta.floor) + first + words + 4
}

/// Where a map is taken up from its beginning, it is said too where the node takes calls, and when the map may be shown.
fn put_delta(out: &mut Vec<u8>, delta: &Delta<'_>) {
    put_number(out, delta.after);
    put_number(out, delta.upto.saturating_sub(delta.after));
    if delta.floor > 0 {
        put_number(out, delta.floor);
    }
    if delta.after == 0 {
        put_number(out, delta.target);
        put_bytes(out, delta.quic.map(|quic| quic.to_string()).unwrap_or_default().as_bytes());
    }
    put_number(out, delta.words.len() as u64);
    let mut before = delta.after;
    for word in &delta.words {
        put_number(out, word.seq - before);
        before = word.seq;
        put_bytes(out, word.key.as_bytes());
        put_number(out, word.value.map_or(0, |value| value.len() as u64 + 1));
        out.extend_from_slice(word.value.unwrap_or_default());
    }
}

fn take_delta<'a>(from: &mut Unpack<'a>, node: NodeId, generation: Generation, has_floor: bool) -> Result<Delta<'a>, StateError> {
    let after = from.number()?;
    let upto = after.checked_add(from.number()?).ok_or(StateError::Damaged)?;
    let floor = if has_floor { from.number()? } else { 0 };
    let (mut target, mut quic) = (upto, None);
    if after == 0 {
        target = from.number()?;
        let text = from.text()?;
        quic = if text.is_empty() { None } else { Some(text.parse().map_err(|_| StateError::Damaged)?) };
    }
    let mut words = Vec::new();
    let mut seq = after;
    for _ in 0..from.count()? {
        seq = seq.checked_add(from.number()?).ok_or(StateError::Damaged)?;
        let key = from.text()?;
        let value = match from.count()? {
            0 => None,
            bytes => Some(from.take(bytes - 1)?),
        };
        words.push(Said { seq, key, value });
    }
    Ok(Delta { node, generation, quic, after, upto, target, floor, words })
}
