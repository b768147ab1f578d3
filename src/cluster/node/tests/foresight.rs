//! `dry_run` shows targets and moves, and changes nothing (DESIGN §6, 1). What it foresees is what then happens.

use super::*;
use crate::{catalog::Desired, plan::Plan};

const SOURCES: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];

fn running() -> Cluster {
    let mut cluster = Cluster::of(3);
    cluster.apply(&SOURCES);
    cluster.run(30);
    cluster
}

fn foreseen(cluster: &mut Cluster, via: u8, command: Command) -> Plan {
    let now = cluster.now;
    cluster.node(id(via)).foresee(now, command).unwrap().plan().expect("it may move sources").unwrap()
}

fn owners(cluster: &Cluster) -> BTreeMap<Name, Option<NodeId>> {
    SOURCES.iter().map(|source| (name(source), cluster.reader(source).map(|(owner, _)| owner))).collect()
}

/// Asks, then does it: the owners that were foreseen, and those that are.
fn ask_and_do(cluster: &mut Cluster, command: Command) {
    let digest = cluster.node(id(2)).gossip().catalog().digest();
    let before = owners(cluster);
    let plan = foreseen(cluster, 2, command.clone());
    assert_eq!(cluster.node(id(2)).gossip().catalog().digest(), digest, "nothing was written");
    assert!(!plan.moves.is_empty(), "{command:?}");
    let mut wanted = before;
    wanted.extend(plan.moves.into_iter().map(|moved| (moved.source, moved.to)));
    cluster.command(id(2), command);
    cluster.run(60);
    assert_eq!(owners(cluster), wanted);
}

fn desire(nodes: Option<&str>, desired: Desired) -> Command {
    Command::Desire { runners: vec![name("logs")], nodes: nodes.map(|text| text.parse().unwrap()), desired }
}

#[test]
fn a_stop_on_one_node_a_drain_and_another_placement_move_what_they_were_foreseen_to() {
    let mut cluster = running();
    let (owner, _) = cluster.reader("s1").unwrap();
    let selection = format!("id={owner}");
    ask_and_do(&mut cluster, desire(Some(&selection), Desired::Stopped));
    ask_and_do(&mut cluster, desire(None, Desired::Stopped));

    let mut cluster = running();
    let (owner, _) = cluster.reader("s1").unwrap();
    ask_and_do(&mut cluster, Command::Drain { node: owner, draining: true });

    let mut cluster = running();
    cluster.command(id(1), Command::SetTags { node: id(1), tags: [name("web")].into() });
    cluster.run(3);
    let mut placed = spec(&SOURCES);
    placed.placement = crate::spec::Placement::Spread("web".to_owned());
    ask_and_do(&mut cluster, Command::PutRunner { spec: Box::new(placed) });
    cluster.command(id(1), Command::SetTags { node: id(2), tags: [name("web")].into() });
    cluster.run(3);
    ask_and_do(&mut cluster, Command::SetTags { node: id(1), tags: BTreeSet::new() });
}

#[test]
fn new_sources_are_counted_and_where_they_go_is_said_to_be_uncertain() {
    let mut cluster = running();
    let patch = Command::PatchSources { runner: name("logs"), put: vec![source("s7"), source("s8")], remove: Vec::new() };
    let plan = foreseen(&mut cluster, 3, patch);
    assert_eq!(plan.moves.iter().map(|moved| (moved.source.as_str(), moved.certain)).collect::<Vec<_>>(), [("s7", false), ("s8", false)]);
    let edited = {
        let mut edited = spec(&SOURCES);
        edited.transform = serde_json::from_value(serde_json::json!({ "vrl": ".a = 1" })).unwrap();
        edited
    };
    assert_eq!(foreseen(&mut cluster, 3, Command::PutRunner { spec: Box::new(edited) }).moves, [], "an edit alone moves nothing");
}

#[test]
fn what_moves_nothing_has_no_plan_and_what_is_refused_is_refused() {
    let mut cluster = running();
    let now = cluster.now;
    let restart = Command::Restart { runners: vec![name("logs")], nodes: None };
    let foresight = cluster.node(id(1)).foresee(now, restart).unwrap();
    assert_eq!(foresight.targets.len(), 3);
    assert!(foresight.plan().is_none());
    let nobody = desire(Some("nobody-has-this"), Desired::Stopped);
    assert!(matches!(cluster.node(id(1)).foresee(now, nobody), Err(CommandError::NobodySelected { .. })));
}
