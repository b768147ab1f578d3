//! Which nodes may own a source, best first: rendezvous hashing weighted by capacity (DESIGN §5.1).
//!
//! Integers only, over explicit bytes of immutable ids, so that every platform and release ranks alike. The definition is `rendezvous_hash`'s: our node
//! type implements its `Node`, our hasher its `NodeHasher` (its default hasher is not stable between Rust releases, its weights use float logarithms).

mod cache;

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use logvine_gossip::NodeId;
use rendezvous_hash::{Node, NodeHasher, RendezvousNodes};
use sha2::{Digest, Sha256};

pub use self::cache::{Rankings, TOP};
use crate::record::SourceKey;

/// What a node can bear, in quarter octaves: 4 more is twice as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Capacity(pub u8);

/// What is ranked for: a source, or anything else that has immutable bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankingKey(u64);

impl RankingKey {
    /// The key of a source: its runner's creation and its own, and its id.
    pub fn of(source: &SourceKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(source.uid.0.to_be_bytes());
        hash.update(source.created.0.to_be_bytes());
        hash.update(source.source.as_str().as_bytes());
        Self(u64::from_be_bytes(hash.finalize()[..8].try_into().expect("SHA-256 has 32 bytes")))
    }
}

impl RankingKey {
    /// A key as it would be of something else: for measures.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl Hash for RankingKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.to_be_bytes());
    }
}

/// Ranks the nodes that may own `source`, best first.
///
/// Scores each node by hash(node, source) and its capacity, so a leaving node moves only its own sources: weighted highest random weight, Thaler &
/// Ravishankar 1998; Schindelhauer & Schomaker 2005.
///
/// Shape: `min(most, nodes.len())` distinct ids, score falling, ties by hash, then id. Cost: O(n log n) time, O(n) memory.
/// Errors: none; no nodes give an empty ranking. All nodes with the same view agree.
pub fn ranking(nodes: &BTreeMap<NodeId, Capacity>, source: RankingKey, most: usize) -> Vec<NodeId> {
    let mut candidates = RendezvousNodes::new(FixedHasher);
    for (id, capacity) in nodes {
        candidates.insert(Candidate { id: RankedId(*id), capacity: *capacity });
    }
    candidates.calc_candidates(&source).take(most).map(|candidate| candidate.id.0).collect()
}

/// How many of `nodes` rank before `of`, which has `capacity`. Cost: O(n) time, no memory.
pub fn rank_of(nodes: impl IntoIterator<Item = (NodeId, Capacity)>, source: RankingKey, of: NodeId, capacity: Capacity) -> usize {
    let begun = begin(source);
    let place = |id: NodeId, capacity: Capacity| {
        let hash = join(begun, &id);
        (score(hash, capacity), hash, id)
    };
    let own = place(of, capacity);
    nodes.into_iter().filter(|(id, capacity)| place(*id, *capacity) > own).count()
}

/// The score of a node for a source, as [`ranking`] orders by it: 65,536 are one nat.
pub fn score_of(source: RankingKey, node: NodeId, capacity: Capacity) -> i32 {
    score(join(begin(source), &node), capacity)
}

/// The score of a node for a source, in 1/65,536 nat: a Gumbel variate drawn by the hash, plus the logarithm of the capacity.
///
/// The node with the greatest of such scores is each node with a probability in proportion to its capacity (the Gumbel-max form of weighted rendezvous).
fn score(hash: u64, capacity: Capacity) -> i32 {
    gumbel(hash) + i32::from(capacity.0) * LN_2 / 4
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RankedId(NodeId);

impl Hash for RankedId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.0);
    }
}

struct Candidate {
    id: RankedId,
    capacity: Capacity,
}

impl Node for Candidate {
    type NodeId = RankedId;
    type HashCode = (i32, u64);

    fn node_id(&self) -> &RankedId {
        &self.id
    }

    fn hash_code<H: NodeHasher<RankedId>, U: Hash>(&self, hasher: &H, item: &U) -> (i32, u64) {
        let hash = hasher.hash(&self.id, item);
        (score(hash, self.capacity), hash)
    }
}

/// What the hashes of all pairs with this source have in common.
fn begin(source: RankingKey) -> u64 {
    mix(SALT ^ source.0)
}

/// The hash of a pair, from what [`begin`] gave: what [`FixedHasher`] gives, without its ceremony.
#[inline]
fn join(begun: u64, node: &NodeId) -> u64 {
    let [high, low] = node.0.as_chunks::<8>().0 else { unreachable!("an id has 16 bytes") };
    mix(mix(begun ^ u64::from_be_bytes(*high)) ^ u64::from_be_bytes(*low))
}

/// "logvine1": other releases of the hash would begin otherwise.
const SALT: u64 = 0x6c6f_6776_696e_6531;

/// Version 1 of the hash that the whole cluster must share.
#[derive(Debug)]
struct FixedHasher;

impl NodeHasher<RankedId> for FixedHasher {
    fn hash<T: Hash>(&self, node: &RankedId, item: &T) -> u64 {
        let mut words = Words(SALT);
        item.hash(&mut words);
        node.hash(&mut words);
        words.finish()
    }
}

/// Takes whole big-endian 8-byte words; the types above write nothing else.
struct Words(u64);

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty(), "ranked types write whole words");
        for word in words {
            self.0 = mix(self.0 ^ u64::from_be_bytes(*word));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The finaliser of splitmix64 (Steele, Lea & Flood 2014) after an odd step, so that zero is no fixed point.
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// ln 2 in 1/65,536.
const LN_2: i32 = 45_426;

/// Cells per octave of the complement of the hash.
const CELLS: usize = 64;
/// Fraction bits of the base-2 logarithms that the table is made with.
const LOG_BITS: u32 = 32;

/// −ln(−ln u) for u = 1 − y, at y = 2^-(octave+1) · (1 + cell/64): resolution is needed where u is near 1, where the best scores are.
static GUMBEL: [[i32; CELLS + 1]; 64] = gumbel_table();

/// −ln(−ln u) for u = (hash + ½) / 2^64, in 1/65,536 nat, by the table and a straight line between its cells.
fn gumbel(hash: u64) -> i32 {
    let y = (!hash).max(1);
    let octave = y.leading_zeros() as usize;
    let mantissa = (y << octave) & (u64::MAX >> 1);
    let cell = (mantissa >> 57) as usize;
    let rest = i64::try_from((mantissa >> 41) & 0xffff).expect("16 bits");
    let (from, to) = (i64::from(GUMBEL[octave][cell]), i64::from(GUMBEL[octave][cell + 1]));
    i32::try_from(from + (((to - from) * rest) >> 16)).expect("between two cells")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // const code has no try_from; the values are small by construction
const fn gumbel_table() -> [[i32; CELLS + 1]; 64] {
    let mut table = [[0; CELLS + 1]; 64];
    let mut octave = 0;
    while octave < 64 {
        let mut cell = 0;
        while cell <= CELLS {
            // y in units of 2^-70, so that the smallest octaves keep their cells.
            let y = (64 + cell as u128) << (63 - octave);
            table[octave][cell] = gumbel_at(y) as i32;
            cell += 1;
        }
        octave += 1;
    }
    table
}

/// −ln(−ln(1 − y/2^70)) in 1/65,536 nat.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // see above
const fn gumbel_at(y: u128) -> i64 {
    const ONE: u128 = 1 << 70;
    if y < ONE >> 8 {
        // −ln(1 − y) = y (1 + y/2 + …), so its logarithm is ln y + y/2; the rest is below the last digit.
        let ln_y = nats(log2(y) - (70_i64 << LOG_BITS));
        return -ln_y - (y >> (70 - 15)) as i64;
    }
    // At y = 1 the score would be −∞: the worst one that a hash can have is at 2^-16 above.
    let u = if y >= ONE { ONE >> 16 } else { ONE - y };
    let minus_log2_u = (70_i64 << LOG_BITS) - log2(u);
    // ln(−ln u) = ln(−log2 u) + ln(ln 2); −ln(ln 2) = 0.366513 = 24,020 / 65,536.
    -nats(log2(minus_log2_u as u128) - ((LOG_BITS as i64) << LOG_BITS)) + 24_020
}

/// A base-2 logarithm with `LOG_BITS` fraction bits, in 1/65,536 nat.
#[allow(clippy::cast_possible_truncation)] // see above
pub(crate) const fn nats(log2: i64) -> i64 {
    ((log2 as i128 * LN_2 as i128) >> LOG_BITS) as i64
}

/// log2 with `LOG_BITS` fraction bits, by repeated squaring (Knuth, TAOCP 1.2.2, exercise 25 has the idea).
pub(crate) const fn log2(value: u128) -> i64 {
    let whole = 127 - value.leading_zeros() as i64;
    let mut x = if whole > 62 { value >> (whole - 62) } else { value << (62 - whole) };
    let mut log = whole;
    let mut bit = 0;
    while bit < LOG_BITS {
        x = (x * x) >> 62;
        log <<= 1;
        if x >> 63 != 0 {
            x >>= 1;
            log |= 1;
        }
        bit += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn nodes(capacities: &[u8]) -> BTreeMap<NodeId, Capacity> {
        (1..).zip(capacities).map(|(n, capacity)| (node(n), Capacity(*capacity))).collect()
    }

    /// The table against floats: within 1/1,000 nat wherever a score can matter.
    #[test]
    fn gumbel_follows_its_definition() {
        for shift in 0..48 {
            for step in [0, 1, 7, 200] {
                let y = 2_f64.powi(-shift - 1) * (1.0 + f64::from(step) / 256.0);
                if y > 0.99 {
                    continue;
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // y < 1
                let hash = !((y * 2_f64.powi(64)) as u64);
                let exact = -(-(-y).ln_1p()).ln();
                let ours = f64::from(gumbel(hash)) / 65_536.0;
                assert!((exact - ours).abs() < 1e-3, "y {y}: {exact} {ours}");
            }
        }
    }

    /// Golden owners: a release that ranks otherwise would split a mixed cluster.
    #[test]
    fn rankings_are_for_ever() {
        let nodes = nodes(&[16, 16, 16, 20, 12]);
        let shown: Vec<_> = (0..6).map(|key| ranking(&nodes, RankingKey(key), 3).iter().map(|id| id.0[0]).collect::<Vec<_>>()).collect();
        expect_test::expect!["[[4, 3, 2], [4, 2, 1], [4, 2, 1], [4, 5, 2], [4, 5, 1], [4, 1, 2]]"].assert_eq(&format!("{shown:?}"));
    }

    /// Schindelhauer & Schomaker 2005: the share of first ranks is in proportion to the capacity.
    #[test]
    fn shares_are_in_proportion_to_capacity() {
        let nodes = nodes(&[16, 20, 24]); // 1 : 2 : 4
        let mut firsts = [0_u32; 4];
        for key in 0..70_000 {
            firsts[usize::from(ranking(&nodes, RankingKey(mix(key)), 1)[0].0[0])] += 1;
        }
        for (n, fair) in [(1, 10_000_f64), (2, 20_000.0), (3, 40_000.0)] {
            assert!((f64::from(firsts[n]) / fair - 1.0).abs() < 0.03, "{firsts:?}");
        }
    }

    proptest! {
        /// A greater hash never has a lower score: among nodes of one capacity the hash alone decides, which the cache relies on.
        #[test]
        fn scores_grow_with_the_hash(hash: u64, shift in 0_u32..64, capacity: u8) {
            let greater = hash.saturating_add(1 << shift);
            prop_assert!(score(hash, Capacity(capacity)) <= score(greater, Capacity(capacity)));
        }

        #[test]
        fn a_rank_is_the_place_in_the_ranking(key: u64, capacities in prop::collection::vec(8_u8..32, 1..20)) {
            let nodes = nodes(&capacities);
            for (place, id) in ranking(&nodes, RankingKey(key), 20).into_iter().enumerate() {
                let others = nodes.iter().map(|(id, capacity)| (*id, *capacity));
                prop_assert_eq!(rank_of(others, RankingKey(key), id, nodes[&id]), place);
            }
        }

        /// DESIGN §9 A2: removing a node moves only its sources; adding one moves sources only to it.
        #[test]
        fn others_keep_their_order(key: u64, capacities in prop::collection::vec(8_u8..32, 2..12), gone in 0_usize..12) {
            let all = nodes(&capacities);
            let gone = node(u8::try_from(gone % capacities.len() + 1).unwrap());
            let mut fewer = all.clone();
            fewer.remove(&gone);
            let mut expected = ranking(&all, RankingKey(key), 12);
            expected.retain(|id| *id != gone);
            prop_assert_eq!(ranking(&fewer, RankingKey(key), 12), expected);
        }
    }
}
