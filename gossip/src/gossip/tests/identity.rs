//! DESIGN §3.1, "Identity": old disks, two live copies, moves, what was forgotten.

use super::*;
use crate::wire::{FORMAT, Packet, Suspicion};

/// Whether a node has found its disk to be old.
fn is_outdated(world: &World, index: usize) -> bool {
    world.nodes[index].changes.iter().any(|(_, change)| matches!(change, Change::DiskOutdated { .. }))
}

/// Starts a node from the disk that it had when so many generations were reserved.
fn restart_from(world: &mut World, index: usize, reserved: Generation) {
    world.kill(index);
    world.run(secs(1));
    world.nodes[index].reserved = reserved;
    world.restart(index);
}

/// A process with the id and the disk of another, at an address of its own. Its index.
fn start_twin(world: &mut World, of: usize) -> usize {
    let index = world.start_new();
    world.kill(index);
    let (reserved, me) = (world.nodes[of].reserved, world.nodes[of].gossip.me());
    let generation = Generation(world.now().wall.as_millis()).max(reserved);
    let me = Me { gossip: gossip_address(index), quic: quic_address(index), generation, ..me };
    let restored = Restored { reserved, doubt: known_up_to(reserved), ..Restored::default() };
    let gossip = Gossip::new(world.now(), world.config.clone(), me, restored, 77);
    let node = &mut world.nodes[index];
    (node.gossip, node.reserved, node.up) = (gossip, reserved, true);
    node.changes.clear();
    world.drain(index);
    index
}

#[test]
fn a_disk_image_from_before_the_last_start_is_found_to_be_old_and_a_plain_restart_is_not() {
    for seed in 0..20 {
        let mut world = World::new(4, 100 + seed);
        world.run(secs(10));
        let image = world.nodes[1].reserved;
        for _ in 0..3 {
            world.kill(1);
            world.run(secs(1));
            world.restart(1);
            world.run(secs(10));
            assert!(!is_outdated(&world, 1), "seed {seed}: its disk has all that it used");
        }
        restart_from(&mut world, 1, image);
        assert!(world.run_until(secs(10), |world| is_outdated(world, 1)).is_some(), "seed {seed}");
        assert!(world.run_until(secs(10), World::all_see_all).is_some(), "seed {seed}");
    }
}

/// A peer that learns of the new generation from others, before it was asked, still remembers the one before.
#[test]
fn an_old_disk_is_found_although_the_first_to_answer_knows_nothing() {
    for seed in 0..20 {
        let mut world = World::new(3, 130 + seed);
        world.run(secs(10));
        let image = world.nodes[2].reserved;
        world.kill(2);
        world.run(secs(1));
        world.restart(2);
        world.run(secs(10));
        world.kill(2);
        // The one who knows is slow to be asked; the other has lost its disk and begins anew.
        world.kill(0);
        world.nodes[0].peers.clear();
        world.run(secs(1));
        world.restart(0);
        world.nodes[2].reserved = image;
        world.cut = BTreeSet::from([(1, 2), (2, 1)]);
        world.restart(2);
        world.run(millis(1_500));
        world.heal();
        assert!(world.run_until(secs(60), |world| is_outdated(world, 2)).is_some(), "seed {seed}");
        assert!(!is_outdated(&world, 1));
    }
}

/// A machine that lost its data directory has another node at the same address. What others remember of the one that was there says nothing of the new disk
/// (simulation seeds 434 and 512: the node took another disk id again and again, and was nobody's witness for long).
#[test]
fn what_is_remembered_of_who_had_the_address_before_says_nothing_of_a_new_disk() {
    for seed in 0..10 {
        let mut world = World::new(4, 170 + seed);
        world.run(secs(10));
        world.kill(3);
        world.run(secs(1));
        world.restart(3);
        world.run(secs(10));
        world.kill(3);
        world.run(secs(1));
        let me = Me { id: id(9), ..world.me(3, Generation(0)) };
        let gossip = Gossip::new(world.now(), world.config.clone(), me, Restored::default(), seed);
        let node = &mut world.nodes[3];
        (node.gossip, node.up, node.reserved) = (gossip, true, Generation(0));
        (node.catalog, node.peers, node.changes) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        world.drain(3);
        world.run(secs(60));
        assert!(world.nodes[0].gossip.member(&id(9)).is_some_and(|member| member.status == Status::Alive), "seed {seed}");
        assert!(!is_outdated(&world, 3), "seed {seed}");
    }
}

/// Generations of others are on the disk: otherwise nobody would know after all were off.
#[test]
fn an_old_disk_is_found_although_everybody_restarted() {
    let mut world = World::new(3, 150);
    world.run(secs(10));
    let image = world.nodes[2].reserved;
    world.kill(2);
    world.run(secs(1));
    world.restart(2);
    world.run(secs(10));
    for index in 0..3 {
        world.kill(index);
    }
    world.nodes[2].reserved = image;
    world.run(secs(1));
    for index in 0..3 {
        world.restart(index);
    }
    assert!(world.run_until(secs(10), |world| is_outdated(world, 2)).is_some());
    assert!(!is_outdated(&world, 0) && !is_outdated(&world, 1));
}

/// Two live copies of one data directory: the later one ends before anybody believes it, and the first is not disturbed.
#[test]
fn of_two_live_copies_the_later_one_ends() {
    for seed in 0..20 {
        let mut world = World::new(4, 160 + seed);
        world.run(secs(10));
        world.wrongs();
        let generation = world.nodes[1].gossip.me().generation;
        let twin = start_twin(&mut world, 1);
        let took = world.run_until(secs(10), |world| !world.nodes[twin].up);
        assert!(took.is_some_and(|took| took <= secs(2)), "seed {seed}: {took:?}");
        assert!(!world.nodes[twin].gossip.is_joined());
        world.run(secs(20));
        assert!(world.nodes[1].up && world.nodes[1].gossip.me().generation == generation, "seed {seed}");
        assert_eq!(world.wrongs(), (0, 0), "seed {seed}");
    }
}

/// A copy that met nobody who knew the first is believed for a moment. The first does not fight it: it asks, and one of the two ends.
#[test]
fn two_live_copies_that_meet_late_do_not_renew_above_each_other() {
    for seed in 0..10 {
        let mut world = World::new(4, 190 + seed);
        world.run(secs(10));
        let cut = |index: usize| [(index, 4), (4, index)];
        world.cut = [0, 1, 2, 3].into_iter().flat_map(cut).collect();
        let twin = start_twin(&mut world, 1);
        world.run(secs(5));
        let late = world.start_new();
        world.nodes[late].up = false;
        world.heal();
        assert!(world.run_until(secs(10), |world| !world.nodes[twin].up).is_some(), "seed {seed}");
        assert!(world.nodes[1].up, "seed {seed}: the first stays");
        let renewals = |world: &World| world.nodes[1].changes.iter().filter(|(_, change)| matches!(change, Change::Renewed { .. })).count();
        let before = renewals(&world);
        world.run(secs(30));
        assert!(renewals(&world) <= before + 1, "seed {seed}");
    }
}

/// All others know of both copies, and tell each of the other's generations: S5 of DESIGN §9 wants that they never use the same one (seed 2 of
/// `two_copies_that_meet_late_lose_nothing` in the simulations).
#[test]
fn two_live_copies_that_cannot_reach_each_other_never_take_the_same_generation() {
    for seed in 0..10 {
        let mut world = World::new(5, 230 + seed);
        world.run(secs(10));
        let cut = |twin: usize| [(1, twin), (twin, 1), (2, twin), (twin, 2), (3, twin), (twin, 3)];
        world.cut.extend(cut(5));
        world.nodes[1].changes.clear();
        let twin = start_twin(&mut world, 1);
        world.run(secs(60));
        let taken = |index: usize| {
            let generation = |change: &Change| if let Change::Renewed { generation } = change { Some(*generation) } else { None };
            let first = world.nodes[index].gossip.first_generation();
            world.nodes[index].changes.iter().filter_map(|(_, change)| generation(change)).chain([first]).collect::<BTreeSet<_>>()
        };
        let (ones, others) = (taken(1), taken(twin));
        assert!(ones.len() > 5 && others.len() > 5, "seed {seed}: they do go above each other");
        assert_eq!(ones.intersection(&others).collect::<Vec<_>>(), Vec::<&Generation>::new(), "seed {seed}");
    }
}

/// Both begin where the disk ends, as their clocks are behind that.
#[test]
fn two_copies_of_a_disk_whose_generations_are_ahead_of_the_clock_begin_apart() {
    let world = World::new(1, 240);
    let reserved = Generation(world.now().wall.as_millis() + 1_000_000);
    let begin = |seed| {
        let me = Me { generation: reserved, ..world.nodes[0].gossip.me() };
        let restored = Restored { reserved, doubt: known_up_to(reserved), ..Restored::default() };
        Gossip::new(world.now(), world.config.clone(), me, restored, seed).first_generation()
    };
    let begun: BTreeSet<_> = (0..20).map(begin).collect();
    assert!(begun.len() == 20 && begun.iter().all(|first| *first >= reserved), "{begun:?}");
}

/// The same data directory at a new address, the old process dead: that is no copy.
#[test]
fn a_node_that_moved_joins_under_a_higher_generation() {
    let mut world = World::new(4, 210);
    world.run(secs(10));
    let before = world.nodes[1].gossip.me().generation;
    world.kill(1);
    let moved = start_twin(&mut world, 1);
    world.run(secs(10));
    assert!(world.nodes[moved].up && !is_outdated(&world, moved));
    for index in [0, 2, 3] {
        let member = world.nodes[index].gossip.member(&id(1)).unwrap();
        assert_eq!((member.status, member.gossip), (Status::Alive, gossip_address(moved)));
        assert!(member.generation > before);
    }
}

/// DESIGN §5.5: joined is who believes of the members what half of its peers believe.
#[test]
fn a_node_has_joined_once_half_of_its_peers_have_its_view() {
    let mut world = World::new(6, 220);
    assert!(world.run_until(secs(20), |world| world.up().all(|(_, node)| node.gossip.is_joined())).is_some());
    let late = world.start_new();
    let took = world.run_until(secs(10), |world| world.nodes[late].gossip.is_joined());
    assert!(took.is_some_and(|took| took <= secs(2)), "{took:?}");
    assert_eq!(world.nodes[late].gossip.members().filter(|member| member.status == Status::Alive).count(), 6);
    let mut lonely = World::new(1, 221);
    lonely.run(secs(60));
    assert!(!lonely.nodes[0].gossip.is_joined());
}

/// DESIGN §3.1: a node that is down stays in the view; also after those who saw it go were restarted.
/// Simulation seed 364: who had agreed was not asked again, and nobody else was left to say so.
#[test]
fn a_node_joins_although_most_of_its_peers_die_meanwhile() {
    for seed in 0..10 {
        let mut world = World::new(4, 190 + seed);
        world.run(secs(10));
        world.kill(0);
        world.run(secs(1));
        world.restart(0);
        world.kill(2);
        world.kill(3);
        assert!(world.run_until(secs(15), |world| world.nodes[0].gossip.is_joined()).is_some(), "seed {seed}");
    }
}

#[test]
fn who_was_met_before_a_restart_is_down_until_it_is_heard_of() {
    let mut world = World::new(3, 230);
    world.run(secs(10));
    for index in 0..3 {
        world.kill(index);
    }
    world.restart(0);
    for other in [1, 2] {
        let member = world.nodes[0].gossip.member(&id(other)).unwrap();
        assert_eq!((member.status, member.heard, member.quic), (Status::Down, None, quic_address(other)));
    }
    world.restart(1);
    assert!(world.run_until(secs(10), |world| world.status(1, 0) == Some(Status::Alive)).is_some());
    assert_eq!(world.status(2, 0), Some(Status::Down));
}

/// What a node has only read from its disk must not kill anybody: to its peers the others never went.
#[test]
fn a_restart_makes_nobody_else_down() {
    let mut world = World::new(6, 240);
    world.run(secs(15));
    world.wrongs();
    world.kill(2);
    world.run(millis(200));
    world.restart(2);
    world.run(secs(30));
    assert!(world.all_see_all());
    assert_eq!(world.wrongs(), (0, 0));
}

#[test]
fn what_was_forgotten_is_gone_everywhere_and_nobody_brings_it_back() {
    let mut world = World::new(5, 250);
    world.run(secs(15));
    world.say(4, "phase", "active");
    world.run(secs(5));
    world.kill(4);
    world.run(secs(20));
    let generation = world.nodes[4].gossip.me().generation;
    let now = world.now();
    // One after the other: those who have not heard of it yet still speak of the node.
    for index in 0..4 {
        world.nodes[index].gossip.forget(now, id(4), generation);
        world.drain(index);
        world.run(secs(3));
    }
    world.run(secs(60));
    for index in 0..4 {
        let node = &world.nodes[index];
        assert!(node.gossip.member(&id(4)).is_none() && node.gossip.node_map(&id(4)).is_none() && !node.peers.contains_key(&id(4)));
        assert!(node.changes.iter().any(|(_, change)| *change == Change::Forgotten { id: id(4) }));
    }
    assert!(world.all_agree());
    world.restart(4);
    assert!(world.run_until(secs(10), World::all_see_all).is_some(), "it comes back by itself");
}

/// It was cut off when it was forgotten: it returns under a higher generation, and its disk is not called old for that.
#[test]
fn a_forgotten_node_that_lives_returns_by_itself() {
    for seed in 0..10 {
        let mut world = World::new(4, 260 + seed);
        world.run(secs(15));
        world.split(3);
        world.run(secs(20));
        let generation = world.nodes[3].gossip.me().generation;
        let now = world.now();
        for index in 0..3 {
            world.nodes[index].gossip.forget(now, id(3), generation);
            world.drain(index);
        }
        world.heal();
        assert!(world.run_until(secs(15), World::all_see_all).is_some(), "seed {seed}");
        assert!(world.nodes[3].gossip.me().generation > generation);
        assert!(!is_outdated(&world, 3), "seed {seed}");
    }
}

/// PITFALLS §1 row 12: an incarnation is 16 bits, and a liar can drive it to its end. Then the node goes on in a higher generation, from incarnation 0.
#[test]
fn a_node_whose_incarnations_are_used_up_renews_itself() {
    let mut world = World::new(3, 280);
    world.run(secs(15));
    let before = world.nodes[1].gossip.me().generation;
    for incarnation in u16::MAX - 3..=u16::MAX {
        let parts = vec![Parts { suspicion: Some(Suspicion { generation: before, incarnation }), ..Parts::default() }];
        let number = u64::from(incarnation);
        let (id, gossip, quic) = (id(5), gossip_address(5), quic_address(5));
        let packet = Packet { format: FORMAT, id, generation: Generation(1), gossip, quic, number, to: None, parts, padding: Bytes::new() };
        let now = world.now();
        world.nodes[1].gossip.handle_datagram(now, gossip, &packet.encode()).unwrap();
        world.drain(1);
        world.run(millis(100));
        let renewed = world.nodes[1].gossip.me().generation > before;
        assert_eq!(renewed, incarnation == u16::MAX, "at incarnation {incarnation}");
    }
    assert!(world.run_until(secs(10), World::all_see_all).is_some());
    world.wrongs();
    world.run(secs(30));
    assert_eq!(world.wrongs(), (0, 0), "it refutes again");
}

/// The canaries of this package's identity, each found by a test above.
#[cfg(feature = "canary")]
#[test]
fn canaries_turn_tests_red() {
    use crate::canary::turns_red;
    turns_red("old-image-votes", a_disk_image_from_before_the_last_start_is_found_to_be_old_and_a_plain_restart_is_not);
    turns_red("stays-undead", a_node_whose_incarnations_are_used_up_renews_itself);
    turns_red("generations-shared", two_live_copies_that_cannot_reach_each_other_never_take_the_same_generation);
    turns_red("no-reannounce", super::guards::a_renewed_node_speaks_until_it_is_heard);
    turns_red("seed-islands", super::guards::islands_around_different_seeds_find_together);
}
