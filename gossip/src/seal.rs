//! Seals datagrams with the cluster key, so that no byte of a stranger's reaches a decoder.
//!
//! ```text
//! [version:1][key id:1][nonce:24][XChaCha20-Poly1305 ciphertext and tag:16]
//! associated data: [version:1][cluster id:8][sender: 4 or 6, its address's bytes, port:2]
//! ```
//! A flipped bit, another cluster's datagram, or one that comes from another address than its sender's is refused.
//! Not here: repetition (`replay`), randomness (the host draws the nonce).

mod rotation;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

pub use self::rotation::{Fingerprint, FingerprintError, RotationError};

/// The layout above. A peer that speaks a later one is refused and counted, not guessed at.
pub const SEAL_VERSION: u8 = 1;

/// Bytes of a nonce. At 24 they can be drawn at random for ever without a repeat to be feared (XChaCha, Arciszewski 2020).
pub const NONCE_BYTES: usize = 24;

/// What sealing adds to a payload, in bytes: version, key id, nonce, tag.
pub const SEAL_BYTES: usize = 2 + NONCE_BYTES + TAG_BYTES;

/// Largest payload, in bytes: what gossip sends at most.
pub const PAYLOAD_BYTES_MAX: usize = crate::DATAGRAM_BYTES_MAX;

/// Largest sealed datagram, in bytes.
pub const SEALED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + SEAL_BYTES;

const TAG_BYTES: usize = 16;

/// Which cluster this is: 8 random bytes, the same under every key of a ring. Shown as 16 hex digits; not a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 8]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The secret that makes nodes one cluster. Whoever holds it can join.
///
/// As text: `<cluster id: 16 hex digits>.<secret: 64 hex digits>`, see [`ClusterKey::to_text`]. `Display` and `Debug` show
/// the cluster id only, and the secret is wiped from memory when the key is dropped.
#[derive(Clone)]
pub struct ClusterKey {
    cluster: ClusterId,
    secret: Zeroizing<[u8; 32]>,
}

/// Why a text is not a [`ClusterKey`]. Never holds the text: it may be most of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterKeyError {
    #[error("the cluster key is empty; make one with `logvine keygen`")]
    Empty,
    #[error("the cluster key has no `.`; it is one line, `<16 hex digits>.<64 hex digits>`, as `logvine keygen` prints it: copy that line whole")]
    NoDot,
    #[error("the cluster key's part before the `.` is {characters} characters, not 16 hex digits; copy the line of `logvine keygen` whole")]
    ClusterId { characters: usize },
    #[error("the cluster key's part after the `.` is {characters} characters, not 64 hex digits; copy the line of `logvine keygen` whole")]
    Secret { characters: usize },
}

impl ClusterKey {
    /// A key of these bytes; both must come from a good random generator.
    pub fn new(cluster: ClusterId, secret: [u8; 32]) -> Self {
        Self { cluster, secret: Zeroizing::new(secret) }
    }

    /// Which cluster the key is for.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The key as one line of text, secret included: for `keygen` and key files, never for logs.
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(*self.secret));
        Zeroizing::new(format!("{}.{}", self.cluster, secret.as_str()))
    }

    /// 32 bytes for one `purpose` (HKDF-SHA-256, RFC 5869): knowing those of one purpose tells nothing of another's.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(&self.cluster.0), &*self.secret)
            .expand(purpose.as_bytes(), out.as_mut())
            .expect("HKDF gives up to 255 hashes, and this is one");
        out
    }
}

impl FromStr for ClusterKey {
    type Err = ClusterKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ClusterKeyError::Empty);
        }
        let (left, right) = text.split_once('.').ok_or(ClusterKeyError::NoDot)?;
        let mut key = Self::new(ClusterId([0; 8]), [0; 32]);
        hex::decode_to_slice(left, &mut key.cluster.0).map_err(|_| ClusterKeyError::ClusterId { characters: left.chars().count() })?;
        hex::decode_to_slice(right, &mut *key.secret).map_err(|_| ClusterKeyError::Secret { characters: right.chars().count() })?;
        Ok(key)
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.(secret)", self.cluster)
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys of one cluster: the first seals, all open. Two keys at once let an operator change the key of a running cluster.
#[derive(Clone)]
pub struct Keyring {
    cluster: ClusterId,
    keys: Vec<ClusterKey>,
    seals: Vec<Seal>,
}

#[derive(Clone)]
struct Seal {
    id: u8,
    cipher: XChaCha20Poly1305,
}

/// Why keys make no [`Keyring`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("no cluster key; make one with `logvine keygen`")]
    Empty,
    #[error("{keys} cluster keys are too many: keep the present one and the next, at most {}", Keyring::KEYS_MAX)]
    TooMany { keys: usize },
    #[error("a key of cluster {other} beside one of {cluster}; all keys of a ring begin with the same 16 hex digits")]
    Clusters { cluster: ClusterId, other: ClusterId },
}

/// Why a datagram was refused. It is to be dropped without an answer; nothing in it can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("datagram of {bytes} bytes is too short to be sealed")]
    TooShort { bytes: usize },
    #[error("datagram of {bytes} bytes is over the limit of {SEALED_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("seal of version {version}, and this node knows {SEAL_VERSION} only")]
    Version { version: u8 },
    #[error("sealed with a key that this node does not have (key id {key_id})")]
    KeyUnknown { key_id: u8 },
    #[error("the seal does not hold: changed on the way, sent from another address than its sender's, or another cluster's")]
    Tag,
}

impl Keyring {
    /// Two are needed while a key is changed; more only costs time at each refused datagram.
    pub const KEYS_MAX: usize = 4;

    /// A ring of `keys`, the first of which seals.
    pub fn new(keys: Vec<ClusterKey>) -> Result<Self, KeyringError> {
        let cluster = keys.first().ok_or(KeyringError::Empty)?.cluster;
        if keys.len() > Self::KEYS_MAX {
            return Err(KeyringError::TooMany { keys: keys.len() });
        }
        if let Some(key) = keys.iter().find(|key| key.cluster != cluster) {
            return Err(KeyringError::Clusters { cluster, other: key.cluster });
        }
        let seals = keys
            .iter()
            .map(|key| Seal {
                id: key.derive("logvine seal key id 1")[0],
                cipher: XChaCha20Poly1305::new((&*key.derive("logvine seal key 1")).into()),
            })
            .collect();
        Ok(Self { cluster, keys, seals })
    }

    /// The cluster of all its keys.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The keys, the one that seals first.
    pub fn keys(&self) -> &[ClusterKey] {
        &self.keys
    }

    /// Seals `payload` as sent by `sender`: the gossip address that this node advertises, from which the datagram must leave.
    ///
    /// A `nonce` must never be used twice with a key: draw all its bytes at random for each datagram.
    ///
    /// # Panics
    /// If the payload is over [`PAYLOAD_BYTES_MAX`]: its maker must have split it.
    pub fn seal(&self, sender: SocketAddr, nonce: [u8; NONCE_BYTES], payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX, "payload of {} bytes is over the limit of {PAYLOAD_BYTES_MAX}", payload.len());
        let seal = &self.seals[0];
        let aad = self.associated_data(sender);
        let sealed = seal
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: payload, aad: &aad })
            .expect("XChaCha20-Poly1305 encrypts up to 256 GiB, and the payload is bounded");
        let mut datagram = Vec::with_capacity(SEAL_BYTES + payload.len());
        datagram.extend_from_slice(&[SEAL_VERSION, seal.id]);
        datagram.extend_from_slice(&nonce);
        datagram.extend_from_slice(&sealed);
        datagram
    }

    /// The payload of a `datagram` that came from the address `from`.
    ///
    /// Cost: one decryption for each key of the ring with the datagram's key id, which is rarely more than one.
    pub fn open(&self, from: SocketAddr, datagram: &[u8]) -> Result<Vec<u8>, SealError> {
        let bytes = datagram.len();
        if bytes > SEALED_BYTES_MAX {
            return Err(SealError::TooLarge { bytes });
        }
        let Some((&[version, key_id], rest)) = datagram.split_first_chunk() else { return Err(SealError::TooShort { bytes }) };
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE_BYTES>() else { return Err(SealError::TooShort { bytes }) };
        if sealed.len() < TAG_BYTES {
            return Err(SealError::TooShort { bytes });
        }
        if version != SEAL_VERSION {
            return Err(SealError::Version { version });
        }
        let aad = self.associated_data(from);
        let mut refusal = SealError::KeyUnknown { key_id };
        for seal in self.seals.iter().filter(|seal| seal.id == key_id) {
            match seal.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad }) {
                Ok(payload) => return Ok(payload),
                Err(_) => refusal = SealError::Tag,
            }
        }
        Err(refusal)
    }

    /// An IPv4 address means the same whether a socket shows it as itself or mapped into IPv6; scope and flow never leave a host.
    fn associated_data(&self, sender: SocketAddr) -> Vec<u8> {
        let mut aad = Vec::with_capacity(28);
        aad.push(SEAL_VERSION);
        aad.extend_from_slice(&self.cluster.0);
        match sender.ip().to_canonical() {
            IpAddr::V4(ip) => {
                aad.push(4);
                aad.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                aad.push(6);
                aad.extend_from_slice(&ip.octets());
            }
        }
        aad.extend_from_slice(&sender.port().to_be_bytes());
        aad
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("cluster", &self.cluster).field("keys", &self.keys.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const SENDER: &str = "10.0.0.1:7946";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn key(cluster: u8, secret: u8) -> ClusterKey {
        ClusterKey::new(ClusterId([cluster; 8]), [secret; 32])
    }

    fn ring(keys: &[ClusterKey]) -> Keyring {
        Keyring::new(keys.to_vec()).unwrap()
    }

    /// The released format, byte for byte: every later version must read it.
    #[test]
    fn golden_bytes() {
        let ring = ring(&[key(0xc1, 0x5e)]);
        let datagram = ring.seal(address(SENDER), [7; NONCE_BYTES], b"vine");
        expect!["01b707070707070707070707070707070707070707070707070714df02032aa10822e15ef2277dd7b16be700688e"].assert_eq(&hex::encode(&datagram));
        assert_eq!(ring.open(address(SENDER), &datagram).unwrap(), b"vine");

        let v6 = ring.seal(address("[fd00::1]:7946"), [7; NONCE_BYTES], b"");
        expect!["01b7070707070707070707070707070707070707070707070707a28cfd4b74c1fdbd457430fca0a32903"].assert_eq(&hex::encode(&v6));
        assert_eq!(ring.open(address("[fd00::1]:7946"), &v6).unwrap(), b"");
    }

    /// PITFALLS §1 row 11: 32 % of single-bit flips of a bare foca packet were accepted as membership.
    #[test]
    fn every_single_bit_flip_is_refused() {
        let ring = ring(&[key(1, 2), key(1, 3)]);
        let datagram = ring.seal(address(SENDER), [9; NONCE_BYTES], b"a payload of some length");
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(address(SENDER), &flipped).is_err(), "bit {bit} flipped was not noticed");
        }
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let ring = ring(&[key(1, 2)]);
        let mut datagram = ring.seal(address(SENDER), [9; NONCE_BYTES], b"payload");
        for bytes in 0..datagram.len() {
            let refused = ring.open(address(SENDER), &datagram[..bytes]).unwrap_err();
            assert_eq!(refused == SealError::TooShort { bytes }, bytes < SEAL_BYTES, "{bytes} bytes: {refused}");
        }
        datagram.push(0);
        assert_eq!(ring.open(address(SENDER), &datagram), Err(SealError::Tag));
    }

    #[test]
    fn another_senders_address_is_refused() {
        let ring = ring(&[key(1, 2)]);
        let datagram = ring.seal(address(SENDER), [9; NONCE_BYTES], b"payload");
        for from in ["10.0.0.2:7946", "10.0.0.1:7947", "[fd00::1]:7946"] {
            assert_eq!(ring.open(address(from), &datagram), Err(SealError::Tag), "{from}");
        }
        assert!(ring.open(address("[::ffff:10.0.0.1]:7946"), &datagram).is_ok(), "the same address as an IPv6 socket shows it");
    }

    #[test]
    fn another_clusters_datagram_is_refused() {
        let datagram = ring(&[key(1, 2)]).seal(address(SENDER), [9; NONCE_BYTES], b"payload");
        for other in [key(1, 3), key(4, 2)] {
            let refused = ring(&[other]).open(address(SENDER), &datagram).unwrap_err();
            assert!(matches!(refused, SealError::KeyUnknown { .. } | SealError::Tag), "{refused}");
        }
    }

    /// The key id only hints: a stranger's key may share it by chance (1 of 256), and then the tag decides.
    #[test]
    fn a_key_id_met_by_chance_does_not_open() {
        let ours = ring(&[key(1, 0)]);
        let mut datagram = ring(&[key(2, 1)]).seal(address(SENDER), [9; NONCE_BYTES], b"payload");
        datagram[1] = ours.seals[0].id;
        assert_eq!(ours.open(address(SENDER), &datagram), Err(SealError::Tag));
    }

    #[test]
    fn a_later_version_is_told_apart() {
        let ring = ring(&[key(1, 2)]);
        let mut datagram = ring.seal(address(SENDER), [9; NONCE_BYTES], b"payload");
        datagram[0] = 2;
        assert_eq!(ring.open(address(SENDER), &datagram), Err(SealError::Version { version: 2 }));
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (old, new) = (key(1, 2), key(1, 3));
        let changing = ring(&[new.clone(), old.clone()]);
        let by_old = ring(std::slice::from_ref(&old)).seal(address(SENDER), [9; NONCE_BYTES], b"payload");
        assert!(changing.open(address(SENDER), &by_old).is_ok());
        let by_changing = changing.seal(address(SENDER), [9; NONCE_BYTES], b"payload");
        assert!(ring(&[new]).open(address(SENDER), &by_changing).is_ok());
        assert!(ring(&[old]).open(address(SENDER), &by_changing).is_err());
    }

    #[test]
    fn a_datagram_over_the_limit_is_refused_before_it_is_opened() {
        let ring = ring(&[key(1, 2)]);
        let largest = ring.seal(address(SENDER), [9; NONCE_BYTES], &vec![0; PAYLOAD_BYTES_MAX]);
        assert_eq!(largest.len(), SEALED_BYTES_MAX);
        assert!(ring.open(address(SENDER), &largest).is_ok());
        let bytes = SEALED_BYTES_MAX + 1;
        assert_eq!(ring.open(address(SENDER), &vec![SEAL_VERSION; bytes]), Err(SealError::TooLarge { bytes }));
    }

    #[test]
    fn a_ring_is_of_one_cluster_and_never_empty() {
        assert_eq!(Keyring::new(Vec::new()).unwrap_err(), KeyringError::Empty);
        assert_eq!(Keyring::new(vec![key(1, 1); 5]).unwrap_err(), KeyringError::TooMany { keys: 5 });
        let clusters = Keyring::new(vec![key(1, 1), key(2, 1)]).unwrap_err();
        assert_eq!(clusters, KeyringError::Clusters { cluster: ClusterId([1; 8]), other: ClusterId([2; 8]) });
    }

    #[test]
    fn a_key_reads_back_from_its_text() {
        let text = key(0xc1, 0x5e).to_text();
        let read: ClusterKey = format!("{}\n", text.as_str()).parse().unwrap();
        assert_eq!(read.to_text(), text);
        assert_eq!(read.cluster().to_string(), "c1c1c1c1c1c1c1c1");
    }

    #[test]
    fn a_bad_key_says_what_to_do_and_shows_no_secret() {
        let secret = "5e".repeat(32);
        let check = |text: &str, expected: expect_test::Expect| {
            let error = text.parse::<ClusterKey>().unwrap_err();
            expected.assert_eq(&error.to_string());
            assert!(!format!("{error:?}").contains("5e5e"));
        };
        check(" \n", expect!["the cluster key is empty; make one with `logvine keygen`"]);
        check(
            &secret,
            expect![
                "the cluster key has no `.`; it is one line, `<16 hex digits>.<64 hex digits>`, as `logvine keygen` prints it: copy that line whole"
            ],
        );
        check(
            &format!("c1c1.{secret}"),
            expect!["the cluster key's part before the `.` is 4 characters, not 16 hex digits; copy the line of `logvine keygen` whole"],
        );
        check(
            &format!("c1c1c1c1c1c1c1c1.{}", &secret[1..]),
            expect!["the cluster key's part after the `.` is 63 characters, not 64 hex digits; copy the line of `logvine keygen` whole"],
        );
        check(
            &format!("c1c1c1c1c1c1c1c1.{}g", &secret[1..]),
            expect!["the cluster key's part after the `.` is 64 characters, not 64 hex digits; copy the line of `logvine keygen` whole"],
        );
    }

    #[test]
    fn a_key_is_shown_without_its_secret() {
        let key = key(0xc1, 0x5e);
        assert_eq!(format!("{key} {key:?}"), "c1c1c1c1c1c1c1c1.(secret) c1c1c1c1c1c1c1c1.(secret)");
        assert!(!format!("{:?}", ring(&[key])).contains("5e"));
    }
}
