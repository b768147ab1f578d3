//! What nodes send each other: one packet type for datagrams (before sealing) and for the bodies of calls. MessagePack, named fields.
//!
//! A packet is a sender and parts. Absent parts take no room, unknown ones are ignored, so that versions can mix.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Entry, Generation, NodeId, Stamp, Status, UnixMicros,
    catalog::{Bucket, Mark},
    membership::refusal::Found,
    node_map::{NodeDelta, NodeMark, WireWord},
};

/// The number of this format.
pub(crate) const FORMAT: u8 = 1;
/// The least length of a hello and of an announce, in bytes before sealing: sealed, a third of the longest answer, which is foca's feed of members
/// (1,200 B and our header). Whoever records one and sends it from a forged address gains no more than RFC 9000 §8.1 grants.
pub(crate) const ANNOUNCE_BYTES_MIN: usize = 460;
/// Most parts in one packet. A datagram has one; the reply to a call one for each thing that was asked.
pub(crate) const PARTS_MAX: usize = 1_024;
/// Deepest nesting that is read. The types need nine levels; a peer's unknown fields may have a few more.
const DEPTH_MAX: usize = 24;

/// A datagram, a call's body or its reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Packet {
    #[serde(rename = "f")]
    pub(crate) format: u8,
    #[serde(rename = "i")]
    pub(crate) id: NodeId,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "a")]
    pub(crate) gossip: SocketAddr,
    #[serde(rename = "q")]
    pub(crate) quic: SocketAddr,
    /// Grows with each datagram that the sender sends to anybody; 0: it is of a version that does not number them. Says nothing in a call.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub(crate) number: u64,
    /// The receiver's generation as the sender knows it: what was meant for an earlier one is not taken (`replay`).
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Generation>,
    #[serde(rename = "p", default, deserialize_with = "bounded_parts")]
    pub(crate) parts: Vec<Parts>,
    /// Zeroes, so that a question is not much shorter than its answer ([`ANNOUNCE_BYTES_MIN`]).
    #[serde(rename = "z", default, skip_serializing_if = "Bytes::is_empty")]
    pub(crate) padding: Bytes,
}

/// An empty part is one byte, and some hundred in memory: a frame of nothing else would become half a gigabyte.
fn bounded_parts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Parts>, D::Error> {
    struct Bounded;

    impl<'de> serde::de::Visitor<'de> for Bounded {
        type Value = Vec<Parts>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {PARTS_MAX} parts")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<Parts>, A::Error> {
            let mut parts = Vec::new();
            while let Some(part) = sequence.next_element()? {
                if parts.len() >= PARTS_MAX {
                    return Err(serde::de::Error::invalid_length(parts.len() + 1, &self));
                }
                parts.push(part);
            }
            Ok(parts)
        }
    }

    deserializer.deserialize_seq(Bounded)
}

fn is_zero_stamp(stamp: &Stamp) -> bool {
    *stamp == Stamp::ZERO
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What most packets fit into: as much is set aside when one is encoded.
const PACKET_BYTES: usize = 512;

#[derive(Deserialize)]
struct FormatOnly {
    #[serde(rename = "f")]
    format: u8,
}

/// Why bytes are not a packet.
#[derive(Debug)]
pub(crate) enum PacketError {
    Body(rmp_serde::decode::Error),
    Format(u8),
}

impl Packet {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PACKET_BYTES);
        rmp_serde::encode::write_named(&mut bytes, self).expect("these types always encode, and a Vec takes all");
        bytes
    }

    /// Reads a packet; the caller has bounded its length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let format = format_of(bytes)?;
        if format != FORMAT {
            return Err(PacketError::Format(format));
        }
        read(bytes)
    }
}

/// A packet's format. Everybody puts it first, so it is not looked for; where it is elsewhere, or no small number, it is.
fn format_of(bytes: &[u8]) -> Result<u8, PacketError> {
    match bytes {
        // A map of up to fifteen, a text of one letter, a number up to 127 (the MessagePack specification's fixmap, fixstr and positive fixint).
        [0x80..=0x8f, 0xa1, b'f', format @ 0..=0x7f, ..] => Ok(*format),
        _ => Ok(read::<FormatOnly>(bytes)?.format),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PacketError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut reader).map_err(PacketError::Body)
}

/// What a packet says. Several parts may stand together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Parts {
    /// Foca's own bytes. Only in datagrams.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub(crate) swim: Option<Bytes>,
    /// Who are you? Answered by `welcome`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) hello: bool,
    /// I am here; this is the highest generation that I know of you (zero: none).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) welcome: Option<Generation>,
    /// The generation under which I knew you before the one that I know now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) former: Option<Generation>,
    /// Whom `former` is of: where that node was, another may be by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) former_of: Option<NodeId>,
    /// Of the node in `former_of`: the most votes that it said were on its disk, and under which generation before its present one it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) former_votes: Option<(Generation, u64)>,
    /// With `welcome`: to me you are alive at another address than you speak from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) elsewhere: Option<Elsewhere>,
    /// With `welcome`: you were forgotten up to this generation; go above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forgotten: Option<Generation>,
    /// Do you believe of the members what I do? This is its root. Answered by `view_agrees`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) view: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) view_agrees: Option<bool>,
    /// I suspect you: speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspicion: Option<Suspicion>,
    /// These nodes said goodbye.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<(NodeId, Generation)>,
    /// Are you there? Answered by `here`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) there: bool,
    /// Yes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) here: bool,
    /// I am refused by the hosts of these members: knock too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) knock: Vec<(NodeId, Generation)>,
    /// What was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) knocked: Vec<Knocked>,
    /// These members are down: news, to be passed on at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gone: Vec<Gone>,
    /// Shall we compare?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<Roots>,
    /// My catalog has the root that you named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) agreed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<Members>,
    /// The sums of my node maps, by bucket: answered by the seqs of those that differ. This and the next four are packed (`node_map::digest`).
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub(crate) node_tops: Bytes,
    /// How much I hold of each node: answered by news, asks, and names where the rosters differ.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub(crate) node_seqs: Bytes,
    /// The same with names: answered by news and asks.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub(crate) node_names: Bytes,
    /// Where I am behind you: answered by news.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub(crate) node_asks: Bytes,
    /// Deltas.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub(crate) node_news: Bytes,
    /// All my marks of node maps: answered by deltas and wants. This and the next two only come from nodes that do not know the packed ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_marks: Option<Vec<NodeMark>>,
    /// Where I am behind you: answered by deltas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) node_wants: Vec<NodeMark>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) node_deltas: Vec<NodeDelta>,
    /// The 64 upper sums of my catalog: answered by the leaves that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) catalog_tops: Vec<u64>,
    /// Answered by the marks in the leaves that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) catalog_leaves: Vec<Leaves>,
    /// Answered by entries and wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) catalog_marks: Option<Marks>,
    /// Hashes of keys whose entries I lack.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) catalog_wants: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) catalog_entries: Vec<(String, Entry)>,
    /// My catalog's floor, beside whatever is said of it.
    #[serde(skip_serializing_if = "is_zero_stamp")]
    pub(crate) catalog_floor: Stamp,
    /// News of the catalog, to be passed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rumour_entries: Vec<(String, Entry)>,
    /// News of entries that are too large for a rumour: pull them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rumour_marks: Vec<(String, Stamp)>,
    /// News of node maps, to be passed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rumour_words: Vec<RumourWord>,
}

/// Where a node is believed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Elsewhere {
    #[serde(rename = "a")]
    pub(crate) gossip: SocketAddr,
    #[serde(rename = "q")]
    pub(crate) quic: SocketAddr,
}

impl Parts {
    /// Whether it asks who is there, and says nothing.
    pub(crate) fn is_hello(&self) -> bool {
        self.hello && *self == Self { hello: true, view: self.view, ..Self::default() }
    }

    /// Whether a floor means something beside it.
    pub(crate) fn speaks_of_catalog(&self) -> bool {
        let entries = !self.catalog_entries.is_empty() || !self.rumour_entries.is_empty() || !self.rumour_marks.is_empty();
        self.roots.is_some() || self.catalog_marks.is_some() || entries
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "n")]
    pub(crate) incarnation: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Knocked {
    #[serde(rename = "i")]
    pub(crate) node: NodeId,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "o")]
    pub(crate) found: Found,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gone {
    #[serde(rename = "i")]
    pub(crate) node: NodeId,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    /// Its host says that no process is there.
    #[serde(rename = "p", default)]
    pub(crate) proved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roots {
    #[serde(rename = "n")]
    pub(crate) nodes: u64,
    #[serde(rename = "c")]
    pub(crate) catalog: u64,
    /// Only now and then.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<u64>,
    /// What the sender's clock shows.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(crate) wall: Option<UnixMicros>,
    /// I have agreed with somebody already: say nothing if we are alike.
    #[serde(rename = "q", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Members {
    #[serde(rename = "m")]
    pub(crate) records: Vec<Record>,
    /// Tell me in turn what you know better.
    #[serde(rename = "a")]
    pub(crate) answer: bool,
}

/// What one node believes of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(rename = "i")]
    pub(crate) id: NodeId,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "a")]
    pub(crate) gossip: SocketAddr,
    /// None: not known.
    #[serde(rename = "q")]
    pub(crate) quic: Option<SocketAddr>,
    #[serde(rename = "n")]
    pub(crate) incarnation: u16,
    #[serde(rename = "s")]
    pub(crate) status: Status,
    /// Down, and proved so.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) proved: bool,
}

/// The sums of the 64 leaves below one upper bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leaves {
    #[serde(rename = "t")]
    pub(crate) top: u8,
    #[serde(rename = "l")]
    pub(crate) sums: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// The leaves that these are all marks of; empty: of the whole catalog.
    #[serde(rename = "b")]
    pub(crate) buckets: Vec<Bucket>,
    #[serde(rename = "m")]
    pub(crate) marks: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RumourWord {
    #[serde(rename = "i")]
    pub(crate) node: NodeId,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "w")]
    pub(crate) word: WireWord,
}
