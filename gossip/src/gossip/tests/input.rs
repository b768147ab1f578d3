//! What strangers, damage and other versions send.

use expect_test::expect_file;
use proptest::prelude::*;

use super::*;
use crate::{
    DATAGRAM_BYTES_MAX, Entry, FRAME_BYTES_MAX,
    catalog::VALUE_BYTES_MAX,
    membership::refusal::Found,
    node_map::{NodeDelta, NodeMark, WireWord},
    wire::{FORMAT, Gone, Knocked, Leaves, Marks, Members, Packet, Record, Roots, RumourWord},
};

/// A cluster of two, and what a third would have to sign.
fn pair() -> World {
    let mut world = World::new(2, 91);
    world.run(secs(10));
    world
}

fn packet(from: usize, parts: Vec<Parts>) -> Packet {
    let (gossip, quic) = (gossip_address(from), quic_address(from));
    Packet { format: FORMAT, id: id(from), generation: Generation(7), gossip, quic, number: 0, to: None, parts, padding: Bytes::new() }
}

fn entry(stamp: Stamp, text: &str) -> Entry {
    Entry { stamp, origin: id(5), value: value(text) }
}

/// Every kind of part at once.
fn everything() -> Parts {
    let mark = NodeMark { node: id(1), generation: Generation(7), whole_to: 3 };
    let word = WireWord { key: "phase".into(), seq: 3, value: value("active") };
    Parts {
        swim: Some(Bytes::from_static(b"swim")),
        hello: true,
        welcome: Some(Generation(7)),
        suspicion: Some(Suspicion { generation: Generation(7), incarnation: 2 }),
        left: vec![(id(2), Generation(7))],
        roots: Some(Roots { nodes: 1, catalog: 2, members: Some(3), wall: None, quiet: false }),
        agreed: true,
        members: Some(Members {
            records: vec![Record {
                id: id(2),
                generation: Generation(7),
                gossip: gossip_address(2),
                quic: Some(quic_address(2)),
                incarnation: 4,
                status: Status::Suspect,
                proved: false,
            }],
            answer: true,
        }),
        node_tops: Bytes::new(),
        node_seqs: Bytes::new(),
        node_names: Bytes::new(),
        node_asks: Bytes::new(),
        node_news: Bytes::new(),
        node_marks: Some(vec![mark]),
        node_wants: vec![mark],
        node_deltas: vec![NodeDelta {
            node: id(1),
            generation: Generation(7),
            quic: None,
            after: 0,
            upto: 3,
            target: 3,
            floor: 0,
            words: vec![word.clone()],
        }],
        catalog_tops: vec![1, 2],
        catalog_leaves: vec![Leaves { top: 1, sums: vec![9] }],
        catalog_marks: Some(Marks { buckets: vec![5], marks: Vec::new() }),
        catalog_wants: vec![8],
        catalog_entries: vec![("k".into(), entry(Stamp(6), "v"))],
        catalog_floor: Stamp::ZERO,
        rumour_entries: vec![("k".into(), Entry { value: None, ..entry(Stamp(6), "") })],
        rumour_marks: vec![("k".into(), Stamp(6))],
        rumour_words: vec![RumourWord { node: id(1), generation: Generation(7), word }],
        ..Parts::default()
    }
}

/// The parts of refusal and of deaths.
fn knocks() -> Parts {
    let knocked = |found| Knocked { node: id(1), generation: Generation(7), found };
    Parts {
        there: true,
        here: true,
        knock: vec![(id(1), Generation(7))],
        knocked: vec![knocked(Found::Answer), knocked(Found::Refusal), knocked(Found::Silence)],
        gone: vec![Gone { node: id(1), generation: Generation(7), proved: true }],
        ..Parts::default()
    }
}

/// Released format 1: later builds must read these bytes.
#[test]
fn the_bytes_of_format_1_stay() {
    let encoded = packet(0, vec![everything()]).encode();
    expect_file!["packet_format_1.hex"].assert_eq(&format!("{}\n", hex::encode(&encoded)));
    assert_eq!(Packet::decode(&encoded).unwrap(), packet(0, vec![everything()]));
    let encoded = packet(0, vec![knocks()]).encode();
    expect_file!["packet_format_1_knocks.hex"].assert_eq(&format!("{}\n", hex::encode(&encoded)));
    assert_eq!(Packet::decode(&encoded).unwrap(), packet(0, vec![knocks()]));
}

/// A node of an older build compares by named marks: it is answered in kind.
#[test]
fn named_marks_are_answered_by_named_deltas_and_wants() {
    let mut world = pair();
    let now = world.now();
    let known = NodeMark { node: id(5), generation: Generation(7), whole_to: 3 };
    let body = packet(5, vec![Parts { node_marks: Some(vec![known]), ..Parts::default() }]).encode();
    let reply = world.nodes[0].gossip.handle_call(now, id(5), &body).unwrap();
    let parts = Packet::decode(&reply).unwrap().parts;
    let told: usize = parts.iter().map(|parts| parts.node_deltas.len()).sum();
    assert_eq!(told, 2, "of itself and of the other");
    assert!(parts.iter().any(|parts| parts.node_wants == [NodeMark::nothing(id(5))]));
}

/// A newer node's unknown fields are passed over.
#[test]
fn unknown_fields_are_ignored() {
    let mut encoded = packet(0, vec![Parts { hello: true, ..Parts::default() }]).encode();
    encoded[0] += 1; // one more field in the outer map
    encoded.extend_from_slice(b"\xa5later\x93\x01\x02\x03");
    assert_eq!(Packet::decode(&encoded).unwrap(), packet(0, vec![Parts { hello: true, ..Parts::default() }]));
}

#[test]
fn another_format_is_refused_by_its_number() {
    let mut world = pair();
    let body = Packet { format: 9, ..packet(5, Vec::new()) }.encode();
    let now = world.now();
    let refused = world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &body);
    assert!(matches!(refused, Err(DatagramError::Format { format: 9, known: FORMAT })));
}

/// The seal binds the address; the claims inside must agree with it.
#[test]
fn who_claims_another_sender_is_refused() {
    let mut world = pair();
    let now = world.now();
    let gossip = &mut world.nodes[0].gossip;
    let honest = packet(5, Vec::new()).encode();
    assert!(matches!(gossip.handle_datagram(now, gossip_address(6), &honest), Err(DatagramError::Sender { .. })));
    let as_myself = packet(0, Vec::new()).encode();
    assert!(matches!(gossip.handle_datagram(now, gossip_address(0), &as_myself), Err(DatagramError::Sender { .. })));
    assert!(matches!(gossip.handle_call(now, id(6), &honest), Err(FrameError::Sender { .. })));
}

/// PITFALLS §1 row 11: a bare announce of 7 bytes drew 1,377 to a claimed address. RFC 9000 §8.1 allows three times what came.
#[test]
fn nobody_gains_more_than_three_times_its_bytes_by_asking() {
    let mut world = World::new(60, 92);
    world.run(secs(60));
    assert!(world.all_see_all());
    let asker = Me { id: id(99), generation: Generation(1), gossip: gossip_address(99), quic: quic_address(99) };
    let config = GossipConfig { seeds: vec![gossip_address(0)], ..GossipConfig::default() };
    let restored = Restored { reserved: Generation(64), ..Restored::default() };
    let mut gossip = Gossip::new(world.now(), config, asker, restored, 1);
    let mut asked = 0;
    for _ in 0..40 {
        let now = Now { at: world.now + millis(500), ..world.now() };
        world.now = now.at;
        gossip.handle_timeout(now);
        for output in std::iter::from_fn(|| gossip.poll_output()).collect::<Vec<_>>() {
            let Output::Datagram { to, payload } = output else { continue };
            if to != gossip_address(0) {
                continue;
            }
            asked += 1;
            let sealed = |payload: &[u8]| payload.len() + crate::seal::SEAL_BYTES;
            world.nodes[0].gossip.handle_datagram(now, gossip_address(99), &payload).unwrap();
            let mut answered = 0;
            for answer in std::iter::from_fn(|| world.nodes[0].gossip.poll_output()).collect::<Vec<_>>() {
                if let Output::Datagram { to, payload } = answer
                    && to == gossip_address(99)
                {
                    answered += sealed(&payload);
                    gossip.handle_datagram(now, gossip_address(0), &payload).ok();
                }
            }
            assert!(answered <= 3 * sealed(&payload), "{} bytes drew {answered}", sealed(&payload));
            if gossip.members().count() > 0 {
                return assert!(asked >= 2, "a hello and an announce");
            }
        }
    }
    panic!("it was never taken in");
}

#[test]
fn an_announce_that_is_not_filled_up_gets_no_answer() {
    let mut world = pair();
    let from = crate::swim::Identity { id: id(5), gossip: gossip_address(5), generation: Generation(7) };
    let me = world.nodes[0].gossip.me();
    let to = crate::swim::Identity { id: me.id, gossip: me.gossip, generation: me.generation };
    let header = foca::Header { src: from, src_incarnation: 0, dst: to, message: foca::Message::Announce };
    let mut swim = Vec::new();
    foca::Codec::encode_header(&mut crate::swim::SwimCodec, &header, &mut swim).unwrap();
    let bare = packet(5, vec![Parts { swim: Some(swim.into()), ..Parts::default() }]);
    let now = world.now();
    let refused = world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &bare.encode());
    assert!(matches!(refused, Err(DatagramError::Unpadded { .. })));
    assert!(world.nodes[0].gossip.poll_output().is_none());
    let filled = Packet { padding: vec![0; crate::wire::ANNOUNCE_BYTES_MIN].into(), ..bare };
    world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &filled.encode()).unwrap();
    assert!(world.nodes[0].gossip.member(&id(5)).is_some());
}

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let mut world = pair();
    let now = world.now();
    let gossip = &mut world.nodes[0].gossip;
    let refused = gossip.handle_datagram(now, gossip_address(5), &vec![0x93; DATAGRAM_BYTES_MAX + 1]);
    assert!(matches!(refused, Err(DatagramError::TooLarge { .. })));
    assert!(matches!(gossip.handle_call(now, id(5), &vec![0x93; FRAME_BYTES_MAX + 1]), Err(FrameError::TooLarge { .. })));
}

/// rmp-serde's guard of the depth has had holes; a megabyte of open brackets must not end the process.
#[test]
fn nesting_without_end_is_refused() {
    let mut world = pair();
    let now = world.now();
    for open in [0x91_u8, 0x81, 0xdd, 0xdf] {
        let mut body = packet(5, Vec::new()).encode();
        body[0] += 1;
        body.extend_from_slice(b"\xa5later");
        body.resize(FRAME_BYTES_MAX, open);
        assert!(world.nodes[0].gossip.handle_call(now, id(5), &body).is_err());
        assert!(world.nodes[0].gossip.handle_call(now, id(5), &vec![open; FRAME_BYTES_MAX]).is_err());
    }
}

/// A megabyte of empty parts would be half a gigabyte of memory.
#[test]
fn parts_without_end_are_refused() {
    let mut world = pair();
    let now = world.now();
    let many = |count: usize| packet(5, vec![Parts::default(); count]).encode();
    assert!(world.nodes[0].gossip.handle_call(now, id(5), &many(crate::wire::PARTS_MAX)).is_ok());
    let refused = world.nodes[0].gossip.handle_call(now, id(5), &many(crate::wire::PARTS_MAX + 1));
    assert!(matches!(&refused, Err(FrameError::Body { source }) if source.to_string().contains("at most 1024 parts")), "{refused:?}");
    assert!(world.nodes[0].gossip.handle_call(now, id(5), &many(FRAME_BYTES_MAX - 200)).is_err());
}

/// Nobody else writes what this node says of itself; who speaks of a later generation makes it go above that.
#[test]
fn a_forged_word_about_the_reader_itself_is_refused() {
    let mut world = pair();
    world.say(0, "phase", "active");
    let now = world.now();
    let word = WireWord { key: "phase".into(), seq: 99, value: value("draining") };
    let generation = world.nodes[0].gossip.me().generation;
    let forged = Parts {
        rumour_words: vec![RumourWord { node: id(0), generation, word: word.clone() }],
        node_deltas: vec![NodeDelta { node: id(0), generation, quic: None, after: 0, upto: 99, target: 99, floor: 0, words: vec![word] }],
        ..Parts::default()
    };
    world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &packet(5, vec![forged]).encode()).unwrap();
    assert_eq!(world.nodes[0].gossip.node_map(&id(0)).unwrap().get("phase"), value("active").as_ref());
    let left = Parts { left: vec![(id(0), generation)], ..Parts::default() };
    world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &packet(5, vec![left]).encode()).unwrap();
    world.run(secs(5));
    assert!(world.all_see_all());
}

/// A timestamp from the future would win for ever (Cortex).
#[test]
pub(super) fn a_stamp_more_than_a_day_ahead_is_set_aside_and_told_once() {
    let mut world = pair();
    let now = world.now();
    let ahead = Stamp::from_millis(now.wall.as_millis() + 25 * 3_600 * 1_000);
    let body = packet(5, vec![Parts { catalog_entries: vec![("k".into(), entry(ahead, "for ever"))], ..Parts::default() }]).encode();
    for _ in 0..3 {
        world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &body).unwrap();
    }
    world.drain(0);
    let told = world.nodes[0].changes.iter().filter(|(_, change)| matches!(change, Change::StampAhead { .. })).count();
    assert_eq!(told, 1);
    assert_eq!(world.nodes[0].gossip.catalog().get("k"), None);
    assert!(world.write(0, "k", "mine") < ahead);
}

#[test]
fn one_refused_entry_does_not_take_the_others_with_it() {
    let mut world = pair();
    let now = world.now();
    let large = Entry { value: Some(Bytes::from(vec![0; VALUE_BYTES_MAX + 1])), ..entry(Stamp(1), "") };
    let entries = vec![("a".into(), entry(Stamp(1), "x")), ("large".into(), large), ("z".into(), entry(Stamp(1), "x"))];
    let body = packet(5, vec![Parts { catalog_entries: entries, ..Parts::default() }]).encode();
    assert!(matches!(world.nodes[0].gossip.handle_call(now, id(5), &body), Err(FrameError::State(_))));
    let keys: Vec<_> = world.nodes[0].gossip.catalog().iter("").map(|(key, _)| key.to_owned()).collect();
    assert_eq!(keys, ["a", "z"]);
}

/// A generation far beyond any clock is damage; following it would use up all numbers.
#[test]
fn an_absurd_generation_is_not_followed() {
    let mut world = pair();
    let now = world.now();
    let before = world.nodes[0].gossip.me().generation;
    let body = packet(5, vec![Parts { welcome: Some(Generation(u64::MAX)), ..Parts::default() }]).encode();
    world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &body).unwrap();
    world.run(secs(2));
    assert_eq!(world.nodes[0].gossip.me().generation, before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut world = pair();
        let now = world.now();
        prop_assert!(world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &bytes).is_err());
        prop_assert!(world.nodes[0].gossip.handle_call(now, id(5), &bytes).is_err());
    }

    /// Damage inside an otherwise good packet: refused or harmless, and the cluster goes on.
    #[test]
    fn a_damaged_packet_does_no_lasting_harm(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut world = pair();
        let mut body = packet(5, vec![everything(), knocks()]).encode();
        for (index, byte) in flips {
            let index = index.index(body.len());
            body[index] = byte;
        }
        let now = world.now();
        world.nodes[0].gossip.handle_datagram(now, gossip_address(5), &body).ok();
        world.nodes[0].gossip.handle_call(now, id(5), &body).ok();
        world.drain(0);
        world.run(secs(10));
        prop_assert_eq!(world.status(1, 0), Some(Status::Alive));
        prop_assert_eq!(world.status(0, 1), Some(Status::Alive));
    }
}

#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    crate::canary::turns_red("no-address-check", who_claims_another_sender_is_refused);
}
