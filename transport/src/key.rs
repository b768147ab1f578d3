//! The node's key pair, in a file of its own: who has the file is the node.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use logvine_gossip::NodeId;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A key file holds one PKCS#8 key of some 200 bytes; what is longer is another file.
const FILE_BYTES_MAX: u64 = 4096;

/// An Ed25519 key pair. Its fingerprint is the node's id, so nobody can speak for a node without this key (DESIGN §3.1).
#[derive(Clone)]
pub struct NodeKey {
    signing: SigningKey,
}

/// Why there is no node key. No file has been changed.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    #[error("cannot read the node key {path}; the user that runs logvine must own it (or, to become a new node, move it away)")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the node key {path}; the user that runs logvine must be able to write its directory")]
    Write { path: PathBuf, source: io::Error },
    #[error("the node key {path} can be read by everyone (mode {mode:04o}); if nobody has copied it: chmod 600 {path}")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the node key {path} is damaged ({fault}); restore it from a copy, or move it away: the node then starts as a new one")]
    Damaged { path: PathBuf, fault: String },
    #[error("the system gives no randomness to make a node key")]
    Random { source: getrandom::Error },
}

impl NodeKey {
    /// A new key pair, in memory only.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self { signing: SigningKey::from_bytes(&seed) })
    }

    /// The key in the file at `path` (PKCS#8, PEM); made there at first, readable by the owner only.
    ///
    /// It is on the disk when this returns, and never half: a crash leaves the whole file or none. Blocks on the disk.
    pub fn load_or_create(path: &Path) -> Result<Self, NodeKeyError> {
        match Self::load(path) {
            Err(NodeKeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate().map_err(|source| NodeKeyError::Random { source })?;
                key.store(path).map_err(|source| NodeKeyError::Write { path: path.to_owned(), source })?;
                Ok(key)
            }
            loaded => loaded,
        }
    }

    fn load(path: &Path) -> Result<Self, NodeKeyError> {
        let read = |source| NodeKeyError::Read { path: path.to_owned(), source };
        let damaged = |fault: &str| NodeKeyError::Damaged { path: path.to_owned(), fault: fault.to_owned() };
        let metadata = fs::metadata(path).map_err(read)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_file() && mode & 0o007 != 0 {
            return Err(NodeKeyError::Exposed { path: path.to_owned(), mode });
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(damaged("too long for a key"));
        }
        let bytes = Zeroizing::new(fs::read(path).map_err(read)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("not text"))?;
        // The file holds the public key too, and a pair that does not match is refused: a flipped bit never makes another node.
        let signing = SigningKey::from_pkcs8_pem(text).map_err(|error| damaged(&error.to_string()))?;
        Ok(Self { signing })
    }

    fn store(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let pem = self.signing.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?;
        let temporary = path.with_extension("new");
        // Left by a crash before the rename: nobody has used that key.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    }

    /// The node's id: the first 16 bytes of the SHA-256 of the public key.
    pub fn id(&self) -> NodeId {
        fingerprint(&self.signing.verifying_key().to_bytes())
    }

    /// The key pair as PKCS#8 DER, as TLS takes it.
    pub(crate) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        to_pkcs8(&self.signing)
    }

    /// 32 bytes for one `purpose` that only this node can make, the same after a restart.
    pub(crate) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        hkdf::Hkdf::<Sha256>::new(None, self.signing.as_bytes())
            .expand(purpose.as_bytes(), out.as_mut())
            .expect("HKDF gives up to 255 hashes, and this is one");
        out
    }
}

/// A key pair as PKCS#8 DER.
pub(crate) fn to_pkcs8(key: &SigningKey) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(key.to_pkcs8_der().expect("an Ed25519 key always encodes").as_bytes().to_vec())
}

/// The id of the node with this Ed25519 public key.
pub(crate) fn fingerprint(public_key: &[u8; 32]) -> NodeId {
    let digest = Sha256::digest(public_key);
    let (first, _) = digest.split_first_chunk().expect("SHA-256 has 32 bytes");
    NodeId(*first)
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeKey").field(&self.id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("node.key")
    }

    #[test]
    fn a_key_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory);
        let first = NodeKey::load_or_create(&path).unwrap().id();
        assert_eq!(NodeKey::load_or_create(&path).unwrap().id(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
        assert_ne!(NodeKey::generate().unwrap().id(), first);
    }

    /// A crash between write and rename leaves the temporary file; the next start makes its key all the same.
    #[test]
    fn a_crash_before_the_rename_is_survived() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("node.new"), "half a k").unwrap();
        NodeKey::load_or_create(&file(&directory)).unwrap();
        assert!(!directory.path().join("node.new").exists());
    }

    /// The id is a function of the public key alone (RFC 8032 §7.1, test 1).
    #[test]
    fn the_id_is_the_fingerprint_of_the_public_key() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = NodeKey { signing: SigningKey::from_bytes(&seed.try_into().unwrap()) };
        let public = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        assert_eq!(key.id().to_string(), hex::encode(&Sha256::digest(public)[..16]));
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory);
        NodeKey::load_or_create(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let body = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for at in [0, body + 30, body + 70] {
            let mut damaged = whole.clone();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            fs::write(&path, &damaged).unwrap();
            let error = NodeKey::load_or_create(&path).unwrap_err();
            assert!(matches!(error, NodeKeyError::Damaged { .. }), "byte {at}: {error}");
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        for bytes in [&whole[..0], &whole[..whole.len() / 2], &[0xff; 100], &[b'A'; 5000]] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(NodeKey::load_or_create(&path).unwrap_err(), NodeKeyError::Damaged { .. }));
        }
    }

    #[test]
    fn a_key_that_everyone_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory);
        NodeKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = NodeKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_unreadable_or_unwritable_place_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = NodeKey::load_or_create(directory.path()).unwrap_err();
        assert!(matches!(error, NodeKeyError::Read { .. }), "a directory is no key: {error}");
        let error = NodeKey::load_or_create(&directory.path().join("absent/node.key")).unwrap_err();
        assert!(error.to_string().contains("absent/node.key") && matches!(error, NodeKeyError::Write { .. }), "{error}");
    }

    #[test]
    fn a_key_is_shown_by_its_id_only() {
        let key = NodeKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("NodeKey({})", key.id().short()));
    }
}
