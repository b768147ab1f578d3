//! How far a source has been acknowledged: a join, not a register (DESIGN §5.4).
//!
//! Two owners at once both hold true facts, so the merge loses neither: split brain costs duplicates, never loss.

use std::{collections::BTreeMap, fmt};

use logvine_gossip::Stamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{canary::planted, name::Name};

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
///
/// In order of time: of two names that owners gave to one file, neither knowing of the other's, the later owner's is the later. The earlier one was never
/// held, so nothing was sent under it, and a copy of it that turns up again must not come before the other. Records' ids are not made of `named`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileKey {
    pub lineage: u32,
    /// The counter of the epoch whose owner came upon it and named it; zero for a file that only its own node reads.
    #[serde(default)]
    pub named: u64,
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

impl Position {
    /// Before the first byte.
    pub fn start() -> Self {
        Self { offset: 0, marker: hash64(b"") }
    }
}

/// How far a source has been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The stamp of the rewind that it counts from; zero: it was never rewound.
    pub rewind: Stamp,
    /// Somebody had read it, and no copy of how far was found. Whoever has it does not read it, until a copy is found or it is rewound (DESIGN §5.3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// By file, the later ones last; for each sender, all before the position is acknowledged.
    pub files: BTreeMap<FileKey, BTreeMap<Name, Position>>,
}

impl Checkpoint {
    /// Files kept per source. An owner reads one file of a source at a time, so older ones are finished; a few are kept for the rest of a rotated one.
    pub const FILES_MAX: usize = 8;

    /// Joins `other` into this: the later rewind, then by file and sender the greater position. Commutative, associative, idempotent.
    pub fn merge(&mut self, other: &Self) {
        if other.rewind > self.rewind && !planted("rewind-outranked") {
            *self = other.clone();
        } else if other.rewind == self.rewind || planted("rewind-outranked") {
            self.rewind = self.rewind.max(other.rewind);
            self.lost |= other.lost;
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

    /// The same source set back to the beginning of the file that it is at, by the rewind of this stamp. The file keeps its name and lineage, so that what is
    /// read of it again has the ids that it had; files before it are not at the source any more.
    #[must_use]
    pub fn rewound(&self, rewind: Stamp) -> Self {
        let present = self.files.last_key_value();
        let begin = |positions: &BTreeMap<Name, Position>| positions.keys().map(|sender| (sender.clone(), Position::start())).collect();
        Self { rewind, lost: false, files: present.map(|(file, positions)| (*file, begin(positions))).into_iter().collect() }
    }

    /// What a rewind would have read again: how far it is in the file that it is at, by the furthest sender.
    pub fn bytes_again(&self) -> u64 {
        let furthest = |positions: &BTreeMap<Name, Position>| positions.values().map(|position| position.offset).max();
        self.files.last_key_value().and_then(|(_, positions)| furthest(positions)).unwrap_or(0)
    }

    /// Whether nobody knows how far it was read, though somebody had read it.
    pub fn is_lost(&self) -> bool {
        self.lost && self.files.is_empty()
    }

    /// Whether it says how far a source was read.
    pub fn is_copy(&self) -> bool {
        !self.files.is_empty() || self.rewind > Stamp::ZERO
    }

    /// How far it is in all its files together, by the furthest sender: what grows by what is read.
    pub fn bytes(&self) -> u64 {
        let furthest = |positions: &BTreeMap<Name, Position>| positions.values().map(|position| position.offset).max().unwrap_or(0);
        self.files.values().map(furthest).fold(0, u64::saturating_add)
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

/// The ids of a file's records, the same whoever reads it: hash(runner uid, source, the file's name, lineage, position).
#[derive(Debug, Clone)]
pub struct RecordIds {
    /// Of all but the position: a busy file has a million records.
    begun: Sha256,
}

impl RecordIds {
    pub fn new(uid: Stamp, source: &str, file: &FileKey) -> Self {
        let mut begun = Sha256::new();
        begun.update(uid.0.to_be_bytes());
        begun.update(u64::try_from(source.len()).expect("usize fits").to_be_bytes());
        begun.update(source.as_bytes());
        begun.update(file.name.head_hash.to_be_bytes());
        begun.update(file.name.head_bytes.to_be_bytes());
        begun.update(file.lineage.to_be_bytes());
        Self { begun }
    }

    /// The id of the record that begins at `offset`.
    pub fn at(&self, offset: u64) -> [u8; 16] {
        let mut hash = self.begun.clone();
        hash.update(offset.to_be_bytes());
        hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes")
    }
}

/// The id of one record; see [`RecordIds`].
pub fn record_id(uid: Stamp, source: &str, file: &FileKey, offset: u64) -> [u8; 16] {
    RecordIds::new(uid, source, file).at(offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint() -> impl Strategy<Value = Checkpoint> {
        let file = (0_u32..12, 0_u64..2, 0_u64..2).prop_map(|(lineage, named, head_hash)| FileKey {
            lineage,
            named,
            name: FileName { head_hash, head_bytes: 1 },
        });
        let sender = prop::sample::select(vec!["a", "b"]).prop_map(|name| name.parse::<Name>().unwrap());
        let position = (0_u64..9).prop_map(|offset| Position { offset, marker: offset });
        let positions = prop::collection::btree_map(sender, position, 0..3);
        let files = prop::collection::btree_map(file, positions, 0..6);
        (0_u64..3, any::<bool>(), files).prop_map(|(rewind, lost, files)| Checkpoint { rewind: Stamp(rewind), lost, files })
    }

    fn joined(left: &Checkpoint, right: &Checkpoint) -> Checkpoint {
        let mut join = left.clone();
        join.merge(right);
        join
    }

    proptest! {
        /// DESIGN §5.4: a join, so that copies may meet in any order, any number of times.
        #[test]
        fn merge_is_a_join(a in checkpoint(), b in checkpoint(), c in checkpoint()) {
            prop_assert_eq!(joined(&a, &b), joined(&b, &a));
            prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
            prop_assert_eq!(joined(&a, &a), a.clone());
            prop_assert!(joined(&a, &b).covers(&a) && joined(&a, &b).covers(&b));
        }

        /// DESIGN §9 S5: merges never go back within a rewind generation and lineage.
        #[test]
        fn merge_never_goes_back(a in checkpoint(), b in checkpoint()) {
            let join = joined(&a, &b);
            for (file, positions) in a.files.iter().filter(|(file, _)| join.rewind == a.rewind && join.files.contains_key(file)) {
                for (sender, position) in positions {
                    prop_assert!(join.files[file][sender] >= *position);
                }
            }
        }
    }

    /// DESIGN §5.4: a checkpoint from before a rewind says nothing against it, however far it is; nor does the rewind that is said again.
    #[test]
    fn a_rewind_outranks_every_position_from_before_it() {
        let file = |lineage| FileKey { lineage, named: 0, name: FileName::of(b"x").unwrap() };
        let out: Name = "out".parse().unwrap();
        let at = |lineage, offset| (file(lineage), BTreeMap::from([(out.clone(), Position { offset, marker: offset })]));
        let before = Checkpoint { files: BTreeMap::from([at(0, 70), at(1, 50)]), ..Checkpoint::default() };
        let rewound = before.rewound(Stamp(9));
        assert_eq!(rewound.resume(std::slice::from_ref(&out)), Some((file(1), BTreeMap::from([(out.clone(), Position::start())]))));
        let further = Checkpoint { files: BTreeMap::from([at(1, 90), at(2, 10)]), ..before.clone() };
        assert_eq!(joined(&rewound, &further), rewound);
        let read = Checkpoint { files: BTreeMap::from([at(1, 20)]), ..rewound.clone() };
        assert_eq!(joined(&joined(&further, &read), &further.rewound(Stamp(9))).files.get(&file(1)), read.files.get(&file(1)));
    }

    #[test]
    #[cfg(feature = "canary")]
    fn canaries_are_seen() {
        crate::canary::turns_red("rewind-outranked", a_rewind_outranks_every_position_from_before_it);
    }

    /// An owner named the file when it was short and died before anybody else knew; the next one found it longer and named it otherwise. The first one's own
    /// copy says nothing against the second, whichever hash is the greater.
    #[test]
    fn of_two_names_of_a_file_the_later_owners_counts() {
        let out: Name = "out".parse().unwrap();
        for (short, long) in [(b"a\n".as_slice(), b"a\nb\n".as_slice()), (b"b\n", b"b\nd\n"), (b"c\n", b"c\nc\n"), (b"d\n", b"d\na\n")] {
            let at = |named, head, offset| {
                let file = FileKey { lineage: 0, named, name: FileName::of(head).unwrap() };
                let files = BTreeMap::from([(file, BTreeMap::from([(out.clone(), Position { offset, marker: offset })]))]);
                Checkpoint { files, ..Checkpoint::default() }
            };
            let (first, second) = (at(1, short, 0), at(2, long, 900));
            assert_eq!(joined(&first, &second).resume(std::slice::from_ref(&out)), second.resume(std::slice::from_ref(&out)));
        }
    }

    /// A copy that turns up ends the search; so does a rewind. Nothing else makes an owner read on.
    #[test]
    fn what_is_lost_stays_so_until_a_copy_or_a_rewind() {
        let lost = Checkpoint { lost: true, ..Checkpoint::default() };
        let file = FileKey { lineage: 0, named: 0, name: FileName::of(b"x").unwrap() };
        let copy = Checkpoint { files: BTreeMap::from([(file, BTreeMap::new())]), ..Checkpoint::default() };
        assert!(joined(&lost, &Checkpoint::default()).is_lost() && joined(&Checkpoint::default(), &lost).is_lost());
        assert!(!joined(&lost, &copy).is_lost());
        assert!(!joined(&lost.rewound(Stamp(1)), &lost).is_lost());
    }

    /// DESIGN §5.4: a new sender begins where the slowest of the others is.
    #[test]
    fn a_new_sender_begins_at_the_least_of_the_others() {
        let file = FileKey { lineage: 1, named: 0, name: FileName::of(b"x").unwrap() };
        let at = |offset| Position { offset, marker: offset };
        let (a, b, c): (Name, Name, Name) = ("a".parse().unwrap(), "b".parse().unwrap(), "c".parse().unwrap());
        let positions = BTreeMap::from([(a.clone(), at(10)), (b.clone(), at(4))]);
        let checkpoint = Checkpoint { files: BTreeMap::from([(file, positions)]), ..Checkpoint::default() };
        let (_, each) = checkpoint.resume(&[a.clone(), b, c.clone()]).unwrap();
        assert_eq!((each[&a].offset, each[&c].offset), (10, 4));
        // A sender that the spec no longer names does not hold the others back.
        assert_eq!(checkpoint.resume(std::slice::from_ref(&a)).unwrap().1[&a].offset, 10);
    }

    /// Golden: the id that sinks know a record by must be the same in every release.
    #[test]
    fn record_ids_are_for_ever() {
        let file = FileKey { lineage: 2, named: 0, name: FileName::of(b"127.0.0.1 - - first line\n").unwrap() };
        assert_eq!(file.name.to_string(), expect_name());
        let id = record_id(Stamp(77), "web-001", &file, 4096);
        expect_test::expect!["7aacb0fb05db5912737554a9160ed295"].assert_eq(&hex::encode(id));
    }

    fn expect_name() -> String {
        format!("{:016x}.25", hash64(b"127.0.0.1 - - first line\n"))
    }
}
