//! The one hash of the digests: the first eight bytes of SHA-256 over length-prefixed parts, alike on every machine and in every release.

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of different builds compare these sums: the value must never change.
    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(hash64(&[b"runner/web", &7_u64.to_be_bytes()]), 4_323_495_110_745_009_109);
        assert_ne!(hash64(&[b"ab", b"c"]), hash64(&[b"a", b"bc"]));
    }
}
