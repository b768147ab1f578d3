use super::*;

#[test]
fn a_cluster_from_three_seeds_becomes_one() {
    for (count, seed) in [(2, 1), (5, 2), (40, 3)] {
        let mut world = World::new(count, seed);
        let took = world.run_until(secs(30), World::all_see_all);
        assert!(took.is_some_and(|took| took < secs(15)), "{count} nodes: {took:?}");
        world.run(secs(15));
        let quics =
            |index: usize, node: &Node| (0..count).all(|other| other == index || node.gossip.member(&id(other)).unwrap().quic == quic_address(other));
        assert!(world.up().all(|(index, node)| quics(index, node)), "everybody knows where everybody takes calls");
        assert_eq!(world.wrongs(), (0, 0));
    }
}

/// DESIGN §3.2: catalog, phase and tags travel at once; a hop costs a network trip, not a tick.
#[test]
fn urgent_news_is_everywhere_within_a_second() {
    let mut world = World::new(32, 4);
    world.run(secs(20));
    world.write(7, "runner/web", "spec");
    world.say(8, "phase", "draining");
    let knows = |world: &World| {
        world.up().all(|(_, node)| {
            node.gossip.catalog().get("runner/web").is_some()
                && node.gossip.node_map(&id(8)).is_some_and(|map| map.get("phase") == value("draining").as_ref())
        })
    };
    let took = world.run_until(secs(20), knows);
    assert!(took.is_some_and(|took| took <= millis(1_000)), "{took:?}");
}

#[test]
fn an_entry_too_large_for_a_rumour_is_pulled_at_once() {
    let mut world = World::new(8, 5);
    world.run(secs(15));
    let large = "x".repeat(60_000);
    world.write(1, "runner/large", &large);
    let took = world.run_until(secs(10), |world| world.up().all(|(_, node)| node.gossip.catalog().get("runner/large").is_some()));
    assert!(took.is_some_and(|took| took <= millis(900)), "{took:?}");
    assert!(world.calls > 0);
}

#[test]
fn node_maps_and_catalog_are_alike_on_all_at_ten_per_cent_loss() {
    let mut world = World::new(12, 6);
    world.loss = 0.1;
    world.run(secs(15));
    for round in 0..10 {
        for index in 0..12 {
            world.say(index, "load", &round.to_string());
            world.say(index, &format!("claim/r/{index}/{round}"), "mine");
            world.write(index, &format!("source/r/{}", index * 7 + round), &round.to_string());
        }
        world.run(millis(300));
    }
    let took = world.run_until(secs(30), World::all_agree);
    assert!(took.is_some(), "not alike after 30 s");
    let reference = &world.nodes[0].gossip;
    assert_eq!(reference.node_map(&id(5)).unwrap().iter("claim/").count(), 10);
    let entries: Vec<_> = reference.catalog().iter("").collect();
    assert!(world.up().all(|(_, node)| node.gossip.catalog().iter("").collect::<Vec<_>>() == entries));
}

/// A node that comes late takes over all there is, in calls, and is told when it has.
#[test]
fn a_late_joiner_takes_a_large_catalog() {
    let mut world = World::new(3, 7);
    world.run(secs(5));
    for source in 0..6_000 {
        let key = format!("source/fleet/{source:05}");
        world.write(0, &key, &"u".repeat(200));
    }
    let took = world.run_until(secs(30), World::all_agree);
    assert!(took.is_some(), "the first three are not alike");
    let late = world.start_new();
    let took = world.run_until(secs(20), |world| world.nodes[late].gossip.catalog().len() == 6_000);
    assert!(took.is_some(), "{} entries", world.nodes[late].gossip.catalog().len());
    world.run(secs(3));
    assert!(world.nodes[late].gossip.is_synced());
    assert!(world.nodes[late].changes.iter().any(|(_, change)| matches!(change, Change::Synced { .. })));
}

#[test]
fn a_catalog_that_went_two_ways_in_a_split_is_one_again_and_the_later_write_stands() {
    let mut world = World::new(6, 8);
    world.run(secs(15));
    world.split(3);
    world.write(0, "desired/web", "running");
    world.run(secs(2));
    world.write(5, "desired/web", "stopped");
    world.write(4, "tag/5/blue", "present");
    world.run(secs(30));
    world.heal();
    let took = world.run_until(secs(30), |world| world.all_see_all() && world.all_agree());
    assert!(took.is_some(), "not whole 30 s after the split healed");
    assert!(world.up().all(|(_, node)| node.gossip.catalog().get("desired/web").unwrap().value == value("stopped")));
}

#[test]
fn a_crash_is_known_to_all_in_seven_seconds_and_the_dead_stays_in_the_view() {
    let mut world = World::new(16, 9);
    world.run(secs(20));
    world.say(4, "claim/r/1", "mine");
    world.run(secs(10));
    world.kill(4);
    let took = world.run_until(secs(20), |world| world.up().all(|(index, _)| world.status(4, index) == Some(Status::Down)));
    assert!(took.is_some_and(|took| took <= secs(7)), "{took:?}");
    world.run(secs(60));
    assert!(world.up().all(|(_, node)| node.gossip.node_map(&id(4)).is_some_and(|map| map.get("claim/r/1").is_some())));
    let late = world.start_new();
    world.run(secs(20));
    assert_eq!(world.status(4, late), Some(Status::Down), "who comes later hears of the dead too");
    assert!(world.nodes[late].gossip.node_map(&id(4)).is_some());
}

#[test]
fn a_goodbye_is_believed_at_once_and_is_not_a_death() {
    let mut world = World::new(10, 10);
    world.run(secs(15));
    world.wrongs();
    let now = world.now();
    world.nodes[3].gossip.leave(now);
    world.drain(3);
    let took = world.run_until(secs(10), |world| (0..10).all(|index| index == 3 || world.status(3, index) == Some(Status::Left)));
    assert!(took.is_some_and(|took| took <= millis(1_000)), "{took:?}");
    world.run(secs(30));
    assert!((0..10).all(|index| index == 3 || world.status(3, index) == Some(Status::Left)));
    assert_eq!(world.wrongs(), (0, 0), "nobody may take it for dead on the way");
    world.restart(3);
    assert!(world.run_until(secs(10), World::all_see_all).is_some(), "and it may come back");
}

/// What is said goes by push-pull, once a second; a node that stops a moment after it took a source would take that knowledge with it.
#[test]
fn last_words_are_known_to_all_who_stay() {
    let mut world = World::new(6, 18);
    world.run(secs(20));
    for claim in 0..40 {
        world.say(2, &format!("claim/r/{claim}"), "mine");
    }
    let now = world.now();
    world.nodes[2].gossip.tell_last_words(now);
    world.drain(2);
    world.kill(2);
    let knows = |world: &World| world.up().all(|(_, node)| node.gossip.node_map(&id(2)).is_some_and(|map| map.iter("claim/").count() == 40));
    assert!(world.run_until(secs(5), knows).is_some());
}

/// Memberlist's restarted node stays dead in others' view; a higher generation from the disk does not.
#[test]
fn a_restarted_node_comes_back_under_a_higher_generation_with_a_new_map() {
    let mut world = World::new(5, 11);
    world.run(secs(10));
    world.say(2, "claim/r/old", "mine");
    world.run(secs(10));
    let before = world.nodes[2].gossip.me().generation;
    world.kill(2);
    world.run(secs(1));
    world.restart(2);
    world.say(2, "phase", "active");
    let took = world.run_until(secs(10), |world| world.all_see_all() && world.all_agree());
    assert!(took.is_some());
    assert!(world.nodes[2].gossip.me().generation > before);
    for index in [0, 1, 3, 4] {
        let map = world.nodes[index].gossip.node_map(&id(2)).unwrap();
        assert_eq!(map.iter("").map(|(key, _)| key).collect::<Vec<_>>(), ["phase", "wire"]);
    }
}

#[test]
fn nothing_is_sent_before_the_generation_is_on_disk() {
    let mut world = World::empty(12);
    world.fsync = secs(30);
    for _ in 0..3 {
        world.start_new();
    }
    world.run(secs(29));
    assert_eq!(world.datagrams, 0);
    world.run(secs(10));
    assert!(world.all_see_all());
}

/// A disk that lost its newest writes: others know a later generation, and the node goes above it.
#[test]
fn a_node_whose_disk_went_back_goes_above_what_others_know() {
    let mut world = World::new(4, 13);
    world.run(secs(10));
    world.say(1, "phase", "active");
    world.run(secs(5));
    let known = world.nodes[1].gossip.me().generation;
    world.kill(1);
    let me = Me { generation: Generation(1_000), ..world.nodes[1].gossip.me() };
    let restored = Restored { reserved: Generation(2_000), ..Restored::default() };
    let now = world.now();
    world.nodes[1].gossip = Gossip::new(now, GossipConfig { seeds: vec![gossip_address(0)], ..GossipConfig::default() }, me, restored, 99);
    world.nodes[1].up = true;
    world.drain(1);
    world.say(1, "phase", "joining");
    let took = world.run_until(secs(15), |world| world.all_see_all() && world.all_agree());
    assert!(took.is_some());
    assert!(world.nodes[1].gossip.me().generation > known);
    assert_eq!(world.nodes[0].gossip.node_map(&id(1)).unwrap().get("phase"), value("joining").as_ref());
}

/// Same seed, same run: what the simulator replays is what happened.
#[test]
fn the_same_seed_makes_the_same_run() {
    let run = |seed| {
        let mut world = World::new(8, seed);
        world.loss = 0.1;
        world.run(secs(20));
        world.write(1, "k", "v");
        world.run(secs(5));
        (world.datagrams, world.bytes, world.nodes[3].changes.clone())
    };
    assert_eq!(run(14), run(14));
    assert_ne!(run(14).1, run(15).1);
}

#[test]
fn an_idle_cluster_is_quiet() {
    let mut world = World::new(16, 16);
    world.run(secs(30));
    let (bytes, datagrams) = (world.bytes, world.datagrams);
    world.run(secs(60));
    let per_node = |sum: usize| sum / 16 / 60;
    assert!(per_node(world.bytes - bytes) < 1_500, "{} bytes/s", per_node(world.bytes - bytes));
    assert!(per_node(world.datagrams - datagrams) < 10, "{} datagrams/s", per_node(world.datagrams - datagrams));
    assert_eq!(world.calls, 0);
}

/// Nothing differs in a cluster in which nobody says anything: each node asks one other a second, and is told just that.
#[test]
fn a_cluster_at_rest_compares_once_a_second_and_finds_nothing() {
    let mut world = World::new(12, 5);
    world.say(3, "tags", "web");
    world.write(4, "runner/a", "spec");
    world.run(secs(30));
    let sent = |world: &World| {
        let traffic = world.nodes.iter().map(|node| node.gossip.traffic());
        traffic.fold((0, 0), |(state, membership), traffic| (state + traffic.state.messages, membership + traffic.membership.bytes))
    };
    let (state_before, membership_before) = sent(&world);
    world.run(secs(100));
    let (state, membership) = sent(&world);
    let (messages, bytes) = (state - state_before, (membership - membership_before) / 12 / 100);
    assert!((2_160..=2_640).contains(&messages), "12 nodes, 100 s, one a second and its answer, within a tenth: {messages}");
    assert!(bytes <= 350, "who is there costs {bytes} B/s per node");
}
