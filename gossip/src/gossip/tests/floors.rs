//! Deletions that are forgotten, and nodes that were away in the meantime (DESIGN §3.2, "tombstones").

use super::*;

const YEAR: i64 = 365 * 24 * 3_600;
/// In which tombstones that are old enough go: they are looked at every ten minutes, and must be old enough twice.
const FORGETTING: Duration = Duration::from_secs(25 * 60);

impl World {
    fn holds(&self, index: usize, key: &str) -> bool {
        self.nodes[index].gossip.catalog().held(key).is_some()
    }

    fn floor(&self, index: usize) -> Stamp {
        self.nodes[index].gossip.catalog().floor()
    }

    fn dropped(&self, index: usize) -> Vec<&str> {
        let dropped = self.nodes[index].changes.iter().filter_map(|(_, change)| match change {
            Change::Dropped { key, .. } => Some(key.as_str()),
            _ => None,
        });
        dropped.collect()
    }
}

/// Half hours pass here: what is done every second at other times is done every minute.
fn slowly(count: usize, seed: u64) -> World {
    let mut world = World::with(count, seed, |config| {
        (config.probe_period, config.probe_rtt, config.suspicion) = (secs(20), secs(10), secs(60));
        (config.push_pull_interval, config.members_interval) = (secs(10), secs(30));
        (config.announce_interval, config.announce_down_interval, config.gossip_interval) = (secs(60), secs(60), secs(5));
    });
    world.run(secs(120));
    world
}

/// `count` nodes with one entry that is deleted again and one that stays.
fn cluster(count: usize, seed: u64) -> (World, Stamp) {
    let mut world = slowly(count, seed);
    assert!(world.all_see_all());
    world.write(0, "deleted", "x");
    world.write(1, "kept", "x");
    world.run(secs(30));
    let deleted = world.delete(1, "deleted");
    world.run(secs(30));
    (world, deleted)
}

#[test]
fn a_deletion_is_forgotten_after_seven_days_and_not_before() {
    let (mut world, deleted) = cluster(3, 111);
    world.days = 6;
    world.run(FORGETTING);
    assert!((0..3).all(|index| world.holds(index, "deleted") && world.floor(index) == Stamp::ZERO));
    world.days = 7;
    world.run(FORGETTING);
    assert!((0..3).all(|index| !world.holds(index, "deleted") && world.holds(index, "kept")));
    assert!((0..3).all(|index| world.floor(index) == deleted && world.nodes[index].floor == deleted), "the floor is durable");
    world.run(secs(150));
    assert!(world.all_agree());
    assert!(world.write(2, "later", "y") > deleted);
}

/// PITFALLS §6: "away longer than the tombstones: drop the catalog" would lose everything here.
#[test]
fn a_cluster_that_was_off_for_eight_days_loses_nothing() {
    let (mut world, _) = cluster(3, 112);
    for index in 0..3 {
        world.kill(index);
    }
    world.days = 8;
    for index in 0..3 {
        world.restart(index);
    }
    world.run(FORGETTING);
    assert!((0..3).all(|index| world.nodes[index].gossip.catalog().get("kept").is_some() && world.dropped(index).is_empty()));
    assert!((0..3).all(|index| !world.holds(index, "deleted")));
    assert!(world.all_agree());
}

/// The one that was away has never heard of the deletion; the others have forgotten it.
#[test]
fn who_was_away_for_eight_days_does_not_bring_back_what_was_deleted_and_loses_nothing_else() {
    let (mut world, _) = cluster(3, 113);
    world.write(0, "gone meanwhile", "x");
    world.write(0, "changed meanwhile", "old");
    world.run(secs(30));
    world.kill(2);
    world.run(secs(150));
    world.delete(0, "gone meanwhile");
    world.run(secs(30));
    world.delete(0, "deleted");
    world.write(0, "changed meanwhile", "new");
    world.days = 8;
    world.run(FORGETTING);
    assert!(!world.holds(0, "gone meanwhile"));
    world.write(1, "new", "x");
    world.restart(2);
    assert!(world.run_until(secs(300), World::all_agree).is_some());
    assert_eq!(world.dropped(2), ["gone meanwhile"], "told, with its value, for people");
    assert!((0..3).all(|index| !world.holds(index, "gone meanwhile") && world.holds(index, "kept") && world.holds(index, "new")));
    assert!(world.up().all(|(_, node)| node.gossip.catalog().get("changed meanwhile").unwrap().value == value("new")));
    assert!(world.run_until(secs(300), |world| world.floor(2) == world.floor(0)).is_some(), "who agrees takes over the floor");
}

/// Three of five forget; two cannot, as they see less than half. What the two wrote before the floor and never told is dropped, with a word; what they wrote
/// later stands, and so does what all had.
#[test]
fn a_split_of_eight_days_heals_to_one_catalog() {
    let (mut world, _) = cluster(5, 114);
    world.write(0, "by the three", "x");
    world.run(secs(30));
    world.split(3);
    world.run(secs(150));
    world.write(4, "early on the other side", "x");
    world.run(secs(30));
    world.delete(0, "by the three");
    world.days = 4;
    world.run(secs(400));
    world.write(3, "late on the other side", "x");
    world.days = 8;
    world.run(FORGETTING);
    assert!((0..3).all(|index| world.floor(index) > Stamp::ZERO));
    assert!((3..5).all(|index| world.floor(index) == Stamp::ZERO && world.holds(index, "deleted")), "a minority forgets nothing");
    world.heal();
    assert!(world.run_until(secs(600), |world| world.all_see_all() && world.all_agree()).is_some());
    assert!((0..5).all(|index| world.holds(index, "kept") && world.holds(index, "late on the other side")));
    assert!((0..5).all(|index| !world.holds(index, "by the three") && !world.holds(index, "early on the other side")));
    let told = world.dropped(3).into_iter().chain(world.dropped(4)).collect::<BTreeSet<_>>();
    assert_eq!(told, BTreeSet::from(["by the three", "early on the other side"]));
}

/// Both of the smaller part hold what was deleted. The first of them to hear of the floor drops it; the other has not heard of it yet, and offers it again:
/// taken, a deleted runner would be started once more (DESIGN §9, S6).
#[test]
fn what_was_dropped_is_not_taken_again_from_who_has_not_dropped_it_yet() {
    for seed in 0..30 {
        let (mut world, _) = cluster(5, 141 + seed);
        world.write(0, "by the three", "x");
        world.run(secs(30));
        world.split(3);
        world.run(secs(150));
        world.delete(0, "by the three");
        world.days = 8;
        world.run(FORGETTING);
        world.heal();
        // Something is written all the time: nobody finds that it has all that another has, and so nobody takes over a floor.
        for round in 0..150 {
            world.write(0, "busy", &round.to_string());
            world.run(secs(2));
        }
        assert!(world.run_until(secs(600), |world| world.all_see_all() && world.all_agree()).is_some(), "seed {seed}");
        assert_eq!((world.dropped(3), world.dropped(4)), (vec!["by the three"], vec!["by the three"]), "seed {seed}: once each");
        assert!((0..5).all(|index| !world.holds(index, "by the three") && world.holds(index, "kept")), "seed {seed}");
        // Its name is free again.
        world.write(4, "by the three", "anew");
        assert!(world.run_until(secs(600), |world| (0..5).all(|index| world.holds(index, "by the three"))).is_some(), "seed {seed}");
    }
}

/// The same where who dropped it is restarted before it could take over the floor, and is then alone with the one that still offers it.
#[test]
fn what_was_dropped_is_not_taken_again_after_a_restart() {
    let mut restarted_in_between = 0;
    for seed in 0..8 {
        let (mut world, _) = cluster(5, 181 + seed);
        world.write(0, "by the three", "x");
        world.run(secs(30));
        world.split(3);
        world.run(secs(150));
        world.delete(0, "by the three");
        world.days = 8;
        world.run(FORGETTING);
        world.kill(4);
        world.heal();
        // Something is written all the time: it does not find that it has all that another has.
        let dropped_in = (0..60_000).find(|round| {
            world.write(0, "busy", &round.to_string());
            world.run(millis(5));
            !world.holds(3, "by the three")
        });
        assert!(dropped_in.is_some(), "seed {seed}");
        if world.floor(3) == world.floor(0) {
            continue; // It took over the floor in the same moment.
        }
        restarted_in_between += 1;
        world.kill(3);
        world.split(3);
        // What is on its way to it finds nobody.
        world.run(secs(1));
        world.restart(3);
        world.restart(4);
        world.run(secs(150));
        assert!(world.holds(4, "by the three") && !world.holds(3, "by the three"), "seed {seed}");
        world.heal();
        assert!(world.run_until(secs(600), |world| world.all_see_all() && world.all_agree()).is_some(), "seed {seed}");
        assert!((0..5).all(|index| !world.holds(index, "by the three")), "seed {seed}");
        assert_eq!(world.dropped(3), ["by the three"], "seed {seed}: told once");
        assert!(world.run_until(secs(600), |world| world.floor(3) == world.floor(0)).is_some(), "seed {seed}");
        assert!(world.nodes[3].dropped.is_empty(), "seed {seed}: the floor says it all now");
    }
    assert!(restarted_in_between >= 4, "in {restarted_in_between} of 8 seeds only");
}

/// Nobody else agrees with that clock: it forgets nothing, and so nobody drops what it does not hold.
#[test]
fn a_clock_that_jumps_a_year_forgets_nothing() {
    let (mut world, _) = cluster(3, 115);
    world.nodes[2].off = YEAR;
    world.run(FORGETTING);
    assert!((0..3).all(|index| world.holds(index, "deleted") && world.floor(index) == Stamp::ZERO));
    world.nodes[2].off = 0;
    world.run(FORGETTING);
    assert!((0..3).all(|index| world.holds(index, "deleted") && world.floor(index) == Stamp::ZERO));
}

#[test]
fn a_lone_node_forgets_too() {
    let mut world = slowly(1, 116);
    world.write(0, "k", "x");
    world.delete(0, "k");
    world.days = 8;
    world.run(FORGETTING);
    assert!(world.nodes[0].gossip.catalog().is_empty());
}

/// The floor of one side is higher: what the other holds from below its own floor is not in doubt.
#[test]
fn of_two_floors_the_higher_decides() {
    let (mut world, first) = cluster(3, 117);
    world.write(0, "second", "x");
    world.run(secs(30));
    world.kill(2);
    world.run(secs(150));
    world.days = 3;
    world.run(secs(60));
    world.write(1, "between", "x");
    world.run(secs(30));
    world.delete(1, "second");
    world.days = 11;
    world.run(FORGETTING);
    world.run(FORGETTING);
    let higher = world.floor(0);
    assert!(higher > first);
    // The third has a floor of its own, from the first deletion alone.
    world.nodes[2].floor = first;
    world.nodes[2].catalog.remove("deleted");
    world.restart(2);
    assert!(world.run_until(secs(300), World::all_agree).is_some());
    assert_eq!(world.dropped(2), ["second"]);
    assert!((0..3).all(|index| world.holds(index, "between") && world.holds(index, "kept") && !world.holds(index, "second")));
    assert!((0..2).all(|index| world.dropped(index).is_empty()));
}

/// A floor that nobody honest can have yet, as from a clock years ahead.
#[test]
fn a_floor_from_the_future_is_not_believed() {
    let (mut world, _) = cluster(3, 118);
    world.kill(2);
    world.nodes[2].floor = Stamp::from_millis(world.now().wall.as_millis());
    world.nodes[2].catalog.clear();
    world.restart(2);
    world.run(secs(30));
    assert!((0..2).all(|index| world.holds(index, "kept") && world.dropped(index).is_empty() && world.floor(index) == Stamp::ZERO));
}

/// Each guard's test fails without the guard.
#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    use crate::canary::turns_red;
    turns_red("floor-by-own-clock", a_clock_that_jumps_a_year_forgets_nothing);
    turns_red("tombstone-by-minority", a_split_of_eight_days_heals_to_one_catalog);
    turns_red("dropped-taken-again", what_was_dropped_is_not_taken_again_from_who_has_not_dropped_it_yet);
}
