//! Who takes over from whom, who must not, and how fast owners make good what a death took from them (DESIGN §5.3).

use super::*;
use crate::{
    event::{Cause, Why},
    view,
};

impl Cluster {
    /// A source's owner, and the other nodes as they rank for it, best first.
    fn by_rank(&mut self, source: &str) -> (NodeId, Vec<NodeId>) {
        let owner = self.reader(source).unwrap().0;
        let capacities = self.hosts.keys().map(|id| (*id, crate::ranking::Capacity(16))).collect();
        let ranked = crate::ranking::ranking(&capacities, crate::ranking::RankingKey::of(&self.key(source)), self.hosts.len());
        (owner, ranked.into_iter().filter(|id| *id != owner).collect())
    }

    fn is_down(&self, node: NodeId, seen_by: NodeId) -> bool {
        self.hosts[&seen_by].node.view()[&node].status == Status::Down
    }

    fn epoch_of(&self, source: &str) -> Option<(NodeId, Epoch)> {
        let key = self.key(source);
        let owned = |(id, host): (&NodeId, &Host)| {
            let (_, owned) = host.node.owned_sources().find(|(other, _)| **other == key)?;
            Some((*id, owned.record().epoch))
        };
        self.hosts.iter().filter(|(_, host)| host.up).find_map(owned)
    }
}

/// Its datagrams do not come through, so that all believe it dead; its calls do. Asked, it says that it has its majority: nobody proposes anything.
#[test]
fn an_owner_that_has_its_majority_is_asked_and_left_alone() {
    let mut cluster = Cluster::of(4);
    cluster.apply(&["a"]);
    cluster.run(20);
    let (owner, others) = cluster.by_rank("a");
    for other in &others {
        cluster.deaf.extend([(owner, *other), (*other, owner)]);
    }
    cluster.promises.clear();
    let before = cluster.reader("a");
    let mut seen_down = false;
    for _ in 0..25 {
        cluster.run(1);
        seen_down |= others.iter().all(|other| cluster.is_down(owner, *other));
    }
    assert!(seen_down, "nobody believed it gone");
    let asked: usize = others.iter().filter_map(|other| cluster.promises.get(other)).sum();
    assert_eq!((asked, cluster.reader("a")), (0, before));
}

/// DESIGN §3.1. It knows that the owner is dead, and would be the next but one to take the source; by then it hears nobody.
#[test]
fn a_lonely_node_takes_nothing_over() {
    let mut cluster = Cluster::of(5);
    cluster.refuses = true;
    cluster.apply(&["a"]);
    cluster.run(20);
    let (owner, others) = cluster.by_rank("a");
    let last = others[3];
    // Whoever ranks before it is held back by a disk that stands still, or the source would soon not be an orphan.
    for other in &others[..3] {
        cluster.host(*other).disk_stalls = true;
    }
    cluster.host(owner).up = false;
    for _ in 0..40 {
        cluster.run_for(Duration::from_millis(100));
        if cluster.is_down(owner, last) {
            break;
        }
    }
    assert!(cluster.is_down(owner, last));
    for other in &others[..3] {
        cluster.cut.extend([(*other, last), (last, *other)]);
    }
    cluster.promises.clear();
    cluster.run(20);
    assert_eq!(cluster.promises.get(&last), None, "it hears nobody");
    cluster.cut.clear();
    for other in &others[..3] {
        let now = cluster.now;
        let host = cluster.host(*other);
        host.disk_stalls = false;
        host.sync(now);
    }
    cluster.run(20);
    assert!(cluster.reader("a").is_some());
}

/// Its claim is on its way for a while. It is on the giver's disk that the source was the giver's.
#[test]
fn who_gave_a_source_away_does_not_take_it_back_before_it_hears_the_new_owner() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["a"]);
    cluster.run(20);
    let (owner, others) = cluster.by_rank("a");
    let (now, key) = (cluster.now, cluster.key("a"));
    let offer = super::super::sources::Offer::new(others.clone(), Cause::Load, crate::balance::Kind::Must, 0);
    // The giver hears no word of the others for a while; what it asks them by call is answered.
    cluster.deaf.extend(others.iter().map(|other| (*other, owner)));
    cluster.node(owner).offer(now, &key, offer);
    cluster.run(3);
    assert_eq!(cluster.reader("a").map(|(reader, _)| reader), Some(others[0]));
    cluster.deaf.clear();
    cluster.run(20);
    assert_eq!(cluster.reader("a").map(|(reader, _)| reader), Some(others[0]));
    let taken = cluster.hosts[&owner].told.iter().filter(|event| matches!(event, Event::Taken { why, .. } if *why != Why::New)).count();
    assert_eq!(taken, 0, "{:?}", cluster.hosts[&owner].told);
}

/// DESIGN §5.3, Repair: at most 64 a second.
#[test]
fn an_owner_renews_few_records_a_second() {
    let mut cluster = Cluster::of(4);
    cluster.refuses = true;
    let names: Vec<String> = (0..440).map(|n| format!("s{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster.apply(&names);
    cluster.run(30);
    cluster.host(id(4)).up = false;
    cluster.run(27);
    let epochs = |cluster: &Cluster| -> Vec<_> { names.iter().map(|name| cluster.epoch_of(name)).collect() };
    let mut before = epochs(&cluster);
    let (mut renewed, mut most) = (0, 0);
    for _ in 0..9 {
        cluster.run(1);
        let after = epochs(&cluster);
        let mut by_owner = BTreeMap::<NodeId, usize>::new();
        for (owner, _) in before.iter().zip(&after).filter(|(one, other)| one != other).filter_map(|(_, after)| *after) {
            *by_owner.entry(owner).or_default() += 1;
        }
        renewed += by_owner.values().sum::<usize>();
        most = most.max(by_owner.values().copied().max().unwrap_or(0));
        before = after;
    }
    assert!(most <= 64, "{most} in a second");
    assert!(renewed > 3 * 64, "{renewed}: there was too little to do");
    let left = cluster.hosts.iter().filter(|(_, host)| host.up).flat_map(|(_, host)| host.node.owned_sources());
    assert!(left.flat_map(|(_, owned)| &owned.record().witnesses).all(|witness| witness.node != id(4)), "and all of it is done");
}

/// A runner that is stopped has no owners who could name other witnesses. One drained node may go, not two of three.
#[test]
fn a_drain_waits_for_a_stopped_runner_where_its_sources_would_lose_their_majority() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["a", "b", "c"]);
    cluster.run(20);
    cluster.command(id(1), Command::Desire { runners: vec![name("logs")], nodes: None, desired: crate::catalog::Desired::Stopped });
    cluster.run(10);
    let row = |cluster: &Cluster, of: NodeId| view::node(&cluster.hosts[&id(1)].node, cluster.now, &of).unwrap().drain.unwrap();
    cluster.drain(id(3), true);
    cluster.run(10);
    assert!(row(&cluster, id(3)).done, "{:?}", row(&cluster, id(3)));
    cluster.drain(id(2), true);
    cluster.run(10);
    for n in [2, 3] {
        let row = row(&cluster, id(n));
        assert!(!row.done && row.witness_of == 3, "{row:?}");
    }
    cluster.drain(id(3), false);
    cluster.run(10);
    assert!(row(&cluster, id(2)).done);
}

impl Cluster {
    /// Cuts a source's owner off from so many of its other witnesses. Everybody else sees both sides.
    fn part(&mut self, source: &str, witnesses: usize) -> NodeId {
        let (key, owner) = (self.key(source), self.reader(source).unwrap().0);
        let owned = self.hosts[&owner].node.owned_sources().find(|(other, _)| **other == key).unwrap().1;
        let parted: Vec<_> = owned.record().witnesses.iter().map(|witness| witness.node).filter(|id| *id != owner).take(witnesses).collect();
        assert_eq!(parted.len(), witnesses);
        self.cut.extend(parted.iter().flat_map(|witness| [(owner, *witness), (*witness, owner)]));
        owner
    }

    fn nobody_is_down(&self) -> bool {
        self.hosts.values().all(|host| host.node.view().values().all(crate::member::NodeInfo::is_live))
    }
}

/// DESIGN §5.3, Takeover: "silent to the witnesses for 6 s". It lives, and all see that; yet it can take no epoch, and sends no more than its window.
#[test]
fn an_owner_that_most_of_its_witnesses_do_not_hear_is_asked_and_gives_way() {
    let mut cluster = Cluster::of(6);
    cluster.apply(&["a", "b"]);
    cluster.run(20);
    let owner = cluster.part("a", 2);
    cluster.run(40);
    assert!(cluster.nobody_is_down());
    let reader = cluster.reader("a").expect("it is read").0;
    assert_ne!(reader, owner);
    let told = cluster.hosts.values().flat_map(|host| &host.told);
    assert!(!told.clone().any(|event| matches!(event, Event::WithoutMajority { .. })), "its witnesses are all there");
    cluster.cut.clear();
    cluster.run(60);
    assert_eq!(cluster.reader("a").map(|(reader, _)| reader), Some(reader), "it stays where it is");
}

/// What one of three does not hear is no matter: nobody proposes anything, which would fence the owner there.
#[test]
fn an_owner_that_one_of_its_witnesses_does_not_hear_is_left_alone() {
    let mut cluster = Cluster::of(6);
    cluster.apply(&["a"]);
    cluster.run(20);
    let before = cluster.reader("a");
    cluster.part("a", 1);
    cluster.promises.clear();
    cluster.run(60);
    assert!(cluster.nobody_is_down());
    assert_eq!((cluster.promises.values().sum::<usize>(), cluster.reader("a")), (0, before));
}

#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    crate::canary::turns_red("silent-owner-stays", an_owner_that_most_of_its_witnesses_do_not_hear_is_asked_and_gives_way);
    crate::canary::turns_red("takeover-without-asking", an_owner_that_has_its_majority_is_asked_and_left_alone);
    crate::canary::turns_red("lonely-takes-over", a_lonely_node_takes_nothing_over);
    crate::canary::turns_red("gift-forgotten", who_gave_a_source_away_does_not_take_it_back_before_it_hears_the_new_owner);
    crate::canary::turns_red("repairs-at-once", an_owner_renews_few_records_a_second);
}
