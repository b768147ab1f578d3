//! A stranger's datagram never opens; a cluster key's holder's datagrams, whatever is in them, neither end a node nor make it grow without bound.
//!
//! Input: payloads, each with its length before it (2 bytes, big-endian; cut to what is there).

#![no_main]

use std::{net::SocketAddr, time::Duration};

use libfuzzer_sys::fuzz_target;
use logvine_gossip::{
    Generation, Gossip, GossipConfig, Instant, Me, NodeId, Now, Output, Restored, UnixMicros,
    seal::{ClusterId, ClusterKey, Keyring, NONCE_BYTES, PAYLOAD_BYTES_MAX},
};

/// One datagram makes a node say a few things to a few others; a hundred would be an amplifier.
const OUTPUTS_PER_DATAGRAM_MAX: usize = 100;

fn now(step: u32) -> Now {
    let passed = Duration::from_millis(50) * step;
    Now { at: Instant::ZERO + passed, wall: UnixMicros(1_700_000_000_000_000 + 50_000 * u64::from(step)) }
}

fn node() -> Gossip {
    let me = Me {
        id: NodeId([1; 16]),
        generation: Generation(1_700_000_000_000),
        gossip: SocketAddr::from(([127, 0, 0, 1], 7946)),
        quic: SocketAddr::from(([127, 0, 0, 1], 7947)),
    };
    let restored = Restored { reserved: Generation(me.generation.0 + 64), ..Restored::default() };
    Gossip::new(now(0), GossipConfig::default(), me, restored, 7)
}

fn drain(gossip: &mut Gossip) -> usize {
    let mut outputs = 0;
    while let Some(output) = gossip.poll_output() {
        outputs += 1;
        if let Output::Datagram { payload, .. } = output {
            assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a payload of {} bytes cannot be sealed", payload.len());
        }
    }
    outputs
}

fuzz_target!(|data: &[u8]| {
    let from = SocketAddr::from(([127, 0, 0, 2], 7946));
    let keyring = Keyring::new(vec![ClusterKey::new(ClusterId([1; 8]), [2; 32])]).expect("one key is a ring");
    // Nobody finds a tag of 16 bytes by chance.
    assert!(keyring.open(from, data).is_err());

    let mut gossip = node();
    drain(&mut gossip);
    let mut rest = data;
    let mut step = 0;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len()).min(PAYLOAD_BYTES_MAX);
        let (payload, after) = after.split_at(length);
        rest = after;
        step += 1;
        let sealed = keyring.seal(from, [3; NONCE_BYTES], payload);
        let opened = keyring.open(from, &sealed).expect("what the ring sealed opens");
        assert_eq!(opened, payload);
        // Garbage is an error, and that is all it is.
        let _ = gossip.handle_datagram(now(step), from, &opened);
        assert!(drain(&mut gossip) <= OUTPUTS_PER_DATAGRAM_MAX);
        gossip.handle_timeout(now(step));
        drain(&mut gossip);
    }
    // Members are learned from what was received, some tens of bytes each.
    assert!(gossip.members().count() <= data.len());
});
