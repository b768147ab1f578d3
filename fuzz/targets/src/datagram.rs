//! A stranger's datagram never opens.
//!
//! Input: a datagram as it leaves the network.

use std::net::SocketAddr;

use logvine_gossip::seal::{ClusterId, ClusterKey, Keyring, SealError};

pub(crate) fn run(data: &[u8]) -> bool {
    let keys = [2, 3].map(|secret| ClusterKey::new(ClusterId([1; 8]), [secret; 32]));
    let keyring = Keyring::new(keys.to_vec()).expect("two keys of one cluster are a ring");
    // Nobody finds a tag of 16 bytes by chance, and the corpus's are of another cluster.
    let refused = keyring.open(SocketAddr::from(([127, 0, 0, 2], 7946)), data).expect_err("nobody has the key");
    // Past its length, its version and the key that it names: to the cipher.
    refused == SealError::Tag
}
