//! What the comparison of members brings and nothing else does (PITFALLS §1 row 7).

use super::*;

/// An update of membership is sent on a dozen times, and then never again. Who was out of reach meanwhile, and not for so long that it was missed, joins
/// nobody anew and is announced to by nobody: what it did not hear is in no rumour and in no answer to a probe any more. Here that is a node which came
/// and was killed in that time, so that it will never speak for itself.
#[test]
fn who_was_out_of_reach_learns_of_those_who_came_and_died_meanwhile() {
    let (out, late) = (1, 5);
    for seed in 0..10 {
        let mut world = World::with(5, 121 + seed, |config| config.suspicion = secs(60));
        world.refuses = true;
        world.run(secs(30));
        world.cut = (0..=late).flat_map(|other| [(out, other), (other, out)]).collect();
        assert_eq!(world.start_new(), late);
        world.run(secs(5));
        world.kill(late);
        world.run(secs(10));
        let others = [0, 2, 3, 4];
        assert!(others.iter().all(|at| world.status(late, *at) == Some(Status::Down)), "seed {seed}");
        world.heal();
        assert_eq!(world.status(late, out), None, "seed {seed}");
        let took = world.run_until(secs(60), |world| world.status(late, out) == Some(Status::Down));
        assert!(took.is_some_and(|took| took <= secs(25)), "seed {seed}: {took:?}");
        let views: BTreeSet<u64> = world.up().map(|(_, node)| node.gossip.members_digest()).collect();
        assert_eq!((views.len(), world.wrongs().1), (1, 0), "seed {seed}: one view, and nobody had to begin anew for it");
    }
}

#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    crate::canary::turns_red("no-members-push-pull", who_was_out_of_reach_learns_of_those_who_came_and_died_meanwhile);
}
