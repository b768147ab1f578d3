//! One test for each guard of foca's faults: each fails when its guard is taken out.

use super::*;

/// Foca 2.0 evicts members that have refuted (21 forced rejoins per node-hour at 10 % loss), and forgets to tell suspects.
#[test]
fn at_ten_per_cent_loss_nobody_is_believed_down_or_made_to_renew() {
    let mut world = World::new(8, 21);
    world.loss = 0.1;
    world.run(secs(20));
    world.wrongs();
    world.run(secs(300));
    assert_eq!(world.wrongs(), (0, 0));
}

/// Foca passes a suspicion on some twelve times and never again; if all are lost the suspect cannot speak, and dies of the next lost probe.
/// Lifeguard's buddy system tells it until its time is up.
#[test]
fn a_suspect_is_told_again_when_the_news_died_out_on_the_way() {
    for seed in 0..20 {
        let mut world = World::new(2, 31 + seed);
        world.run(secs(15));
        world.wrongs();
        world.split(1);
        world.run(millis(3_600));
        assert_eq!((world.status(0, 1), world.status(1, 0)), (Some(Status::Suspect), Some(Status::Suspect)));
        world.heal();
        world.run(secs(5));
        assert_eq!(world.wrongs(), (0, 0), "seed {seed}");
    }
}

/// After a renewal foca is silent until somebody writes to the new identity: its one sign of life may be lost.
#[test]
pub(super) fn a_renewed_node_speaks_until_it_is_heard() {
    for seed in 0..10 {
        let mut world = World::with(2, 41 + seed, |config| config.members_interval = secs(3_600));
        world.run(secs(15));
        world.split(1);
        let later = world.renew(1);
        world.run(millis(500));
        world.heal();
        let took = world.run_until(secs(10), World::all_see_all);
        assert!(took.is_some_and(|took| took <= secs(2)), "seed {seed}: {took:?}");
        assert!(world.nodes[1].gossip.me().generation > later);
    }
}

/// Foca probes nobody after a renewal either: a node whose only peer died meanwhile believed it alive for ever (seed 799 of the simulations).
#[test]
fn a_renewed_node_to_which_nobody_answers_finds_out_who_is_dead() {
    for seed in 0..10 {
        let mut world = World::new(2, 141 + seed);
        world.run(secs(15));
        world.kill(0);
        world.renew(1);
        assert_eq!(world.status(0, 1), Some(Status::Alive), "seed {seed}");
        world.run(secs(15));
        assert_eq!(world.status(0, 1), Some(Status::Down), "seed {seed}");
    }
}

/// Who hears few among many dead has long spells without an answer, and must not for that give the dead more time after each (seeds 554, 992).
#[test]
fn two_survivors_of_nine_know_in_time_who_is_dead() {
    for seed in 0..20 {
        let mut world = World::new(9, 241 + seed);
        world.run(secs(20));
        (2..9).for_each(|index| world.kill(index));
        let all_know = |world: &World| (0..2).all(|at| (2..9).all(|dead| world.status(dead, at) == Some(Status::Down)));
        let took = world.run_until(secs(30), all_know);
        assert!(took.is_some_and(|took| took <= secs(15)), "seed {seed}: {took:?}");
        assert!(world.all_see_all(), "seed {seed}");
    }
}

#[test]
fn after_a_healed_split_everybody_sees_everybody_in_seconds() {
    let mut world = World::new(30, 41);
    world.run(secs(30));
    world.split(15);
    world.run(secs(60));
    assert_eq!(world.status(20, 0), Some(Status::Down));
    world.heal();
    let took = world.run_until(secs(60), World::all_see_all);
    assert!(took.is_some_and(|took| took <= secs(15)), "{took:?}");
}

/// 37 of 1,000 clusters of four, split for two minutes, never healed: all renewed at once and all timers were void. The watchdog alone,
/// without what else might bridge the gap, brings them together.
#[test]
fn small_clusters_always_heal() {
    let never = secs(3_600);
    for seed in 0..30 {
        let mut world = World::with(4, 51 + seed, |config| (config.members_interval, config.announce_down_interval) = (never, never));
        world.run(secs(20));
        assert!(world.all_see_all());
        world.split(2);
        world.run(secs(120));
        world.heal();
        assert!(world.run_until(secs(60), World::all_see_all).is_some(), "seed {seed}");
    }
}

/// DESIGN §3.1, "Refusal is evidence": who was killed is known everywhere in about a second, long before a suspicion's time is up, and as proved.
#[test]
fn a_killed_process_is_proved_gone_in_about_a_second() {
    for (count, seed) in [(2, 81), (3, 82), (16, 83), (64, 84)] {
        let mut world = World::new(count, seed);
        world.refuses = true;
        world.run(secs(40));
        world.kill(1);
        let all_know = |world: &World| {
            world.up().all(|(_, node)| node.gossip.member(&id(1)).is_some_and(|member| member.status == Status::Down && member.proved))
        };
        let took = world.run_until(secs(10), all_know);
        assert!(took.is_some_and(|took| took <= secs(3)), "{count} nodes: {took:?}");
        world.wrongs();
        world.restart(1);
        assert!(world.run_until(secs(10), World::all_see_all).is_some(), "{count} nodes");
        assert!(world.nodes[0].gossip.member(&id(1)).is_some_and(|member| !member.proved));
    }
}

/// Whom nobody happens to probe is found out by who compares with it: that would have been answered, if only with a word.
#[test]
fn an_unanswered_comparison_is_as_good_a_question_as_a_probe() {
    for seed in 91..94 {
        let mut world = World::with(8, seed, |config| config.probe_period = secs(600));
        world.refuses = true;
        world.run(secs(40));
        assert!(world.all_see_all());
        world.kill(1);
        let is_proved = |world: &World| world.up().all(|(_, node)| node.gossip.member(&id(1)).is_some_and(|member| member.proved));
        let took = world.run_until(secs(20), is_proved);
        assert!(took.is_some(), "seed {seed}: nobody has noticed");
        world.wrongs();
    }
}

/// A host without power says nothing: suspicion runs its time, and nothing is proved.
#[test]
fn a_silent_host_is_declared_down_in_the_suspicions_time() {
    let mut world = World::new(16, 85);
    world.run(secs(40));
    world.kill(1);
    let all_know = |world: &World| world.up().all(|(at, _)| world.status(1, at) == Some(Status::Down));
    let took = world.run_until(secs(10), all_know);
    assert!(took.is_some_and(|took| took >= secs(4) && took <= secs(8)), "{took:?}");
    assert!(world.up().all(|(_, node)| node.gossip.member(&id(1)).is_some_and(|member| !member.proved)));
}

/// Nodes far apart, over lines that lose: nobody is accused wrongly, and a death is known within the preset's time.
#[test]
fn the_wan_preset_bears_a_long_way() {
    let mut world = World::with(8, 86, |config| *config = GossipConfig { seeds: config.seeds.clone(), ..GossipConfig::wan() });
    (world.latency, world.loss, world.refuses) = (millis(300), 0.05, true);
    world.run(secs(120));
    assert!(world.all_see_all());
    world.wrongs();
    world.run(secs(600));
    assert_eq!(world.wrongs(), (0, 0));
    world.kill(1);
    let all_know = |world: &World| world.up().all(|(at, _)| world.status(1, at) == Some(Status::Down));
    assert!(world.run_until(secs(60), all_know).is_some());
}

/// "Announce to one random seed while alone" left three clusters for ever where one should be.
#[test]
pub(super) fn islands_around_different_seeds_find_together() {
    let mut world = World::new(9, 71);
    let apart = |(left, right): &(usize, usize)| left % 3 != right % 3;
    world.cut = (0..9).flat_map(|left| (0..9).map(move |right| (left, right))).filter(apart).collect();
    world.run(secs(20));
    assert_eq!(world.nodes[0].gossip.members().count(), 2, "three islands of three that never heard of each other");
    world.heal();
    assert!(world.run_until(secs(40), World::all_see_all).is_some());
}
