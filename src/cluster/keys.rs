//! Changing the cluster's key: what nodes tell each other of their rings, and whether the next step may be taken.
//!
//! A step (`logvine_gossip::seal::RotationError` shows the line) is safe once all nodes have taken the one before: then neighbours on the line are all that
//! ever meet. Each node says in its node map which keys it has; a node that is down is asked for by its last word, since it would return to nobody.
//! Not here: the ring itself, how an order reaches the others.

use std::fmt;

use logvine_gossip::{
    NodeId, Status,
    seal::{ClusterKey, Fingerprint},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    member::{NodeInfo, status_word, value},
    node::Node,
};

/// The node map's word.
pub(crate) const KEYS: &str = "keys";

/// One step, as a node is told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyOrder {
    /// Only say which keys you have.
    Tell,
    /// Accept this key.
    Install(CarriedKey),
    /// Seal with it.
    Use(Fingerprint),
    /// Accept it no more.
    Remove(Fingerprint),
}

/// A key on its way to another node, over a connection that is encrypted and whose ends are proved. Shown without its secret.
#[derive(Debug, Clone)]
pub struct CarriedKey(pub ClusterKey);

impl PartialEq for CarriedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint() == other.0.fingerprint()
    }
}

impl Eq for CarriedKey {}

impl Serialize for CarriedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.to_text().as_str())
    }
}

impl<'de> Deserialize<'de> for CarriedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

impl fmt::Display for KeyOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tell => f.write_str("tell"),
            Self::Install(key) => write!(f, "install {}", key.0.fingerprint()),
            Self::Use(key) => write!(f, "use {key}"),
            Self::Remove(key) => write!(f, "remove {key}"),
        }
    }
}

/// A node's ring, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingRow {
    pub id: NodeId,
    /// For people; its id's beginning until it has said a name.
    pub name: String,
    pub status: Status,
    /// The key that seals first. None: it has never said.
    pub keys: Option<Vec<Fingerprint>>,
}

/// The rings of all nodes that have not said goodbye, this one's too, as they are in the view.
pub fn rings(node: &Node) -> Vec<RingRow> {
    let stays = |info: &&NodeInfo| info.status != Status::Left;
    let row = |info: &NodeInfo| RingRow {
        id: info.id,
        name: crate::view::name_of(node, &info.id),
        status: info.status,
        keys: value(node.gossip().node_map(&info.id), KEYS),
    };
    node.view().values().filter(stays).map(row).collect()
}

/// Why the order would leave nodes unheard: one sentence for each of them. Empty: it may be given.
pub fn hindrances(order: &KeyOrder, rings: &[RingRow]) -> Vec<String> {
    let hinders = |ring: &RingRow| {
        let keys = ring.keys.as_deref();
        let who = format!("{} ({})", ring.name, status_word(ring.status));
        match (order, keys) {
            (KeyOrder::Tell | KeyOrder::Install(_), _) => None,
            (KeyOrder::Use(_) | KeyOrder::Remove(_), None) => Some(format!("{who} has not said which keys it has")),
            (KeyOrder::Use(key), Some(keys)) => (!keys.contains(key)).then(|| format!("{who} does not have the key")),
            (KeyOrder::Remove(key), Some(keys)) => (keys.first() == Some(key)).then(|| format!("{who} seals with the key")),
        }
    };
    rings.iter().filter_map(hinders).collect()
}

#[cfg(test)]
mod tests {
    use logvine_gossip::seal::ClusterId;

    use super::*;

    fn fingerprint(byte: u8) -> Fingerprint {
        Fingerprint([byte; 8])
    }

    fn ring(name: &str, status: Status, keys: Option<&[u8]>) -> RingRow {
        let keys = keys.map(|keys| keys.iter().copied().map(fingerprint).collect());
        RingRow { id: NodeId::default(), name: name.to_owned(), status, keys }
    }

    #[test]
    fn a_key_seals_only_when_all_have_it() {
        let order = KeyOrder::Use(fingerprint(2));
        let ready = ring("a", Status::Alive, Some(&[1, 2]));
        assert_eq!(hindrances(&order, std::slice::from_ref(&ready)), [""; 0]);
        let rings = [ready, ring("b", Status::Suspect, Some(&[1])), ring("c", Status::Down, Some(&[1])), ring("d", Status::Alive, None)];
        assert_eq!(
            hindrances(&order, &rings),
            ["b (suspect) does not have the key", "c (down) does not have the key", "d (alive) has not said which keys it has"]
        );
    }

    #[test]
    fn a_key_goes_only_when_nobody_seals_with_it() {
        let order = KeyOrder::Remove(fingerprint(1));
        let rings = [ring("a", Status::Alive, Some(&[2, 1])), ring("b", Status::Down, Some(&[1, 2])), ring("c", Status::Alive, Some(&[2]))];
        assert_eq!(hindrances(&order, &rings), ["b (down) seals with the key"]);
    }

    /// An order is traced and logged: it must not tell the key.
    #[test]
    fn a_carried_key_arrives_and_is_not_shown() {
        let order = KeyOrder::Install(CarriedKey(ClusterKey::new(ClusterId([1; 8]), [0x5e; 32])));
        let carried: KeyOrder = rmp_serde::from_slice(&rmp_serde::to_vec_named(&order).unwrap()).unwrap();
        assert_eq!(carried, order);
        assert!(!format!("{order:?} {order}").contains("5e5e"));
    }
}
