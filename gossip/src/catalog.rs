//! The catalog: what should be (DESIGN §3.2). Any node may write a key; the last writer wins by (stamp, origin); every node keeps all of it.
//!
//! Invariants: a merge never goes back; equal contents have equal digests, whatever the order in which they came.
//! Not here: how entries travel (`push_pull`, `rumour`), what they mean (the cluster package).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{NodeId, Stamp, StateError, canary::planted, hash::hash64};

/// Longest key, in bytes: names are short, and a key is repeated in every mark of it.
pub const KEY_BYTES_MAX: usize = 256;
/// Largest value, in bytes: a runner's specification fits, a payload does not.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most entries, tombstones included: five times the 100,000 sources that DESIGN §10 is sized for.
pub const CATALOG_ENTRIES_MAX: usize = 500_000;

/// One key's last write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written, by the writer's hybrid clock.
    pub stamp: Stamp,
    /// Who wrote it; decides between equal stamps.
    pub origin: NodeId,
    /// None: deleted (a tombstone).
    pub value: Option<Bytes>,
}

impl Entry {
    fn order(&self) -> (Stamp, NodeId) {
        (self.stamp, self.origin)
    }
}

/// What one entry is worth in a comparison: the key's hash, its stamp, and a sum over key, stamp and origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    #[serde(rename = "k")]
    pub(crate) key: u64,
    #[serde(rename = "s")]
    pub(crate) stamp: Stamp,
    #[serde(rename = "h")]
    pub(crate) sum: u64,
}

#[derive(Debug, Clone)]
struct Slot {
    entry: Entry,
    mark: Mark,
}

/// Number of buckets on each of the digest's two levels.
pub(crate) const FAN: usize = 64;

/// A leaf bucket: the first twelve bits of a key's hash.
pub(crate) type Bucket = u16;

fn bucket_of(key_hash: u64) -> Bucket {
    Bucket::try_from(key_hash >> 52).expect("twelve bits fit sixteen")
}

/// The replicated map with its two-level digest (64 × 64 buckets by key hash, each the sum of its marks).
#[derive(Debug, Clone)]
pub struct Catalog {
    slots: BTreeMap<Arc<str>, Slot>,
    by_hash: BTreeSet<(u64, Arc<str>)>,
    leaves: Vec<u64>,
    root: u64,
    tombstones: BTreeSet<(Stamp, Arc<str>)>,
    /// Whatever was written up to here is held, or was deleted.
    floor: Stamp,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            by_hash: BTreeSet::new(),
            leaves: vec![0; FAN * FAN],
            root: 0,
            tombstones: BTreeSet::new(),
            floor: Stamp::ZERO,
        }
    }
}

impl Catalog {
    /// The entry under `key`; None if there is none or it is deleted.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.held(key).filter(|entry| entry.value.is_some())
    }

    /// The entry under `key`, tombstones too.
    pub fn held(&self, key: &str) -> Option<&Entry> {
        self.slots.get(key).map(|slot| &slot.entry)
    }

    /// All entries whose key begins with `prefix`, by key; no tombstones.
    pub fn iter<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        self.slots
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter(|(_, slot)| slot.entry.value.is_some())
            .map(|(key, slot)| (&**key, &slot.entry))
    }

    /// All entries whose key begins with `prefix`, by key, tombstones too.
    pub fn held_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let range = self.slots.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        range.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, slot)| (&**key, &slot.entry))
    }

    /// One number for the whole content: equal on nodes that hold the same entries, tombstones included.
    pub fn digest(&self) -> u64 {
        self.root
    }

    /// How many entries are held, tombstones included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes `entry` if it is newer than what is held. True if it was.
    ///
    /// Errors: the key or value is over its limit, or the table is full; nothing has changed.
    pub(crate) fn merge(&mut self, key: &str, entry: Entry) -> Result<bool, StateError> {
        check_key(key)?;
        check_value(entry.value.as_ref())?;
        if let Some(held) = self.held(key) {
            if entry.order() <= held.order() {
                return Ok(false);
            }
        } else if self.slots.len() >= CATALOG_ENTRIES_MAX {
            return Err(StateError::Full { entries_max: CATALOG_ENTRIES_MAX });
        }
        let key_hash = hash64(&[key.as_bytes()]);
        let sum = hash64(&[key.as_bytes(), &entry.stamp.0.to_be_bytes(), &entry.origin.0]);
        let mark = Mark { key: key_hash, stamp: entry.stamp, sum };
        let key: Arc<str> = match self.slots.get_key_value(key) {
            Some((key, _)) => key.clone(),
            None => key.into(),
        };
        self.by_hash.insert((key_hash, key.clone()));
        if entry.value.is_none() {
            self.tombstones.insert((entry.stamp, key.clone()));
        }
        let before = self.slots.insert(key.clone(), Slot { entry, mark });
        if let Some(before) = before.as_ref().filter(|before| before.entry.value.is_none()) {
            self.tombstones.remove(&(before.entry.stamp, key));
        }
        if before.is_none() || !planted("digest-misses-changes") {
            self.add(key_hash, sum.wrapping_sub(before.map_or(0, |slot| slot.mark.sum)));
        }
        Ok(true)
    }

    fn add(&mut self, key_hash: u64, change: u64) {
        let leaf = &mut self.leaves[usize::from(bucket_of(key_hash))];
        *leaf = leaf.wrapping_add(change);
        self.root = self.root.wrapping_add(change);
    }

    /// Keeps nothing of `key`, not even that it was deleted. What was held.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let (key, Slot { entry, mark }) = self.slots.remove_entry(key)?;
        self.tombstones.remove(&(entry.stamp, key.clone()));
        self.by_hash.remove(&(mark.key, key));
        self.add(mark.key, mark.sum.wrapping_neg());
        Some(entry)
    }

    /// Whatever was written up to here is held, or was deleted and is forgotten. Zero: no deletion was forgotten yet.
    pub fn floor(&self) -> Stamp {
        self.floor
    }

    /// True if it is higher than before.
    pub(crate) fn raise_floor(&mut self, floor: Stamp) -> bool {
        let higher = floor > self.floor;
        self.floor = self.floor.max(floor);
        higher
    }

    /// The deletions up to `stamp`.
    pub(crate) fn tombstones_before(&self, stamp: Stamp) -> BTreeSet<(Stamp, Arc<str>)> {
        self.tombstones.iter().take_while(|(deleted, _)| *deleted <= stamp).cloned().collect()
    }

    /// The sums of the 64 upper buckets.
    pub(crate) fn tops(&self) -> Vec<u64> {
        self.leaves.chunks(FAN).map(|leaves| leaves.iter().fold(0, |sum: u64, leaf| sum.wrapping_add(*leaf))).collect()
    }

    /// The sums of the 64 leaves below upper bucket `top` (< 64).
    pub(crate) fn leaves(&self, top: usize) -> &[u64] {
        &self.leaves[top * FAN..(top + 1) * FAN]
    }

    /// The marks of all entries in `bucket` (< 4,096), by key hash.
    pub(crate) fn marks(&self, bucket: Bucket) -> impl Iterator<Item = Mark> {
        let first = u64::from(bucket) << 52;
        let last = first | ((1 << 52) - 1);
        self.by_hash
            .range((first, Arc::from(""))..)
            .take_while(move |(hash, _)| *hash <= last)
            .filter_map(|(_, key)| self.slots.get(key).map(|slot| slot.mark))
    }

    /// The entries whose key has this hash: one, save for a collision.
    pub(crate) fn by_hash(&self, key_hash: u64) -> impl Iterator<Item = (&str, &Entry, Mark)> {
        self.by_hash
            .range((key_hash, Arc::from(""))..)
            .take_while(move |(hash, _)| *hash == key_hash)
            .filter_map(|(_, key)| self.slots.get(key).map(|slot| (&**key, &slot.entry, slot.mark)))
    }
}

/// Whether an entry of this key and value may be written. Errors: over a limit.
pub fn check_entry(key: &str, value: Option<&Bytes>) -> Result<(), StateError> {
    check_key(key)?;
    check_value(value)
}

/// Refuses a key that is empty or too long.
pub(crate) fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StateError::Key { bytes: key.len(), bytes_max: KEY_BYTES_MAX });
    }
    Ok(())
}

/// Refuses a value that is too large.
pub(crate) fn check_value(value: Option<&Bytes>) -> Result<(), StateError> {
    match value {
        Some(value) if value.len() > VALUE_BYTES_MAX => Err(StateError::Value { bytes: value.len(), bytes_max: VALUE_BYTES_MAX }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(stamp: u64, origin: u8, value: Option<&'static str>) -> Entry {
        Entry { stamp: Stamp(stamp), origin: NodeId([origin; 16]), value: value.map(Bytes::from) }
    }

    #[test]
    fn the_last_writer_wins_and_the_origin_decides_between_equal_stamps() {
        let mut catalog = Catalog::default();
        assert!(catalog.merge("k", entry(5, 1, Some("five"))).unwrap());
        assert!(!catalog.merge("k", entry(4, 9, Some("late news"))).unwrap());
        assert!(catalog.merge("k", entry(5, 2, Some("same stamp, greater origin"))).unwrap());
        assert!(!catalog.merge("k", entry(5, 2, Some("the same write again"))).unwrap());
        assert_eq!(catalog.get("k").unwrap().value.as_ref().unwrap(), "same stamp, greater origin");
    }

    #[test]
    fn a_deleted_key_is_gone_for_readers_and_still_beats_older_writes() {
        let mut catalog = Catalog::default();
        catalog.merge("a/1", entry(1, 1, Some("x"))).unwrap();
        catalog.merge("a/1", entry(2, 1, None)).unwrap();
        assert_eq!(catalog.get("a/1"), None);
        assert_eq!(catalog.iter("a/").count(), 0);
        assert!(!catalog.merge("a/1", entry(1, 1, Some("x"))).unwrap(), "an old node's copy must not bring it back");
        assert!(catalog.held("a/1").is_some());
    }

    #[test]
    fn over_long_keys_and_values_are_refused_and_change_nothing() {
        let mut catalog = Catalog::default();
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        assert!(matches!(catalog.merge(&long, entry(1, 1, None)), Err(StateError::Key { .. })));
        let large = Entry { value: Some(Bytes::from(vec![0; VALUE_BYTES_MAX + 1])), ..entry(1, 1, None) };
        assert!(matches!(catalog.merge("k", large), Err(StateError::Value { .. })));
        assert!(catalog.is_empty());
    }

    proptest! {
        /// Equal contents, equal digests on both levels, in whatever order and however often the writes came.
        #[test]
        fn the_digest_depends_on_the_content_alone(writes in prop::collection::vec((0_u8..20, 1_u64..50, 0_u8..3), 1..60)) {
            let mut there = Catalog::default();
            let mut back = Catalog::default();
            for (key, stamp, origin) in &writes {
                there.merge(&format!("key/{key}"), entry(*stamp, *origin, Some("v"))).unwrap();
            }
            for (key, stamp, origin) in writes.iter().rev().chain(&writes) {
                back.merge(&format!("key/{key}"), entry(*stamp, *origin, Some("v"))).unwrap();
            }
            prop_assert_eq!(there.digest(), back.digest());
            prop_assert_eq!(there.tops(), back.tops());
            let marks: usize = (0..4096).map(|bucket| there.marks(bucket).count()).sum();
            prop_assert_eq!(marks, there.len());
            let root = there.tops().into_iter().fold(0, u64::wrapping_add);
            prop_assert_eq!(root, there.digest());
        }
    }
}
