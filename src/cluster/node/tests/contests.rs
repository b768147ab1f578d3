//! Two operators' words at once: the later stamp holds, and the loser is told (DESIGN §10).

use super::*;
use crate::catalog::Desired;

fn desire(nodes: Option<&str>, desired: Desired) -> Command {
    Command::Desire { runners: vec![name("logs")], nodes: nodes.map(|text| text.parse().unwrap()), desired }
}

/// Four nodes in two halves that do not hear each other, each asked something, and then healed. The operations of 1 and 3.
fn said_at_once(ours: Command, theirs: Command) -> (Cluster, [String; 2]) {
    let mut cluster = Cluster::of(4);
    cluster.apply(&["s1"]);
    cluster.run(5);
    let across = [1, 2].iter().flat_map(|ours| [3, 4].iter().flat_map(|theirs| [(id(*ours), id(*theirs)), (id(*theirs), id(*ours))]));
    cluster.cut = across.collect();
    let commands = [(1, ours), (3, theirs)].map(|(via, command)| {
        cluster.run(1);
        (via, cluster.command(id(via), command))
    });
    cluster.run(5);
    cluster.cut.clear();
    cluster.run(40);
    let operations = commands.map(|(via, command)| match cluster.hosts[&id(via)].answers.get(&command) {
        Some(Answer { operation, .. }) => operation.clone(),
        other => panic!("{via} answered {other:?}"),
    });
    (cluster, operations)
}

/// What each node tells of words that were overruled unseen.
fn told(cluster: &Cluster) -> Vec<Vec<(String, String)>> {
    let overruled = |event: &Event| match event {
        Event::Overruled { operation, by } => Some((operation.clone(), by.clone())),
        _ => None,
    };
    cluster.hosts.values().map(|host| host.told.iter().filter_map(overruled).collect()).collect()
}

#[test]
fn of_two_words_said_at_once_the_later_holds_and_every_node_tells_the_loser_once() {
    let (mut cluster, [early, late]) = said_at_once(desire(None, Desired::Stopped), desire(None, Desired::Running));
    assert_eq!(told(&cluster), vec![vec![(early.clone(), late.clone())]; 4]);
    for n in 1..=4 {
        let node = &cluster.hosts[&id(n)].node;
        assert_eq!(node.catalog().desired(&name("logs")), Desired::Running, "{n}");
        assert_eq!(node.overruled_by(node.operation(&early).unwrap().0), Some(late.clone()));
        assert_eq!(node.overruled_by(node.operation(&late).unwrap().0), None);
    }
    cluster.restart(id(2));
    cluster.run(40);
    let node = &cluster.hosts[&id(2)].node;
    assert_eq!(node.overruled_by(node.operation(&early).unwrap().0), Some(late), "known again from its disk");
    assert_eq!(told(&cluster)[1], [], "and not told again");
}

#[test]
fn words_on_single_nodes_contest_each_other_where_they_mean_the_same_node() {
    let (cluster, [early, late]) =
        said_at_once(desire(Some("name in (n1, n2)"), Desired::Stopped), desire(Some("name in (n2, n3)"), Desired::Running));
    assert_eq!(told(&cluster), vec![vec![(early, late)]; 4]);
    let (cluster, _) = said_at_once(desire(Some("name=n1"), Desired::Stopped), desire(Some("name=n2"), Desired::Running));
    assert_eq!(told(&cluster), vec![Vec::new(); 4], "they mean different nodes");
}

/// Also by the node that was asked, while its first word is not accepted yet.
#[test]
fn who_changes_his_mind_has_lost_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["s1"]);
    cluster.run(5);
    cluster.host(id(2)).disk_stalls = true;
    cluster.host(id(3)).disk_stalls = true;
    cluster.command(id(1), desire(None, Desired::Stopped));
    cluster.command(id(1), desire(None, Desired::Running));
    let now = cluster.now;
    for n in [2, 3] {
        cluster.host(id(n)).disk_stalls = false;
        cluster.host(id(n)).sync(now);
    }
    cluster.run(20);
    cluster.command(id(2), desire(None, Desired::Stopped));
    cluster.run(20);
    assert_eq!(told(&cluster), vec![Vec::new(); 3]);
}
