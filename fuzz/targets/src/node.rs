//! The node at which targets throw, and what must be true of it whatever was thrown.

use std::{net::SocketAddr, time::Duration};

use logvine_gossip::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX, Generation, Gossip, GossipConfig, Instant, Me, NodeId, Now, Output, Restored, UnixMicros};

/// When every recording began, and every run begins.
pub(crate) const START: u64 = 1_700_000_000_000;
/// A packet makes a node send a few things to a few others; a hundred would be an amplifier.
const SENT_PER_PACKET_MAX: usize = 100;

pub(crate) fn now(passed: Duration) -> Now {
    let micros = u64::try_from(passed.as_micros()).expect("a run is minutes");
    Now { at: Instant::ZERO + passed, wall: UnixMicros(START * 1_000 + micros) }
}

pub(crate) fn id(index: u8) -> NodeId {
    NodeId([index + 1; 16])
}

pub(crate) fn gossip_address(index: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, index + 1], 7946))
}

/// The node of a place; all know the first one as their seed.
pub(crate) fn start(index: u8, at: Now) -> Gossip {
    let generation = Generation(at.wall.as_millis());
    let quic = SocketAddr::new(gossip_address(index).ip(), 7947);
    let me = Me { id: id(index), generation, gossip: gossip_address(index), quic };
    let restored = Restored { reserved: Generation(generation.0 + 64), ..Restored::default() };
    let config = GossipConfig { seeds: vec![gossip_address(0)], ..GossipConfig::default() };
    Gossip::new(at, config, me, restored, u64::from(index))
}

/// A node that is thrown at.
pub(crate) struct Thrown {
    pub(crate) gossip: Gossip,
    passed: Duration,
}

impl Thrown {
    pub(crate) fn new() -> Self {
        let mut thrown = Self { gossip: start(0, now(Duration::ZERO)), passed: Duration::ZERO };
        thrown.drain();
        thrown
    }

    /// Lets a little time pass, takes one input, and looks at what it made the node send.
    pub(crate) fn take(&mut self, input: impl FnOnce(&mut Gossip, Now)) {
        self.passed += Duration::from_millis(50);
        let now = now(self.passed);
        input(&mut self.gossip, now);
        let sent = self.drain();
        assert!(sent <= SENT_PER_PACKET_MAX, "one packet made the node send {sent}");
        self.gossip.handle_timeout(now);
        self.drain();
    }

    fn drain(&mut self) -> usize {
        let mut sent = 0;
        while let Some(output) = self.gossip.poll_output() {
            // What it keeps and tells is as long as what came; what it sends must not be.
            sent += usize::from(matches!(output, Output::Datagram { .. } | Output::Call { .. } | Output::Knock { .. }));
            match output {
                Output::Datagram { payload, .. } => assert!(payload.len() <= DATAGRAM_BYTES_MAX, "{} bytes make no datagram", payload.len()),
                Output::Call { body, .. } => assert!(body.len() <= FRAME_BYTES_MAX, "{} bytes make no frame", body.len()),
                Output::Knock { node, .. } => self.gossip.handle_knock(now(self.passed), node, true),
                Output::Prove { .. } | Output::Persist(_) | Output::Changed(_) => {}
            }
        }
        sent
    }

    /// Members and entries are learned from what was received, some tens of bytes each.
    pub(crate) fn check(&self, received: usize) {
        let (members, entries) = (self.gossip.members().count(), self.gossip.catalog().len());
        assert!(members + entries <= received, "{received} bytes made {members} members and {entries} entries");
    }
}

/// The pieces of an input, each with who sent it: `[sender:1][length:2, big-endian][bytes]`, the last one as far as it is there.
pub(crate) fn pieces(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[sender, high, low], rest) = data.split_first_chunk()?;
        let (piece, rest) = rest.split_at(usize::from(u16::from_be_bytes([high, low])).min(rest.len()));
        data = rest;
        Some((1 + sender % 3, piece))
    })
}

/// Appends a piece, unless it is too long for one.
pub(crate) fn append(data: &mut Vec<u8>, sender: u8, piece: &[u8]) {
    if let Ok(length) = u16::try_from(piece.len()) {
        data.push(sender - 1);
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(piece);
    }
}
