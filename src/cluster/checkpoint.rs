//! How far a source has been acknowledged: a join, not a register (DESIGN §5.4).
//!
//! Two owners at once both hold true facts, so the merge loses neither: split brain costs duplicates, never loss.

use std::{collections::BTreeMap, fmt};

use logvine_gossip::Stamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::name::Name;

/// Bytes of a file's head that its name may be made of.
pub const HEAD_BYTES_MAX: usize = 1024;
/// Bytes before an offset that its marker is made of.
pub const MARKER_BYTES_MAX: u64 = 256;

/// A file's name, the same on every node: the hash of its first `head_bytes` bytes, as many as were there when it was first read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileName {
    /// The first 8 bytes of the head's SHA-256.
    pub head_hash: u64,
    /// 1 to [`HEAD_BYTES_MAX`].
    pub head_bytes: u16,
}

impl FileName {
    /// Names a file by its head; what is past [`HEAD_BYTES_MAX`] does not count. None for an empty head, which names nothing.
    pub fn of(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(HEAD_BYTES_MAX)];
        let head_bytes = u16::try_from(head.len()).expect("HEAD_BYTES_MAX fits");
        (head_bytes > 0).then(|| Self { head_hash: hash64(head), head_bytes })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.head_hash, self.head_bytes)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first 8 bytes of SHA-256, big-endian: the marker of the bytes before an offset, and a head's hash.
pub fn hash64(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    u64::from_be_bytes(digest[..8].try_into().expect("SHA-256 has 32 bytes"))
}

/// One file of a source. `lineage` grows at each truncation or replacement that an owner sees and tells successors with equal heads apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileKey {
    pub lineage: u32,
    pub name: FileName,
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {} (lineage {})", self.name, self.lineage)
    }
}

/// A place between two records of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    /// Bytes from the file's start.
    pub offset: u64,
    /// [`hash64`] of the ≤ [`MARKER_BYTES_MAX`] bytes before `offset`: says whether a file is still the one that was read.
    pub marker: u64,
}

/// How far a source has been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The stamp of the rewind that it counts from.
    pub rewind: Stamp,
    /// By file, the later ones last; for each sender, all before the position is acknowledged.
    pub files: BTreeMap<FileKey, BTreeMap<Name, Position>>,
}

impl Checkpoint {
    /// Files kept per source. An owner reads one file of a source at a time, so older ones are finished; a few are kept for the rest of a rotated one.
    pub const FILES_MAX: usize = 8;

    /// Joins `other` into this: the later rewind, then by file and sender the greater position. Commutative, associative, idempotent.
    pub fn merge(&mut self, other: &Self) {
        if other.rewind > self.rewind {
            *self = other.clone();
        } else if other.rewind == self.rewind {
            for (file, positions) in &other.files {
                let ours = self.files.entry(*file).or_default();
                for (sender, position) in positions {
                    let at = ours.entry(sender.clone()).or_default();
                    *at = (*at).max(*position);
                }
            }
            while self.files.len() > Self::FILES_MAX {
                self.files.pop_first();
            }
        }
    }

    /// Whether `other` says nothing that this does not.
    pub fn covers(&self, other: &Self) -> bool {
        let mut joined = self.clone();
        joined.merge(other);
        joined == *self
    }

    /// The file to go on with, and where each of `senders` is in it; a sender without a position begins at the least of the others (DESIGN §5.4).
    pub fn resume(&self, senders: &[Name]) -> Option<(FileKey, BTreeMap<Name, Position>)> {
        let (file, positions) = self.files.last_key_value()?;
        let least = senders.iter().filter_map(|sender| positions.get(sender)).min().copied().unwrap_or_default();
        let each = senders.iter().map(|sender| (sender.clone(), positions.get(sender).copied().unwrap_or(least))).collect();
        Some((*file, each))
    }
}

/// The id of a record, the same whoever reads it: hash(runner uid, source, the file's name, lineage, position).
pub fn record_id(uid: Stamp, source: &str, file: &FileKey, offset: u64) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(uid.0.to_be_bytes());
    hash.update(u64::try_from(source.len()).expect("usize fits").to_be_bytes());
    hash.update(source.as_bytes());
    hash.update(file.name.head_hash.to_be_bytes());
    hash.update(file.name.head_bytes.to_be_bytes());
    hash.update(file.lineage.to_be_bytes());
    hash.update(offset.to_be_bytes());
    hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes")
}
