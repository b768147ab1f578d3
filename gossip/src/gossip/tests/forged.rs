//! What somebody who holds the cluster's key can say in another's name, and that it ends (`node_map`).

use super::*;
use crate::{
    node_map::{Delta, NodeMaps, Said},
    wire::{FORMAT, Packet, RumourWord},
};

/// Four nodes, and what the last of them says to the first two in the name of the third; what became of it.
fn world_with(forged: impl Fn(&World) -> Parts) -> (World, Result<Vec<u8>, FrameError>) {
    let mut world = World::new(4, 121);
    world.run(secs(10));
    world.say(2, "phase", "active");
    world.run(secs(5));
    let from = world.nodes[3].gossip.me();
    let mut result = Ok(Vec::new());
    for to in [0, 1] {
        let now = world.now();
        let parts = vec![forged(&world)];
        let packet = Packet {
            format: FORMAT,
            id: from.id,
            generation: from.generation,
            gossip: from.gossip,
            quic: from.quic,
            number: 0,
            to: None,
            parts,
            padding: Bytes::new(),
        };
        result = world.nodes[to].gossip.handle_call(now, from.id, &packet.encode());
        world.drain(to);
    }
    (world, result)
}

fn news(delta: &Delta<'_>) -> Parts {
    let maps = NodeMaps::new(id(9), Generation(1), gossip_address(9));
    Parts { node_news: maps.news([(None, delta)]).into(), ..Parts::default() }
}

fn draining(generation: Generation, after: u64, seq: u64) -> Parts {
    let words = vec![Said { seq, key: "phase", value: Some(b"draining") }];
    news(&Delta { node: id(2), generation, quic: Some(quic_address(2)), after, upto: seq, target: seq, floor: 0, words })
}

fn phase(world: &World, at: usize) -> &Bytes {
    world.nodes[at].gossip.node_map(&id(2)).unwrap().get("phase").unwrap()
}

/// That the forged word is seen, and seconds later nowhere any more.
fn is_overruled(forged: impl Fn(&World) -> Parts) {
    let (mut world, taken) = world_with(forged);
    assert!(taken.is_ok());
    assert_eq!(phase(&world, 0), "draining", "nobody can tell at first");
    let before = world.nodes[2].gossip.me().generation;
    let took = world.run_until(secs(20), |world| (0..4).all(|index| phase(world, index) == "active") && world.all_agree() && world.all_see_all());
    assert!(took.is_some());
    assert!(world.nodes[2].gossip.me().generation > before);
}

#[test]
fn words_beyond_what_a_node_said_are_overruled() {
    is_overruled(|world| draining(world.nodes[2].gossip.me().generation, 0, 50));
}

#[test]
fn words_of_a_generation_that_never_was_are_overruled() {
    is_overruled(|world| draining(Generation(world.nodes[2].gossip.me().generation.0 + 1_000_000), 0, 5));
}

/// A rumour goes from hand to hand, and so comes to the one that it is about.
#[test]
fn a_rumour_in_a_nodes_name_is_overruled() {
    is_overruled(|world| {
        let generation = world.nodes[2].gossip.me().generation;
        let word = crate::node_map::WireWord { key: "phase".into(), seq: 3, value: value("draining") };
        Parts { rumour_words: vec![RumourWord { node: id(2), generation, word }], ..Parts::default() }
    });
}

/// Damage, not another start: following it would use up all numbers, taking it would silence the node for ever.
#[test]
fn generations_and_seqs_out_of_all_proportion_are_refused() {
    let far = |world: &World| world.nodes[2].gossip.me().generation.0 + (1 << 43);
    let refused = |result| matches!(result, Err(FrameError::State(StateError::Damaged)));
    let (world, result) = world_with(|world| draining(Generation(far(world)), 0, 5));
    assert!(refused(result));
    assert_eq!(phase(&world, 0), "active");
    let (mut world, result) = world_with(|world| draining(world.nodes[2].gossip.me().generation, 0, 1 << 60));
    assert!(refused(result));
    assert_eq!(phase(&world, 0), "active");
    world.run(secs(10));
    assert!(world.all_agree());
}

/// Maps of nodes that nobody knows would fill the memory of all.
#[test]
fn a_strangers_map_does_not_stay() {
    let stranger = |_: &World| {
        let words = vec![Said { seq: 1, key: "phase", value: Some(b"active") }];
        news(&Delta { node: id(77), generation: Generation(5), quic: None, after: 0, upto: 1, target: 1, floor: 0, words })
    };
    let (mut world, _) = world_with(stranger);
    assert!(world.nodes[0].gossip.node_map(&id(77)).is_some());
    let took = world.run_until(secs(120), |world| world.up().all(|(_, node)| node.gossip.node_map(&id(77)).is_none()));
    assert!(took.is_some());
    assert!(world.run_until(secs(10), World::all_agree).is_some());
}

/// Versions mix: what this one has no use for is kept and passed on all the same.
#[test]
fn keys_that_nobody_here_knows_are_stored_and_passed_on() {
    let mut world = World::new(3, 122);
    world.run(secs(10));
    // The first and the last never meet: the one between forwards.
    world.cut.extend([(0, 2), (2, 0)]);
    world.write(0, "later/what-is-this", "\u{1f9a6}");
    world.say(0, "later/word", "x");
    let knows = |world: &World| {
        let gossip = &world.nodes[2].gossip;
        gossip.catalog().get("later/what-is-this").is_some() && gossip.node_map(&id(0)).is_some_and(|map| map.get("later/word").is_some())
    };
    assert!(world.run_until(secs(15), knows).is_some());
    world.kill(2);
    world.restart(2);
    assert!(world.nodes[2].gossip.catalog().get("later/what-is-this").is_some(), "and kept across a restart");
}

/// Each guard's test fails without the guard.
#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    use crate::canary::turns_red;
    turns_red("forged-self", words_beyond_what_a_node_said_are_overruled);
}
