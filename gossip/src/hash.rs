//! The hashes of the digests, alike on every machine and in every release: SHA-256 over length-prefixed parts for what is written now and then,
//! a multiplicative mix for what changes a hundred times a second.

use sha2::{Digest, Sha256};

/// Hashes `parts` so that their borders count: `["ab", "c"]` and `["a", "bc"]` differ.
pub(crate) fn hash64(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// Mixes `number` into `seed`: the finaliser of splitmix64 (Steele et al. 2014), some nanoseconds. No defence against who chooses its inputs.
pub(crate) const fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of different builds compare these sums: the value must never change.
    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(hash64(&[b"runner/web", &7_u64.to_be_bytes()]), 4_323_495_110_745_009_109);
        assert_ne!(hash64(&[b"ab", b"c"]), hash64(&[b"a", b"bc"]));
        assert_eq!(mix(0, 0), 0xe220_a839_7b1d_cdaf, "splitmix64's first number from seed 0");
    }
}
