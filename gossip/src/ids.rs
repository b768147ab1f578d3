//! Who a node is.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{canary::planted, hash::mix};

/// A node's lasting identity: the first 16 bytes of the SHA-256 of its public key. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct NodeId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl NodeId {
    /// The first eight hex digits: enough for people to tell nodes apart.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl Ord for NodeId {
    /// The order of the bytes. As one number that is two instructions; bytes are compared by a call, at every step of every search.
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Why a text is not a [`NodeId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node id is 32 hex digits, not `{text}`")]
pub struct NodeIdError {
    text: String,
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NodeIdError { text: text.to_owned() })?;
        Ok(Self(bytes))
    }
}

/// A number for an id, for sums over many.
pub(crate) fn id_hash(node: &NodeId) -> u64 {
    let (high, low) = node.0.split_at(8);
    let half = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    mix(mix(0, half(high)), half(low))
}

/// Counts the starts and renewals of a node; the higher one is the newer. Never reused with other content (DESIGN §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// Generations are wall milliseconds and then some; one above this (the year 287,396) is damage, and following it would never end.
pub(crate) const GENERATION_MAX: Generation = Generation(1 << 53);

/// How far above what is known of a node a generation is taken or followed: 139 years. Damage is further off, and who forges generations on purpose uses
/// up a two-thousandth of them at a time, not all.
const GENERATION_STEP_MAX: u64 = 1 << 42;

/// In how many shares the generations are divided. Two live copies of a node (a data directory that was copied, a machine that was cloned) that cannot
/// reach each other go above each other, and both may be told of the same generation at once. So each process draws a share at its start and takes its
/// generations from that: two copies take the same one, and say different things under it, only if they drew the same share. More shares make that rarer,
/// and let generations run further ahead of the clock: a minute each time.
const SHARES: u64 = 1 << 16;

/// A process's share of all generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(u64);

impl Share {
    /// By the number from which a process draws all its chance.
    pub(crate) fn draw(seed: u64) -> Self {
        Self(mix(seed, SHARES) % SHARES)
    }

    /// The first generation of this share that is not below `least`.
    pub(crate) fn at_least(self, least: Generation) -> Generation {
        Generation(least.0 + self.0.wrapping_sub(least.0) % SHARES)
    }

    /// Whether this generation is of this share.
    pub(crate) fn has(self, generation: Generation) -> bool {
        self.at_least(generation) == generation
    }

    /// The first generation of this share above `known`.
    pub(crate) fn above(self, known: Generation) -> Generation {
        if planted("generations-shared") { known.next() } else { self.at_least(known.next()) }
    }
}

impl Generation {
    /// Whether this can be a later generation of who is known under `known`.
    pub(crate) fn can_follow(self, known: Self) -> bool {
        self < GENERATION_MAX && self.0 <= known.0.saturating_add(GENERATION_STEP_MAX)
    }

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_one_of_each_row_of_generations_and_no_two_shares_have_the_same() {
        let shares: Vec<Share> = (0..SHARES).map(Share).collect();
        for known in [0, 7, SHARES - 1, SHARES, 1_767_225_600_123].map(Generation) {
            let mut above: Vec<u64> = shares.iter().map(|share| share.above(known).0).collect();
            above.sort_unstable();
            assert!(above.iter().copied().eq(known.0 + 1..=known.0 + SHARES), "above {known}");
        }
    }

    #[test]
    fn a_share_goes_on_in_itself() {
        let share = Share::draw(7);
        let first = share.at_least(Generation(1_767_225_600_123));
        assert_eq!((share.at_least(first), share.above(first)), (first, Generation(first.0 + SHARES)));
    }
}
