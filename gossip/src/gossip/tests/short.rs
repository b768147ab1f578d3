//! The short form of pings: between whom it goes, and that it counts for nobody else.

use foca::Message;

use super::{super::short::WIRE, *};
use crate::{
    short::{Kind, MARK, Short},
    swim::peek,
    wire::Packet,
};

/// `count` nodes that have joined, and what each was sent in the minute after: to whom, from where, what.
fn recorded(count: usize, prepare: impl FnOnce(&mut World)) -> (World, Vec<(usize, SocketAddr, Vec<u8>)>) {
    let mut world = World::new(count, 19);
    world.run(secs(5));
    prepare(&mut world);
    world.run(secs(15));
    world.recorded = Some(Vec::new());
    world.run(secs(60));
    let recorded = world.recorded.take().unwrap();
    (world, recorded)
}

fn is_short(payload: &[u8]) -> bool {
    payload.first() == Some(&MARK)
}

/// Whether it is a ping, or the answer to one, with all its names.
fn is_long_ping(payload: &[u8]) -> bool {
    let parts = Packet::decode(payload).map(|packet| packet.parts).unwrap_or_default();
    let mut messages = parts.iter().filter_map(|parts| Some(peek(parts.swim.as_deref()?).unwrap().header.message));
    messages.any(|message| matches!(message, Message::Ping(_) | Message::Ack(_)))
}

/// What a node believes, and from whom it took what.
fn belief(world: &World, index: usize) -> String {
    let gossip = &world.nodes[index].gossip;
    let members: Vec<_> = gossip.members().collect();
    format!("{:?} {members:?}", gossip.me())
}

/// Hands a datagram to a node some time later: whether it took it, or said or did anything about it.
fn is_taken(world: &mut World, to: usize, from: SocketAddr, payload: &[u8]) -> bool {
    let before = belief(world, to);
    let now = world.now();
    let taken = world.nodes[to].gossip.handle_datagram(now, from, payload);
    let answers = std::iter::from_fn(|| world.nodes[to].gossip.poll_output()).count();
    let refused = taken.is_err() || belief(world, to) == before;
    assert!(!refused || answers == 0, "what is refused is not answered");
    !refused
}

#[test]
fn nodes_that_know_each_other_probe_in_short() {
    let (mut world, recorded) = recorded(5, |_| {});
    let short = recorded.iter().filter(|(_, _, payload)| is_short(payload)).count();
    assert!(short > 5 * 60 * 3, "two pings and two answers a second each: {short}");
    assert!(!recorded.iter().any(|(_, _, payload)| is_long_ping(payload)));
    assert!(world.all_see_all());
    world.nodes.iter_mut().for_each(|node| node.changes.retain(|(at, _)| at.as_micros() > 20_000_000));
    assert_eq!(world.wrongs(), (0, 0));
}

/// Versions mix while a cluster is upgraded. A node of one that knows no short form does not have the word in its map.
#[test]
fn a_node_that_does_not_say_that_it_reads_the_short_form_is_never_sent_it() {
    let silent = |world: &mut World| {
        let now = world.now_at(2);
        world.nodes[2].gossip.say(now, WIRE, None).unwrap();
        world.drain(2);
    };
    let (_, recorded) = recorded(4, silent);
    let pings = |to_silent: bool| recorded.iter().filter(move |(to, ..)| (*to == 2) == to_silent);
    let asks = |payload: &[u8]| is_short(payload) && Short::read(payload).unwrap().kind == Kind::Ping;
    assert!(pings(true).any(|(_, _, payload)| is_long_ping(payload)), "it is probed all the same");
    assert!(!pings(true).any(|(_, _, payload)| asks(payload)));
    assert!(pings(false).any(|(_, _, payload)| asks(payload)));
}

/// The datagrams that a node has to send.
fn sent(gossip: &mut Gossip) -> Vec<(SocketAddr, Vec<u8>)> {
    let outputs = std::iter::from_fn(|| gossip.poll_output());
    let datagram = |output| if let Output::Datagram { to, payload } = output { Some((to, payload)) } else { None };
    outputs.filter_map(datagram).collect()
}

/// A cluster of three, and a short datagram that 0 made for 1 and that is still under way.
fn under_way() -> (World, Vec<u8>) {
    let (mut world, _) = recorded(3, |_| {});
    world.deaf_to_short = Some(1);
    world.run(secs(10));
    world.deaf_to_short = None;
    world.run(secs(1));
    let made = world.unheard.iter().rfind(|(from, payload)| *from == gossip_address(0) && Short::read(payload).unwrap().kind == Kind::Ping);
    let made = made.unwrap().1.clone();
    (world, made)
}

#[test]
fn it_counts_once() {
    let (mut world, made) = under_way();
    assert!(is_taken(&mut world, 1, gossip_address(0), &made));
    world.run(millis(1));
    assert!(!is_taken(&mut world, 1, gossip_address(0), &made));
    assert_eq!(world.nodes[1].gossip.datagrams_refused().repeated, 1);
}

#[test]
fn it_counts_from_its_sender_s_address_only_and_for_its_receiver_only() {
    let (mut world, made) = under_way();
    assert!(!is_taken(&mut world, 1, gossip_address(2), &made), "from another member's address");
    assert!(!is_taken(&mut world, 1, gossip_address(7), &made), "from where nobody is known");
    assert!(!is_taken(&mut world, 2, gossip_address(0), &made), "at another node, that has taken the receiver's address");
    assert_eq!(world.nodes[1].gossip.datagrams_refused().former, 2);
    assert!(is_taken(&mut world, 1, gossip_address(0), &made), "its number was not used up by that");
}

#[test]
fn it_means_nothing_to_a_receiver_that_was_restarted() {
    let (mut world, made) = under_way();
    world.kill(1);
    world.restart(1);
    world.run(secs(10));
    assert!(world.all_see_all());
    assert!(!is_taken(&mut world, 1, gossip_address(0), &made));
}

#[test]
fn it_means_nothing_once_its_sender_has_another_generation() {
    let (mut world, made) = under_way();
    world.kill(0);
    world.restart(0);
    world.run(secs(10));
    assert!(world.all_see_all());
    assert!(!is_taken(&mut world, 1, gossip_address(0), &made));
}

#[test]
fn it_means_nothing_at_another_node_that_lives_at_its_sender_s_address() {
    let (mut world, made) = under_way();
    let at = gossip_address(0);
    let generation = Generation(world.now().wall.as_millis());
    let me = Me { id: id(7), generation, gossip: at, quic: quic_address(0) };
    let restored = Restored { reserved: Generation(generation.0 + 64), ..Restored::default() };
    world.kill(0);
    world.run(secs(20));
    assert_eq!(world.status(0, 1), Some(Status::Down));
    let mut other = Gossip::new(world.now(), world.config.clone(), me, restored, 7);
    let hello = |other: &mut Gossip, now: Now| {
        other.handle_timeout(now);
        sent(other)
    };
    // It greets its seeds, and announces itself when it is welcome.
    for _ in 0..20 {
        world.run(millis(100));
        let now = world.now();
        let mut letters: VecDeque<_> = hello(&mut other, now).into();
        while let Some((to, payload)) = letters.pop_front() {
            if to == gossip_address(1) {
                world.nodes[1].gossip.handle_datagram(now, at, &payload).unwrap();
                for (_, answer) in sent(&mut world.nodes[1].gossip).into_iter().filter(|(to, _)| *to == at) {
                    other.handle_datagram(now, gossip_address(1), &answer).unwrap();
                }
                letters.extend(sent(&mut other));
            }
        }
    }
    assert!(world.nodes[1].gossip.member(&id(7)).is_some_and(|member| member.status.is_live() && member.gossip == at));
    assert!(!is_taken(&mut world, 1, at, &made));
}

/// Two nodes have no helpers: if the ping were not repeated in long, every probe would fail.
#[test]
fn a_probe_does_not_fail_because_its_short_ping_is_not_understood() {
    let (mut world, _) = recorded(2, |world| world.deaf_to_short = Some(1));
    let since = |node: &Node| node.changes.iter().filter(|(at, _)| at.as_micros() > 6_000_000).map(|(_, change)| change.clone()).collect::<Vec<_>>();
    assert_eq!(since(&world.nodes[0]).iter().filter(|change| matches!(change, Change::Member { .. })).count(), 0);
    world.deaf_to_short = None;
    world.run(secs(5));
    assert!(world.all_see_all());
}

#[test]
fn a_cut_one_is_malformed() {
    let (mut world, made) = under_way();
    for cut in 1..made.len().min(14) {
        assert!(!is_taken(&mut world, 1, gossip_address(0), &made[..cut]));
    }
    assert!(world.nodes[1].gossip.datagrams_refused().malformed >= 11);
}

#[cfg(feature = "canary")]
mod canaries {
    use super::*;
    use crate::canary::turns_red;

    #[test]
    fn each_guard_has_a_test() {
        turns_red("short-unchecked", it_counts_from_its_sender_s_address_only_and_for_its_receiver_only);
        turns_red("short-to-all", a_node_that_does_not_say_that_it_reads_the_short_form_is_never_sent_it);
        turns_red("short-only", a_probe_does_not_fail_because_its_short_ping_is_not_understood);
        turns_red("no-replay-window", it_counts_once);
    }
}
