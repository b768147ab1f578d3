//! A tag's other name: in steps, each of which outlives its relay, and nothing stops on the way (DESIGN §4).

use super::*;
use crate::operation::{RenameStep, RowState};

fn rename(from: &str, to: &str) -> Command {
    Command::RenameTag { from: name(from), to: name(to) }
}

/// Nodes of which 1 to 3 have the tag `web`, and a runner that is placed by it.
fn tagged(nodes: u8) -> Cluster {
    let mut cluster = Cluster::of(nodes);
    let mut spec = spec(&["s1"]);
    spec.placement = crate::spec::Placement::Spread("web".to_owned());
    for n in 1..=3 {
        cluster.command(id(1), Command::SetTags { node: id(n), tags: [name("web")].into() });
    }
    cluster.command(id(1), Command::PutRunner { spec: Box::new(spec) });
    cluster.run(5);
    cluster
}

fn tags(cluster: &Cluster, at: u8) -> Vec<String> {
    cluster.hosts[&id(at)].node.view().values().map(|info| info.tags.iter().map(Name::as_str).collect::<Vec<_>>().join("+")).collect()
}

fn placement(cluster: &Cluster, at: u8) -> String {
    cluster.hosts[&id(at)].node.catalog().runner(&name("logs")).unwrap().spec.placement.selection().to_owned()
}

/// The operation that began the renaming, as a node has it: its stage, and its rows.
fn seen(cluster: &Cluster, at: u8) -> (RenameStep, String) {
    let node = &cluster.hosts[&id(at)].node;
    let is_first = |operation: &&crate::operation::Operation| operation.value.rename.as_ref().is_some_and(|rename| rename.of.is_none());
    let begun = node.operations().into_iter().map(|(operation, _)| operation).find(is_first).expect("it is known");
    let word = |row: &crate::operation::Row| if row.state == RowState::Applied { '1' } else { '-' };
    (node.rename_stage(begun).unwrap(), node.rows(begun).iter().map(word).collect())
}

fn stops(cluster: &Cluster) -> usize {
    let of_host = |host: &Host| host.commands.iter().filter(|command| matches!(command, InstanceCommand::Stop { .. })).count();
    cluster.hosts.values().map(of_host).sum()
}

#[test]
fn its_nodes_and_what_is_placed_by_it_follow_and_nothing_stops() {
    let mut cluster = tagged(4);
    let command = cluster.command(id(4), rename("web", "edge"));
    cluster.run(3);
    assert!(cluster.hosts[&id(4)].answers.contains_key(&command));
    for n in 1..=4 {
        assert_eq!((tags(&cluster, n), placement(&cluster, n)), (vec!["edge".into(), "edge".into(), "edge".into(), String::new()], "edge".into()));
        assert_eq!(seen(&cluster, n), (RenameStep::Remove, "111".to_owned()), "{n} shows the stage");
    }
    assert_eq!(stops(&cluster), 0);
    assert!(cluster.reader("s1").is_some());
}

/// One that hears nothing is not told that its runner is placed by a tag that it has not heard of; one that is down holds nobody up.
#[test]
fn a_step_waits_for_live_targets_and_for_nobody_else() {
    let mut cluster = tagged(5);
    cluster.refuses = true;
    cluster.host(id(2)).up = false;
    cluster.run(30);
    cluster.host(id(3)).disk_stalls = true;
    cluster.command(id(4), rename("web", "edge"));
    cluster.run(3);
    assert_eq!((seen(&cluster, 5), placement(&cluster, 5).as_str()), ((RenameStep::Add, "---".to_owned()), "web"));
    let now = cluster.now;
    cluster.host(id(3)).disk_stalls = false;
    cluster.host(id(3)).sync(now);
    cluster.run(5);
    assert_eq!((seen(&cluster, 5), placement(&cluster, 5).as_str()), ((RenameStep::Remove, "1-1".to_owned()), "edge"));
    cluster.restart(id(2));
    cluster.run(30);
    assert_eq!(seen(&cluster, 5).1, "111");
    assert_eq!(tags(&cluster, 2)[..3], ["edge", "edge", "edge"]);
}

#[test]
fn another_node_goes_on_when_the_relay_is_gone() {
    let mut cluster = tagged(5);
    cluster.host(id(3)).disk_stalls = true;
    cluster.command(id(5), rename("web", "edge"));
    cluster.run(2);
    cluster.host(id(5)).up = false;
    let now = cluster.now;
    cluster.host(id(3)).disk_stalls = false;
    cluster.host(id(3)).sync(now);
    cluster.run(30);
    assert_eq!((seen(&cluster, 1), placement(&cluster, 1).as_str()), ((RenameStep::Remove, "111".to_owned()), "edge"));
    assert_eq!(tags(&cluster, 2)[..3], ["edge", "edge", "edge"]);
}

#[test]
fn a_tag_that_nobody_has_is_not_renamed_and_one_that_is_given_again_stays() {
    let mut cluster = tagged(3);
    let now = cluster.now;
    let refused = cluster.node(id(1)).handle_command(now, CommandId(99), rename("wbe", "edge"));
    assert_eq!(refused, Err(CommandError::NotFound { kind: "tag", name: "wbe".to_owned() }));
    cluster.command(id(1), rename("web", "edge"));
    cluster.run(5);
    cluster.command(id(2), Command::SetTags { node: id(3), tags: [name("web"), name("edge")].into() });
    cluster.run(60);
    assert_eq!(tags(&cluster, 1), ["edge", "edge", "edge+web"]);
}

#[test]
#[cfg(feature = "canary")]
fn canaries_are_seen() {
    crate::canary::turns_red("rename-at-once", a_step_waits_for_live_targets_and_for_nobody_else);
}
