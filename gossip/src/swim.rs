//! Foca's identity and codec as logvine uses them: fixed-width, bounded, the same bytes on every machine.
//!
//! An identity is 16 bytes id, 8 bytes generation, 1 byte address family (4 or 6), the address, 2 bytes port; big-endian throughout.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};

use crate::{Generation, NodeId, ids::GENERATION_MAX};

/// A node in one of its generations: what SWIM calls a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: NodeId,
    pub(crate) gossip: SocketAddr,
    pub(crate) generation: Generation,
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    /// Never by itself: a new generation must be on disk first, so the host of foca renews (`Membership::renew`).
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> NodeId {
        self.id
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.generation, self.gossip) > (adversary.generation, adversary.gossip)
    }
}

/// Why bytes are not a membership message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("it ends too soon")]
    Short,
    #[error("no room for it")]
    NoRoom,
    #[error("its generation is beyond any clock")]
    Generation,
    #[error("unknown {what} {tag}")]
    Tag { what: &'static str, tag: u8 },
}

/// The codec; it has no state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SwimCodec;

fn need(buf: &impl Buf, bytes: usize) -> Result<(), CodecError> {
    if buf.remaining() < bytes { Err(CodecError::Short) } else { Ok(()) }
}

fn put_identity(identity: &Identity, buf: &mut Vec<u8>) {
    buf.extend_from_slice(&identity.id.0);
    buf.put_u64(identity.generation.0);
    match identity.gossip.ip() {
        IpAddr::V4(ip) => {
            buf.put_u8(4);
            buf.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            buf.put_u8(6);
            buf.extend_from_slice(&ip.octets());
        }
    }
    buf.put_u16(identity.gossip.port());
}

fn get_identity(buf: &mut impl Buf) -> Result<Identity, CodecError> {
    need(buf, 16 + 8 + 1)?;
    let mut id = NodeId::default();
    buf.copy_to_slice(&mut id.0);
    let generation = Generation(buf.get_u64());
    if generation > GENERATION_MAX {
        return Err(CodecError::Generation);
    }
    let ip = match buf.get_u8() {
        4 => {
            need(buf, 4 + 2)?;
            let mut octets = [0; 4];
            buf.copy_to_slice(&mut octets);
            IpAddr::from(Ipv4Addr::from(octets))
        }
        6 => {
            need(buf, 16 + 2)?;
            let mut octets = [0; 16];
            buf.copy_to_slice(&mut octets);
            IpAddr::from(Ipv6Addr::from(octets))
        }
        tag => return Err(CodecError::Tag { what: "address family", tag }),
    };
    Ok(Identity { id, gossip: SocketAddr::new(ip, buf.get_u16()), generation })
}

fn put_message(message: &Message<Identity>, buf: &mut Vec<u8>) {
    let (tag, number, other) = match message {
        Message::Ping(number) => (1, Some(*number), None),
        Message::Ack(number) => (2, Some(*number), None),
        Message::PingReq { target, probe_number } => (3, Some(*probe_number), Some(target)),
        Message::IndirectPing { origin, probe_number } => (4, Some(*probe_number), Some(origin)),
        Message::IndirectAck { target, probe_number } => (5, Some(*probe_number), Some(target)),
        Message::ForwardedAck { origin, probe_number } => (6, Some(*probe_number), Some(origin)),
        Message::Announce => (7, None, None),
        Message::Feed => (8, None, None),
        Message::Gossip => (9, None, None),
        Message::Broadcast => (10, None, None),
        Message::TurnUndead => (11, None, None),
    };
    buf.put_u8(tag);
    if let Some(number) = number {
        buf.put_u8(number);
    }
    if let Some(other) = other {
        put_identity(other, buf);
    }
}

fn get_message(buf: &mut impl Buf) -> Result<Message<Identity>, CodecError> {
    need(buf, 1)?;
    let tag = buf.get_u8();
    let mut number = 0;
    if (1..=6).contains(&tag) {
        need(buf, 1)?;
        number = buf.get_u8();
    }
    Ok(match tag {
        1 => Message::Ping(number),
        2 => Message::Ack(number),
        3 => Message::PingReq { target: get_identity(buf)?, probe_number: number },
        4 => Message::IndirectPing { origin: get_identity(buf)?, probe_number: number },
        5 => Message::IndirectAck { target: get_identity(buf)?, probe_number: number },
        6 => Message::ForwardedAck { origin: get_identity(buf)?, probe_number: number },
        7 => Message::Announce,
        8 => Message::Feed,
        9 => Message::Gossip,
        10 => Message::Broadcast,
        11 => Message::TurnUndead,
        tag => return Err(CodecError::Tag { what: "message", tag }),
    })
}

fn put_all(encoded: &[u8], mut buf: impl BufMut) -> Result<(), CodecError> {
    if buf.remaining_mut() < encoded.len() {
        return Err(CodecError::NoRoom);
    }
    buf.put_slice(encoded);
    Ok(())
}

impl Codec<Identity> for SwimCodec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Identity>, buf: impl BufMut) -> Result<(), CodecError> {
        let mut encoded = Vec::with_capacity(128);
        put_identity(&header.src, &mut encoded);
        encoded.put_u16(header.src_incarnation);
        put_identity(&header.dst, &mut encoded);
        put_message(&header.message, &mut encoded);
        put_all(&encoded, buf)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, CodecError> {
        let src = get_identity(&mut buf)?;
        need(&buf, 2)?;
        let src_incarnation = buf.get_u16();
        let dst = get_identity(&mut buf)?;
        Ok(Header { src, src_incarnation, dst, message: get_message(&mut buf)? })
    }

    fn encode_member(&mut self, member: &Member<Identity>, buf: impl BufMut) -> Result<(), CodecError> {
        let mut encoded = Vec::with_capacity(64);
        put_identity(member.id(), &mut encoded);
        encoded.put_u16(member.incarnation());
        encoded.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put_all(&encoded, buf)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, CodecError> {
        let identity = get_identity(&mut buf)?;
        need(&buf, 3)?;
        let incarnation = buf.get_u16();
        let state = match buf.get_u8() {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            tag => return Err(CodecError::Tag { what: "member state", tag }),
        };
        Ok(Member::new(identity, incarnation, state))
    }
}

/// Whether it asks to be taken in, which is answered by as many members as fit.
pub(crate) fn is_announce(bytes: &[u8]) -> bool {
    SwimCodec.decode_header(bytes).is_ok_and(|header| header.message == Message::Announce)
}

/// A membership message, read before foca sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peeked {
    pub(crate) header: Header<Identity>,
    /// What it says of whom, its sender first.
    pub(crate) named: Vec<Member<Identity>>,
    /// How many it named.
    named_once: usize,
    /// Where the number of those begins, and what follows on them.
    count_at: usize,
    rest_at: usize,
}

/// Reads a membership message as far as members go.
pub(crate) fn peek(bytes: &[u8]) -> Result<Peeked, CodecError> {
    let mut left = bytes;
    let header = SwimCodec.decode_header(&mut left)?;
    let count_at = bytes.len() - left.len();
    let mut named = vec![Member::new(header.src, header.src_incarnation, State::Alive)];
    if left.remaining() >= 2 {
        for _ in 0..left.get_u16() {
            named.push(SwimCodec.decode_member(&mut left)?);
        }
    }
    let rest_at = bytes.len() - left.len();
    Ok(Peeked { header, named_once: named.len(), named, count_at, rest_at })
}

impl Peeked {
    /// Leaves out those members, beside its sender, of which `is_news` does not hold.
    pub(crate) fn keep_news(&mut self, is_news: impl Fn(&Member<Identity>) -> bool) {
        let mut is_sender = true;
        self.named.retain(|member| std::mem::take(&mut is_sender) || is_news(member));
    }

    /// The message `bytes` that was read, with those members that are left.
    ///
    /// Errors: a member does not encode, which it did before.
    pub(crate) fn told<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, CodecError> {
        if self.named.len() == self.named_once {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut told = bytes[..self.count_at].to_vec();
        told.put_u16(u16::try_from(self.named.len() - 1).unwrap_or(u16::MAX));
        for member in &self.named[1..] {
            SwimCodec.encode_member(member, &mut told)?;
        }
        told.extend_from_slice(&bytes[self.rest_at..]);
        Ok(Cow::Owned(told))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(address: &str) -> Identity {
        Identity { id: NodeId([0xab; 16]), gossip: address.parse().unwrap(), generation: Generation(0x0102) }
    }

    /// Released format 1: later builds must read these bytes.
    #[test]
    fn a_ping_has_these_bytes() {
        let header = Header { src: identity("10.0.0.1:7946"), src_incarnation: 3, dst: identity("[::1]:7946"), message: Message::Ping(9) };
        let mut encoded = Vec::new();
        SwimCodec.encode_header(&header, &mut encoded).unwrap();
        let id = "ab".repeat(16);
        let expected = format!("{id}0000000000000102040a0000011f0a0003{id}00000000000001020600000000000000000000000000000001{}", "1f0a0109");
        assert_eq!(hex::encode(&encoded), expected);
        assert_eq!(SwimCodec.decode_header(&encoded[..]).unwrap(), header);
    }

    #[test]
    fn every_message_and_state_survives_the_trip() {
        let other = identity("[fe80::1]:1");
        let messages = [
            Message::Ping(1),
            Message::Ack(2),
            Message::PingReq { target: other, probe_number: 3 },
            Message::IndirectPing { origin: other, probe_number: 4 },
            Message::IndirectAck { target: other, probe_number: 5 },
            Message::ForwardedAck { origin: other, probe_number: 6 },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ];
        for message in messages {
            let header = Header { src: identity("1.2.3.4:5"), src_incarnation: u16::MAX, dst: other, message };
            let mut encoded = Vec::new();
            SwimCodec.encode_header(&header, &mut encoded).unwrap();
            encoded.put_u16(3);
            for state in [State::Alive, State::Suspect, State::Down] {
                SwimCodec.encode_member(&Member::new(other, 7, state), &mut encoded).unwrap();
            }
            let peeked = peek(&encoded).unwrap();
            let named: Vec<_> = peeked.named.iter().map(|member| (*member.id(), member.incarnation(), member.state())).collect();
            let sender = (identity("1.2.3.4:5"), u16::MAX, State::Alive);
            assert_eq!(named, [sender, (other, 7, State::Alive), (other, 7, State::Suspect), (other, 7, State::Down)]);
            assert_eq!(peeked.header, header);
        }
    }

    #[test]
    fn a_message_without_what_is_no_news_says_the_rest_as_before() {
        let [a, b] = ["1.2.3.4:5", "[fe80::1]:1"].map(identity);
        let message = |members: &[Member<Identity>]| {
            let header = Header { src: a, src_incarnation: 3, dst: b, message: Message::Ping(9) };
            let mut encoded = Vec::new();
            SwimCodec.encode_header(&header, &mut encoded).unwrap();
            encoded.put_u16(u16::try_from(members.len()).unwrap());
            members.iter().for_each(|member| SwimCodec.encode_member(member, &mut encoded).unwrap());
            encoded.extend_from_slice(b"the rest");
            encoded
        };
        let [alive, suspect, down] = [State::Alive, State::Suspect, State::Down].map(|state| Member::new(b, 7, state));
        let whole = message(&[alive.clone(), suspect.clone(), down.clone()]);
        let told = |is_news: fn(&Member<Identity>) -> bool| {
            let mut peeked = peek(&whole).unwrap();
            peeked.keep_news(is_news);
            peeked.told(&whole).unwrap().into_owned()
        };
        assert_eq!(told(|_| true), whole);
        assert_eq!(told(|member| member.state() != State::Suspect), message(&[alive, down]));
        assert_eq!(told(|_| false), message(&[]), "its sender is not asked about");
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            peek(&bytes).ok();
        }

        /// Whatever the cut, a message is read whole or not at all.
        #[test]
        fn a_cut_message_is_refused(cut in 0_usize..75) {
            let header = Header { src: identity("1.2.3.4:5"), src_incarnation: 0, dst: identity("[::1]:6"), message: Message::Ping(1) };
            let mut encoded = Vec::new();
            SwimCodec.encode_header(&header, &mut encoded).unwrap();
            prop_assume!(cut < encoded.len());
            prop_assert_eq!(peek(&encoded[..cut]).unwrap_err(), CodecError::Short);
        }
    }
}
