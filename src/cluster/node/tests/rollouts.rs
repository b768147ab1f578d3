//! A new revision comes to one node first (DESIGN §4; PITFALLS §5, Fly.io).

use super::*;

/// Which revision each node runs.
fn revisions(cluster: &Cluster) -> BTreeMap<NodeId, Stamp> {
    let last = |host: &Host| {
        host.commands.iter().rev().find_map(|command| if let InstanceCommand::Start { revision, .. } = command { Some(*revision) } else { None })
    };
    cluster.hosts.iter().filter(|(_, host)| host.up).filter_map(|(id, host)| Some((*id, last(host)?))).collect()
}

/// The nodes that run this revision.
fn runs(cluster: &Cluster, revision: Stamp) -> BTreeSet<NodeId> {
    revisions(cluster).into_iter().filter(|(_, runs)| *runs == revision).map(|(id, _)| id).collect()
}

/// Changes the runner, and says under which revisions it was and is known.
fn edit(cluster: &mut Cluster, via: u8) -> (Stamp, Stamp) {
    let before = cluster.node(id(via)).catalog().runner(&name("logs")).unwrap().revision;
    let mut spec = spec(&["s1"]);
    spec.transform = serde_json::from_value(serde_json::json!({ "vrl": format!(".edit = {before}") })).unwrap();
    cluster.command(id(via), Command::PutRunner { spec: Box::new(spec) });
    (before, cluster.node(id(via)).catalog().runner(&name("logs")).unwrap().revision)
}

fn running(nodes: u8) -> Cluster {
    let mut cluster = Cluster::of(nodes);
    cluster.apply(&["s1"]);
    cluster.run(5);
    assert_eq!(revisions(&cluster).len(), usize::from(nodes), "a first revision is not held");
    cluster
}

#[test]
fn a_new_revision_runs_on_one_node_for_ten_seconds_and_then_on_all() {
    let mut cluster = running(4);
    let (old, new) = edit(&mut cluster, 1);
    cluster.run(8);
    assert_eq!((runs(&cluster, new).len(), runs(&cluster, old).len()), (1, 3));
    cluster.run(10);
    assert_eq!(runs(&cluster, new).len(), 4);
}

#[test]
fn a_revision_that_fails_is_taken_back_and_held_everywhere_also_after_restarts() {
    let mut cluster = running(3);
    let before = cluster.node(id(1)).catalog().runner(&name("logs")).unwrap().revision;
    for host in cluster.hosts.values_mut() {
        host.complains_from = Some(before.next());
    }
    let (old, new) = edit(&mut cluster, 2);
    cluster.run(120);
    assert_eq!(runs(&cluster, old).len(), 3, "they stay with what was good");
    let tried = |host: &&Host| host.commands.iter().any(|command| matches!(command, InstanceCommand::Start { revision, .. } if *revision == new));
    assert_eq!(cluster.hosts.values().filter(tried).count(), 1);
    for n in 1..=3 {
        cluster.restart(id(n));
        cluster.run(60);
    }
    assert_eq!(runs(&cluster, old).len(), 3, "the last good one is on their disks");

    let (_, mended) = edit(&mut cluster, 1);
    cluster.run(20);
    assert_eq!(runs(&cluster, mended).len(), 3, "a further edit is tried anew");
}

/// Why each node's row of the newest operation is pending, as a node derives it.
fn pending_at(cluster: &Cluster, at: u8) -> BTreeMap<NodeId, String> {
    let node = &cluster.hosts[&id(at)].node;
    let operation = node.catalog().operations().max_by_key(|operation| operation.stamp).expect("there is one");
    let reason = |row: crate::operation::Row| match row.state {
        crate::operation::RowState::Pending { reason } => Some((row.node, reason)),
        _ => None,
    };
    node.rows(operation).into_iter().filter_map(reason).collect()
}

#[test]
fn rows_of_nodes_that_wait_for_another_to_try_say_so_on_every_node() {
    let mut cluster = running(4);
    let (_, new) = edit(&mut cluster, 1);
    cluster.run(8);
    let trying = runs(&cluster, new);
    for at in 1..=4 {
        let waiting: BTreeSet<_> =
            pending_at(&cluster, at).into_iter().filter(|(_, reason)| reason == "waiting for rollout").map(|(node, _)| node).collect();
        assert_eq!(waiting, (1..=4).map(id).filter(|node| !trying.contains(node)).collect(), "as n{at} sees it");
    }
    cluster.run(10);
    assert_eq!(pending_at(&cluster, 2), BTreeMap::new(), "all run it");
}

#[test]
fn rows_of_a_revision_that_failed_say_who_found_it_so_and_why() {
    let mut cluster = running(3);
    let before = cluster.node(id(1)).catalog().runner(&name("logs")).unwrap().revision;
    for host in cluster.hosts.values_mut() {
        host.complains_from = Some(before.next());
    }
    let (_, new) = edit(&mut cluster, 2);
    cluster.run(120);
    let tried = |host: &&Host| host.commands.iter().any(|command| matches!(command, InstanceCommand::Start { revision, .. } if *revision == new));
    let by = cluster.hosts.iter().find(|(_, host)| tried(host)).map(|(id, _)| *id).expect("one has tried");
    for at in 1..=3 {
        let held = pending_at(&cluster, at);
        assert_eq!(held.keys().copied().collect::<BTreeSet<_>>(), (1..=3).map(id).filter(|node| *node != by).collect(), "as n{at} sees it");
        let words = format!("held: {} says: no such field", crate::view::name_of(&cluster.hosts[&id(at)].node, &by));
        assert!(held.values().all(|reason| *reason == words), "{held:?}");
    }
}

#[test]
fn the_next_node_tries_when_the_first_dies() {
    let mut cluster = running(3);
    let (_, new) = edit(&mut cluster, 1);
    cluster.run(2);
    let first = *runs(&cluster, new).first().expect("one tries");
    cluster.host(first).up = false;
    cluster.run(60);
    assert_eq!(runs(&cluster, new).len(), 2);
    // It was trying: for all that it knows, that was what killed it.
    cluster.restart(first);
    cluster.run(30);
    assert_eq!(runs(&cluster, new).len(), 3, "others have found it good");
}

#[test]
fn a_node_that_was_away_takes_what_others_have_found_good() {
    let mut cluster = running(3);
    cluster.host(id(3)).up = false;
    cluster.run(20);
    let (_, new) = edit(&mut cluster, 1);
    cluster.run(60);
    cluster.restart(id(3));
    cluster.run(10);
    assert_eq!(runs(&cluster, new).len(), 3);
}

#[test]
fn a_stop_is_never_held() {
    let mut cluster = running(3);
    let _ = edit(&mut cluster, 1);
    cluster.command(id(2), Command::Desire { runners: vec![name("logs")], nodes: None, desired: crate::catalog::Desired::Stopped });
    cluster.run(10);
    for host in cluster.hosts.values() {
        assert!(matches!(host.commands.last(), Some(InstanceCommand::Stop { .. })), "{:?}", host.commands.last());
    }
}
