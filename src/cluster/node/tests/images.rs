//! DESIGN §5.3, "Restart": images of a node's disk that were taken while it ran.

use super::*;

type Image = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

impl Cluster {
    fn disk_id(&self, node: u8) -> DiskId {
        self.hosts[&id(node)].node.witnesses().me().disk
    }

    fn image(&self, node: u8) -> Image {
        self.hosts[&id(node)].disk.clone()
    }

    /// Kills it, and starts it from an image.
    fn restart_from(&mut self, node: u8, image: Image) {
        self.host(id(node)).disk = image;
        self.restart(id(node));
    }

    fn cut_off(&mut self, node: u8) {
        self.cut = (1..=3).filter(|peer| *peer != node).flat_map(|peer| [(id(node), id(peer)), (id(peer), id(node))]).collect();
    }

    /// Three nodes and a source, which all of them witness.
    fn at_work() -> Self {
        let mut cluster = Self::of(3);
        cluster.apply(&["a"]);
        cluster.run(20);
        cluster
    }

    /// Another source is taken, which all of them witness: each votes.
    fn vote_for(&mut self, source: &str) {
        self.patch(&[source], &[]);
        self.run(20);
    }

    fn outdated(&self, node: u8) -> bool {
        self.hosts[&id(node)].told.iter().any(|event| matches!(event, Event::DiskOutdated { .. }))
    }
}

/// The generation that the image has is the last that its node had: what is missing since are votes.
#[test]
fn an_image_that_was_taken_while_its_node_ran_is_known_by_the_votes_that_it_lacks() {
    let mut cluster = Cluster::at_work();
    let (image, before) = (cluster.image(2), cluster.disk_id(2));
    cluster.vote_for("b");
    cluster.restart_from(2, image);
    cluster.run(20);
    assert!(cluster.outdated(2));
    let after = cluster.disk_id(2);
    assert_ne!(after, before, "what it had voted since is gone: it is no witness of what it was witness of");
    cluster.vote_for("c");
    cluster.restart(id(2));
    cluster.run(20);
    assert_eq!((cluster.outdated(2), cluster.disk_id(2)), (false, after), "once");
}

/// What its owner has acknowledged since is not on it: that is read again, by whoever takes over, and no promise.
#[test]
fn an_image_that_lacks_positions_alone_votes_on() {
    let mut cluster = Cluster::at_work();
    let (image, before) = (cluster.image(2), cluster.disk_id(2));
    for offset in 1..=20 {
        cluster.acknowledge("a", offset);
        cluster.run(3);
    }
    assert_ne!(cluster.image(2), image, "it has written");
    cluster.restart_from(2, image);
    cluster.run(20);
    assert_eq!((cluster.outdated(2), cluster.disk_id(2)), (false, before));
}

/// Peers are restarted meanwhile, one after the other: each hears of it again from the others.
#[test]
fn it_is_known_although_every_peer_was_restarted_since() {
    let mut cluster = Cluster::at_work();
    let image = cluster.image(2);
    cluster.vote_for("b");
    cluster.host(id(2)).up = false;
    cluster.run(20);
    for peer in [1, 3] {
        cluster.restart(id(peer));
        cluster.run(20);
    }
    cluster.restart_from(2, image);
    cluster.run(20);
    assert!(cluster.outdated(2));
}

/// A life on an old image that met nobody votes on, past what its node had said before: that it began too low is not forgotten.
#[test]
fn a_life_on_an_image_that_met_nobody_does_not_hide_it() {
    let mut cluster = Cluster::at_work();
    let image = cluster.image(2);
    cluster.vote_for("b");
    cluster.cut_off(2);
    cluster.restart_from(2, image);
    cluster.run(40);
    let alone = cluster.now;
    for number in 0..200 {
        let node = cluster.node(id(2));
        node.cast_vote();
        node.write(Table::Ballot, vec![number], None);
        node.settle(alone);
        cluster.carry_out();
    }
    assert!(!cluster.outdated(2));
    cluster.cut.clear();
    cluster.restart(id(2));
    cluster.run(20);
    assert!(cluster.outdated(2));
}

/// Votes that were not on disk when a process died were never said: the disk has all that was.
#[test]
fn a_crash_that_loses_what_was_not_synced_is_no_old_image() {
    let mut cluster = Cluster::at_work();
    let before = cluster.disk_id(2);
    for round in 1..=3 {
        cluster.host(id(2)).disk_stalls = true;
        cluster.patch(&[&format!("b{round}")], &[]);
        cluster.run(20);
        assert!(!cluster.hosts[&id(2)].unsynced.is_empty(), "there is something to be lost");
        cluster.restart(id(2));
        cluster.run(20);
        assert_eq!((cluster.outdated(2), cluster.disk_id(2)), (false, before), "round {round}");
    }
}

/// A renewal goes on in the same process: what it said under the generation before is on its disk.
#[test]
fn a_renewal_is_no_old_image() {
    let mut cluster = Cluster::at_work();
    let before = cluster.disk_id(2);
    cluster.vote_for("b");
    cluster.cut_off(2);
    cluster.run(30);
    cluster.cut.clear();
    cluster.run(30);
    assert!(cluster.hosts[&id(2)].told.iter().any(|event| matches!(event, Event::Renewed { .. })));
    cluster.vote_for("c");
    assert_eq!((cluster.outdated(2), cluster.disk_id(2)), (false, before));
    cluster.restart(id(2));
    cluster.run(20);
    assert_eq!((cluster.outdated(2), cluster.disk_id(2)), (false, before));
}

/// Its own row, on the image, is as new as the record: that is no vote, and no veto either. With one witness of two gone patience helps, as where a store was lost.
#[test]
fn the_owner_of_a_pair_that_returns_on_an_image_collects_again() {
    let mut cluster = Cluster::of(2);
    cluster.apply(&["a"]);
    cluster.run(20);
    cluster.acknowledge("a", 100);
    cluster.run(20);
    let owner = cluster.reader("a").unwrap().0.0[0];
    let image = cluster.image(owner);
    cluster.vote_for("b");
    cluster.restart_from(owner, image);
    cluster.run(20);
    assert!(cluster.outdated(owner));
    cluster.run(90);
    assert!(cluster.reader("a").is_some(), "somebody reads it");
}

#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    logvine_gossip::canary::plant(Some("running-image-votes"));
    let result = std::panic::catch_unwind(an_image_that_was_taken_while_its_node_ran_is_known_by_the_votes_that_it_lacks);
    logvine_gossip::canary::plant(None);
    assert!(result.is_err(), "nothing turns red under `running-image-votes`");
}
