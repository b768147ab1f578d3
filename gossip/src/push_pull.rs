//! Push-pull: two nodes compare what they hold and send each other what is newer (Demers et al. 1987; DESIGN §3.2).
//!
//! ```text
//! roots ──► equal: agreed
//!     node maps differ: (tops ──►) seqs ──► news, asks ──► news  (`nodes`)
//!     catalogs differ:  (tops ──► leaves ──►) marks ──► entries, wants ──► entries
//! ```
//! Each step is a message that can be answered by itself; a lost one is a difference that the next round repairs.
//! The carrier is not known here: what fits goes in datagrams, the rest in a call.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    Catalog, Change, DATAGRAM_BYTES_MAX, Durable, Entry, FRAME_BYTES_MAX, Generation, HybridClock, NodeId, Now, Output, Stamp, StateError,
    UnixMicros,
    canary::planted,
    catalog::{FAN, Mark},
    hash::hash64,
    node_map::{Heard, NodeMap, NodeMaps, WireWord},
    wire::{Leaves, Marks, Parts, Roots},
};

mod floor;
mod nodes;

/// What is left of a datagram for state, beside the header.
pub(crate) const DATAGRAM_STATE_BYTES: usize = DATAGRAM_BYTES_MAX - 512;
/// State in one call's body; the rest of the frame is header and MessagePack's own bytes.
const CALL_STATE_BYTES: usize = FRAME_BYTES_MAX * 3 / 4;
/// Up to this much goes in datagrams, several if need be; more is cheaper in a call.
const DATAGRAMS_MAX: usize = 4;
/// A catalog of at most this many entries sends all its marks at once (8 KiB) and saves two steps.
const SMALL_CATALOG: usize = 200;
/// Most marks or wants in one message; the next round takes the rest.
const MARKS_MAX: usize = 20_000;
/// Stamps further ahead than this are set aside: one from a broken clock would win for ever.
const STAMP_AHEAD_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How many such stamps are remembered, so that each is told once.
const STAMPS_TOLD_MAX: usize = 1_024;

/// The replicated state of one node: node maps and catalog, and what became of them.
#[derive(Debug)]
pub(crate) struct Replica {
    me: NodeId,
    pub(crate) nodes: NodeMaps,
    pub(crate) catalog: Catalog,
    clock: HybridClock,
    ripening: floor::Ripening,
    dropped: floor::Dropped,
    told_ahead: BTreeSet<(String, Stamp)>,
    /// For the host, in order.
    pub(crate) outputs: Vec<Output>,
    /// The catalog has agreed with another node's since the start.
    pub(crate) synced: bool,
    /// There was a difference in node maps since this was last asked.
    pub(crate) differed: bool,
    /// Others speak of this node under this generation: it must be exceeded.
    pub(crate) own_generation_heard: Option<Generation>,
    /// Entries that came in answer to what was asked; their keys.
    pub(crate) pulled: Vec<String>,
    /// Where nodes said that they take calls, as it came.
    pub(crate) quics: Vec<(NodeId, Generation, SocketAddr)>,
}

impl Replica {
    pub(crate) fn new(
        wall: UnixMicros,
        me: NodeId,
        generation: Generation,
        quic: SocketAddr,
        catalog: Vec<(String, Entry)>,
        floor: Stamp,
        dropped: Vec<(String, Stamp)>,
    ) -> Self {
        let mut clock = HybridClock::default();
        let mut restored = Catalog::default();
        restored.raise_floor(floor);
        clock.observe(floor);
        for (key, entry) in catalog {
            // Written while this node's clock was ahead: it stays, but what is written from now on need not be above it.
            if entry.stamp <= horizon(wall) {
                clock.observe(entry.stamp);
            }
            // What was over a limit when it was written was never stored; a damaged row is left to the other nodes' copies.
            restored.merge(&key, entry).ok();
        }
        Self {
            me,
            nodes: NodeMaps::new(me, generation, quic),
            catalog: restored,
            clock,
            ripening: floor::Ripening::default(),
            dropped: floor::Dropped::restored(dropped, floor),
            told_ahead: BTreeSet::new(),
            outputs: Vec::new(),
            synced: false,
            differed: false,
            own_generation_heard: None,
            pulled: Vec::new(),
            quics: Vec::new(),
        }
    }

    /// Says a word of this node. The word, if it is one.
    pub(crate) fn say(&mut self, key: &str, value: Option<Bytes>) -> Result<bool, StateError> {
        let said = self.nodes.say(key, value)?.is_some();
        if said {
            self.outputs.push(Output::Changed(Change::Said { node: self.me, key: key.to_owned() }));
        }
        Ok(said)
    }

    /// Writes an entry of this node's own.
    pub(crate) fn write(&mut self, wall: UnixMicros, key: &str, value: Option<Bytes>) -> Result<Stamp, StateError> {
        let replaced = self.catalog.held(key).map_or(Stamp::ZERO, |held| held.stamp);
        let stamp = self.clock.tick(wall).max(replaced.next());
        let entry = Entry { stamp, origin: self.me, value };
        self.catalog.merge(key, entry.clone())?;
        self.stored(key, entry);
        Ok(stamp)
    }

    /// A stamp above all that this node has seen.
    pub(crate) fn stamp(&mut self, wall: UnixMicros) -> Stamp {
        self.clock.tick(wall)
    }

    /// Stamps below this one may have been given by this node. What its disk has forgotten, another life gave in other strides.
    pub(crate) fn begin_stamps(&mut self, wall: UnixMicros, given: Stamp, seed: u64) {
        // As with entries: what a clock gave that was days ahead is not the measure of all that follows.
        if given <= horizon(wall) {
            self.clock.observe(given);
        }
        if !planted("stamp-not-kept") {
            self.clock.stride_by(hash64(&[b"stride", &seed.to_be_bytes()]));
        }
    }

    fn stored(&mut self, key: &str, entry: Entry) {
        self.outputs.push(Output::Persist(Durable::Catalog { key: key.to_owned(), entry }));
        self.outputs.push(Output::Changed(Change::Catalog { key: key.to_owned() }));
    }

    /// Takes another's entry, from who has such a floor. True if it is news.
    pub(crate) fn merge(&mut self, wall: UnixMicros, key: &str, entry: Entry, floor: Stamp) -> Result<bool, StateError> {
        if entry.stamp > horizon(wall) && !planted("stamp-from-future") {
            let told = (key.to_owned(), entry.stamp);
            if self.told_ahead.len() < STAMPS_TOLD_MAX && self.told_ahead.insert(told) {
                self.outputs.push(Output::Changed(Change::StampAhead { key: key.to_owned(), stamp: entry.stamp, origin: entry.origin }));
            }
            return Ok(false);
        }
        if self.is_deleted(key, entry.stamp, floor) {
            return Ok(false);
        }
        let news = self.catalog.merge(key, entry.clone())?;
        self.clock.observe(entry.stamp);
        if news {
            self.stored(key, entry);
        }
        Ok(news)
    }

    fn heard(&mut self, node: NodeId, heard: &Heard) {
        for key in &heard.changed {
            self.outputs.push(Output::Changed(Change::Said { node, key: key.clone() }));
        }
    }

    /// Takes one word that came as a rumour. None: it is no news.
    pub(crate) fn hear(&mut self, node: NodeId, generation: Generation, word: WireWord) -> Result<Option<Heard>, StateError> {
        if self.nodes.is_forged_word(node, generation, &word) {
            self.rise_above(generation);
        }
        let heard = self.nodes.hear(node, generation, word)?;
        if let Some(heard) = &heard {
            self.heard(node, heard);
        }
        Ok(heard)
    }

    pub(crate) fn node_map(&self, id: &NodeId) -> Option<&NodeMap> {
        self.nodes.get(id)
    }

    /// What a comparison begins with.
    pub(crate) fn roots(&self, wall: UnixMicros, members: Option<u64>) -> Roots {
        Roots { nodes: self.nodes.root(), catalog: self.catalog.digest(), members, wall: Some(wall), quiet: self.synced }
    }

    /// Answers a peer's message: takes what it brings, and gives what it asks for, in pieces that fit a datagram or a call.
    ///
    /// Errors: an entry or word was refused; all others were taken, and the answer is lost.
    pub(crate) fn answer(&mut self, now: Now, mut parts: Parts) -> Result<Vec<Parts>, StateError> {
        let mut answers = Vec::new();
        let floor = Self::believed(now, parts.catalog_floor);
        if let Some(roots) = parts.roots {
            if roots.catalog == self.catalog.digest() {
                // The same is held on both sides: what one has forgotten, the other has not either.
                self.raise_floor(floor);
            }
            answers.push(self.answer_roots(&roots));
        }
        let words = self.answer_nodes(&mut parts, &mut answers);
        if parts.catalog_tops.len() == FAN {
            answers.push(Parts { catalog_leaves: self.differing_leaves(&parts.catalog_tops), ..Parts::default() });
        }
        if !parts.catalog_leaves.is_empty() {
            answers.push(Parts { catalog_marks: Some(self.differing_marks(&parts.catalog_leaves)), ..Parts::default() });
        }
        if let Some(marks) = parts.catalog_marks {
            self.answer_marks(&marks, floor, &mut answers);
        }
        self.give_entries(&parts.catalog_wants, &mut answers);
        let entries = self.take_entries(now, parts.catalog_entries, floor);
        words.and(entries).map(|()| answers)
    }

    fn answer_roots(&mut self, theirs: &Roots) -> Parts {
        let alike = theirs.catalog == self.catalog.digest();
        let mut answer = Parts { agreed: alike && !theirs.quiet, ..Parts::default() };
        if theirs.nodes != self.nodes.root() {
            self.differed = true;
            let (tops, seqs) = self.nodes.digest();
            (answer.node_tops, answer.node_seqs) = (tops.into(), seqs.into());
        }
        if !alike {
            if self.catalog.len() <= SMALL_CATALOG {
                let marks = (0..FAN * FAN).flat_map(|bucket| self.catalog.marks(u16::try_from(bucket).unwrap_or_default())).collect();
                answer.catalog_marks = Some(Marks { buckets: Vec::new(), marks });
            } else {
                answer.catalog_tops = self.catalog.tops();
            }
        }
        answer
    }

    fn differing_leaves(&self, tops: &[u64]) -> Vec<Leaves> {
        let own = self.catalog.tops();
        let differing = (0..FAN).filter(|top| own[*top] != tops[*top]);
        differing.map(|top| Leaves { top: u8::try_from(top).unwrap_or_default(), sums: self.catalog.leaves(top).to_vec() }).collect()
    }

    fn differing_marks(&self, theirs: &[Leaves]) -> Marks {
        let mut marks = Marks { buckets: Vec::new(), marks: Vec::new() };
        for leaves in theirs.iter().filter(|leaves| usize::from(leaves.top) < FAN && leaves.sums.len() == FAN) {
            let own = self.catalog.leaves(usize::from(leaves.top));
            for (leaf, _) in own.iter().zip(&leaves.sums).enumerate().filter(|(_, (own, theirs))| own != theirs) {
                if marks.marks.len() >= MARKS_MAX {
                    return marks;
                }
                let bucket = u16::from(leaves.top) * 64 + u16::try_from(leaf).unwrap_or_default();
                marks.buckets.push(bucket);
                marks.marks.extend(self.catalog.marks(bucket));
            }
        }
        marks
    }

    fn answer_marks(&mut self, theirs: &Marks, floor: Stamp, answers: &mut Vec<Parts>) {
        let named: BTreeMap<u64, &Mark> = theirs.marks.iter().map(|mark| (mark.key, mark)).collect();
        let buckets: BTreeSet<u16> =
            if theirs.buckets.is_empty() { (0..4096).collect() } else { theirs.buckets.iter().copied().filter(|bucket| *bucket < 4096).collect() };
        let own_floor = self.catalog.floor();
        let deleted_there = |own: &Mark| own_floor < floor && own.stamp <= floor && !named.contains_key(&own.key);
        let newer = |own: &Mark| named.get(&own.key).is_none_or(|mark| own.stamp > mark.stamp || (own.stamp == mark.stamp && own.sum != mark.sum));
        let differing = buckets.into_iter().flat_map(|bucket| self.catalog.marks(bucket)).filter(newer);
        let (dropping, giving): (Vec<Mark>, Vec<Mark>) = differing.partition(deleted_there);
        for mark in dropping {
            self.drop_deleted(mark.key, floor);
        }
        self.give_entries(&giving.iter().map(|mark| mark.key).take(MARKS_MAX).collect::<Vec<_>>(), answers);
        let older = |mark: &&Mark| {
            let mut held = self.catalog.by_hash(mark.key).peekable();
            let deleted_here = held.peek().is_none() && mark.stamp <= own_floor && floor < own_floor;
            !deleted_here && held.all(|(_, _, own)| own.stamp < mark.stamp || (own.stamp == mark.stamp && own.sum != mark.sum))
        };
        let catalog_wants: Vec<u64> = theirs.marks.iter().filter(older).map(|mark| mark.key).take(MARKS_MAX).collect();
        if !catalog_wants.is_empty() {
            answers.push(Parts { catalog_wants, ..Parts::default() });
        }
    }

    fn give_entries(&self, hashes: &[u64], answers: &mut Vec<Parts>) {
        let entries = hashes.iter().take(MARKS_MAX).flat_map(|hash| self.catalog.by_hash(*hash));
        let sized = entries.map(|(key, entry, _)| (entry_size(key, entry), (key.to_owned(), entry.clone()))).collect();
        answers.extend(packed(sized).into_iter().map(|catalog_entries| Parts { catalog_entries, ..Parts::default() }));
    }

    fn take_entries(&mut self, now: Now, entries: Vec<(String, Entry)>, floor: Stamp) -> Result<(), StateError> {
        let mut result = Ok(());
        for (key, entry) in entries {
            match self.merge(now.wall, &key, entry, floor) {
                Ok(true) => self.pulled.push(key),
                Ok(false) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }
}

/// The greatest stamp that is taken from others now.
fn horizon(wall: UnixMicros) -> Stamp {
    Stamp::from_millis(wall.as_millis().saturating_add(u64::try_from(STAMP_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX)))
}

/// About what an entry takes on the wire, in bytes.
pub(crate) fn entry_size(key: &str, entry: &Entry) -> usize {
    key.len() + entry.value.as_ref().map_or(0, Bytes::len) + 64
}

/// Packs sized items, in order: into a few datagrams if they fit, else into pieces for calls.
fn packed<T>(items: Vec<(usize, T)>) -> Vec<Vec<T>> {
    let total: usize = items.iter().map(|(size, _)| size).sum();
    let limit = if total <= DATAGRAMS_MAX * DATAGRAM_STATE_BYTES { DATAGRAM_STATE_BYTES } else { CALL_STATE_BYTES };
    let mut packs: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for (size, item) in items {
        match packs.last_mut() {
            Some(pack) if size <= room => pack.push(item),
            _ => {
                packs.push(vec![item]);
                room = limit;
            }
        }
        room = room.saturating_sub(size);
    }
    packs
}

#[cfg(test)]
mod tests;
