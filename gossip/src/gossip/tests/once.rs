//! A datagram counts once: whoever records the line and sends it again changes nothing (PITFALLS §1 row 11).

use super::*;

/// Three nodes that say, write and lose sight of each other, all of it recorded.
fn recorded_cluster() -> World {
    let mut world = World::new(3, 71);
    world.recorded = Some(Vec::new());
    world.run(secs(5));
    world.say(0, "tags", "web");
    world.write(1, "runner/a", "spec");
    world.split(1);
    world.run(secs(8));
    world.heal();
    world.run(secs(15));
    world.say(0, "tags", "db");
    world.write(2, "runner/a", "later");
    world.run(secs(5));
    assert!(world.all_see_all() && world.all_agree());
    world
}

/// What a node believes, and when it last heard whom.
fn belief(world: &World, index: usize) -> String {
    let gossip = &world.nodes[index].gossip;
    let members: Vec<_> = gossip.members().collect();
    format!("{:?} {:x} {:x} {members:?}", gossip.me(), gossip.catalog().digest(), gossip.node_maps_digest())
}

/// Sends everything again that was recorded: how many datagrams, what they changed or had done, and to how many it was answered that they were former.
fn replay(world: &mut World) -> (usize, Vec<String>, usize) {
    let (mut harm, mut told) = (Vec::new(), 0);
    let recorded = world.recorded.take().unwrap_or_default();
    for (index, from, payload) in &recorded {
        let (now, before) = (world.now(), belief(world, *index));
        let gossip = &mut world.nodes[*index].gossip;
        gossip.handle_datagram(now, *from, payload).ok();
        for output in std::iter::from_fn(|| gossip.poll_output()) {
            match output {
                Output::Datagram { to, payload: answer } if to == *from && answer.len() < payload.len() => told += 1,
                output => harm.push(format!("{output:?}")),
            }
        }
        let after = belief(world, *index);
        if after != before {
            harm.push(format!("{before}\nbecame\n{after}"));
        }
    }
    (recorded.len(), harm, told)
}

#[test]
fn an_hour_old_recording_changes_nothing() {
    let mut world = recorded_cluster();
    let recorded = world.recorded.take();
    world.run(secs(3_600));
    world.recorded = recorded;
    let refused = |world: &World| -> u64 {
        world.nodes.iter().map(|node| node.gossip.datagrams_refused()).map(|refused| refused.repeated + refused.former).sum()
    };
    let before = refused(&world);
    let (datagrams, harm, told) = replay(&mut world);
    assert!(datagrams > 500, "{datagrams} are no recording");
    assert_eq!(harm, [""; 0]);
    assert!(told <= 6, "each of three nodes tells each other one once at most, not {told} times");
    assert_eq!(refused(&world) - before, datagrams as u64, "each was counted");
}

/// A restarted node has forgotten what it has heard. Deleted entries must not come back to it from the line.
#[test]
fn a_recording_brings_no_state_to_a_node_that_was_restarted_since() {
    let mut world = recorded_cluster();
    world.kill(1);
    world.kill(2);
    world.nodes[0].catalog.clear();
    world.restart(0);
    world.run(secs(5));
    let maps = world.nodes[0].gossip.node_maps_digest();
    let now = world.now();
    for (_, from, payload) in world.recorded.take().unwrap().into_iter().filter(|(to, ..)| *to == 0) {
        world.nodes[0].gossip.handle_datagram(now, from, &payload).ok();
        world.drain(0);
    }
    let gossip = &world.nodes[0].gossip;
    assert_eq!((gossip.catalog().iter("").count(), gossip.node_maps_digest()), (0, maps));
    assert!(gossip.datagrams_refused().former > 0);
}

/// What the network itself repeats, out of order, is dropped once it was taken.
#[test]
fn a_datagram_that_the_network_repeats_is_taken_once() {
    let mut world = recorded_cluster();
    let (datagrams, harm, _) = replay(&mut world);
    assert!(datagrams > 0);
    assert_eq!(harm, [""; 0]);
    world.run(secs(10));
    assert!(world.all_see_all() && world.all_agree());
}

#[cfg(feature = "canary")]
mod canaries {
    use super::*;
    use crate::canary::plant;

    #[test]
    fn without_its_window_a_node_believes_the_line() {
        let mut world = recorded_cluster();
        plant(Some("no-replay-window"));
        let (_, harm, _) = replay(&mut world);
        plant(None);
        assert!(!harm.is_empty());
    }
}
