//! Changes the keys of a ring: a new key is accepted by all before anybody seals with it, and sealed with by all before the old one goes.
//!
//! ```text
//! [old] ─install─> [old, new] ─use─> [new, old] ─remove─> [new]
//! ```
//! Two neighbouring rings of that line always understand each other, so no node is unheard while a step reaches the others one by one.
//! Not here: whether all have taken a step (`logvine_cluster::keys`), how it reaches them, the disk.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ClusterId, ClusterKey, Keyring};
use crate::canary::planted;

/// Names a key without telling it: 8 bytes that only its holders could have made, shown as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no [`Fingerprint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key's fingerprint, 16 hex digits as `logvine key list` shows them")]
pub struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut fingerprint = Self([0; 8]);
        hex::decode_to_slice(text, &mut fingerprint.0).map_err(|_| FingerprintError(text.chars().take(40).collect()))?;
        Ok(fingerprint)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a ring stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    #[error("the key is of cluster {other}, and this is {cluster}: `logvine keygen --next FILE` makes one for the cluster of the key in FILE")]
    Cluster { cluster: ClusterId, other: ClusterId },
    #[error("the ring is full ({} keys): remove one that nobody seals with first", Keyring::KEYS_MAX)]
    Full,
    #[error("there is no key {0} in the ring: install it first")]
    Unknown(Fingerprint),
    #[error("key {0} seals: use another one first")]
    Seals(Fingerprint),
}

impl ClusterKey {
    /// Names it without telling it.
    pub fn fingerprint(&self) -> Fingerprint {
        let derived = self.derive("logvine key fingerprint 1");
        let (first, _) = derived.split_first_chunk().expect("8 of 32 bytes");
        Fingerprint(*first)
    }
}

impl Keyring {
    /// Its keys by name, the one that seals first.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.keys.iter().map(ClusterKey::fingerprint).collect()
    }

    /// The ring with `key` accepted beside the others; as it is if it has the key.
    pub fn installed(&self, key: ClusterKey) -> Result<Self, RotationError> {
        if key.cluster() != self.cluster {
            return Err(RotationError::Cluster { cluster: self.cluster, other: key.cluster() });
        }
        let mut keys = self.keys.clone();
        if self.place(key.fingerprint()).is_ok() {
            return Ok(self.clone());
        }
        if keys.len() >= Self::KEYS_MAX {
            return Err(RotationError::Full);
        }
        // Nobody else need have it yet.
        let at = if planted("seal-with-new-key-at-once") { 0 } else { keys.len() };
        keys.insert(at, key);
        Ok(Self::of(keys))
    }

    /// The ring with this key sealing.
    pub fn using(&self, key: Fingerprint) -> Result<Self, RotationError> {
        let at = self.place(key)?;
        let mut keys = self.keys.clone();
        keys[..=at].rotate_right(1);
        Ok(Self::of(keys))
    }

    /// The ring without this key.
    pub fn without(&self, key: Fingerprint) -> Result<Self, RotationError> {
        let at = self.place(key)?;
        if at == 0 {
            return Err(RotationError::Seals(key));
        }
        let mut keys = self.keys.clone();
        keys.remove(at);
        Ok(Self::of(keys))
    }

    fn place(&self, key: Fingerprint) -> Result<usize, RotationError> {
        self.keys.iter().position(|held| held.fingerprint() == key).ok_or(RotationError::Unknown(key))
    }

    fn of(keys: Vec<ClusterKey>) -> Self {
        Self::new(keys).expect("one cluster's keys, at least one and no more than fit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::NONCE_BYTES;

    fn key(secret: u8) -> ClusterKey {
        ClusterKey::new(ClusterId([1; 8]), [secret; 32])
    }

    /// The rings that a node has in turn while a key is changed.
    fn line() -> [Keyring; 4] {
        let (old, new) = (key(1), key(2));
        let begun = Keyring::new(vec![old.clone()]).unwrap();
        let installed = begun.installed(new.clone()).unwrap();
        let used = installed.using(new.fingerprint()).unwrap();
        let removed = used.without(old.fingerprint()).unwrap();
        [begun, installed, used, removed]
    }

    fn hears(listener: &Keyring, speaker: &Keyring) -> bool {
        let from = "10.0.0.1:7946".parse().unwrap();
        listener.open(from, &speaker.seal(from, [9; NONCE_BYTES], b"here")).is_ok()
    }

    #[test]
    fn neighbours_on_the_line_hear_each_other() {
        let line = line();
        for (one, other) in line.iter().zip(&line[1..]) {
            assert!(hears(one, other) && hears(other, one), "{:?} and {:?}", one.fingerprints(), other.fingerprints());
        }
        assert!(!hears(&line[0], &line[2]), "a step skipped is a node unheard");
        assert!(!hears(&line[3], &line[0]), "what was removed opens nothing");
    }

    #[test]
    fn each_step_can_be_said_twice() {
        let [_, installed, used, _] = line();
        assert_eq!(installed.installed(key(2)).unwrap().fingerprints(), installed.fingerprints());
        assert_eq!(used.using(key(2).fingerprint()).unwrap().fingerprints(), used.fingerprints());
    }

    #[test]
    fn a_step_that_would_leave_the_line_is_refused() {
        let [begun, installed, ..] = line();
        let (old, new) = (key(1).fingerprint(), key(2).fingerprint());
        assert_eq!(begun.using(new).unwrap_err(), RotationError::Unknown(new));
        assert_eq!(begun.without(old).unwrap_err(), RotationError::Seals(old));
        assert_eq!(installed.without(old).unwrap_err(), RotationError::Seals(old));
        let other = ClusterKey::new(ClusterId([9; 8]), [2; 32]);
        assert!(matches!(begun.installed(other), Err(RotationError::Cluster { .. })));
        let full = (2..=4).fold(begun, |ring, secret| ring.installed(key(secret)).unwrap());
        assert_eq!(full.installed(key(5)).unwrap_err(), RotationError::Full);
    }

    #[test]
    fn the_order_of_the_others_stays() {
        let ring = Keyring::new(vec![key(1), key(2), key(3)]).unwrap();
        let used = ring.using(key(3).fingerprint()).unwrap();
        assert_eq!(used.fingerprints(), [3, 1, 2].map(|secret| key(secret).fingerprint()));
    }

    #[test]
    fn a_fingerprint_is_the_keys_own_and_reads_back() {
        let fingerprint = key(1).fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_ne!(fingerprint, key(2).fingerprint());
        assert_ne!(fingerprint, ClusterKey::new(ClusterId([2; 8]), [1; 32]).fingerprint());
        assert!("zz".parse::<Fingerprint>().is_err());
        expect_test::expect!["e9b599ec1e23b209"].assert_eq(&fingerprint.to_string());
    }
}
