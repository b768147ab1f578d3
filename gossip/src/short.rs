//! The short form of a ping, of its acknowledgement, and of the answer to a comparison that has shown no difference: what both sides know of each other already
//! is not said, only checked.
//!
//! ```text
//! [0xc1][check:8][number: LEB128][incarnation:2][1 ping, 2 ack, 3 alike][probe number:1][what foca adds: count:2 and members, if any]
//! ```
//! 0xc1 begins no MessagePack, so the two forms are told apart by their first byte. The check stands for who sends and who receives, each with its
//! generation and address: who knows either of them otherwise comes to another number, and takes nothing. The seal around it is the same as around all.
//! Not here: who may be sent it, what becomes of one that is not understood (`gossip::short`).

use bytes::BufMut;
use foca::{Codec, Header, Message};

use crate::{
    StateError,
    hash::mix,
    ids::id_hash,
    pack::{Unpack, put_number},
    swim::{Identity, SwimCodec},
};

/// The first byte.
pub(crate) const MARK: u8 = 0xc1;

/// What has a short form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ping = 1,
    Ack = 2,
    /// Nothing differs; nothing of foca's. Without it a comparison of equals would have no answer, and no silence would tell that nobody is there.
    Alike = 3,
}

/// What foca writes where it adds nothing.
const NO_MEMBERS: [u8; 2] = [0, 0];

/// A short ping or acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Short<'a> {
    pub(crate) check: u64,
    /// The sender's number of this datagram, not zero.
    pub(crate) number: u64,
    pub(crate) incarnation: u16,
    pub(crate) kind: Kind,
    pub(crate) probe: u8,
    /// What foca adds, as it encodes it.
    pub(crate) added: &'a [u8],
}

/// A number for who sends and who receives. Chance meets it once in 2^64 times; on purpose only who holds the cluster key could, and who does may say anything.
pub(crate) fn check(from: &Identity, to: &Identity) -> u64 {
    [from, to].into_iter().fold(0, |sum, identity| {
        let ip = match identity.gossip.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => u128::from(ip.to_bits()),
            std::net::IpAddr::V6(ip) => ip.to_bits(),
        };
        let [high, low] = [64, 0].map(|shift| u64::try_from(ip >> shift & u128::from(u64::MAX)).expect("64 bits of it"));
        let numbers = [id_hash(&identity.id), identity.generation.0, high, low, identity.gossip.port().into()];
        numbers.into_iter().fold(sum, mix)
    })
}

fn kind_of(message: &Message<Identity>) -> Option<(Kind, u8)> {
    match message {
        Message::Ping(probe) => Some((Kind::Ping, *probe)),
        Message::Ack(probe) => Some((Kind::Ack, *probe)),
        _ => None,
    }
}

/// What foca says in `swim`, if that has a short form.
pub(crate) fn kind(swim: &[u8]) -> Option<Kind> {
    kind_of(&SwimCodec.decode_header(swim).ok()?.message).map(|(kind, _)| kind)
}

/// The short form of foca's `swim`, under this number; None if it has none.
pub(crate) fn shorten(mut swim: &[u8], number: u64) -> Option<Vec<u8>> {
    let header = SwimCodec.decode_header(&mut swim).ok()?;
    let (kind, probe) = kind_of(&header.message)?;
    let added = if swim == NO_MEMBERS { &[] } else { swim };
    Some(Short { check: check(&header.src, &header.dst), number, incarnation: header.src_incarnation, kind, probe, added }.write())
}

impl<'a> Short<'a> {
    /// Reads a datagram that begins with [`MARK`].
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, StateError> {
        let mut bytes = Unpack(payload);
        let [MARK] = bytes.array()? else { return Err(StateError::Damaged) };
        let check = u64::from_be_bytes(bytes.array()?);
        let number = bytes.number()?;
        let incarnation = u16::from_be_bytes(bytes.array()?);
        let [kind, probe] = bytes.array()?;
        let kind = [Kind::Ping, Kind::Ack, Kind::Alike].into_iter().find(|known| *known as u8 == kind);
        let kind = kind.filter(|_| number > 0).ok_or(StateError::Damaged)?;
        Ok(Self { check, number, incarnation, kind, probe, added: bytes.0 })
    }

    /// The datagram's payload.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![MARK];
        out.put_u64(self.check);
        put_number(&mut out, self.number);
        out.put_u16(self.incarnation);
        out.extend_from_slice(&[self.kind as u8, self.probe]);
        out.extend_from_slice(self.added);
        out
    }

    /// As foca says it between these two; None of what is not foca's.
    pub(crate) fn lengthen(&self, src: Identity, dst: Identity) -> Option<Vec<u8>> {
        let message = match self.kind {
            Kind::Ping => Message::Ping(self.probe),
            Kind::Ack => Message::Ack(self.probe),
            Kind::Alike => return None,
        };
        let mut swim = Vec::with_capacity(128 + self.added.len());
        let result = SwimCodec.encode_header(&Header { src, src_incarnation: self.incarnation, dst, message }, &mut swim);
        debug_assert!(result.is_ok(), "a Vec takes all: {result:?}");
        swim.extend_from_slice(self.added);
        Some(swim)
    }
}

#[cfg(test)]
mod tests {
    use foca::{Member, State};
    use proptest::prelude::*;

    use super::*;
    use crate::{Generation, NodeId, seal::SEAL_BYTES};

    fn identity(node: u8, address: &str, generation: u64) -> Identity {
        Identity { id: NodeId([node; 16]), gossip: address.parse().unwrap(), generation: Generation(generation) }
    }

    fn swim(message: Message<Identity>, members: &[Member<Identity>]) -> Vec<u8> {
        let header = Header { src: identity(1, "10.0.0.1:7946", 7), src_incarnation: 3, dst: identity(2, "[fd00::2]:7946", 9), message };
        let mut swim = Vec::new();
        SwimCodec.encode_header(&header, &mut swim).unwrap();
        swim.put_u16(u16::try_from(members.len()).unwrap());
        members.iter().for_each(|member| SwimCodec.encode_member(member, &mut swim).unwrap());
        swim
    }

    /// Released form 1: later builds must read these bytes.
    #[test]
    fn a_short_ping_has_these_bytes() {
        let short = shorten(&swim(Message::Ping(5), &[]), 300).unwrap();
        expect_test::expect!["c1cedd1bd9f9eea9a2ac0200030105"].assert_eq(&hex::encode(&short));
        assert!(short.len() + SEAL_BYTES <= 60, "{} bytes sealed", short.len() + SEAL_BYTES);
    }

    #[test]
    fn what_is_shortened_is_foca_s_own_again_between_the_same_two() {
        let other = Member::new(identity(4, "1.2.3.4:5", 6), 7, State::Suspect);
        for (message, members) in [(Message::Ping(0), vec![]), (Message::Ack(255), vec![other.clone(), other])] {
            let long = swim(message, &members);
            let short = shorten(&long, u64::MAX).unwrap();
            let read = Short::read(&short).unwrap();
            let (src, dst) = (identity(1, "10.0.0.1:7946", 7), identity(2, "[fd00::2]:7946", 9));
            assert_eq!((read.number, read.check), (u64::MAX, check(&src, &dst)));
            let again = read.lengthen(src, dst).unwrap();
            let read = |bytes| crate::swim::peek(bytes).map(|peeked| (peeked.header, peeked.named));
            assert_eq!(read(&again).unwrap(), read(&long).unwrap());
        }
        assert_eq!(shorten(&swim(Message::Gossip, &[]), 1), None);
        assert_eq!(shorten(&swim(Message::TurnUndead, &[]), 1), None);
    }

    #[test]
    fn the_check_tells_every_part_of_both_sides_and_the_direction() {
        let (a, b) = (identity(1, "10.0.0.1:7946", 7), identity(2, "10.0.0.2:7946", 7));
        let others =
            [identity(3, "10.0.0.1:7946", 7), identity(1, "10.0.0.3:7946", 7), identity(1, "10.0.0.1:7947", 7), identity(1, "10.0.0.1:7946", 8)];
        let mut checks: Vec<u64> = others.iter().flat_map(|other| [check(other, &b), check(&b, other)]).collect();
        checks.extend([check(&a, &b), check(&b, &a)]);
        let count = checks.len();
        checks.sort_unstable();
        checks.dedup();
        assert_eq!(checks.len(), count);
        assert_eq!(check(&a, &b), check(&identity(1, "[::ffff:10.0.0.1]:7946", 7), &b), "the same address as an IPv6 socket shows it");
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 1..80)) {
            bytes[0] = MARK;
            if let Ok(short) = Short::read(&bytes) {
                let swim = short.lengthen(identity(1, "10.0.0.1:1", 1), identity(2, "10.0.0.2:1", 1));
                swim.and_then(|swim| crate::swim::peek(&swim).ok());
            }
        }

        /// Whatever the cut, it is read whole or not at all.
        #[test]
        fn a_cut_one_is_refused(cut in 0_usize..15) {
            let short = shorten(&swim(Message::Ping(5), &[]), 300).unwrap();
            prop_assert_eq!(short.len(), 15);
            prop_assert_eq!(Short::read(&short[..cut]), Err(StateError::Damaged));
        }
    }
}
