//! One test for each guard of foca's faults: each fails when its guard is taken out.

use super::*;

/// Foca 2.0 evicts members that have refuted (21 forced rejoins per node-hour at 10 % loss), and forgets to tell suspects.
#[test]
fn at_ten_per_cent_loss_nobody_is_believed_down_or_made_to_renew() {
    let mut world = World::new(16, 21);
    world.loss = 0.1;
    world.run(secs(20));
    world.wrongs();
    world.run(secs(300));
    assert_eq!(world.wrongs(), (0, 0));
}

/// Lifeguard's buddy system: at 25 % loss a suspicion often dies out before it reaches the suspect.
#[test]
fn at_twenty_five_per_cent_loss_every_suspect_learns_in_time() {
    let mut downs = 0;
    for seed in 0..2 {
        let mut world = World::new(16, 31 + seed);
        world.loss = 0.25;
        world.run(secs(30));
        world.wrongs();
        world.run(secs(180));
        downs += world.wrongs().0;
    }
    assert_eq!(downs, 0);
}

/// After a renewal foca is silent until somebody writes to the new identity; with all renewing at once nobody does.
#[test]
fn after_a_healed_split_everybody_renews_and_is_heard_of_again_at_once() {
    let mut world = World::new(30, 41);
    world.run(secs(30));
    world.split(15);
    world.run(secs(60));
    assert_eq!(world.status(20, 0), Some(Status::Down));
    world.heal();
    let took = world.run_until(secs(60), World::all_see_all);
    assert!(took.is_some_and(|took| took <= secs(15)), "{took:?}");
}

/// 37 of 1,000 clusters of four, split for two minutes, never healed: all renewed at once and all timers were void.
#[test]
fn small_clusters_always_heal() {
    for seed in 0..40 {
        let mut world = World::new(4, 51 + seed);
        world.run(secs(10));
        world.split(2);
        world.run(secs(120));
        world.heal();
        assert!(world.run_until(secs(60), World::all_see_all).is_some(), "seed {seed}");
    }
}

/// Nine of ten false declarations came from slow nodes that took their own sleep for others' silence.
#[test]
fn a_node_that_stood_still_accuses_nobody() {
    let mut suspicions = 0;
    let mut world = World::new(8, 61);
    world.run(secs(20));
    world.wrongs();
    for round in 0..60 {
        world.pause(2 + round % 2, millis(900));
        world.run(millis(1_700));
        suspicions +=
            world.nodes[2 + round % 2].changes.iter().filter(|(_, change)| matches!(change, Change::Member { to: Status::Suspect, .. })).count();
        assert_eq!(world.wrongs(), (0, 0));
    }
    assert_eq!(suspicions, 0);
}

/// "Announce to one random seed while alone" left three clusters for ever where one should be.
#[test]
fn islands_around_different_seeds_find_together() {
    let mut world = World::new(9, 71);
    let apart = |(left, right): &(usize, usize)| left % 3 != right % 3;
    world.cut = (0..9).flat_map(|left| (0..9).map(move |right| (left, right))).filter(apart).collect();
    world.run(secs(20));
    assert_eq!(world.nodes[0].gossip.members().count(), 2, "three islands of three that never heard of each other");
    world.heal();
    assert!(world.run_until(secs(40), World::all_see_all).is_some());
}

/// Nodes that start together would probe in lock-step.
#[test]
fn nodes_that_start_together_do_not_probe_together() {
    let mut world = World::new(30, 81);
    world.run(secs(10));
    let mut buckets = BTreeMap::new();
    for node in &world.nodes {
        let (due, _) = node.gossip.poll_timeout().unwrap();
        *buckets.entry(due.as_micros() / 10_000).or_insert(0) += 1;
    }
    assert!(buckets.values().max().unwrap() <= &10, "{buckets:?}");
}
