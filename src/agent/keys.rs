//! The ring of cluster keys: on disk, in both sockets, and changed while the node runs.
//!
//! ```text
//! key file ──┐ (begins the ring; another key in it than before is an operator's word: it seals)
//!            ├─► ring ─► UDP seal, QUIC certificates, the node map's word `keys`
//! ring file ─┘ (in the data directory, written by the first change; holds from then on)
//! ```
//! An order is carried out here once it is on disk, so that a restart comes back with the ring that the others count on.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, anyhow, bail};
use logvine_cluster::{
    keys::{self, KeyOrder, RingRow},
    view::name_of,
};
use logvine_gossip::{
    NodeId,
    seal::{ClusterKey, Fingerprint, Keyring, RotationError},
};
use logvine_transport::{Endpoint, EndpointError, Udp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{
    AgentHandle, Unavailable,
    asking::{Ask, AskError, Asking, Told},
};
use crate::events::{self, EventLog};

const FILE: &str = "keyring";
/// Removed keys that are remembered, so that an old key file does not bring them back.
const REMOVED_MAX: usize = 32;
/// Nodes that are told at a time.
const RELAYS_MAX: usize = 64;

/// An order, who gave it and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyWord {
    pub(crate) order: KeyOrder,
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
}

/// How an order is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Also if it leaves nodes unheard.
    pub(crate) force: bool,
    /// Only ask whether all could be told.
    pub(crate) dry_run: bool,
}

/// What the ring file holds.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    path: PathBuf,
    ring: Keyring,
    removed: Vec<Fingerprint>,
    /// The key that was in the key file when it was last looked at.
    seen: Option<Fingerprint>,
}

impl Stored {
    /// The ring of a data directory, begun from or added to by the `configured` key of `key_file`.
    ///
    /// Errors: the ring file cannot be read, or is of another cluster than the key; the message says what to do.
    pub(super) fn load(data_dir: &Path, configured: ClusterKey, key_file: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seen = Some(configured.fingerprint());
                return Ok(Self { path, ring: Keyring::new(vec![configured])?, removed: Vec::new(), seen });
            }
            Err(error) => bail!("cannot read the ring of cluster keys {}: {error}", path.display()),
        };
        let mut stored = parse(&path, &text)
            .with_context(|| format!("in {}; to begin a ring anew from {}, move that file away", path.display(), key_file.display()))?;
        let key = configured.fingerprint();
        if configured.cluster() != stored.ring.cluster() {
            bail!(
                "{} is a key of cluster {}, and the data directory is of cluster {}: give the node its cluster's key, or another --data-dir",
                key_file.display(),
                configured.cluster(),
                stored.ring.cluster()
            );
        }
        if stored.removed.contains(&key) {
            let present = stored.ring.fingerprints()[0];
            warn!("the key in {} was removed from this cluster's ring and is ignored; put the present one ({present}) there", key_file.display());
        } else if stored.seen != Some(key) {
            let mut keys = vec![configured];
            keys.extend(stored.ring.keys().iter().filter(|held| held.fingerprint() != key).take(Keyring::KEYS_MAX - 1).cloned());
            stored.ring = Keyring::new(keys)?;
            stored.seen = Some(key);
            stored.save().with_context(|| format!("write {}", stored.path.display()))?;
            info!(%key, "there is another key in {} than before: it seals from now on", key_file.display());
        }
        Ok(stored)
    }

    pub(super) fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// As it is after an order.
    fn after(&self, order: &KeyOrder) -> Result<Self, RotationError> {
        let mut stored = self.clone();
        match order {
            KeyOrder::Tell => {}
            KeyOrder::Install(key) => {
                stored.ring = self.ring.installed(key.0.clone())?;
                stored.removed.retain(|removed| *removed != key.0.fingerprint());
            }
            KeyOrder::Use(key) => stored.ring = self.ring.using(*key)?,
            // What was removed before is gone as it should be.
            KeyOrder::Remove(key) if self.removed.contains(key) => {}
            KeyOrder::Remove(key) => {
                stored.ring = self.ring.without(*key)?;
                stored.removed.push(*key);
                stored.removed.drain(..stored.removed.len().saturating_sub(REMOVED_MAX));
            }
        }
        Ok(stored)
    }

    /// Whole or not at all, for this user only.
    fn save(&self) -> io::Result<()> {
        let aside = self.path.with_extension("new");
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&aside)?;
        writeln!(file, "# This node's ring of cluster keys, the one that seals first. `logvine key` changes it on all nodes.")?;
        for key in self.ring.keys() {
            writeln!(file, "key {}", key.to_text().as_str())?;
        }
        for removed in &self.removed {
            writeln!(file, "removed {removed}")?;
        }
        if let Some(seen) = &self.seen {
            writeln!(file, "seen {seen}")?;
        }
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }
}

fn parse(path: &Path, text: &str) -> anyhow::Result<Stored> {
    let (mut keys, mut removed, mut seen) = (Vec::new(), Vec::new(), None);
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.split_once(' ') {
            Some(("key", key)) => keys.push(key.parse::<ClusterKey>().with_context(|| format!("line {}", at + 1))?),
            Some(("removed", key)) => removed.push(key.trim().parse::<Fingerprint>().with_context(|| format!("line {}", at + 1))?),
            Some(("seen", key)) => seen = Some(key.trim().parse::<Fingerprint>().with_context(|| format!("line {}", at + 1))?),
            // Not shown: it may be a secret.
            _ => bail!("line {} is neither `key …`, `removed …` nor `seen …`", at + 1),
        }
    }
    Ok(Stored { path: path.to_owned(), ring: Keyring::new(keys)?, removed, seen })
}

/// Why an order was not carried out on this node. The ring is as before.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Rotation(#[from] RotationError),
    #[error("the ring cannot be written to {path}: check that its disk has room and is sound")]
    Disk { path: PathBuf, source: io::Error },
    #[error("QUIC cannot take the ring")]
    Quic(#[from] EndpointError),
}

/// Changes the ring of this node, and has others change theirs. Clones are the same.
#[derive(Debug, Clone)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stored: Mutex<Stored>,
    udp: Arc<Udp>,
    endpoint: Endpoint,
    handle: AgentHandle,
    events: EventLog,
}

/// What became of an order on one node.
#[derive(Debug)]
pub struct Relayed {
    pub id: NodeId,
    pub name: String,
    /// The keys that it has now (of a dry run: before), or why they are as before.
    pub outcome: Result<Vec<Fingerprint>, String>,
}

/// Why an order was given to nobody.
#[derive(Debug)]
pub enum Refused {
    /// It would leave nodes unheard: one sentence for each.
    Hindered(Vec<String>),
    Unavailable(Unavailable),
}

impl Keys {
    pub(super) fn new(stored: Stored, udp: Arc<Udp>, endpoint: Endpoint, handle: AgentHandle, events: EventLog) -> Self {
        Self(Arc::new(Inner { stored: Mutex::new(stored), udp, endpoint, handle, events }))
    }

    /// Carries out an order on this node, and tells the others by its node map.
    pub(super) async fn obey(&self, word: KeyWord) -> Result<Vec<Fingerprint>, String> {
        let (keys, order) = (self.clone(), word.order.clone());
        let before = self.fingerprints();
        let done = tokio::task::spawn_blocking(move || keys.change(&order)).await;
        let ring = done.map_err(|error| error.to_string())?.map_err(|error| format!("{:#}", anyhow!(error)))?;
        let said = ring.clone();
        // A node that stops has nobody to tell.
        let own = self.0.handle.change(move |node, now| {
            node.set_keys(now, &said);
            (node.id(), name_of(node, &node.id()))
        });
        if let (Ok((id, name)), true) = (own.await, ring != before) {
            self.0.events.tell(self.0.handle.now().wall, events::key_changed(id, &name, &word));
        }
        Ok(ring)
    }

    fn fingerprints(&self) -> Vec<Fingerprint> {
        self.0.stored.lock().unwrap_or_else(PoisonError::into_inner).ring.fingerprints()
    }

    /// Blocks on the disk. One order at a time.
    fn change(&self, order: &KeyOrder) -> Result<Vec<Fingerprint>, KeysError> {
        let mut stored = self.0.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if *order != KeyOrder::Tell {
            let after = stored.after(order)?;
            after.save().map_err(|source| KeysError::Disk { path: after.path.clone(), source })?;
            // The certificates first: they can fail, and then nothing has changed but the file, which the next order or start makes true.
            self.0.endpoint.set_keyring(&after.ring)?;
            self.0.udp.set_keyring(after.ring.clone());
            *stored = after;
        }
        Ok(stored.ring.fingerprints())
    }

    /// Gives an order to all live nodes, this one last, if it would leave none unheard (or in any case, by `force`). Told as an event before and after.
    pub(crate) async fn relay(&self, asking: &Asking, word: KeyWord, Manner { force, dry_run }: Manner) -> Result<Vec<Relayed>, Refused> {
        let Cluster { id, name, mut rings, others } = self.cluster().await.map_err(Refused::Unavailable)?;
        // What the view has of live nodes may be seconds old.
        let tell = KeyWord { order: KeyOrder::Tell, ..word.clone() };
        let mut relayed = give(asking, &tell, &others).await;
        for told in &relayed {
            if let (Some(row), Ok(keys)) = (rings.iter_mut().find(|row| row.id == told.id), &told.outcome) {
                row.keys = Some(keys.clone());
            }
        }
        let hindrances = keys::hindrances(&word.order, &rings);
        if !force && !hindrances.is_empty() {
            return Err(Refused::Hindered(hindrances));
        }
        if dry_run {
            relayed.push(Relayed { id, name, outcome: Ok(self.fingerprints()) });
        } else {
            self.0.events.tell(self.0.handle.now().wall, events::key_commanded(id, &name, &word, others.len() + 1));
            relayed = give(asking, &word, &others).await;
            relayed.push(Relayed { id, name: name.clone(), outcome: self.obey(word.clone()).await });
            self.0.events.tell(self.0.handle.now().wall, events::key_concluded(id, &name, &word, &relayed));
        }
        relayed.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        Ok(relayed)
    }

    async fn cluster(&self) -> Result<Cluster, Unavailable> {
        let looked = self.0.handle.look(|node, _| {
            let live = node.gossip().members().filter(|member| member.status.is_live());
            let others = live.map(|member| (member.id, name_of(node, &member.id))).collect();
            Cluster { id: node.id(), name: name_of(node, &node.id()), rings: keys::rings(node), others }
        });
        looked.await
    }
}

/// This node, the rings as the view has them, and whom to tell.
struct Cluster {
    id: NodeId,
    name: String,
    rings: Vec<RingRow>,
    others: Vec<(NodeId, String)>,
}

/// Gives an order to nodes, through others to those that are not reached.
async fn give(asking: &Asking, word: &KeyWord, nodes: &[(NodeId, String)]) -> Vec<Relayed> {
    let mut relayed = Vec::with_capacity(nodes.len());
    let ask = Ask::Keys(word.clone());
    for some in nodes.chunks(RELAYS_MAX) {
        let calls = some.iter().map(async |(id, name)| {
            let outcome = match asking.ask(*id, &ask).await {
                Ok(Told::Keys(keys)) => Ok(keys),
                Ok(_) => Err("its answer makes no sense: is it of another version?".to_owned()),
                Err(AskError::Unreachable { why, .. }) => Err(format!("it does not answer: {why}")),
                Err(error) => Err(error.to_string()),
            };
            Relayed { id: *id, name: name.clone(), outcome }
        });
        relayed.extend(futures::future::join_all(calls).await);
    }
    relayed
}

/// The keys of a node of one, alone, with its ring file in `home` and its QUIC on any port.
#[cfg(test)]
pub(crate) fn test_keys(home: &Path, handle: AgentHandle, key: ClusterKey, events: EventLog) -> Keys {
    let any = "127.0.0.1:0".parse().unwrap();
    let stored = Stored::load(home, key, Path::new("/etc/logvine/cluster.key")).unwrap();
    let node_key = logvine_transport::NodeKey::generate().unwrap();
    let (endpoint, _) = Endpoint::bind(any, &node_key, stored.ring(), &logvine_transport::EndpointConfig::default()).unwrap();
    let udp = Udp::bind(any, any, stored.ring().clone()).unwrap();
    Keys::new(stored, Arc::new(udp), endpoint, handle, events)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use logvine_cluster::keys::CarriedKey;
    use logvine_gossip::seal::ClusterId;

    use super::*;

    fn key(secret: u8) -> ClusterKey {
        ClusterKey::new(ClusterId([1; 8]), [secret; 32])
    }

    fn load(home: &Path, configured: u8) -> anyhow::Result<Stored> {
        Stored::load(home, key(configured), Path::new("/etc/logvine/cluster.key"))
    }

    fn secrets(stored: &Stored) -> Vec<Fingerprint> {
        stored.ring.fingerprints()
    }

    fn changed(stored: &Stored, orders: &[KeyOrder]) -> Stored {
        let after = orders.iter().fold(stored.clone(), |stored, order| stored.after(order).unwrap());
        after.save().unwrap();
        after
    }

    fn install(secret: u8) -> KeyOrder {
        KeyOrder::Install(CarriedKey(key(secret)))
    }

    fn fingerprint(secret: u8) -> Fingerprint {
        key(secret).fingerprint()
    }

    #[test]
    fn a_changed_ring_is_there_after_a_restart_and_for_its_user_only() {
        let home = tempfile::tempdir().unwrap();
        let begun = load(home.path(), 1).unwrap();
        assert_eq!(secrets(&begun), [fingerprint(1)]);
        assert!(!home.path().join(FILE).exists(), "the key file alone is the ring until it is changed");
        changed(&begun, &[install(2), KeyOrder::Use(fingerprint(2))]);
        assert_eq!(secrets(&load(home.path(), 1).unwrap()), [fingerprint(2), fingerprint(1)]);
        assert_eq!(fs::metadata(home.path().join(FILE)).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    /// The file may lag behind the ring: that is no word to go back.
    #[test]
    fn a_key_file_that_is_as_it_was_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let begun = load(home.path(), 1).unwrap();
        changed(&begun, &[install(2), KeyOrder::Use(fingerprint(2))]);
        assert_eq!(secrets(&load(home.path(), 1).unwrap()), [2, 1].map(fingerprint));
        assert_eq!(secrets(&load(home.path(), 2).unwrap()), [2, 1].map(fingerprint));
    }

    /// The file may lie there for months after the key was removed: it must not come back.
    #[test]
    fn a_key_file_with_a_removed_key_is_ignored() {
        let home = tempfile::tempdir().unwrap();
        let begun = load(home.path(), 1).unwrap();
        changed(&begun, &[install(2), KeyOrder::Use(fingerprint(2)), KeyOrder::Remove(fingerprint(1))]);
        assert_eq!(secrets(&load(home.path(), 1).unwrap()), [fingerprint(2)]);
        assert_eq!(secrets(&load(home.path(), 2).unwrap()), [fingerprint(2)]);
    }

    /// The way back for a node that was away while the others changed their keys.
    #[test]
    fn a_key_file_with_a_new_key_seals_with_it() {
        let home = tempfile::tempdir().unwrap();
        let begun = load(home.path(), 1).unwrap();
        changed(&begun, &[install(2)]);
        assert_eq!(secrets(&load(home.path(), 3).unwrap()), [3, 1, 2].map(fingerprint));
        assert_eq!(secrets(&load(home.path(), 3).unwrap()), [3, 1, 2].map(fingerprint), "and it is kept");
        assert_eq!(secrets(&load(home.path(), 2).unwrap()), [2, 3, 1].map(fingerprint), "it may be one that was only accepted so far");
    }

    #[test]
    fn a_removed_key_that_is_installed_again_counts_again() {
        let home = tempfile::tempdir().unwrap();
        let begun = load(home.path(), 1).unwrap();
        let orders = [install(2), KeyOrder::Remove(fingerprint(2)), KeyOrder::Remove(fingerprint(2)), install(2)];
        changed(&begun, &orders);
        assert_eq!(secrets(&load(home.path(), 2).unwrap()), [2, 1].map(fingerprint), "its file is not ignored any more");
    }

    #[test]
    fn a_ring_that_cannot_be_used_is_told_without_its_keys() {
        let home = tempfile::tempdir().unwrap();
        let message = || format!("{:#}", load(home.path(), 1).expect_err("no ring"));
        fs::write(home.path().join(FILE), format!("key {}\nk5e5e5e\n", key(0x5e).to_text().as_str())).unwrap();
        assert!(message().contains("line 2") && message().contains("keyring") && !message().contains("5e5e"), "{}", message());
        let other = ClusterKey::new(ClusterId([9; 8]), [1; 32]);
        fs::write(home.path().join(FILE), format!("key {}\n", other.to_text().as_str())).unwrap();
        assert!(message().contains("0909090909090909") && message().contains("--data-dir"), "{}", message());
    }
}
