//! A stranger's datagram never opens.
//!
//! Input: a datagram as it leaves the network.

use std::net::SocketAddr;

use logvine_gossip::seal::{ClusterId, ClusterKey, Keyring};

pub(crate) fn run(data: &[u8]) {
    let keys = [2, 3].map(|secret| ClusterKey::new(ClusterId([1; 8]), [secret; 32]));
    let keyring = Keyring::new(keys.to_vec()).expect("two keys of one cluster are a ring");
    // Nobody finds a tag of 16 bytes by chance, and the corpus's are of another cluster.
    assert!(keyring.open(SocketAddr::from(([127, 0, 0, 2], 7946)), data).is_err());
}
