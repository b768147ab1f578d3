use super::*;
use crate::{catalog::pack, command::CommandError, setting::FORGET_AFTER};

fn knows(cluster: &Cluster, at: u8, other: u8) -> bool {
    cluster.hosts[&id(at)].node.view().contains_key(&id(other))
}

fn kill(cluster: &mut Cluster, n: u8) {
    cluster.host(id(n)).up = false;
    cluster.run(20);
}

#[test]
fn a_node_that_is_down_can_be_forgotten_and_returns_with_its_tags_when_it_lives() {
    let mut cluster = Cluster::of(4);
    cluster.command(id(1), Command::SetTags { node: id(4), tags: BTreeSet::from([name("blue")]) });
    kill(&mut cluster, 4);
    cluster.command(id(2), Command::Forget { node: id(4) });
    cluster.run(5);
    for n in 1..=3 {
        let host = &cluster.hosts[&id(n)];
        assert!(!knows(&cluster, n, 4) && host.node.gossip().node_map(&id(4)).is_none(), "{n} has forgotten it");
        assert!(!host.disk.contains_key(&(Table::Peer, id(4).0.to_vec())), "{n}: on its disk too");
        assert!(host.told.contains(&Event::Forgotten { node: id(4) }));
    }
    // A restart does not bring it back, and it is not known of itself any more.
    cluster.restart(id(3));
    cluster.run(20);
    assert!(!knows(&cluster, 3, 4));
    cluster.restart(id(4));
    cluster.run(20);
    for n in 1..=3 {
        let info = &cluster.hosts[&id(n)].node.view()[&id(4)];
        assert!(info.is_live() && info.tags.contains(&name("blue")), "{n}: {info:?}");
    }
    assert!(!cluster.host(id(4)).told.iter().any(|event| matches!(event, Event::DiskOutdated { .. })));
}

#[test]
fn a_node_that_lives_cannot_be_forgotten() {
    let mut cluster = Cluster::of(3);
    let now = cluster.now;
    for n in [1, 2] {
        let refused = cluster.node(id(1)).handle_command(now, CommandId(9), Command::Forget { node: id(n) });
        assert_eq!(refused, Err(CommandError::Alive { node: format!("n{n}"), status: "alive" }));
    }
    let unknown = cluster.node(id(1)).handle_command(now, CommandId(9), Command::Forget { node: id(9) });
    assert!(matches!(unknown, Err(CommandError::NotFound { .. })));
}

/// Who is away for too long is forgotten by all, on the word of one that sees most of the cluster; the smaller part of a split says nothing.
#[test]
fn the_cluster_forgets_who_was_down_for_too_long() {
    let mut cluster = Cluster::of(5);
    cluster.command(id(1), Command::Set { setting: &FORGET_AFTER, value: Some(60) });
    cluster.run(5);
    kill(&mut cluster, 5);
    cluster.run(30);
    assert!(knows(&cluster, 1, 5), "not yet");
    cluster.run(30);
    assert!((1..=4).all(|n| !knows(&cluster, n, 5)));
    for n in [2, 3, 4] {
        kill(&mut cluster, n);
    }
    cluster.run(120);
    assert!((2..=4).all(|n| knows(&cluster, 1, n)), "one of four may not say so");
}

/// DESIGN §3.1: a node that is down stays in the view with what it last said; also where that was read from the disk.
#[test]
fn who_is_only_remembered_is_shown_with_its_name_and_tags() {
    let mut cluster = Cluster::of(3);
    cluster.command(id(1), Command::SetTags { node: id(3), tags: BTreeSet::from([name("blue")]) });
    cluster.run(5);
    kill(&mut cluster, 3);
    kill(&mut cluster, 2);
    cluster.restart(id(1));
    cluster.run(2);
    let info = cluster.hosts[&id(1)].node.view()[&id(3)].clone();
    assert_eq!((info.status, info.name.clone(), info.meta.is_none()), (Status::Down, Some(name("n3")), true));
    assert!(info.tags.contains(&name("blue")));
}

/// A row that cannot be read may have been a promise: the disk is another from now on, and not again at the next start.
#[test]
fn a_node_that_cannot_read_a_vote_of_its_own_takes_a_new_disk_id() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["a"]);
    cluster.run(20);
    let key = pack(&cluster.key("a")).to_vec();
    let disk = |cluster: &Cluster| cluster.hosts[&id(2)].node.witnesses().me().disk;
    let before = disk(&cluster);
    cluster.restart(id(2));
    cluster.run(20);
    assert_eq!(disk(&cluster), before, "a plain restart changes nothing");
    *cluster.host(id(2)).disk.get_mut(&(Table::Witness, key)).unwrap() = vec![0xc1];
    cluster.restart(id(2));
    cluster.run(60);
    let after = disk(&cluster);
    assert_ne!(after, before);
    assert!(cluster.reader("a").is_some());
    cluster.restart(id(2));
    cluster.run(20);
    assert_eq!(disk(&cluster), after);
}

#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    logvine_gossip::canary::plant(Some("damaged-row-votes"));
    let result = std::panic::catch_unwind(a_node_that_cannot_read_a_vote_of_its_own_takes_a_new_disk_id);
    logvine_gossip::canary::plant(None);
    assert!(result.is_err(), "nothing turns red under `damaged-row-votes`");
}
