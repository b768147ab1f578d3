//! What a node says of itself, and what others make of it, transition by transition (DESIGN §1, §3.1, §5.5).

use std::time::Duration;

use logvine_gossip::Status;

use super::*;

/// A node as another one sees it.
fn seen(cluster: &Cluster, by: u8, of: u8) -> (Status, Phase) {
    let info = &cluster.hosts[&id(by)].node.view()[&id(of)];
    (info.status, info.phase)
}

fn stop(cluster: &mut Cluster, n: u8) {
    let now = cluster.now;
    cluster.node(id(n)).handle_stop(now);
    cluster.carry_out();
}

/// What one node was told of another one's status, each change once.
fn told(cluster: &Cluster, by: u8, of: u8) -> Vec<Status> {
    let of_it = |event: &Event| match event {
        Event::Member { node, to, .. } if *node == id(of) => Some(*to),
        _ => None,
    };
    cluster.hosts[&id(by)].told.iter().filter_map(of_it).collect()
}

/// Whether a node would be a witness of some of twenty sources.
fn is_ranked(cluster: &mut Cluster, by: u8, of: u8) -> bool {
    let key = |n: u8| SourceKey { uid: Stamp(1), source: name(&format!("s{n}")), created: Stamp(1) };
    (0..20).any(|n| cluster.node(id(by)).witnesses_for(&key(n)).iter().any(|witness| witness.node == id(of)))
}

/// The owner of the one source, and another node.
fn owner_and_other(cluster: &mut Cluster) -> (u8, u8) {
    cluster.apply(&["a"]);
    cluster.run(20);
    cluster.acknowledge("a", 100);
    let owner = cluster.reader("a").expect("somebody reads it").0.0[0];
    (owner, if owner == 3 { 1 } else { 3 })
}

const AWAY: Phase = Phase::Away { grace_s: 60 };

/// `joining`: until its view agrees with half of its peers' nobody ranks it, and it takes nothing.
#[test]
fn a_node_is_joining_until_its_view_is_that_of_the_others() {
    let mut cluster = Cluster::of(3);
    // Two that live, as far as anybody knows, and cannot agree with anything.
    for n in [2, 3] {
        cluster.host(id(n)).up = false;
    }
    cluster.start(id(4), Vec::new());
    assert_eq!(cluster.hosts[&id(4)].node.phase(), Phase::Joining);
    let mut joining = false;
    for _ in 0..250 {
        cluster.run_for(Duration::from_millis(100));
        let phase = cluster.hosts[&id(4)].node.phase();
        if let Some(info) = cluster.hosts[&id(1)].node.view().get(&id(4)).filter(|_| phase == Phase::Joining) {
            joining |= info.is_live() && info.phase == Phase::Joining;
            assert!(!is_ranked(&mut cluster, 1, 4), "who has no view yet is in nobody's ranking");
        }
    }
    assert!(joining, "the others knew it before it had a view");
    assert_eq!(seen(&cluster, 1, 4), (Status::Alive, Phase::Active));
    assert!(is_ranked(&mut cluster, 1, 4));
}

/// `joining` → `active` with nobody there: patience, so that a node with every peer down still collects (DESIGN §4).
#[test]
fn a_node_with_every_peer_down_is_active_when_its_patience_ends() {
    let mut cluster = Cluster::of(2);
    cluster.host(id(2)).up = false;
    cluster.restart(id(1));
    cluster.run(25);
    assert_eq!(cluster.hosts[&id(1)].node.phase(), Phase::Joining);
    cluster.run(10);
    assert_eq!(cluster.hosts[&id(1)].node.phase(), Phase::Active);
}

/// `active` → `draining` → `active`, on an operator's word.
#[test]
fn a_node_drains_until_it_may_take_part_again() {
    let mut cluster = Cluster::of(3);
    let (owner, other) = owner_and_other(&mut cluster);
    cluster.drain(id(owner), true);
    cluster.run(30);
    assert_eq!(seen(&cluster, other, owner), (Status::Alive, Phase::Draining));
    assert_ne!(cluster.reader("a").expect("it was handed over").0, id(owner));
    cluster.drain(id(owner), false);
    cluster.run(5);
    assert_eq!(seen(&cluster, other, owner), (Status::Alive, Phase::Active));
}

/// `draining`, then stopped: goodbye, as its last word. Before that it is alive for all, so that what it still flushes is not taken over; it is never `suspect`
/// or `down`, and what it had not handed over is taken at once then.
#[test]
fn a_draining_node_that_is_stopped_has_left_and_is_not_waited_for() {
    let mut cluster = Cluster::of(3);
    let (owner, other) = owner_and_other(&mut cluster);
    // The data plane gives nothing back: the handover cannot end before the stop.
    cluster.host(id(owner)).plane_hangs = true;
    cluster.drain(id(owner), true);
    cluster.run(1);
    assert_eq!(seen(&cluster, other, owner).1, Phase::Draining);
    stop(&mut cluster, owner);
    let mut seconds = 0;
    while !cluster.host(id(owner)).stopped {
        assert_eq!(told(&cluster, other, owner).last(), Some(&Status::Alive), "it stops still");
        cluster.run(1);
        seconds += 1;
        assert!(seconds < 90, "a data plane that hangs keeps no node from stopping");
    }
    cluster.run(1);
    for by in (1..=3).filter(|by| *by != owner) {
        assert_eq!(told(&cluster, by, owner).last(), Some(&Status::Left), "{by}");
    }
    cluster.run(15);
    assert_ne!(cluster.reader("a").expect("another one has taken it").0, id(owner));
    cluster.run(60);
    assert_eq!(told(&cluster, other, owner).iter().filter(|status| matches!(status, Status::Suspect | Status::Down)).count(), 0);
    cluster.restart(id(owner));
    cluster.run(20);
    assert_eq!(seen(&cluster, other, owner).0, Status::Alive, "and it may come back");
}

/// `active` → `away`: said at once, and nothing is taken over while the grace runs, although its host refuses and it is `down` for everybody. With the next
/// generation it is `active`, owns what it owned, and is not away any more: when it then crashes nobody waits.
#[test]
fn away_holds_for_its_time_and_the_next_generation_withdraws_it() {
    let mut cluster = Cluster::of(3);
    cluster.refuses = true;
    let (owner, other) = owner_and_other(&mut cluster);
    let epoch = cluster.reader("a").expect("it reads").1;
    stop(&mut cluster, owner);
    assert_eq!(seen(&cluster, other, owner), (Status::Alive, AWAY), "told with the first packet");
    cluster.run(50);
    assert!(cluster.hosts[&id(owner)].stopped);
    let member = cluster.hosts[&id(other)].node.gossip().member(&id(owner)).cloned().expect("it stays in the view");
    assert_eq!((member.status, member.proved), (Status::Down, false), "a refusal of who is away is no proof");
    assert_eq!(seen(&cluster, other, owner), (Status::Down, AWAY));
    assert_eq!(cluster.reader("a"), None, "nobody has taken it over");

    cluster.restart(id(owner));
    cluster.run(25);
    assert_eq!(seen(&cluster, other, owner), (Status::Alive, Phase::Active));
    let (reader, resumed) = cluster.reader("a").expect("it goes on");
    assert_eq!(reader, id(owner));
    assert!(resumed > epoch);

    cluster.host(id(owner)).up = false;
    cluster.run(25);
    assert_ne!(cluster.reader("a").expect("a crash is a crash").0, id(owner));
}

/// `away` that outlasts its grace: `down` like any other, and taken over from.
#[test]
fn who_stays_away_longer_than_it_said_is_taken_for_dead() {
    let mut cluster = Cluster::of(3);
    let (owner, other) = owner_and_other(&mut cluster);
    stop(&mut cluster, owner);
    cluster.run(55);
    let left = |cluster: &Cluster| {
        let node = &cluster.hosts[&id(other)].node;
        node.away_for(cluster.now, &node.view()[&id(owner)])
    };
    assert!(left(&cluster).is_some_and(|left| left <= Duration::from_secs(5)));
    assert_eq!(cluster.reader("a"), None);
    cluster.run(30);
    assert_eq!((left(&cluster), seen(&cluster, other, owner).0), (None, Status::Down));
    assert_ne!(cluster.reader("a").expect("it is taken over").0, id(owner));
}

/// Each peer counts a grace by its own clock from when it heard it first; a word that asks for more than 300 s gets those.
#[test]
fn nobody_is_waited_for_longer_than_five_minutes() {
    assert_eq!(Phase::Away { grace_s: u16::MAX }.grace(), Some(Duration::from_secs(300)));
    assert_eq!(Phase::Draining.grace(), None);
}
