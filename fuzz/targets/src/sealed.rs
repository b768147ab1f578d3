//! Datagrams of a holder of the cluster key, whatever is in them, neither end a node nor make it grow without bound.
//!
//! Input: payloads, see [`pieces`].

use logvine_gossip::seal::{ClusterId, ClusterKey, Keyring, NONCE_BYTES, PAYLOAD_BYTES_MAX};

use crate::node::{Thrown, gossip_address, pieces};

pub(crate) fn run(data: &[u8]) -> bool {
    let keyring = Keyring::new(vec![ClusterKey::new(ClusterId([1; 8]), [2; 32])]).expect("one key is a ring");
    let mut node = Thrown::new();
    let mut understood = false;
    for (sender, payload) in pieces(data) {
        let from = gossip_address(sender);
        let payload = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
        let opened = keyring.open(from, &keyring.seal(from, [3; NONCE_BYTES], payload)).expect("what the ring sealed opens");
        assert_eq!(opened, payload);
        // Garbage is an error, and that is all it is.
        node.take(|gossip, now| understood |= gossip.handle_datagram(now, from, &opened).is_ok());
    }
    node.check(data.len());
    understood
}
