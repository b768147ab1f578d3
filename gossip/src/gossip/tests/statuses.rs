//! What others believe of a node, transition by transition, each with what leads to it (DESIGN §1, §3.1).

use super::*;

/// From which status to which, as one node was told of another since the last call.
fn told(world: &mut World, at: usize, of: usize) -> Vec<(Option<Status>, Status)> {
    let of_it = |(_, change)| match change {
        // From one to the same: another generation.
        Change::Member { id: node, from, to } if node == id(of) && from != Some(to) => Some((from, to)),
        _ => None,
    };
    world.nodes[at].changes.drain(..).filter_map(of_it).collect()
}

use Status::{Alive, Down, Left, Suspect};

#[test]
fn a_node_that_is_heard_of_is_alive() {
    let mut world = World::new(3, 131);
    world.run(secs(20));
    assert_eq!(told(&mut world, 0, 1), [(None, Alive)]);
}

#[test]
fn a_node_that_is_silent_is_suspect_and_alive_again_when_it_speaks_in_time() {
    let mut world = World::new(2, 132);
    world.run(secs(20));
    told(&mut world, 0, 1);
    world.split(1);
    world.run(secs(3));
    assert_eq!(told(&mut world, 0, 1), [(Some(Alive), Suspect)]);
    world.heal();
    world.run(secs(5));
    assert_eq!(told(&mut world, 0, 1), [(Some(Suspect), Alive)]);
}

#[test]
fn a_node_that_stays_silent_is_down_after_its_time_as_a_suspect_and_alive_in_a_new_generation() {
    let mut world = World::new(5, 133);
    world.run(secs(20));
    told(&mut world, 0, 1);
    let generation = world.nodes[1].gossip.me().generation;
    world.kill(1);
    world.run(secs(20));
    assert_eq!(told(&mut world, 0, 1), [(Some(Alive), Suspect), (Some(Suspect), Down)]);
    world.restart(1);
    world.run(secs(20));
    assert_eq!(told(&mut world, 0, 1), [(Some(Down), Alive)]);
    assert!(world.nodes[0].gossip.member(&id(1)).unwrap().generation > generation);
}

/// A death is final within a generation: who was only cut off must take the next one to be believed.
#[test]
fn a_node_that_was_believed_down_is_alive_under_a_higher_generation_only() {
    let mut world = World::new(5, 134);
    world.run(secs(20));
    told(&mut world, 0, 4);
    let generation = world.nodes[4].gossip.me().generation;
    world.split(4);
    world.run(secs(30));
    world.heal();
    world.run(secs(30));
    assert_eq!(told(&mut world, 0, 4), [(Some(Alive), Suspect), (Some(Suspect), Down), (Some(Down), Alive)]);
    assert!(world.nodes[4].gossip.me().generation > generation);
}

#[test]
fn a_killed_process_is_down_by_proof_without_its_time_as_a_suspect() {
    let mut world = World::new(5, 135);
    world.refuses = true;
    world.run(secs(20));
    told(&mut world, 0, 1);
    world.kill(1);
    world.run(secs(3));
    assert_eq!(told(&mut world, 0, 1).last().map(|(_, to)| *to), Some(Down), "the time as a suspect is four seconds");
    assert!(world.nodes[0].gossip.member(&id(1)).unwrap().proved);
}

/// Also where its host refuses from then on: who has said goodbye is neither suspected nor proved gone. And it may come back.
#[test]
fn a_node_that_says_goodbye_has_left_and_stays_so_until_it_is_started_again() {
    let mut world = World::new(5, 136);
    world.refuses = true;
    world.run(secs(20));
    told(&mut world, 0, 1);
    let now = world.now();
    world.nodes[1].gossip.leave(now);
    world.drain(1);
    world.kill(1);
    world.run(secs(60));
    assert_eq!(told(&mut world, 0, 1), [(Some(Alive), Left)]);
    world.restart(1);
    world.run(secs(10));
    assert_eq!(told(&mut world, 0, 1), [(Some(Left), Alive)]);
}

/// A suspect's last word may be its goodbye.
#[test]
fn a_suspect_that_says_goodbye_has_left() {
    let mut world = World::new(3, 137);
    world.run(secs(20));
    told(&mut world, 0, 2);
    world.split(2);
    world.run(secs(3));
    world.heal();
    let now = world.now();
    world.nodes[2].gossip.leave(now);
    world.drain(2);
    world.kill(2);
    world.run(secs(30));
    let told = told(&mut world, 0, 2);
    assert_eq!((told.first(), told.last()), (Some(&(Some(Alive), Suspect)), Some(&(Some(Suspect), Left))), "{told:?}");
}
